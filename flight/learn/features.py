"""What a cell of 4 x 4 pixels looks like: its raw patch, and statistics of windows around it.

Every window is a block of whole cells (1, 3, 7 and 15 cells wide, mirrored at the chip's edge), so sums over windows
are small products of sums over cells. All sums are integers held exactly in floating point.

Standardisation uses constants, the same for every sensor and every stream: then a chip's features depend on that chip
alone, and sums of them on no order. A ridge regression in the metric of the embedding's own covariance, as in
`flight.learn.moments`, does not change under linear maps of its inputs; only the knots of the random ReLUs notice.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from flight.learn.grid import Encoder, Grid, NoGrid

CELL_PX = 4
MAX_BANDS = 13
MIN_SIDE_PX = 16
MAX_SIDE_PX = 512
WINDOWS_CELLS = (1, 3, 7)  # 4, 12 and 28 pixels
WIDE_WINDOWS_CELLS = (1, 3, 7, 15)  # and 60

# (centre, scale) of each kind of feature, in digital numbers or their logarithms, and the greatest digital number.
LEVEL = (100.0, 50.0)
LOG_STD = (2.0, 1.0)
LOG_GRADIENT = (1.5, 0.8)
_LIMITS = (
    (-LEVEL[0] / LEVEL[1], (255.0 - LEVEL[0]) / LEVEL[1]),
    (-LOG_STD[0] / LOG_STD[1], (math.log1p(127.5) - LOG_STD[0]) / LOG_STD[1]),
    (-LOG_GRADIENT[0] / LOG_GRADIENT[1], (math.log1p(255.0) - LOG_GRADIENT[0]) / LOG_GRADIENT[1]),
)


def check_chip_shape(shape: tuple[int, ...], name: str = "chips") -> tuple[int, int, int]:
    """`shape` as (height, width, bands), or ValueError if no learner can take such chips."""
    if len(shape) != 3:
        raise ValueError(f"{name}: expected shape (n, height, width, bands), found a chip of shape {shape}")
    height, width, bands = shape
    for side, value in (("height", height), ("width", width)):
        if not MIN_SIDE_PX <= value <= MAX_SIDE_PX or value % CELL_PX:
            raise ValueError(
                f"{name}: {side} is {value}, expected a multiple of {CELL_PX} from {MIN_SIDE_PX} to {MAX_SIDE_PX}"
            )
    if not 1 <= bands <= MAX_BANDS:
        raise ValueError(f"{name}: {bands} bands, expected 1 to {MAX_BANDS}")
    return height, width, bands


def patches(chip: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """The chip (height, width, bands) as one row a cell: (n_cells, 16 * bands), row by row, band fastest."""
    height, width, bands = chip.shape
    blocks = chip.reshape(height // CELL_PX, CELL_PX, width // CELL_PX, CELL_PX * bands)
    return blocks.transpose(0, 2, 1, 3).reshape(-1, CELL_PX * CELL_PX * bands)


def window_matrix(n_cells: int, width: int) -> NDArray[np.float64]:
    """Weights (n_cells, n_cells) that sum `width` cells around each, mirrored at the ends as often as it takes."""
    centre, step = np.meshgrid(np.arange(n_cells), np.arange(width) - width // 2, indexing="ij")
    at = (centre + step) % (2 * n_cells)
    weights = np.zeros((n_cells, n_cells))
    np.add.at(weights, (centre, np.minimum(at, 2 * n_cells - 1 - at)), 1.0)
    return weights


class CellFeatures:
    """Features of the cells of one chip: 16 raw values a band, then 2 statistics a band and a gradient for each window.

    For three bands: 48 + 3 * 7 = 69. The statistics are the mean of each band, log(1 + standard deviation) of each
    band and log(1 + mean absolute gradient) of the mean of all bands. What an encoder says of a cell follows them.

    Args:
        shape: (height, width, bands) of a chip.
        windows: their widths in cells.
        raw: whether the raw values are among the features.
        encoder: whose embeddings are, if any.

    Attributes:
        n_features: of a cell; the last `n_features - n_own` are embeddings.
        grid: of embeddings.
        kinds: (n_features,), 0 for levels, 1 for standard deviations, 2 for gradients, 3 for embeddings.
        low, top: (n_features,), the least and greatest value that a feature can take.
    """

    def __init__(
        self,
        shape: tuple[int, int, int],
        windows: tuple[int, ...] = WINDOWS_CELLS,
        *,
        raw: bool = True,
        encoder: Encoder | None = None,
    ) -> None:
        height, width, self.bands = check_chip_shape(shape)
        self.rows, self.cols = height // CELL_PX, width // CELL_PX
        self.n_cells = self.rows * self.cols
        self.windows = windows
        self.n_raw = CELL_PX * CELL_PX * self.bands if raw else 0
        self.n_own = self.n_raw + len(windows) * (2 * self.bands + 1)
        one_window = [0] * self.bands + [1] * self.bands + [2]
        self.kinds = np.array([0] * self.n_raw + one_window * len(windows))
        self.low, self.top = np.array(_LIMITS)[self.kinds].T
        self.grid = Grid(encoder, (height, width, self.bands), (self.rows, self.cols)) if encoder else NoGrid()
        self.kinds = np.append(self.kinds, np.full(self.grid.width, 3))
        self.low, self.top = np.append(self.low, self.grid.low), np.append(self.top, self.grid.top)
        self.n_features = len(self.kinds)
        self._by_band = np.tile(np.eye(self.bands, dtype=np.float32), (CELL_PX * CELL_PX, 1))
        self._windows = [(window_matrix(self.rows, w), window_matrix(self.cols, w), w) for w in windows]
        self._out = np.empty((self.n_cells, self.n_features), np.float32)

    def __call__(self, chip: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Standardised features (n_cells, n_features) of `chip`; the array is reused by the next call."""
        raw = patches(chip).astype(np.float32)
        out = self._out
        if self.n_raw:
            np.subtract(raw, np.float32(LEVEL[0]), out=out[:, : self.n_raw])
            out[:, : self.n_raw] *= np.float32(1.0 / LEVEL[1])
        sums = np.empty((self.rows, self.cols, 2 * self.bands + 1))
        grid = (self.rows, self.cols, self.bands)
        sums[:, :, : self.bands] = (raw @ self._by_band).reshape(grid)
        np.multiply(raw, raw, out=raw)
        sums[:, :, self.bands : -1] = (raw @ self._by_band).reshape(grid)
        sums[:, :, -1] = self._gradient(chip)
        at = self.n_raw
        for rows, cols, width in self._windows:
            block = self._window(sums, rows, cols, CELL_PX * CELL_PX * width * width)
            out[:, at : at + block.shape[1]] = block
            at += block.shape[1]
        if isinstance(self.grid, Grid):
            out[:, at:] = self.grid.cells(chip)
        return out

    def _gradient(self, chip: NDArray[np.uint8]) -> NDArray[np.int32]:
        """Sum over each cell of |d/dx| + |d/dy| of the sum of bands; a mirrored edge has no gradient across it."""
        grey = chip.sum(axis=2, dtype=np.int16)
        total = np.zeros(grey.shape, np.int32)
        total[:, :-1] += np.abs(np.diff(grey, axis=1))
        total[:-1, :] += np.abs(np.diff(grey, axis=0))
        rows = np.add.reduceat(total, np.arange(0, total.shape[0], CELL_PX), axis=0)
        cells: NDArray[np.int32] = np.add.reduceat(rows, np.arange(0, total.shape[1], CELL_PX), axis=1)
        return cells

    def _window(
        self, sums: NDArray[np.float64], rows: NDArray[np.float64], cols: NDArray[np.float64], n_px: int
    ) -> NDArray[np.float64]:
        """Standardised statistics (n_cells, 2 * bands + 1) from sums over cells, in windows of `n_px` pixels."""
        b = self.bands
        box = cols @ (rows @ sums.reshape(self.rows, -1)).reshape(self.rows, self.cols, -1)
        flat = box.reshape(self.n_cells, -1) * (1.0 / n_px)
        mean = flat[:, :b]
        std = np.sqrt(np.maximum(flat[:, b:-1] - mean * mean, 0.0))
        flat[:, b:-1] = (np.log1p(std) - LOG_STD[0]) * (1.0 / LOG_STD[1])
        flat[:, -1] = (np.log1p(flat[:, -1] * (0.5 / b)) - LOG_GRADIENT[0]) * (1.0 / LOG_GRADIENT[1])
        flat[:, :b] = (mean - LEVEL[0]) * (1.0 / LEVEL[1])
        return flat
