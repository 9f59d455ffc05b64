"""The state codec refuses what is not a state, whatever its check value says."""

from __future__ import annotations

import json
import struct
import zlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from learn_world import world

from flight.kernels.backend import Backend
from flight.learn import Downconv, Moments, StateError, load_state
from flight.learn.state import pack, unpack


def sealed(header: object, body: bytes = b"", raw: bytes | None = None) -> bytes:
    text = json.dumps(header).encode() if raw is None else raw
    data = struct.pack("<4sHI", b"SWLS", 1, len(text)) + text + body
    return data + struct.pack("<I", zlib.crc32(data))


@settings(max_examples=50, deadline=None)
@given(
    st.dictionaries(st.sampled_from("abcd"), st.tuples(st.sampled_from(["uint8", "int64", "float32"]),
    st.lists(st.integers(0, 4), max_size=4))), st.dictionaries(st.text(max_size=5).filter(lambda k: k != "arrays"),
    st.integers(-5, 5)),
)  # fmt: skip
def test_what_is_packed_comes_back(shapes, header):
    arrays = {k: np.arange(np.prod(s, dtype=int)).reshape(s).astype(d) for k, (d, s) in shapes.items()}
    found, back = unpack(pack(header, arrays))
    assert found == header
    assert list(back) == list(arrays)
    for key, array in arrays.items():
        np.testing.assert_array_equal(back[key], array)
        assert back[key].dtype == array.dtype
        assert back[key].flags.writeable


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "shorter"),
        (b"NOPE" + bytes(20), "starts with"),
        (sealed([1]), "expected an object"),
        (sealed(None, raw=b"[" * 60000), "not JSON"),
        (sealed(None, raw=b"{" + b" " * 70000 + b"}"), "does not fit"),
        (sealed({}), "arrays must be a list"),
        (sealed({"arrays": [["a", "object", [1]]]}), "entry"),
        (sealed({"arrays": [["a", "uint8", [1 << 60]]]}), "bad shape"),
        (sealed({"arrays": [["a", "uint8", [-1]]]}), "bad shape"),
        (sealed({"arrays": [["a", "float64", [1 << 30, 1 << 30]]]}), "0 are left"),
        (sealed({"arrays": [["a", "uint8", [4, 4]]]}, bytes(8)), "needs 16 bytes, 8 are left"),
        (sealed({"arrays": [["a", "uint8", [4]]]}, bytes(8)), "4 bytes after"),
        (sealed({"arrays": [["a", "uint8", [4]], ["a", "uint8", [4]]]}, bytes(8)), "entry"),
        (sealed({"arrays": [["a", "uint8", [0]]] * 100}), "at most"),
    ],
)
def test_forged_states_are_refused(data, message):
    with pytest.raises(StateError, match=message):
        unpack(data)


@settings(deadline=None)
@given(st.binary(max_size=200))
def test_any_bytes_are_refused_as_a_learner(body):
    with pytest.raises(StateError):
        load_state(sealed({"arrays": []}, body))


def edited(learner, change):
    header, arrays = unpack(learner.state())
    change(header, arrays)
    return pack(header, arrays)


def forged(*keys, value):
    def change(header, arrays):
        target = header
        for key in keys[:-1]:
            target = target[key]
        target[keys[-1]] = value

    return change


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (forged("learner", value="pickle"), "known are"),
        (forged("backend", value="rust"), "backend"),
        (forged("features", value="0" * 16), "features"),
        (forged("params", value={}), "params"),
        (forged("params", "n_units", value=10**9), "n_units"),
        (forged("params", "seed", value="0"), "params.seed"),
        (forged("chip_shape", value=[1 << 30, 16, 3]), "height"),
        (forged("n_chips", value=-1), "n_chips"),
        (forged("n_chips", value=1), "1 were given"),
        (lambda h, a: a.pop("sums"), "lacks array sums"),
        (lambda h, a: a.update(extra=np.zeros(1)), "unknown arrays extra"),
        (lambda h, a: a.update(index=a["index"][::-1].copy()), "not ascending"),
        (lambda h, a: a.update(V=np.full_like(a["V"], np.nan)), "NaN"),
        (lambda h, a: a.update(labels=np.full_like(a["labels"], 2)), "sums to"),
    ],
)
def test_a_state_that_does_not_fit_together_is_refused(change, message):
    earth = world(n=24)
    learner = Moments(n_units=8).partial_fit(earth.chips, earth.bag).set_labels(earth.table)
    learner.train(1)
    with pytest.raises(StateError, match=message):
        load_state(edited(learner, change))


def test_a_state_of_another_learner_is_refused():
    with pytest.raises(StateError, match="expected 'downconv'"):
        Downconv.from_state(Moments().state())


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda h, a: a.update(step=np.array([99])), "does not fit"),
        (lambda h, a: a.update(bags=a["bags"] + 100000), "out of range"),
        (lambda h, a: a.update(numbers=a["numbers"][::-1].copy()), "ascending"),
        (lambda h, a: a.pop("m.W1"), "lacks array m.W1"),
    ],
)
def test_a_downconv_state_that_does_not_fit_together_is_refused(change, message):
    earth = world(n=24)
    learner = Downconv(n_steps=5).partial_fit(earth.chips, earth.bag).set_labels(earth.table)
    learner.train(2)
    with pytest.raises(StateError, match=message):
        load_state(edited(learner, change))


def test_what_compiled_kernels_began_goes_on_with_them_only_but_can_be_looked_at_with_numpy():
    compiled = Backend("jit", lambda kernel: 0)
    state = Moments(n_units=8).use(compiled).state()
    assert load_state(state, Backend("aot", lambda kernel: 0)).backend.name == "aot"
    assert load_state(state).backend.name == "numpy"
    with pytest.raises(StateError, match="made by backend 'jit', this one is 'numpy'"):
        load_state(state, Backend("numpy"))
    earth = world(n=24)
    begun = Moments(n_units=8).partial_fit(earth.chips, earth.bag)
    with pytest.raises(ValueError, match="moments has begun with numpy, and cannot go on with jit"):
        begun.use(compiled)
