"""Whether runtimes agree with a frozen encoder, on real chips, each of them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib.util import find_spec
from typing import Any

import numpy as np
from numpy.typing import NDArray

from flight.encoder.encoder import open_encoder
from flight.encoder.file import EncoderFile
from flight.encoder.graph import EncoderError
from flight.encoder.runtimes import RUNTIMES, installed
from ground.encoders.frozen import Floats, Frozen

FLOAT_TOLERANCE = 1e-5  # greatest difference of a chip's embedding, by its greatest value
LEAST_COSINE = 0.999  # between int8 and float embeddings, as a mean over chips
_BATCH = 64
Run = Callable[[NDArray[np.uint8]], Floats]


@dataclass
class Agreement:
    """How far one runtime is from the oracle over all chips so far.

    Attributes:
        what: format, precision and runtime.
        precision: "fp32" or "int8".
        chips: compared.
        worst: greatest difference of any chip's embedding, by the greatest value of the oracle's.
        cosine, mean_cosine: least and mean cosine of any chip's embedding with the oracle's.
        exact: share of values that are those of the integer oracle, bit by bit; None for floats.
        least_cosine: that the mean one of int8 must reach.
    """

    what: str
    precision: str
    chips: int = 0
    worst: float = 0.0
    cosine: float = 1.0
    mean_cosine: float = 0.0
    exact: float | None = None
    least_cosine: float = LEAST_COSINE

    def take(self, made: Floats, oracle: Floats, integers: Floats | None) -> None:
        """Count the embeddings of some chips."""
        before, n = self.chips, len(made)
        a, b = made.reshape(n, -1).astype(np.float64), oracle.reshape(n, -1).astype(np.float64)
        cosines = (a * b).sum(1) / np.maximum(np.linalg.norm(a, axis=1) * np.linalg.norm(b, axis=1), 1e-30)
        self.chips += n
        self.worst = max(self.worst, float((np.abs(a - b).max(1) / np.abs(b).max(1)).max()))
        self.cosine = min(self.cosine, float(cosines.min()))
        self.mean_cosine = (before * self.mean_cosine + float(cosines.sum())) / self.chips
        if integers is not None:
            same = float((made == integers).mean())
            self.exact = same if self.exact is None else (before * self.exact + n * same) / self.chips

    @property
    def passed(self) -> bool:
        """Whether it is within the tolerance of its precision."""
        return self.worst <= FLOAT_TOLERANCE if self.precision == "fp32" else self.mean_cosine >= self.least_cosine

    def facts(self) -> dict[str, Any]:
        """Plain values."""
        return {**vars(self), "passed": self.passed}


def runners(file: EncoderFile) -> Iterator[tuple[str, Run]]:
    """Every installed runtime that can run a file: its name, and what runs chips; EncoderError if there is none."""
    names = [name for name in RUNTIMES[file.graph.form] if name in installed()]
    if not names:
        raise EncoderError(
            f"nothing that runs a {file.graph.form} file is installed: {' or '.join(RUNTIMES[file.graph.form])}"
        )
    for name in names:
        encoder = open_encoder(file.data, name)
        yield f"{file.graph.form} {file.header.precision} {encoder.runtime}", encoder


def compare(
    frozen: Frozen,
    files: list[tuple[EncoderFile, Run | None]],
    chips: NDArray[np.uint8],
    progress: Callable[[int], object] = lambda n: None,
) -> list[Agreement]:
    """Compare files, and torch if it is installed, with the frozen encoder on every chip.

    A file comes with the integer oracle of its network, or None. `progress` is told of each chip that is done.
    """
    found = list[tuple[Agreement, Run, Run | None]]()
    for file, integers in files:
        found += [(Agreement(what, file.header.precision), run, integers) for what, run in runners(file)]
    if find_spec("torch") is not None:
        found.append((Agreement("torch fp32", "fp32"), lambda part: embed_by_torch(frozen, part), None))
    oracles: dict[int, Floats] = {}
    for start in range(0, len(chips), _BATCH):
        part = chips[start : start + _BATCH]
        oracle = frozen.embed(part)
        oracles.clear()
        for agreement, run, integers in found:
            if integers is not None and id(integers) not in oracles:
                oracles[id(integers)] = integers(part)
            agreement.take(run(part), oracle, None if integers is None else oracles[id(integers)])
        progress(len(part))
    return [agreement for agreement, *_ in found]


def embed_by_torch(frozen: Frozen, chips: NDArray[np.uint8]) -> Floats:
    """Embedding grids as torch computes them, in float32 and one layer after another."""
    import torch
    from torch.nn import functional

    made: list[Any] = []
    with torch.no_grad():
        x = (torch.from_numpy(chips.astype(np.float32)) - frozen.mean) / torch.from_numpy(frozen.std)
        x = x.permute(0, 3, 1, 2).contiguous()
        for layer in frozen.layers:
            kernel = torch.from_numpy(np.ascontiguousarray(layer.kernel.transpose(3, 2, 0, 1)))
            padding = layer.kernel.shape[0] // 2
            x = functional.conv2d(x, kernel, torch.from_numpy(layer.bias), layer.stride, padding, groups=layer.groups)
            if layer.add is not None:
                x = x + made[layer.add]
            x = functional.relu(x) if layer.relu else x
            made.append(x)
        grid: Floats = x.permute(0, 2, 3, 1).contiguous().numpy()
    return grid
