"""The sending side of file transfers: many at once, by priority and in turn, until the receiver says how each ended.

A transfer sends its metadata, its segments, and metadata that asks for a report. A report says which segments are
missing; those that were in a frame older than the newest that the receiver has heard were lost, and go again, while
the others may still be on their way. An unanswered question is repeated after `retry_s` in view, and at the beginning
of a pass. After a restart the sender asks first, because the receiver may have more than the saved state knows of.
"""

from __future__ import annotations

import heapq
from array import array
from dataclasses import dataclass, field
from typing import Any

from flight.config import LinkConfig
from flight.link import state
from flight.link.contact import NEVER, NOW, TOLERANCE_S
from flight.link.errors import LinkError, LinkFullError, RejectedError, StateError
from flight.link.events import FileDelivered, FileFailed, LinkEvent, Progress
from flight.link.packet import FileKind
from flight.link.pdu import SEGMENT_HEADER_BYTES, Metadata, Report, Segment
from flight.link.schema import MAX_NUMBER
from flight.link.security import expand
from flight.link.transfer import File, Status

MAX_QUEUED_FILES = 1024
# Frames may arrive out of order: what was in the last few before the newest one heard is not taken for lost yet.
REORDER_FRAMES = 3


@dataclass(frozen=True, slots=True)
class Unit:
    """What goes into a packet: `resent` for a segment that was sent before, `begins` where the receiver hears of it."""

    kind: FileKind
    body: bytes
    resent: bool
    begins: bool


@dataclass
class Outgoing:
    """One file being sent. `todo` marks the segments to send; `sent` holds the counter of the last frame of each."""

    transfer_id: int
    file: File
    priority: int
    metadata: Metadata
    todo: bytearray
    announced: bool = False
    unsure: bool = False
    ask_at: float = NEVER
    quiet_until: float = NOW
    turn: int = 0
    sent: array[int] = field(default_factory=lambda: array("q"))

    def __post_init__(self) -> None:
        self.sent = array("q", [-1]) * len(self.todo)

    @property
    def next_index(self) -> int:
        """The first segment to send, -1 if none."""
        return self.todo.find(1)

    def due(self) -> float:
        """Seconds in view at which there is something to send."""
        return max(self.quiet_until, NOW if not self.announced or self.next_index >= 0 else self.ask_at)

    def take(self, room: int, view_s: float, counter: int, retry_s: float) -> tuple[bytes, bool] | None:
        """The next unit if it takes at most `room` bytes, and whether it is a segment sent before."""
        index = self.next_index
        asks = self.ask_at <= view_s + TOLERANCE_S
        if not self.announced or asks or index < 0:
            return self._ask(room, view_s, asks or index < 0, retry_s)
        width = self.metadata.segment_bytes
        data = self.file.data[index * width : (index + 1) * width]
        if SEGMENT_HEADER_BYTES + len(data) > room:
            return None
        resent = self.sent[index] >= 0
        self.todo[index] = 0
        self.sent[index] = counter
        if self.next_index < 0:
            self.ask_at = NOW
        return Segment(self.transfer_id, index, data).pack(), resent

    def _ask(self, room: int, view_s: float, asks: bool, retry_s: float) -> tuple[bytes, bool] | None:
        meta = self.metadata
        body = Metadata(meta.transfer_id, meta.size, meta.segment_bytes, meta.digest, meta.name, asks).pack()
        if len(body) > room:
            return None
        self.announced = True
        if asks:
            self.ask_at = NEVER if self.next_index >= 0 else view_s + retry_s
            if self.unsure:
                self.quiet_until = view_s + retry_s
                self.unsure = False
        return body, False

    def resume(self) -> None:
        """A pass begins."""
        self.quiet_until = NOW
        if self.announced:
            self.ask_at = NOW

    def hear(self, report: Report, view_s: float, counter: int, retry_s: float) -> None:
        """Take note of a report that is not final; `counter` is that of the next frame."""
        if report.status is Status.BUSY:
            self.quiet_until = view_s + retry_s
            self.announced = False
            self.todo = bytearray(b"\x01") * len(self.todo)
            return
        if report.covered > len(self.todo):
            raise RejectedError("bad_pdu", f"report covers {report.covered} segments of {len(self.todo)}")
        lost_up_to = expand(report.heard, counter) - (0 if report.asked else REORDER_FRAMES)
        todo = bytearray(report.covered)
        for first, count in report.missing:
            for index in range(first, first + count):
                todo[index] = self.todo[index] or self.sent[index] <= lost_up_to
        self.todo[: report.covered] = todo
        self.quiet_until = NOW
        self.unsure = False
        self.announced = self.announced and not report.lacks_metadata
        self.ask_at = NEVER if self.next_index >= 0 else min(self.ask_at, view_s + retry_s)


