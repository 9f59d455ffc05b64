"""Learners of every kind as tests make them: quick, without an encoder and with one."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from flight.kernels.backend import NUMPY, Backend
from flight.learn import LEARNERS, Encoder, Learner, load_state
from flight.learn.conformance import SIDE, World, world

__all__ = ["SIDE", "World", "world"]  # the made-up Earth is that of the conformance suite
DATA = Path(__file__).parents[2].parent / "shared" / "data"
# What keeps learners quick in tests of the contract; one that needs nothing is left out.
QUICK: dict[str, dict[str, Any]] = {
    "moments": {"n_units": 64},
    "swath": {"n_steps": 30, "reservoir": 64},
    "hybrid": {"n_steps": 30, "reservoir": 64},
    "downconv": {"n_steps": 30, "reservoir": 40, "cells_per_chip": 9},
    "qkm": {"n_steps": 80, "reservoir": 40, "cells_per_chip": 9, "n_prototypes": 16, "learning_rate": 0.3},
}


class FakeEncoder:
    """A fixed random projection of blocks of 8 x 8 pixels: as deterministic as a real one, and made for any chips."""

    def __init__(self, shape: tuple[int, ...], width: int = 6, seed: int = 0) -> None:
        height, image_width, bands = shape
        self.chip_shape, self.grid = (height, image_width, bands), (height // 8, image_width // 8, width)
        self.digest = hashlib.sha256(repr((shape, width, seed)).encode()).hexdigest()
        self.low, self.top = np.full(width, -1.0, np.float32), np.full(width, 1.5, np.float32)
        self._weights = np.random.Generator(np.random.PCG64(seed)).standard_normal((64 * bands, width)) / 8
        self.calls = 0

    def __call__(self, chips: NDArray[np.uint8]) -> NDArray[np.float32]:
        rows, cols, width = self.grid
        self.calls += len(chips)
        blocks = chips.reshape(len(chips), rows, 8, cols, 8, -1).swapaxes(2, 3).reshape(len(chips), rows, cols, -1)
        means = blocks.reshape(*blocks.shape[:3], 64, -1).mean(axis=3) / 64
        # One chip at a time: a sum of floats may depend on how many stand beside it.
        grids = [np.tanh((block / 255.0 - 0.5) @ self._weights + mean.sum(axis=-1, keepdims=True) - 2)
                 for block, mean in zip(blocks, means, strict=True)]  # fmt: skip
        return np.array(grids, np.float32).reshape(-1, rows, cols, width)


WITH_ENCODER = " with an encoder"
# Every learner, and once more those that an encoder can be used with.
KINDS = sorted([*LEARNERS, *(name + WITH_ENCODER for name, cls in LEARNERS.items() if cls.takes_encoder)])


def encoder_of(kind: str, shape: tuple[int, ...] = (SIDE, SIDE, 3)) -> Encoder | None:
    return FakeEncoder(shape) if kind.endswith(WITH_ENCODER) else None


def new(kind: str, shape: tuple[int, ...] = (SIDE, SIDE, 3), **params: Any) -> Learner:
    """The learner of a kind, for chips of `shape`."""
    return LEARNERS[kind.removesuffix(WITH_ENCODER)](**params).use(Backend(NUMPY), encoder_of(kind, shape))


def quick(kind: str, shape: tuple[int, ...] = (SIDE, SIDE, 3), **params: Any) -> Learner:
    return new(kind, shape, **{**QUICK.get(kind.removesuffix(WITH_ENCODER), {}), **params})


def restored(kind: str, state: bytes, shape: tuple[int, ...] = (SIDE, SIDE, 3)) -> Learner:
    return load_state(state, encoder=encoder_of(kind, shape))
