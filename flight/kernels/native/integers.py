"""Sixteen integers of 32 bits at a time, as `flight.kernels.native.vector` has floats: sums wrap around."""

from __future__ import annotations

import operator
from typing import Any

import numba
from llvmlite import ir

from flight.kernels.native.vector import I8, INTS, LANES, arithmetic_of, byte_p, emits, u32x16

int_p = numba.types.CPointer(numba.types.int32)
_int, _void = numba.types.int64, numba.types.void

arithmetic_of(u32x16, {operator.add: "add", operator.sub: "sub", operator.mul: "mul"})


@emits(u32x16)
def nothing(builder: Any) -> Any:
    """Sixteen zeros."""
    return ir.Constant(INTS, [0] * LANES)


@emits(u32x16, int_p, _int)
def load_ints(builder: Any, p: Any, i: Any) -> Any:
    """Sixteen integers."""
    value = builder.load(builder.bitcast(builder.gep(p, [i]), INTS.as_pointer()))
    value.align = 4
    return value


@emits(_void, int_p, _int, u32x16)
def store_ints(builder: Any, p: Any, i: Any, value: Any) -> None:
    """Store sixteen integers."""
    builder.store(value, builder.bitcast(builder.gep(p, [i]), INTS.as_pointer())).align = 4


@emits(u32x16, byte_p, _int)
def load_octets(builder: Any, p: Any, i: Any) -> Any:
    """Sixteen bytes as integers."""
    value = builder.load(builder.bitcast(builder.gep(p, [i]), ir.VectorType(I8, LANES).as_pointer()))
    value.align = 1
    return builder.zext(value, INTS)


@emits(u32x16, u32x16, u32x16)
def apart(builder: Any, a: Any, b: Any) -> Any:
    """Distances of signed integers of 31 bits, lane by lane."""
    forth, none = builder.sub(a, b), ir.Constant(INTS, [0] * LANES)
    return builder.select(builder.icmp_signed("<", forth, none), builder.sub(none, forth), forth)