class Sender:
    """All files of one end that are to be sent, are being sent, or wait for the receiver's last word."""

    def __init__(self, config: LinkConfig, segment_bytes: int, first_id: int = 0) -> None:
        self._config = config
        self._segment_bytes = segment_bytes
        self._last_id = first_id
        self._queued: list[tuple[int, int, Outgoing]] = []
        self._open: dict[int, Outgoing] = {}
        self._bytes = 0
        self._turn = 0

    def __len__(self) -> int:
        return len(self._queued) + len(self._open)

    def unfinished(self) -> list[Outgoing]:
        """All transfers, in the order in which they were submitted."""
        entries = [*self._open.values(), *(entry for _, _, entry in self._queued)]
        return sorted(entries, key=lambda entry: entry.transfer_id)

    def progress(self) -> list[Progress]:
        """Where each file stands, as far as this end knows."""
        return [
            Progress(e.transfer_id, e.file.name, e.file.kind, True, len(e.todo), e.todo.count(1))
            for e in self.unfinished()
        ]

    def submit(self, file: File, priority: int) -> int:
        """Send a file, lower priority number first; its transfer id. LinkError if it is too large, or too many wait."""
        limit = self._config.max_file_bytes
        if len(file.data) > limit:
            raise LinkError(f"{file.name}: has {len(file.data)} bytes, the link takes at most {limit}")
        room = limit * self._config.max_open_transfers
        if len(self) >= MAX_QUEUED_FILES or self._bytes + len(file.data) > room:
            raise LinkFullError(f"{file.name}: {len(self)} files with {self._bytes} bytes are waiting already")
        if self._last_id >= MAX_NUMBER:
            raise LinkError("transfer ids are used up")
        self._last_id += 1
        self._queue(self._last_id, file, priority)
        self._fill()
        return self._last_id

    def _queue(self, transfer_id: int, file: File, priority: int) -> Outgoing:
        metadata = Metadata(transfer_id, len(file.data), self._segment_bytes, file.digest, file.name)
        entry = Outgoing(transfer_id, file, priority, metadata, bytearray(b"\x01") * metadata.n_segments)
        heapq.heappush(self._queued, (priority, transfer_id, entry))
        self._bytes += len(file.data)
        return entry

    def _fill(self) -> None:
        """Begin transfers while there is room; the last place is for one more urgent than all under way."""
        limit = self._config.max_open_transfers
        while self._queued and len(self._open) < limit:
            priority, transfer_id, entry = self._queued[0]
            if len(self._open) >= max(1, limit - 1) and priority >= min(e.priority for e in self._open.values()):
                return
            heapq.heappop(self._queued)
            self._open[transfer_id] = entry

    def due(self) -> float:
        """Seconds in view at which there is something to send."""
        return min((entry.due() for entry in self._open.values()), default=NEVER)

    def take(self, room: int, view_s: float, counter: int) -> Unit | None:
        """The next unit of a file, if it takes at most `room` bytes; it goes into the frame with this counter."""
        ready = [entry for entry in self._open.values() if entry.due() <= view_s + TOLERANCE_S]
        if not ready:
            return None
        entry = min(ready, key=lambda entry: (entry.priority, entry.turn, entry.transfer_id))
        known = entry.announced
        unit = entry.take(room, view_s, counter, self._config.retry_s)
        if unit is None:
            return None
        self._turn += 1
        entry.turn = self._turn
        return Unit(entry.file.kind, *unit, begins=not known)

    def hear(self, report: Report, view_s: float, counter: int) -> list[LinkEvent]:
        """Take note of a report; one on a transfer that is over, or never was, means nothing."""
        entry = self._open.get(report.transfer_id)
        if entry is None:
            return []
        if not report.status.final:
            entry.hear(report, view_s, counter, self._config.retry_s)
            return []
        del self._open[report.transfer_id]
        self._bytes -= len(entry.file.data)
        self._fill()
        ended = (entry.transfer_id, entry.file.name, entry.file.kind)
        if report.status is Status.OK:
            return [FileDelivered(*ended)]
        return [FileFailed(*ended, report.reason or report.status.name.lower().replace("_", " "))]

    def resume(self) -> None:
        """A pass begins: ask where each transfer stands."""
        for entry in self._open.values():
            entry.resume()

    def save(self) -> dict[str, Any]:
        """The files and what is left of them, as plain values."""
        files = [
            [e.transfer_id, e.priority, e.file.name, e.file.kind.value, e.file.data, e.announced, bytes(e.todo)]
            for e in self.unfinished()
        ]
        return {"last_id": self._last_id, "files": files}

    def restore(self, saved: Any) -> None:
        """Go on with the files that were saved."""
        self._last_id, files = state.fields(saved, "sender", last_id=int, files=list)
        rows = state.entries(files, "sender.files", int, int, str, int, bytes, bool, bytes)
        for transfer_id, priority, name, kind, data, announced, todo in rows:
            path = f"sender.files.{transfer_id}"
            try:
                entry = self._queue(transfer_id, File(name, FileKind(kind), data), priority)
            except ValueError as error:
                raise StateError(f"{path}: {error}") from None
            state.check(len(todo) == len(entry.todo) and not todo.strip(b"\x00\x01"), f"{path}.todo", len(todo))
            if announced:
                entry.announced, entry.unsure, entry.ask_at, entry.todo = True, True, NOW, bytearray(todo)
                self._open[transfer_id] = entry
        self._queued = [row for row in self._queued if row[1] not in self._open]
        heapq.heapify(self._queued)
        self._fill()
