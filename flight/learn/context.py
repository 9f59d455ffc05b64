"""What a chip is like as a whole: the means, spreads and correlations of its cells' statistics, on a few axes."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from flight.learn.lattice import spread

if TYPE_CHECKING:
    from flight.learn.arithmetic import Arithmetic

_MAX_CORRELATED = 28  # statistics whose correlations are taken; all of three bands'
_LEAST_VARIANCE = 1e-4
_LEAST_LOG, _LOG_2 = -4.6051702, 0.6931472  # of the root of the least variance; of 2
_LEAST = 1e-3
_MOST = 1024  # descriptions in work at a time, and those that axes are found of, evenly spread


def describe(cells: NDArray[np.float32], some: NDArray[np.int64]) -> NDArray[np.float32]:
    """Statistics of cells (n, n_cells, k) to descriptions (n, m) of their chips.

    Means and logarithms of standard deviations of all k, then the correlations of `some` of them.
    """
    n, n_cells = cells.shape[:2]
    mean = cells.mean(axis=1)
    x = cells - mean[:, None]
    deviation = np.sqrt(np.maximum(np.einsum("nij,nij->nj", x, x) / np.float32(n_cells), np.float32(_LEAST_VARIANCE)))
    x /= deviation[:, None]
    rows, cols = np.triu_indices(len(some), 1)
    correlations = np.empty((n, len(rows)), np.float32)
    for i, chip in enumerate(x[:, :, some]):
        correlations[i] = (chip.T @ chip)[rows, cols] / np.float32(n_cells)
    return np.concatenate([mean, np.log(deviation), correlations], axis=1)


def correlated(k: int, n_components: int = 0) -> NDArray[np.int64]:
    """Which of `k` statistics have their correlations taken, ascending: up to 28 of them, evenly spread.

    With an encoder, the `n_components` of its embedding, which stand last.
    """
    if n_components:
        return np.arange(k - n_components, k)
    return spread(k, _MAX_CORRELATED)


def length(k: int, n_some: int) -> int:
    """Length of a description of `k` statistics, with the correlations of `n_some` of them."""
    return 2 * k + n_some * (n_some - 1) // 2


def limits(
    low: NDArray[np.floating], top: NDArray[np.floating], n_some: int
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Bounds (m,) below and above each part of a description of statistics between `low` and `top` (k,).

    A logarithm is bounded by the exponent of its number, which is the same on every processor.
    """
    pairs = np.ones(n_some * (n_some - 1) // 2)
    greatest = _LOG_2 * np.frexp((top - low) / 2)[1]
    return np.concatenate([low, np.full(len(low), _LEAST_LOG), -pairs]), np.concatenate([top, greatest, pairs])


class Descriptions(Protocol):
    """Descriptions (n, m) of chips, of which some rows are looked at in turn."""

    def __len__(self) -> int: ...

    def __getitem__(self, rows: slice, /) -> NDArray[np.float32]: ...


class Axes(NamedTuple):
    """The axes along which some chips' descriptions differ most, each description first divided by its spread.

    Attributes:
        centre: (m,), mean description.
        basis: (m, n_axes); (description - centre) @ basis are places.
    """

    centre: NDArray[np.float64]
    basis: NDArray[np.float64]


def axes(
    descriptions: Descriptions, n_axes: int, arithmetic: Arithmetic, graded: bool = False
) -> tuple[Axes, NDArray[np.float64]]:
    """Up to `n_axes` principal axes of `descriptions` (n, m), fewer than n and up to m, and places (n, n_axes) there.

    Along each axis, places have unit variance; if `graded`, the root of the share of the axis in the greatest one's.
    No label is used.
    """
    x = descriptions[:: -(-len(descriptions) // _MOST)].astype(np.float64)
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
    root = np.sqrt(np.maximum(values, 0.0))
    turn = Q / ((np.sqrt(root * root[-1:]) if graded else root) + _LEAST)
    places = np.empty((len(descriptions), count))
    for start in range(0, len(places), _MOST):
        some = slice(start, start + _MOST)
        x = descriptions[some] - centre
        x /= scale
        places[some] = arithmetic.product(x, turn)
    return Axes(centre, turn / scale[:, None]), places
