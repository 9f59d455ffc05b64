"""exp and log of doubles, as polynomials."""

from __future__ import annotations

from typing import Any

import numba
from llvmlite import ir

from flight.kernels.native.language import fma64, inlined
from flight.kernels.native.vector import I64, emits

_double, _int = numba.types.float64, numba.types.int64
_LOG2_E, _LN2_HIGH, _LN2_LOW = 1.4426950408889634, 6.93145751953125e-1, 1.42860682030941723212e-6
_LEAST, _MOST, _ROOT_HALF = -708.0, 709.0, 0.7071067811865476
_BIAS, _FRACTION_BITS = 1023, 52


@emits(_double, _int)
def _power_of_2(builder: Any, n: Any) -> Any:
    bits = builder.shl(builder.add(n, I64(_BIAS)), I64(_FRACTION_BITS))
    return builder.bitcast(bits, ir.DoubleType())


@emits(_int, _double)
def _exponent(builder: Any, x: Any) -> Any:
    """e of x = m * 2^e with m in [1, 2), for normal x above 0."""
    return builder.sub(builder.lshr(builder.bitcast(x, I64), I64(_FRACTION_BITS)), I64(_BIAS))


@inlined
def exp64(x: float) -> float:
    """exp, within 2 units of the last place; of what is below -708, 0; what is above 709 counts as 709.

    The series to the 13th power, of what is left of x when a multiple of log 2 is taken away.
    """
    held = max(_LEAST, min(_MOST, x))
    n = int(held * _LOG2_E + (0.5 if held >= 0.0 else -0.5))
    r = fma64(-float(n), _LN2_LOW, fma64(-float(n), _LN2_HIGH, held))
    p = fma64(r, 1.6059043836821613e-10, 2.08767569878681e-09)
    p = fma64(p, r, 2.505210838544172e-08)
    p = fma64(p, r, 2.755731922398589e-07)
    p = fma64(p, r, 2.7557319223985893e-06)
    p = fma64(p, r, 2.48015873015873e-05)
    p = fma64(p, r, 1.984126984126984e-04)
    p = fma64(p, r, 1.388888888888889e-03)
    p = fma64(p, r, 8.333333333333333e-03)
    p = fma64(p, r, 4.1666666666666664e-02)
    p = fma64(p, r, 1.6666666666666666e-01)
    p = fma64(p, r, 0.5)
    y = fma64(p, r * r, r + 1.0) * _power_of_2(n)
    return 0.0 if x < _LEAST else y


@inlined
def log64(x: float) -> float:
    """Natural logarithm of a normal x above 0, within 2 units of the last place.

    2 artanh((m - 1) / (m + 1)) + e log 2 for x = m * 2^e with m from the root of 1/2 to that of 2; the series to the
    21st power.
    """
    e = _exponent(x)
    m = x * _power_of_2(-e)
    if m > 2.0 * _ROOT_HALF:
        m, e = 0.5 * m, e + 1
    s = (m - 1.0) / (m + 1.0)
    z = s * s
    p = fma64(z, 1.0 / 21.0, 1.0 / 19.0)
    p = fma64(p, z, 1.0 / 17.0)
    p = fma64(p, z, 1.0 / 15.0)
    p = fma64(p, z, 1.0 / 13.0)
    p = fma64(p, z, 1.0 / 11.0)
    p = fma64(p, z, 1.0 / 9.0)
    p = fma64(p, z, 1.0 / 7.0)
    p = fma64(p, z, 1.0 / 5.0)
    p = fma64(p, z, 1.0 / 3.0)
    low = fma64(float(e), _LN2_LOW, 2.0 * s * z * p)
    y: float = fma64(float(e), _LN2_HIGH, 2.0 * s + low)
    return y
