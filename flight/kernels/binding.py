"""Kernels behind an address, called with numpy arrays: the same binding whoever compiled them."""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np

from flight.kernels.registry import Kernel, Parameter

_NUMBERS: dict[str, Any] = {
    "float": ctypes.c_float, "double": ctypes.c_double, "uint8": ctypes.c_uint8, "uint16": ctypes.c_uint16,
    "int32": ctypes.c_int32, "uint32": ctypes.c_uint32, "int64": ctypes.c_int64, "uint64": ctypes.c_uint64,
}  # fmt: skip


def bind(kernel: Kernel, address: int) -> Callable[..., Any]:
    """The kernel at `address`, for C-contiguous numpy arrays and numbers.

    A call raises TypeError that names the kernel and the argument, if that is not an ndarray of the declared dtype, or
    is not contiguous, or cannot be written to though the kernel writes. Sizes are the caller's to get right.
    """
    parameters = kernel.parameters
    returned = None if kernel.returns == "void" else _NUMBERS[kernel.returns]
    kinds = [ctypes.c_void_p if each.pointer else _NUMBERS[each.kind] for each in parameters]
    function = ctypes.CFUNCTYPE(returned, *kinds)(address)
    checks = [(each, np.dtype(each.dtype) if each.pointer else None, not each.const) for each in parameters]
    grouped = any(each.group >= 0 for each in parameters)

    def call(*arguments: Any) -> Any:
        given: Sequence[Any] = tuple(flat(arguments)) if grouped else arguments
        if len(given) != len(checks):
            raise TypeError(f"kernel {kernel.name}: takes {len(checks)} arguments, got {len(given)}")
        values = []
        for value, (parameter, dtype, written) in zip(given, checks, strict=True):
            if dtype is not None:
                if type(value) is not np.ndarray or value.dtype != dtype:
                    raise _refused(kernel, parameter, value)
                flags = value.flags
                if not flags.c_contiguous or (written and not flags.writeable):
                    raise _refused(kernel, parameter, value)
                value = _address(value)
            values.append(value)
        return function(*values)

    call.__name__ = call.__qualname__ = kernel.name
    return call


def _address(array: Any) -> int:
    """Where a contiguous ndarray starts."""
    if array.flags.writeable and array.size:  # what ctypes gives a view of: seven times as fast to ask
        return ctypes.addressof(ctypes.c_char.from_buffer(array))
    return int(array.__array_interface__["data"][0])


def flat(arguments: Sequence[Any]) -> Iterator[Any]:
    """Arguments as C has them: the parts of tuples in a row."""
    for argument in arguments:
        if isinstance(argument, tuple):
            yield from argument
        else:
            yield argument


def _refused(kernel: Kernel, parameter: Parameter, value: Any) -> TypeError:
    found = type(value).__name__
    if isinstance(value, np.ndarray):
        order = "contiguous" if value.flags.c_contiguous else "not contiguous"
        found = f"{value.dtype} array, {order}, {'writable' if value.flags.writeable else 'read-only'}"
    needs = f"a {'' if parameter.const else 'writable '}C-contiguous {parameter.dtype} array"
    return TypeError(f"kernel {kernel.name}: {parameter.name} is {found}, expected {needs}")
