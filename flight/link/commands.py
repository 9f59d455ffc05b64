"""Telecommands are repeated until they are acknowledged, and executed once.

The ground gives each telecommand a number and repeats it, in view, until an acknowledgement of that number arrives.
On board, `CommandLog` remembers the numbers that were dealt with, so that copies are only acknowledged again.
"""

from __future__ import annotations

import zlib
from dataclasses import dataclass
from typing import Any

from flight.link import state
from flight.link.contact import NEVER, NOW, TOLERANCE_S
from flight.link.errors import LinkError, LinkFullError, RejectedError
from flight.link.schema import MAX_NUMBER

REMEMBERED = 1024


@dataclass
class _Pending:
    priority: int
    body: bytes
    send_at: float = NOW
    sent: bool = False


class CommandQueue:
    """The ground's telecommands that are not acknowledged yet."""

    def __init__(self, limit: int, retry_s: float, first_number: int = 0) -> None:
        self._limit = limit
        self._retry_s = retry_s
        self._last_number = first_number
        self._pending: dict[int, _Pending] = {}

    def __len__(self) -> int:
        return len(self._pending)

    def __contains__(self, number: int | None) -> bool:
        return number in self._pending

    def new_number(self) -> int:
        """The next number, never used before."""
        if self._last_number >= MAX_NUMBER:
            raise LinkError("telecommand numbers are used up")
        self._last_number += 1
        return self._last_number

    def check_room(self) -> None:
        """LinkFullError if no further telecommand can wait."""
        if len(self._pending) >= self._limit:
            raise LinkFullError(f"{self._limit} telecommands are waiting for their acknowledgement")

    def put(self, number: int, body: bytes, priority: int) -> None:
        """Send a telecommand until it is acknowledged."""
        self._pending[number] = _Pending(priority, body)

    def take(self, room: int, view_s: float) -> tuple[bytes, bool] | None:
        """The most urgent telecommand that is due and takes at most `room` bytes, and whether it was sent before."""
        due = [
            (pending.priority, number)
            for number, pending in self._pending.items()
            if pending.send_at <= view_s + TOLERANCE_S and len(pending.body) <= room
        ]
        if not due:
            return None
        pending = self._pending[min(due)[1]]
        resent, pending.sent = pending.sent, True
        pending.send_at = view_s + self._retry_s
        return pending.body, resent

    def due(self) -> float:
        """Seconds in view at which a telecommand is to be sent."""
        return min((pending.send_at for pending in self._pending.values()), default=NEVER)

    def resume(self) -> None:
        """A pass begins: send everything again at once."""
        for pending in self._pending.values():
            pending.send_at = NOW

    def acknowledged(self, number: int) -> bool:
        """Forget a telecommand; True if it was waiting."""
        return self._pending.pop(number, None) is not None

    def save(self) -> dict[str, Any]:
        """Numbers and waiting telecommands, as plain values."""
        waiting = [[number, pending.priority, pending.body] for number, pending in self._pending.items()]
        return {"last_number": self._last_number, "waiting": waiting}

    def restore(self, saved: Any) -> None:
        """Go on with the telecommands that were saved."""
        self._last_number, waiting = state.fields(saved, "commands", last_number=int, waiting=list)
        for number, priority, body in state.entries(waiting, "commands.waiting", int, int, bytes):
            self.put(number, body, priority)


@dataclass
class _InHand:
    command_id: int
    fingerprint: int
    copies: int = 0


@dataclass(frozen=True)
class _Dealt:
    fingerprint: int
    outcome: str
    reason: str


class CommandLog:
    """The telecommand numbers dealt with on board: the last 1024, and that all up to `floor` are too old to tell."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._floor = 0
        self._dealt: dict[int, _Dealt] = {}
        self._in_hand: dict[int, _InHand] = {}

    def judge(self, number: int, command_id: int, body: bytes) -> tuple[str, str] | None:
        """What to answer: (outcome, reason) for a copy, ("", "") for one in hand, None if it is to be executed now."""
        fingerprint = zlib.crc32(body)
        known = self._in_hand.get(number) or self._dealt.get(number)
        if known is None and number <= self._floor:
            return "rejected", "number is too old to tell whether it was used"
        if known is None:
            if len(self._in_hand) >= self._limit:
                raise RejectedError("too_many_commands", f"{self._limit} telecommands are being executed")
            self._in_hand[number] = _InHand(command_id, fingerprint)
            return None
        if known.fingerprint != fingerprint:
            return "rejected", "number was used by another telecommand"
        if isinstance(known, _InHand):
            known.copies = min(known.copies + 1, self._limit)
            return "", ""
        return copy_outcome(known.outcome), known.reason

    def deal(self, number: int, outcome: str, reason: str) -> tuple[int, int]:
        """Note the outcome of a telecommand in hand; its command id, and how many copies of it came meanwhile.

        LinkError if it is not in hand.
        """
        if number not in self._in_hand:
            raise LinkError(f"telecommand {number} is not being executed")
        in_hand = self._in_hand.pop(number)
        self._dealt[number] = _Dealt(in_hand.fingerprint, outcome, reason)
        if len(self._dealt) > REMEMBERED:
            oldest = min(self._dealt)
            del self._dealt[oldest]
            self._floor = max(self._floor, oldest)
        return in_hand.command_id, in_hand.copies

    def save(self) -> dict[str, Any]:
        """The log, as plain values; telecommands in hand are not part of it, so they come again after a restart."""
        dealt = [[number, entry.fingerprint, entry.outcome, entry.reason] for number, entry in self._dealt.items()]
        return {"floor": self._floor, "dealt": dealt}

    def restore(self, saved: Any) -> None:
        """Go on with the log that was saved."""
        self._floor, dealt = state.fields(saved, "command_log", floor=int, dealt=list)
        for number, fingerprint, outcome, reason in state.entries(dealt, "command_log.dealt", int, int, str, str):
            self._dealt[number] = _Dealt(fingerprint, outcome, reason)


def copy_outcome(outcome: str) -> str:
    """The answer to a copy of a telecommand with this outcome."""
    return "duplicate" if outcome == "executed" else outcome
