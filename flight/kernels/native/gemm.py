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

from flight.kernels.native.language import helper, inlined
from flight.kernels.native.vector import (
    F32,
    FLOATS,
    I64,
    LANES,
    ZERO,
    at,
    f32x16,
    float_p,
    fused,
    halved,
    larger,
    loaded,
    paired,
    repeated,
    stored,
)

_ROWS = 6
_PLAIN, _RELU, _GATE = range(3)
_int = numba.types.int64


def is_wide(context: Any) -> bool:
    """Whether the target has 32 registers of 16 floats."""
    return "+avx512f" in str(context.codegen().magic_tuple()[2])


def _vectors(context: Any) -> int:
    """Vectors of columns of a main tile."""
    return 2 if is_wide(context) else 1


@intrinsic  # type: ignore[untyped-decorator]
def _tile_columns(typing: Any) -> Any:
    return _int(), lambda context, builder, signature, arguments: I64(LANES * _vectors(context))


def _tile(rows: int, narrow: bool, mode: int) -> Any:
    """The intrinsic that makes a tile of C of so many rows, and of one vector of columns if `narrow`."""

    def tile(
        typing: Any, a: Any, a_row: Any, a_k: Any, b: Any, b_row: Any, c: Any, c_row: Any, depth: Any, extra: Any,
        extra_row: Any,
    ) -> Any:  # fmt: skip
        def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
            _generate(builder, rows, 1 if narrow else _vectors(context), mode, arguments)
            return context.get_dummy_value()

        return numba.types.void(float_p, _int, _int, float_p, _int, float_p, _int, _int, float_p, _int), generate

    return intrinsic(tile)


def _generate(builder: Any, rows: int, vectors: int, mode: int, arguments: Any) -> None:
    a, a_row, a_k, b, b_row, c, c_row, depth, extra, extra_row = arguments

    def element(r: int, v: int, of: Any = c, row: Any = c_row) -> Any:
        return builder.gep(of, [builder.add(builder.mul(row, I64(r)), I64(v * LANES))])

    tile = [[cgutils.alloca_once(builder, FLOATS) for _ in range(vectors)] for _ in range(rows)]
    for r in range(rows):
        for v in range(vectors):
            first = ZERO if mode == _GATE else loaded(builder, element(r, v, extra, extra_row))
            builder.store(first, tile[r][v])
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
    in_pairs = mode != _PLAIN
    along = mode != _GATE  # `extra` is beside C, `extra_row` from row to row

    @helper
    def product(
        a: Any, a_row: int, a_k: int, b: Any, b_row: int, c: Any, c_row: int, m: int, n: int, depth: int, extra: Any,
        extra_row: int,
    ) -> None:  # fmt: skip
        j = 0
        while j + _tile_columns() <= n:
            ai, bj, ci, ei = a, at(b, j), at(c, j), at(extra, j if along else 0)
            i = m
            while i >= _ROWS:
                main(ai, a_row, a_k, bj, b_row, ci, c_row, depth, ei, extra_row)
                ai, ci, ei = at(ai, _ROWS * a_row), at(ci, _ROWS * c_row), at(ei, _ROWS * extra_row)
                i -= _ROWS
            if i >= 4:
                four(ai, a_row, a_k, bj, b_row, ci, c_row, depth, ei, extra_row)
                ai, ci, ei = at(ai, 4 * a_row), at(ci, 4 * c_row), at(ei, 4 * extra_row)
                i -= 4
            while i > 0:
                one(ai, a_row, a_k, bj, b_row, ci, c_row, depth, ei, extra_row)
                ai, ci, ei = at(ai, a_row), at(ci, c_row), at(ei, extra_row)
                i -= 1
            j += _tile_columns()
        if not in_pairs and _tile_columns() > LANES and j < n:
            ai, bj, ci, ei = a, at(b, j), at(c, j), at(extra, j)
            i = m
            while i >= _ROWS:
                thin(ai, a_row, a_k, bj, b_row, ci, c_row, depth, ei, extra_row)
                ai, ci, ei = at(ai, _ROWS * a_row), at(ci, _ROWS * c_row), at(ei, _ROWS * extra_row)
                i -= _ROWS
            while i > 0:
                thin_one(ai, a_row, a_k, bj, b_row, ci, c_row, depth, ei, extra_row)
                ai, ci, ei = at(ai, a_row), at(ci, c_row), at(ei, extra_row)
                i -= 1

    return product


