"""Pickles of arrays and plain containers are read as Python reads them; those that ask for more are refused, unrun."""

from __future__ import annotations

import collections
import contextlib
import os
import pickle  # noqa: TID251 (the oracle, and what writes the files)
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays

from ground.importer.pickles import PickleError, loads

PROTOCOLS = range(pickle.HIGHEST_PROTOCOL + 1)
atoms = (
    st.none() | st.booleans() | st.integers(-(1 << 80), 1 << 80) | st.floats(allow_nan=False) | st.text() | st.binary()
)
plain = st.recursive(
    atoms, lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner) | st.tuples(inner, inner), max_leaves=12
)
kinds = st.sampled_from(["u1", "<i2", ">i4", "<f4", ">f8", "?", "<U3", "S2"])
numbers = kinds.flatmap(lambda kind: arrays(kind, array_shapes(min_dims=0, max_dims=3, max_side=4, min_side=0)))


def same(a: Any, b: Any) -> bool:
    if isinstance(a, np.ndarray):
        return isinstance(b, np.ndarray) and a.dtype == b.dtype and a.shape == b.shape and a.tobytes() == b.tobytes()
    return type(a) is type(b) and bool(a == b)


@given(plain, st.sampled_from(PROTOCOLS))
def test_plain_containers_are_what_python_reads(value: Any, protocol: int) -> None:
    assert same(loads(pickle.dumps(value, protocol)), value)


@given(numbers, st.sampled_from(PROTOCOLS), st.booleans())
def test_arrays_are_what_numpy_reads(array: np.ndarray, protocol: int, fortran: bool) -> None:
    array = np.asfortranarray(array) if fortran else array
    found = loads(pickle.dumps({"one": array, "two": [array, array]}, protocol))
    assert same(array, found["one"]) and same(array, found["two"][1])


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_scalars_of_numpy_and_ordered_dictionaries_are_numbers_and_dictionaries(protocol: int) -> None:
    value = collections.OrderedDict(a=np.float32(1.5), b=np.int64(-7), c=b"")
    assert loads(pickle.dumps(value, protocol)) == {"a": 1.5, "b": -7, "c": b""}


class Hostile:
    """Touches a file when it is read by Python."""

    def __init__(self, call: Any, *arguments: Any) -> None:
        self.call, self.arguments = call, arguments

    def __reduce__(self) -> Any:
        return self.call, self.arguments


def hostile(path: Path) -> dict[str, Any]:
    """Payloads by kind; read by Python, each would do something."""
    touch = f"open({str(path)!r}, 'w')"
    command = f"cos\nsystem\n(S'touch {path}'\ntR.".encode()
    key = b"\x80\x04})" + b"2\x86" * 40 + b"Ns."
    return {
        "system": Hostile(os.system, f"touch {path}"),
        "eval": Hostile(eval, touch),
        "exec": Hostile(exec, touch),
        "getattr": Hostile(getattr, "text", "upper"),
        "within an array": np.array([Hostile(os.system, f"touch {path}")], object),
        "by its opcodes": command,
        "numpy's own door": b"cnumpy\nload\n(S'/etc/passwd'\ntR.",
        "instance": f"(S'touch {path}'\nios\nsystem\n.".encode(),
        "object": f"(cos\nsystem\nS'touch {path}'\no.".encode(),
        "new object": b"\x80\x02cbuiltins\nobject\n)\x81.",
        "extension": b"\x80\x02\x82\x01.",
        "persistent id": b"Pid\n.",
        "state of a dictionary": b"}(X\x01\x00\x00\x00aK\x01ub.",
        "call of text": b"S'os.system'\n(tR.",
        "keys that take for ever to hash": key,
        "an array of exabytes": pickle.dumps(np.zeros(3), 2).replace(
            b"K\x03\x85", b"\x8a\x08" + b"\xff" * 7 + b"\x0f\x85"
        ),
        "a negative size": pickle.dumps(np.zeros(3), 2).replace(b"K\x03\x85", b"J\xff\xff\xff\xff\x85"),
        "a long string that is not there": b"\x80\x04\x8d" + struct.pack("<Q", 1 << 60) + b"x.",
        "a structured type": np.zeros(2, [("a", "u1")]),
        "dates": np.zeros(2, "datetime64[s]"),
        "a set": {1, 2},
        "a class": Path,
        "nothing": b"",
        "no end": b"\x80\x04K\x01",
        "text": b"hello",
        "a stack that is empty": b"\x80\x04.",
        "a mark alone": b"(.",
        "a name alone": b"cnumpy\nndarray\n.",
        "memo that is not there": b"h\x07.",
        "items for no list": b"K\x01(K\x02e.",
        "an array without state": b"cnumpy.core.multiarray\n_reconstruct\n(cnumpy\nndarray\n(I0\ntS'b'\ntR.",
    }


@pytest.mark.parametrize("kind", hostile(Path("x")))
def test_a_hostile_or_damaged_pickle_is_refused_and_nothing_is_executed(tmp_path: Path, kind: str) -> None:
    payload = hostile(tmp_path / "pwned")[kind]
    for protocol in PROTOCOLS:
        data = payload if isinstance(payload, bytes) else pickle.dumps(payload, protocol)
        with pytest.raises(PickleError):
            loads(data)
    assert not (tmp_path / "pwned").exists()


@settings(deadline=None)
@given(st.binary(max_size=60), st.integers(0, 400), st.sampled_from(PROTOCOLS))
def test_no_bytes_make_the_reader_fail_otherwise(noise: bytes, at: int, protocol: int) -> None:
    data = bytearray(pickle.dumps({"chip": np.zeros((4, 4, 3), np.uint8), "n": [1.5, "x", (1, None)]}, protocol))
    data[at : at + len(noise)] = noise
    for each in (bytes(data), noise):
        with contextlib.suppress(PickleError):
            loads(each)
