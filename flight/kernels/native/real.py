"""Eight doubles at a time, as `flight.kernels.native.vector` has floats; exp and log of doubles, as polynomials."""

from __future__ import annotations

from typing import Any

import numba
from llvmlite import ir
from numba.core import cgutils

from flight.kernels.native.language import fma64, helper, inlined
from flight.kernels.native.vector import DOUBLES, I32, I64, added, emits, f64x8, folded, larger

_double, _int, _void = numba.types.float64, numba.types.int64, numba.types.void
_LOG2_E, _LN2_HIGH, _LN2_LOW = 1.4426950408889634, 6.93145751953125e-1, 1.42860682030941723212e-6
_LEAST, _MOST, _ROOT_HALF = -708.0, 709.0, 0.7071067811865476
_BIAS, _FRACTION_BITS = 1023, 52


EIGHT = 8
double_p = numba.types.CPointer(_double)
_WORDS, _LONGS = ir.VectorType(I32, EIGHT), ir.VectorType(I64, EIGHT)


def _all(x: float) -> Any:
    return ir.Constant(DOUBLES, [x] * EIGHT)


def loaded8(builder: Any, p: Any) -> Any:
    """The vector of doubles at pointer `p`: for the writers of code."""
    value = builder.load(builder.bitcast(p, DOUBLES.as_pointer()))
    value.align = 8
    return value


def stored8(builder: Any, value: Any, p: Any) -> None:
    """Store a vector of doubles at pointer `p`: for the writers of code."""
    builder.store(value, builder.bitcast(p, DOUBLES.as_pointer())).align = 8


def repeated8(builder: Any, x: Any) -> Any:
    """A vector of eight times the scalar `x`: for the writers of code."""
    undef = ir.Constant(DOUBLES, ir.Undefined)
    lanes = ir.Constant(_WORDS, [0] * EIGHT)
    return builder.shuffle_vector(builder.insert_element(undef, x, I32(0)), undef, lanes)


def fused8(builder: Any, a: Any, b: Any, c: Any) -> Any:
    """``a * b + c`` of vectors, rounded once: for the writers of code."""
    kind = ir.FunctionType(DOUBLES, [DOUBLES] * 3)
    return builder.call(cgutils.get_or_insert_function(builder.module, kind, "llvm.fma.v8f64"), (a, b, c))


@emits(f64x8, double_p, _int)
def load8(builder: Any, p: Any, i: Any) -> Any:
    """Eight doubles from element `i` after `p` on."""
    return loaded8(builder, builder.gep(p, [i]))


@emits(_void, double_p, _int, f64x8)
def store8(builder: Any, p: Any, i: Any, value: Any) -> None:
    """Store eight doubles."""
    stored8(builder, value, builder.gep(p, [i]))


@emits(f64x8, _double)
def splat8(builder: Any, x: Any) -> Any:
    """Eight times one double."""
    return repeated8(builder, x)


@emits(f64x8, f64x8, f64x8, f64x8)
def fma8(builder: Any, a: Any, b: Any, c: Any) -> Any:
    """``a * b + c``, rounded once."""
    return fused8(builder, a, b, c)


@emits(f64x8, f64x8, f64x8)
def max8(builder: Any, a: Any, b: Any) -> Any:
    """The larger, lane by lane."""
    return larger(builder, a, b)


@emits(_double, f64x8)
def highest8(builder: Any, x: Any) -> Any:
    """The greatest lane."""
    return folded(builder, x, larger)


@emits(_double, f64x8)
def total8(builder: Any, x: Any) -> Any:
    """Sum of the lanes: of neighbours, then of neighbouring sums, and so on."""
    return folded(builder, x, added)


@emits(f64x8, f64x8, f64x8)
def add_first(builder: Any, a: Any, b: Any) -> Any:
    """`a`, but with the first lane of `b` added to its own."""
    first = builder.fadd(*(builder.extract_element(each, I32(0)) for each in (a, b)))
    return builder.insert_element(a, first, I32(0))


@emits(f64x8, f64x8)
def _clipped(builder: Any, x: Any) -> Any:
    held = builder.select(builder.fcmp_ordered("<", x, _all(_MOST)), x, _all(_MOST))
    return builder.select(builder.fcmp_ordered(">", held, _all(_LEAST)), held, _all(_LEAST))


@emits(f64x8, f64x8)
def _whole(builder: Any, x: Any) -> Any:
    """The nearest integers, halves away from zero."""
    half = builder.select(builder.fcmp_ordered(">=", x, _all(0.0)), _all(0.5), _all(-0.5))
    return builder.sitofp(builder.fptosi(builder.fadd(x, half), _WORDS), DOUBLES)


@emits(f64x8, f64x8, f64x8)
def _times_power_of_2(builder: Any, x: Any, n: Any) -> Any:
    raised = builder.add(builder.fptosi(n, _WORDS), ir.Constant(_WORDS, [_BIAS] * EIGHT))
    bits = builder.shl(builder.zext(raised, _LONGS), ir.Constant(_LONGS, [_FRACTION_BITS] * EIGHT))
    return builder.fmul(x, builder.bitcast(bits, DOUBLES))


@emits(f64x8, f64x8, f64x8)
def _unless_below(builder: Any, x: Any, y: Any) -> Any:
    return builder.select(builder.fcmp_ordered("<", x, _all(_LEAST)), _all(0.0), y)


@emits(_double, _int)
def _power_of_2(builder: Any, n: Any) -> Any:
    bits = builder.shl(builder.add(n, I64(_BIAS)), I64(_FRACTION_BITS))
    return builder.bitcast(bits, ir.DoubleType())


@emits(_int, _double)
def _exponent(builder: Any, x: Any) -> Any:
    """e of x = m * 2^e with m in [1, 2), for normal x above 0."""
    return builder.sub(builder.lshr(builder.bitcast(x, I64), I64(_FRACTION_BITS)), I64(_BIAS))


@helper
def exp8(x: Any) -> Any:
    """exp of eight doubles, within 2 units of the last place; below -708 it is 0, what is above 709 counts as 709.

    The series to the 13th power, of what is left of x when a multiple of log 2 is taken away.
    """
    n = _whole(_clipped(x) * splat8(_LOG2_E))
    r = fma8(splat8(-_LN2_LOW), n, fma8(splat8(-_LN2_HIGH), n, _clipped(x)))
    p = fma8(r, splat8(1.6059043836821613e-10), splat8(2.08767569878681e-09))
    p = fma8(p, r, splat8(2.505210838544172e-08))
    p = fma8(p, r, splat8(2.755731922398589e-07))
    p = fma8(p, r, splat8(2.7557319223985893e-06))
    p = fma8(p, r, splat8(2.48015873015873e-05))
    p = fma8(p, r, splat8(1.984126984126984e-04))
    p = fma8(p, r, splat8(1.388888888888889e-03))
    p = fma8(p, r, splat8(8.333333333333333e-03))
    p = fma8(p, r, splat8(4.1666666666666664e-02))
    p = fma8(p, r, splat8(1.6666666666666666e-01))
    p = fma8(p, r, splat8(0.5))
    return _unless_below(x, _times_power_of_2(fma8(p, r * r, r + splat8(1.0)), n))


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
