"""Dense linear algebra in double precision: products, Cholesky factors, orthogonal bases, shifted systems.

Matrices are stored row by row, and inner loops run along rows without a sum across them: compilers may take several
elements at a time, and no order of adding changes. A factor R of a symmetric positive definite matrix A is upper
triangular, with R' R = A.
"""

from __future__ import annotations

import math
from typing import Any

import numba
from numba.extending import intrinsic

from flight.kernels.native.language import carray, fma64, helper
from flight.kernels.native.real import EIGHT, fma8, load8, splat8, store8, total8
from flight.kernels.native.vector import I32, at, emits, f64x8

_double = numba.types.float64


@intrinsic  # type: ignore[untyped-decorator]
def start(typing: Any, array: Any) -> Any:
    """The pointer to the first element of a contiguous array."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return context.make_array(signature.args[0])(context, builder, arguments[0]).data

    return numba.types.CPointer(array.dtype)(array), generate


@helper
def add_four_at(out: Any, a: Any, b: Any, c: Any, d: Any, wa: float, wb: float, wc: float, wd: float, n: int) -> None:
    """``out += wa a + wb b + wc c + wd d``, of `n` doubles behind pointers."""
    j = 0
    while j + EIGHT <= n:
        part = fma8(splat8(wb), load8(b, j), fma8(splat8(wa), load8(a, j), load8(out, j)))
        store8(out, j, fma8(splat8(wd), load8(d, j), fma8(splat8(wc), load8(c, j), part)))
        j += EIGHT
    while j < n:
        out[j] = fma64(wd, d[j], fma64(wc, c[j], fma64(wb, b[j], fma64(wa, a[j], out[j]))))
        j += 1


@helper
def add_four(out: Any, a: Any, b: Any, c: Any, d: Any, wa: float, wb: float, wc: float, wd: float) -> None:
    """``out += wa a + wb b + wc c + wd d``, of rows of one length."""
    add_four_at(start(out), start(a), start(b), start(c), start(d), wa, wb, wc, wd, len(out))


@helper
def add_one(out: Any, a: Any, wa: float) -> None:
    """``out += wa a``."""
    add_one_at(start(out), start(a), wa, len(out))


@helper
def add_one_at(out: Any, a: Any, wa: float, n: int) -> None:
    """``out += wa a``, of `n` doubles behind pointers."""
    j = 0
    while j + EIGHT <= n:
        store8(out, j, fma8(splat8(wa), load8(a, j), load8(out, j)))
        j += EIGHT
    while j < n:
        out[j] = fma64(wa, a[j], out[j])
        j += 1


@helper
def add_rows(out: Any, left: Any, rows: Any, start: int, stop: int, first: int, last: int) -> None:
    """``out += left[start:stop] @ rows[start:stop]`` for one row `out`, in columns `first` to `last`."""
    part, k = out[first:last], start
    while k + 4 <= stop:
        a, b, c, d = rows[k], rows[k + 1], rows[k + 2], rows[k + 3]
        add_four(
            part, a[first:last], b[first:last], c[first:last], d[first:last],
            left[k], left[k + 1], left[k + 2], left[k + 3],
        )  # fmt: skip
        k += 4
    while k < stop:
        add_one(part, rows[k][first:last], left[k])
        k += 1


@emits(f64x8, f64x8, _double, _double)
def _add_to_first(builder: Any, sums: Any, a: Any, b: Any) -> Any:
    """`sums`, but with ``a * b`` added to the first lane, rounded once."""
    return builder.insert_element(sums, builder.fma(a, b, builder.extract_element(sums, I32(0))), I32(0))


@helper
def dot_of(a: Any, b: Any, first: int, last: int) -> float:
    """Sum of products, as eight interleaved sums, to the first of which the last few are added."""
    one, two, sums, i = start(a), start(b), splat8(0.0), first
    while i + EIGHT <= last:
        sums = fma8(load8(one, i), load8(two, i), sums)
        i += EIGHT
    while i < last:
        sums = _add_to_first(sums, one[i], two[i])
        i += 1
    whole: float = total8(sums)
    return whole


def dot(a: Any, b: Any, n: int) -> float:
    """Sum of products of `a` and `b` (n,)."""
    return dot_of(carray(a, n), carray(b, n), 0, n)


def product(a: Any, b: Any, c: Any, m: int, n: int, depth: int) -> None:
    """Write ``a b`` to `c`: (m, depth) and (depth, n) to (m, n)."""
    left, right, out = carray(a, (m, depth)), carray(b, (depth, n)), carray(c, (m, n))
    for i in range(m):
        for j in range(n):
            out[i, j] = 0.0
        add_rows(out[i], left[i], right, 0, depth, 0, n)


def gram(a: Any, c: Any, n: int, depth: int) -> None:
    """Write ``a' a`` of `a` (depth, n) to `c` (n, n)."""
    for i in range(n * n):
        c[i] = 0.0
    k = 0
    while k + 4 <= depth:
        for i in range(n):
            p = at(a, k * n + i)
            q, r, s = at(p, n), at(p, 2 * n), at(p, 3 * n)
            add_four_at(at(c, i * n + i), p, q, r, s, p[0], q[0], r[0], s[0], n - i)
        k += 4
    while k < depth:
        for i in range(n):
            p = at(a, k * n + i)
            add_one_at(at(c, i * n + i), p, p[0], n - i)
        k += 1
    for i in range(n):
        for j in range(i):
            c[i * n + j] = c[j * n + i]


