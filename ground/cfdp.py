"""A ground CFDP entity on bare PDUs, one a datagram: sans-IO around the machines of `flight.link.cfdp`.

`Sending` is one class 2 transaction out, `Receiving` any number of class 1 or 2 transactions in. They take datagrams
and seconds, and give datagrams; `ground.udp` brings them to a socket.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import PurePosixPath

from flight.link.cfdp import codec
from flight.link.cfdp import pdu as cfdp
from flight.link.cfdp.destination import Destination, State, rejection
from flight.link.cfdp.lost import Reordering
from flight.link.cfdp.pdu import Finished, Pdu, Transaction
from flight.link.cfdp.source import Source
from flight.link.cfdp.timing import Timing
from flight.link.contact import NEVER, TOLERANCE_S
from flight.link.errors import RejectedError

MAX_OPEN = 64
MAX_CLOSED = 1024
MAX_DATAGRAM_BYTES = 65_507
MAX_NAME_CHARS = 255


class Sending:
    """The sending end of one transaction. It acknowledges every Finished PDU, also after it is done."""

    def __init__(self, source: Source) -> None:
        self.source = source
        self.ignored = 0
        self._acks: deque[bytes] = deque(maxlen=MAX_OPEN)

    @property
    def outcome(self) -> Finished | None:
        """How it ended; None while it goes on."""
        return self.source.outcome

    def hear(self, datagram: bytes, now_s: float) -> None:
        """Take a datagram; one that is no PDU of this transaction is counted and ignored."""
        ours = self.source.transaction
        try:
            transaction, pdu = codec.unpack(datagram)
        except RejectedError:
            self.ignored += 1
            return
        if (transaction.source, transaction.number) != (ours.source, ours.number):
            self.ignored += 1
            return
        if isinstance(pdu, Finished):
            status = cfdp.Status.ACTIVE if self.outcome is None else cfdp.Status.TERMINATED
            self._acks.append(codec.pack(ours, cfdp.Ack(cfdp.Acknowledged.FINISHED, pdu.condition, status)))
        self.source.hear(pdu, now_s)

    def poll(self, now_s: float) -> bytes | None:
        """The next datagram, if one is due."""
        if self._acks:
            return self._acks.popleft()
        taken = self.source.take(MAX_DATAGRAM_BYTES, now_s)
        return codec.pack(self.source.transaction, taken[0]) if taken else None

    def due(self) -> float:
        """When `poll` may have something."""
        return 0.0 if self._acks else self.source.due()


@dataclass(frozen=True)
class Arrival:
    """A transaction that is over: the file's name as it was kept, its size, and what the sender is told."""

    transaction: Transaction
    name: str
    size_bytes: int
    finished: Finished


