"""Summaries of the chips that were seen, with their cells, in the archive on disk: later tasks are predicted so."""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator
from contextlib import suppress

import numpy as np
from numpy.typing import NDArray

from flight.archive import Archive
from flight.disk import Disk
from flight.telemetry import Emit

ARCHIVE = "archive.bin"
_CELL = struct.Struct("<I")
_AT_ONCE = 32  # summaries

Predict = Callable[[NDArray[np.uint8]], NDArray[np.float32]]


class Summaries:
    """The summaries of one payload on `disk`, in at most `capacity_bytes`; `emit` tells what is full or damaged."""

    def __init__(self, disk: Disk, capacity_bytes: int, emit: Emit) -> None:
        self.disk, self.capacity_bytes, self.emit = disk, capacity_bytes, emit
        self._archive: Archive | None = None
        self._damaged: set[int] = set()  # records, of those that were told of

    def __len__(self) -> int:
        return 0 if self._archive is None else self._archive.n_records

    def append(self, cells: NDArray[np.int64], summaries: NDArray[np.uint8]) -> None:
        """Add the summaries (n, s) of chips on `cells`; StoreError if they could not be written, and wait in memory."""
        archive = self._archive = self._archive or self._open(summaries.shape[1], 0)
        refused = archive.refused
        for cell, summary in zip(cells, summaries, strict=True):
            archive.append(_CELL.pack(cell) + summary.tobytes())
        if archive.refused and not refused:
            self.emit("archive-full", chips=archive.n_records)
        archive.write()

    def predicted(self, start: int, end: int, predict: Predict) -> tuple[NDArray[np.int32], NDArray[np.float32]] | None:
        """Cells in ascending order, each once, and what `predict` makes of their summaries, of chips `start` to `end`.

        None if none of them is whole; an event tells of those that cannot be read. Of two looks at a cell, the later
        one counts. `predict` is given a few summaries (n, s) at a time: all of them would take as much memory as
        training.
        """
        found = []
        for whole in self._whole(start, end):
            if whole:
                table = np.frombuffer(b"".join(whole), np.uint8).reshape(len(whole), -1)
                cells = np.ascontiguousarray(table[:, : _CELL.size]).view("<u4")[:, 0].astype(np.int32)
                found.append((cells, predict(np.ascontiguousarray(table[:, _CELL.size :]))))
        if not found:
            return None
        cells, proportions = (np.concatenate(parts) for parts in zip(*found, strict=True))
        _, latest = np.unique(cells[::-1], return_index=True)
        latest = len(cells) - 1 - latest
        return cells[latest], proportions[latest]

    def scrub(self, part: int, parts: int) -> None:
        """Read one of so many parts of the archive; an event tells, once, of chips whose summaries are damaged."""
        bounds = [len(self) * i // parts for i in (part, part + 1)]
        for _ in self._whole(*bounds):
            pass

    def _whole(self, start: int, end: int) -> Iterator[list[bytes]]:
        """The records of chips `start` to `end` that can be read, a few at a time."""
        known = len(self._damaged)
        for at in range(start, min(end, len(self)), _AT_ONCE):
            records = self._archive.read(at, min(at + _AT_ONCE, end)) if self._archive is not None else []
            self._damaged |= {at + i for i, record in enumerate(records) if record is None}
            yield [record for record in records if record is not None]
        if len(self._damaged) > known:
            self.emit("archive-damaged", chips=len(self._damaged) - known)

    def sync(self) -> None:
        """Bring everything that was added to the disk; StoreError if that fails."""
        if self._archive is not None:
            self._archive.sync()

    def forget(self) -> None:
        """Begin anew."""
        self._archive, self._damaged = None, set()
        with suppress(OSError):  # one that stays is written over
            self.disk.remove(ARCHIVE)

    def state(self) -> list[int] | None:
        """What a checkpoint has to know to vouch for what is on the disk."""
        return None if self._archive is None else [self._archive.record_bytes, self._archive.n_records]

    def restore(self, state: list[int] | None) -> None:
        """Go on with what a checkpoint vouches for; an event tells of what is missing of it."""
        if state is None:
            return
        record_bytes, n_records = state
        self._archive = self._open(record_bytes - _CELL.size, n_records)
        if self._archive.missing:
            self.emit("archive-damaged", chips=self._archive.missing)

    def _open(self, summary_bytes: int, n_records: int) -> Archive:
        record_bytes = _CELL.size + summary_bytes
        return Archive(self.disk, ARCHIVE, record_bytes, self.capacity_bytes // (record_bytes + 4), n_records)
