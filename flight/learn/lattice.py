"""The cells of a chip that its record keeps: on a lattice, 8 bits a statistic."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray


class Lattice(NamedTuple):
    """Codes of the cells that the records of some chips keep.

    Attributes:
        codes: uint8 (n, n_bytes), contiguous; a chip's codes stand first in its row, cell by cell.
        scale, low: (k,); a statistic is its code times `scale` plus `low`.
        n_cells, k: cells of each chip, and statistics of each cell.
        correlated: which statistics have their correlations taken, ascending.
    """

    codes: NDArray[np.uint8]
    scale: NDArray[np.float32]
    low: NDArray[np.float32]
    n_cells: int
    k: int
    correlated: NDArray[np.int64]

    def cells(self, i: int) -> NDArray[np.float32]:
        """Statistics (1, n_cells, k) of chip `i`."""
        cells = self.codes[i, : self.n_cells * self.k].reshape(1, self.n_cells, self.k).astype(np.float32)
        cells *= self.scale
        cells += self.low
        return cells


def spread(n: int, side: int) -> NDArray[np.int64]:
    """`side` of `n` positions, or all if there are fewer, evenly spread."""
    side = min(n, side)
    return (2 * np.arange(side) + 1) * n // (2 * side)
