"""How many dimensions an embedding really uses."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray


def effective_rank(rows: NDArray[np.floating]) -> float:
    """exp(H(p)) of `rows` (n, d), with p the singular values of the centred rows, divided by their sum.

    From 1, where all rows lie on a line, to d; 0 where all rows are the same. Roy and Vetterli 2007, "The effective
    rank: a measure of effective dimensionality", definition 1.
    """
    x = rows.astype(np.float64)
    x -= x.mean(axis=0)
    values = np.linalg.svd(x, compute_uv=False)
    scale = float(np.abs(rows).max(initial=0.0))
    if not np.isfinite(values).all() or values.sum() <= 1e-6 * scale * math.sqrt(x.size):
        return 0.0
    p = values[values > 0] / values.sum()
    return float(np.exp(-(p * np.log(p)).sum()))
