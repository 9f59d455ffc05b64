"""The sending side of one transaction (727.0-B-5 4.6.1.1, 4.6.4.2, 4.7, 4.11.2.2).

Metadata, file data and EOF go out once; what NAKs ask for goes out again, before data that were never sent. When
nothing is left to send, and at the beginning of a pass, the source asks: with the EOF until that is acknowledged
(4.7.1), then with Prompt (NAK) PDUs (5.2.7), so that the answer comes one turnaround after the last byte. An ask
rides in the same frame as the data before it if there is room. Time is in seconds in view and stands still at LOS.
"""

from __future__ import annotations

from array import array
from enum import Enum, auto

from flight.link.cfdp import checksum
from flight.link.cfdp.extents import Extents
from flight.link.cfdp.pdu import (
    Ack,
    Acknowledged,
    Condition,
    Eof,
    FileData,
    Finished,
    KeepAlive,
    Metadata,
    Nak,
    Pdu,
    Prompt,
    Transaction,
)
from flight.link.cfdp.timing import Timing
from flight.link.contact import NEVER, NOW, TOLERANCE_S


class State(Enum):
    """Where a source stands."""

    SENDING = auto()  # the EOF is not acknowledged
    CLOSING = auto()  # the EOF is acknowledged, Finished has not come
    CANCELLING = auto()  # the EOF (cancel) is not acknowledged
    DONE = auto()


