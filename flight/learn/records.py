"""One record a chip, of about 4 kB: what is kept of it in a reservoir or an archive, to learn and predict from."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from flight.learn import context
from flight.learn.embedding import Embedding
from flight.learn.lattice import Lattice, spread
from flight.learn.resting import offsets

CELL_BYTES = 4096
_MEAN_UNIT = 1 << 12  # a chip's in a record, in 2^-12
MAX_SIDE_CELLS = 12


class Records:
    """Codes of chips: statistics of cells on a lattice, 8 bits a value, and the chip's mean embedding, 16 bits.

    The lattice has up to 12 x 12 cells, fewer where so many would take over 4 kB.

    Attributes:
        n_bytes: length of a record.
        lattice: indices of the cells that are kept.
    """

    def __init__(self, embedding: Embedding) -> None:
        features = embedding.features
        self.n_statistics = features.n_features
        side = min(MAX_SIDE_CELLS, math.isqrt(CELL_BYTES // self.n_statistics))
        self._rows, self._cols = (spread(n, side) for n in (features.rows, features.cols))
        self.lattice = (self._rows[:, None] * features.cols + self._cols).ravel()
        self._n_cell_bytes = len(self.lattice) * self.n_statistics
        self.n_bytes = self._n_cell_bytes + 2 * embedding.n_out
        self._offset = offsets(embedding.n_units, embedding.n_out)
        self._scale = ((features.top - features.low) / 255.0).astype(np.float32)
        self._low = features.low.astype(np.float32)
        self.correlated = context.correlated(self.n_statistics, features.grid.width)
        self.limits = context.limits(features.low, features.top, len(self.correlated))

    def some(self, side: int) -> NDArray[np.int64]:
        """Which of the lattice's cells make a coarser one, of `side` x `side` cells or as many as there are."""
        rows, cols = (spread(len(at), side) for at in (self._rows, self._cols))
        return np.asarray((rows[:, None] * len(self._cols) + cols).ravel())

    def encode(self, cells: NDArray[np.float32], mean: NDArray[np.floating]) -> NDArray[np.uint8]:
        """The record (n_bytes,) of a chip with statistics `cells` (n_cells, k) and mean embedding `mean`."""
        tail = np.clip(np.rint((mean + self._offset) * _MEAN_UNIT), 0, 65535).astype("<u2").view(np.uint8)
        return np.concatenate([self._codes(cells).ravel(), tail])

    def kept(self, records: NDArray[np.uint8]) -> Lattice:
        """The cells that `records` (n, n_bytes) keep."""
        return self.cells_of(records, len(self.lattice))

    def cells_of(self, rows: NDArray[np.uint8], n_cells: int) -> Lattice:
        """`n_cells` cells of chips, whose codes stand first in `rows` (n, n_bytes)."""
        codes = np.ascontiguousarray(rows)
        return Lattice(codes, self._scale, self._low, n_cells, self.n_statistics, self.correlated)

    def rounded(self, cells: NDArray[np.float32]) -> Lattice:
        """What the record of a chip with statistics `cells` (n_cells, k) keeps of them."""
        return self.kept(self._codes(cells).reshape(1, -1))

    def means(self, records: NDArray[np.uint8]) -> NDArray[np.float64]:
        """Mean embeddings (n, n_out)."""
        codes = np.ascontiguousarray(records[:, -2 * len(self._offset) :]).view("<u2")
        return np.asarray(codes / _MEAN_UNIT - self._offset)

    def _codes(self, cells: NDArray[np.float32]) -> NDArray[np.uint8]:
        codes = np.rint((cells[self.lattice] - self._low) / self._scale)
        return np.asarray(np.clip(codes, 0, 255), np.uint8)
