"""Softmax over classes of cells, and its derivative: classes are rows, cells lie along vectors."""

from __future__ import annotations

from typing import Any

import numpy as np

from flight.kernels.native.language import helper, inlined
from flight.kernels.native.vector import (
    LANES,
    iota,
    load,
    splat,
    store,
    total,
    vexp,
    vfma,
    vmax,
    where_less,
)

_ZERO, _ONE = np.float32(0), np.float32(1)


@inlined
def inside(value: Any, first: int, n: int) -> Any:
    """`value`, but 0 in the lanes whose cells, from `first` on, are not below `n`."""
    return where_less(iota(), splat(np.float32(n - first)), value, splat(_ZERO))


@helper
def softmax(scores: Any, row: int, n_classes: int, first: int, last: int) -> None:
    """Scores (n_classes, row) of cells `first` to `last` become shares; each is a whole number of vectors."""
    for i in range(first, last, LANES):
        top = load(scores, i)
        for c in range(1, n_classes):
            top = vmax(top, load(scores, c * row + i))
        whole = splat(_ZERO)
        for c in range(n_classes):
            e = vexp(load(scores, c * row + i) - top)
            store(scores, c * row + i, e)
            whole = whole + e
        part = splat(_ONE) / whole
        for c in range(n_classes):
            store(scores, c * row + i, load(scores, c * row + i) * part)


@helper
def mean_of_cells(shares: Any, row: int, n_classes: int, n: int, mean: Any) -> None:
    """Means (n_classes,) over the first `n` cells of shares (n_classes, row)."""
    for c in range(n_classes):
        whole = splat(_ZERO)
        for i in range(0, n, LANES):
            whole = whole + inside(load(shares, c * row + i), i, n)
        mean[c] = total(whole) / np.float32(n)


@helper
def softmax_back(shares: Any, row: int, n_classes: int, n: int, d_mean: Any) -> None:
    """Shares (n_classes, row) become the gradient for the scores, of a loss with gradient `d_mean` for their means.

    Rows are whole vectors; cells beyond the first `n` have gradient 0.
    """
    unit = splat(_ONE / np.float32(n))
    for i in range(0, n, LANES):
        inner = splat(_ZERO)
        for c in range(n_classes):
            inner = vfma(load(shares, c * row + i), splat(d_mean[c]), inner)
        for c in range(n_classes):
            d = load(shares, c * row + i) * ((splat(d_mean[c]) - inner) * unit)
            store(shares, c * row + i, inside(d, i, n))
