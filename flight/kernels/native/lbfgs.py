"""The direction of a step of L-BFGS, as `flight.learn.lbfgs` describes it."""

from __future__ import annotations

from typing import Any

from flight.kernels.native.language import carray, fma64
from flight.kernels.native.linalg import dot_of


def direction(gradient: Any, steps: Any, turns: Any, q: Any, shares: Any, n: int, m: int) -> None:
    """Write to `q` (n,) the inverse Hessian, as `m` pairs of `steps` and `turns` (m, n) show it, times `gradient`.

    Nocedal and Wright, "Numerical Optimization" (2006), algorithm 7.4; `shares` (m,) is scratch. Without pairs, the
    gradient divided by the sum of its sizes.
    """
    g, s, y = carray(gradient, n), carray(steps, (m, n)), carray(turns, (m, n))
    out, share = carray(q, n), carray(shares, m)
    size = 0.0
    for i in range(n):
        out[i] = g[i]
        size += abs(g[i])
    if m == 0:
        scale = 1.0 / max(size, 1e-12)
    else:
        for k in range(m - 1, -1, -1):
            share[k] = dot_of(s[k], out, 0, n) / dot_of(s[k], y[k], 0, n)
            for i in range(n):
                out[i] = fma64(-share[k], y[k, i], out[i])
        scale = dot_of(s[m - 1], y[m - 1], 0, n) / dot_of(y[m - 1], y[m - 1], 0, n)
    for i in range(n):
        out[i] *= scale
    for k in range(m):
        more = share[k] - dot_of(y[k], out, 0, n) / dot_of(s[k], y[k], 0, n)
        for i in range(n):
            out[i] = fma64(more, s[k, i], out[i])
