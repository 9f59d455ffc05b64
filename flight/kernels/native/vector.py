"""Sixteen floats at a time: a vector type for kernels, its arithmetic, and exp and log as polynomials.

`f32x16` legalises on every target: one register with AVX-512, two with AVX2, four with NEON, sixteen scalars without
any. Each lane is rounded as a lone float would be, and lanes meet in a fixed order, so results are the same bits
everywhere. A pointer `p` may have any alignment; `p, i` is the element i after it.
"""

from __future__ import annotations

import functools
import operator
from collections.abc import Callable
from typing import Any

import numba
import numpy as np
from llvmlite import ir
from numba.core import cgutils
from numba.extending import intrinsic, lower_builtin, models, register_model, type_callable

from flight.kernels.native.language import helper

LANES = 16

I8, I16, I32, I64, F32 = ir.IntType(8), ir.IntType(16), ir.IntType(32), ir.IntType(64), ir.FloatType()
FLOATS, INTS = ir.VectorType(F32, LANES), ir.VectorType(I32, LANES)
DOUBLES = ir.VectorType(ir.DoubleType(), LANES // 2)
ZERO = ir.Constant(FLOATS, [0.0] * LANES)


class Vector(numba.types.Type):  # type: ignore[misc]
    """Numba's type of a vector; `code` is LLVM's."""

    def __init__(self, name: str, code: Any) -> None:
        super().__init__(name)
        self.code = code


f32x16, u32x16, f64x8 = Vector("f32x16", FLOATS), Vector("u32x16", INTS), Vector("f64x8", DOUBLES)
float_p = numba.types.CPointer(numba.types.float32)
byte_p, narrow_p = numba.types.CPointer(numba.types.uint8), numba.types.CPointer(numba.types.uint16)
_float, _int, _uint32, _void = numba.types.float32, numba.types.int64, numba.types.uint32, numba.types.void


@register_model(Vector)
class _VectorModel(models.PrimitiveModel):  # type: ignore[misc]
    def __init__(self, manager: Any, kind: Vector) -> None:
        super().__init__(manager, kind, kind.code)


def emits(returns: Any, *kinds: Any) -> Callable[[Callable[..., Any]], Any]:
    """Makes an intrinsic of a function that writes its LLVM code, given a builder and arguments of `kinds`."""

    def decorate(code: Callable[..., Any]) -> Any:
        def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
            value = code(builder, *arguments)
            return context.get_dummy_value() if value is None else value

        @functools.wraps(code)
        def typed(typing: Any, *given: Any) -> Any:
            return returns(*kinds), generate

        return intrinsic(typed)

    return decorate


# Code that intrinsics are made of: for the writers of code, not for kernels.


def repeated(builder: Any, x: Any) -> Any:
    """A vector of sixteen times the scalar `x`."""
    undef = ir.Constant(ir.VectorType(x.type, LANES), ir.Undefined)
    return builder.shuffle_vector(builder.insert_element(undef, x, I32(0)), undef, ir.Constant(INTS, [0] * LANES))


def loaded(builder: Any, p: Any) -> Any:
    """The vector of floats at pointer `p`."""
    value = builder.load(builder.bitcast(p, FLOATS.as_pointer()))
    value.align = 4
    return value


def stored(builder: Any, value: Any, p: Any) -> None:
    """Store a vector of floats at pointer `p`."""
    builder.store(value, builder.bitcast(p, FLOATS.as_pointer())).align = 4


def fused(builder: Any, a: Any, b: Any, c: Any) -> Any:
    """``a * b + c`` of vectors, rounded once."""
    kind = ir.FunctionType(FLOATS, [FLOATS] * 3)
    return builder.call(cgutils.get_or_insert_function(builder.module, kind, "llvm.fma.v16f32"), (a, b, c))


def larger(builder: Any, a: Any, b: Any) -> Any:
    """The larger of two vectors, lane by lane."""
    return builder.select(builder.fcmp_ordered(">", a, b), a, b)


def paired(builder: Any, a: Any, b: Any) -> Any:
    """Sums of neighbours: those in vector `a`, then those in `b`."""
    return builder.fadd(*(_every_other(builder, a, b, first, a.type.count) for first in (0, 1)))


def halved(builder: Any, a: Any) -> Any:
    """Sums of neighbours in `a`: a vector half as wide."""
    return added(builder, *(_every_other(builder, a, a, first, a.type.count // 2) for first in (0, 1)))


def folded(builder: Any, x: Any, join: Callable[[Any, Any, Any], Any]) -> Any:
    """The lanes of a vector as one: neighbours joined, then neighbouring pairs, and so on."""
    while x.type.count > 1:
        x = join(builder, *(_every_other(builder, x, x, first, x.type.count // 2) for first in (0, 1)))
    return builder.extract_element(x, I32(0))


def added(builder: Any, a: Any, b: Any) -> Any:
    """``a + b`` of vectors."""
    return builder.fadd(a, b)


def _every_other(builder: Any, a: Any, b: Any, first: int, count: int) -> Any:
    lanes = ir.Constant(ir.VectorType(I32, count), list(range(first, 2 * count, 2)))
    return builder.shuffle_vector(a, b, lanes)


# What kernels are written with.


@intrinsic  # type: ignore[untyped-decorator]
def at(typing: Any, p: Any, i: Any) -> Any:
    """The pointer to element `i` after `p`, of any type."""
    return p(p, _int), lambda context, builder, signature, arguments: builder.gep(arguments[0], [arguments[1]])


@emits(f32x16, float_p, _int)
def load(builder: Any, p: Any, i: Any) -> Any:
    """Sixteen floats."""
    return loaded(builder, builder.gep(p, [i]))


@emits(_void, float_p, _int, f32x16)
def store(builder: Any, p: Any, i: Any, value: Any) -> None:
    """Store sixteen floats."""
    stored(builder, value, builder.gep(p, [i]))


@emits(f32x16, byte_p, _int)
def load_bytes(builder: Any, p: Any, i: Any) -> Any:
    """Sixteen bytes as floats."""
    value = builder.load(builder.bitcast(builder.gep(p, [i]), ir.VectorType(I8, LANES).as_pointer()))
    value.align = 1
    return builder.uitofp(value, FLOATS)


@emits(f32x16, narrow_p, _int)
def load_narrow(builder: Any, p: Any, i: Any) -> Any:
    """Sixteen floats that are kept in 16 bits (`narrow`)."""
    value = builder.load(builder.bitcast(builder.gep(p, [i]), ir.VectorType(I16, LANES).as_pointer()))
    value.align = 2
    return builder.bitcast(builder.shl(builder.zext(value, INTS), ir.Constant(INTS, [16] * LANES)), FLOATS)


@emits(numba.types.uint16, _float)
def narrow(builder: Any, x: Any) -> Any:
    """The upper half of a finite float, rounded to the nearest, the even one of two: bfloat16."""
    bits = builder.bitcast(x, I32)
    odd = builder.and_(builder.lshr(bits, I32(16)), I32(1))
    return builder.trunc(builder.lshr(builder.add(builder.add(bits, I32(0x7FFF)), odd), I32(16)), I16)


@emits(f32x16, _float)
def splat(builder: Any, x: Any) -> Any:
    """Sixteen times one float."""
    return repeated(builder, x)


def arithmetic_of(kind: Vector, instructions: dict[Any, str]) -> None:
    """Let kernels write operators between vectors of `kind`: which, and LLVM's instruction for each."""
    for sign, instruction in instructions.items():
        _let(sign, kind, instruction)


def _let(sign: Any, kind: Vector, instruction: str) -> None:
    @type_callable(sign)  # type: ignore[untyped-decorator]
    def typed(context: Any) -> Any:
        return lambda a, b: kind if a == b == kind else None

    @lower_builtin(sign, kind, kind)  # type: ignore[untyped-decorator]
    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return getattr(builder, instruction)(*arguments)


for _kind in (f32x16, f64x8):
    arithmetic_of(_kind, {operator.add: "fadd", operator.sub: "fsub", operator.mul: "fmul", operator.truediv: "fdiv"})


@emits(f32x16)
def iota(builder: Any) -> Any:
    """0 to 15."""
    return ir.Constant(FLOATS, [float(lane) for lane in range(LANES)])


@emits(f32x16, f32x16, f32x16, f32x16)
def vfma(builder: Any, a: Any, b: Any, c: Any) -> Any:
    """``a * b + c``, rounded once."""
    return fused(builder, a, b, c)


@emits(f32x16, f32x16, f32x16)
def vmax(builder: Any, a: Any, b: Any) -> Any:
    """The larger, lane by lane; b where one is not a number."""
    return larger(builder, a, b)


@emits(f32x16, f32x16, f32x16)
def where_positive(builder: Any, x: Any, value: Any) -> Any:
    """`value` in the lanes where `x` is above 0, else 0."""
    return builder.select(builder.fcmp_ordered(">", x, ZERO), value, ZERO)


@emits(_float, f32x16)
def total(builder: Any, x: Any) -> Any:
    """Sum of the lanes: of neighbours, then of neighbouring sums, and so on."""
    return folded(builder, x, added)


@emits(_float, f32x16)
def highest(builder: Any, x: Any) -> Any:
    """The greatest lane."""
    return folded(builder, x, larger)


@emits(_float, f32x16)
def first_of(builder: Any, x: Any) -> Any:
    """The first lane."""
    return builder.extract_element(x, I32(0))


@emits(f32x16, f32x16)
def _floor(builder: Any, x: Any) -> Any:
    kind = ir.FunctionType(FLOATS, [FLOATS])
    return builder.call(cgutils.get_or_insert_function(builder.module, kind, "llvm.floor.v16f32"), (x,))


@emits(f32x16, f32x16, f32x16)
def _times_power_of_2(builder: Any, x: Any, n: Any) -> Any:
    bits = builder.shl(builder.fptosi(n, INTS), ir.Constant(INTS, [23] * LANES))
    return builder.bitcast(builder.add(builder.bitcast(x, INTS), bits), FLOATS)


@emits(f32x16, f32x16)
def _exponent(builder: Any, x: Any) -> Any:
    """e of x = m * 2^e with m in [1/2, 1), for normal x above 0."""
    raised = builder.lshr(builder.bitcast(x, INTS), ir.Constant(INTS, [23] * LANES))
    return builder.sitofp(builder.sub(raised, ir.Constant(INTS, [126] * LANES)), FLOATS)


@emits(f32x16, f32x16)
def _mantissa(builder: Any, x: Any) -> Any:
    """m of x = m * 2^e with m in [1/2, 1), for normal x above 0."""
    kept = builder.and_(builder.bitcast(x, INTS), ir.Constant(INTS, [0x007FFFFF] * LANES))
    return builder.bitcast(builder.or_(kept, ir.Constant(INTS, [126 << 23] * LANES)), FLOATS)


@emits(f32x16, f32x16, f32x16, f32x16, f32x16)
def where_less(builder: Any, a: Any, b: Any, value: Any, other: Any) -> Any:
    """`value` in the lanes where a < b, else `other`."""
    return builder.select(builder.fcmp_ordered("<", a, b), value, other)


@emits(u32x16, _uint32, _uint32)
def noise(builder: Any, seed: Any, first: Any) -> Any:
    """Sixteen hashes of 32 bits, of the counters `first` to first + 15: Wellons' lowbias32 of counter xor seed."""
    counters = builder.add(repeated(builder, first), ir.Constant(INTS, list(range(LANES))))
    x = builder.xor(counters, repeated(builder, seed))
    for shift, factor in ((16, 0x7FEB352D), (15, 0x846CA68B)):
        x = builder.xor(x, builder.lshr(x, ir.Constant(INTS, [shift] * LANES)))
        x = builder.mul(x, ir.Constant(INTS, [factor] * LANES))
    return builder.xor(x, builder.lshr(x, ir.Constant(INTS, [16] * LANES)))


@emits(f32x16, u32x16, _int, _uint32, f32x16)
def drop(builder: Any, bits: Any, octet: Any, below: Any, value: Any) -> Any:
    """`value`, but 0 in the lanes where octet number `octet` of `bits` is less than `below`."""
    shift = builder.trunc(builder.shl(octet, I64(3)), I32)
    drawn = builder.and_(builder.lshr(bits, repeated(builder, shift)), ir.Constant(INTS, [255] * LANES))
    return builder.select(builder.icmp_unsigned("<", drawn, repeated(builder, below)), ZERO, value)


_f = np.float32
_LOG2_E, _LN2_HIGH, _LN2_LOW = _f(1.44269504088896341), _f(0.693359375), _f(-2.12194440e-4)
_LEAST, _MOST, _HALF, _ONE, _NONE = _f(-87.0), _f(88.0), _f(0.5), _f(1.0), _f(0.0)
_E0, _E1, _E2 = _f(1.9875691500e-4), _f(1.3981999507e-3), _f(8.3334519073e-3)
_E3, _E4, _E5 = _f(4.1665795894e-2), _f(1.6666665459e-1), _f(5.0000001201e-1)
_L0, _L1, _L2 = _f(7.0376836292e-2), _f(-1.1514610310e-1), _f(1.1676998740e-1)
_L3, _L4, _L5 = _f(-1.2420140846e-1), _f(1.4249322787e-1), _f(-1.6668057665e-1)
_L6, _L7, _L8 = _f(2.0000714765e-1), _f(-2.4999993993e-1), _f(3.3333331174e-1)
_ROOT_HALF, _TINIEST = _f(0.707106781186547524), _f(1.17549435e-38)


@helper
def vexp(x: Any) -> Any:
    """exp, within 2 units of the last place; of what is below -87, 0; what is above 88 counts as 88.

    Polynomial of Moshier's Cephes library (expf), with fused steps.
    """
    clipped = vmax(splat(_LEAST), x)
    clipped = where_less(splat(_MOST), clipped, splat(_MOST), clipped)
    n = _floor(vfma(clipped, splat(_LOG2_E), splat(_HALF)))
    r = vfma(n, splat(-_LN2_LOW), vfma(n, splat(-_LN2_HIGH), clipped))
    p = vfma(vfma(vfma(splat(_E0), r, splat(_E1)), r, splat(_E2)), r, splat(_E3))
    p = vfma(vfma(p, r, splat(_E4)), r, splat(_E5))
    value = _times_power_of_2(vfma(p, r * r, r + splat(_ONE)), n)
    return where_less(x, splat(_LEAST), splat(_NONE), value)


@helper
def vlog(x: Any) -> Any:
    """Natural logarithm, within 2 units of the last place; what is below the least normal float counts as that.

    Polynomial of Moshier's Cephes library (logf), with fused steps.
    """
    held = vmax(x, splat(_TINIEST))
    e, m = _exponent(held), _mantissa(held)
    low = splat(_ROOT_HALF)
    e = where_less(m, low, e - splat(_ONE), e)
    r = where_less(m, low, m + m, m) - splat(_ONE)
    p = vfma(vfma(splat(_L0), r, splat(_L1)), r, splat(_L2))
    p = vfma(vfma(vfma(p, r, splat(_L3)), r, splat(_L4)), r, splat(_L5))
    p = vfma(vfma(vfma(p, r, splat(_L6)), r, splat(_L7)), r, splat(_L8))
    square = r * r
    y = vfma(e, splat(_LN2_LOW), p * r * square)
    y = vfma(splat(-_HALF), square, y)
    return vfma(e, splat(_LN2_HIGH), r + y)
