"""What a station knows of events: each is archived once, and confirmed, so that flight may forget it.

Serial numbers name events; those of a process that died before it saved them may come again for others, and then the
on-board time tells them apart.
"""

from __future__ import annotations

from itertools import pairwise
from typing import Any

from flight.step import NEVER

KNOWN = 1024  # events remembered, four times what flight keeps
CONFIRM_AFTER_S = 2.0
MAX_RUNS = 8  # telecommands at a time


class EventsHeard:
    """The events that have come, and which of them flight has yet to be told of."""

    def __init__(self) -> None:
        self._known: dict[int, float] = {}  # on-board time by serial number, in the order of arrival
        self._new: set[int] = set()
        self.due_s = NEVER  # when there is something to confirm
        self.copies = 0

    def hear(self, serial: int, t_s: float, t: float) -> bool:
        """Take note of an event that came at mission time `t`; whether it is a new one."""
        new = self._known.get(serial) != t_s
        self._known.pop(serial, None)
        self._known[serial] = t_s
        if len(self._known) > KNOWN:
            del self._known[next(iter(self._known))]
        if len(self._new) < KNOWN:
            self._new.add(serial)
        self.due_s = min(self.due_s, t + CONFIRM_AFTER_S)
        self.copies += not new
        return new

    def to_confirm(self, t: float) -> list[tuple[int, int]]:
        """First and last serial number of runs of events to confirm now, the lowest first."""
        if t < self.due_s:
            return []
        serials = sorted(self._new)
        ends = [0, *(i for i, (one, two) in enumerate(pairwise(serials), 1) if two != one + 1), len(serials)]
        return [(serials[start], serials[end - 1]) for start, end in pairwise(ends)][:MAX_RUNS]

    def confirmed(self, first: int, last: int, t: float) -> None:
        """A confirmation of this run is on its way, and will be repeated until it arrives."""
        self._new -= set(range(first, last + 1))
        self.due_s = t + CONFIRM_AFTER_S if self._new else NEVER

    def wait(self, t: float) -> None:
        """The link takes no confirmation now."""
        self.due_s = t + CONFIRM_AFTER_S

    def save(self) -> dict[str, Any]:
        """All of it as plain values."""
        return {"known": [list(each) for each in self._known.items()], "new": sorted(self._new)}

    def restore(self, saved: dict[str, Any]) -> None:
        """The inverse of `save`."""
        self._known = dict(saved["known"])
        self._new = set(saved["new"])
        self.due_s = -NEVER if self._new else NEVER
