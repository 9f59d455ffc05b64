"""Flight bundles: what is sealed comes back, and nothing else gets on board."""

import dataclasses
import hashlib
import hmac
import json
import re
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flight.bundle import LIBRARY, BundleError, Manifest, load, pack, parse
from flight.kernels.registry import abi
from flight.link.frame import Direction
from flight.link.keys import KeyRing
from flight.processor import features

KEYS = KeyRing({1: bytes(range(32)), 2: bytes(range(32, 64))}, 2)
FILES = {LIBRARY: b"\x7fELF and so on", "flight.toml": b"", "swath-flight.service": b"[Unit]"}


def manifest(**changes):
    import platform

    here = Manifest("0.1.0", "numba", "host", platform.machine(), tuple(sorted(features())), abi())
    return dataclasses.replace(here, **changes)


DATA = pack(manifest(), FILES, KEYS)


def sealed(text: bytes, contents: bytes = b"", length: int | None = None) -> bytes:
    """A bundle of any manifest, with the right seal."""
    body = struct.pack("<4sHBxI", b"SWBN", 1, 2, len(text) if length is None else length) + text + contents
    return body + hmac.digest(KEYS.bundle_keys()[2], body, "sha256")


def with_files(table):
    fields = json.loads(DATA[12 : DATA.index(b"}") + 1])
    return sealed(json.dumps({**fields, "files": table}).encode(), FILES[LIBRARY])


def test_what_was_packed_comes_back_and_the_same_content_gives_the_same_bytes():
    found = parse(DATA, KEYS)
    assert (found.manifest, dict(found.files)) == (manifest(), FILES)
    assert pack(manifest(), dict(reversed(FILES.items())), KEYS) == DATA


def test_a_bundle_is_sealed_with_another_key_than_any_frame():
    frame_keys = {key for direction in Direction for key in KEYS.derive(42, direction).values()}
    assert not frame_keys & set(KEYS.bundle_keys().values())


@given(st.integers(0, len(DATA) - 1), st.integers(1, 255))
def test_one_changed_byte_anywhere_is_refused(at, change):
    damaged = bytearray(DATA)
    damaged[at] ^= change
    with pytest.raises(BundleError):
        parse(bytes(damaged), KEYS)


@given(st.binary(max_size=300))
def test_any_bytes_are_refused(data):
    with pytest.raises(BundleError):
        parse(data, KEYS)


@pytest.mark.parametrize(
    ("keys", "said"),
    [
        (KeyRing({1: bytes(32), 2: bytes(range(32))}, 1), "the seal is wrong: damaged, or not sealed with key 2"),
        (KeyRing({7: bytes(32), 9: bytes(range(32))}, 7), "sealed with key 2, the key file has 7, 9"),
    ],
)
def test_a_bundle_for_other_keys_is_refused(keys, said):
    with pytest.raises(BundleError, match=said):
        parse(DATA, keys)


def test_a_file_that_is_not_what_the_manifest_says_is_refused_though_the_seal_is_right():
    with pytest.raises(BundleError, match=r"kernels\.so has not the size and SHA-256"):
        parse(with_files([[LIBRARY, len(FILES[LIBRARY]), hashlib.sha256(b"other").hexdigest()]]), KEYS)


@pytest.mark.parametrize(
    ("name", "size"), [("../kernels.so", 1), ("/etc/passwd", 1), ("a/b", 1), ("", 1), ("k.so", -1), ("k.so", 1 << 40)]
)
def test_names_are_plain_and_sizes_bounded(name, size):
    with pytest.raises(BundleError, match="the manifest: "):
        parse(with_files([[name, size, ""]]), KEYS)


@pytest.mark.parametrize("text", [b"{", b"[]", b'{"files": []}', b"[" * 5000, b"\xff"])
def test_a_sealed_manifest_that_is_none_is_refused(text):
    with pytest.raises(BundleError, match="manifest"):
        parse(sealed(text), KEYS)


def test_a_manifest_longer_than_the_bundle_is_refused():
    with pytest.raises(BundleError, match="a manifest of 4294967295 bytes does not fit"):
        parse(sealed(b"{}", length=0xFFFFFFFF), KEYS)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"machine": "vax", "target": "vax-11"}, "target vax-11 is for vax, this machine is "),
        ({"needs": ("warp",)}, "target host needs warp, which this processor has not"),
        ({"abi": "0" * 16}, f"kernel ABI {'0' * 16} of swath 0.1.0, on board is {abi()}"),
    ],
)
def test_kernels_for_another_machine_or_software_are_refused(change, said):
    with pytest.raises(BundleError, match=said):
        parse(pack(manifest(**change), FILES, KEYS), KEYS).kernels()


def test_a_file_that_cannot_be_read_is_named(tmp_path):
    with pytest.raises(BundleError, match=r"absent\.bundle: No such file"):
        load(tmp_path / "absent.bundle", KEYS)


def reshaped(**changes):
    """A sealed bundle with some fields of its manifest replaced, and no file in it."""
    fields = {**json.loads(DATA[12 : DATA.index(b"}") + 1]), "files": [], **changes}
    return sealed(json.dumps(fields).encode())


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (reshaped(), "holds no kernels.so"),
        (reshaped(machine=7), "a field that must be text is not"),
        (reshaped(needs="avx2"), "a field that must be text is not"),
        (reshaped(files=[["f", 0, ""]] * 17), "files must be a list of at most 16"),
        (reshaped(files={}), "files must be a list of at most 16"),
        (DATA[:4] + b"\x09\x00" + DATA[6:], "bundle format 9, this version of swath reads 1"),
        (reshaped() + b"\0" * 3, "the seal is wrong"),
        (sealed(json.dumps({**json.loads(DATA[12 : DATA.index(b"}") + 1]), "files": []}).encode(), b"abc"), "3 bytes"),
    ],
)
def test_a_bundle_of_another_shape_is_refused_with_what_is_wrong(data, said):
    with pytest.raises(BundleError, match=re.escape(said)):
        parse(data, KEYS)


def test_what_a_processor_can_do_is_what_linux_says_of_it(monkeypatch):
    class Aarch64:
        def getauxval(self, which):
            return (1 << 20 | 1 << 1) if which == 16 else 0  # AT_HWCAP: dot products, and SIMD

    monkeypatch.setattr("flight.processor.ctypes.CDLL", lambda name: Aarch64())
    monkeypatch.setattr("flight.processor.platform.machine", lambda: "aarch64")
    assert features() == {"asimd", "asimddp"}
    monkeypatch.setattr("flight.processor.platform.machine", lambda: "riscv64")
    assert features() == set()
