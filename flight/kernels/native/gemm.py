"""Matrix products by a register-blocked micro-kernel: rows of A, 16 or 32 columns of B, one fused multiply-add a step.

An element of C is summed over k in order, one rounding a step, whatever the tile that holds it: so tiles may differ
between targets, and no bit does. The main tile fills the registers: 6 rows of 32 columns with AVX-512, else 6 rows of
16 (12 accumulators of 16 registers with AVX2, 24 of 32 with NEON). Fewer rows are left to tiles of 4 and 1.

Columns come in whole vectors: callers pad B and C with zeros to a multiple of 16 columns. Strides are in floats; A is
read as ``a[i * a_row + k * a_k]``, so it may be transposed.
"""

from __future__ import annotations

from typing import Any

import numba
from numba.core import cgutils
from numba.extending import intrinsic

from flight.kernels.native.language import helper
from flight.kernels.native.vector import (
    FLOATS,
    I64,
    LANES,
    ZERO,
    at,
    f32x16,
    float_p,
    fused,
    larger,
    loaded,
    paired,
    repeated,
    stored,
)

_ROWS = 6
_START, _ADD, _RELU, _GATE = range(4)
_int = numba.types.int64


def _vectors(context: Any) -> int:
    """Vectors of columns of a main tile: two where the target has 32 registers of 16 floats."""
    return 2 if "+avx512f" in str(context.codegen().magic_tuple()[2]) else 1


@intrinsic  # type: ignore[untyped-decorator]
def _tile_columns(typing: Any) -> Any:
    return _int(), lambda context, builder, signature, arguments: I64(LANES * _vectors(context))


def _tile(rows: int, narrow: bool, mode: int) -> Any:
    """The intrinsic that makes a tile of C of so many rows, and of one vector of columns if `narrow`."""

    def tile(
        typing: Any, a: Any, a_row: Any, a_k: Any, b: Any, b_row: Any, c: Any, c_row: Any, depth: Any, extra: Any
    ) -> Any:
        def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
            _generate(builder, rows, 1 if narrow else _vectors(context), mode, arguments)
            return context.get_dummy_value()

        return numba.types.void(float_p, _int, _int, float_p, _int, float_p, _int, _int, float_p), generate

    return intrinsic(tile)


def _generate(builder: Any, rows: int, vectors: int, mode: int, arguments: Any) -> None:
    a, a_row, a_k, b, b_row, c, c_row, depth, extra = arguments

    def element(r: int, v: int) -> Any:
        return builder.gep(c, [builder.add(builder.mul(c_row, I64(r)), I64(v * LANES))])

    tile = [[cgutils.alloca_once(builder, FLOATS) for _ in range(vectors)] for _ in range(rows)]
    for v in range(vectors):
        first = ZERO if mode == _GATE else loaded(builder, builder.gep(extra, [I64(v * LANES)]))
        for r in range(rows):
            builder.store(loaded(builder, element(r, v)) if mode == _ADD else first, tile[r][v])
    with cgutils.for_range(builder, depth, intp=I64) as loop:
        row = builder.gep(b, [builder.mul(loop.index, b_row)])
        column = builder.gep(a, [builder.mul(loop.index, a_k)])
        right = [loaded(builder, builder.gep(row, [I64(v * LANES)])) for v in range(vectors)]
        for r in range(rows):
            left = repeated(builder, builder.load(builder.gep(column, [builder.mul(a_row, I64(r))])))
            for v in range(vectors):
                builder.store(fused(builder, left, right[v], builder.load(tile[r][v])), tile[r][v])
    for r in range(rows):
        for v in range(vectors):
            value = builder.load(tile[r][v])
            if mode == _RELU:
                value = larger(builder, value, ZERO)
            elif mode == _GATE:
                open_ = builder.fcmp_ordered(">", loaded(builder, element(r, v)), ZERO)
                value = builder.select(open_, builder.fmul(value, repeated(builder, builder.load(extra))), ZERO)
            stored(builder, value, element(r, v))


