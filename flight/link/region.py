"""The region: which municipalities each chip of a grid overlaps, and by how much, as it goes up.

Shares are rounded to counts before they go up. `Region.quantised` gives the ground the map that the satellite will
have.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from flight.config import LinkConfig

from . import pack as wire
from .counts import quantise
from .pack import CodecError
from .region_layout import NOBODY, OVERLAPS, read_borders, read_membership, write_borders, write_membership

FULL = 255
MIN_LEVELS, MAX_LEVELS = 2, 56
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

    def quantised(self, levels: int = DEFAULT_LEVELS) -> Region:
        """This region as the satellite will have it: shares in `levels` counts, largest first, those of 0 left out."""
        bags, counts = self._counts(levels)
        return replace(self, bags=bags, weights=_weights(bags, counts))

    def _counts(self, levels: int) -> tuple[NDArray[np.int32], NDArray[np.uint8]]:
        """Municipalities and counts of shares, both (rows x cols, 4), sorted by count; ties keep their order."""
        if not MIN_LEVELS <= levels <= MAX_LEVELS:
            raise CodecError(f"region: levels is {levels}, not between {MIN_LEVELS} and {MAX_LEVELS}")
        shared = np.flatnonzero(self.bags[:, 1] >= 0)
        bags, counts = self.bags.astype(np.int32), np.zeros(self.bags.shape, np.uint8)
        bags[:, 1:] = NOBODY
        counts[bags[:, 0] >= 0, 0] = levels
        part = quantise(self.weights[shared], levels)
        order = np.argsort(-part.astype(np.int64), axis=1, kind="stable")
        counts[shared] = np.take_along_axis(part, order, axis=1)
        bags[shared] = np.take_along_axis(self.bags[shared], order, axis=1)
        bags[counts == 0] = NOBODY
        return bags, counts


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


def pack(region: Region, levels: int = DEFAULT_LEVELS) -> bytes:
    """The region as a file, its shares rounded to `levels` counts; CodecError if it cannot be one."""
    bags, counts = region._counts(levels)
    shares = _weights(bags, counts)
    fields = (region.region_id, region.rows, region.cols, len(region.codes), levels)
    names = wire.join_names(region.codes, "code")
    heads, tails = _front_code(region.codes)
    out = wire.Writer(wire.REGION)
    out.integer(*fields, len(tails))
    out.block(heads)
    out.block(tails)
    first = bags[:, 0].reshape(region.rows, region.cols)
    write_membership(out, first)
    write_borders(out, first, bags, counts, levels)
    return out.finish(wire.crc(fields, names, bags.astype("<i4", copy=False).data, shares.data))


def unpack(data: bytes, config: LinkConfig) -> Region:
    """The region in a file that the link brought; CodecError for anything else, or for more than `config` allows."""
    reader = wire.Reader(wire.REGION, data)
    region_id = reader.integer("region id")
    rows = reader.integer("rows", 1, min(MAX_SIDE, config.max_region_chips))
    cols = reader.integer("columns", 1, min(MAX_SIDE, config.max_region_chips // rows))
    n_codes = reader.integer("the number of municipalities", 1, config.max_municipalities)
    levels = reader.integer("levels", MIN_LEVELS, MAX_LEVELS)
    tails_bytes = reader.integer("the length of the codes", n_codes, n_codes * (wire.MAX_NAME_BYTES + 1))
    heads, tails = reader.block("the codes", n_codes), reader.block("the codes", tails_bytes)
    codes = _front_decode(heads, tails)
    first = read_membership(reader, rows, cols, n_codes)
    bags, counts = read_borders(reader, first, n_codes, levels)
    weights = _weights(bags, counts)
    fields = (region_id, rows, cols, n_codes, levels)
    reader.finish(wire.crc(fields, wire.join_names(codes, "code"), bags.astype("<i4", copy=False).data, weights.data))
    return Region(region_id, rows, cols, codes, bags, weights)


def _weights(bags: NDArray[np.int32], counts: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Shares in 255ths that stand for `counts`."""
    weights = np.zeros(bags.shape, np.uint8)
    weights[bags[:, 0] >= 0, 0] = FULL
    shared = np.flatnonzero(bags[:, 1] >= 0)
    for start in range(0, len(shared), _BATCH):
        cells = shared[start : start + _BATCH]
        weights[cells] = quantise(counts[cells], FULL)
    return weights


def _front_code(codes: tuple[str, ...]) -> tuple[bytes, bytes]:
    """Codes, each as the number of bytes it shares with the one before it, and the rest of it ended by NUL."""
    heads, tails, before = bytearray(), bytearray(), b""
    for code in (code.encode() for code in codes):
        shared = 0
        while shared < min(len(code), len(before)) and code[shared] == before[shared]:
            shared += 1
        heads.append(shared)
        tails += code[shared:] + b"\0"
        before = code
    return bytes(heads), bytes(tails)


def _front_decode(heads: bytes, tails: bytes) -> tuple[str, ...]:
    rest = tails.split(b"\0")
    if len(rest) != len(heads) + 1 or rest[-1] or max(heads) > wire.MAX_NAME_BYTES:
        raise CodecError(f"region: {len(rest) - 1} codes, expected {len(heads)}")
    codes, before = [], b""
    for shared, tail in zip(heads, rest[:-1], strict=True):
        before = before[:shared] + tail
        codes.append(before[: wire.MAX_NAME_BYTES + 1])
    return wire.split_names(b"".join(code + b"\0" for code in codes), len(codes), "code")
