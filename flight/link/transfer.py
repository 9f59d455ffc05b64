"""Files and how a transfer of one ends: what sender, receiver and the owners of both speak of."""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from enum import IntEnum

from flight.link.errors import LinkError
from flight.link.packet import FileKind

MAX_NAME_CHARS = 64
MAX_REASON_CHARS = 48
DIGEST_BYTES = 16
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}", re.ASCII)


class Status(IntEnum):
    """Where a transfer stands, as its receiver reports it. All but RECEIVING and BUSY are final."""

    RECEIVING = 0
    BUSY = 1  # no room for another file now: ask again
    OK = 2
    DIGEST_MISMATCH = 3
    TOO_LARGE = 4
    REFUSED = 5

    @property
    def final(self) -> bool:
        """Whether the transfer is over."""
        return self >= Status.OK


@dataclass(frozen=True)
class File:
    """A file to send, or one received: its name (letters, digits, dot, dash, underscore), kind and bytes."""

    name: str
    kind: FileKind
    data: bytes

    def __post_init__(self) -> None:
        if not name_allowed(self.name):
            raise LinkError(f"file name {self.name[:80]!r}: must be 1 to {MAX_NAME_CHARS} of A-Z a-z 0-9 . _ -")

    @property
    def digest(self) -> bytes:
        """The first 16 bytes of the SHA-256 of the data."""
        return hashlib.sha256(self.data).digest()[:DIGEST_BYTES]


def name_allowed(name: str) -> bool:
    """Whether a file may have this name on the link: no path, nothing hidden, nothing to escape."""
    return _NAME.fullmatch(name) is not None


def short_reason(reason: str) -> str:
    """A reason as it fits a packet: printable ASCII, at most 48 characters."""
    return "".join(char if char.isascii() and char.isprintable() else "?" for char in reason)[:MAX_REASON_CHARS]