def _product(mode: int) -> Any:
    """The product of one mode from tiles, of any rows and of columns in whole main tiles, or else in vectors."""
    main, four, one = (_tile(rows, False, mode) for rows in (_ROWS, 4, 1))
    thin, thin_one = _tile(_ROWS, True, mode), _tile(1, True, mode)
    in_pairs = mode in (_RELU, _GATE)
    along = mode in (_START, _RELU)  # `extra` is a row beside C

    @helper
    def product(
        a: Any, a_row: int, a_k: int, b: Any, b_row: int, c: Any, c_row: int, m: int, n: int, depth: int, extra: Any
    ) -> None:
        j = 0
        while j + _tile_columns() <= n:
            bj, ej = at(b, j), at(extra, j if along else 0)
            i = 0
            while i + _ROWS <= m:
                main(at(a, i * a_row), a_row, a_k, bj, b_row, at(c, i * c_row + j), c_row, depth, ej)
                i += _ROWS
            if i + 4 <= m:
                four(at(a, i * a_row), a_row, a_k, bj, b_row, at(c, i * c_row + j), c_row, depth, ej)
                i += 4
            while i < m:
                one(at(a, i * a_row), a_row, a_k, bj, b_row, at(c, i * c_row + j), c_row, depth, ej)
                i += 1
            j += _tile_columns()
        if not in_pairs and _tile_columns() > LANES and j < n:
            bj, ej = at(b, j), at(extra, j if along else 0)
            i = 0
            while i + _ROWS <= m:
                thin(at(a, i * a_row), a_row, a_k, bj, b_row, at(c, i * c_row + j), c_row, depth, ej)
                i += _ROWS
            while i < m:
                thin_one(at(a, i * a_row), a_row, a_k, bj, b_row, at(c, i * c_row + j), c_row, depth, ej)
                i += 1

    return product


# Each takes (a, a_row, a_k, b, b_row, c, c_row, m, n, depth, extra): C is (m, n) and A B is summed over `depth`.
gemm_start = _product(_START)  # C = extra + A B, where `extra` is a row (n)
gemm_relu = _product(_RELU)  # C = max(0, extra + A B); n in multiples of 32
gemm_add = _product(_ADD)  # C += A B; `extra` may be any pointer that can be read
gemm_gate = _product(_GATE)  # C = extra[0] * A B where C was above 0, else 0; n in multiples of 32


@intrinsic  # type: ignore[untyped-decorator]
def dot_rows(typing: Any, a: Any, a_row: Any, b: Any, vectors: Any) -> Any:
    """Products of 16 rows of A with row `b`, of so many vectors each; within a row, lanes meet as in `total`."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        a, a_row, b, vectors = arguments
        at_once = 8 if _vectors(context) == 2 else 4
        sums = []
        for first in range(0, LANES, at_once):
            rows = [builder.gep(a, [builder.mul(a_row, I64(first + r))]) for r in range(at_once)]
            row_sums = [cgutils.alloca_once_value(builder, ZERO) for _ in rows]
            with cgutils.for_range(builder, vectors, intp=I64) as loop:
                here = builder.mul(loop.index, I64(LANES))
                right = loaded(builder, builder.gep(b, [here]))
                for row, kept in zip(rows, row_sums, strict=True):
                    left = loaded(builder, builder.gep(row, [here]))
                    builder.store(fused(builder, left, right, builder.load(kept)), kept)
            sums += [builder.load(kept) for kept in row_sums]
        while len(sums) > 1:
            sums = [paired(builder, *two) for two in zip(sums[::2], sums[1::2], strict=True)]
        return sums[0]

    return f32x16(float_p, _int, float_p, _int), generate


def gemm(a: Any, b: Any, start: Any, c: Any, m: int, n: int, depth: int, repeats: int) -> None:
    """C (m, n) = `start` (n,) + A (m, depth) B (depth, n), so many times over: what a benchmark measures."""
    for _ in range(repeats):
        gemm_start(a, depth, 1, b, n, c, n, m, n, depth, start)
