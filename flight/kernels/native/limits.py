"""What the machine can do at most: fused multiply-adds that wait for nothing, and a stream through memory."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numba
from numba.core import cgutils
from numba.extending import intrinsic

from flight.kernels.native.gemm import is_wide
from flight.kernels.native.language import carray, fma
from flight.kernels.native.vector import I64, LANES, at, float_p, fused, loaded, repeated, stored

_float, _int = numba.types.float32, numba.types.int64
_WIDE, _NARROW = 12, 6


def _chains(count: Callable[[Any], int]) -> Any:
    """`count` vectors, each multiplied and added to `n` times: as many chains as there are vectors, none in memory."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        y, factor, addend, n = arguments
        factors, addends = repeated(builder, factor), repeated(builder, addend)
        places = [builder.gep(y, [I64(i * LANES)]) for i in range(count(context))]
        sums = [cgutils.alloca_once_value(builder, loaded(builder, place)) for place in places]
        with cgutils.for_range(builder, n, intp=I64):
            for total in sums:
                builder.store(fused(builder, builder.load(total), factors, addends), total)
        for total, place in zip(sums, places, strict=True):
            stored(builder, builder.load(total), place)
        return context.get_dummy_value()

    def chains(typing: Any, y: Any, factor: Any, addend: Any, n: Any) -> Any:
        return numba.types.void(float_p, _float, _float, _int), generate

    return intrinsic(chains)


def _most(context: Any) -> int:
    return _WIDE if is_wide(context) else _NARROW


@intrinsic  # type: ignore[untyped-decorator]
def _many(typing: Any) -> Any:
    return _int(), lambda context, builder, signature, arguments: I64(_most(context))


_many_chains, _one_chain = _chains(_most), _chains(lambda context: 1)


def fma_chains(y: Any, factor: float, addend: float, chains: int, n: int) -> None:
    """Do ``y = y * factor + addend`` `n` times to vectors `y` (chains, 16): 2 * 16 * chains * n operations.

    So many of them are in work at once as the target has registers for: 12 with AVX-512 (two units, a latency of 4),
    else 6 (24 registers of 128 bits, or 12 of 256); what is left of them, one after another.
    """
    first = 0
    while first + _many() <= chains:
        _many_chains(at(y, first * LANES), factor, addend, n)
        first += _many()
    while first < chains:
        _one_chain(at(y, first * LANES), factor, addend, n)
        first += 1


def triad(a: Any, b: Any, c: Any, factor: float, n: int) -> None:
    """``a = b + factor * c`` of `n` floats: the triad of STREAM (McCalpin 1995), 12 bytes a float."""
    sums, left, right = carray(a, n), carray(b, n), carray(c, n)
    for i in range(n):
        sums[i] = fma(right[i], factor, left[i])
