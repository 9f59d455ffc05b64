"""The flight bundle: what flies besides Python, in one sealed file.

Layout, little-endian: ``SWBN``, format (uint16), key id (uint8), 0 (uint8), length of the manifest (uint32), the
manifest (JSON, UTF-8, sorted keys), the files one after another in its order, and the seal: HMAC-SHA256 of everything
before, under a key derived from the key file for this purpose alone. The same content gives the same bytes.

Nothing is believed before the seal is checked, and nothing is unpacked to disk: the library of kernels is loaded from
memory without a name (memfd_create), so that what runs is what was verified.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import os
import platform
import re
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from flight.encoder.runtimes import RUNTIMES
from flight.kernels.backend import Backend, ahead_of_time
from flight.kernels.registry import abi
from flight.link.keys import KeyRing
from flight.processor import features

MAGIC, FORMAT = b"SWBN", 1
MAX_BYTES = 64 << 20  # with a large encoder
MAX_MANIFEST_BYTES, MAX_FILES = 1 << 16, 16
LIBRARY, CONFIG, UNIT, HEADER, ENCODER = (
    "kernels.so",
    "flight.toml",
    "swath-flight.service",
    "swath_kernels.h",
    "encoder",
)
_HEAD = struct.Struct("<4sHBxI")
_SEAL_BYTES = 32
_NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,63}")
_TEXTS = ("swath", "compiler", "target", "machine", "abi")


class BundleError(ValueError):
    """A bundle that cannot be used here; the message says what is wrong and what to do."""


@dataclass(frozen=True)
class Manifest:
    """What a bundle says of itself.

    Attributes:
        swath, compiler: versions that made it.
        target: as `swath-ground build --target` has it.
        machine: as `uname -m` has it on the target.
        needs: features that the processor must have (`flight.processor.features`).
        abi: of the kernels (`flight.kernels.registry.abi`).
    """

    swath: str
    compiler: str
    target: str
    machine: str
    needs: tuple[str, ...]
    abi: str

    def check_here(self) -> None:
        """BundleError unless this machine can run the kernels, and this software can call them."""
        if self.machine != platform.machine():
            raise BundleError(
                f"target {self.target} is for {self.machine}, this machine is {platform.machine()}: build for it"
            )
        if lacking := sorted(set(self.needs) - features()):
            raise BundleError(f"target {self.target} needs {', '.join(lacking)}, which this processor has not")
        if self.abi != abi():
            raise BundleError(
                f"kernel ABI {self.abi} of swath {self.swath}, on board is {abi()}: build with the version of swath "
                "that is on board"
            )


@dataclass(frozen=True)
class Bundle:
    """A bundle whose seal is right: its manifest, and its files by name."""

    manifest: Manifest
    files: Mapping[str, bytes]

    @property
    def config(self) -> bytes | None:
        """The default configuration that it brings (TOML), if any."""
        return self.files.get(CONFIG)

    @property
    def encoders(self) -> tuple[bytes, ...]:
        """The files of the encoder that it brings: one and the same in several formats, the first the best; or none."""
        names = [f"{ENCODER}.{form}" for form in RUNTIMES]
        return tuple(self.files[name] for name in names if name in self.files)

    def kernels(self) -> Backend:
        """The kernels; BundleError if they are not for this machine, BackendError if they cannot be loaded."""
        self.manifest.check_here()
        # The descriptor stays open: the dynamic loader knows a library by its path, and would take a second one that
        # got the same number for the first.
        descriptor = os.memfd_create("swath-kernels", os.MFD_CLOEXEC)
        with open(descriptor, "wb", closefd=False) as file:
            file.write(self.files[LIBRARY])
        return ahead_of_time(Path(f"/proc/self/fd/{descriptor}"))


def load(path: Path, keys: KeyRing | None) -> Bundle:
    """The bundle in a file, verified as by `parse`; BundleError, with the path, if anything is wrong."""
    try:
        with path.open("rb") as file:
            data = file.read(MAX_BYTES + 1)
        return parse(data, keys)
    except OSError as error:
        raise BundleError(f"{path}: {error.strerror}") from error
    except BundleError as error:
        raise BundleError(f"{path}: {error}") from error


def parse(data: bytes, keys: KeyRing | None) -> Bundle:
    """The bundle in `data`, its seal and digests verified; BundleError says what is wrong with it.

    Without `keys` the seal is not checked: that is for looking at a file of one's own, never for flight.
    """
    if len(data) > MAX_BYTES:
        raise BundleError(f"longer than the {MAX_BYTES} bytes that a bundle may have")
    if len(data) < _HEAD.size + _SEAL_BYTES or data[:4] != MAGIC:
        raise BundleError("not a flight bundle")
    _, version, key_id, length = _HEAD.unpack_from(data)
    if version != FORMAT:
        raise BundleError(f"bundle format {version}, this version of swath reads {FORMAT}")
    body = memoryview(data)[:-_SEAL_BYTES]
    if keys is not None:
        _check_seal(body, data[-_SEAL_BYTES:], key_id, keys)
    at = _HEAD.size + length
    if length > MAX_MANIFEST_BYTES or at > len(body):
        raise BundleError(f"a manifest of {length} bytes does not fit")
    manifest, table = _manifest(bytes(body[_HEAD.size : at]))
    files: dict[str, bytes] = {}
    for name, size, digest in table:
        content = bytes(body[at : at + size])
        if len(content) != size or hashlib.sha256(content).hexdigest() != digest:
            raise BundleError(f"{name} has not the size and SHA-256 that the manifest says")
        files[name] = content
        at += size
    if at != len(body):
        raise BundleError(f"{len(body) - at} bytes after the last file")
    if LIBRARY not in files:
        raise BundleError(f"holds no {LIBRARY}")
    return Bundle(manifest, files)


def pack(manifest: Manifest, files: Mapping[str, bytes], keys: KeyRing) -> bytes:
    """The bytes of a bundle, sealed with the active key."""
    table = [[name, len(content), hashlib.sha256(content).hexdigest()] for name, content in sorted(files.items())]
    fields = {**vars(manifest), "needs": list(manifest.needs), "files": table}
    text = json.dumps(fields, sort_keys=True, separators=(",", ":")).encode()
    contents = b"".join(files[name] for name in sorted(files))
    body = _HEAD.pack(MAGIC, FORMAT, keys.active, len(text)) + text + contents
    data = body + hmac.digest(keys.bundle_keys()[keys.active], body, "sha256")
    parse(data, keys)
    return data


def _check_seal(body: memoryview, seal: bytes, key_id: int, keys: KeyRing) -> None:
    key = keys.bundle_keys().get(key_id)
    if key is None:
        raise BundleError(f"sealed with key {key_id}, the key file has {', '.join(map(str, keys.key_ids))}")
    if not hmac.compare_digest(hmac.digest(key, body, "sha256"), seal):
        raise BundleError(f"the seal is wrong: damaged, or not sealed with key {key_id} of this key file")


def _manifest(text: bytes) -> tuple[Manifest, list[tuple[str, int, str]]]:
    try:
        found = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise BundleError(f"the manifest is not JSON: {error}") from error
    if not isinstance(found, dict) or set(found) != {*_TEXTS, "needs", "files"}:
        raise BundleError(f"the manifest must hold {', '.join((*_TEXTS, 'needs', 'files'))}, and nothing else")
    texts = {name: found[name] for name in _TEXTS}
    needs, table = found["needs"], found["files"]
    if not isinstance(needs, list) or not all(isinstance(each, str) for each in (*needs, *texts.values())):
        raise BundleError("the manifest: a field that must be text is not")
    if not isinstance(table, list) or len(table) > MAX_FILES:
        raise BundleError(f"the manifest: files must be a list of at most {MAX_FILES}")
    return Manifest(**texts, needs=tuple(needs)), _table(table)


def _table(table: list[Any]) -> list[tuple[str, int, str]]:
    rows: list[tuple[str, int, str]] = []
    for entry in table:
        match entry:
            case [str(name), int(size), str(digest)] if type(size) is int and 0 <= size <= MAX_BYTES:
                pass
            case _:
                raise BundleError("the manifest: a file's entry is not [name, size, SHA-256]")
        if not _NAME.fullmatch(name) or name in (row[0] for row in rows):
            raise BundleError(f"the manifest: {name!r} is not a plain file name, or not the only one")
        rows.append((name, size, digest))
    return rows
