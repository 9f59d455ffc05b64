"""Sets as ascending arrays, for a process that has little memory.

`np.unique(x)` and `np.isin` load masked arrays (2 MB) to see whether they were given one.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray


def distinct(x: NDArray[Any]) -> NDArray[Any]:
    """The values of `x`, each once, ascending."""
    return np.asarray(np.unique(x, return_index=True)[0])


def contained(x: NDArray[np.integer], ascending: NDArray[np.integer]) -> NDArray[np.bool_]:
    """Which values of `x` are in `ascending`."""
    if not len(ascending):
        return np.zeros(len(x), np.bool_)
    at = np.minimum(np.searchsorted(ascending, x), len(ascending) - 1)
    return np.asarray(ascending[at] == x)
