"""What the cells of a chip look like, from its pixels, and their random embedding.

Sums over cells and windows are integers: pixels go to sums of cells, and windows slide over rows of cells, then along
them. Only the statistics that follow are floats. The features are those of `flight.learn.features`.
"""

from __future__ import annotations

import math
from typing import Any

from flight.kernels.native.gemm import gemm_relu
from flight.kernels.native.integers import apart, load_ints, load_octets, nothing, store_ints
from flight.kernels.native.language import f4, fma, helper
from flight.kernels.native.patches import add_rows, clear, copy, padded
from flight.kernels.native.vector import LANES, at, load, load_bytes, splat, store, vlog

_CELL = 4
_BLOCK = 48  # cells whose units are in work at a time
_LEVEL, _LEVEL_SCALE = f4(-2.0), f4(1.0 / 50.0)  # (x - 100) / 50
_DEEP, _STEEP = f4(2.0), f4(1.5)  # (log(1 + std) - 2), (log(1 + gradient) - 1.5) / 0.8
_STEEP_SCALE = f4(1.0 / 0.8)


@helper
def features_of(
    pixels: Any, windows: Any, z: Any, ints: Any, floats: Any, rows: int, cols: int, bands: int, n_windows: int,
    raw: int, n_features: int,
) -> None:  # fmt: skip
    """Write features of the cells of `pixels` (4 rows, 4 cols * bands) to the first columns of `z`.

    `z` is (rows * cols, n_features). `windows` are widths in cells, odd; with `raw` the pixels of a cell come first.
    `ints` and `floats` are scratch, see `flight.kernels.native.moments.absorb`: sums of rows of cells, those around a
    row, those around its cells, and sums of a row of pixels. A row of sums has a line for each band, one for each
    band's squares and one for gradients, and cells lie along lines, which are whole vectors.
    """
    lanes = padded(cols)
    wide = (2 * bands + 1) * lanes
    column, box = at(ints, rows * wide), at(ints, (rows + 1) * wide)
    _sum_cells(pixels, ints, at(ints, (rows + 2) * wide), rows, cols, bands)
    first = 0
    if raw == 1:
        _copy_pixels(pixels, z, rows, cols, bands, n_features)
        first = _CELL * _CELL * bands
    for w in range(n_windows):
        for r in range(rows):
            _slide_down(ints, column, r, windows[w], rows, wide)
            _slide_across(column, box, windows[w], cols, 2 * bands + 1, lanes)
            _statistics(box, floats, at(z, r * cols * n_features + first), windows[w], cols, bands, n_features)
        first += 2 * bands + 1


@helper
def spread_over_cells(codes: Any, unit: Any, low: Any, place: Any, z: Any, n: int, width: int, n_features: int) -> None:
    """Write the embeddings of `n` cells to the last `width` columns of `z` (n, n_features).

    That of cell i is code `place[i]` of `codes` (places, width), times `unit` (width,), plus `low` (width,).
    """
    for i in range(n):
        code, out = at(codes, place[i] * width), at(z, (i + 1) * n_features - width)
        j = 0
        while j + LANES <= width:
            store(out, j, load_bytes(code, j) * load(unit, j) + load(low, j))
            j += LANES
        while j < width:
            out[j] = f4(code[j]) * unit[j] + low[j]
            j += 1


@helper
def _mirrored(i: int, n: int) -> int:
    """Place `i` of n, mirrored at the ends as often as it takes."""
    while i < 0 or i >= n:
        i = -1 - i if i < 0 else 2 * n - 1 - i
    return i


@helper
def _slide_down(sums: Any, column: Any, r: int, width: int, rows: int, wide: int) -> None:
    """Sums of `width` rows of cells around row r, from those around row r - 1."""
    half = width // 2
    new, old = _mirrored(r + half, rows) * wide, _mirrored(r - 1 - half, rows) * wide
    for j in range(0, wide, LANES):
        if r == 0:
            whole = nothing()
            for step in range(-half, half + 1):
                whole = whole + load_ints(sums, _mirrored(step, rows) * wide + j)
        else:
            whole = load_ints(column, j) + load_ints(sums, new + j) - load_ints(sums, old + j)
        store_ints(column, j, whole)


