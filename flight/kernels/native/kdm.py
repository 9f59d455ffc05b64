"""Kernel density matrices under an RBF kernel: log-densities of points, and shares of components in explaining them."""

from __future__ import annotations

from typing import Any

from flight.kernels.native.language import fma64, helper
from flight.kernels.native.real import exp64, log64
from flight.kernels.native.vector import at


def kdm(
    x: Any, c: Any, log_w: Any, n: int, m: int, d: int, narrowness: float, shared: int, scores: Any, total: Any
) -> None:
    """Log of the sum of the components' weighted squares at each point of `x` (n, d), before the normaliser.

    Args:
        x: points (n, d).
        c: components (d, m), transposed.
        log_w: (m,), logarithms of weights; of no weight, -inf, but not all of them.
        n, m, d: points, components, dimensions.
        narrowness: 1 / sigma.
        shared: whether log shares (n, m) of the components are wanted in `scores`; else that is one row of scratch.
        scores: written.
        total: (n,), written.
    """
    for i in range(n):
        row, point = at(scores, i * m if shared else 0), at(x, i * d)
        for j in range(m):
            row[j] = 0.0
        _add_squares(point, c, m, d, narrowness, row)
        top = log_w[0] - row[0]
        for j in range(m):
            row[j] = log_w[j] - row[j]
            top = max(top, row[j])
        whole = _sum_of_exp(row, top, m)
        total[i] = top + log64(whole)
        if shared:
            for j in range(m):
                row[j] -= total[i]


@helper
def _add_squares(point: Any, c: Any, m: int, d: int, narrowness: float, row: Any) -> None:
    """Add to `row` (m,) squared distances of a point to components, four coordinates at a time."""
    k = 0
    while k + 4 <= d:
        x0, x1, x2, x3 = point[k], point[k + 1], point[k + 2], point[k + 3]
        c0, c1, c2, c3 = at(c, k * m), at(c, (k + 1) * m), at(c, (k + 2) * m), at(c, (k + 3) * m)
        for j in range(m):
            a, b = (x0 - c0[j]) * narrowness, (x1 - c1[j]) * narrowness
            e, f = (x2 - c2[j]) * narrowness, (x3 - c3[j]) * narrowness
            row[j] = fma64(f, f, fma64(e, e, fma64(b, b, fma64(a, a, row[j]))))
        k += 4
    while k < d:
        x0, c0 = point[k], at(c, k * m)
        for j in range(m):
            a = (x0 - c0[j]) * narrowness
            row[j] = fma64(a, a, row[j])
        k += 1


@helper
def _sum_of_exp(row: Any, top: float, m: int) -> float:
    """The sum of exp(row - top), in eight sums side by side."""
    s0, s1, s2, s3, s4, s5, s6, s7 = 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0
    j = 0
    while j + 8 <= m:
        s0, s1 = s0 + exp64(row[j] - top), s1 + exp64(row[j + 1] - top)
        s2, s3 = s2 + exp64(row[j + 2] - top), s3 + exp64(row[j + 3] - top)
        s4, s5 = s4 + exp64(row[j + 4] - top), s5 + exp64(row[j + 5] - top)
        s6, s7 = s6 + exp64(row[j + 6] - top), s7 + exp64(row[j + 7] - top)
        j += 8
    while j < m:
        s0 += exp64(row[j] - top)
        j += 1
    return ((s0 + s1) + (s2 + s3)) + ((s4 + s5) + (s6 + s7))
