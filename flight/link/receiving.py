"""The receiving side of file transfers: many CFDP destinations at once, and what became of the last 1024.

A whole file is handed to the owner; only when the owner has accepted or refused it is the sender told that it is over
(Finished), and told again as often as it asks. Everything that the far side can make this end keep is bounded.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from flight.config import LinkConfig
from flight.link import state
from flight.link.cfdp.codec import pack
from flight.link.cfdp.destination import Destination, State, rejection
from flight.link.cfdp.lost import Reordering
from flight.link.cfdp.pdu import (
    Ack,
    Acknowledged,
    Condition,
    Eof,
    FileData,
    FileStatus,
    Finished,
    Metadata,
    Pdu,
    Prompt,
    Status,
    Transaction,
)
from flight.link.cfdp.timing import Timing
from flight.link.contact import NEVER, NOW, TOLERANCE_S
from flight.link.errors import LinkError, RejectedError
from flight.link.events import FileReceived, FileRefused, LinkEvent, Progress
from flight.link.packet import FileKind
from flight.link.receiving_state import DESTINATION, FINISHED, of_destination, of_finished, to_destination, to_finished
from flight.link.transfer import File, name_allowed, short_reason

REMEMBERED = 1024
NEW_SHARE = 1 / 6  # of the data held, that must be new for another save of them


@dataclass
class Incoming:
    """One file being received."""

    kind: FileKind
    destination: Destination

    @property
    def transfer_id(self) -> int:
        """The transaction's sequence number."""
        return self.destination.transaction.number

    @property
    def name(self) -> str:
        """The file's name; empty while it is not known."""
        return self.destination.metadata.destination_name if self.destination.metadata else ""


@dataclass(frozen=True)
class _Closed:
    """How a transaction ended, and of which file."""

    finished: Finished
    checksum: int
    size: int