@helper
def _slide_across(column: Any, box: Any, width: int, cols: int, lines: int, lanes: int) -> None:
    """Sums of `width` neighbours around each cell of a row."""
    half = width // 2
    for line in range(lines):
        whole, here = 0, line * lanes
        for step in range(-half, half + 1):
            whole += column[here + _mirrored(step, cols)]
        box[here] = whole
    for c in range(1, cols):
        new, old = _mirrored(c + half, cols), _mirrored(c - 1 - half, cols)
        for line in range(lines):
            here = line * lanes
            box[here + c] = box[here + c - 1] + column[here + new] - column[here + old]


@helper
def _statistics(box: Any, floats: Any, out: Any, width: int, cols: int, bands: int, n_features: int) -> None:
    """Levels, deviations and gradient of a row of cells to the first columns of `out` (cols, n_features)."""
    lanes, n_px = padded(cols), _CELL * _CELL * width * width
    share, level, steep = f4(1.0 / n_px), f4(1.0 / (50.0 * n_px)), f4(1.0 / (2.0 * bands * n_px))
    for b in range(bands):
        totals, squares, spreads = at(box, b * lanes), at(box, (bands + b) * lanes), at(floats, b * lanes)
        for c in range(cols):
            total, square = int(totals[c]), int(squares[c])
            out[c * n_features + b] = fma(f4(total), level, _LEVEL)
            spreads[c] = fma(f4(math.sqrt(f4(n_px * square - total * total))), share, f4(1.0))
    gradients, steeps = at(box, 2 * bands * lanes), at(floats, bands * lanes)
    for c in range(cols):
        steeps[c] = fma(f4(gradients[c]), steep, f4(1.0))
    for j in range(bands + 1):
        for c in range(cols, lanes):
            floats[j * lanes + c] = f4(1.0)
    for j in range(0, (bands + 1) * lanes, LANES):
        least, unit = (_DEEP, f4(1.0)) if j < bands * lanes else (_STEEP, _STEEP_SCALE)
        store(floats, j, (vlog(load(floats, j)) - splat(least)) * splat(unit))
    for j in range(bands + 1):
        for c in range(cols):
            out[c * n_features + bands + j] = floats[j * lanes + c]


@helper
def _sum_cells(pixels: Any, sums: Any, scratch: Any, rows: int, cols: int, bands: int) -> None:
    """Sums of each band, of its squares, and of gradients of the sum of bands, of each cell.

    A row of pixels has at least 16 bytes more than a pixel less one; the last vector of a row overlaps that before it.
    """
    n, lanes = cols * _CELL * bands, padded(cols)
    wide, length = (2 * bands + 1) * lanes, n + LANES
    level, square, steep = scratch, at(scratch, length), at(scratch, 2 * length)
    grey, below = at(scratch, 3 * length), at(scratch, 4 * length)
    _sum_bands(pixels, grey, n, bands)
    for r in range(rows):
        line = at(pixels, r * _CELL * n)
        for j in range(0, n, LANES):
            here = min(j, n - LANES)
            whole, squares = nothing(), nothing()
            for y in range(_CELL):
                value = load_octets(line, y * n + here)
                whole, squares = whole + value, squares + value * value
            store_ints(level, here, whole)
            store_ints(square, here, squares)
            store_ints(steep, j, nothing())
        for y in range(1, _CELL + 1):
            under = grey
            if r * _CELL + y < rows * _CELL:
                under = below
                _sum_bands(at(line, y * n), below, n, bands)
            for j in range(0, n, LANES):
                value = load_ints(grey, j)
                change = apart(load_ints(grey, j + bands), value) + apart(load_ints(under, j), value)
                store_ints(steep, j, load_ints(steep, j) + change)
            grey, below = below, grey
        row = at(sums, r * wide)
        for b in range(bands):
            _gather(at(level, b), at(row, b * lanes), cols, bands)
            _gather(at(square, b), at(row, (bands + b) * lanes), cols, bands)
        _gather(steep, at(row, 2 * bands * lanes), cols, bands)


