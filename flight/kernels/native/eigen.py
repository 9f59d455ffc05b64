"""Symmetric matrices in tridiagonal form: systems with many shifts, and the greatest eigenvalues with their vectors.

`tridiagonal` brings A to Q T Q' by Householder reflections (Golub and Van Loan, "Matrix Computations", 4th edition,
algorithm 8.3.1). Then (A + s I) x = b takes a few operations a row for each s. Eigenvalues come by bisection (8.4.1),
eigenvectors of T by inverse iteration (8.2.2), each held orthogonal to all before it.
"""

from __future__ import annotations

import math
from typing import Any

from flight.kernels.native.language import carray, fma64, helper
from flight.kernels.native.linalg import add_four, add_one, add_rows, dot_of

_BISECTIONS = 64
_STEPS = 2  # of inverse iteration
_EPSILON = 2.220446049250313e-16
_LEAST = 1e-280


def tridiagonal(a: Any, d: Any, e: Any, scale: Any, work: Any, n: int) -> None:
    """Bring the symmetric `a` (n, n) to diagonal `d` and off-diagonal `e` (n,); the rows of `a` keep the reflections.

    Row k of `a` from column k + 1 on becomes the vector of reflection k, whose factor is ``scale[k]``. One pass over
    the rows below k does what reflection k - 1 does to them, and multiplies them by vector k. `work` is (2, n).
    """
    A, diagonal, beside, factor = carray(a, (n, n)), carray(d, n), carray(e, n), carray(scale, n)
    both = carray(work, (2, n))
    w, p = both[0], both[1]
    for j in range(n):
        w[j], beside[j], factor[j] = 0.0, 0.0, 0.0
    for k in range(n):
        v, x = A[max(k - 1, 0)], A[k]
        of_v, of_w = -w[k], -v[k]
        for j in range(k, n):
            x[j] = fma64(of_w, w[j], fma64(of_v, v[j], x[j]))
        diagonal[k] = x[k]
        if k < n - 1:
            beside[k], factor[k] = _reflection(x, k + 1, n)
            for j in range(k + 1, n):
                p[j] = 0.0
            _advance(A, v, w, x, p, k + 1, n)
            for j in range(k + 1, n):
                p[j] *= factor[k]
            along = -0.5 * factor[k] * dot_of(p, x, k + 1, n)
            for j in range(k + 1, n):
                w[j] = fma64(along, x[j], p[j])


@helper
def _reflection(x: Any, first: int, n: int) -> tuple[float, float]:
    """Make of ``x[first:]`` the vector, 1 at its head, that turns it to a multiple of its head; which, and factor."""
    head, square = x[first], dot_of(x, x, first + 1, n)
    x[first] = 1.0
    if square <= 0.0:
        return head, 0.0
    full = math.sqrt(fma64(head, head, square))
    beta = -full if head >= 0.0 else full
    scale = 1.0 / (head - beta)
    for j in range(first + 1, n):
        x[j] *= scale
    return beta, (beta - head) / beta


@helper
def _advance(A: Any, v: Any, w: Any, x: Any, p: Any, first: int, n: int) -> None:
    """Take ``v w' + w v'`` from rows and columns of A from `first` on, and add A x to `p`."""
    along, beside, sums = v[first:n], w[first:n], p[first:n]
    i = first
    while i < n:
        count = 4 if i + 4 <= n else 1
        for k in range(i, i + count):
            _add_two(A[k][first:n], along, beside, -w[k], -v[k])
        if count == 4:
            add_four(
                sums, A[i][first:n], A[i + 1][first:n], A[i + 2][first:n], A[i + 3][first:n],
                x[i], x[i + 1], x[i + 2], x[i + 3],
            )  # fmt: skip
        else:
            add_one(sums, A[i][first:n], x[i])
        i += count


@helper
def _add_two(out: Any, a: Any, b: Any, wa: float, wb: float) -> None:
    for j in range(len(out)):
        out[j] = fma64(wb, b[j], fma64(wa, a[j], out[j]))


def reflect(a: Any, scale: Any, x: Any, work: Any, n: int, m: int, turned: int) -> None:
    """Replace `x` (n, m) by ``Q x``, or ``Q' x`` if `turned`, of the reflections that `tridiagonal` left in `a`.

    `work` (m,) is scratch.
    """
    A, factor, out, sums = carray(a, (n, n)), carray(scale, n), carray(x, (n, m)), carray(work, m)
    for step in range(n - 1):
        k = step if turned == 1 else n - 2 - step
        for j in range(m):
            sums[j] = 0.0
        add_rows(sums, A[k], out, k + 1, n, 0, m)
        for i in range(k + 1, n):
            add_one(out[i], sums, -factor[k] * A[k, i])


def solve_shifted(d: Any, e: Any, shifts: Any, b: Any, x: Any, work: Any, n: int, m: int, n_shifts: int) -> None:
    """Write to `x` (n, n_shifts * m) the solutions of ``(T + shift I) x = b`` (n, m); T + shift I positive definite.

    `work` is (2, n).
    """
    diagonal, beside, right = carray(d, n), carray(e, n), carray(b, (n, m))
    out, shift, both = carray(x, (n, n_shifts * m)), carray(shifts, n_shifts), carray(work, (2, n))
    pivot, ratio = both[0], both[1]
    for s in range(n_shifts):
        first = s * m
        for i in range(n):
            pivot[i] = 1.0 / (diagonal[i] + shift[s] - (beside[i - 1] * ratio[i - 1] if i > 0 else 0.0))
            ratio[i] = beside[i] * pivot[i]
        for j in range(m):
            out[0, first + j] = right[0, j]
        for i in range(1, n):
            for j in range(m):
                out[i, first + j] = fma64(-ratio[i - 1], out[i - 1, first + j], right[i, j])
        for i in range(n - 1, -1, -1):
            for j in range(m):
                known = -ratio[i] * out[i + 1, first + j] if i < n - 1 else 0.0
                out[i, first + j] = fma64(pivot[i], out[i, first + j], known)