_plain, _relu, _gate = (_product(mode) for mode in (_PLAIN, _RELU, _GATE))

# Each takes (a, a_row, a_k, b, b_row, c, c_row, m, n, depth, extra): C is (m, n) and A B is summed over `depth`.


@inlined
def gemm_start(
    a: Any, a_row: int, a_k: int, b: Any, b_row: int, c: Any, c_row: int, m: int, n: int, depth: int, extra: Any
) -> None:
    """C = `extra` + A B, where `extra` is a row (n)."""
    _plain(a, a_row, a_k, b, b_row, c, c_row, m, n, depth, extra, 0)


@inlined
def gemm_add(a: Any, a_row: int, a_k: int, b: Any, b_row: int, c: Any, c_row: int, m: int, n: int, depth: int) -> None:
    """C += A B."""
    _plain(a, a_row, a_k, b, b_row, c, c_row, m, n, depth, c, c_row)


@inlined
def gemm_relu(
    a: Any, a_row: int, a_k: int, b: Any, b_row: int, c: Any, c_row: int, m: int, n: int, depth: int, extra: Any
) -> None:
    """C = max(0, extra + A B), where `extra` is a row (n); n in multiples of 32."""
    _relu(a, a_row, a_k, b, b_row, c, c_row, m, n, depth, extra, 0)


@inlined
def gemm_gate(
    a: Any, a_row: int, a_k: int, b: Any, b_row: int, c: Any, c_row: int, m: int, n: int, depth: int, extra: Any
) -> None:
    """C = extra[0] * A B where C was above 0, else 0; n in multiples of 32."""
    _gate(a, a_row, a_k, b, b_row, c, c_row, m, n, depth, extra, 0)


@intrinsic  # type: ignore[untyped-decorator]
def dot_rows(typing: Any, a: Any, a_row: Any, b: Any, vectors: Any) -> Any:
    """Products of 16 rows of A with row `b`, of so many vectors each; within a row, lanes meet as in `total`."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        a, a_row, b, vectors = arguments
        at_once = 8 if is_wide(context) else 4
        found = cgutils.alloca_once(builder, FLOATS)
        with cgutils.for_range(builder, I64(LANES // at_once), intp=I64) as group:
            first = builder.mul(group.index, I64(at_once))
            rows = [builder.gep(a, [builder.mul(a_row, builder.add(first, I64(r)))]) for r in range(at_once)]
            row_sums = [cgutils.alloca_once_value(builder, ZERO) for _ in rows]
            with cgutils.for_range(builder, vectors, intp=I64) as loop:
                here = builder.mul(loop.index, I64(LANES))
                right = loaded(builder, builder.gep(b, [here]))
                for row, kept in zip(rows, row_sums, strict=True):
                    left = loaded(builder, builder.gep(row, [here]))
                    builder.store(fused(builder, left, right, builder.load(kept)), kept)
            sums = [builder.load(kept) for kept in row_sums]
            while len(sums) > 1:
                sums = [paired(builder, *two) for two in zip(sums[::2], sums[1::2], strict=True)]
            whole = sums[0]
            while whole.type.count > at_once:
                whole = halved(builder, whole)
            place = builder.gep(builder.bitcast(found, F32.as_pointer()), [first])
            builder.store(whole, builder.bitcast(place, whole.type.as_pointer())).align = 4
        return builder.load(found)

    return f32x16(float_p, _int, float_p, _int), generate


def gemm(a: Any, b: Any, start: Any, c: Any, m: int, n: int, depth: int, repeats: int) -> None:
    """C (m, n) = `start` (n,) + A (m, depth) B (depth, n), so many times over: what a benchmark measures."""
    for _ in range(repeats):
        gemm_start(a, depth, 1, b, n, c, n, m, n, depth, start)
