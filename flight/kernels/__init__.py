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

import hashlib
import importlib
import importlib.util
import sys
from array import array
from collections.abc import Iterable, MutableSequence
from functools import cache
from pathlib import Path
from types import FunctionType, ModuleType
from typing import Any

import numpy as np
from numpy.typing import NDArray

PYTHON, JIT = "python", "jit"
BACKENDS = (PYTHON, JIT)
WORTH_COMPILING = 100_000  # cells: plain Python takes 10 s for them, compiling about as long

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


def faster(n_cells: int) -> str:
    """The backend that is done first with `n_cells` cells of work, for those who may use numba if it is there."""
    return JIT if n_cells >= WORTH_COMPILING and has_jit() else PYTHON


def integers(values: int | Iterable[int], backend: str, fill: int = 0) -> Ints:
    """A buffer of 64-bit integers for kernels of `backend`: `values`, or so many times `fill`."""
    buffer = array("q", [fill]) * values if isinstance(values, int) else array("q", values)
    return _as_array(buffer, np.int64) if backend == JIT else buffer


def words(n: int, backend: str) -> Ints:
    """A buffer of `n` zeros as 32-bit integers, for what is large."""
    buffer = array("i", [0]) * n
    return _as_array(buffer, np.int32) if backend == JIT else buffer


def octets(values: int | bytes, backend: str) -> Bytes:
    """A buffer of bytes for kernels of `backend`: `values`, or so many zeros."""
    buffer = bytearray(values)
    return _as_array(buffer, np.uint8) if backend == JIT else buffer


def view(buffer: Any) -> NDArray[Any]:
    """A buffer of any backend as a numpy array that shares its memory."""
    kind = buffer.typecode if isinstance(buffer, array) else None
    return _as_array(buffer, np.uint8 if kind is None else kind) if not isinstance(buffer, np.ndarray) else buffer


def _as_array(buffer: Any, dtype: Any) -> Any:
    return np.frombuffer(buffer, dtype) if len(buffer) else np.zeros(0, dtype)


def _compiled(plain: ModuleType) -> ModuleType:
    """A copy of a kernel module in which each function, its own or imported from another kernel file, is compiled.

    What was compiled stays in numba's cache, under a name that changes with the source of any kernel.
    """
    import numba

    copy = ModuleType(f"{plain.__name__}_{_sources()}", plain.__doc__)
    sys.modules[copy.__name__] = copy  # where numba looks for the globals of cached functions
    for name, value in vars(plain).items():
        if not isinstance(value, FunctionType):
            vars(copy).setdefault(name, value)
        elif value.__module__ == plain.__name__:
            own = FunctionType(value.__code__, vars(copy), value.__name__, value.__defaults__)
            own.__module__ = copy.__name__
            own.__qualname__ = f"{name}_{_sources()}"  # numba's cache goes by this and by the file
            vars(copy)[name] = _njit(numba, own)
        else:
            vars(copy)[name] = vars(load(value.__module__.rpartition(".")[2], JIT))[name]
    return copy


def _njit(numba: Any, kernel: FunctionType) -> Any:
    try:
        return numba.njit(cache=True)(kernel)
    except RuntimeError:  # nowhere to keep a cache: compiled anew in each process
        return numba.njit(kernel)


@cache
def _sources() -> str:
    """A digest of the source of all kernels: one is compiled into the other."""
    files = sorted(Path(__file__).parent.glob("*.py"))
    return hashlib.sha256(b"".join(file.read_bytes() for file in files)).hexdigest()[:16]