class Source:
    """One file on its way out. `outcome` is how it ended, once `state` is DONE.

    Args:
        transaction: what is in the headers.
        data: the file.
        names: of the file at the source and at the destination.
        segment_bytes: file data in one PDU.
        timing: intervals and limits.
        checksum_type: of the whole file.
    """

    def __init__(
        self,
        transaction: Transaction,
        data: bytes,
        names: tuple[str, str],
        segment_bytes: int,
        timing: Timing,
        checksum_type: int = checksum.CRC_32,
    ) -> None:
        self.transaction = transaction
        self.data = data
        self.metadata = Metadata(len(data), *names, checksum_type)
        self.segment_bytes = segment_bytes
        self.timing = timing
        self.state = State.SENDING
        self.suspended = False
        self.outcome: Finished | None = None
        self.begun = False
        self.offset = 0  # everything before it was sent once
        self.wanted = Extents()  # sent, and asked for again
        self.announce = True
        self.restarted = False  # `offset` is from a saved state: the receiver may have more
        self.unsure = False  # and it has not been asked
        self.prompt = False
        self.ask_at = NEVER
        self.quiet_until = NOW
        self.asks = 0
        self.heard_s = NOW
        self.cancelled_for = Condition.NO_ERROR
        self._sent_s = array("d", [NOW]) * -(-len(data) // segment_bytes)

    @property
    def left_bytes(self) -> int:
        """Bytes that are to be sent, as far as this end knows."""
        return len(self.data) - self.offset + self.wanted.size

    def due(self) -> float:
        """Seconds in view at which there is something to send."""
        if self.state is State.DONE or self.suspended:
            return NEVER
        if self.state is State.CANCELLING:
            return self.ask_at
        has_data = self.announce or self.prompt or self.left_bytes
        return max(self.quiet_until, NOW if has_data else self.ask_at)

    def take(self, room: int, view_s: float) -> tuple[Pdu, bool] | None:
        """The next PDU if it is due and takes at most `room` bytes, and whether it is file data sent before."""
        if self.due() > view_s + TOLERANCE_S:
            return None
        if self.heard_s == NOW:
            self.heard_s = view_s
        if self._gives_up(view_s):
            return None
        if self.state is State.CANCELLING or not (self.announce or self.prompt or self.left_bytes):
            return self._ask(room, view_s)
        if self.announce:
            return self._metadata(room)
        if self.prompt:
            return self._prompt(room, view_s)
        return self._segment(room, view_s)

    def _metadata(self, room: int) -> tuple[Pdu, bool] | None:
        names = len(self.metadata.source_name.encode()) + len(self.metadata.destination_name.encode())
        if self.transaction.segment_overhead_bytes + 4 + names > room:
            return None
        self.announce = False
        self.begun = True
        if not self.data:
            self.ask_at = NOW
        return self.metadata, False

    def _prompt(self, room: int, view_s: float) -> tuple[Pdu, bool] | None:
        """Ask how far the receiver has come; if this end does not know, send no data before the answer."""
        if self.transaction.header_bytes + 4 > room:
            return None
        self.prompt = False
        if self.unsure:
            self.unsure = False
            self.quiet_until = view_s + self.timing.response_s
        return Prompt(), False

    def _segment(self, room: int, view_s: float) -> tuple[Pdu, bool] | None:
        width = self.segment_bytes
        again = self.wanted.first()
        start, end = again or (self.offset, len(self.data))
        end = min(end, (start // width + 1) * width)
        if self.transaction.segment_overhead_bytes + end - start > room:
            return None
        if again:
            self.wanted.remove(start, end)
        else:
            self.offset = end
        self._sent_s[start // width] = view_s
        if not self.left_bytes:
            self.ask_at = NOW
        return FileData(start, self.data[start:end]), again is not None

    def _ask(self, room: int, view_s: float) -> tuple[Pdu, bool] | None:
        """EOF (4.6.1.1.9), or Prompt (NAK) once that is acknowledged; both again until there is an answer."""
        if self.transaction.segment_overhead_bytes + 16 > room:
            return None
        if self.state is State.CLOSING and not self.timing.prompts:
            self.ask_at = self.heard_s + self.timing.inactivity_s
            return None
        self.asks += 1
        slow = self.asks > self.timing.attempts and self.timing.slow_s is not None
        self.ask_at = view_s + (self.timing.slow_s or 0.0 if slow else self.timing.response_s)
        if self.state is State.CLOSING:
            return Prompt(), False
        return self._eof(), False

    def _eof(self) -> Eof:
        sent = self.data[: self.offset]  # 4.11.2.2.1: of a file cut short, what was sent
        return Eof(checksum.compute(self.metadata.checksum_type, sent), len(sent), self.cancelled_for)

    def _gives_up(self, view_s: float) -> bool:
        """Whether a limit was reached that ends the transaction (4.7.1, 4.10.1); cancelling ends it for good then."""
        if self.timing.slow_s is not None:
            return False
        unanswered = self.asks >= self.timing.attempts and self.state is not State.CLOSING
        if unanswered or view_s - self.heard_s >= self.timing.inactivity_s:
            condition = Condition.POSITIVE_ACK_LIMIT_REACHED if unanswered else Condition.INACTIVITY_DETECTED
            if self.state is State.CANCELLING:
                self._end(Finished(self.cancelled_for, False))
                return True
            self.heard_s = view_s
            self.cancel(condition)
        return False

    def hear(self, pdu: Pdu, view_s: float) -> None:
        """Take note of what the receiver says."""
        if self.state is State.DONE:
            return
        self.heard_s = view_s
        self.asks = 0
        match pdu:
            case Finished():
                self._end(pdu)
            case Ack(of=Acknowledged.EOF):
                self._acknowledged(pdu, view_s)
            case Nak() if self.state is not State.CANCELLING:  # 4.11.2.2.2 b)
                self._retransmit(pdu, view_s)
            case KeepAlive():
                self.quiet_until = NOW

    def _acknowledged(self, ack: Ack, view_s: float) -> None:
        if self.state is State.CANCELLING and ack.condition == self.cancelled_for:
            self._end(Finished(self.cancelled_for, False))
        elif self.state is State.SENDING and ack.condition == Condition.NO_ERROR and self.offset == len(self.data):
            self.state = State.CLOSING
            if not self.left_bytes:
                self.ask_at = view_s + self.timing.response_s

    def _retransmit(self, nak: Nak, view_s: float) -> None:
        """Send again what is asked for (4.6.4.2.1), unless it was sent so late that the receiver cannot know of it.

        The receiver has all else between the ends of the scope, even if this end does not remember to have sent it.
        """
        if self.restarted:
            before = 0 if self.quiet_until > view_s and not nak.start else self.offset
            end = min(nak.end, len(self.data))
            self.offset = end if nak.start <= before < end else before
        self.quiet_until = NOW
        width = self.segment_bytes
        for start, end in nak.requests:
            if not start and not end:
                self.announce = True
                continue
            end = min(end, self.offset)
            for index in range(start // width, -(-end // width)):
                if self._sent_s[index] <= view_s - self.timing.frame_s + TOLERANCE_S:
                    self.wanted.add(max(start, index * width), min(end, (index + 1) * width))
        if self.left_bytes:
            self.ask_at = NEVER
        elif self.begun:
            waits = self.state is State.CLOSING and not nak.requests and nak.end >= len(self.data)
            self.ask_at = view_s + (self.timing.slow_s or self.timing.response_s if waits else self.timing.response_s)
        if nak.end < len(self.data) or not nak.requests:
            self.state = State.SENDING  # a receiver that lost its state may have acknowledged an EOF that it lacks now

    def cancel(self, condition: Condition = Condition.CANCEL_REQUEST_RECEIVED) -> None:
        """End the transaction before its time (4.11.2.2): the receiver is told with an EOF (cancel)."""
        self.cancelled_for = condition
        if not self.begun:
            self._end(Finished(condition, False))
        elif self.state is not State.DONE:
            self.state = State.CANCELLING
            self.suspended = False
            self.asks = 0
            self.ask_at = NOW

    def _end(self, outcome: Finished) -> None:
        self.outcome = outcome
        self.state = State.DONE

    def suspend(self) -> None:
        """Send nothing until `resume` (4.11.2.6)."""
        self.suspended = self.state is not State.CANCELLING

    def resume(self) -> None:
        """Go on after a suspension (4.6.7.2), or because a pass begins (4.12.2.3): ask what is missing."""
        self.suspended = False
        self.thaw()

    def thaw(self) -> None:
        """A pass begins (4.12.2.3): timers go on, and the receiver is asked what it has."""
        self.quiet_until = NOW
        self.asks = 0
        if self.state is State.CANCELLING or (self.begun and not self.left_bytes):
            self.ask_at = NOW
        elif self.begun:
            self.prompt = True

    def restart(self) -> None:
        """This end comes from a saved state: what was sent since then is not known."""
        self.announce = not self.begun
        self.restarted = self.unsure = self.prompt = self.begun and self.state is not State.CANCELLING
        self.ask_at = NOW
