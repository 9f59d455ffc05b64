"""What a chip adds to the statistics of `flight.learn.moments`: integers, so that no order of chips can matter."""

from __future__ import annotations

from typing import Any

from flight.kernels.native.features import features_of, mean_of, spread_over_cells
from flight.kernels.native.gemm import gemm_relu
from flight.kernels.native.language import carray, helper
from flight.kernels.native.linalg import add_four
from flight.kernels.native.vector import at

_CELLS = 16  # of a chip, for the covariance
_MEAN_UNIT, _CELL_UNIT, _CELL_LIMIT = 65536.0, 256.0, 32767.0
_TO_WHOLE = 6755399441055744.0  # 1.5 * 2**52: what is added and taken away again is rounded to an integer, half to even


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

    Scratch, with b for bands: `ints` takes ``(2 b + 1 to the next 8) * (rows + 2) * cols + 4 cols * (2 b + 3)``,
    `floats` ``(2 b + 1) * (cols to the next 16)`` numbers; `work` is (49, padded), padded at least n_features, `cells`
    (17, n_out + 1).
    """
    n_out, wide = n_units + n_features, cols * 4 * bands
    pixels, total = carray(chips, (n, rows * 4, wide)), carray(sums, (n_sums, n_out + 1))
    member, share = carray(members, (n, n_members)), carray(shares, (n, n_members))
    average, sixteen = carray(mean, n_out), carray(cells, (_CELLS + 1, n_out + 1))
    product, codes = carray(second, (n_out + 1, n_out + 1)), carray(grids, (n, n_places, grid_width))
    scale, least, place = carray(unit, grid_width), carray(low, grid_width), carray(places, rows * cols)
    for i in range(n):
        features_of(pixels[i], windows, z, ints, floats, rows, cols, bands, n_windows, raw, n_features)
        if grid_width > 0:
            spread_over_cells(codes[i], scale, least, place, z, rows * cols, grid_width, n_features)
        mean_of(z, weights, offset, mean, work, rows * cols, n_features, n_units, padded)
        for k in range(n_members):
            if member[i, k] >= 0 and share[i, k] > 0:
                _add_mean(average, total[member[i, k]], share[i, k], n_out)
        if n_members > 0:
            _code_cells(z, weights, offset, lattice, work, sixteen, rows * cols, n_features, n_units, padded)
            _add_products(sixteen, product, n_out + 1)


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
    z: Any, weights: Any, offset: Any, lattice: Any, work: Any, codes: Any, n: int, n_features: int, n_units: int,
    padded: int,
) -> None:  # fmt: skip
    """Write codes of the embeddings of the lattice's cells, and a 1, to rows of `codes`."""
    x, place, units = carray(z, (n, n_features)), carray(lattice, _CELLS), carray(work, (_CELLS, padded))
    behind = at(work, _CELLS * padded)
    rows = carray(behind, (_CELLS, n_features))
    for i in range(_CELLS):
        for j in range(n_features):
            rows[i, j] = x[place[i], j]
    gemm_relu(behind, n_features, 1, weights, padded, work, padded, _CELLS, padded, n_features, offset)
    for i in range(_CELLS):
        for j in range(n_units):
            codes[i, j] = _code(units[i, j])
        for j in range(n_features):
            codes[i, n_units + j] = _code(rows[i, j])
        codes[i, n_units + n_features] = 1.0


@helper
def _code(x: float) -> float:
    return min(max(whole(float(x) * _CELL_UNIT), -_CELL_LIMIT), _CELL_LIMIT)


@helper
def _add_products(x: Any, second: Any, n: int) -> None:
    """Add the upper triangle of the products of the rows of `x` but the last, which is scratch, exact in doubles."""
    sums = x[_CELLS]
    for i in range(n):
        part = sums[i:n]
        for j in range(n - i):
            part[j] = 0.0
        for k in range(0, _CELLS, 4):
            a, b, c, d = x[k], x[k + 1], x[k + 2], x[k + 3]
            add_four(part, a[i:n], b[i:n], c[i:n], d[i:n], a[i], b[i], c[i], d[i])
        row = second[i][i:n]
        for j in range(n - i):
            row[j] += int(part[j])
