"""What a chip is like as a whole: the means, spreads and correlations of its cells' statistics, on a few axes."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numpy.typing import NDArray

from flight.learn.lattice import spread

if TYPE_CHECKING:
    from flight.learn.arithmetic import Arithmetic

MAX_AXES = 100
_MAX_CORRELATED = 28  # statistics whose correlations are taken; all of three bands'
_LEAST_VARIANCE = 1e-4
_LEAST = 1e-3


def describe(cells: NDArray[np.float32]) -> NDArray[np.float32]:
    """Statistics of cells (n, n_cells, k) to descriptions (n, m) of their chips.

    Means and logarithms of standard deviations of all k, then the correlations of up to 28 of them, evenly spread.
    """
    n, n_cells, k = cells.shape
    mean = cells.mean(axis=1)
    x = cells - mean[:, None]
    deviation = np.sqrt(np.maximum(np.einsum("nij,nij->nj", x, x) / np.float32(n_cells), np.float32(_LEAST_VARIANCE)))
    x /= deviation[:, None]
    some = correlated(k)
    rows, cols = np.triu_indices(len(some), 1)
    correlations = np.empty((n, len(rows)), np.float32)
    for i, chip in enumerate(x[:, :, some]):
        correlations[i] = (chip.T @ chip)[rows, cols] / np.float32(n_cells)
    return np.concatenate([mean, np.log(deviation), correlations], axis=1)


def correlated(k: int) -> NDArray[np.int64]:
    """Which of `k` statistics have their correlations taken, ascending."""
    return spread(k, _MAX_CORRELATED)


def length(k: int) -> int:
    """Length of a description of `k` statistics."""
    correlated = min(k, _MAX_CORRELATED)
    return 2 * k + correlated * (correlated - 1) // 2


class Axes(NamedTuple):
    """The axes along which some chips' descriptions differ most, each description first divided by its spread.

    Attributes:
        centre: (m,), mean description.
        basis: (m, n_axes); (description - centre) @ basis has unit variance along each axis.
    """

    centre: NDArray[np.float64]
    basis: NDArray[np.float64]


def axes(descriptions: NDArray[np.float32], n_axes: int, arithmetic: Arithmetic) -> tuple[Axes, NDArray[np.float64]]:
    """Up to `n_axes` principal axes of `descriptions` (n, m), fewer than n and up to m, and places (n, n_axes) there.

    No label is used.
    """
    x = descriptions.astype(np.float64)
    centre = arithmetic.mean(x)
    x -= centre
    scale = np.sqrt(arithmetic.mean(x * x)) + _LEAST
    x /= scale
    gram = arithmetic.gram(x)
    gram /= len(x)
    count = min(n_axes, len(x) - 1, len(gram))
    del x  # for the search of axes, where training takes most memory
    values, Q = arithmetic.greatest(gram, count, overwrite=True)
    del gram
    turn = Q / (np.sqrt(np.maximum(values, 0.0)) + _LEAST)
    x = descriptions - centre
    x /= scale
    return Axes(centre, turn / scale[:, None]), arithmetic.product(x, turn)
