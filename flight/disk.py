"""The disk as the flight core sees it: one flat directory of files, by name, and the steps that make a write safe.

Everything that flight keeps goes through a `Disk`. What was written is only sure to be there after a power cut once it
was synced; a file that was made, renamed or removed, once the directory was. `FileDisk` is the one that flies; the
simulator has another, on which power can go at any of these steps.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Protocol, TypeAlias

Data: TypeAlias = bytes | Sequence[bytes | memoryview]  # bytes, or parts that follow one another


class Disk(Protocol):
    """A directory of files. Every method may raise OSError; FileNotFoundError where a file must exist and does not."""

    def names(self) -> list[str]:
        """The names of all files, sorted."""
        ...

    def size(self, name: str) -> int:
        """Bytes in a file."""
        ...

    def read(self, name: str, at: int = 0, count: int | None = None) -> bytes:
        """Up to `count` bytes of a file from byte `at` on; all of them without `count`."""
        ...

    def write(self, name: str, data: Data, at: int = 0) -> None:
        """Let a file end with `data` from byte `at` on: made if it is not there, cut off behind; not synced.

        After an OSError it may hold a part of `data`.
        """
        ...

    def sync(self, name: str) -> None:
        """Bring what was written to a file to the disk."""
        ...

    def rename(self, old: str, new: str) -> None:
        """Give a file another name, in place of the file that had it: either has happened, or nothing."""
        ...

    def remove(self, name: str) -> None:
        """Remove a file, if it is there."""
        ...

    def sync_names(self) -> None:
        """Bring names that were made, changed or removed to the disk."""
        ...

    def free_bytes(self) -> int:
        """Bytes that can still be written."""
        ...


class FileDisk:
    """The files in `directory`, which is made if it is not there; sub-directories and other things are not seen."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        directory.mkdir(parents=True, exist_ok=True)

    def names(self) -> list[str]:
        """The names of all files, sorted."""
        with os.scandir(self.directory) as entries:
            return sorted(entry.name for entry in entries if entry.is_file(follow_symlinks=False))

    def size(self, name: str) -> int:
        """Bytes in a file."""
        return self._path(name).stat().st_size

    def read(self, name: str, at: int = 0, count: int | None = None) -> bytes:
        """Up to `count` bytes of a file from byte `at` on; of one that grows meanwhile, what it had at first."""
        with self._path(name).open("rb") as file:
            left = max(0, os.fstat(file.fileno()).st_size - at)
            file.seek(at)
            return file.read(left if count is None else min(count, left))

    def write(self, name: str, data: Data, at: int = 0) -> None:
        """Let a file end with `data` from byte `at` on."""
        descriptor = os.open(self._path(name), os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        with os.fdopen(descriptor, "wb") as file:
            file.seek(at)
            file.writelines([data] if isinstance(data, bytes) else data)
            file.truncate()

    def sync(self, name: str) -> None:
        """Bring what was written to a file to the disk."""
        _sync(self._path(name), os.O_RDONLY)

    def rename(self, old: str, new: str) -> None:
        """Give a file another name, in place of the file that had it."""
        self._path(old).replace(self._path(new))

    def remove(self, name: str) -> None:
        """Remove a file, if it is there."""
        with suppress(FileNotFoundError):
            self._path(name).unlink()

    def sync_names(self) -> None:
        """Bring names that were made, changed or removed to the disk."""
        _sync(self.directory, os.O_RDONLY | os.O_DIRECTORY)

    def free_bytes(self) -> int:
        """Bytes that a process without privileges can still write."""
        found = os.statvfs(self.directory)
        return found.f_bavail * found.f_frsize

    def _path(self, name: str) -> Path:
        if not name or name in (".", "..") or "/" in name or "\0" in name:
            raise ValueError(f"file name {name!r}: only names within {self.directory}, without a path")
        return self.directory / name


def _sync(path: Path, flags: int) -> None:
    descriptor = os.open(path, flags | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
