"""Kernel of a self-test: whether the processor computes as IEEE 754 says, subnormal numbers included."""

from __future__ import annotations

import math
from typing import Any

from flight.kernels.native.language import carray, f4, fma


def arithmetic(x: Any, y: Any, n: int) -> None:
    """Fill `y` (n, 6) from neighbours in `x` (n + 2): product, quotient, root, floor, multiply-add fused and not."""
    a = carray(x, n + 2)
    out = carray(y, (n, 6))
    for i in range(n):
        out[i, 0] = a[i] * a[i + 1]
        out[i, 1] = a[i] / a[i + 1]
        out[i, 2] = f4(math.sqrt(abs(a[i])))
        out[i, 3] = f4(math.floor(a[i]))
        out[i, 4] = fma(a[i], a[i + 1], a[i + 2])
        out[i, 5] = a[i] * a[i + 1] + a[i + 2]
