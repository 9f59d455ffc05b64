"""Files: what sender, receiver and the owners of both speak of."""

from __future__ import annotations

import re
from dataclasses import dataclass

from flight.link.errors import LinkError
from flight.link.packet import FileKind

MAX_NAME_CHARS = 48
MAX_REASON_CHARS = 48
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,47}", re.ASCII)


@dataclass(frozen=True)
class File:
    """A file to send, or one received: its name (letters, digits, dot, dash, underscore), kind and bytes."""

    name: str
    kind: FileKind
    data: bytes

    def __post_init__(self) -> None:
        if not name_allowed(self.name):
            raise LinkError(f"file name {self.name[:80]!r}: must be 1 to {MAX_NAME_CHARS} of A-Z a-z 0-9 . _ -")


def name_allowed(name: str) -> bool:
    """Whether a file may have this name on the link: no path, nothing hidden, nothing to escape."""
    return _NAME.fullmatch(name) is not None


def short_reason(reason: str) -> str:
    """A reason as it fits a packet: printable ASCII, at most 48 characters."""
    return "".join(char if char.isascii() and char.isprintable() else "?" for char in reason)[:MAX_REASON_CHARS]
