"""Kernels of what is around a cell of a map. Maps are flat and padded: nobody's cells are 0, and surround the rest."""

from __future__ import annotations

from flight.kernels import Bytes, Ints
from flight.kernels.buffers import FOUND, SLOT_BITS

REACH = 9  # cells along a row that are looked at
RINGS = 5


def hashed(a: int, b: int, c: int) -> int:
    """Three small integers as a slot of a context."""
    h = ((a * 0x2545F491 + b) & 0xFFFFFFFF) * 0x1B873593
    h = ((h ^ (h >> 17)) & 0xFFFFFFFF) + c
    h = (h * 0x2127599B) & 0xFFFFFFFFFFFF
    return (h >> 24) & ((1 << SLOT_BITS) - 1)


def edge(labels: Ints, at: int, label: int) -> int:
    """Where the run of `label` in a row ends, in cells to the right of `at`; from 1 - REACH to REACH."""
    d = 1
    if labels[at] == label:
        while d < REACH and labels[at + d] == label:
            d += 1
        return d
    while d < REACH and labels[at - d] != label:
        d += 1
    return 1 - d


def size_class(n: int) -> int:
    """The number of bits of `n`."""
    bits = 0
    while n > 0:
        n >>= 1
        bits += 1
    return bits


def nearby(labels: Ints, at: int, stride: int, past: int, known: Ints, n_known: int, found: Ints) -> int:
    """Municipalities around `at`, nearest first, into `found`; how many. Those `known` are left out.

    If `past` is 1, only cells before `at` in raster order count.
    """
    n = 0
    for ring in range(1, RINGS + 1):
        for dy in range(-ring, ring + 1):
            step = 1 if dy == -ring or dy == ring else 2 * ring
            for dx in range(-ring, ring + 1, step):
                if past == 1 and (dy > 0 or (dy == 0 and dx > 0)):
                    continue
                label = labels[at + dy * stride + dx]
                new = 1 if label > 0 else 0
                for i in range(n_known):
                    if known[i] == label:
                        new = 0
                for i in range(n):
                    if found[i] == label:
                        new = 0
                if new == 1 and n < FOUND:
                    found[n] = label
                    n += 1
    return n


def share(bags: Ints, shares: Bytes, cell: int, label: int) -> int:
    """The share of `label` in a cell, in counts."""
    for i in range(4 * cell, 4 * cell + 4):
        if bags[i] == label:
            return shares[i]
    return 0
