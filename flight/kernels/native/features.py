"""What the cells of a chip look like, from its pixels, and their random embedding.

Sums over cells and windows are integers: pixels go to sums of cells, and windows slide over rows of cells, then along
them. Only the statistics that follow are floats. The features are those of `flight.learn.features`.
"""

from __future__ import annotations

import math
from typing import Any

from flight.kernels.native.gemm import gemm_relu
from flight.kernels.native.language import carray, f4, fma, helper
from flight.kernels.native.vector import LANES, at, load, splat, store, vlog

_CELL = 4
_BLOCK = 48  # cells whose units are in work at a time
_OCTET = 8
_LEVEL, _LEVEL_SCALE = f4(-2.0), f4(1.0 / 50.0)  # (x - 100) / 50
_DEEP, _STEEP = f4(2.0), f4(1.5)  # (log(1 + std) - 2), (log(1 + gradient) - 1.5) / 0.8
_STEEP_SCALE = f4(1.0 / 0.8)


@helper
def features_of(
    pixels: Any,
    windows: Any,
    z: Any,
    ints: Any,
    floats: Any,
    rows: int,
    cols: int,
    bands: int,
    n_windows: int,
    raw: int,
    n_features: int,
) -> None:
    """Write features of the cells of `pixels` (4 rows, 4 cols * bands) to the first columns of `z`.

    `z` is (rows * cols, n_features). `windows` are widths in cells, odd; with `raw` the pixels of a cell come first.
    `ints` and `floats` are scratch, see `flight.kernels.native.moments.absorb`.
    """
    lanes = (2 * bands + _OCTET) // _OCTET * _OCTET
    n_raw = _CELL * _CELL * bands * raw
    out = carray(z, (rows, cols, n_features))
    wide = lanes * cols
    sums, column, box = (
        carray(ints, (rows, wide)), carray(at(ints, rows * wide), wide), carray(at(ints, (rows + 1) * wide), wide)
    )  # fmt: skip
    scratch = carray(at(ints, (rows + 2) * wide), _CELL * cols * (2 * bands + 3))
    _sum_cells(pixels, sums, scratch, rows, cols, bands, lanes)
    if raw == 1:
        _copy_pixels(pixels, out, rows, cols, bands)
    width = carray(windows, n_windows)
    for w in range(n_windows):
        for r in range(rows):
            _slide_down(sums, column, r, width[w], rows, wide)
            _slide_across(column, box, width[w], cols, lanes)
            _statistics(
                box,
                at(ints, (rows + 2) * wide),
                floats,
                out[r],
                n_raw + w * (2 * bands + 1),
                width[w],
                cols,
                bands,
                lanes,
            )


@helper
def spread_over_cells(codes: Any, unit: Any, low: Any, place: Any, z: Any, n: int, width: int, n_features: int) -> None:
    """Write the embeddings of `n` cells to the last `width` columns of `z` (n, n_features).

    That of cell i is code `place[i]` of `codes` (places, width), times `unit` (width,), plus `low` (width,).
    """
    out = carray(z, (n, n_features))
    for i in range(n):
        row, code = out[i], codes[place[i]]
        for j in range(width):
            row[n_features - width + j] = f4(code[j]) * unit[j] + low[j]


@helper
def _mirrored(i: int, n: int) -> int:
    """Place `i` of n, mirrored at the ends as often as it takes; i is from -2 n on."""
    i = (i + 4 * n) % (2 * n)
    return min(i, 2 * n - 1 - i)


@helper
def _slide_down(sums: Any, column: Any, r: int, width: int, rows: int, n: int) -> None:
    """Sums of `width` rows of cells around row r, from those around row r - 1."""
    half = width // 2
    if r == 0:
        for j in range(n):
            column[j] = 0
        for step in range(-half, half + 1):
            row = sums[_mirrored(step, rows)]
            for j in range(n):
                column[j] += row[j]
    else:
        new, old = sums[_mirrored(r + half, rows)], sums[_mirrored(r - 1 - half, rows)]
        for j in range(n):
            column[j] += new[j] - old[j]


