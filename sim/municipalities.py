"""Municipalities over a grid of chips: irregular, of very different sizes, with codes as statistics offices give them.

A municipality is what lies nearest to its seat, distances being measured on a rubbery map: borders are warped Voronoi
borders. Seats are denser in some parts than in others, which gives sizes like those of real municipalities.
"""

from __future__ import annotations

import math
from fractions import Fraction

import numpy as np
from numpy.typing import NDArray

from ground.imagery import MAX_OVERLAPS, TEST, TRAIN, VALIDATION
from sim.noise import Field, subkey

SAMPLES = 12  # overlaps are measured at this many points a chip along each axis
_TILE = 8  # chips; seats that may be nearest are listed tile by tile
_ROUNDING = 0.02  # chips; more than the rounding errors of distances
_DENSITY = Field(((40, 1), (16, 1)))
_MAX_PER_PROVINCE = 999
_MAX_PROVINCES = 99


class Municipalities:
    """Seats, codes and splits of `n` municipalities on a rows x cols grid; borders are computed where asked for.

    Attributes:
        seats: float32 (n, 2), row and column [chips].
        codes: two digits of the province and three of the municipality in it, ascending.
        split: uint8 (n,), 70 % TRAIN, 10 % VALIDATION, 20 % TEST, at random.
    """

    def __init__(self, seed: int, rows: int, cols: int, n: int) -> None:
        limit = min(_MAX_PER_PROVINCE * _MAX_PROVINCES, rows * cols // 4)
        if not 10 <= n <= limit:
            raise ValueError(f"n_municipalities is {n}, must be from 10 to {limit} on a grid of {rows} x {cols} chips")
        self._seed = seed
        rng = np.random.Generator(np.random.Philox(key=subkey(seed, "municipalities")))
        seats = _draw_seats(seed, rng, rows, cols, n)
        order, self.codes = _number(seats)
        self.seats = seats[order]
        self.split = np.full(n, TRAIN, dtype=np.uint8)
        shuffled = rng.permutation(n)
        n_test, n_validation = max(1, round(0.2 * n)), max(1, round(0.1 * n))
        self.split[shuffled[:n_test]] = TEST
        self.split[shuffled[n_test : n_test + n_validation]] = VALIDATION

        typical = math.sqrt(rows * cols / n)
        coarse = max(2, round(typical))
        self._warp = Field(((coarse, 1), (max(1, coarse // 2), 0.7), (Fraction(1, 3), 0.12)))
        self._reach = min(0.2 * typical, 4.0)  # standard deviation of the warp [chips]

    def at(self, rows: NDArray[np.integer], cols: NDArray[np.integer], samples: int = SAMPLES) -> NDArray[np.int32]:
        """Municipality of samples x samples points on each chip (rows[i], cols[i]): int32 (n, samples, samples)."""
        y, x = self.rubber(rows, cols, samples)
        result = np.empty(y.shape, dtype=np.int32)
        tile = (rows.astype(np.int64) // _TILE << 32) | (cols.astype(np.int64) // _TILE)
        order = np.argsort(tile, kind="stable")
        starts = np.flatnonzero(np.diff(tile[order], prepend=-1))
        for members in np.split(order, starts[1:]):
            near = self._candidates(y[members], x[members])
            result[members] = near[_nearest(self.seats[near], y[members], x[members])]
        return result

    def rubber(
        self, rows: NDArray[np.integer], cols: NDArray[np.integer], samples: int
    ) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Where on the rubbery map the points of each chip are: rows and columns, each (n, samples, samples)."""
        centres = (np.arange(samples, dtype=np.float32) + np.float32(0.5)) / np.float32(samples)
        y = rows.astype(np.float32)[:, None, None] + centres[:, None]
        x = cols.astype(np.float32)[:, None, None] + centres
        y = y + self._warp(subkey(self._seed, "warp south"), rows, cols, samples) * np.float32(self._reach)
        x = x + self._warp(subkey(self._seed, "warp east"), rows, cols, samples) * np.float32(self._reach)
        return y, x

    def overlaps(
        self, rows: NDArray[np.integer], cols: NDArray[np.integer]
    ) -> tuple[NDArray[np.int32], NDArray[np.float32]]:
        """Municipalities (n, MAX_OVERLAPS) of each chip, -1 where there is none, and the chip's share in each.

        The largest come first (of equals, the lower number), shares are of SAMPLES x SAMPLES points; what lies
        beyond the fourth is dropped and the rest sums to 1.
        """
        n = len(rows)
        found = np.sort(self.at(rows, cols).reshape(n, -1), axis=1)
        first = np.diff(found, axis=1, prepend=-1) != 0
        chip, position = np.nonzero(first)
        count = np.diff(np.append(chip * SAMPLES**2 + position, n * SAMPLES**2))
        who = found[chip, position]
        order = np.lexsort((who, -count, chip))
        chip, who, count = chip[order], who[order], count[order]
        rank = np.arange(len(chip)) - np.searchsorted(chip, chip, side="left")
        kept = rank < MAX_OVERLAPS
        bags = np.full((n, MAX_OVERLAPS), -1, dtype=np.int32)
        counts = np.zeros((n, MAX_OVERLAPS), dtype=np.float32)
        bags[chip[kept], rank[kept]] = who[kept]
        counts[chip[kept], rank[kept]] = count[kept]
        return bags, counts / counts.sum(axis=1, keepdims=True)

    def _candidates(self, y: NDArray[np.float32], x: NDArray[np.float32]) -> NDArray[np.intp]:
        """Seats that may be nearest to some of the points, in ascending order.

        A seat nearest to a point of the box around them is at most the box's diagonal further from the box's centre
        than the seat nearest to that centre.
        """
        top, bottom, left, right = float(y.min()), float(y.max()), float(x.min()), float(x.max())
        dy, dx = self.seats[:, 0] - (top + bottom) / 2, self.seats[:, 1] - (left + right) / 2
        distance = np.sqrt(dy * dy + dx * dx)
        return np.flatnonzero(distance <= distance.min() + math.hypot(bottom - top, right - left) + _ROUNDING)


def _nearest(seats: NDArray[np.float32], y: NDArray[np.float32], x: NDArray[np.float32]) -> NDArray[np.intp]:
    """Index of the seat nearest to each point; of equals, the first."""
    best = np.full(y.shape, np.inf, dtype=np.float32)
    index = np.zeros(y.shape, dtype=np.intp)
    for k, (row, col) in enumerate(seats):
        dy, dx = y - row, x - col
        distance = dy * dy + dx * dx
        closer = distance < best
        best[closer] = distance[closer]
        index[closer] = k
    return index


def _draw_seats(seed: int, rng: np.random.Generator, rows: int, cols: int, n: int) -> NDArray[np.float32]:
    """Points (n, 2) on the grid, up to 9 times as dense in some parts as in others (rejection sampling)."""
    kept: list[NDArray[np.float64]] = []
    found = 0
    while found < n:  # at least a ninth of each round is kept
        points = rng.random((max(4 * n, 64), 2)) * (rows, cols)
        cell = points.astype(np.int64)
        value = _DENSITY(subkey(seed, "density"), cell[:, 0], cell[:, 1], 1)[:, 0, 0].astype(np.float64)
        v = np.clip(value / 4, -0.5, 0.5)
        density = (1 + v) / (1 - v) / 3  # 1/9 to 1
        kept.append(points[rng.random(len(points)) < density])
        found += len(kept[-1])
    return np.concatenate(kept)[:n].astype(np.float32)


def _number(seats: NDArray[np.float32]) -> tuple[NDArray[np.intp], tuple[str, ...]]:
    """Order of the seats by code, and the codes: provinces are compact and of about equal numbers."""
    n = len(seats)
    n_provinces = min(max(1, round(n / 80), -(-n // _MAX_PER_PROVINCE)), _MAX_PROVINCES)
    n_strips = max(1, round(math.sqrt(n_provinces)))
    strips = np.array_split(np.argsort(seats[:, 0], kind="stable"), n_strips)
    sizes = [len(part) for part in np.array_split(np.arange(n_provinces), n_strips)]
    provinces = [
        part
        for strip, size in zip(strips, sizes, strict=True)
        for part in np.array_split(strip[np.argsort(seats[strip, 1], kind="stable")], size)
    ]
    codes = tuple(f"{p:02d}{m:03d}" for p, part in enumerate(provinces, 1) for m in range(1, len(part) + 1))
    return np.concatenate(provinces), codes
