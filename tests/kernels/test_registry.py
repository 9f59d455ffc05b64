"""The table of kernels, and the binding that calls them."""

import ctypes
import re

import numpy as np
import pytest

from flight.kernels import registry
from flight.kernels.binding import bind
from flight.kernels.registry import KERNELS, Kernel

TWICE = Kernel("twice", "nowhere", "const float *a, (float *b, int64 *c), int64 n, float by", "int64")
CALLS: list[tuple[object, ...]] = []


@ctypes.CFUNCTYPE(ctypes.c_int64, *[ctypes.c_void_p] * 3, ctypes.c_int64, ctypes.c_float)
def recorded(*arguments: object) -> int:
    CALLS.append(arguments)
    return 7


call = bind(TWICE, ctypes.cast(recorded, ctypes.c_void_p).value)
a, b, c = np.zeros(3, np.float32), np.zeros((2, 2), np.float32), np.zeros(1, np.int64)


def test_a_kernel_gets_addresses_numbers_and_the_parts_of_tuples() -> None:
    assert call(a, (b, c), 3, 0.5) == 7
    assert CALLS[-1] == (a.ctypes.data, b.ctypes.data, c.ctypes.data, 3, 0.5)


def test_a_constant_argument_may_be_read_only_and_a_written_one_may_not() -> None:
    fixed = np.zeros(3, np.float32)
    fixed.flags.writeable = False
    call(fixed, (b, c), 3, 1.0)
    with pytest.raises(TypeError, match="twice: b is float32 array, contiguous, read-only, expected a writable"):
        call(a, (fixed, c), 3, 1.0)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (np.zeros(3), "a is float64 array"),
        (np.zeros((4, 4), np.float32)[:, ::2], "not contiguous"),
        ([0.0], "a is list"),
        (None, "a is NoneType"),
        (np.zeros(3, ">f4"), "a is >f4|a is float32 array"),
    ],
)
def test_what_is_not_the_declared_array_is_refused_by_name(given: object, said: str) -> None:
    with pytest.raises(TypeError, match=said):
        call(given, (b, c), 3, 1.0)


def test_a_wrong_number_of_arguments_is_refused() -> None:
    with pytest.raises(TypeError, match="takes 5 arguments, got 4"):
        call(a, (b, c), 3)


def test_a_signature_that_cannot_be_read_is_quoted() -> None:
    with pytest.raises(ValueError, match="kernel bad: cannot read 'long \\*x'"):
        Kernel("bad", "nowhere", "long *x").parameters  # noqa: B018


def test_every_kernel_has_a_name_of_its_own_and_a_prototype_in_the_header() -> None:
    prototypes = re.findall(r"^\w+ (\w+)\(.*\);$", registry.header(), re.M)
    assert prototypes == [kernel.symbol for kernel in KERNELS]
    assert len(set(prototypes)) == len(prototypes)


def test_the_abi_digest_changes_with_any_signature(monkeypatch: pytest.MonkeyPatch) -> None:
    before = registry.abi()
    monkeypatch.setattr(registry, "KERNELS", (*KERNELS, TWICE))
    assert registry.abi() != before
