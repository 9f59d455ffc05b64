"""Updates and models as files: read back as they were, refused whole otherwise, never inflated beyond the limit."""

from __future__ import annotations

import contextlib
import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flight.link import content as coded
from flight.link import pack as wire
from flight.link.pack import CodecError
from flight.link.parcel import Model, Update, digest, pack_model, pack_update, unpack_model, unpack_update

LIMIT = 4096
names = st.text(st.characters(codec="utf-8", exclude_characters="\0"), min_size=1, max_size=16)
numbers = st.integers(0, 2**32 - 1)
contents = st.binary(min_size=1, max_size=300)


@given(names, st.integers(1, 2**32 - 1), contents)
def test_an_update_reads_back(slot: str, version: int, content: bytes) -> None:
    update = Update(slot, version, content)
    assert unpack_update(pack_update(update), LIMIT) == update


@given(names, numbers, numbers, numbers, contents)
def test_a_model_reads_back(learner: str, region_id: int, task_id: int, version: int, weights: bytes) -> None:
    model = Model(learner, region_id, task_id, version, weights)
    assert unpack_model(pack_model(model), LIMIT) == model


@given(st.integers(0, 400), st.integers(0, 7), contents)
def test_a_flipped_bit_is_refused_unless_it_is_padding(at: int, bit: int, content: bytes) -> None:
    update = Update("parameters", 1, content)
    data = bytearray(pack_update(update))
    data[at % len(data)] ^= 1 << bit
    try:
        found = unpack_update(bytes(data), LIMIT)
    except CodecError:
        return
    assert found == update  # the last bits of a deflate stream may mean nothing


@given(st.binary(max_size=200))
def test_no_bytes_make_the_reader_fail_otherwise(noise: bytes) -> None:
    for data in (noise, b"U\x01" + noise, b"M\x01" + noise):
        for unpack in (unpack_update, unpack_model):
            with contextlib.suppress(CodecError):
                unpack(data, LIMIT)


def test_a_content_above_the_limit_is_refused_before_it_is_decoded(monkeypatch: pytest.MonkeyPatch) -> None:
    data = pack_update(Update("parameters", 1, bytes(LIMIT + 1)))
    monkeypatch.setattr(zlib, "decompressobj", lambda *arguments: pytest.fail("was inflated"))
    monkeypatch.setattr(coded, "decode", lambda *arguments: pytest.fail("was decoded"))
    with pytest.raises(CodecError, match="the length of the content is 4097"):
        unpack_update(data, LIMIT)


def test_a_content_that_does_not_match_its_sha256_is_refused_even_if_every_checksum_fits() -> None:
    content, name = b"[executive]\n", wire.join_names(("parameters",), "name")
    out = wire.Writer(wire.UPDATE)
    out.integer(1, 0, 0, 0, len(name), len(content))
    out.raw(digest(b"something else"))
    out.block(name + content)
    with pytest.raises(CodecError, match="the SHA-256 of the content is"):
        unpack_update(out.finish(wire.crc((1, 0, 0, 0), name, content)), LIMIT)


def test_one_kind_is_not_taken_for_the_other() -> None:
    with pytest.raises(CodecError, match="the file is a model"):
        unpack_update(pack_model(Model("moments", 1, 1, 1, b"w")), LIMIT)


def test_versions_are_numbered_from_1() -> None:
    with pytest.raises(CodecError, match="version is 0"):
        pack_update(Update("parameters", 0, b"x"))
