"""Patches of 4 x 4 pixels at a regular stride: all of a chip's, some of them, and the cells that they overlap."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from flight.learn.features import CELL_PX, check_chip_shape
from flight.learn.networks import Patches

_CROP_FROM, _CROP_TO = (100, 100), 96
_SUMMARY_STEP_PX = 2 * CELL_PX


class PatchGrid:
    """Where the patches of a chip are; chips of 100 x 100 pixels are cropped to their central 96 x 96.

    Attributes:
        rows, cols: patches down and across.
        n_inputs: values of a patch, 16 a band, row by row, band fastest.
        map_shape: rows and columns of cells, which do not overlap.
        lattice: indices of the patches at every other cell of every other row: a quarter of the chip's pixels.
    """

    def __init__(self, shape: tuple[int, ...], stride_px: int) -> None:
        height, width, bands = check_chip_shape(shape)
        margin = (_CROP_FROM[0] - _CROP_TO) // 2 if (height, width) == _CROP_FROM else 0
        tall, wide = height - 2 * margin, width - 2 * margin
        self.rows, self.cols = (tall - CELL_PX) // stride_px + 1, (wide - CELL_PX) // stride_px + 1
        self.n_inputs = CELL_PX * CELL_PX * bands
        self.map_shape = (tall // CELL_PX, wide // CELL_PX)
        step = _SUMMARY_STEP_PX // stride_px
        self.lattice = np.arange(len(self)).reshape(self.rows, self.cols)[::step, ::step].reshape(-1)
        row, col = margin + stride_px * np.arange(self.rows), margin + stride_px * np.arange(self.cols)
        self._start = ((row[:, None] * width + col) * bands).reshape(-1)
        inside = np.arange(CELL_PX)[:, None] * width * bands + np.arange(CELL_PX * bands)
        self._inside = inside.reshape(-1)
        self._down = _overlaps(self.map_shape[0], self.rows, stride_px)
        self._across = _overlaps(self.map_shape[1], self.cols, stride_px)

    def __len__(self) -> int:
        return self.rows * self.cols

    def all(self, chip: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """Every patch of `chip` (height, width, bands): (rows * cols, n_inputs)."""
        return np.ascontiguousarray(chip).reshape(-1)[self._start[:, None] + self._inside]

    def some(self, chips: NDArray[np.uint8], at: NDArray[np.integer] | None) -> NDArray[np.uint8]:
        """Patches `at` (n, count), or all, of `chips` (n, height, width, bands): (n, count, n_inputs)."""
        flat = np.ascontiguousarray(chips).reshape(len(chips), math.prod(chips.shape[1:]))
        starts = self._start[None] if at is None else self._start[at]
        taken: NDArray[np.uint8] = flat[np.arange(len(chips))[:, None, None], starts[:, :, None] + self._inside]
        return taken

    def batch(
        self,
        chips: NDArray[np.uint8],
        which: NDArray[np.integer],
        at: NDArray[np.integer] | None = None,
        mean: NDArray[np.float32] | None = None,
    ) -> Patches:
        """Patches `at` (n, count), or every patch, of chips `which` (n,), for kernels; `mean` is taken from them."""
        starts = self._start if at is None else self._start[at]
        row_bytes = chips.shape[2] * chips.shape[3]
        return Patches(chips, which.astype(np.int64), starts, row_bytes, self.n_inputs // CELL_PX, mean)

    def cells(self, values: NDArray[np.floating]) -> NDArray[np.floating]:
        """Values (rows * cols, c) of patches as those of cells (*map_shape, c).

        A cell is the mean of the patches that overlap it, weighted by the pixels that they share.
        """
        grid = (self._down @ values.reshape(self.rows, -1)).reshape(len(self._down), self.cols, -1)
        return np.asarray(self._across @ grid)


def _overlaps(n_cells: int, n_patches: int, stride_px: int) -> NDArray[np.float32]:
    """Weights (n_cells, n_patches), rows sum to 1: pixels that a patch and a cell share along one side."""
    apart = np.abs(CELL_PX * np.arange(n_cells)[:, None] - stride_px * np.arange(n_patches))
    shared = np.maximum(CELL_PX - apart, 0).astype(np.float32)
    return np.asarray(shared / shared.sum(axis=1, keepdims=True))
