"""A small made-up Earth: chips of coloured, textured cells, and municipalities that differ in their mixture."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from flight.learn import LEARNERS, Learner

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


def quick(name: str, **params: Any) -> Learner:
    return LEARNERS[name](**{**QUICK.get(name, {}), **params})
