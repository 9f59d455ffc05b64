"""All eigenvalues and eigenvectors of a small symmetric matrix."""

from __future__ import annotations

import math
from typing import Any

from flight.kernels.native.language import fma64, helper

_SWEEPS = 30
_SMALL = 1e-22  # of the squares off the diagonal, against all squares


def eigen(a: Any, v: Any, n: int) -> None:
    """Bring the symmetric `a` (n, n) to diagonal form; rows of `v` (n, n) become the eigenvectors, in that order.

    Cyclic Jacobi rotations (Golub and Van Loan, "Matrix Computations", 4th edition, section 8.5.3), rows and columns
    alike, until what is off the diagonal is nothing beside the matrix; at most 30 sweeps.
    """
    for i in range(n):
        for j in range(n):
            v[i * n + j] = 1.0 if i == j else 0.0
    for _ in range(_SWEEPS):
        off, whole = 0.0, 0.0
        for i in range(n):
            for j in range(n):
                square = a[i * n + j] * a[i * n + j]
                whole += square
                off += square if i != j else 0.0
        if off <= _SMALL * whole:
            return
        for p in range(n - 1):
            for q in range(p + 1, n):
                _rotate(a, v, p, q, n)


@helper
def _rotate(a: Any, v: Any, p: int, q: int, n: int) -> None:
    """The rotation of rows and columns p and q that makes their product 0."""
    apart = a[p * n + q]
    if apart == 0.0:
        return
    tau = (a[q * n + q] - a[p * n + p]) / (2.0 * apart)
    t = (1.0 if tau >= 0.0 else -1.0) / (abs(tau) + math.sqrt(fma64(tau, tau, 1.0)))
    c = 1.0 / math.sqrt(fma64(t, t, 1.0))
    s = t * c
    for k in range(n):
        x, y = a[k * n + p], a[k * n + q]
        a[k * n + p], a[k * n + q] = fma64(c, x, -(s * y)), fma64(s, x, c * y)
    for k in range(n):
        x, y = a[p * n + k], a[q * n + k]
        a[p * n + k], a[q * n + k] = fma64(c, x, -(s * y)), fma64(s, x, c * y)
        x, y = v[p * n + k], v[q * n + k]
        v[p * n + k], v[q * n + k] = fma64(c, x, -(s * y)), fma64(s, x, c * y)
