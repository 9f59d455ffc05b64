"""What a destination lacks, and when it says so (727.0-B-5 4.6.4.3, 4.6.4.6, 4.6.4.7).

Gaps are reported once each when they have been there for `nak_delay_s` (immediate mode), and everything that lacks when
the sender asks, when it falls silent after the EOF, and when a pass begins. Late originals are told from losses by the
reordering that the channel has shown so far. A NAK that does not fit a PDU goes on in the next one.
"""

from __future__ import annotations

from collections import deque

from flight.link.cfdp.extents import Extents
from flight.link.cfdp.pdu import Nak, Transaction
from flight.link.cfdp.timing import Timing
from flight.link.contact import NEVER, TOLERANCE_S

MAX_NAK_PDUS = 8
_MOST_LATE_S = 2.0


class Reordering:
    """How late PDUs have come behind later ones [s]; what is younger than that may still come."""

    def __init__(self) -> None:
        self.late_s = 0.0

    def note(self, late_s: float) -> None:
        """A PDU came so much later than one that was sent after it."""
        self.late_s = min(max(self.late_s, late_s), _MOST_LATE_S)


class LostSegments:
    """The NAKs of one transaction: what is due, and what was said already.

    Args:
        transaction: class 1 has no NAKs, but the same timer checks whether its file is complete.
        timing: intervals and limits.
        reordering: what the channel has shown, shared by all transactions.
    """

    def __init__(self, transaction: Transaction, timing: Timing, reordering: Reordering) -> None:
        self._transaction = transaction
        self._timing = timing
        self._reordering = reordering
        self._gap_at = NEVER  # gaps before `_gap_end` are to be reported then, once each
        self._gap_end = 0
        self._reported_end = 0
        self._all_at = NEVER  # everything that lacks is to be reported then
        self._scope: tuple[int, int] | None = None  # what is left to report of a NAK sequence
        self._pdus = 0
        self._tries = 0
        self._advances: deque[tuple[float, int]] = deque(maxlen=64)

    def due(self) -> float:
        """Seconds in view at which there may be something to report."""
        return min(self._gap_at, self._all_at) if self._scope is None else float("-inf")

    def stop(self) -> None:
        """Nothing is missing any more, or it does not matter (4.11.1.2.1)."""
        self._gap_at = self._all_at = NEVER
        self.pause()

    def pause(self) -> None:
        """Break off a NAK sequence; what is missing is reported when the sender or this end asks again."""
        self._scope = None

    def begin_pass(self, view_s: float) -> None:
        """Say everything that lacks, or how far reception has come."""
        self._tries = 0
        self._all_at = view_s

    def asked(self, view_s: float) -> None:
        """The sender wants to know what is missing, or that nothing is; in class 1, start the check timer."""
        if self._transaction.acknowledged:
            self._all_at = min(self._all_at, view_s + self._reordering.late_s)
        else:
            self._all_at = view_s + self._timing.response_s  # 4.6.3.3 b)

    def arrived(self, start: int, end: int, progress: int, view_s: float) -> None:
        """Data that were missing came; before them, reception had come to `progress`."""
        self._tries = 0  # 4.6.4.7: progress is data that were missing, wherever they belong
        if view_s + self._reordering.late_s < self._all_at < NEVER:
            self._all_at = view_s + 2 * self._timing.response_s
        if self._reported_end <= start < progress:  # nobody asked for them again: they are late
            passed_s = next((t for t, later in self._advances if later > start), view_s)
            self._reordering.note(view_s - passed_s)
        elif start > progress:
            self._wait(end, view_s)
        if end > progress:
            self._advances.append((view_s, end))

    def _wait(self, end: int, view_s: float) -> None:
        """Data are missing before `end`: say so once they cannot be late any more (4.6.4.3.1)."""
        if self._timing.immediate_nak and self._transaction.acknowledged and self._gap_at == NEVER:
            self._gap_at = view_s + max(self._timing.nak_delay_s, 2 * self._reordering.late_s)
            self._gap_end = end

    def begin(self, got: Extents, size: int | None, lacks: bool, view_s: float) -> bool:
        """Begin a NAK sequence if one is due; False if the limit was reached, and limits end transactions (4.6.4.7).

        `size` is that of an EOF received, and `lacks` whether anything is missing.
        """
        if self._all_at <= view_s + TOLERANCE_S:
            return self._begin_all(got, size, lacks, view_s)
        if self._gap_at <= view_s + TOLERANCE_S and self._scope is None:
            self._begin_gaps(got, view_s)
        return True

    def _begin_all(self, got: Extents, size: int | None, lacks: bool, view_s: float) -> bool:
        self._tries += 1
        limit, slow_s = self._tries > self._timing.attempts, self._timing.slow_s
        if limit and slow_s is None:
            return False
        waits_s = slow_s if limit and slow_s is not None else 2 * self._timing.response_s
        self._all_at = view_s + waits_s if size is not None and lacks else NEVER
        if self._transaction.acknowledged:
            self._scope, self._pdus = (0, got.end if size is None else size), 0
            self._reported_end = self._scope[1]
            self._gap_at = NEVER
        return True

    def _begin_gaps(self, got: Extents, view_s: float) -> None:
        self._gap_at = NEVER
        start, end = self._reported_end, min(self._gap_end, got.end)
        if next(got.gaps(start, end), None):
            self._scope, self._pdus = (start, end), 0
        self._reported_end = max(start, end)
        if next(got.gaps(self._reported_end, got.end), None):
            self._wait(got.end, view_s)

    def next(self, room: int, got: Extents, lacks_metadata: bool) -> Nak | None:
        """The next PDU of a NAK sequence: as many requests as `room` bytes hold, and the scope that they cover."""
        if self._scope is None:
            return None
        t, (start, end) = self._transaction, self._scope
        most = (room - t.header_bytes - 1 - 2 * t.offset_bytes - 2 * t.crc) // (2 * t.offset_bytes)
        requests = [(0, 0)] if lacks_metadata and not self._pdus else []  # 4.6.4.3.3
        self._scope, self._pdus = None, self._pdus + 1
        for gap in got.gaps(start, end):
            if len(requests) == most:
                end = requests[-1][1]
                self._scope = (end, self._reported_end) if self._pdus < MAX_NAK_PDUS else None
                break
            requests.append(gap)
        return Nak(start, end, tuple(requests))
