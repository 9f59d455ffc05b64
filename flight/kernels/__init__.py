"""Inner loops, written once: plain Python for decoders, numba for learners, and both compiled into one shared object.

A kernel file here holds kernels of decoders: functions of flat buffers of integers and of integer sizes, which work in
buffers that the caller has allocated and return an integer. They allocate nothing, raise nothing and read no global but
integer constants. Integers are 64 bits wide (products are kept below 2**63), so that Python and compiled code agree on
every byte. `load` gives the kernels of such a file for a backend:

    composition = kernels.load("composition", kernels.PYTHON)
    counts = kernels.integers(100, kernels.PYTHON)

`flight/kernels/native/` holds what is written for numba alone, and the entry points of the rest; `registry` declares
each; `backend` chooses who runs them. Nothing imports numba unless the `JIT` backend is asked for.
"""

from __future__ import annotations

import importlib
import importlib.util
import sys
from array import array
from collections.abc import Iterable, MutableSequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

PYTHON, JIT, AOT = "python", "jit", "aot"
BACKENDS = (PYTHON, JIT, AOT)
WORTH_COMPILING = 100_000  # cells: plain Python takes 10 s for them, compiling about as long

Ints = MutableSequence[int]
Bytes = MutableSequence[int]


def load(name: str, backend: str) -> Any:
    """The kernels of `flight.kernels.<name>` for `backend`: those that the registry exports, unless it is `PYTHON`.

    ValueError if there is no such backend. For `JIT` numba must be installed, and kernels compile when they are first
    used; for `AOT` a library must have been opened (`flight.kernels.backend.ahead_of_time`); else BackendError.
    """
    if backend not in BACKENDS:
        raise ValueError(f"kernel backend {backend!r}: it is one of {', '.join(BACKENDS)}")
    if backend == PYTHON:
        return importlib.import_module(f"{__name__}.{name}")
    from flight.kernels.backend import in_use

    return in_use(backend)


def has_jit() -> bool:
    """Whether numba is installed; does not import it."""
    return "numba" in sys.modules or importlib.util.find_spec("numba") is not None


def faster(n_cells: int) -> str:
    """The backend that is done first with `n_cells` cells of work, for those who may use numba if it is there."""
    return JIT if n_cells >= WORTH_COMPILING and has_jit() else PYTHON


def integers(values: int | Iterable[int], backend: str, fill: int = 0) -> Ints:
    """A buffer of 64-bit integers for kernels of `backend`: `values`, or so many times `fill`."""
    buffer = array("q", [fill]) * values if isinstance(values, int) else array("q", values)
    return _as_array(buffer, np.int64) if backend != PYTHON else buffer


def words(n: int, backend: str) -> Ints:
    """A buffer of `n` zeros as 32-bit integers, for what is large."""
    buffer = array("i", [0]) * n
    return _as_array(buffer, np.int32) if backend != PYTHON else buffer


def octets(values: int | bytes, backend: str) -> Bytes:
    """A buffer of bytes for kernels of `backend`: `values`, or so many zeros."""
    buffer = bytearray(values)
    return _as_array(buffer, np.uint8) if backend != PYTHON else buffer


def view(buffer: Any) -> NDArray[Any]:
    """A buffer of any backend as a numpy array that shares its memory."""
    kind = buffer.typecode if isinstance(buffer, array) else None
    return _as_array(buffer, np.uint8 if kind is None else kind) if not isinstance(buffer, np.ndarray) else buffer


def _as_array(buffer: Any, dtype: Any) -> Any:
    return np.frombuffer(buffer, dtype) if len(buffer) else np.zeros(0, dtype)
