"""One step of Adam, and gradients of the losses of municipalities."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from flight.kernels.native.language import fma

_FIRST, _SECOND, _LEAST = np.float32(0.1), np.float32(0.001), np.float32(1e-8)
_TWO, _ZERO = np.float32(2), np.float32(0)


def adam(w: Any, g: Any, m: Any, v: Any, n: int, rate: float) -> None:
    """Move weights `w` (n,) against their gradient `g`, and moments `m`, `v` with it (Kingma and Ba 2015, section 2).

    `rate` is the step size with both corrections of bias in it.
    """
    for i in range(n):
        m[i] = fma(_FIRST, g[i] - m[i], m[i])
        v[i] = fma(_SECOND, fma(g[i], g[i], -v[i]), v[i])
        w[i] -= rate * m[i] / (np.float32(math.sqrt(v[i])) + _LEAST)


def bag_gradient(
    q: Any, shares: Any, target: Any, n_bags: int, n_chips: int, n_classes: int, floor: float, d: Any
) -> None:
    """Gradient `d` (n_chips, classes) of a loss of municipalities' means ``shares @ q`` against `target`.

    `shares` is (n_bags, n_chips), `target` (n_bags, classes). With `floor` 0 the loss is squared, else it is the
    divergence from a mean that holds so much of the uniform distribution: as in `flight.learn.losses`.
    """
    for i in range(n_chips * n_classes):
        d[i] = _ZERO
    for b in range(n_bags):
        own = b * n_chips
        for c in range(n_classes):
            mean = _ZERO
            for i in range(n_chips):
                mean = fma(shares[own + i], q[i * n_classes + c], mean)
            wanted = target[b * n_classes + c]
            if floor > _ZERO:
                held = fma(np.float32(1) - floor, mean, floor / np.float32(n_classes))
                slope = (floor - np.float32(1)) * wanted / held / np.float32(n_bags)
            else:
                slope = _TWO * (mean - wanted) / np.float32(n_bags)
            for i in range(n_chips):
                d[i * n_classes + c] = fma(shares[own + i], slope, d[i * n_classes + c])
