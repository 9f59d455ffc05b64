"""The spool: a directory through which a running station is given telecommands and files.

A file appears in it whole or not at all (`put`). The station takes what is there in the order of the names, which begin
with the time: telecommands as soon as the link takes them, files one after the other. What the link has taken moves to
``done/``; what cannot be sent to ``refused/``, with the reason beside it in ``NAME.reason``. What is still in the
directory has not been sent, and removing it takes it back.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from flight.clock import unix_s
from flight.config import ConfigError
from flight.link import pack as wire
from flight.link.errors import LinkError
from flight.link.pack import CodecError
from flight.link.packet import FileKind
from flight.link.transfer import MAX_NAME_CHARS, File
from ground.files import write_bytes
from ground.orders import read_commands
from ground.station import Order

DONE, REFUSED = "done", "refused"
MAX_ENTRIES = 256  # looked at in one go
UPLINK_KINDS = {
    wire.REGION: FileKind.REGION,
    wire.LABEL_SET: FileKind.LABEL_SET,
    wire.SEQUENCE: FileKind.SEQUENCE,
    wire.UPDATE: FileKind.UPDATE,
}
_STAMP = re.compile(r"\d{20}-")


class SpoolError(ValueError):
    """Something in the spool that cannot be sent; the message says why."""


@dataclass(frozen=True)
class Spooled:
    """An order that waits in the spool, under the name of its file."""

    name: str
    order: Order


class Spool:
    """The spool in `directory`, which is made if it is not there. Files above `max_bytes` are refused."""

    def __init__(self, directory: Path, max_bytes: int) -> None:
        self.directory = directory
        self.max_bytes = max_bytes
        for name in (DONE, REFUSED):
            (directory / name).mkdir(parents=True, exist_ok=True)

    def waiting(self) -> list[Spooled]:
        """What waits, in the order of its names; what cannot be sent is refused at once."""
        found = []
        names = sorted(path.name for path in self.directory.iterdir() if path.is_file() and path.name[0] != ".")
        for name in names[:MAX_ENTRIES]:
            try:
                found.append(Spooled(name, self._order(self.directory / name)))
            except FileNotFoundError:
                continue  # taken back just now
            except (SpoolError, ConfigError, LinkError, CodecError, OSError) as error:
                self.refuse(name, str(error))
        return found

    def _order(self, path: Path) -> Order:
        if path.suffix == ".toml":
            commands = read_commands(path)
            if len(commands) != 1:
                raise SpoolError(f"holds {len(commands)} telecommands, expected one")
            return commands[0].order()
        if path.stat().st_size > self.max_bytes:
            raise SpoolError(f"has {path.stat().st_size} bytes, the link takes {self.max_bytes}")
        data = path.read_bytes()
        return Order(0.0, File(_STAMP.sub("", path.name, count=1)[:MAX_NAME_CHARS], uplink_kind(data), data))

    def done(self, name: str) -> None:
        """The link has what `name` ordered."""
        self._move(name, DONE)

    def refuse(self, name: str, reason: str) -> None:
        """What `name` orders cannot be sent."""
        write_bytes(self.directory / REFUSED / f"{name}.reason", f"{reason}\n".encode())
        self._move(name, REFUSED)

    def _move(self, name: str, where: str) -> None:
        path = self.directory / name
        if path.exists():
            path.replace(self.directory / where / name)


def uplink_kind(data: bytes) -> FileKind:
    """What a packed file is on the uplink; SpoolError if it does not go up."""
    found = UPLINK_KINDS.get(data[:1])
    if found is None:
        raise SpoolError(f"is a {wire.kind_of(data)}, which does not go up")
    return found


def put(directory: Path, name: str, data: bytes) -> Path:
    """Put a file into the spool, behind all that is there; its path."""
    if not directory.is_dir():
        raise SpoolError(f"{directory}: there is no such spool; a station makes it when it starts")
    stamp = int(unix_s() * 1e6)
    latest = max((path.name for path in directory.iterdir() if _STAMP.match(path.name)), default="")
    stamp = max(stamp, int(latest.partition("-")[0]) + 1) if latest else stamp
    path = directory / f"{stamp:020d}-{name}"
    write_bytes(path, data)
    return path