@helper
def _slide_across(column: Any, box: Any, width: int, cols: int, lanes: int) -> None:
    """Sums of `width` neighbours around each cell of a row."""
    half = width // 2
    for j in range(lanes):
        box[j] = 0
    for step in range(-half, half + 1):
        first = _mirrored(step, cols) * lanes
        for j in range(lanes):
            box[j] += column[first + j]
    for c in range(1, cols):
        new, old = _mirrored(c + half, cols) * lanes, _mirrored(c - 1 - half, cols) * lanes
        here = c * lanes
        for j in range(lanes):
            box[here + j] = box[here - lanes + j] + column[new + j] - column[old + j]


@helper
def _statistics(
    box: Any, ints: Any, floats: Any, out: Any, first: int, width: int, cols: int, bands: int, lanes: int
) -> None:
    """Levels, deviations and gradient of a row of cells to columns `first` on of `out` (cols, features)."""
    padded = (cols + LANES - 1) // LANES * LANES
    line, sums = carray(floats, (2 * bands + 1, padded)), carray(ints, (2 * bands + 1, cols))
    n_px = _CELL * _CELL * width * width
    share, level, steep = f4(1.0 / n_px), f4(1.0 / (50.0 * n_px)), f4(1.0 / (2.0 * bands * n_px))
    for j in range(2 * bands + 1):
        for c in range(cols):
            sums[j, c] = box[c * lanes + j]
    for b in range(bands):
        totals, squares, levels, spreads = sums[b], sums[bands + b], line[b], line[bands + b]
        for c in range(cols):
            total, square = int(totals[c]), int(squares[c])
            levels[c] = fma(f4(total), level, _LEVEL)
            spreads[c] = fma(f4(math.sqrt(f4(n_px * square - total * total))), share, f4(1.0))
    for c in range(cols):
        line[2 * bands, c] = fma(f4(sums[2 * bands, c]), steep, f4(1.0))
    for c in range(cols, padded):
        for j in range(bands, 2 * bands + 1):
            line[j, c] = f4(1.0)
    for j in range(bands, 2 * bands + 1):
        for c in range(0, padded, LANES):
            here = j * padded + c
            if j < 2 * bands:
                store(floats, here, vlog(load(floats, here)) - splat(_DEEP))
            else:
                store(floats, here, (vlog(load(floats, here)) - splat(_STEEP)) * splat(_STEEP_SCALE))
    for c in range(cols):
        for j in range(2 * bands + 1):
            out[c, first + j] = line[j, c]


@helper
def _sum_cells(pixels: Any, sums: Any, scratch: Any, rows: int, cols: int, bands: int, lanes: int) -> None:
    """Sums of each band, of its squares, and of gradients of the sum of bands, of each cell."""
    n, width = cols * _CELL * bands, cols * _CELL
    level, square, grey, below, steep = (
        scratch[:n], scratch[n : 2 * n], scratch[2 * n : 2 * n + width], scratch[2 * n + width : 2 * n + 2 * width],
        scratch[2 * n + 2 * width :],
    )  # fmt: skip
    _sum_bands(pixels[0], grey, width, bands)
    for r in range(rows):
        for j in range(n):
            level[j], square[j] = 0, 0
        for j in range(width):
            steep[j] = 0
        for y in range(r * _CELL, r * _CELL + _CELL):
            line = pixels[y]
            for j in range(n):
                value = int(line[j])
                level[j] += value
                square[j] += value * value
            for x in range(width - 1):
                steep[x] += abs(grey[x + 1] - grey[x])
            if y + 1 < rows * _CELL:
                _sum_bands(pixels[y + 1], below, width, bands)
                for x in range(width):
                    steep[x] += abs(below[x] - grey[x])
                    grey[x] = below[x]
        _gather(level, square, steep, sums[r], cols, bands, lanes)


