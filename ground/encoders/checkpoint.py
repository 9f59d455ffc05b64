"""Checkpoints of pretraining: a safetensors file with every weight, the optimiser's memory, and how it all came about.

Safetensors is tensors behind a JSON header, with lengths that are checked: reading one runs no code. The header's
metadata hold one JSON text, `swath`. Random numbers are not kept, as they are a function of seed and step.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from ground.encoders.errors import CheckpointError
from ground.encoders.networks import Architecture, Layer, Network
from ground.files import write_bytes

FORMAT = 1
_KEY = "swath"
_MODEL, _ADAM, _HISTORY = "model.", "adam.", "history"
_NETWORK = _MODEL + "network."


@dataclass(frozen=True)
class Checkpoint:
    """What a file holds.

    Attributes:
        path: of the file.
        about: format, settings, architecture, bands, normalisation, digest of the chips, step, and steps in all.
        tensors: weights and the optimiser's memory, by name.
    """

    path: Path
    about: dict[str, Any]
    tensors: dict[str, Tensor]

    @property
    def step(self) -> int:
        """Steps that were made."""
        return int(self.about["step"])

    @property
    def finished(self) -> bool:
        """Whether training had come to its end."""
        return self.step >= int(self.about["steps"])

    @property
    def mean(self) -> int:
        """The byte that the network sees as 0."""
        return int(self.about["mean"])

    @property
    def std(self) -> NDArray[np.float32]:
        """Bytes of each band that it sees as 1, float32 (bands,)."""
        return np.array(self.about["std"], np.float32)

    def model(self) -> dict[str, Tensor]:
        """Weights of the whole recipe."""
        return {name.removeprefix(_MODEL): t for name, t in self.tensors.items() if name.startswith(_MODEL)}

    def history(self) -> list[list[float]]:
        """Terms of the loss, a row a step."""
        rows: list[list[float]] = self.tensors[_HISTORY].tolist()
        return rows

    def adam(self) -> dict[int, dict[str, Tensor]]:
        """The optimiser's memory of each parameter."""
        state: dict[int, dict[str, Tensor]] = {}
        for name, tensor in self.tensors.items():
            if name.startswith(_ADAM):
                number, what = name.removeprefix(_ADAM).split(".")
                state.setdefault(int(number), {})[what] = tensor
        return state

    def network(self) -> Network:
        """The network that is to fly, in evaluation mode; CheckpointError if weights and architecture disagree."""
        try:
            wanted = self.about["architecture"]
            layers = tuple(Layer(**layer) for layer in wanted["layers"])
            network = Network(int(self.about["bands"]), Architecture(layers, int(wanted["width"])))
            weights = {n.removeprefix(_NETWORK): t for n, t in self.tensors.items() if n.startswith(_NETWORK)}
            network.load_state_dict(weights)
        except (KeyError, TypeError, ValueError, RuntimeError) as error:
            raise CheckpointError(f"{self.path}: weights and architecture disagree: {_first_line(error)}") from None
        return network.eval()


def write_checkpoint(
    path: Path,
    about: dict[str, Any],
    model: torch.nn.Module,
    optimiser: torch.optim.Optimizer,
    history: list[list[float]],
) -> None:
    """Write a checkpoint, whole or not at all."""
    tensors = {_MODEL + name: tensor for name, tensor in model.state_dict().items()}
    for number, state in optimiser.state_dict()["state"].items():
        tensors |= {f"{_ADAM}{number}.{what}": tensor for what, tensor in state.items()}
    tensors[_HISTORY] = torch.tensor(history, dtype=torch.float32)
    contiguous = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    write_bytes(path, save(contiguous, {_KEY: json.dumps({"format": FORMAT, **about}, sort_keys=True)}))


def read_checkpoint(path: Path) -> Checkpoint:
    """The checkpoint in a file; CheckpointError if it is none, is cut short, or is of another format."""
    if not path.is_file():
        raise CheckpointError(f"{path}: No such file")
    try:
        with safe_open(path, framework="pt") as file:
            about = json.loads((file.metadata() or {}).get(_KEY, "null"))
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118  it is not a dict
    except (SafetensorError, ValueError, OSError) as error:
        raise CheckpointError(f"{path}: is not a checkpoint, or is cut short: {_first_line(error)}") from None
    if not isinstance(about, dict) or "format" not in about:
        raise CheckpointError(f"{path}: holds tensors, but not those of `swath-ground encoder pretrain`")
    if about["format"] != FORMAT:
        raise CheckpointError(f"{path}: format {about['format']!r}; this software reads {FORMAT}")
    return Checkpoint(path, about, tensors)


def _first_line(error: Exception) -> str:
    return " ".join(str(error).split())[:300]
