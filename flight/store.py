"""What survives on board: named records, each in two generations, and an append-only archive. Atomic and checksummed.

A record is written beside the older of its two generations, synced, renamed over it, and the directory is synced; so at
every instant at least one whole generation is readable. Reading takes the newest that is whole, and tells of every
other one that was not.
"""

from __future__ import annotations

import contextlib
import os
import struct
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from flight.link.pack import STORE_MAGIC

MAGIC = STORE_MAGIC
VERSION = 1
_HEADER = struct.Struct("<4sHHQQI")  # magic, version, reserved, generation, length, CRC-32 of the rest and the payload
_CRC_AT = _HEADER.size - 4


class StoreError(OSError):
    """A record that could not be written; the one before it is untouched."""


class StateFormatError(ValueError):
    """A whole record that this software or configuration cannot use: nothing is guessed, nothing is overwritten."""


@dataclass(frozen=True)
class Damage:
    """A generation of a record that could not be read."""

    name: str
    reason: str


def write_atomically(path: Path, data: bytes) -> None:
    """Replace `path` by `data`: temporary file, sync, rename, sync of the directory. StoreError leaves the old file."""
    temporary = path.with_name(path.name + ".tmp")
    try:
        with temporary.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
        _sync_directory(path.parent)
    except OSError as error:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)
        raise StoreError(error.errno, f"cannot write {path}: {error.strerror}") from error


def _crc(header: bytes, data: bytes) -> int:
    return zlib.crc32(data, zlib.crc32(header))


def _sync_directory(directory: Path) -> None:
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


class Store:
    """Named records in `directory`. `on_damage` is told of every generation that cannot be read."""

    def __init__(self, directory: Path, on_damage: Callable[[Damage], None] | None = None) -> None:
        self.directory = directory
        self.on_damage = on_damage or (lambda damage: None)
        self._generations: dict[str, list[int]] = {}
        directory.mkdir(parents=True, exist_ok=True)

    def sweep(self) -> None:
        """Remove what a write that was cut short has left; for the one process that writes here."""
        for leftover in self.directory.glob("*.tmp"):
            leftover.unlink()

    def put(self, name: str, data: bytes) -> int:
        """Write `data` as the newest generation of record `name`; its generation number. StoreError if it cannot."""
        generations = self._known(name)
        side = int(generations[1] < generations[0])
        generation = max(generations) + 1
        header = _HEADER.pack(MAGIC, VERSION, 0, generation, len(data), 0)[:_CRC_AT]
        crc = struct.pack("<I", _crc(header, data))
        write_atomically(self._path(name, side), header + crc + data)
        generations[side] = generation
        self._generations[name] = generations
        return generation

    def generation(self, name: str) -> int:
        """The generation number of the newest whole generation of record `name`; 0 if there is none."""
        return max(self._known(name))

    def _known(self, name: str) -> list[int]:
        return self._generations.get(name) or [found[0] if (found := self._read(name, side)) else 0 for side in (0, 1)]

    def get(self, name: str) -> bytes | None:
        """The newest whole generation of record `name`; None if there is none."""
        found = [whole for side in (0, 1) if (whole := self._read(name, side, tell=True))]
        return max(found)[1] if found else None

    def names(self) -> list[str]:
        """The names of all records."""
        return sorted({path.stem for path in self.directory.glob("*.[01]")})

    def drop_newest(self, name: str) -> bool:
        """Forget the newest whole generation of record `name` if there is another; whether there was."""
        whole = sorted((found[0], side) for side in (0, 1) if (found := self._read(name, side)))
        if len(whole) < 2:
            return False
        self._generations.pop(name, None)
        self._path(name, whole[-1][1]).unlink()
        _sync_directory(self.directory)
        return True

    def delete(self, name: str) -> None:
        """Forget record `name`."""
        self._generations.pop(name, None)
        for side in (0, 1):
            self._path(name, side).unlink(missing_ok=True)

    def _path(self, name: str, side: int) -> Path:
        if not name.replace("-", "").replace("_", "").isalnum():
            raise ValueError(f"record name {name!r}: letters, digits, - and _ only")
        return self.directory / f"{name}.{side}"

    def _read(self, name: str, side: int, tell: bool = False) -> tuple[int, bytes] | None:
        path = self._path(name, side)
        try:
            with path.open("rb") as file:
                size = os.fstat(file.fileno()).st_size
                header, data = file.read(_HEADER.size), file.read(max(0, size - _HEADER.size))
        except FileNotFoundError:
            return None
        except OSError as error:
            return self._damaged(tell, f"{name}.{side}", str(error.strerror))
        if len(header) < _HEADER.size:
            return self._damaged(tell, f"{name}.{side}", f"{len(header)} bytes, shorter than a header")
        magic, version, _, generation, length, crc = _HEADER.unpack(header)
        if magic != MAGIC or version != VERSION:
            return self._damaged(tell, f"{name}.{side}", f"not a record of version {VERSION}")
        if len(data) != length or _crc(header[:_CRC_AT], data) != crc:
            return self._damaged(tell, f"{name}.{side}", f"checksum of {len(data)} of {length} bytes does not match")
        return generation, data

    def _damaged(self, tell: bool, name: str, reason: str) -> tuple[int, bytes] | None:
        if tell:
            self.on_damage(Damage(name, reason))
        return None


