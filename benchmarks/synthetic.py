"""Chips and municipalities to measure speed on: what they look like matters little, that they are whole chips does."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

SHAPE = (96, 96, 3)
CLASSES = 5
CHIPS_PER_MUNICIPALITY = 8


class Sample(NamedTuple):
    """Chips (n, 96, 96, 3), the municipality of each, and its label table (n_municipalities, 5)."""

    chips: NDArray[np.uint8]
    bags: NDArray[np.int64]
    table: NDArray[np.float32]


def sample(n: int, seed: int = 0) -> Sample:
    """`n` chips of blocks with a level and a roughness of their own, eight a municipality."""
    rng = np.random.Generator(np.random.Philox(seed))
    height, width, bands = SHAPE
    chips = np.empty((n, *SHAPE), np.uint8)
    for chip in chips:
        level = rng.uniform(30, 200, (height // 16, width // 16, bands)).repeat(16, axis=0).repeat(16, axis=1)
        rough = rng.uniform(0, 30, (height // 16, width // 16, 1)).repeat(16, axis=0).repeat(16, axis=1)
        chip[:] = np.clip(level + rough * rng.standard_normal(SHAPE, np.float32), 0, 255)
    bags = np.arange(n) // CHIPS_PER_MUNICIPALITY
    return Sample(chips, bags, rng.dirichlet(np.ones(CLASSES), int(bags[-1]) + 1).astype(np.float32))
