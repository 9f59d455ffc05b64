"""Coherent noise from counters: any chip of an endless plane, alone and in any order, with the same bits everywhere.

Random numbers are hashes of lattice coordinates, so nothing is stored. Fields are quadratic B-splines over such
lattices. All sums are of integers below 2**53 held in float64, which is exact in whatever order a BLAS adds them up;
every other step is one IEEE operation at a time, without the functions of libm, whose last bit varies by machine.
"""

from __future__ import annotations

import math
import zlib
from fractions import Fraction
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

_MASK64 = (1 << 64) - 1
_WEIGHT = 1 << 12  # spline weights are integers that sum to this along each axis
_AMPLITUDE = 1 << 10  # and the amplitudes of a field's octaves to at most about this
_LATTICE = 1 << 15  # lattice values are integers in [-2**15, 2**15)
_OCTAVE_SD = 0.3175  # of a quadratic B-spline over values uniform in [-1, 1): sqrt(1/3) * 11/20

Octaves = tuple[tuple[Fraction | int, float], ...]


def subkey(seed: int, *words: int | str) -> int:
    """A key of 64 bits for one purpose, from a seed and words that name the purpose (splitmix64 over the words)."""
    state = seed & _MASK64
    for word in words:
        number = zlib.crc32(word.encode()) if isinstance(word, str) else word
        state = (state ^ (number & _MASK64)) + 0x9E3779B97F4A7C15 & _MASK64
        state = (state ^ state >> 30) * 0xBF58476D1CE4E5B9 & _MASK64
        state = (state ^ state >> 27) * 0x94D049BB133111EB & _MASK64
        state ^= state >> 31
    return state


def mix(h: NDArray[np.uint32]) -> NDArray[np.uint32]:
    """Scrambled `h`, element by element: the finaliser of MurmurHash3 (A. Appleby, public domain)."""
    h = h ^ (h >> np.uint32(16))
    h *= np.uint32(0x85EBCA6B)
    h ^= h >> np.uint32(13)
    h *= np.uint32(0xC2B2AE35)
    h ^= h >> np.uint32(16)
    return h


def hash2(key: int, row: NDArray[np.integer], col: NDArray[np.integer]) -> NDArray[np.uint32]:
    """32 random bits for each integer point (row, col), broadcast; negative coordinates are fine."""
    r = row.astype(np.uint32) * np.uint32(0x9E3779B1) ^ np.uint32(key & 0xFFFFFFFF)
    c = col.astype(np.uint32) * np.uint32(0x85EBCA77) ^ np.uint32(key >> 32 & 0xFFFFFFFF)
    return mix(mix(r) ^ c)


def white(
    key: int, rows: NDArray[np.integer], cols: NDArray[np.integer], shape: tuple[int, ...]
) -> NDArray[np.float32]:
    """Noise without memory, mean 0, standard deviation 1, triangular: float32 (n, *shape), one Philox stream a chip."""
    count = int(np.prod(shape))
    raw = np.empty((len(rows), 2, count), dtype=np.uint8)
    for i, (row, col) in enumerate(zip(rows.tolist(), cols.tolist(), strict=True)):
        words = np.random.Philox(key=np.array([key, row << 32 | col], dtype=np.uint64)).random_raw(-(-count // 4))
        raw[i] = words.astype("<u8").view(np.uint8)[: 2 * count].reshape(2, count)
    total = raw[:, 0].astype(np.float32) + raw[:, 1]
    return ((total - np.float32(255)) * np.float32(1 / 104.5)).reshape(len(rows), *shape)


class Field:
    """A smooth random field of mean 0 and standard deviation 1 over the plane of chips, one chip a unit.

    octaves: (spacing, relative standard deviation) pairs. The spacing of an octave's lattice, in chips, is a whole
    number (coarse: 24 means one value every 24 chips) or one over a whole number (fine: 1/8 means 8 values a chip).
    """

    def __init__(self, octaves: Octaves) -> None:
        total = math.sqrt(sum(sd * sd for _, sd in octaves))
        self._octaves = tuple((Fraction(s), round(_AMPLITUDE * sd / total)) for s, sd in octaves)
        self._scale = 1.0 / (_OCTAVE_SD * _AMPLITUDE * _LATTICE * _WEIGHT * _WEIGHT)

    def __call__(
        self, key: int, rows: NDArray[np.integer], cols: NDArray[np.integer], samples: int
    ) -> NDArray[np.float32]:
        """The field `key` on chips (rows[i], cols[i]), at samples x samples points each: float32 (n, samples, samples).

        The points are the centres of a samples x samples division of the chip.
        """
        left, right = [], []
        for number, (spacing, amplitude) in enumerate(self._octaves):
            weights = _spline(spacing, samples)
            phase_y, base_y = _locate(spacing, rows)
            phase_x, base_x = _locate(spacing, cols)
            taps = np.arange(-1, weights.shape[2] - 1)
            bits = hash2(
                key + number * 0x632BE59BD9B4E019 & _MASK64,
                base_y[:, None, None] + taps[:, None],
                base_x[:, None, None] + taps,
            )
            lattice = ((bits >> np.uint32(16)).astype(np.float64) - _LATTICE) * amplitude
            left.append(weights[phase_y] @ lattice)
            right.append(weights[phase_x])
        u = np.concatenate(left, axis=2)
        v = np.ascontiguousarray(np.concatenate(right, axis=2).transpose(0, 2, 1))
        return np.multiply(u @ v, self._scale, dtype=np.float64).astype(np.float32)


def _locate(spacing: Fraction, chips: NDArray[np.integer]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Which of the spline tables to use for each chip along one axis, and the lattice index at the chip's start."""
    start = chips.astype(np.int64)
    if spacing < 1:
        return np.zeros_like(start), start * spacing.denominator
    return start % spacing.numerator, start // spacing.numerator


@lru_cache(maxsize=256)
def _spline(spacing: Fraction, samples: int) -> NDArray[np.float64]:
    """Weights (phases, samples, taps), integers in float64; tap j is lattice index j - 1 from the chip's start."""
    if spacing.numerator != 1 and spacing.denominator != 1:
        raise ValueError(f"lattice spacing is {spacing} chips, must be a whole number or one over a whole number")
    phases, nodes = spacing.numerator, spacing.denominator
    start = np.arange(phases)[:, None] / phases * nodes
    t = start + (np.arange(samples) + 0.5) / samples * nodes / phases
    base = np.minimum(np.floor(t), nodes - 1)
    f = t - base
    before = np.rint(0.5 * (1 - f) * (1 - f) * _WEIGHT)
    after = np.rint(0.5 * f * f * _WEIGHT)
    table = np.zeros((phases, samples, nodes + 2))
    at = base.astype(np.int64)[..., None]
    for tap, weight in enumerate((before, _WEIGHT - before - after, after)):
        np.put_along_axis(table, at + tap, weight[..., None], axis=2)
    table.setflags(write=False)
    return table
