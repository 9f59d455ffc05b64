"""Patches of uint8 chips as rows of floats (4 rows of 4 pixels, row by row, band fastest), and sums of rows."""

from __future__ import annotations

from typing import Any

import numpy as np

from flight.kernels.native.language import fma, helper, inlined
from flight.kernels.native.vector import LANES, at, load, load_bytes, splat, store, vfma

ROWS = 4
UNIT = np.float32(1 / 255)


@inlined
def padded(n: int) -> int:
    """`n` rounded up to whole vectors."""
    return (n + LANES - 1) // LANES * LANES


@helper
def gather(chip: Any, starts: Any, n: int, shape: Any, shift: Any, x: Any) -> None:
    """Patches at bytes `starts` (n,) of a chip as rows (n, inputs) of `x`: byte / 255 + `shift` (inputs,).

    `shape` holds the bytes of the chip, of one of its rows and of one of a patch's rows. `x` and `shift` are a vector
    longer than they need be: rows are written from their first float on, whole vectors at a time.
    """
    chip_bytes, row_bytes, run = shape[0], shape[1], shape[2]
    reach = (ROWS - 1) * row_bytes + padded(run)
    for i in range(n):
        from_, to = at(chip, starts[i]), at(x, i * ROWS * run)
        if starts[i] + reach > chip_bytes:  # the end of the chip: not a byte beyond it is read
            _gather_bytes(from_, row_bytes, run, shift, to)
        elif run <= LANES:
            for row in range(ROWS):
                _gather_vector(from_, row * row_bytes, shift, row * run, to)
        else:
            for row in range(ROWS):
                for k in range(0, run, LANES):
                    _gather_vector(at(from_, row * row_bytes), k, shift, row * run + k, to)


@inlined
def _gather_vector(from_: Any, first: int, shift: Any, k: int, to: Any) -> None:
    store(to, k, vfma(load_bytes(from_, first), splat(UNIT), load(shift, k)))


@helper
def _gather_bytes(from_: Any, row_bytes: int, run: int, shift: Any, to: Any) -> None:
    for row in range(ROWS):
        for k in range(run):
            to[row * run + k] = fma(np.float32(from_[row * row_bytes + k]), UNIT, shift[row * run + k])


@helper
def clear(x: Any, first: int, last: int) -> None:
    """Zeros from element `first` to `last`."""
    for i in range(first, last):
        x[i] = np.float32(0)


@helper
def copy(from_: Any, to: Any, n: int) -> None:
    """Copy `n` floats."""
    j = 0
    while j + LANES <= n:
        store(to, j, load(from_, j))
        j += LANES
    while j < n:
        to[j] = from_[j]
        j += 1


@helper
def add_rows(rows: Any, n: int, row: int, sums: Any) -> None:
    """Add rows (n, row) to `sums` (row,). Both are read to the end of a vector, and `sums` is written to it."""
    for j in range(0, row, LANES):
        whole = load(sums, j)
        for i in range(n):
            whole = whole + load(rows, i * row + j)
        store(sums, j, whole)
