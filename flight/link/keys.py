"""The key file: two slots, both good for receiving at first, and which of them an end without saved state sends with.

    active = 1
    [[slot]]
    id = 1
    key = "64 hexadecimal digits"
    [[slot]]
    id = 2
    key = "64 hexadecimal digits"

Which slots are in use later is the matter of ``flight.link.keyuse``. Each direction uses a key of its own, derived by
HKDF-SHA256 (RFC 5869). No message and no repr shows key bytes.
"""

from __future__ import annotations

import hmac
import re
import tomllib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from flight.link.frame import Direction

KEY_BYTES = 32
SLOTS = 2
MAX_FILE_BYTES = 4096


class KeyFileError(ValueError):
    """A key file that cannot be used; the message names the slot and never shows a key."""


class KeyRing:
    """The keys of one spacecraft: `key_ids` in slot order, and the `active` one that frames are sent with."""

    __slots__ = ("_keys", "active")

    def __init__(self, keys: Mapping[int, bytes], active: int) -> None:
        if len(keys) != SLOTS:
            raise KeyFileError(f"found {len(keys)} different key ids, need {SLOTS}")
        for key_id, key in keys.items():
            if not 0 <= key_id <= 255:
                raise KeyFileError(f"key id {key_id} is not between 0 and 255")
            if len(key) != KEY_BYTES:
                raise KeyFileError(f"key {key_id}: has {len(key)} bytes, needs {KEY_BYTES}")
        if active not in keys:
            raise KeyFileError(f"active: there is no key {active}, only {sorted(keys)}")
        self._keys = dict(keys)
        self.active = active

    @property
    def key_ids(self) -> tuple[int, ...]:
        """The ids of the keys that frames are accepted with."""
        return tuple(self._keys)

    @classmethod
    def generate(cls, random_bytes: Callable[[int], bytes]) -> KeyRing:
        """Two new keys, 1 and 2, the first active, from a source of randomness such as ``os.urandom``."""
        return cls({key_id: random_bytes(KEY_BYTES) for key_id in range(1, SLOTS + 1)}, 1)

    @classmethod
    def load(cls, path: Path) -> KeyRing:
        """The key file at `path`; KeyFileError, with the path, if it cannot be used."""
        try:
            with path.open("rb") as file:
                return cls.parse(file.read(MAX_FILE_BYTES + 1))
        except OSError as error:
            raise KeyFileError(f"{path}: {error.strerror}") from None
        except KeyFileError as error:
            raise KeyFileError(f"{path}: {error}") from None

    @classmethod
    def parse(cls, data: bytes) -> KeyRing:
        """The keys in the text of a key file; KeyFileError if it is not one."""
        if len(data) > MAX_FILE_BYTES:
            raise KeyFileError(f"key file is longer than {MAX_FILE_BYTES} bytes")
        try:
            values = tomllib.loads(data.decode("utf-8"))
        except (tomllib.TOMLDecodeError, UnicodeDecodeError):
            raise KeyFileError("key file is not TOML") from None  # the cause would carry the text, and so the keys
        if set(values) != {"active", "slot"}:
            raise KeyFileError("key file must hold `active` and two [[slot]] tables, and nothing else")
        slots = values["slot"]
        if not isinstance(slots, list) or len(slots) != SLOTS:
            raise KeyFileError(f"key file must have {SLOTS} [[slot]] tables")
        keys = dict(_slot(slot, f"slot {number}") for number, slot in enumerate(slots, 1))
        if type(values["active"]) is not int:
            raise KeyFileError("active: must be the id of a key")
        return cls(keys, values["active"])

    def with_active(self, key_id: int) -> KeyRing:
        """The same keys with another active one; KeyFileError if there is none such."""
        return KeyRing(self._keys, key_id)

    def dump(self) -> bytes:
        """The text of a key file with these keys."""
        slots = "".join(f'[[slot]]\nid = {key_id}\nkey = "{key.hex()}"\n' for key_id, key in self._keys.items())
        return f"active = {self.active}\n{slots}".encode()

    def derive(self, spacecraft_id: int, direction: Direction) -> dict[int, bytes]:
        """The frame keys of one direction, by key id."""
        info = f"swath frame {direction.name.lower()} {spacecraft_id}".encode()
        return {key_id: hkdf_sha256(key, b"swath link", info) for key_id, key in self._keys.items()}

    def bundle_keys(self) -> dict[int, bytes]:
        """The keys that seal flight bundles (`flight.bundle`), by key id; no frame is ever sealed with them."""
        return {key_id: hkdf_sha256(key, b"swath bundle", b"swath bundle seal") for key_id, key in self._keys.items()}

    def __repr__(self) -> str:
        return f"KeyRing(key ids {list(self._keys)}, active {self.active})"


def _slot(slot: Any, path: str) -> tuple[int, bytes]:
    if not isinstance(slot, dict) or set(slot) != {"id", "key"}:
        raise KeyFileError(f"{path}: must hold `id` and `key`, and nothing else")
    key_id, digits = slot["id"], slot["key"]
    if type(key_id) is not int:
        raise KeyFileError(f"{path}.id: must be a whole number")
    if not isinstance(digits, str) or not re.fullmatch(r"[0-9a-fA-F]{64}", digits):
        raise KeyFileError(f"{path}.key: must be {2 * KEY_BYTES} hexadecimal digits")
    return key_id, bytes.fromhex(digits)


def hkdf_sha256(key: bytes, salt: bytes, info: bytes, length: int = KEY_BYTES) -> bytes:
    """`length` bytes derived from `key`: extract, then expand (RFC 5869, 2.2 and 2.3)."""
    pseudorandom_key = hmac.digest(salt, key, "sha256")
    output, block = b"", b""
    for number in range(1, -(-length // 32) + 1):
        block = hmac.digest(pseudorandom_key, block + info + bytes([number]), "sha256")
        output += block
    return output[:length]
