import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flight.link.frame import Direction
from flight.link.keys import KeyFileError, KeyRing, hkdf_sha256

SECRET = "ab" * 32
GOOD = f'active = 2\n[[slot]]\nid = 1\nkey = "{SECRET}"\n[[slot]]\nid = 2\nkey = "{"cd" * 32}"\n'


def test_a_key_file_written_is_read_back(tmp_path):
    ring = KeyRing.generate(lambda n: hashlib.sha256(b"seed").digest()[:n])
    path = tmp_path / "keys.toml"
    path.write_bytes(ring.dump())
    assert KeyRing.load(path).dump() == ring.dump()
    assert ring.active == 1


@pytest.mark.parametrize(
    "text",
    [
        GOOD.replace("active = 2", "active = 3"),
        GOOD.replace("active = 2", "active = true"),
        GOOD.replace("id = 2", "id = 1"),
        GOOD.replace("id = 2", "id = 256"),
        GOOD.replace("id = 2", "id = '2'"),
        GOOD.replace(SECRET, SECRET[:-1]),
        GOOD.replace(SECRET, SECRET[:-1] + "x"),
        GOOD.replace(f'"{SECRET}"', f"{SECRET}"),
        GOOD + "extra = 1\n",
        GOOD + f'[[slot]]\nid = 3\nkey = "{SECRET}"\n',
        GOOD.split("[[slot]]\nid = 2")[0],
        "\x00" + GOOD,
        GOOD + "#" * 5000,
    ],
)
def test_a_bad_key_file_is_refused_without_showing_a_key(text):
    with pytest.raises(KeyFileError) as caught:
        KeyRing.parse(text.encode())
    seen = str(caught.value) + repr(caught.value) + repr(caught.value.__cause__)
    assert "abab" not in seen and "cdcd" not in seen


def test_a_missing_key_file_is_named(tmp_path):
    with pytest.raises(KeyFileError, match="nowhere"):
        KeyRing.load(tmp_path / "nowhere")


@given(st.binary(max_size=200))
def test_any_bytes_are_a_key_file_or_refused(data):
    with pytest.raises(KeyFileError):
        KeyRing.parse(data)


def test_no_repr_shows_a_key():
    assert "abab" not in repr(KeyRing.parse(GOOD.encode()))


def test_each_direction_and_spacecraft_has_keys_of_its_own():
    ring = KeyRing.parse(GOOD.encode())
    derived = [ring.derive(craft, way)[key] for craft in (1, 2) for way in Direction for key in ring.key_ids]
    assert len(set(derived)) == 8


def test_derivation_is_rfc_5869():
    # RFC 5869, appendix A.1
    okm = hkdf_sha256(bytes([11] * 22), bytes(range(13)), bytes(range(0xF0, 0xFA)), 42)
    assert okm.hex() == "3cb25f25faacd57a90434f64d0362f2a2d2d0a90cf1a5a4c5db02d56ecc4c5bf34007208d5b887185865"
