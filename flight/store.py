"""What survives on board: named records, each in two generations, atomic and checksummed.

A record is written beside the older of its two generations, synced, renamed over it, and the directory is synced; so at
every instant at least one whole generation is readable. Reading takes the newest that is whole, and tells of every
other one that was not.
"""

from __future__ import annotations

import contextlib
import re
import struct
import zlib
from collections.abc import Callable, Collection, Iterable, Iterator
from dataclasses import dataclass
from functools import reduce
from pathlib import Path
from typing import Any

import msgpack

from flight.disk import Data, Disk, FileDisk
from flight.link.pack import STORE_MAGIC

MAGIC = STORE_MAGIC
VERSION = 1
TEMPORARY = ".tmp"
MAX_TOLD = 8  # files that have no business here
_SIDES = (".0", ".1")
_NAME = re.compile(r"[a-z0-9][a-z0-9_-]{0,63}", re.ASCII)
_HEADER = struct.Struct("<4sHHQQI")  # magic, version, reserved, generation, length, CRC-32 of the rest and the payload
_CRC_AT = _HEADER.size - 4
_BLOCK = 1 << 16


class StoreError(OSError):
    """A record that could not be written; the one before it is untouched."""


class StateFormatError(ValueError):
    """A whole record that this software or configuration cannot use: nothing is guessed, nothing is overwritten."""


@dataclass(frozen=True)
class Damage:
    """A generation of a record that could not be read."""

    name: str
    reason: str


def write_atomically(disk: Disk, name: str, data: Data) -> None:
    """Replace a file by `data`: temporary file, sync, rename, sync of the names. StoreError leaves the old file."""
    temporary = name + TEMPORARY
    try:
        disk.write(temporary, data)
        disk.sync(temporary)
        disk.rename(temporary, name)
        disk.sync_names()
    except OSError as error:
        with contextlib.suppress(OSError):
            disk.remove(temporary)
        raise StoreError(error.errno, f"cannot write {name}: {error.strerror}") from error


def _crc(parts: Iterable[bytes | memoryview]) -> int:
    return reduce(lambda crc, part: zlib.crc32(part, crc), parts, 0)


