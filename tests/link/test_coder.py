from __future__ import annotations

import contextlib
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flight import kernels
from flight.kernels import PYTHON
from flight.link import coder
from flight.link.pack import CodecError

coding = kernels.load("coding", PYTHON)
decisions = st.lists(st.tuples(st.integers(1, 65535), st.integers(0, 1)), max_size=400)


def encode(pairs: list[tuple[int, int]], capacity: int = 10_000, backend: str = PYTHON) -> bytes:
    stream = coder.encoder(capacity, backend)
    for p, bit in pairs:
        kernels.load("coding", backend).code_bit(stream.state, stream.buffer, p, bit)
    return stream.finish()


def decode(data: bytes, odds: list[int]) -> list[int]:
    stream = coder.decoder(data, len(odds), PYTHON)
    bits = [coding.code_bit(stream.state, stream.buffer, p, 0) for p in odds]
    stream.finish()
    return bits


def ideal_bytes(pairs: list[tuple[int, int]]) -> float:
    return sum(-math.log2((p if bit else 65536 - p) / 65536) for p, bit in pairs) / 8


def drawn(n: int, seed: int = 1) -> list[tuple[int, int]]:
    """Decisions that follow their probabilities, many of which are extreme."""
    rng = np.random.Generator(np.random.PCG64(seed))
    odds = np.clip((rng.beta(0.2, 0.2, n) * 65536).astype(int), 1, 65535)
    return list(zip(odds.tolist(), (rng.random(n) * 65536 < odds).astype(int).tolist(), strict=True))


@given(decisions)
@settings(deadline=None)
def test_what_was_encoded_is_decoded(pairs: list[tuple[int, int]]) -> None:
    assert decode(encode(pairs), [p for p, _ in pairs]) == [bit for _, bit in pairs]


@given(decisions)
@settings(deadline=None)
def test_a_stream_is_at_most_a_byte_longer_than_its_information(pairs: list[tuple[int, int]]) -> None:
    assert len(encode(pairs)) <= ideal_bytes(pairs) * 1.001 + 1.1


def test_a_carry_runs_through_a_long_row_of_ones() -> None:
    pairs = [(1, 0)] * 3 + [(65535, 0)] * 200 + [(32768, 1), (1, 1)] * 50
    assert decode(encode(pairs), [p for p, _ in pairs]) == [bit for _, bit in pairs]


def test_streams_are_as_short_as_those_of_constriction() -> None:
    constriction = pytest.importorskip("constriction", reason="no wheel for this platform")
    pairs = drawn(20_000)
    theirs = constriction.stream.queue.RangeEncoder()
    model = constriction.stream.model.Bernoulli()
    theirs.encode(
        np.array([bit for _, bit in pairs], np.int32), model, np.array([p / 65536 for p, _ in pairs], np.float32)
    )
    assert len(encode(pairs)) <= 4 * len(theirs.get_compressed()) + 1


def test_a_stream_that_ends_too_early_is_refused() -> None:
    pairs = drawn(2000)
    data = encode(pairs)
    with pytest.raises(CodecError, match="ends too early"):
        decode(data[: len(data) // 2], [p for p, _ in pairs])


def test_bytes_after_the_end_are_refused() -> None:
    pairs = drawn(200)
    with pytest.raises(CodecError, match="bytes too many"):
        decode(encode(pairs) + b"12345678", [p for p, _ in pairs])


def test_a_decoder_stops_at_its_limit_of_decisions() -> None:
    stream = coder.decoder(bytes(1000), 10, PYTHON)
    for _ in range(11):
        coding.code_bit(stream.state, stream.buffer, 1, 0)
    with pytest.raises(CodecError, match="more decisions than it may"):
        stream.finish()


def test_a_stream_longer_than_its_buffer_is_refused() -> None:
    with pytest.raises(CodecError, match="longer than it may be"):
        encode([(1, 1)] * 100, capacity=50)


@given(st.binary(max_size=60), st.lists(st.integers(1, 65535), max_size=300))
@settings(deadline=None)
def test_any_bytes_decode_or_are_refused(data: bytes, odds: list[int]) -> None:
    with contextlib.suppress(CodecError):
        assert len(decode(data, odds)) == len(odds)


def run_mixed(backend: str, bits: list[int], data: bytes | None = None) -> tuple[bytes, list[int]]:
    """Code `bits` by two orders of context mixed with two weight sets, every fifth without a mixer."""
    kernel = kernels.load("coding", backend)
    stream = coder.encoder(1000, backend) if data is None else coder.decoder(data, len(bits), backend)
    counts, weights = coder.adaptive(64, backend), coder.mixer(3, 2, backend)
    slots, sets = kernels.integers(2, backend), kernels.integers(2, backend)
    tables, scratch = coder.tables(backend), coder.scratch(2, 2, backend)
    found, past = [], 0
    for i, bit in enumerate(bits):
        slots[0], slots[1] = past & 3, 16 + (past & 15)
        sets[0], sets[1] = 0, 4 * (1 + (past & 1))
        if i % 5:
            bit = kernel.code_mixed(
                stream.state, stream.buffer, bit, counts, slots, 2, 255, weights, sets, 2, 6, tables, scratch
            )
        else:
            bit = kernel.code_adaptive(stream.state, stream.buffer, bit, counts, 40 + (past & 7), 255)
        found.append(int(bit))
        past = past << 1 & 15 | int(bit)
    return stream.finish(), found


@given(st.lists(st.integers(0, 1), max_size=300))
@settings(max_examples=40, deadline=None)
def test_mixed_decisions_are_decoded(bits: list[int]) -> None:
    data, _ = run_mixed(PYTHON, bits)
    assert run_mixed(PYTHON, bits=[0] * len(bits), data=data)[1] == bits


def test_a_repeating_pattern_costs_next_to_nothing() -> None:
    assert len(run_mixed(PYTHON, [1, 0, 0, 1, 1] * 400)[0]) < 30


def test_a_backend_that_does_not_exist_is_named() -> None:
    with pytest.raises(ValueError, match="'rust'"):
        kernels.load("coding", "rust")