@helper
def _sum_bands(line: Any, grey: Any, n: int, bands: int) -> None:
    """Sums of `bands` neighbours in a row of `n` bytes: of a pixel where one begins, of no use elsewhere.

    Of a pixel beyond the row there is that of the last one.
    """
    for j in range(0, n - bands + 1, LANES):
        here = min(j, n - bands + 1 - LANES)
        whole = nothing()
        for b in range(bands):
            whole = whole + load_octets(line, here + b)
        store_ints(grey, here, whole)
    grey[n] = grey[n - bands]


@helper
def _gather(line: Any, sums: Any, cols: int, bands: int) -> None:
    """Sums over the four columns of each cell, of what is at the first place of each pixel."""
    for c in range(cols):
        x = c * _CELL * bands
        sums[c] = (line[x] + line[x + bands]) + (line[x + 2 * bands] + line[x + 3 * bands])


@helper
def _copy_pixels(pixels: Any, z: Any, rows: int, cols: int, bands: int, n_features: int) -> None:
    """The raw values of each cell, row by row, to the first columns of `z`.

    Whole vectors are written: what is beyond the values of a cell is written after them.
    """
    run, n = _CELL * bands, _CELL * cols * bands
    for i in range(rows * cols):
        for y in range(_CELL):
            first, to = (i // cols * _CELL + y) * n + i % cols * run, at(z, i * n_features + y * run)
            from_ = at(pixels, first)
            if first + padded(run) <= rows * _CELL * n:
                for k in range(0, run, LANES):
                    store(to, k, (load_bytes(from_, k) - splat(f4(100.0))) * splat(_LEVEL_SCALE))
            else:  # the end of the chip: not a byte beyond it is read
                for k in range(run):
                    to[k] = (f4(from_[k]) - f4(100.0)) * _LEVEL_SCALE


def embed(
    z: Any, weights: Any, offset: Any, phi: Any, work: Any, n: int, n_features: int, n_units: int, padded: int
) -> None:
    """Write embeddings ``[max(0, z W + a), z]`` of `z` (n, n_features) to `phi` (n, n_units + n_features).

    `weights` (n_features, padded) and `offset` (padded,) hold zeros after column `n_units`, up to a multiple of
    32; `work` is (48, padded).
    """
    n_out = n_units + n_features
    for start in range(0, n, _BLOCK):
        count = min(_BLOCK, n - start)
        here = at(z, start * n_features)
        gemm_relu(here, n_features, 1, weights, padded, work, padded, count, padded, n_features, offset)
        for i in range(count):
            out = at(phi, (start + i) * n_out)
            copy(at(work, i * padded), out, n_units)
            copy(at(here, i * n_features), at(out, n_units), n_features)


@helper
def mean_of(
    z: Any, weights: Any, offset: Any, mean: Any, work: Any, n: int, n_features: int, n_units: int, padded: int
) -> None:
    """Write the mean of the embeddings of `z` (n, n_features) to `mean`, cells added one after another.

    `weights`, `offset` as in `embed`; `work` is (49, padded), padded at least n_features; `z` is a vector longer than
    it need be.
    """
    sums, share = at(work, _BLOCK * padded), f4(1.0 / n)
    clear(sums, 0, padded)
    for start in range(0, n, _BLOCK):
        count = min(_BLOCK, n - start)
        gemm_relu(at(z, start * n_features), n_features, 1, weights, padded, work, padded, count, padded, n_features,
                  offset)  # fmt: skip
        add_rows(work, count, padded, sums)
    for j in range(n_units):
        mean[j] = sums[j] * share
    clear(sums, 0, padded)
    add_rows(z, n, n_features, sums)
    for j in range(n_features):
        mean[n_units + j] = sums[j] * share


def logarithms(x: Any, n: int) -> None:
    """Replace `x` (n,), n a multiple of 16, by natural logarithms."""
    for i in range(0, n, LANES):
        store(x, i, vlog(load(x, i)))
