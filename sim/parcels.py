"""The pattern that people laid over the land: blocks a kilometre wide between lanes, cut into rectangular parcels.

Blocks are the Voronoi cells of one jittered point a chip. Each has its own direction, in which it is cut into strips
and the strips into parcels, so fields, streets and houses of a block line up.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from sim.noise import hash2, mix

_UNIT = 1024  # block geometry is in integers, so many to a chip
_COSINES = (1.0, 0.980785, 0.923880, 0.831470, 0.707107, 0.555570, 0.382683, 0.195090)  # of multiples of 11.25 degrees
_SINES = (0.0, *_COSINES[:0:-1])
_DIRECTIONS = np.array([_COSINES, _SINES], dtype=np.float32).T  # by value: libm is not the same everywhere


class Parcels(NamedTuple):
    """What the pattern says about each point; arrays (n, samples, samples)."""

    block: NDArray[np.uint32]  # hash of the block
    lane: NDArray[np.float32]  # about the distance [chips] to the next block; a negative value where no lane runs
    parcel: NDArray[np.uint32]  # hash of the parcel
    along: NDArray[np.float32]  # position across and along the strips, in parcels: whole numbers are edges
    across: NDArray[np.float32]

    def edge(self) -> NDArray[np.float32]:
        """Distance to the parcel's edge, in parcel widths."""
        u, v = self.across - np.floor(self.across), self.along - np.floor(self.along)
        return np.minimum(np.minimum(u, 1 - u), np.minimum(v, 1 - v) * np.float32(1.5))


def parcels(
    key: int,
    rows: NDArray[np.integer],
    cols: NDArray[np.integer],
    bend: NDArray[np.float32],
) -> Parcels:
    """The pattern on chips (rows[i], cols[i]); `bend` (n, samples, samples), in chips, makes the strips curve."""
    samples = bend.shape[1]
    dy, dx = (d.ravel() - 1 for d in np.indices((3, 3)))
    h = hash2(key, rows[:, None] + dy, cols[:, None] + dx)
    sy = dy * _UNIT + _jitter(h)
    sx = dx * _UNIT + _jitter(h >> np.uint32(12))
    at = ((2 * np.arange(samples) + 1) * _UNIT) // (2 * samples)
    nearest, second = _two_nearest(sy, sx, at)

    first = (nearest & 15) + 9 * np.arange(len(rows))[:, None, None]
    other = (second & 15) + 9 * np.arange(len(rows))[:, None, None]
    block = h.ravel()[first]
    # Both sides of a border must agree whether a lane runs along it: the sum of the hashes is symmetric.
    runs = (block + h.ravel()[other] >> np.uint32(29)) < 5
    lane = np.where(runs, ((second >> 4) - (nearest >> 4)).astype(np.float32) * np.float32(1 / _UNIT**2), -1)
    across, along = _strips(h, sy, sx, first, at, bend)
    strip = mix(block + np.floor(across).astype(np.int32).view(np.uint32) * np.uint32(0x9E3779B1))
    along += (strip & np.uint32(255)).astype(np.float32) * np.float32(1 / 256)
    parcel = mix(strip + np.floor(along).astype(np.int32).view(np.uint32) * np.uint32(0x85EBCA77))
    return Parcels(block, lane, parcel, along, across)


def _jitter(h: NDArray[np.uint32]) -> NDArray[np.int64]:
    """Where in its chip a block's point lies along one axis: 15 to 85 per cent of the way."""
    return (_UNIT * 15 + (h & np.uint32(1023)).astype(np.int64) * 70) // 100


def _two_nearest(
    sy: NDArray[np.int64], sx: NDArray[np.int64], at: NDArray[np.int64]
) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
    """Nearest and second nearest of nine points, for each pixel: int32 16 * (|s|^2 / 2 - p.s) + point number.

    |p|^2 is the same for all nine, so it is left out, and what remains is a sum of a row's and a column's number.
    """
    row = (((sy * sy + sx * sx) // 2)[..., None] - sy[..., None] * at) * 16 + np.arange(9)[:, None]
    col = -sx[..., None] * at * 16
    row, col = row.astype(np.int32), col.astype(np.int32)
    nearest = row[:, 0, :, None] + col[:, 0, None, :]
    second = np.full_like(nearest, np.iinfo(np.int32).max)
    value, larger = np.empty_like(nearest), np.empty_like(nearest)
    for k in range(1, 9):
        np.add(row[:, k, :, None], col[:, k, None, :], out=value)
        np.maximum(nearest, value, out=larger)
        np.minimum(second, larger, out=second)
        np.minimum(nearest, value, out=nearest)
    return nearest, second


def _strips(
    h: NDArray[np.uint32],
    sy: NDArray[np.int64],
    sx: NDArray[np.int64],
    first: NDArray[np.int64],
    at: NDArray[np.int64],
    bend: NDArray[np.float32],
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Coordinates across and along the strips of each pixel's block, in parcel widths and parcel lengths."""
    h = mix(h ^ np.uint32(0x5BD1E995))
    c, s = _DIRECTIONS[h & np.uint32(7)].transpose(2, 0, 1)
    per_chip = 3 + (h >> np.uint32(3) & np.uint32(7)).astype(np.float32)  # 3 to 10 strips
    per_length = 2 + (h >> np.uint32(6) & np.uint32(3)).astype(np.float32)  # 2 to 5 parcels
    y0, x0, p = (integers.astype(np.float32) * np.float32(1 / _UNIT) for integers in (sy, sx, at))
    px, py = p[None, None, :], p[None, :, None]

    def project(a: NDArray[np.float32], b: NDArray[np.float32], n: NDArray[np.float32]) -> NDArray[np.float32]:
        offset = -(x0 * a + y0 * b) * n
        return px * (a * n).ravel()[first] + py * (b * n).ravel()[first] + offset.ravel()[first] + bend

    return project(c, s, per_chip), project(-s, c, per_length)
