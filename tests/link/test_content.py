"""Bytes of any kind through the range coder: read back as they were, refused otherwise, bounded in size and time."""

from __future__ import annotations

import contextlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flight import kernels
from flight.kernels import JIT, PYTHON
from flight.link import content
from flight.link import pack as wire
from flight.link.content import MAX_RANGE_BYTES, decode, encode
from flight.link.pack import CodecError

TABLE = b"[executive]\nhousekeeping_s = 30\ncheckpoint_s = 120\nproduct_chips = 64\n[caps]\ncpu_share = 0.5\n"


def weights(n: int = 1200) -> bytes:
    return np.random.Generator(np.random.PCG64(3)).normal(0, 0.05, n).astype("<f4").tobytes()


def a_file(data: bytes) -> bytes:
    return content.pack(wire.MODEL, (len(data),), b"", data, wire.crc((), data))


def read(data: bytes, limit: int = 1 << 20) -> bytes:
    reader = wire.Reader(wire.MODEL, data, content.FORMS)
    found = content.read(reader, "the content", reader.integer("the length", 0, limit))
    reader.finish(wire.crc((), found))
    return found


@given(st.binary(max_size=120))
@settings(max_examples=40, deadline=None)
def test_any_bytes_read_back(data: bytes) -> None:
    assert decode(encode(data), len(data)) == data
    assert read(a_file(data)) == data


@given(st.binary(max_size=60), st.integers(0, 80))
@settings(max_examples=40, deadline=None)
def test_any_stream_decodes_to_the_size_announced_or_is_refused(noise: bytes, size: int) -> None:
    with contextlib.suppress(CodecError):
        assert len(decode(noise, size)) == size


@given(st.binary(max_size=60), st.sampled_from(content.FORMS))
@settings(max_examples=60, deadline=None)
def test_no_file_makes_the_reader_fail_otherwise(noise: bytes, form: int) -> None:
    with contextlib.suppress(CodecError):
        read(wire.Writer(wire.MODEL, form).finish(0) + noise, limit=200)


def test_a_stream_cut_short_or_with_bytes_left_is_refused() -> None:
    data = encode(TABLE)
    with pytest.raises(CodecError, match="ends too early"):
        decode(data[: len(data) // 2], len(TABLE))
    with pytest.raises(CodecError, match="bytes too many"):
        decode(data + bytes(8), len(TABLE))


@pytest.mark.parametrize("data", [TABLE, weights()])
def test_text_and_weights_take_fewer_bytes_than_deflate(data: bytes) -> None:
    assert len(encode(data)) < 0.95 * len(wire.deflate(data))
    assert a_file(data)[1] == wire.RANGE


def test_what_deflate_makes_smaller_is_deflated() -> None:
    twice = np.random.Generator(np.random.PCG64(4)).bytes(600) * 2
    assert len(encode(twice)) > len(wire.deflate(twice))
    assert a_file(twice)[1] == wire.DEFLATE and read(a_file(twice)) == twice


def test_content_that_would_take_plain_python_too_long_is_deflated_and_refused_otherwise(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    large = bytes(MAX_RANGE_BYTES + 1)
    monkeypatch.setattr(content, "encode", lambda *arguments: pytest.fail("was range-coded"))
    monkeypatch.setattr(content, "decode", lambda *arguments: pytest.fail("was range-decoded"))
    assert read(a_file(large)) == large
    out = wire.Writer(wire.MODEL, wire.RANGE)
    out.integer(len(large))
    with pytest.raises(CodecError, match="above 16384 it is deflated"):
        read(out.finish(0))


@pytest.mark.skipif(not kernels.has_jit(), reason="numba is not installed")
def test_compiled_kernels_write_the_bytes_of_plain_python() -> None:
    for data in (b"", TABLE, weights()):
        stream = encode(data, PYTHON)
        assert encode(data, JIT) == stream and decode(stream, len(data), JIT) == data
