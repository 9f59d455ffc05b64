"""The receiving side of file transfers: collects segments, reports what is missing, hands over whole files once.

A report goes out when the sender asks, and at most every `report_interval_s` in view while something is missing.
A whole file is handed to the owner; only when the owner has accepted or refused it is the sender told that it is
over, and told again as often as it asks. Everything that the far side can make this end keep is bounded.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from flight.config import LinkConfig
from flight.link import state
from flight.link.contact import NEVER, NOW, TOLERANCE_S
from flight.link.errors import LinkError, RejectedError, StateError
from flight.link.events import FileReceived, FileRefused, LinkEvent, Progress
from flight.link.packet import FileKind
from flight.link.pdu import LARGEST_FINAL_REPORT_BYTES, Metadata, Report, Segment, unpack
from flight.link.transfer import DIGEST_BYTES, File, Status, short_reason

REMEMBERED = 1024
# A transfer of which nothing came for so long in view gives its place to a new one, if no other is free.
ABANDONED_S = 600.0


@dataclass
class Incoming:
    """One file being received; `metadata` may come after segments."""

    transfer_id: int
    kind: FileKind
    touched: float
    reported: float
    metadata: Metadata | None = None
    segments: dict[int, bytes] = field(default_factory=dict)
    highest: int = -1
    report_at: float = NEVER
    asked: bool = False
    delivered: bool = False

    @property
    def complete(self) -> bool:
        """Whether every segment is there."""
        return self.metadata is not None and len(self.segments) == self.metadata.n_segments

    @property
    def lacks(self) -> bool:
        """Whether metadata or a segment before the highest one seen is missing."""
        return self.metadata is None or len(self.segments) <= self.highest

    def missing(self, covered: int) -> Iterator[tuple[int, int]]:
        """The (first, count) runs of missing segments before `covered`."""
        end = -1
        for index in [*sorted(i for i in self.segments if i < covered), covered]:
            if index > end + 1:
                yield end + 1, index - end - 1
            end = index

    def fits(self, index: int, length: int) -> bool:
        """Whether a segment has the length that the metadata asks of it."""
        if self.metadata is None:
            return True
        width = self.metadata.segment_bytes
        return 0 <= index < self.metadata.n_segments and length == min(width, self.metadata.size - index * width)

    def describe(self, metadata: Metadata) -> None:
        """Take the metadata, and drop segments that do not agree with it."""
        self.metadata = metadata
        self.segments = {index: data for index, data in self.segments.items() if self.fits(index, len(data))}
        self.highest = max(self.segments, default=-1)


@dataclass(frozen=True)
class _Finished:
    status: Status
    digest: bytes
    reason: str


class Receiver:
    """All files that one end is receiving, and what became of the last 1024."""

    def __init__(self, config: LinkConfig, segment_bytes: int) -> None:
        self._config = config
        self._segment_bytes = segment_bytes
        self._max_segments = -(-config.max_file_bytes // segment_bytes)
        self._open: dict[int, Incoming] = {}
        self._finished: dict[int, _Finished] = {}
        self._answers: dict[int, tuple[Status, str]] = {}

    def __len__(self) -> int:
        return len(self._open)

    def unfinished(self) -> list[Incoming]:
        """All transfers under way."""
        return list(self._open.values())

    def progress(self) -> list[Progress]:
        """Where each file stands."""
        going = []
        for e in self.unfinished():
            name, total = (e.metadata.name, e.metadata.n_segments) if e.metadata else ("", 0)
            going.append(Progress(e.transfer_id, name, e.kind, False, total, max(0, total - len(e.segments))))
        return going

    def take(self, kind: FileKind, unit: Metadata | Segment, view_s: float) -> list[LinkEvent]:
        """Take a unit from the sender; `RejectedError`, with nothing kept of it, if it cannot be right."""
        if isinstance(unit, Metadata):
            incoming = self._take_metadata(kind, unit, view_s)
        else:
            incoming = self._take_segment(kind, unit, view_s)
        if incoming is None:
            return []
        incoming.touched = view_s
        if incoming.lacks:
            due = max(view_s, incoming.reported + self._config.report_interval_s)
            incoming.report_at = min(incoming.report_at, due)
        return self._deliver(incoming) if incoming.complete and not incoming.delivered else []

    def _take_metadata(self, kind: FileKind, metadata: Metadata, view_s: float) -> Incoming | None:
        transfer_id, asks = metadata.transfer_id, metadata.asks
        metadata = Metadata(transfer_id, metadata.size, metadata.segment_bytes, metadata.digest, metadata.name)
        finished = self._finished.get(transfer_id)
        if finished is not None:
            same = finished.digest == metadata.digest
            reason = finished.reason if same else "transfer id was used before"
            self._answer(transfer_id, finished.status if same else Status.REFUSED, reason)
            return None
        self._check(metadata)
        incoming = self._open.get(transfer_id) or self._begin(transfer_id, kind, view_s)
        if incoming.kind is not kind or incoming.metadata not in (None, metadata):
            if not incoming.delivered:
                self._finish(transfer_id, Status.REFUSED, metadata.digest, "transfer id is in use")
            raise RejectedError("metadata_changed", f"transfer {transfer_id} was another file before")
        if incoming.metadata is None:
            incoming.describe(metadata)
        if asks:
            incoming.asked = True
            incoming.report_at = NOW
        return incoming

    def _check(self, metadata: Metadata) -> None:
        limit = self._config.max_file_bytes
        if metadata.size > limit:
            self._finish(metadata.transfer_id, Status.TOO_LARGE, metadata.digest, f"takes at most {limit} bytes")
            raise RejectedError("file_too_large", f"{metadata.name}: has {metadata.size} bytes, at most {limit}")
        if metadata.segment_bytes != self._segment_bytes:
            reason = f"segments must have {self._segment_bytes} bytes"
            self._finish(metadata.transfer_id, Status.REFUSED, metadata.digest, reason)
            raise RejectedError("bad_segment_size", f"{metadata.name}: {reason}, not {metadata.segment_bytes}")

    def _take_segment(self, kind: FileKind, segment: Segment, view_s: float) -> Incoming | None:
        transfer_id, index, length = segment.transfer_id, segment.index, len(segment.data)
        if transfer_id in self._finished:
            return None
        if index >= self._max_segments or not 0 < length <= self._segment_bytes:
            raise RejectedError("segment_out_of_range", f"transfer {transfer_id}: segment {index}, {length} bytes")
        incoming = self._open.get(transfer_id) or self._begin(transfer_id, kind, view_s)
        if incoming.kind is not kind or not incoming.fits(index, length):
            raise RejectedError("segment_out_of_range", f"transfer {transfer_id}: segment {index}, {length} bytes")
        incoming.segments.setdefault(index, segment.data)
        incoming.highest = max(incoming.highest, index)
        return incoming

    def _begin(self, transfer_id: int, kind: FileKind, view_s: float) -> Incoming:
        if len(self._open) >= self._config.max_open_transfers:
            oldest = min(self._open.values(), key=lambda incoming: (incoming.delivered, incoming.touched))
            if oldest.delivered or view_s - oldest.touched < ABANDONED_S:
                self._answer(transfer_id, Status.BUSY, "")
                raise RejectedError("too_many_transfers", f"transfer {transfer_id}: {len(self._open)} are under way")
            del self._open[oldest.transfer_id]
        incoming = self._open[transfer_id] = Incoming(transfer_id, kind, view_s, view_s)
        return incoming

    def _deliver(self, incoming: Incoming) -> list[LinkEvent]:
        metadata = incoming.metadata
        if metadata is None:
            return []
        data = b"".join(incoming.segments[index] for index in range(metadata.n_segments))
        file = File(metadata.name, incoming.kind, data)
        if file.digest != metadata.digest:
            self._finish(incoming.transfer_id, Status.DIGEST_MISMATCH, metadata.digest, "")
            return [FileRefused(incoming.transfer_id, file.name, file.kind, "digest mismatch")]
        incoming.delivered = True
        return [FileReceived(incoming.transfer_id, file)]

    def settle(self, transfer_id: int, status: Status, reason: str = "") -> bool:
        """The owner's word on a file handed over; False if it was said before, LinkError if there is no such file."""
        if transfer_id in self._finished:
            return False
        incoming = self._open.get(transfer_id)
        if incoming is None or not incoming.delivered or incoming.metadata is None:
            raise LinkError(f"transfer {transfer_id}: no file was handed over")
        self._finish(transfer_id, status, incoming.metadata.digest, short_reason(reason))
        return True

    def _finish(self, transfer_id: int, status: Status, digest: bytes, reason: str) -> None:
        self._open.pop(transfer_id, None)
        self._finished[transfer_id] = _Finished(status, digest, reason)
        if len(self._finished) > REMEMBERED:
            del self._finished[next(iter(self._finished))]
        self._answer(transfer_id, status, reason)

    def _answer(self, transfer_id: int, status: Status, reason: str) -> None:
        if len(self._answers) < REMEMBERED or transfer_id in self._answers:
            self._answers[transfer_id] = (status, reason)

    def due(self) -> float:
        """Seconds in view at which there may be something to report."""
        return NOW if self._answers else min((incoming.report_at for incoming in self._open.values()), default=NEVER)

    def report(self, room: int, view_s: float, heard: int) -> Report | None:
        """The next report, in at most `room` bytes; `heard` is the highest frame counter accepted."""
        if room < LARGEST_FINAL_REPORT_BYTES:
            return None
        heard &= 0xFFFFFFFF
        if self._answers:
            transfer_id = next(iter(self._answers))
            status, reason = self._answers.pop(transfer_id)
            return Report(transfer_id, status, heard, reason=reason)
        for incoming in self._open.values():
            if incoming.report_at <= view_s + TOLERANCE_S:
                asked, incoming.asked, incoming.report_at = incoming.asked, False, NEVER
                if asked or incoming.lacks:
                    incoming.reported = view_s
                    return self._progress(incoming, room, heard, asked)
        return None

    def _progress(self, incoming: Incoming, room: int, heard: int, asked: bool) -> Report:
        if incoming.metadata is None:
            return Report(incoming.transfer_id, Status.RECEIVING, heard, asked=asked, lacks_metadata=True)
        covered = incoming.metadata.n_segments if asked else incoming.highest + 1
        runs = list(incoming.missing(covered))
        return Report.fitting(room, incoming.transfer_id, heard, covered, runs, asked)

    def save(self) -> dict[str, Any]:
        """Files under way and finished ones, as plain values."""
        under_way = [
            [
                incoming.transfer_id,
                incoming.kind.value,
                incoming.metadata.pack() if incoming.metadata else b"",
                [[index, data] for index, data in incoming.segments.items()],
            ]
            for incoming in self._open.values()
        ]
        finished = [[number, f.status.value, f.digest, f.reason] for number, f in self._finished.items()]
        return {"open": under_way, "finished": finished}

    def restore(self, saved: Any) -> None:
        """Go on with what was saved; a whole file that was not accepted is handed over again when the sender asks."""
        under_way, finished = state.fields(saved, "receiver", open=list, finished=list)
        for number, status, digest, reason in state.entries(finished, "receiver.finished", int, int, bytes, str):
            final = status in list(Status) and Status(status).final and len(digest) == DIGEST_BYTES
            state.check(final, f"receiver.finished.{number}", status)
            self._finished[number] = _Finished(Status(status), digest, reason)
        for transfer_id, kind, metadata, segments in state.entries(under_way, "receiver.open", int, int, bytes, list):
            path = f"receiver.open.{transfer_id}"
            state.check(kind in list(FileKind), f"{path}.kind", kind)
            incoming = Incoming(transfer_id, FileKind(kind), 0.0, NOW)
            incoming.segments = dict(state.entries(segments, f"{path}.segments", int, bytes))
            if metadata:
                incoming.describe(_saved_metadata(metadata, path))
            incoming.highest = max(incoming.segments, default=-1)
            self._open[transfer_id] = incoming


def _saved_metadata(body: bytes, path: str) -> Metadata:
    try:
        unit = unpack(body)
    except RejectedError as error:
        raise StateError(f"{path}.metadata: {error}") from None
    if not isinstance(unit, Metadata):
        raise StateError(f"{path}.metadata: found {type(unit).__name__}")
    return unit
