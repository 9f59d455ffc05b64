"""A small made-up Earth: chips of coloured, textured cells, and municipalities that differ in their mixture."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from flight.kernels.backend import NUMPY, Backend
from flight.learn import LEARNERS, Encoder, Learner, load_state

DATA = Path(__file__).parents[2].parent / "shared" / "data"
SIDE = 24
LEVEL = np.array([[60, 90, 60], [120, 110, 90], [170, 170, 180]])
ROUGH = np.array([4.0, 12.0, 25.0])

# What keeps learners quick in tests of the contract; one that needs nothing is left out.
QUICK: dict[str, dict[str, Any]] = {
    "moments": {"n_units": 64},
    "swath": {"n_steps": 30, "reservoir": 64},
    "hybrid": {"n_steps": 30, "reservoir": 64},
    "downconv": {"n_steps": 30, "reservoir": 40, "cells_per_chip": 9},
    "qkm": {"n_steps": 80, "reservoir": 40, "cells_per_chip": 9, "n_prototypes": 16, "learning_rate": 0.3},
}


@dataclass
class World:
    """Chips with their municipalities, true proportions, and the table of the municipalities."""

    chips: NDArray[np.uint8]
    bag: NDArray[np.int32]
    labels: NDArray[np.uint8]
    proportions: NDArray[np.float64]
    table: NDArray[np.float32]


def world(n: int = 96, per_bag: int = 6, seed: int = 0, bands: int = 3) -> World:
    rng = np.random.Generator(np.random.PCG64(seed))
    bag = (np.arange(n) // per_bag).astype(np.int32)
    mixture = rng.dirichlet([0.6, 0.6, 0.6], int(bag.max()) + 1)
    cells = np.stack([rng.choice(3, (SIDE // 4, SIDE // 4), p=mixture[b]) for b in bag])
    labels = cells.repeat(4, axis=1).repeat(4, axis=2).astype(np.uint8)
    level = LEVEL[labels][..., np.arange(bands) % 3]
    pixels = level + ROUGH[labels][..., None] * rng.standard_normal((*labels.shape, bands))
    chips = np.clip(pixels, 0, 255).astype(np.uint8)
    proportions = np.stack([(labels == c).mean(axis=(1, 2)) for c in range(3)], axis=1)
    table = np.stack([proportions[bag == b].mean(axis=0) for b in range(len(mixture))]).astype(np.float32)
    return World(chips, bag, labels, proportions, table)


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
