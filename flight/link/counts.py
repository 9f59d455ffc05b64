"""Proportions as counts that sum to `levels`: how label rows and predictions travel.

A row on the simplex becomes whole numbers by the method of the largest remainder (Hamilton's apportionment), which
keeps every proportion within 1/levels of its value. All steps are exact or single IEEE 754 operations in a fixed
order, so ground and satellite agree to the bit.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from .pack import CodecError

MIN_LEVELS, MAX_LEVELS = 2, 255


def quantise(proportions: NDArray[np.floating | np.integer], levels: int) -> NDArray[np.uint8]:
    """Counts (n, n_classes) that sum to `levels` in each row of `proportions` (n, n_classes), of any scale.

    Rows are normalised first. Among equal remainders the first class gets the count. Raises CodecError, naming the row,
    where one is negative, not finite, or all zero.
    """
    if not MIN_LEVELS <= levels <= MAX_LEVELS:
        raise CodecError(f"levels is {levels}, not between {MIN_LEVELS} and {MAX_LEVELS}")
    p = np.asarray(proportions, np.float64)
    total = np.zeros(len(p))
    with np.errstate(over="ignore", invalid="ignore"):
        for column in p.T:  # one class after the other: the order of additions is then the same everywhere
            total = total + column
        bad = ~np.isfinite(total) | (p < 0).any(1) | ~(total > 0)
    if bad.any():
        row = int(np.argmax(bad))
        raise CodecError(f"row {row} is not a set of proportions: {p[row].tolist()}")
    scaled = p / total[:, None] * levels
    counts = np.floor(scaled).astype(np.int64)
    rank = np.argsort(np.argsort(counts - scaled, axis=1, kind="stable"), axis=1, kind="stable")
    counts += rank < (levels - counts.sum(1))[:, None]
    return counts.astype(np.uint8)


def dequantise(counts: NDArray[np.uint8], levels: int) -> NDArray[np.float32]:
    """counts / levels, correctly rounded: the proportions that both ends of the link use."""
    return counts.astype(np.float32) / np.float32(levels)
