"""The region: which municipalities each chip of a grid overlaps, and by how much, as it goes up.

Shares are rounded to counts before they go up. `Region.quantised` gives the ground the map that the satellite will
have. A whole region goes up as a file of `flight.link.region_codec`, a change to one as a patch of
`flight.link.region_patch`; which region is meant, an `identity` says: its number and a digest of its content.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from . import pack as wire
from .counts import quantise
from .pack import CodecError

OVERLAPS = 4  # municipalities that a cell can have
NOBODY = -1
FULL = 255
MIN_LEVELS, MAX_LEVELS = 1, 56  # 1: each chip belongs to one municipality
DEFAULT_LEVELS = 8
MAX_SIDE = 65535
_BATCH = 65536  # cells at a time, where floats are needed


@dataclass(frozen=True, eq=False)
class Region:
    """The chip grid of an area and its municipalities. A municipality's index is its place in `codes`.

    Attributes:
        region_id: unsigned 32-bit integer.
        rows, cols: the grid.
        codes: one code a municipality, strings of 1 to 64 bytes.
        bags: int32 (rows x cols, 4), municipalities that a cell overlaps, largest first, padded with -1.
        weights: uint8 (rows x cols, 4), shares in 255ths: they sum to 255 where there is a chip, else all are 0.
    """

    region_id: int
    rows: int
    cols: int
    codes: tuple[str, ...]
    bags: NDArray[np.int32]
    weights: NDArray[np.uint8]

    def __post_init__(self) -> None:
        shape = (self.rows * self.cols, OVERLAPS)
        if self.rows < 1 or self.cols < 1 or not self.codes:
            raise CodecError(
                f"region: {self.rows} x {self.cols} cells and {len(self.codes)} codes; all must be positive"
            )
        if self.bags.shape != shape or self.weights.shape != shape or self.weights.dtype != np.uint8:
            raise CodecError(
                f"region: bags {self.bags.shape} and weights {self.weights.shape} {self.weights.dtype}; "
                f"expected {shape} and uint8"
            )
        if self.bags.min() < NOBODY or self.bags.max() >= len(self.codes):
            raise CodecError(f"region: municipalities {self.bags.min()} to {self.bags.max()} of {len(self.codes)}")
        self._check_cells()

    def _check_cells(self) -> None:
        bags, owned = self.bags, self.bags >= 0
        bad = self.weights.sum(1, dtype=np.uint16) != owned[:, 0] * np.uint16(FULL)
        bad |= (~owned & (self.weights > 0)).any(1) | (owned[:, 1:] & ~owned[:, :-1]).any(1)
        for i in range(1, OVERLAPS):
            bad |= ((bags[:, :i] == bags[:, i : i + 1]) & owned[:, i : i + 1]).any(1)
        if bad.any():
            cell = int(np.argmax(bad))
            raise CodecError(
                f"region: row {cell // self.cols}, column {cell % self.cols}: municipalities {bags[cell].tolist()}, "
                f"weights {self.weights[cell].tolist()}; municipalities must be different, with -1 only at the end, "
                f"and weights must sum to {FULL}"
            )

    def overlaps(
        self, row: NDArray[np.integer], col: NDArray[np.integer]
    ) -> tuple[NDArray[np.int32], NDArray[np.float32]]:
        """Municipalities (n, 4) int32, padded with -1, and their shares (n, 4) float32 for chips at `row`, `col` (n,).

        Shares sum to 1, or are all 0 where nobody owns the cell. IndexError names the first chip outside the grid.
        """
        row, col = np.atleast_1d(row).astype(np.int64), np.atleast_1d(col).astype(np.int64)
        outside = (row < 0) | (row >= self.rows) | (col < 0) | (col >= self.cols)
        if outside.any():
            i = int(np.argmax(outside))
            raise IndexError(f"chip at row {row[i]}, column {col[i]} is outside the grid of {self.rows} x {self.cols}")
        cell = row * self.cols + col
        return self.bags[cell], self.weights[cell].astype(np.float32) / np.float32(FULL)

    @cached_property
    def digest(self) -> int:
        """CRC-32 of the content: what, with the number, names this version of the region."""
        fields = (self.region_id, self.rows, self.cols, len(self.codes))
        names = wire.join_names(self.codes, "code")
        return wire.crc(
            fields, names, self.bags.astype("<i4", copy=False).data, np.ascontiguousarray(self.weights).data
        )

    def quantised(self, levels: int = DEFAULT_LEVELS) -> Region:
        """This region as the satellite will have it: shares in `levels` counts, those of 0 left out.

        Of equal shares, that of the municipality with the lower index comes first.
        """
        bags, counts = self.counted(levels)
        return replace(self, bags=bags, weights=weights_of(bags, counts))

    def counted(self, levels: int) -> tuple[NDArray[np.int32], NDArray[np.uint8]]:
        """Municipalities and counts of shares, both (rows x cols, 4), as `quantised` has them."""
        if not MIN_LEVELS <= levels <= MAX_LEVELS:
            raise CodecError(f"region: levels is {levels}, not between {MIN_LEVELS} and {MAX_LEVELS}")
        shared = np.flatnonzero(self.bags[:, 1] >= 0)
        counts = np.zeros(self.bags.shape, np.uint8)
        counts[self.bags[:, 0] >= 0, 0] = levels
        if levels > 1:
            counts[shared] = quantise(self.weights[shared], levels)
        return in_order(self.bags.astype(np.int32), counts)


def in_order(bags: NDArray[np.int32], counts: NDArray[np.uint8]) -> tuple[NDArray[np.int32], NDArray[np.uint8]]:
    """Municipalities (n, 4) and counts (n, 4) with the largest count first, and then the lowest index; no zeros."""
    bags, counts = np.where(counts > 0, bags, NOBODY), np.where(bags >= 0, counts, np.uint8(0))
    several = np.flatnonzero((bags[:, 1:] >= 0).any(1))
    order = np.lexsort((bags[several], -counts[several].astype(np.int64)), axis=1)
    bags[several] = np.take_along_axis(bags[several], order, axis=1)
    counts[several] = np.take_along_axis(counts[several], order, axis=1)
    return bags, counts


def weights_of(bags: NDArray[np.int32], counts: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Shares in 255ths that stand for `counts`, both (n, 4)."""
    weights = np.zeros(bags.shape, np.uint8)
    weights[bags[:, 0] >= 0, 0] = FULL
    shared = np.flatnonzero(bags[:, 1] >= 0)
    for start in range(0, len(shared), _BATCH):
        cells = shared[start : start + _BATCH]
        weights[cells] = quantise(counts[cells], FULL)
    return weights


def share_error(region: Region, levels: int = DEFAULT_LEVELS) -> tuple[float, float]:
    """Mean and greatest share of a chip's area that rounding to `levels` gives to the wrong municipality.

    The mean is over the cells that somebody owns; per cell it is half of the sum of |error| over municipalities.
    """
    sent = region.quantised(levels)
    wrong = np.zeros(len(region.bags))
    for one, other in ((region, sent), (sent, region)):
        for i in range(OVERLAPS):
            there = np.where(other.bags == one.bags[:, i : i + 1], other.weights, 0).max(1).astype(np.int64)
            gain = np.maximum(one.weights[:, i].astype(np.int64) - there, 0)
            wrong += np.where(one.bags[:, i] >= 0, gain, 0) / (2 * FULL)
    owned = region.bags[:, 0] >= 0
    return (float(wrong[owned].mean()), float(wrong.max())) if owned.any() else (0.0, 0.0)
