"""One record a chip, of about 4 kB: what is kept of it in a reservoir or an archive, to learn and predict from."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from flight.learn.embedding import Embedding
from flight.learn.features import CellFeatures
from flight.learn.resting import offsets

CELL_BYTES = 4096
_MEAN_UNIT = 1 << 12  # a chip's in a record, in 2^-12
MAX_SIDE_CELLS = 12
WIDE_CELLS = 15  # 60 pixels


class WideStatistics(CellFeatures):
    """The statistics of `CellFeatures` in a fourth, wider window too, without the raw patches: 28 for three bands."""

    def __init__(self, shape: tuple[int, int, int]) -> None:
        super().__init__(shape)
        self._windows = [*self._windows, (_mirrored(self.rows), _mirrored(self.cols), WIDE_CELLS)]
        per_window = 2 * self.bands + 1
        self.n_features += per_window
        self.low, self.top = (np.concatenate([a, a[-per_window:]])[self.n_raw :] for a in (self.low, self.top))
        self._out = np.empty((self.n_cells, self.n_features), np.float32)
        self.n_statistics = self.n_features - self.n_raw

    def __call__(self, chip: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Standardised statistics (n_cells, n_statistics) of `chip`; the array is reused by the next call."""
        return super().__call__(chip)[:, self.n_raw :]


class Records:
    """Codes of chips: statistics of cells on a lattice, 8 bits a value, and the chip's mean embedding, 16 bits.

    The lattice has up to 12 x 12 cells, fewer where so many would take over 4 kB.

    Attributes:
        n_bytes: length of a record.
        lattice: indices of the cells that are kept.
    """

    def __init__(self, statistics: WideStatistics, embedding: Embedding) -> None:
        self.statistics, self.embedding = statistics, embedding
        k = statistics.n_statistics
        side = min(MAX_SIDE_CELLS, math.isqrt(CELL_BYTES // k))
        rows, cols = (_spread(n, side) for n in (statistics.rows, statistics.cols))
        self.lattice = (rows[:, None] * statistics.cols + cols).ravel()
        self._n_cell_bytes = len(self.lattice) * k
        self.n_bytes = self._n_cell_bytes + 2 * embedding.n_out
        self._offset = offsets(embedding.n_units, embedding.n_out)
        self._scale = ((statistics.top - statistics.low) / 255.0).astype(np.float32)
        self._low = statistics.low.astype(np.float32)

    def encode(self, cells: NDArray[np.float32], mean: NDArray[np.floating]) -> NDArray[np.uint8]:
        """The record (n_bytes,) of a chip with statistics `cells` (n_cells, k) and mean embedding `mean`."""
        codes = np.rint((cells[self.lattice] - self._low) / self._scale)
        tail = np.clip(np.rint((mean + self._offset) * _MEAN_UNIT), 0, 65535).astype("<u2").view(np.uint8)
        return np.concatenate([np.clip(codes, 0, 255).astype(np.uint8).ravel(), tail])

    def cells(self, records: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Statistics (n, n_lattice, k) of the lattice's cells."""
        codes = records[:, : self._n_cell_bytes].reshape(len(records), len(self.lattice), -1)
        cells = codes.astype(np.float32)
        cells *= self._scale
        cells += self._low
        return cells

    def means(self, records: NDArray[np.uint8]) -> NDArray[np.float64]:
        """Mean embeddings (n, n_out)."""
        codes = np.ascontiguousarray(records[:, self._n_cell_bytes :]).view("<u2")
        return np.asarray(codes / _MEAN_UNIT - self._offset)


def _spread(n: int, side: int) -> NDArray[np.int64]:
    """`side` of `n` positions, or all if there are fewer, evenly spread."""
    side = min(n, side)
    return (2 * np.arange(side) + 1) * n // (2 * side)


def _mirrored(n: int) -> NDArray[np.float64]:
    """Weights (n, n) that sum `WIDE_CELLS` cells around each, cells beyond the ends mirrored as often as it takes."""
    centre, step = np.meshgrid(np.arange(n), np.arange(WIDE_CELLS) - WIDE_CELLS // 2, indexing="ij")
    at = (centre + step) % (2 * n)
    weights = np.zeros((n, n))
    np.add.at(weights, (centre, np.minimum(at, 2 * n - 1 - at)), 1.0)
    return weights
