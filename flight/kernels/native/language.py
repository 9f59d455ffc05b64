"""What kernels are written with: how numba compiles them, helpers, and the fused multiply-add."""

from __future__ import annotations

import sys
from collections.abc import Callable
from functools import cache
from types import FunctionType, ModuleType
from typing import Any, TypeVar

import numba
import numpy as np
from numba.core.registry import CPUDispatcher
from numba.core.types.misc import unliteral
from numba.extending import intrinsic

Function = TypeVar("Function", bound=Callable[..., Any])

# Divisions by zero give what the processor gives; nothing is checked.
OPTIONS: dict[str, Any] = {"error_model": "numpy", "boundscheck": False}

carray = numba.carray
f4 = np.float32


class _Once(CPUDispatcher):  # type: ignore[misc]
    """A compiled function that takes no notice of which numbers its caller knows, as numba's others do."""

    def get_call_template(self, args: Any, kws: Any) -> Any:
        """See numba."""
        known = {name: unliteral(kind) for name, kind in dict(kws).items()}
        return super().get_call_template([unliteral(kind) for kind in args], known)


def helper(function: Function) -> Function:
    """A function that kernels call: compiled once for all callers, whichever of its arguments are constants there."""
    options = {"nopython": True, "forceinline": False, **OPTIONS}  # else it would do as an inlined caller does
    return _Once(function, targetoptions=options)


def inlined(function: Function) -> Function:
    """A function that is compiled into each place that calls it."""
    return numba.njit(**OPTIONS, forceinline=True)(function)  # type: ignore[no-any-return]


def _fused(kind: Any) -> Any:
    def fma(typing: Any, a: Any, b: Any, c: Any) -> Any:
        """`a * b + c` with one rounding."""

        def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
            return builder.fma(*arguments)

        return kind(kind, kind, kind), generate

    return intrinsic(fma)


fma = _fused(numba.types.float32)
fma64 = _fused(numba.types.float64)


def from_python(function: Callable[..., int]) -> Any:
    """A kernel that also runs as plain Python, as a helper: compiled with all that it calls."""
    return vars(_compiled(function.__module__))[function.__name__]


@cache
def _compiled(name: str) -> ModuleType:
    """A copy of module `name` in which each function, its own or imported from another kernel file, is a helper."""
    plain = sys.modules[name]
    copy = ModuleType(f"{name}_compiled", plain.__doc__)
    sys.modules[copy.__name__] = copy  # where numba looks for the globals of functions in its cache
    for key, value in vars(plain).items():
        if not isinstance(value, FunctionType):
            vars(copy).setdefault(key, value)
        elif value.__module__ == name:
            own = FunctionType(value.__code__, vars(copy), key, value.__defaults__)
            own.__module__ = copy.__name__
            vars(copy)[key] = helper(own)
        else:
            vars(copy)[key] = vars(_compiled(value.__module__))[value.__name__]
    return copy