@helper
def _sum_bands(line: Any, grey: Any, width: int, bands: int) -> None:
    if bands == 3:  # for which compilers know what to do
        for x in range(width):
            grey[x] = int(line[3 * x]) + int(line[3 * x + 1]) + int(line[3 * x + 2])
    else:
        for x in range(width):
            grey[x] = 0
        for b in range(bands):
            for x in range(width):
                grey[x] += int(line[x * bands + b])


@helper
def _gather(level: Any, square: Any, steep: Any, sums: Any, cols: int, bands: int, lanes: int) -> None:
    """Sums over the four columns of each cell."""
    for c in range(cols):
        here, pixel = c * lanes, c * _CELL * bands
        for b in range(bands):
            i, j, k, m = pixel + b, pixel + bands + b, pixel + 2 * bands + b, pixel + 3 * bands + b
            sums[here + b] = (level[i] + level[j]) + (level[k] + level[m])
            sums[here + bands + b] = (square[i] + square[j]) + (square[k] + square[m])
        x = c * _CELL
        sums[here + 2 * bands] = (steep[x] + steep[x + 1]) + (steep[x + 2] + steep[x + 3])
        for j in range(2 * bands + 1, lanes):
            sums[here + j] = 0


@helper
def _copy_pixels(pixels: Any, out: Any, rows: int, cols: int, bands: int) -> None:
    """The raw values of each cell, row by row."""
    n = _CELL * bands
    for r in range(rows):
        for c in range(cols):
            for y in range(_CELL):
                for j in range(n):
                    out[r, c, y * n + j] = (f4(pixels[r * _CELL + y, c * n + j]) - f4(100.0)) * _LEVEL_SCALE


def embed(
    z: Any, weights: Any, offset: Any, phi: Any, work: Any, n: int, n_features: int, n_units: int, padded: int
) -> None:
    """Write embeddings ``[max(0, z W + a), z]`` of `z` (n, n_features) to `phi` (n, n_units + n_features).

    `weights` (n_features, padded) and `offset` (padded,) hold zeros after column `n_units`, up to a multiple of
    32; `work` is (48, padded).
    """
    x, out, units = (
        carray(z, (n, n_features)), carray(phi, (n, n_units + n_features)), carray(work, (_BLOCK, padded))
    )  # fmt: skip
    for start in range(0, n, _BLOCK):
        count = min(_BLOCK, n - start)
        gemm_relu(at(z, start * n_features), n_features, 1, weights, padded, work, padded, count, padded, n_features,
                  offset)  # fmt: skip
        for i in range(count):
            for j in range(n_units):
                out[start + i, j] = units[i, j]
            for j in range(n_features):
                out[start + i, n_units + j] = x[start + i, j]


@helper
def mean_of(
    z: Any, weights: Any, offset: Any, mean: Any, work: Any, n: int, n_features: int, n_units: int, padded: int
) -> None:
    """Write the mean of the embeddings of `z` (n, n_features) to `mean`, cells added one after another.

    `weights`, `offset` as in `embed`; `work` is (49, padded), padded at least n_features.
    """
    x, out, units = carray(z, (n, n_features)), carray(mean, n_units + n_features), carray(work, (_BLOCK + 1, padded))
    sums, share = units[_BLOCK], f4(1.0 / n)
    for j in range(padded):
        sums[j] = f4(0.0)
    for start in range(0, n, _BLOCK):
        count = min(_BLOCK, n - start)
        gemm_relu(at(z, start * n_features), n_features, 1, weights, padded, work, padded, count, padded, n_features,
                  offset)  # fmt: skip
        for i in range(count):
            row = units[i]
            for j in range(padded):
                sums[j] += row[j]
    for j in range(n_units):
        out[j] = sums[j] * share
    for j in range(n_features):
        sums[j] = f4(0.0)
    for i in range(n):
        for j in range(n_features):
            sums[j] += x[i, j]
    for j in range(n_features):
        out[n_units + j] = sums[j] * share


def logarithms(x: Any, n: int) -> None:
    """Replace `x` (n,), n a multiple of 16, by natural logarithms."""
    for i in range(0, n, LANES):
        store(x, i, vlog(load(x, i)))
