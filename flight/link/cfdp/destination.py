"""The receiving side of one transaction (727.0-B-5 4.6.1.2, 4.6.4.3, 4.7, 4.11.2.3).

Data may come in any order and any cut, before the metadata and after the EOF. A whole file waits for the word of its
owner, which the Finished PDU carries until that is acknowledged.
"""

from __future__ import annotations

from enum import Enum, auto

from flight.link.cfdp import checksum
from flight.link.cfdp.extents import Extents
from flight.link.cfdp.lost import LostSegments, Reordering
from flight.link.cfdp.pdu import (
    NAK_REQUEST_BYTES,
    Ack,
    Acknowledged,
    Condition,
    Eof,
    FileData,
    FileStatus,
    Finished,
    KeepAlive,
    Metadata,
    Pdu,
    Prompt,
    Status,
    Transaction,
)
from flight.link.cfdp.timing import Timing
from flight.link.contact import NEVER, NOW, TOLERANCE_S
from flight.link.errors import RejectedError

MAX_EXTENTS = 4096


class State(Enum):
    """Where a destination stands."""

    RECEIVING = auto()
    WHOLE = auto()  # complete, and its owner has not spoken
    FINISHED = auto()  # over, and the Finished PDU is not acknowledged
    CLOSED = auto()


class Destination:
    """One file on its way in: `take` PDUs until `state` is WHOLE, then `finish`; `send` what is due.

    Args:
        transaction: as in the first PDU.
        max_bytes: greatest file.
        timing: intervals and limits.
        reordering: what the channel has shown, shared by all transactions.
    """

    def __init__(self, transaction: Transaction, max_bytes: int, timing: Timing, reordering: Reordering) -> None:
        self.transaction = transaction
        self.max_bytes = max_bytes
        self.timing = timing
        self.state = State.RECEIVING
        self.suspended = False
        self.metadata: Metadata | None = None
        self.eof: Eof | None = None
        self.buffer = bytearray()
        self.got = Extents()
        self.finished = Finished()
        self.touched_s = NOW
        self._acks: list[Condition] = []  # EOFs to acknowledge
        self._keep_alive = False
        self._finished_at = NEVER
        self._tries = 0
        self._lost = LostSegments(transaction, timing, reordering)

    @property
    def size(self) -> int | None:
        """The file's size [bytes] if it is known: from the EOF, or from metadata that give one."""
        if self.eof:
            return self.eof.size
        return self.metadata.size or None if self.metadata else None

    @property
    def data(self) -> bytes:
        """The file, or what there is of it."""
        return bytes(self.buffer)

    @property
    def lacks(self) -> bool:
        """Whether metadata, EOF or data are missing."""
        return self.metadata is None or self.eof is None or self.got.size < self.eof.size

    # What comes in.

    def take(self, pdu: Pdu, view_s: float) -> None:
        """Take a PDU from the sender; `RejectedError`, with nothing kept of it, if it cannot be right."""
        self.touched_s = view_s
        match pdu:
            case FileData():
                self._take_data(pdu, view_s)
            case Metadata():
                self._take_metadata(pdu)
            case Eof():
                self._take_eof(pdu, view_s)
            case Ack(of=Acknowledged.FINISHED) if self.state is State.FINISHED:
                self.state = State.CLOSED
            case Prompt(keep_alive=True):
                self._keep_alive = True
            case Prompt():
                self._asked(view_s)
        self._complete()

    def _take_metadata(self, metadata: Metadata) -> None:
        if self.metadata is None and self.state is State.RECEIVING:  # 4.6.1.2.4: once
            if metadata.size and metadata.size < self.got.end:
                self.got.remove(metadata.size, self.got.end)
                del self.buffer[self.got.end :]
            self.metadata = metadata

    def _take_data(self, data: FileData, view_s: float) -> None:
        if self.state is not State.RECEIVING or not data.data:
            return
        start, end = data.offset, data.offset + len(data.data)
        beyond = end > (self.max_bytes if self.size is None else self.size)  # 4.6.1.2.7 c)
        if beyond or len(self.got) >= MAX_EXTENTS:
            found = f"bytes {start} to {end} of {self.size}, {len(self.got)} gaps"
            raise RejectedError("segment_out_of_range", f"transaction {self.transaction.number}: {found}")
        before, progress = self.got.size, self.got.end
        if end > len(self.buffer):
            self.buffer.extend(bytes(end - len(self.buffer)))
        for first, last in list(self.got.gaps(start, end)):  # 4.6.1.2.7: repeated data are discarded
            self.buffer[first:last] = data.data[first - start : last - start]
        self.got.add(start, end)
        if self.got.size == before:
            return
        self._lost.arrived(start, end, progress, view_s)

    def _take_eof(self, eof: Eof, view_s: float) -> None:
        if self.transaction.acknowledged and eof.condition not in self._acks:
            self._acks.append(eof.condition)  # 4.7.2: every one is acknowledged
        if eof.condition and self.state is State.RECEIVING:  # 4.6.6.1.1
            self.finish(Finished(eof.condition, False, FileStatus.DISCARDED_DELIBERATELY), view_s)
        elif eof.condition or self.state is State.WHOLE:
            return
        elif self.state is State.FINISHED:
            self._finished_at = NOW
        elif self.eof is None:
            self._check_size(eof, view_s)
        if self.state is State.RECEIVING:
            self._asked(view_s)

    def _check_size(self, eof: Eof, view_s: float) -> None:
        told = self.metadata.size if self.metadata else 0
        if eof.size > self.max_bytes:
            self.finish(rejection(f"takes at most {self.max_bytes} bytes"), view_s)
        elif self.got.end > eof.size or (told and told != eof.size):  # 4.6.1.2.9
            self.finish(Finished(Condition.FILE_SIZE_ERROR, False, FileStatus.DISCARDED_DELIBERATELY), view_s)
        else:
            self.eof = eof

    def _asked(self, view_s: float) -> None:
        """The sender wants to know what is missing, or that nothing is."""
        if self.state is State.FINISHED:
            self._finished_at = NOW
        elif self.transaction.acknowledged or self.lacks:
            self._lost.asked(view_s)

    def _complete(self) -> None:
        if self.state is not State.RECEIVING or self.suspended or self.lacks or not (self.metadata and self.eof):
            return
        kind = self.metadata.checksum_type  # 4.2.2.8: a type that is not known counts as the null checksum
        checked = kind != checksum.NULL and checksum.supported(kind)
        if checked and checksum.compute(kind, self.buffer) != self.eof.checksum:
            self.finish(Finished(Condition.FILE_CHECKSUM_FAILURE, True, FileStatus.DISCARDED_DELIBERATELY), NOW)
        else:
            self.state = State.WHOLE
            self._lost.stop()

    def accepted(self) -> Finished:
        """What to say of a file that is safe: 4.2.2.8 asks for a word if its checksum could not be computed."""
        known = self.metadata is None or checksum.supported(self.metadata.checksum_type)
        return Finished() if known else Finished(Condition.UNSUPPORTED_CHECKSUM_TYPE)

    def finish(self, finished: Finished, view_s: float) -> None:
        """It is over, well or not (4.11.1): say so until that is acknowledged."""
        self.finished = finished
        self.state = State.FINISHED
        self.suspended = False
        self._lost.stop()
        self._tries = 0
        self.touched_s = max(self.touched_s, view_s)
        self._finished_at = NOW
        if not finished.success:
            self.buffer, self.got = bytearray(), Extents()
        if not self.transaction.acknowledged and not (self.metadata and self.metadata.closure):
            self.state = State.CLOSED

    # What goes out.

    def due(self) -> float:
        """Seconds in view at which there may be something to send, or a limit is reached."""
        if self._acks or self._keep_alive:
            return NOW
        return NEVER if self.suspended else min(self._finished_at, self._lost.due(), self._given_up_at)

    @property
    def _given_up_at(self) -> float:
        """When silence ends the transaction (4.10.1), if faults cancel: else it only loses its place to a new one."""
        gives_up = self.timing.slow_s is None and self.state is State.RECEIVING
        return self.touched_s + self.timing.inactivity_s if gives_up else NEVER

    def send(self, room: int, view_s: float) -> Pdu | None:
        """The next PDU if there is one that takes at most `room` bytes."""
        if room < self.transaction.segment_overhead_bytes + 2 * self.transaction.offset_bytes + NAK_REQUEST_BYTES:
            return None
        if self._acks:
            status = Status.TERMINATED if self.state is State.CLOSED else Status.ACTIVE
            return Ack(Acknowledged.EOF, self._acks.pop(0), status)
        if self._keep_alive:
            self._keep_alive = False
            return KeepAlive(self.got.end)
        if self.suspended:
            return None
        if self._given_up_at <= view_s:
            self.finish(Finished(Condition.INACTIVITY_DETECTED, False, FileStatus.DISCARDED_DELIBERATELY), view_s)
        if self._finished_at <= view_s + TOLERANCE_S and self.state is State.FINISHED:
            return self._send_finished(view_s)
        if not self._lost.begin(self.got, self.eof.size if self.eof else None, self.lacks, view_s):
            limit = Condition.NAK_LIMIT_REACHED if self.transaction.acknowledged else Condition.CHECK_LIMIT_REACHED
            self.finish(Finished(limit, False, FileStatus.DISCARDED_DELIBERATELY), view_s)
        return self._lost.next(room, self.got, self.metadata is None)

    def _send_finished(self, view_s: float) -> Pdu | None:
        self._tries += 1
        if not self.transaction.acknowledged:
            self.state = State.CLOSED
        limit = self._tries > self.timing.attempts and self.timing.slow_s is None  # 4.7.1
        if limit or view_s - self.touched_s > self.timing.inactivity_s:
            self.state, self._finished_at = State.CLOSED, NEVER
            return None
        slow = self._tries > self.timing.attempts
        self._finished_at = view_s + (self.timing.slow_s or 0.0 if slow else self.timing.response_s)
        return self.finished

    # Suspension, and passes.

    def suspend(self) -> None:
        """Say nothing but acknowledgements, and hand nothing over, until `resume` (4.11.2.7)."""
        self.suspended = self.state in (State.RECEIVING, State.WHOLE)
        if self.suspended:
            self._lost.pause()

    def resume(self, view_s: float) -> None:
        """Go on after a suspension (4.6.7.3): say what is missing, or how far reception has come."""
        self.suspended = False
        self.thaw(view_s)

    def thaw(self, view_s: float) -> None:
        """A pass begins (4.12.2.8): timers go on, and the sender hears where this end stands."""
        self._tries = 0
        if self.state is State.FINISHED:
            self._finished_at = NOW
        elif self.transaction.acknowledged and self.state is State.RECEIVING:
            self._lost.begin_pass(view_s)


def rejection(reason: str) -> Finished:
    """The file was whole, or would be, and is not wanted: the owner's reason goes with it."""
    return Finished(Condition.FILESTORE_REJECTION, True, FileStatus.DISCARDED_FILESTORE_REJECTION, reason)
