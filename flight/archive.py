"""Summaries of past chips on disk: an append-only file of records of one size, each with its own checksum."""

from __future__ import annotations

import contextlib
import struct
import zlib

from flight.disk import Disk
from flight.store import StoreError


class Archive:
    """An append-only file of fixed-size records, each with its own CRC-32; it is read a part at a time.

    What was appended waits in memory until `write`, and counts only after `sync`; the caller says how many records its
    checkpoint vouches for, and whatever else the file holds is cut off by the first write. Records are refused and
    counted when `capacity` is reached.
    """

    def __init__(self, disk: Disk, name: str, record_bytes: int, capacity: int, n_records: int) -> None:
        self.disk, self.name = disk, name
        self.record_bytes = record_bytes
        self.capacity = capacity
        self.refused = 0
        self._stride = record_bytes + 4
        self._pending: list[bytes] = []
        whole = self._size() // self._stride
        self._written = min(n_records, whole)
        self.missing = n_records - self._written
        self._new = not n_records  # its name may not be on the disk yet

    def _size(self) -> int:
        try:
            return self.disk.size(self.name)
        except OSError:
            return 0

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
            at = self._written * self._stride  # over what an earlier write may have left half done
            self.disk.write(self.name, b"".join(self._pending), at)
            if sync:
                self.disk.sync(self.name)
                if self._new:
                    self.disk.sync_names()
                    self._new = False
        except OSError as error:
            raise StoreError(error.errno, f"cannot write {self.name}: {error.strerror}") from error
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
        with contextlib.suppress(OSError):
            raw = self.disk.read(self.name, start * self._stride, count * self._stride)
        return [raw[i * self._stride : (i + 1) * self._stride] for i in range(count)]

    def _checked(self, raw: bytes) -> bytes | None:
        record, crc = raw[:-4], raw[-4:]
        return record if len(raw) == self._stride and struct.unpack("<I", crc)[0] == zlib.crc32(record) else None
