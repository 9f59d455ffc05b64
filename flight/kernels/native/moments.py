"""What a chip adds to the statistics of `flight.learn.moments`: integers, so that no order of chips can matter."""

from __future__ import annotations

from typing import Any

import numba
from llvmlite import ir

from flight.kernels.native.features import features_of, mean_of, spread_over_cells
from flight.kernels.native.gemm import gemm_relu
from flight.kernels.native.language import helper
from flight.kernels.native.linalg import add_four_at
from flight.kernels.native.patches import copy
from flight.kernels.native.real import EIGHT, load8
from flight.kernels.native.vector import I64, at, emits, f64x8

_CELLS = 16  # of a chip, for the covariance
_MEAN_UNIT, _CELL_UNIT, _CELL_LIMIT = 65536.0, 256.0, 32767.0
_TO_WHOLE = 6755399441055744.0  # 1.5 * 2**52: what is added and taken away again is rounded to an integer, half to even


_LONGS = ir.VectorType(I64, EIGHT)


@emits(numba.types.void, numba.types.CPointer(numba.types.int64), numba.types.int64, f64x8)
def add_whole(builder: Any, p: Any, i: Any, value: Any) -> None:
    """Add eight doubles, whole numbers, to the eight integers from element `i` after `p` on."""
    place = builder.bitcast(builder.gep(p, [i]), _LONGS.as_pointer())
    before = builder.load(place)
    before.align = 8
    builder.store(builder.add(before, builder.fptosi(value, _LONGS)), place).align = 8


def absorb(
    chips: Any, grids: Any, unit: Any, low: Any, places: Any, windows: Any, weights: Any, offset: Any,
    lattice: Any, members: Any, shares: Any,
    sums: Any, second: Any, ints: Any, floats: Any, z: Any, work: Any, mean: Any, cells: Any,
    n: int, rows: int, cols: int, bands: int, n_places: int, grid_width: int, n_windows: int, raw: int,
    n_features: int, n_units: int, padded: int, n_members: int, n_sums: int,
) -> None:  # fmt: skip
    """Add `n` chips to the sums of their municipalities and to the covariance; or, if `n_members` is 0, to nothing.

    `members` (n, n_members) are rows of `sums` (n_sums, n_out + 1), or -1, and `shares` how much of a chip is in each;
    n_out is n_units + n_features. `second` (n_out + 1, n_out + 1) takes the upper triangle of the sums of products of
    the 16 cells `lattice`. What is left behind is of the last chip: its features `z` (rows * cols, n_features), as
    `flight.learn.features` has them for windows of so many cells, with raw values if `raw`, and what an encoder says of
    them, codes `grids` (n, n_places, grid_width) of the `places` (rows * cols,) of cells, by `unit` and `low`
    (grid_width,); and `mean` (n_out,), of its cells' embeddings, whose `weights` and `offset` are those of
    `flight.kernels.native.features.embed`.

    `z` is a vector longer than it need be. Scratch, with b for bands and c for cols to the next 16: `ints` takes
    ``(rows + 2) * (2 b + 1) * c + 5 * (4 b cols + 16) + 16`` numbers, `floats` ``(b + 1) * c``; `work` is (49, padded),
    padded at least n_features, `cells` (17, n_out + 1).
    """
    n_out, wide = n_units + n_features, cols * 4 * bands
    rest = at(work, _CELLS * padded)
    for i in range(n):
        features_of(
            at(chips, i * rows * 4 * wide), windows, z, ints, floats, rows, cols, bands, n_windows, raw, n_features
        )
        if grid_width > 0:
            grid = at(grids, i * n_places * grid_width)
            spread_over_cells(grid, unit, low, places, z, rows * cols, grid_width, n_features)
        mean_of(z, weights, offset, mean, work, rows * cols, n_features, n_units, padded)
        for k in range(i * n_members, (i + 1) * n_members):
            if members[k] >= 0 and shares[k] > 0:
                _add_mean(mean, at(sums, members[k] * (n_out + 1)), shares[k], n_out)
        if n_members > 0:
            _code_cells(z, weights, offset, lattice, work, rest, cells, n_features, n_units, padded)
            _add_products(cells, second, n_out + 1)


@helper
def whole(x: float) -> float:
    """`x` rounded to an integer, half to even; of size below 2**51."""
    return (x + _TO_WHOLE) - _TO_WHOLE


@helper
def _add_mean(mean: Any, sums: Any, share: int, n: int) -> None:
    for j in range(n):
        sums[j] += int(whole(float(mean[j]) * _MEAN_UNIT)) * share
    sums[n] += int(_MEAN_UNIT) * share


@helper
def _code_cells(
    z: Any, weights: Any, offset: Any, lattice: Any, units: Any, rows: Any, codes: Any, n_features: int, n_units: int,
    padded: int,
) -> None:  # fmt: skip
    """Write codes of the embeddings of the lattice's cells, and a 1, to rows of `codes`."""
    n_out = n_units + n_features
    for i in range(_CELLS):
        copy(at(z, lattice[i] * n_features), at(rows, i * n_features), n_features)
    gemm_relu(rows, n_features, 1, weights, padded, units, padded, _CELLS, padded, n_features, offset)
    for i in range(_CELLS):
        row = at(codes, i * (n_out + 1))
        _code(at(units, i * padded), row, n_units)
        _code(at(rows, i * n_features), at(row, n_units), n_features)
        row[n_out] = 1.0


@helper
def _code(x: Any, codes: Any, n: int) -> None:
    for j in range(n):
        codes[j] = min(max(whole(float(x[j]) * _CELL_UNIT), -_CELL_LIMIT), _CELL_LIMIT)


@helper
def _add_products(cells: Any, second: Any, n: int) -> None:
    """Add the upper triangle of the products of the rows of `cells` but the last, scratch, exact in doubles."""
    for i in range(n):
        sums, count, row = at(cells, _CELLS * n + i), n - i, at(second, i * n + i)
        for j in range(count):
            sums[j] = 0.0
        for k in range(0, _CELLS, 4):
            a = at(cells, k * n + i)
            b, c, d = at(a, n), at(a, 2 * n), at(a, 3 * n)
            add_four_at(sums, a, b, c, d, a[0], b[0], c[0], d[0], count)
        j = 0
        while j + EIGHT <= count:
            add_whole(row, j, load8(sums, j))
            j += EIGHT
        while j < count:
            row[j] += int(sums[j])
            j += 1
