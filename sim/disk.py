"""A disk in memory that fails as disks do: power cuts, full, read-only, slow, flipped bits, death at any write.

It keeps what a process sees apart from what is safe. A power cut takes the unsafe part away: of writes that were not
synced each may have reached the disk whole, in part (cut at any byte, some sectors old) or not at all, in any order; of
names that were not synced, any may be as before. What remains depends on the seed alone. `kill` ends a process instead,
and loses nothing that it has written.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np

from flight.disk import Data

SECTOR_BYTES = 512
DEFAULT_CAPACITY_BYTES = 1 << 30


class DiskDeath(BaseException):
    """The process that was writing is dead: nothing after this is executed, nothing is cleaned up."""


@dataclass
class _File:
    """Content as a process sees it, as it is safe, and the writes (bytes, from) between the two."""

    data: bytes = b""
    safe: bytes = b""
    unsafe: list[tuple[bytes, int]] = field(default_factory=list)


Names = dict[str, _File]
_NameChange = Callable[[Names], None]


class SimDisk:
    """A `flight.disk.Disk` in memory; `seed` decides what a power cut leaves.

    Attributes:
        capacity_bytes: room; a write beyond it is done in part, and ENOSPC. May be changed at any time.
        read_only: every change is refused, EROFS.
        slow_s: every step takes so long [s]; the sum is in `waited_s`, and `wait` is called with each.
        steps: changes so far; `bytes_written` in all of them.
        die_at: the number of the change (from 1) at which the process dies: of a write a part is done, of others
            nothing. Every use after it is refused with DiskDeath, until `kill` or `cut_power`.
        fail_at: by the number of a change, the errno with which it fails; nothing of it is done.
    """

    def __init__(self, seed: int = 0, capacity_bytes: int = DEFAULT_CAPACITY_BYTES) -> None:
        self.capacity_bytes = capacity_bytes
        self.read_only = False
        self.slow_s = self.waited_s = 0.0
        self.wait: Callable[[float], None] = lambda seconds: None
        self.steps = self.bytes_written = 0
        self.die_at: int | None = None
        self.fail_at: dict[int, int] = {}
        self._chance = np.random.default_rng([seed, 0x6469736B])
        self._names: Names = {}
        self._safe_names: Names = {}
        self._unsafe_names: list[_NameChange] = []
        self._dead = False

    # What a process does: see flight.disk.Disk.

    def names(self) -> list[str]:
        """The names of all files, sorted."""
        self._take_time()
        return sorted(self._names)

    def size(self, name: str) -> int:
        """Bytes in a file."""
        self._take_time()
        return len(self._file(name).data)

    def read(self, name: str, at: int = 0, count: int | None = None) -> bytes:
        """Up to `count` bytes of a file from byte `at` on."""
        self._take_time()
        return self._file(name).data[at : None if count is None else at + count]

    def write(self, name: str, data: Data, at: int = 0) -> None:
        """Let a file end with `data` from byte `at` on; not synced."""
        data = data if isinstance(data, bytes) else b"".join(data)
        dies = self._step()
        grown = at + len(data) - (len(self._names[name].data) if name in self._names else 0)
        room = self.free_bytes()
        done = data[: int(self._chance.integers(len(data) + 1))] if dies else data
        if grown > room:
            done = done[: max(0, len(data) - (grown - room))]
        self._write(name, done, at)
        if dies:
            raise DiskDeath
        if len(done) < len(data):
            raise _error(errno.ENOSPC, name)

    def _write(self, name: str, data: bytes, at: int) -> None:
        if name not in self._names:
            made = _File()
            self._change_names(lambda names: names.__setitem__(name, made))
        file = self._names[name]
        file.data = _written(file.data, data, at)
        file.unsafe.append((data, at))
        self.bytes_written += len(data)

    def sync(self, name: str) -> None:
        """Bring what was written to a file to the disk."""
        self._step_or_die()
        file = self._file(name)
        file.safe, file.unsafe = file.data, []

    def rename(self, old: str, new: str) -> None:
        """Give a file another name, in place of the file that had it."""
        self._step_or_die()
        file = self._file(old)

        def change(names: Names) -> None:
            if names.get(old) is file:
                del names[old]
            names[new] = file

        self._change_names(change)

    def remove(self, name: str) -> None:
        """Remove a file, if it is there."""
        self._step_or_die()
        if name in self._names:

            def change(names: Names) -> None:
                names.pop(name, None)

            self._change_names(change)

    def sync_names(self) -> None:
        """Bring names that were made, changed or removed to the disk."""
        self._step_or_die()
        self._safe_names, self._unsafe_names = dict(self._names), []

    def free_bytes(self) -> int:
        """Bytes that can still be written."""
        return max(0, self.capacity_bytes - sum(len(file.data) for file in self._names.values()))

    def _file(self, name: str) -> _File:
        if name not in self._names:
            raise _error(errno.ENOENT, name)
        return self._names[name]

    def _change_names(self, change: _NameChange) -> None:
        change(self._names)
        self._unsafe_names.append(change)

    def _take_time(self) -> None:
        if self._dead:
            raise DiskDeath
        if self.slow_s:
            self.waited_s += self.slow_s
            self.wait(self.slow_s)

    def _step(self) -> bool:
        """Count a change; whether the process dies in it."""
        self._take_time()
        self.steps += 1
        self._dead = self.steps == self.die_at
        failure = errno.EROFS if self.read_only else self.fail_at.get(self.steps)
        if failure is not None and not self._dead:
            raise _error(failure, "disk")
        return self._dead

    def _step_or_die(self) -> None:
        if self._step():
            raise DiskDeath

    # What happens to the disk.

    def kill(self) -> None:
        """The process is dead, as by SIGKILL, and another one may begin: everything that it had written is there."""
        self._dead, self.die_at = False, None

    def cut_power(self) -> None:
        """Power goes and comes back: what was not synced may be lost, in part or whole; another process may begin."""
        self.kill()
        for change in self._unsafe_names:
            if self._chance.random() < 0.5:
                change(self._safe_names)
        for file in self._safe_names.values():
            file.data = file.safe = self._survived(file)
            file.unsafe = []
        self._names, self._unsafe_names = dict(self._safe_names), []

    def _survived(self, file: _File) -> bytes:
        content = file.safe
        for data, at in file.unsafe:
            how = self._chance.integers(3)
            if how == 1:
                content = _written(content, data, at)
            elif how == 2:
                content = self._torn(content, data, at)
        return content

    def _torn(self, old: bytes, data: bytes, at: int) -> bytes:
        """A write that was cut at any byte, and of which some sectors have not arrived."""
        part = data[: int(self._chance.integers(len(data) + 1))]
        new = bytearray(_written(old, part, at))
        if self._chance.random() < 0.5:
            new += old[len(new) :]  # the file was not cut off yet
        was = old.ljust(len(new), b"\0")
        for start in range(at - at % SECTOR_BYTES, at + len(part), SECTOR_BYTES):
            if self._chance.random() < 0.25:
                new[start : start + SECTOR_BYTES] = was[start : start + SECTOR_BYTES][: len(new) - start]
        return bytes(new)

    def flip(self, name: str, bit: int) -> None:
        """A bit of a file on the disk is another; `bit` counts from the first byte's lowest."""
        file = self._file(name)
        for content in ("data", "safe"):
            flipped = bytearray(getattr(file, content))
            if bit // 8 < len(flipped):
                flipped[bit // 8] ^= 1 << bit % 8
            setattr(file, content, bytes(flipped))

    def place(self, name: str, data: bytes) -> None:
        """Put a file there from outside, safe at once."""
        self._names[name] = self._safe_names[name] = _File(data, data)

    def lose(self, name: str) -> None:
        """A file is no longer there."""
        self._names.pop(name, None)
        self._safe_names.pop(name, None)


def _written(old: bytes, data: bytes, at: int) -> bytes:
    return old[:at].ljust(at, b"\0") + data


def _error(number: int, name: str) -> OSError:
    return OSError(number, os.strerror(number), name)