class Archive:
    """An append-only file of fixed-size records, each with its own CRC-32; it is open only while it is used.

    What was appended waits in memory until `write`, and counts only after `sync`; the caller says how many records its
    checkpoint vouches for, and whatever else the file holds is cut off by the first write. Records are refused and
    counted when `capacity` is reached.
    """

    def __init__(self, path: Path, record_bytes: int, capacity: int, n_records: int) -> None:
        self.path = path
        self.record_bytes = record_bytes
        self.capacity = capacity
        self.refused = 0
        self._stride = record_bytes + 4
        self._pending: list[bytes] = []
        whole = path.stat().st_size // self._stride if path.exists() else 0
        self._written = min(n_records, whole)
        self.missing = n_records - self._written

    @property
    def n_records(self) -> int:
        """Records appended, written or not."""
        return self._written + len(self._pending)

    def append(self, record: bytes) -> bool:
        """Add a record; False if the archive is full."""
        if len(record) != self.record_bytes:
            raise ValueError(f"archive record has {len(record)} bytes, expected {self.record_bytes}")
        if self.n_records >= self.capacity:
            self.refused += 1
            return False
        self._pending.append(record + struct.pack("<I", zlib.crc32(record)))
        return True

    def write(self) -> None:
        """Hand what was appended to the operating system; StoreError if that fails, and it waits in memory."""
        self._write(sync=False)

    def sync(self) -> None:
        """Bring everything that was appended to the disk; StoreError if that fails."""
        self._write(sync=True)

    def _write(self, sync: bool) -> None:
        try:
            with self.path.open("r+b" if self.path.exists() else "w+b") as file:
                file.seek(self._written * self._stride)  # over what an earlier write may have left half done
                file.write(b"".join(self._pending))
                file.truncate()
                if sync:
                    os.fsync(file.fileno())
        except OSError as error:
            raise StoreError(error.errno, f"cannot write {self.path}: {error.strerror}") from error
        self._written += len(self._pending)
        self._pending.clear()

    def read(self, start: int, stop: int) -> list[bytes | None]:
        """Records start..stop-1; None in place of one that cannot be read, or whose checksum does not match."""
        stop = min(stop, self.n_records)
        n_written = max(0, min(stop, self._written) - start)
        records = self._read(start, n_written)
        records += self._pending[max(0, start - self._written) : max(0, stop - self._written)]
        return [self._checked(record) for record in records]

    def _read(self, start: int, count: int) -> list[bytes]:
        raw = b""
        with contextlib.suppress(OSError), self.path.open("rb") as file:
            file.seek(start * self._stride)
            raw = file.read(count * self._stride)
        return [raw[i * self._stride : (i + 1) * self._stride] for i in range(count)]

    def _checked(self, raw: bytes) -> bytes | None:
        record, crc = raw[:-4], raw[-4:]
        return record if len(raw) == self._stride and struct.unpack("<I", crc)[0] == zlib.crc32(record) else None
