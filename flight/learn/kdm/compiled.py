"""Densities of kernel density matrices under an RBF kernel, on compiled kernels."""

from __future__ import annotations

import numpy as np

from flight.kernels import aligned
from flight.kernels.backend import Backend
from flight.learn.kdm.kernels import Array


def scores(backend: Backend, x: Array, c: Array, log_weights: Array, sigma: float, shared: bool) -> tuple[Array, Array]:
    """Log shares (n, m) of components `c` (m, d) in points `x` (n, d), and the logarithms (n,) of their sums.

    The sums lack the kernel's normaliser. Without `shared` there are no shares: the first result is scratch.
    """
    n, m = len(x), len(c)
    shares, total = aligned.empty((n if shared else 1, m), np.float64), np.empty(n)
    turned = aligned.empty(c.T.shape, np.float64)
    turned[:] = c.T
    backend.kdm(np.ascontiguousarray(x), turned, log_weights, n, m, x.shape[1], 1.0 / sigma, shared, shares, total)
    return shares, total
