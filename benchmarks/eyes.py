"""Encoders as the benchmark gives them to learners: each chip is encoded once, in floats or in integers."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.rows import progress

_BATCH = 64
Embed = Callable[[NDArray[np.uint8]], NDArray[np.float32]]


class Eyes:
    """An encoder that remembers what it said (`flight.learn.grid.Encoder`); `frozen` is what it runs in floats."""

    frozen: Any = None

    def __init__(
        self, name: str, digest: str, shape: tuple[int, int, int], grid: tuple[int, int, int],
        low: NDArray[np.float32], top: NDArray[np.float32], embed: Embed,
    ) -> None:  # fmt: skip
        self.name, self.digest, self.chip_shape, self.grid = name, digest, shape, grid
        self.low, self.top, self._embed = low, top, embed
        self._said: dict[bytes, NDArray[np.float32]] = {}

    def __call__(self, chips: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Embeddings (n, rows, cols, width)."""
        names = [hashlib.blake2b(np.ascontiguousarray(chip).data, digest_size=16).digest() for chip in chips]
        new = {name: i for i, name in enumerate(names) if name not in self._said}
        for start in range(0, len(new), _BATCH):
            some = list(new.items())[start : start + _BATCH]
            self._said |= zip([name for name, _ in some], self._embed(chips[[i for _, i in some]]), strict=True)
        return np.array([self._said[name] for name in names], np.float32).reshape(-1, *self.grid)


def opened(path: Path, shape: tuple[int, int, int]) -> Eyes:
    """A frozen encoder (.npz) in floats, or a file that flies; ValueError if it takes other chips."""
    if path.suffix == ".npz":
        from ground.encoders.frozen import Frozen

        eyes = of_frozen(Frozen.read(path), shape)
        eyes.name = path.stem
        return eyes
    from flight.encoder.encoder import open_encoder

    encoder = open_encoder(path.read_bytes())
    if encoder.chip_shape != shape:
        raise ValueError(f"{path.name} takes chips {encoder.chip_shape}, and these are {shape}")
    return Eyes(path.stem, encoder.digest, shape, encoder.grid, encoder.low, encoder.top, encoder)


def of_frozen(frozen: Any, shape: tuple[int, int, int]) -> Eyes:
    """A frozen encoder in floats: by torch if it is installed, else by numpy, which is slow."""
    from ground.encoders.verify import embed_by_torch

    if len(frozen.bands) != shape[2]:
        raise ValueError(f"{frozen.name} takes {len(frozen.bands)} bands, and these chips have {shape[2]}")
    grid = frozen.shapes(*shape[:2])[-1]
    torch = find_spec("torch") is not None
    embed = (lambda chips: embed_by_torch(frozen, chips)) if torch else frozen.embed
    eyes = Eyes(frozen.name, frozen.digest, shape, grid, frozen.low, frozen.top, embed)
    eyes.frozen = frozen
    return eyes


def in_integers(frozen: Any, calibration: NDArray[np.uint8]) -> Eyes:
    """The same in int8: by a runtime if one is installed, else by the arithmetic that runtimes are compared with."""
    from flight.encoder.encoder import open_encoder
    from flight.encoder.graph import EncoderError
    from ground.encoders.export import Form, Precision, exported, lowered

    shape = calibration.shape[1:]
    network = lowered(frozen, Precision.int8, calibration)
    embed: Embed = network.embed
    for form in Form:
        try:
            embed = open_encoder(exported(network, form, *shape[:2]).data)
            break
        except EncoderError as error:
            progress(f"{form}: {error}")
    name, grid = f"{frozen.name} int8", frozen.shapes(*shape[:2])[-1]
    return Eyes(name, hashlib.sha256(name.encode()).hexdigest(), shape, grid, frozen.low, frozen.top, embed)
