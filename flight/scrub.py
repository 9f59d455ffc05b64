"""Scrubbing: memory, records on disk and code are compared with their checksums, all of them once a period.

What lies in memory is also compared before each use, so that nothing is learned from, predicted with or written to
disk that has changed by itself. It is then taken anew from the checkpoint, and the recorder sends again what came
after. A record with one damaged generation gets a copy of the other. Damaged summaries of chips are told of: these are
not predicted for other tasks. So is code that has changed on disk, or what else a restart reads: what runs is in
memory. Compiled kernels that have changed in memory end the process, and the next one loads them anew.
"""

from __future__ import annotations

import zlib
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from flight.clock import cpu_s
from flight.encoder_slot import PART
from flight.integrity import MemoryFaultError
from flight.step import NEVER
from flight.store import StoreError
from flight.telemetry import short

if TYPE_CHECKING:
    from flight.executive import Executive

T = TypeVar("T")


class CodeFaultError(RuntimeError):
    """Code in memory has changed by itself: this process computes nothing more with it."""


SLICES = 10  # of a period
MAX_REPAIRS = 3  # within one slice: then the process ends, and another begins
CODE = Path(__file__).parent
_BLOCK_BYTES = 1 << 16
_CODE_FILES = ("*.py", "*.so", "*.toml")


class Scrub:
    """The scrubbing of one flight process, a slice at a time; `spent_cpu_s` is what records and code have taken."""

    def __init__(self, flight: Executive, code: Path = CODE) -> None:
        self.flight = flight
        self.slices = 0
        self.spent_cpu_s = 0.0
        self._due_s = NEVER
        self._code = code_sums(code) | {path: _sum(path) for path in flight.start_files}
        self._kernels = flight.backend.library  # mapped into memory: a read of it reads the pages that run
        self._kernels_sum = _sum(self._kernels) if self._kernels is not None else 0
        self._told: set[Path] = set()
        self._had_room = True
        self._repairs = 0  # since a slice found nothing
        self._diverged: tuple[int, ...] = ()

    def start(self) -> None:
        """Begin a period."""
        self._due_s = self.flight.t + self.flight.config.executive.scrub_s / SLICES

    def due_s(self) -> float:
        """Mission time of the next slice."""
        return self._due_s

    def run(self) -> None:
        """One slice: all of the learner and the labels, a part of region, records, archive and code."""
        self.start()
        self._look_at_kernels()
        if part := self.flight.payload.guard.broken() or self.flight.payload.guard.sweep(SLICES):
            self.repair(part)
        elif self.flight.encoder_slot.damaged():
            self.repair(PART)
        else:
            self._repairs = 0
        started_s = cpu_s()
        self._look_at_records()
        self.flight.payload.summaries.scrub(self.slices % SLICES, SLICES)
        self._look_at_room()
        for path in self._share(list(self._code)):
            self._compare(path)
        self.slices += 1
        self.spent_cpu_s += cpu_s() - started_s

    def _share(self, items: list[T]) -> list[T]:
        return items[self.slices % SLICES :: SLICES]

    def check(self) -> None:
        """Make sure that the payload is in memory as it was left, before it is used."""
        if part := self.flight.payload.guard.broken():
            self.repair(part)

    def repair(self, part: str) -> None:
        """Take the payload anew from the disk, and the encoder from its file: nothing that was in memory is used again.

        MemoryFaultError, to end the process, where that does not help.
        """
        self._repairs += 1
        if self._repairs > MAX_REPAIRS:
            raise MemoryFaultError(part)
        self.flight.encoder_slot.reopen()
        self.flight.renew_payload()
        self.flight.emit("memory-repaired", part=short(part))

    def roll_back(self, part: str) -> None:
        """Training has diverged: go back to the checkpoint, and wait for other chips or labels if it has before."""
        payload = self.flight.payload
        now = (payload.task_id, payload.label_version, payload.progress.chips)
        given_up, self._diverged = now == self._diverged, now
        self.flight.renew_payload()
        self.flight.payload.held = given_up
        self.flight.emit("training-rolled-back", part=short(part), then="wait" if given_up else "again")

    def _look_at_records(self) -> None:
        """Make two whole generations of one, where one is damaged."""
        try:
            for name in self._share(self.flight.store.names()):
                if self.flight.store.check(name):
                    continue
                if self.flight.rewrite(name) or self.flight.store.mend(name):
                    self.flight.emit("record-repaired", record=short(name))
        except StoreError as error:
            self.flight.emit("write-failed", reason=short(error.strerror))

    def _look_at_room(self) -> None:
        """Tell, once, that chips wait for room on the disk."""
        has_room = self.flight.payload.has_room
        if self._had_room and not has_room:
            limit = self.flight.config.executive.reserve_bytes
            self.flight.emit("cap-reached", cap="storage", reason=f"less than {limit >> 20} MiB are free: chips wait")
        self._had_room = has_room

    def _look_at_kernels(self) -> None:
        """CodeFaultError, and an event before it, if compiled kernels are not as they were loaded."""
        if self._kernels is not None and _sum(self._kernels) != self._kernels_sum:
            self.flight.emit("code-damaged", file="kernels in memory")
            raise CodeFaultError("compiled kernels have changed in memory")

    def _compare(self, path: Path) -> None:
        if path not in self._told and _sum(path) != self._code[path]:
            self._told.add(path)
            self.flight.emit("code-damaged", file=short(path.name))


@cache
def code_sums(code: Path) -> dict[Path, int]:
    """CRC-32 of each file of code in a directory, as they were when the process first asked."""
    return {path: _sum(path) for pattern in _CODE_FILES for path in sorted(code.rglob(pattern))}


def _sum(path: Path) -> int:
    """CRC-32 of a file, a block at a time; -1 if it cannot be read."""
    found = 0
    try:
        with path.open("rb") as file:
            while block := file.read(_BLOCK_BYTES):
                found = zlib.crc32(block, found)
    except OSError:
        return -1
    return found
