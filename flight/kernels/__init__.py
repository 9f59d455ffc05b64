"""Inner loops, written once: plain Python on board, and the same source compiled by numba where that is installed.

A kernel file holds kernels only: functions of flat buffers of integers and of integer sizes, which work in buffers that
the caller has allocated and return an integer. They allocate nothing, raise nothing and read no global but integer
constants. Integers are 64 bits wide (products are kept below 2**63), so that Python and compiled code agree on every
byte. `load` gives the module of a kernel file for a backend:

    coding = kernels.load("coding", kernels.PYTHON)
    counts = kernels.integers(100, kernels.PYTHON)

Nothing here imports numba unless the `JIT` backend is asked for.
"""

from __future__ import annotations

import importlib
import importlib.util
import sys
from array import array
from collections.abc import Iterable, MutableSequence
from functools import cache
from types import FunctionType, ModuleType
from typing import Any

import numpy as np

PYTHON, JIT = "python", "jit"
BACKENDS = (PYTHON, JIT)

Ints = MutableSequence[int]
Bytes = MutableSequence[int]


@cache
def load(name: str, backend: str) -> Any:
    """The kernels of `flight.kernels.<name>` for `backend`; ValueError if there is no such backend.

    ImportError if it is `JIT` and numba is not installed. Compiled kernels compile when they are first called.
    """
    if backend not in BACKENDS:
        raise ValueError(f"kernel backend {backend!r}: it is one of {', '.join(BACKENDS)}")
    plain = importlib.import_module(f"{__name__}.{name}")
    return plain if backend == PYTHON else _compiled(plain)


def has_jit() -> bool:
    """Whether numba is installed; does not import it."""
    return "numba" in sys.modules or importlib.util.find_spec("numba") is not None


def integers(values: int | Iterable[int], backend: str, fill: int = 0) -> Ints:
    """A buffer of 64-bit integers for kernels of `backend`: `values`, or so many times `fill`."""
    buffer = array("q", [fill]) * values if isinstance(values, int) else array("q", values)
    return _as_array(buffer, np.int64) if backend == JIT else buffer


def octets(values: int | bytes, backend: str) -> Bytes:
    """A buffer of bytes for kernels of `backend`: `values`, or so many zeros."""
    buffer = bytearray(values)
    return _as_array(buffer, np.uint8) if backend == JIT else buffer


def _as_array(buffer: Any, dtype: Any) -> Any:
    return np.frombuffer(buffer, dtype) if len(buffer) else np.zeros(0, dtype)


def _compiled(plain: ModuleType) -> ModuleType:
    """A copy of a kernel module in which each function, its own or imported from another kernel file, is compiled."""
    import numba

    copy = ModuleType(f"{plain.__name__}[jit]", plain.__doc__)
    for name, value in vars(plain).items():
        if not isinstance(value, FunctionType):
            vars(copy).setdefault(name, value)
        elif value.__module__ == plain.__name__:
            own = FunctionType(value.__code__, vars(copy), value.__name__, value.__defaults__)
            own.__module__ = plain.__name__
            vars(copy)[name] = numba.njit(own)
        else:
            vars(copy)[name] = vars(load(value.__module__.rpartition(".")[2], JIT))[name]
    return copy