class Receiver:
    """All files that one end is receiving.

    Args:
        config: limits.
        entities: ids of the far entity and of this one.
        timing: intervals and limits of a transaction.
    """

    def __init__(self, config: LinkConfig, entities: tuple[int, int], timing: Timing) -> None:
        self._config = config
        self._entities = entities
        self._timing = timing
        self._reordering = Reordering()
        self._open: dict[int, Incoming] = {}
        self._closed: dict[int, _Closed] = {}
        self._replies: dict[tuple[Transaction, type], Pdu] = {}
        self._save_at = NEVER
        self._must_save = False
        self._unsaved_bytes = 0

    def __len__(self) -> int:
        return len(self.unfinished())

    def unfinished(self) -> list[Incoming]:
        """All transfers under way."""
        return [entry for entry in self._open.values() if entry.destination.state is not State.FINISHED]

    def progress(self) -> list[Progress]:
        """Where each file stands."""
        return [
            Progress(e.transfer_id, e.name, e.kind, False, d.size or 0, max(0, (d.size or 0) - d.got.size))
            for e in self.unfinished()
            for d in [e.destination]
        ]

    # What comes in.

    def take(self, kind: FileKind | None, transaction: Transaction, pdu: Pdu, view_s: float) -> list[LinkEvent]:
        """Take a PDU from the sender; `RejectedError`, with nothing kept of it, if it cannot be right.

        `kind` is None for an acknowledgement, which may belong to a transaction that its sender has forgotten.
        """
        if (transaction.source, transaction.destination) != self._entities:
            raise RejectedError("bad_pdu", f"PDU from {transaction.source} to {transaction.destination}")
        entry = self._open.get(transaction.number)
        if entry is None and transaction.number in self._closed:
            self._repeat(transaction, pdu)
            return []
        if kind is None or isinstance(pdu, Ack):
            if entry:
                entry.destination.take(pdu, view_s)
                self._close(entry)
            return []
        if isinstance(pdu, FileData) and pdu.offset + len(pdu.data) > self._config.max_file_bytes:
            raise RejectedError("segment_out_of_range", f"transfer {transaction.number}: offset {pdu.offset}")
        entry = entry or self._begin(kind, transaction, view_s)
        if entry.kind is not kind:
            raise RejectedError("metadata_changed", f"transfer {transaction.number} was of kind {entry.kind.name}")
        if isinstance(pdu, Metadata):
            self._check(entry, pdu, view_s)
        return self._pass_on(entry, pdu, view_s)

    def _pass_on(self, entry: Incoming, pdu: Pdu, view_s: float) -> list[LinkEvent]:
        destination, before, ended = entry.destination, entry.destination.state, entry.destination.eof
        destination.take(pdu, view_s)
        if destination.eof is not ended:
            self._save_at, self._must_save = view_s, True  # acknowledged in the next frame: it must outlive a restart
        elif isinstance(pdu, FileData | Metadata):
            self._save_at = min(self._save_at, view_s + self._config.save_interval_s)
            self._unsaved_bytes += len(pdu.data) if isinstance(pdu, FileData) else 0
        if before is not State.RECEIVING or destination.state is State.RECEIVING:
            return []
        if destination.state is State.WHOLE:
            return [FileReceived(entry.transfer_id, File(entry.name, entry.kind, destination.data))]
        self._close(entry)
        return [FileRefused(entry.transfer_id, entry.name, entry.kind, destination.finished.reason)]

    def _begin(self, kind: FileKind, transaction: Transaction, view_s: float) -> Incoming:
        going = self.unfinished()
        if len(going) >= self._config.max_open_transfers:
            waits = [entry for entry in going if entry.destination.state is State.RECEIVING]
            oldest = min(waits, key=lambda entry: entry.destination.touched_s, default=None)
            if oldest is None or view_s - oldest.destination.touched_s < self._timing.inactivity_s:  # 4.10.1
                raise RejectedError("too_many_transfers", f"transfer {transaction.number}: {len(going)} are under way")
            del self._open[oldest.transfer_id]
        entry = self._open[transaction.number] = Incoming(kind, self._destination(transaction))
        return entry

    def _check(self, entry: Incoming, metadata: Metadata, view_s: float) -> None:
        """Refuse what could never be kept, so that the sender gives it up; RejectedError then."""
        known, limit = entry.destination.metadata, self._config.max_file_bytes
        if known is not None or entry.destination.state is not State.RECEIVING:
            if known not in (None, metadata):
                raise RejectedError("metadata_changed", f"transfer {entry.transfer_id} was another file before")
            return
        problem = ("", "")
        if metadata.size > limit:
            problem = ("file_too_large", f"takes at most {limit} bytes")
        elif metadata.requests:
            problem = ("bad_metadata", "filestore and proxy requests are not taken")
        elif not name_allowed(metadata.destination_name):
            problem = ("bad_metadata", "file name is not allowed")
        if problem[0]:
            entry.destination.finish(rejection(problem[1]), view_s)
            self._close(entry)
            raise RejectedError(problem[0], f"{metadata.destination_name[:80]!r}: {problem[1]}")

    def _repeat(self, transaction: Transaction, pdu: Pdu) -> None:
        """Answer on a transaction that is over: with the same words, unless the file is another one."""
        closed = self._closed[transaction.number]
        finished = closed.finished
        if isinstance(pdu, Metadata) and pdu.size != closed.size and finished.success:
            finished = rejection("transfer id was used before")
        elif isinstance(pdu, Eof):
            self._reply(transaction, Ack(Acknowledged.EOF, pdu.condition, Status.TERMINATED))
            same = pdu.condition or (pdu.checksum, pdu.size) == (closed.checksum, closed.size)
            finished = finished if same or not finished.success else rejection("transfer id was used before")
        elif not isinstance(pdu, Prompt):
            return
        self._reply(transaction, finished)

    def _reply(self, transaction: Transaction, pdu: Pdu) -> None:
        if len(self._replies) < REMEMBERED:
            self._replies[transaction, type(pdu)] = pdu

    # The owner's word.

    def settle(self, transfer_id: int, reason: str | None = None) -> bool:
        """A file handed over is on disk, or refused for a reason; False if that was said before.

        LinkError if no such file was handed over.
        """
        entry = self._open.get(transfer_id)
        if transfer_id in self._closed or (entry and entry.destination.state is State.FINISHED):
            return False
        if entry is None or entry.destination.state is not State.WHOLE:
            raise LinkError(f"transfer {transfer_id}: no file was handed over")
        destination = entry.destination
        finished = destination.accepted() if reason is None else rejection(short_reason(reason))
        destination.finish(finished, destination.touched_s)
        self._close(entry)
        return True

    def find(self, transfer_id: int) -> Incoming:
        """A transfer that is not finished; LinkError if there is none."""
        entry = self._open.get(transfer_id)
        if entry is None or entry.destination.state is State.FINISHED:
            raise LinkError(f"transfer {transfer_id}: no such file is being received")
        return entry

    def cancel(self, transfer_id: int, view_s: float) -> None:
        """Give a transfer up, and tell its sender (727.0-B-5 4.11.2.3)."""
        entry = self.find(transfer_id)
        if entry.destination.state is State.WHOLE:
            raise LinkError(f"transfer {transfer_id}: the file is whole and about to be kept")
        finished = Finished(Condition.CANCEL_REQUEST_RECEIVED, False, FileStatus.DISCARDED_DELIBERATELY)
        entry.destination.finish(finished, view_s)
        self._close(entry)

    def _close(self, entry: Incoming) -> None:
        """Remember how a transfer ended; of those whose sender has not confirmed it, only the newest stay open."""
        if entry.destination.state is State.CLOSED:
            self._remember(entry)
        done = [e for e in self._open.values() if e.destination.state is State.FINISHED]
        for old in done[: -self._config.max_open_transfers]:
            self._remember(old)

    def _remember(self, entry: Incoming) -> None:
        destination, eof = entry.destination, entry.destination.eof
        del self._open[entry.transfer_id]
        self._closed[entry.transfer_id] = _Closed(
            destination.finished, eof.checksum if eof else 0, eof.size if eof else 0
        )
        if len(self._closed) > REMEMBERED:
            del self._closed[next(iter(self._closed))]

    # What goes out.

    def due(self) -> float:
        """Seconds in view at which there may be something to report."""
        return NOW if self._replies else min((e.destination.due() for e in self._open.values()), default=NEVER)

    def report(self, room: int, view_s: float) -> bytes | None:
        """The next PDU to a sender, in at most `room` bytes."""
        for (transaction, kind), reply in self._replies.items():
            body = pack(transaction, reply)
            if len(body) > room:
                return None
            del self._replies[transaction, kind]
            return body
        for entry in list(self._open.values()):
            if entry.destination.due() <= view_s + TOLERANCE_S:
                pdu = entry.destination.send(room, view_s)
                self._close(entry)
                if pdu is not None:
                    return pack(entry.destination.transaction, pdu)
        return None

    def thaw(self, view_s: float) -> None:
        """A pass begins."""
        for entry in self._open.values():
            entry.destination.thaw(view_s)

    def wants_save(self, view_s: float) -> bool:
        """Whether so much was received since the last save that losing it would hurt.

        A save writes all that is held: it waits for a part of that to be new, so that a large file costs the disk a
        few times its size and not a multiple that grows with it.
        """
        if self._must_save or self._save_at > view_s:
            return self._must_save
        held_bytes = sum(entry.destination.got.size for entry in self._open.values())
        return self._unsaved_bytes >= held_bytes * NEW_SHARE

    def save(self) -> dict[str, Any]:
        """Files under way and finished ones, as plain values."""
        self._save_at, self._must_save, self._unsaved_bytes = NEVER, False, 0
        under_way = [[n, e.kind.value, *of_destination(e.destination)] for n, e in self._open.items()]
        closed = [[number, *of_finished(c.finished), c.checksum, c.size] for number, c in self._closed.items()]
        return {"open": under_way, "closed": closed}

    def restore(self, saved: Any) -> None:
        """Go on with what was saved; a whole file that was not accepted is handed over again when the sender asks."""
        under_way, closed = state.fields(saved, "receiver", open=list, closed=list)
        for number, *told, value, size in state.entries(closed, "receiver.closed", int, *FINISHED, int, int):
            self._closed[number] = _Closed(to_finished(told, f"receiver.closed.{number}"), value, size)
        for number, kind, *rest in state.entries(under_way, "receiver.open", int, int, *DESTINATION):
            path = f"receiver.open.{number}"
            state.check(kind in list(FileKind), f"{path}.kind", kind)
            destination = to_destination(self._entities, number, rest, self._destination, path)
            self._open[number] = Incoming(FileKind(kind), destination)

    def _destination(self, transaction: Transaction) -> Destination:
        return Destination(transaction, self._config.max_file_bytes, self._timing, self._reordering)
