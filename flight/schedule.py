"""Telecommands that wait for their on-board time.

A core without clock or disk: it is told the on-board time, and its owner saves it. An entry is taken out, and that is
saved, before it is executed: after a restart it is not executed again, even if nobody knows how far it came.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from flight.link import state
from flight.link.cuc import TICKS
from flight.link.definitions import LATE, OF_THE_LINK
from flight.step import NEVER

TICK_S = 2 / TICKS  # an entry is due so early: mission time does not resolve on-board time any better
NOT_IN_THE_SCHEDULE = ("schedule", *OF_THE_LINK)


class ScheduleError(ValueError):
    """A telecommand that the schedule does not take, or does not have."""


@dataclass(frozen=True)
class Entry:
    """A telecommand in embedded form, under the number of the `schedule` that brought it.

    `at_s` is on-board time; `if_late` says whether it is skipped or run when that is past.
    """

    number: int
    at_s: float
    if_late: str
    command: bytes


class Schedule:
    """At most `limit` entries; one more than `late_s` after its time is late."""

    def __init__(self, limit: int, late_s: float) -> None:
        self._limit = limit
        self._late_s = late_s
        self._entries: dict[int, Entry] = {}

    def __len__(self) -> int:
        return len(self._entries)

    @property
    def entries(self) -> list[Entry]:
        """Every entry, in the order of execution."""
        return sorted(self._entries.values(), key=lambda entry: (entry.at_s, entry.number))

    def add(self, entry: Entry, now_s: float) -> None:
        """Take an entry at on-board time `now_s`; ScheduleError if it is late and says to skip it, or at the limit."""
        if entry.number not in self._entries and len(self._entries) >= self._limit:
            raise ScheduleError(f"{self._limit} telecommands wait already")
        if self.is_late(entry, now_s) and entry.if_late == "skip":
            raise ScheduleError(f"time tag is {now_s - entry.at_s:.0f} s in the past")
        self._entries[entry.number] = entry

    def is_late(self, entry: Entry, now_s: float) -> bool:
        """Whether an entry's time is past by more than is allowed."""
        return now_s - entry.at_s > self._late_s

    def take(self, now_s: float) -> Entry | None:
        """The next entry that is due, which is no longer in the schedule then."""
        due = [entry for entry in self.entries if entry.at_s <= now_s + TICK_S]
        return self._entries.pop(due[0].number) if due else None

    def put_back(self, entry: Entry) -> None:
        """Undo `take`."""
        self._entries[entry.number] = entry

    def due_s(self) -> float:
        """On-board time of the next entry; infinity if there is none."""
        return min((entry.at_s for entry in self._entries.values()), default=NEVER)

    def delete(self, number: int) -> None:
        """Drop an entry; ScheduleError if there is none of that number."""
        if self._entries.pop(number, None) is None:
            raise ScheduleError(f"no telecommand {number} waits")

    def clear(self) -> None:
        """Drop every entry."""
        self._entries.clear()

    def save(self) -> list[Any]:
        """The entries, as plain values."""
        return [[entry.number, entry.at_s, entry.if_late, entry.command] for entry in self.entries]

    def restore(self, saved: Any) -> None:
        """Go on with the entries that were saved."""
        for row in state.entries(saved, "schedule", int, float, str, bytes):
            entry = Entry(*row)
            state.check(entry.if_late in LATE, "schedule.if_late", entry.if_late)
            self._entries[entry.number] = entry
