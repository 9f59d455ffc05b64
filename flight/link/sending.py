"""The sending side of file transfers: many CFDP sources at once, by priority and in turn.

Each file is one transaction of ours as its source entity. Every Finished PDU is acknowledged, also one of a transaction
that this end knows nothing of any more (727.0-B-5 4.7.2), or its receiver would repeat it for ever.
"""

from __future__ import annotations

import heapq
from dataclasses import dataclass
from typing import Any

from flight.config import LinkConfig
from flight.link import state
from flight.link.cfdp.codec import pack
from flight.link.cfdp.pdu import Ack, Acknowledged, Condition, Finished, Pdu, Status, Transaction
from flight.link.cfdp.source import Source, State
from flight.link.cfdp.timing import Timing
from flight.link.contact import NEVER, NOW, TOLERANCE_S
from flight.link.errors import LinkError, LinkFullError, StateError
from flight.link.events import FileDelivered, FileFailed, LinkEvent, Progress
from flight.link.packet import Apid, FileKind
from flight.link.schema import MAX_NUMBER
from flight.link.transfer import File

MAX_QUEUED_FILES = 1024
MAX_ACKS = 64


@dataclass(frozen=True, slots=True)
class Unit:
    """What goes into a packet: `segment` for file data, `resent` if for the second time, `begins` for a first PDU."""

    apid: int
    body: bytes
    segment: bool = False
    resent: bool = False
    begins: bool = False


@dataclass
class Outgoing:
    """One file being sent, or waiting for it."""

    file: File
    priority: int
    source: Source
    turn: int = 0

    @property
    def transfer_id(self) -> int:
        """The transaction's sequence number."""
        return self.source.transaction.number


