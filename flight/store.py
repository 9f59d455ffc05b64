"""What survives on board: named records, each in two generations, and an append-only archive. Atomic and checksummed.

A record is written beside the older of its two generations, synced, renamed over it, and the directory is synced; so at
every instant at least one whole generation is readable. Reading takes the newest that is whole, and tells of every
other one that was not.
"""

from __future__ import annotations

import os
import struct
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

MAGIC = b"SWST"
VERSION = 1
_HEADER = struct.Struct("<4sHHQQI")  # magic, version, reserved, generation, length, CRC-32 of the payload
MAX_RECORD_BYTES = 1 << 30


class StoreError(OSError):
    """A record that could not be written; the one before it is untouched."""


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
        temporary.unlink(missing_ok=True)
        raise StoreError(error.errno, f"cannot write {path}: {error.strerror}") from error


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
        for leftover in directory.glob("*.tmp"):
            leftover.unlink()

    def put(self, name: str, data: bytes) -> int:
        """Write `data` as the newest generation of record `name`; its generation number. StoreError if it cannot."""
        generations = self._generations.get(name) or [
            found[0] if (found := self._read(name, side)) else 0 for side in (0, 1)
        ]
        side = int(generations[1] < generations[0])
        generation = max(generations) + 1
        header = _HEADER.pack(MAGIC, VERSION, 0, generation, len(data), zlib.crc32(data))
        write_atomically(self._path(name, side), header + data)
        generations[side] = generation
        self._generations[name] = generations
        return generation

    def get(self, name: str) -> bytes | None:
        """The newest whole generation of record `name`; None if there is none."""
        found = [whole for side in (0, 1) if (whole := self._read(name, side, tell=True))]
        return max(found)[1] if found else None

    def names(self) -> list[str]:
        """The names of all records."""
        return sorted({path.stem for path in self.directory.glob("*.[01]")})

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
                header = file.read(_HEADER.size)
                data = file.read(MAX_RECORD_BYTES)
        except FileNotFoundError:
            return None
        except OSError as error:
            return self._damaged(tell, f"{name}.{side}", str(error.strerror))
        if len(header) < _HEADER.size:
            return self._damaged(tell, f"{name}.{side}", f"{len(header)} bytes, shorter than a header")
        magic, version, _, generation, length, crc = _HEADER.unpack(header)
        if magic != MAGIC or version != VERSION:
            return self._damaged(tell, f"{name}.{side}", f"not a record of version {VERSION}")
        if len(data) != length or zlib.crc32(data) != crc:
            return self._damaged(tell, f"{name}.{side}", f"checksum of {len(data)} of {length} bytes does not match")
        return generation, data

    def _damaged(self, tell: bool, name: str, reason: str) -> tuple[int, bytes] | None:
        if tell:
            self.on_damage(Damage(name, reason))
        return None


class Archive:
    """An append-only file of fixed-size records, each with its own CRC-32.

    What was appended counts only after `sync`; on opening, the caller says how many records its checkpoint vouches for,
    and the rest is cut off. When `capacity` is reached further records are refused and counted.
    """

    def __init__(self, path: Path, record_bytes: int, capacity: int, n_records: int) -> None:
        self.record_bytes = record_bytes
        self.capacity = capacity
        self.refused = 0
        self._stride = record_bytes + 4
        self._file = path.open("r+b" if path.exists() else "w+b")
        whole = os.fstat(self._file.fileno()).st_size // self._stride
        self.n_records = min(n_records, whole)
        self.missing = n_records - self.n_records
        self._file.truncate(self.n_records * self._stride)
        self._file.seek(0, os.SEEK_END)

    def append(self, record: bytes) -> bool:
        """Add a record; False if the archive is full."""
        if len(record) != self.record_bytes:
            raise ValueError(f"archive record has {len(record)} bytes, expected {self.record_bytes}")
        if self.n_records >= self.capacity:
            self.refused += 1
            return False
        self._file.write(record + struct.pack("<I", zlib.crc32(record)))
        self.n_records += 1
        return True

    def sync(self) -> None:
        """Bring everything that was appended to the disk."""
        try:
            self._file.flush()
            os.fsync(self._file.fileno())
        except OSError as error:
            raise StoreError(error.errno, f"cannot write the archive: {error.strerror}") from error

    def read(self, start: int, stop: int) -> list[bytes | None]:
        """Records start..stop-1; None in place of one whose checksum does not match."""
        self._file.flush()
        self._file.seek(start * self._stride)
        raw = self._file.read((min(stop, self.n_records) - start) * self._stride)
        self._file.seek(0, os.SEEK_END)
        return [self._checked(raw[i : i + self._stride]) for i in range(0, len(raw), self._stride)]

    def _checked(self, raw: bytes) -> bytes | None:
        record, crc = raw[:-4], raw[-4:]
        return record if struct.unpack("<I", crc)[0] == zlib.crc32(record) else None

    def close(self) -> None:
        """Close the file."""
        self._file.close()
