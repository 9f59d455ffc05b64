"""Kernels of the registry as entry points of the C calling convention, compiled by numba: for desks."""

from __future__ import annotations

import hashlib
import importlib
from functools import cache
from pathlib import Path
from typing import Any

import numba

from flight.kernels.native.language import OPTIONS
from flight.kernels.registry import Kernel, Parameter


def entry(kernel: Kernel, cached: bool = True) -> Any:
    """The compiled `kernel`, a numba CFunc; for this machine's processor, unless numba is told otherwise.

    With `cached`, what was compiled stays in numba's cache, under a name that changes with the source of any kernel.
    """
    function = getattr(importlib.import_module(f"flight.kernels.{kernel.module}"), kernel.name)
    function.__qualname__ = f"{kernel.name}_{sources()}"
    returned = numba.types.void if kernel.returns == "void" else _type(kernel.returns)
    signature = returned(*(_parameter(each) for each in kernel.parameters))
    try:
        return numba.cfunc(signature, cache=cached, **OPTIONS)(function)
    except RuntimeError:  # nowhere to keep a cache: compiled anew in each process
        if not cached:
            raise
        return numba.cfunc(signature, **OPTIONS)(function)


@cache
def sources() -> str:
    """A digest of the source of all kernels: one is compiled into the other."""
    here = Path(__file__).parent
    files = sorted(here.rglob("*.py"))
    text = b"".join(file.relative_to(here).as_posix().encode() + b"\0" + file.read_bytes() for file in files)
    return hashlib.sha256(text).hexdigest()[:16]


def _type(kind: str) -> Any:
    return getattr(numba.types, {"float": "float32", "double": "float64"}.get(kind, kind))


def _parameter(parameter: Parameter) -> Any:
    return numba.types.CPointer(_type(parameter.kind)) if parameter.pointer else _type(parameter.kind)
