"""What a chip is like as a whole: the means, spreads and correlations of its cells' statistics, on a few axes."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numpy.typing import NDArray

from flight.kernels import aligned
from flight.learn.blocks import Rows, blocks
from flight.learn.lattice import spread

if TYPE_CHECKING:
    from flight.learn.arithmetic import Arithmetic

_MAX_CORRELATED = 28  # statistics whose correlations are taken; all of three bands'
_LEAST_VARIANCE = 1e-4
_LEAST_LOG, _LOG_2 = -4.6051702, 0.6931472  # of the root of the least variance; of 2
_LEAST = 1e-3
_MOST = 1024  # descriptions that axes are found of, evenly spread


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


class Axes(NamedTuple):
    """The axes along which some chips' descriptions differ most, each description first divided by its spread.

    Attributes:
        centre: (m,), mean description.
        basis: (m, n_axes); (description - centre) @ basis are places.
    """

    centre: NDArray[np.float64]
    basis: NDArray[np.float64]


def axes(
    descriptions: Rows, n_axes: int, arithmetic: Arithmetic, graded: bool = False
) -> tuple[Axes, NDArray[np.float32]]:
    """Up to `n_axes` principal axes of `descriptions` (n, m), fewer than n and up to m, and places (n_axes, n) there.

    Along each axis, places have unit variance; if `graded`, the root of the share of the axis in the greatest one's.
    No label is used.
    """
    n = len(descriptions)
    centre, scale, gram, count = _correlations(descriptions, -(-n // _MOST), arithmetic)
    values, Q = arithmetic.greatest(gram, min(n_axes, count - 1, len(gram)), overwrite=True)
    del gram
    root = np.sqrt(np.maximum(values, 0.0))
    basis = Q / ((np.sqrt(root * root[-1:]) if graded else root) + _LEAST) / scale[:, None]
    places = aligned.empty((len(values), n))
    for some in blocks(n):
        places[:, some] = arithmetic.product(descriptions[some] - centre, basis).T
    return Axes(centre, basis), places


def _correlations(
    descriptions: Rows, step: int, arithmetic: Arithmetic
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64], int]:
    """Mean (m,) and spread (m,) of every `step`-th description, their correlations (m, m), and how many there are."""
    m = descriptions[:1].shape[1]
    centre, gram, count = np.zeros(m), np.zeros((m, m)), 0
    for some in blocks(len(descriptions), step):
        x = descriptions[some].astype(np.float64)
        centre += len(x) * arithmetic.mean(x)
        gram += arithmetic.gram(x)
        count += len(x)
    centre /= count
    gram /= count
    gram -= centre[:, None] * centre
    scale = np.sqrt(np.maximum(np.diag(gram), 0.0)) + _LEAST
    gram /= scale
    gram /= scale[:, None]
    return centre, scale, gram, count
