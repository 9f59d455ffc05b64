"""Kernel density matrices under an RBF kernel: log-densities of points, and shares of components in explaining them."""

from __future__ import annotations

from typing import Any

import numba
from llvmlite import ir
from numba.core import cgutils

from flight.kernels.native.language import fma64, helper
from flight.kernels.native.real import (
    EIGHT,
    add_first,
    double_p,
    exp8,
    fused8,
    highest8,
    load8,
    loaded8,
    log64,
    max8,
    repeated8,
    splat8,
    store8,
    stored8,
    total8,
)  # fmt: skip
from flight.kernels.native.vector import DOUBLES, I64, at, emits

_double, _int, _void = numba.types.float64, numba.types.int64, numba.types.void


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
    full = m - m % EIGHT
    for i in range(n):
        row, point = at(scores, i * m if shared else 0), at(x, i * d)
        top = log_w[0] - _squares(point, c, m, d, narrowness)
        if full:
            top = _scores(point, c, log_w, row, m, d, narrowness)
        for j in range(full, m):
            row[j] = log_w[j] - _squares(point, at(c, j), m, d, narrowness)
            top = max(top, row[j])
        total[i] = top + log64(_sum_of_exp(row, top, m))
        if shared:
            for j in range(m):
                row[j] -= total[i]


def _squares_of(vectors: int) -> Any:
    """The intrinsic that writes squared distances of a point to eight components a vector, coordinate by coordinate."""

    def generate(builder: Any, point: Any, c: Any, m: Any, d: Any, narrowness: Any, row: Any) -> None:
        places = [I64(EIGHT * v) for v in range(vectors)]
        sums = [cgutils.alloca_once_value(builder, ir.Constant(DOUBLES, [0.0] * EIGHT)) for _ in places]
        narrow = repeated8(builder, narrowness)
        with cgutils.for_range(builder, d, intp=I64) as loop:
            here = repeated8(builder, builder.load(builder.gep(point, [loop.index])))
            components = builder.gep(c, [builder.mul(loop.index, m)])
            for kept, place in zip(sums, places, strict=True):
                apart = builder.fsub(here, loaded8(builder, builder.gep(components, [place])))
                scaled = builder.fmul(apart, narrow)
                builder.store(fused8(builder, scaled, scaled, builder.load(kept)), kept)
        for kept, place in zip(sums, places, strict=True):
            stored8(builder, builder.load(kept), builder.gep(row, [place]))

    return emits(_void, double_p, double_p, _int, _int, _double, double_p)(generate)


_squares_of_32, _squares_of_8 = _squares_of(4), _squares_of(1)


@helper
def _squares(point: Any, c: Any, m: int, d: int, narrowness: float) -> float:
    """The squared distance of a point to one component."""
    whole = 0.0
    for k in range(d):
        a = (point[k] - c[k * m]) * narrowness
        whole = fma64(a, a, whole)
    return whole


@helper
def _scores(point: Any, c: Any, log_w: Any, row: Any, m: int, d: int, narrowness: float) -> float:
    """Logarithms of weights less squared distances to `row`, for whole vectors of components; the greatest of them."""
    j = 0
    while j + 4 * EIGHT <= m:
        _squares_of_32(point, at(c, j), m, d, narrowness, at(row, j))
        j += 4 * EIGHT
    while j + EIGHT <= m:
        _squares_of_8(point, at(c, j), m, d, narrowness, at(row, j))
        j += EIGHT
    top = load8(log_w, 0) - load8(row, 0)
    for first in range(0, j, EIGHT):
        score = load8(log_w, first) - load8(row, first)
        store8(row, first, score)
        top = max8(top, score)
    greatest: float = highest8(top)
    return greatest


@helper
def _sum_of_exp(row: Any, top: float, m: int) -> float:
    """The sum of exp(row - top), in eight sums side by side; what is left of a vector adds to the first."""
    sums, highest, j = splat8(0.0), splat8(top), 0
    while j + EIGHT <= m:
        sums = sums + exp8(load8(row, j) - highest)
        j += EIGHT
    while j < m:
        sums = add_first(sums, exp8(splat8(row[j] - top)))
        j += 1
    whole: float = total8(sums)
    return whole