def factor(a: Any, left: Any, n: int) -> int:
    """Replace `a` (n, n) by its factor R, zeros below the diagonal; 0, or -1 if it is not positive definite.

    `left` is (n,) of scratch.
    """
    R, column = carray(a, (n, n)), carray(left, n)
    for i in range(n):
        for k in range(i):
            column[k] = -R[k, i]
        add_rows(R[i], column, R, 0, i, i, n)
        if not R[i, i] > 0.0:
            return -1
        scale = 1.0 / math.sqrt(R[i, i])
        for j in range(i, n):
            R[i, j] *= scale
        for j in range(i):
            R[i, j] = 0.0
    return 0


def inverse_of_factor(a: Any, c: Any, n: int) -> None:
    """Write the inverse of the factor `a` (n, n), upper triangular as well, to `c`."""
    R, out = carray(a, (n, n)), carray(c, (n, n))
    for back in range(n):
        i = n - 1 - back
        for j in range(n):
            out[i, j] = 0.0
        add_rows(out[i], R[i], out, i + 1, n, i + 1, n)
        scale = 1.0 / R[i, i]
        out[i, i] = scale
        for j in range(i + 1, n):
            out[i, j] *= -scale


def solve_factored(a: Any, b: Any, left: Any, n: int, m: int) -> None:
    """Replace `b` (n, m) by the x with ``R' R x = b``, given the factor R in `a` (n, n); `left` (n,) is scratch."""
    R, x, column = carray(a, (n, n)), carray(b, (n, m)), carray(left, n)
    for i in range(n):
        for k in range(i):
            column[k] = -R[k, i]
        add_rows(x[i], column, x, 0, i, 0, m)
        scale = 1.0 / R[i, i]
        for j in range(m):
            x[i, j] *= scale
    for back in range(n):
        i = n - 1 - back
        for k in range(i + 1, n):
            column[k] = -R[i, k]
        add_rows(x[i], column, x, i + 1, n, 0, m)
        scale = 1.0 / R[i, i]
        for j in range(m):
            x[i, j] *= scale


def orthonormal(a: Any, left: Any, n: int) -> None:
    """Replace columns of `a` (n, n) by Q of its QR factors, by Householder reflections; `left` (n, 2) is scratch.

    As in LAPACK, a diagonal element of R has the sign opposite to what was there before its reflection.
    """
    Q, both = carray(a, (n, n)), carray(left, (2, n))
    scale, sums = both[0], both[1]
    for k in range(n):
        norm = 0.0
        for i in range(k + 1, n):
            norm = fma64(Q[i, k], Q[i, k], norm)
        head = Q[k, k]
        scale[k] = 0.0
        if norm > 0.0:
            full = math.sqrt(fma64(head, head, norm))
            beta = -full if head >= 0.0 else full
            scale[k] = (beta - head) / beta
            for i in range(k + 1, n):
                Q[i, k] /= head - beta
        _reflect(Q, scale[k], sums, k, k + 1, n)
    for back in range(n):
        k = n - 1 - back
        for j in range(k + 1, n):
            Q[k, j] = 0.0
        _reflect(Q, scale[k], sums, k, k + 1, n)
        for i in range(k + 1, n):
            Q[i, k] *= -scale[k]
        Q[k, k] = 1.0 - scale[k]


@helper
def _reflect(Q: Any, scale: float, sums: Any, k: int, first: int, n: int) -> None:
    """Reflect rows from k on of columns from `first` on, by the vector in column k below its leading 1."""
    for j in range(first, n):
        sums[j] = Q[k, j]
    for i in range(k + 1, n):
        v = Q[i, k]
        for j in range(first, n):
            sums[j] = fma64(v, Q[i, j], sums[j])
    for j in range(first, n):
        sums[j] *= -scale
        Q[k, j] += sums[j]
    for i in range(k + 1, n):
        v = Q[i, k]
        for j in range(first, n):
            Q[i, j] = fma64(v, sums[j], Q[i, j])