class Store:
    """Named records on a disk, or in a directory. `on_damage` is told of every generation that cannot be read."""

    def __init__(self, where: Disk | Path, on_damage: Callable[[Damage], None] | None = None) -> None:
        self.disk: Disk = FileDisk(where) if isinstance(where, Path) else where
        self.on_damage = on_damage or (lambda damage: None)
        self._generations: dict[str, list[int]] = {}

    def sweep(self, known: Collection[str] = ()) -> None:
        """Remove what a write that was cut short has left; for the one process that writes here.

        `on_damage` is told of what cannot be removed, and of files that are neither records nor among `known`, which
        are left alone; at most MAX_TOLD of them.
        """
        told = 0
        try:
            names = self.disk.names()
        except OSError as error:
            self.on_damage(Damage("directory", f"cannot be listed: {error.strerror}"))
            return
        for name in names:
            reason = "" if name in known or name.endswith(_SIDES) else "not a file of this software"
            if name.endswith(TEMPORARY):
                reason = self._removed(name)
            if reason and (told := told + 1) <= MAX_TOLD:
                self.on_damage(Damage(name, reason))

    def _removed(self, name: str) -> str:
        """Why a file could not be removed; empty if it was."""
        try:
            self.disk.remove(name)
        except OSError as error:
            return f"cannot be removed: {error.strerror}"
        return ""

    def _listed(self) -> list[str]:
        try:
            return self.disk.names()
        except OSError as error:
            raise StoreError(error.errno, f"cannot list records: {error.strerror}") from error

    def put(self, name: str, data: Data, twice: bool = False) -> int:
        """Write `data` as the newest generation of record `name`; its generation number. StoreError if it cannot.

        `twice` puts it into both generations, one after the other: then either of them may be damaged and nothing is
        lost, and nothing older ever comes back.
        """
        if twice:
            self.put(name, data)
        generations = self._known(name)
        side = int(generations[1] < generations[0])
        generation = max(generations) + 1
        parts = [data] if isinstance(data, bytes) else data
        header = _HEADER.pack(MAGIC, VERSION, 0, generation, sum(map(len, parts)), 0)[:_CRC_AT]
        crc = struct.pack("<I", _crc([header, *parts]))
        write_atomically(self.disk, self._file(name, side), [header + crc, *parts])
        generations[side] = generation
        self._generations[name] = generations
        return generation

    def generation(self, name: str) -> int:
        """The generation number of the newest whole generation of record `name`; 0 if there is none."""
        return max(self._known(name))

    def _known(self, name: str) -> list[int]:
        return self._generations.get(name) or [self._look(name, side) for side in (0, 1)]

    def get(self, name: str) -> bytes | None:
        """The newest whole generation of record `name`; None if there is none."""
        return next(self.each(name), None)

    def whole(self, name: str) -> list[bytes]:
        """The whole generations of record `name`, newest first; `on_damage` is told of the others."""
        return list(self.each(name))

    def each(self, name: str, tell: bool = True) -> Iterator[bytes]:
        """As `whole`, one after another, so that memory need only hold one; nobody is told without `tell`."""
        generations = [self._look(name, side, tell) for side in (0, 1)]
        for side in sorted((0, 1), key=lambda side: -generations[side]):
            kept: list[memoryview] = []
            if generations[side] and self._look(name, side, tell, kept):
                yield bytes(kept.pop())

    def check(self, name: str) -> bool:
        """Whether both generations of record `name` are as they were written, or last read; `on_damage` is told if not.

        The next `put` goes where one is not.
        """
        known = self._known(name)
        now = [self._look(name, side, tell=True) for side in (0, 1)]
        self._generations[name] = now
        return now == known and (all(now) or not any(self._exists(name, side) for side in (0, 1) if not now[side]))

    def mend(self, name: str) -> bool:
        """Put a copy of the newest whole generation in place of the other; False if there is none to copy."""
        whole = next(self.each(name, tell=False), None)
        if whole is not None:
            self.put(name, whole)
        return whole is not None

    def _exists(self, name: str, side: int) -> bool:
        return self._file(name, side) in self.disk.names()

    def names(self) -> list[str]:
        """The names of all records."""
        return sorted({name[:-2] for name in self._listed() if name.endswith(_SIDES)})

    def drop_newest(self, name: str) -> bool:
        """Forget the newest whole generation of record `name` if there is another; whether there was."""
        whole = sorted((found, side) for side in (0, 1) if (found := self._look(name, side)))
        if len(whole) < 2:
            return False
        self._generations.pop(name, None)
        try:
            self.disk.remove(self._file(name, whole[-1][1]))
            self.disk.sync_names()
        except OSError as error:
            raise StoreError(error.errno, f"cannot remove {name}: {error.strerror}") from error
        return True

    def delete(self, name: str) -> None:
        """Forget record `name` for good, the older generation first; StoreError if it cannot be removed."""
        generations = self._known(name)
        self._generations.pop(name, None)
        older = int(generations[1] < generations[0])
        try:
            for side in (older, 1 - older):
                self.disk.remove(self._file(name, side))
                self.disk.sync_names()
        except OSError as error:
            raise StoreError(error.errno, f"cannot remove {name}: {error.strerror}") from error

    def _file(self, name: str, side: int) -> str:
        if not _NAME.fullmatch(name):
            raise ValueError(f"record name {name[:80]!r}: at most 64 of a-z 0-9 - _, a letter or digit first")
        return f"{name}.{side}"

    def _look(self, name: str, side: int, tell: bool = False, kept: list[memoryview] | None = None) -> int:
        """The generation number of one side of a record; 0 if it is not there, or not whole. `kept` is given its data.

        What is not kept is read a block at a time.
        """
        file, step = self._file(name, side), _BLOCK if kept is None else None
        try:
            head = self.disk.read(file, 0, step)
            if len(head) < _HEADER.size:
                return self._damaged(tell, file, f"{len(head)} bytes, shorter than a header")
            magic, version, _, generation, length, crc = _HEADER.unpack_from(head)
            if magic != MAGIC or version != VERSION:
                return self._damaged(tell, file, f"not a record of version {VERSION}")
            data = memoryview(head)[_HEADER.size :]
            at, found = len(head), _crc([head[:_CRC_AT], data])
            while step and (block := self.disk.read(file, at, step)):
                at, found = at + len(block), zlib.crc32(block, found)
        except FileNotFoundError:
            return 0
        except OSError as error:
            return self._damaged(tell, file, str(error.strerror))
        if at - _HEADER.size != length or found != crc:
            return self._damaged(tell, file, f"checksum of {at - _HEADER.size} of {length} bytes does not match")
        if kept is not None:
            kept.append(data)
        return int(generation)

    def _damaged(self, tell: bool, name: str, reason: str) -> int:
        if tell:
            self.on_damage(Damage(name, reason))
        return 0


def read_state(data: bytes, name: str, version: int) -> dict[str, Any]:
    """The map in a state record; StateFormatError unless it says that it is of format `version`."""
    try:
        state = msgpack.unpackb(data)
    except (ValueError, msgpack.UnpackException) as error:
        raise StateFormatError(f"{name}: not a state record ({type(error).__name__})") from error
    found = state.get("format") if isinstance(state, dict) else None
    if found != version:
        raise StateFormatError(f"{name}: state of format {found!r}, this version reads {version}")
    return dict(state)