class Sender:
    """All files of one end that are to be sent, are being sent, or wait for the receiver's last word.

    Args:
        config: limits.
        entities: ids of this entity and of the far one.
        pdu_bytes: greatest PDU.
        timing: intervals and limits of a transaction.
        first_id: transfer ids begin after it.
    """

    def __init__(
        self, config: LinkConfig, entities: tuple[int, int], pdu_bytes: int, timing: Timing, first_id: int = 0
    ) -> None:
        self._config = config
        self._entities = entities
        self._pdu_bytes = pdu_bytes
        self._timing = timing
        self._last_id = first_id
        self._queued: list[tuple[int, int, Outgoing]] = []
        self._open: dict[int, Outgoing] = {}
        self._acks: dict[Transaction, Ack] = {}
        self._bytes = 0
        self._turn = 0

    def __len__(self) -> int:
        return len(self._queued) + len(self._open)

    @property
    def segment_bytes(self) -> int:
        """File data in a full PDU of the last transfer."""
        return self._pdu_bytes - Transaction.smallest(*self._entities, self._last_id).segment_overhead_bytes

    def unfinished(self) -> list[Outgoing]:
        """All transfers, in the order in which they were submitted."""
        entries = [*self._open.values(), *(entry for _, _, entry in self._queued)]
        return sorted(entries, key=lambda entry: entry.transfer_id)

    def progress(self) -> list[Progress]:
        """Where each file stands, as far as this end knows."""
        return [
            Progress(e.transfer_id, e.file.name, e.file.kind, True, len(e.file.data), e.source.left_bytes)
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
        transaction = Transaction.smallest(*self._entities, transfer_id)
        width = self._pdu_bytes - transaction.segment_overhead_bytes
        source = Source(transaction, file.data, (file.name, file.name), width, self._timing)
        entry = Outgoing(file, priority, source)
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
        return NOW if self._acks else min((entry.source.due() for entry in self._open.values()), default=NEVER)

    def take(self, room: int, view_s: float) -> Unit | None:
        """The next PDU, if it takes at most `room` bytes: acknowledgements, then files by priority and in turn."""
        for transaction, ack in self._acks.items():
            if (body := _fitting(transaction, ack, room)) is None:
                return None
            del self._acks[transaction]
            return Unit(Apid.FILE_REPORT, body)
        ready = [entry for entry in self._open.values() if entry.source.due() <= view_s + TOLERANCE_S]
        for entry in sorted(ready, key=lambda entry: (entry.priority, entry.turn, entry.transfer_id)):
            source, begun = entry.source, entry.source.begun
            left = source.left_bytes
            if taken := source.take(room, view_s):
                self._turn += 1
                entry.turn = self._turn
                body = pack(source.transaction, taken[0])
                return Unit(entry.file.kind, body, source.left_bytes < left, taken[1], source.begun and not begun)
        return None

    def hear(self, transaction: Transaction, pdu: Pdu, view_s: float) -> list[LinkEvent]:
        """Take note of what the far end says as a receiver."""
        entry = self._open.get(transaction.number)
        if isinstance(pdu, Finished) and len(self._acks) < MAX_ACKS:
            known = Status.ACTIVE if entry else Status.UNRECOGNIZED
            self._acks[transaction] = Ack(Acknowledged.FINISHED, pdu.condition, known)
        if entry is None:
            return []
        entry.source.hear(pdu, view_s)
        return self._ended(entry)

    def _ended(self, entry: Outgoing) -> list[LinkEvent]:
        """Let go of a transfer that is over."""
        outcome = entry.source.outcome
        if outcome is None:
            return []
        del self._open[entry.transfer_id]
        self._bytes -= len(entry.file.data)
        self._fill()
        ended = (entry.transfer_id, entry.file.name, entry.file.kind)
        return [FileDelivered(*ended) if outcome.success else FileFailed(*ended, outcome.reason)]

    def find(self, transfer_id: int) -> Outgoing:
        """A transfer that is not finished; LinkError if there is none."""
        for entry in self.unfinished():
            if entry.transfer_id == transfer_id:
                return entry
        raise LinkError(f"transfer {transfer_id}: no such file is being sent")

    def cancel(self, transfer_id: int) -> list[LinkEvent]:
        """Give a transfer up; that it failed is told now if the receiver never heard of it, or once it knows."""
        entry = self.find(transfer_id)
        entry.source.cancel()
        if transfer_id not in self._open:
            self._queued = [row for row in self._queued if row[1] != transfer_id]
            heapq.heapify(self._queued)
            self._open[transfer_id] = entry
        return self._ended(entry)

    def thaw(self) -> None:
        """A pass begins."""
        for entry in self._open.values():
            entry.source.thaw()

    def save(self) -> dict[str, Any]:
        """The files and how far they have come, as plain values."""
        files = [[e.transfer_id, e.priority, e.file.name, e.file.kind.value, *_saved(e)] for e in self.unfinished()]
        return {"last_id": self._last_id, "files": files}

    def restore(self, saved: Any) -> None:
        """Go on with the files that were saved."""
        self._last_id, files = state.fields(saved, "sender", last_id=int, files=list)
        kinds = (int, int, str, int, bytes, bool, int, str, bool, int)
        for transfer_id, priority, name, kind, data, *where in state.entries(files, "sender.files", *kinds):
            path = f"sender.files.{transfer_id}"
            try:
                entry = self._queue(transfer_id, File(name, FileKind(kind), data), priority)
                _restore(entry.source, path, *where)
            except (ValueError, KeyError, OverflowError) as error:
                raise StateError(f"{path}: {error}") from None
            if entry.source.begun:
                self._open[transfer_id] = entry
        self._queued = [row for row in self._queued if row[1] not in self._open]
        heapq.heapify(self._queued)
        self._fill()


def _fitting(transaction: Transaction, pdu: Pdu, room: int) -> bytes | None:
    body = pack(transaction, pdu)
    return body if len(body) <= room else None


def _saved(entry: Outgoing) -> list[Any]:
    source = entry.source
    where = [source.begun, source.offset, source.state.name, source.suspended, source.cancelled_for.value]
    return [entry.file.data, *where]


def _restore(source: Source, path: str, begun: bool, offset: int, stood: str, suspended: bool, condition: int) -> None:
    state.check(0 <= offset <= len(source.data), f"{path}.offset", offset)
    source.begun, source.offset, source.suspended = begun, offset, suspended
    source.state, source.cancelled_for = State[stood], Condition(condition)
    state.check(source.state is not State.DONE, f"{path}.state", stood)
    source.restart()
