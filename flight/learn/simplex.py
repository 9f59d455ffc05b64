"""Euclidean projection to the probability simplex."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def project(points: NDArray[np.floating]) -> NDArray[np.float64]:
    """The nearest point of the simplex to each row of `points` (..., n_classes).

    Held, Wolfe and Crowder (1974): subtract the one threshold that makes the positive parts sum to 1.
    """
    x = np.asarray(points, np.float64)
    descending = -np.sort(-x, axis=-1)
    excess = np.cumsum(descending, axis=-1) - 1.0
    rank = np.arange(1, x.shape[-1] + 1)
    last = (descending * rank > excess).sum(axis=-1, keepdims=True) - 1
    threshold = np.take_along_axis(excess, last, axis=-1) / (last + 1)
    result: NDArray[np.float64] = np.maximum(x - threshold, 0.0)
    return result