class Receiving:
    """The receiving end of many transactions, from any entity.

    Args:
        keep: puts a file on disk by its name and bytes; OSError if it cannot.
        timing: intervals and limits.
        max_bytes: greatest file.
        pdu_bytes: greatest PDU that this end sends.
        entity: id of this end; PDUs to another one are ignored. None to be whoever the sender means.

    `arrivals` grows by each file that is complete, refused or given up.
    """

    def __init__(
        self,
        keep: Callable[[str, bytes], None],
        timing: Timing,
        max_bytes: int,
        pdu_bytes: int = 1024,
        entity: int | None = None,
    ) -> None:
        self.ignored = 0
        self.arrivals: list[Arrival] = []
        self._keep = keep
        self._pdu_bytes = pdu_bytes
        self._timing = timing
        self._max_bytes = max_bytes
        self._entity = entity
        self._reordering = Reordering()
        self._open: dict[tuple[int, int], Destination] = {}
        self._closed: dict[tuple[int, int], Finished] = {}
        self._replies: deque[tuple[Transaction, Pdu]] = deque(maxlen=MAX_OPEN)

    def __len__(self) -> int:
        return len(self._open)

    def progress(self) -> list[tuple[str, int, int]]:
        """Name, bytes received and size (0 while not known) of each file under way."""
        going = (d for d in self._open.values() if d.state is State.RECEIVING)
        return [(d.metadata.destination_name if d.metadata else "", d.got.size, d.size or 0) for d in going]

    def hear(self, datagram: bytes, now_s: float) -> Transaction | None:
        """Take a datagram: the transaction that it belongs to; None if it was ignored, which is counted."""
        try:
            transaction, pdu = codec.unpack(datagram)
            elsewhere = self._entity is not None and transaction.destination != self._entity
            if elsewhere or isinstance(pdu, Finished | cfdp.Nak | cfdp.KeepAlive):
                raise RejectedError("bad_pdu", "not for this end")
            self._take(transaction, pdu, now_s)
        except RejectedError:
            self.ignored += 1
            return None
        return transaction

    def _take(self, transaction: Transaction, pdu: Pdu, now_s: float) -> None:
        key = (transaction.source, transaction.number)
        destination = self._open.get(key)
        if destination is None and (key in self._closed or isinstance(pdu, cfdp.Ack)):
            self._repeat(transaction, pdu)
            return
        if destination is None:
            self._drop_silent(now_s)
            if len(self._open) >= MAX_OPEN:
                raise RejectedError("too_many_transfers", f"{MAX_OPEN} transactions are under way")
            destination = Destination(transaction, self._max_bytes, self._timing, self._reordering)
            self._open[key] = destination
        before = destination.state
        if before is State.RECEIVING and isinstance(pdu, cfdp.Metadata) and (reason := self._refusal(pdu)):
            destination.metadata = pdu
            destination.finish(rejection(reason), now_s)
        destination.take(pdu, now_s)
        if destination.state is State.WHOLE:
            self._store(destination, now_s)
        self._note(key, destination, before)

    def _refusal(self, metadata: cfdp.Metadata) -> str:
        if metadata.size > self._max_bytes:
            return f"takes at most {self._max_bytes} bytes"
        if metadata.requests:
            return "filestore and proxy requests are not taken"
        return "" if safe_name(metadata.destination_name) else "file name is not allowed"

    def _store(self, destination: Destination, now_s: float) -> None:
        name = destination.metadata.destination_name if destination.metadata else ""
        try:
            self._keep(safe_name(name), destination.data)
        except OSError as error:
            destination.finish(rejection(error.strerror or "cannot be written"), now_s)
        else:
            destination.finish(destination.accepted(), now_s)

    def _note(self, key: tuple[int, int], destination: Destination, before: State) -> None:
        """Tell of a transaction that has just ended, and let go of one that its sender knows to be over."""
        if before is State.RECEIVING and destination.state is not State.RECEIVING:
            name = safe_name(destination.metadata.destination_name) if destination.metadata else ""
            arrival = Arrival(destination.transaction, name, destination.got.size, destination.finished)
            self.arrivals.append(arrival)
        if destination.state is State.CLOSED:
            self._close(key)

    def _close(self, key: tuple[int, int]) -> None:
        self._closed[key] = self._open.pop(key).finished
        if len(self._closed) > MAX_CLOSED:
            del self._closed[next(iter(self._closed))]

    def _drop_silent(self, now_s: float) -> None:
        """Give up transactions of which nothing came for too long (727.0-B-5 4.10.1)."""
        silent = [key for key, d in self._open.items() if now_s - d.touched_s > self._timing.inactivity_s]
        for key in silent:
            del self._open[key]

    def _repeat(self, transaction: Transaction, pdu: Pdu) -> None:
        """Answer on a transaction that is over: its sender did not hear the first time."""
        finished = self._closed.get((transaction.source, transaction.number))
        if finished is None or not transaction.acknowledged:
            return
        if isinstance(pdu, cfdp.Eof):
            status = cfdp.Status.TERMINATED
            self._replies.append((transaction, cfdp.Ack(cfdp.Acknowledged.EOF, pdu.condition, status)))
        if isinstance(pdu, cfdp.Eof | cfdp.Prompt):
            self._replies.append((transaction, finished))

    def poll(self, now_s: float) -> tuple[Transaction, bytes] | None:
        """The next datagram that is due, and its transaction."""
        if self._replies:
            transaction, reply = self._replies.popleft()
            return transaction, codec.pack(transaction, reply)
        for key, destination in list(self._open.items()):
            if destination.due() <= now_s + TOLERANCE_S:
                before = destination.state
                pdu = destination.send(self._pdu_bytes, now_s)
                self._note(key, destination, before)
                if pdu is not None:
                    return destination.transaction, codec.pack(destination.transaction, pdu)
        return None

    def due(self) -> float:
        """When `poll` may have something."""
        return 0.0 if self._replies else min((d.due() for d in self._open.values()), default=NEVER)


def safe_name(name: str) -> str:
    """The last part of a file name, to be written in one directory; empty if there is none that can be trusted."""
    last = PurePosixPath(name.replace("\\", "/")).name
    return last if last.isprintable() and len(last) <= MAX_NAME_CHARS and not last.startswith(".") else ""