def greatest_values(d: Any, e: Any, values: Any, work: Any, n: int, m: int) -> None:
    """Write the `m` greatest eigenvalues of T, ascending, to `values`; `work` is (4, m)."""
    diagonal, beside, out, four = carray(d, n), carray(e, n), carray(values, m), carray(work, (4, m))
    low, high, q, below = four[0], four[1], four[2], four[3]
    least, most = diagonal[0], diagonal[0]
    for i in range(n):
        radius = abs(beside[i]) + (abs(beside[i - 1]) if i > 0 else 0.0)
        least, most = min(least, diagonal[i] - radius), max(most, diagonal[i] + radius)
    tiny = max(_LEAST, _EPSILON * _EPSILON * max(abs(least), abs(most)))
    for j in range(m):
        low[j], high[j] = least, most
    for _ in range(_BISECTIONS):
        for j in range(m):
            out[j] = 0.5 * (low[j] + high[j])
            q[j], below[j] = 1.0, 0.0
        for i in range(n):
            square = beside[i - 1] * beside[i - 1] if i > 0 else 0.0
            for j in range(m):
                pivot = diagonal[i] - out[j] - square / q[j]
                pivot = -tiny if abs(pivot) < tiny else pivot
                q[j] = pivot
                below[j] += 1.0 if pivot < 0.0 else 0.0
        for j in range(m):
            over = below[j] > float(n - m + j)
            low[j], high[j] = (low[j] if over else out[j]), (out[j] if over else high[j])


def vectors(d: Any, e: Any, values: Any, rows: Any, work: Any, n: int, m: int) -> None:
    """Write unit eigenvectors of T for `values` (m,) to `rows` (m, n), orthogonal to each other; `work` is (4, n)."""
    diagonal, beside, value = carray(d, n), carray(e, n), carray(values, m)
    out, four = carray(rows, (m, n)), carray(work, (4, n))
    size = _LEAST
    for i in range(n):
        size = max(size, abs(diagonal[i]) + abs(beside[i]))
    for k in range(m):
        _start(out[k], k, n)
        _eliminate(diagonal, beside, value[k], size * _EPSILON, four, n)
        for _ in range(_STEPS):
            _solve(four, beside, out[k], n)
            _orthogonal(out, k, n)


@helper
def _start(x: Any, k: int, n: int) -> None:
    """Fill `x` with numbers of either sign that differ from place to place and from vector to vector."""
    state = 12345 + 7919 * k
    for i in range(n):
        state = (state * 1103515245 + 12345) & 0x7FFFFFFF
        x[i] = float((state >> 8) & 0xFFFF) - 32767.5


@helper
def _orthogonal(out: Any, k: int, n: int) -> None:
    """Take from row k, twice, what lies along the rows before it; scale it to unit length."""
    x = out[k]
    for _ in range(2):
        largest = 0.0
        for i in range(n):
            largest = max(largest, abs(x[i]))
        if largest > 0.0:
            for i in range(n):
                x[i] /= largest
        for other in range(k):
            add_one(x, out[other], -dot_of(out[other], x, 0, n))
        scale = 1.0 / math.sqrt(max(_LEAST, dot_of(x, x, 0, n)))
        for i in range(n):
            x[i] *= scale


@helper
def _eliminate(diagonal: Any, beside: Any, shift: float, tiny: float, four: Any, n: int) -> None:
    """Factors of T - shift I by elimination with exchange of rows: three diagonals, multipliers (+ 4: exchanged)."""
    u, first, second, factor = four[0], four[1], four[2], four[3]
    here, right = diagonal[0] - shift, beside[0]
    for i in range(n - 1):
        under, diag = beside[i], diagonal[i + 1] - shift
        beyond = beside[i + 1] if i + 2 < n else 0.0
        if abs(here) >= abs(under):
            here = here if abs(here) > tiny else (tiny if here >= 0.0 else -tiny)
            u[i], first[i], second[i] = here, right, 0.0
            factor[i] = under / here
            here, right = fma64(-factor[i], right, diag), beyond
        else:
            u[i], first[i], second[i] = under, diag, beyond
            ratio = here / under
            factor[i] = ratio + 4.0  # |ratio| < 1, |other factors| <= 1
            here, right = fma64(-ratio, diag, right), -ratio * beyond
    u[n - 1] = here if abs(here) > tiny else (tiny if here >= 0.0 else -tiny)
    first[n - 1], second[n - 1], factor[n - 1] = 0.0, 0.0, 0.0


@helper
def _solve(four: Any, beside: Any, x: Any, n: int) -> None:
    """Replace `x` by the solution for the factors of `_eliminate`."""
    u, first, second, factor = four[0], four[1], four[2], four[3]
    for i in range(n - 1):
        if factor[i] > 2.0:
            here = x[i]
            x[i] = x[i + 1]
            x[i + 1] = fma64(4.0 - factor[i], x[i], here)
        else:
            x[i + 1] = fma64(-factor[i], x[i], x[i + 1])
    for i in range(n - 1, -1, -1):
        known = first[i] * x[i + 1] if i + 1 < n else 0.0
        known += second[i] * x[i + 2] if i + 2 < n else 0.0
        x[i] = (x[i] - known) / u[i]
