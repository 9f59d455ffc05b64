"""Training, validation and test municipalities: drawn one by one, or by blocks of land so that they lie apart."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

import numpy as np
from numpy.typing import NDArray

from ground.gis import GisError
from ground.imagery import TEST, TRAIN, VALIDATION


class SplitBy(StrEnum):
    """What is drawn."""

    municipality = "municipality"
    block = "block"


@dataclass(frozen=True)
class SplitOptions:
    """How municipalities are split: by what, parts of training, validation and test, size of a block, seed."""

    by: SplitBy = SplitBy.municipality
    parts: tuple[float, float, float] = (0.7, 0.15, 0.15)
    block_km: float = 20.0
    seed: int = 0


def parse_parts(text: str) -> tuple[float, float, float]:
    """Shares of training, validation and test, as in "70:15:15"; GisError for anything else."""
    try:
        train, validation, test = (float(part) for part in text.split(":"))
    except ValueError:
        raise GisError(f"--parts {text}: must be three numbers, TRAIN:VALIDATION:TEST, such as 70:15:15") from None
    total = train + validation + test
    if not (min(train, validation, test) >= 0 and train > 0 and np.isfinite(total)):
        raise GisError(f"--parts {text}: parts are not negative, and training has some")
    return train / total, validation / total, test / total


def draw_splits(options: SplitOptions, centres_m: NDArray[np.float64], chips: NDArray[np.int64]) -> NDArray[np.uint8]:
    """Split (n,) of municipalities with `centres_m` (n, 2) on the grid and `chips` (n,) of which they are the first.

    A municipality belongs to the block of its centre. Units are drawn in a random order, and each goes where most chips
    are lacking; a municipality without a chip is a training one.
    """
    n = len(chips)
    if options.by is SplitBy.block:
        if not (np.isfinite(options.block_km) and options.block_km > 0):
            raise GisError(f"--block-km {options.block_km:g}: must be above 0")
        cell = np.floor(centres_m / (options.block_km * 1000)).astype(np.int64)
        _, unit = np.unique(cell, axis=0, return_inverse=True)
        unit = unit.reshape(-1)
    else:
        unit = np.arange(n)
    of_unit = np.bincount(unit, chips, int(unit.max(initial=-1)) + 1)
    wanted, have = np.array(options.parts) * chips.sum(), np.zeros(3)
    split_of_unit = np.full(len(of_unit), TRAIN, np.uint8)
    rng = np.random.Generator(np.random.PCG64(options.seed))
    for u in rng.permutation(np.flatnonzero(of_unit > 0)):
        lacking = np.where(wanted > 0, (wanted - have) / np.maximum(wanted, 1e-9), -np.inf)
        split = int(np.argmax(lacking))
        have[split] += of_unit[u]
        split_of_unit[u] = (TRAIN, VALIDATION, TEST)[split]
    return np.where(chips > 0, split_of_unit[unit], TRAIN).astype(np.uint8)
