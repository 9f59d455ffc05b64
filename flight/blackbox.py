"""The page of memory that the flight process shares with its supervisor: that it lives, and what to say of its death.

The flight process writes it without a system call; the supervisor reads it at any time, also after the other is dead. A
reader may find a page half written: every value is checked for its range and none is trusted. Times are those of
`flight.clock.wall_s`, which both processes read alike.
"""

from __future__ import annotations

import math
import mmap
import os
import struct
from dataclasses import dataclass
from typing import NamedTuple, Protocol

from flight.clock import wall_s
from flight.link.definitions import ACTIVITIES, MODES, RATE_GROUPS

VARIABLE = "SWATH_BLACKBOX_FD"
SIZE = 4096
MAX_EVENTS, NAME_BYTES = 16, 24
_STATE = struct.Struct("<?BBHd")  # watched, mode, activity, incarnation, mission time
_PULSE = struct.Struct("<dBd")  # last ping, group that runs (0: none) and since when
_COUNT = struct.Struct("<I")
_EVENT = struct.Struct(f"<d{NAME_BYTES}s")
_STATE_AT, _PULSE_AT, _COUNT_AT, _EVENTS_AT = 0, 64, 128, 192
_GROUPS = {name: i + 1 for i, name in enumerate(RATE_GROUPS)}


class LoggedEvent(NamedTuple):
    """An event's on-board time and name."""

    t_s: float
    name: str


@dataclass(frozen=True)
class Snapshot:
    """What the page says: `ping_s` is 0 before the first ping; `group` is the rate group that runs, or empty."""

    watched: bool
    mode: str
    activity: str
    incarnation: int
    t_s: float
    ping_s: float
    group: str
    since_s: float
    events: tuple[LoggedEvent, ...]

    def hung_s(self, now_s: float) -> float:
        """How long no rate group has pinged, if that is watched [s]."""
        return now_s - self.ping_s if self.watched and self.ping_s else 0.0

    @property
    def where(self) -> str:
        """The rate group that runs, in words."""
        return f"rate group {self.group}" if self.group else "between rate groups"


class Pulse(Protocol):
    """Whoever is told that the flight process lives."""

    def begin(self, group: str) -> None:
        """A rate group runs."""

    def ping(self) -> None:
        """Every rate group was looked after: none hangs."""

    def note(self, mode: str, activity: str, incarnation: int, t_s: float) -> None:
        """What the process is doing, at mission time `t_s`."""

    def event(self, t_s: float, name: str) -> None:
        """An event was logged at on-board time `t_s`."""


class Unwatched:
    """A pulse that nobody takes."""

    def begin(self, group: str) -> None:
        """Nothing."""

    def ping(self) -> None:
        """Nothing."""

    def note(self, mode: str, activity: str, incarnation: int, t_s: float) -> None:
        """Nothing."""

    def event(self, t_s: float, name: str) -> None:
        """Nothing."""


class BlackBox:
    """One shared page, by its file descriptor; `watched` lets the supervisor expect pings."""

    def __init__(self, descriptor: int, watched: bool = False) -> None:
        self.descriptor = descriptor
        self.watched = watched
        self._page = mmap.mmap(descriptor, SIZE)
        self._events = 0

    @classmethod
    def create(cls) -> BlackBox:
        """A new page, for a process to come."""
        descriptor = os.memfd_create("swath-blackbox", os.MFD_CLOEXEC)
        os.ftruncate(descriptor, SIZE)
        return cls(descriptor)

    @classmethod
    def inherited(cls, watched: bool) -> BlackBox | None:
        """The page that the supervisor gave to this process; None without a supervisor."""
        descriptor = os.environ.get(VARIABLE)
        return cls(int(descriptor), watched) if descriptor else None

    def close(self) -> None:
        """Give the page up."""
        self._page.close()
        os.close(self.descriptor)

    # The flight process

    def begin(self, group: str) -> None:
        """A rate group runs."""
        now_s = wall_s()
        _PULSE.pack_into(self._page, _PULSE_AT, now_s, _GROUPS.get(group, 0), now_s)

    def ping(self) -> None:
        """Every rate group was looked after: none hangs."""
        _PULSE.pack_into(self._page, _PULSE_AT, wall_s(), 0, 0.0)

    def note(self, mode: str, activity: str, incarnation: int, t_s: float) -> None:
        """What the process is doing, at mission time `t_s`."""
        codes = MODES.index(mode), ACTIVITIES.index(activity)
        _STATE.pack_into(self._page, _STATE_AT, self.watched, *codes, incarnation, t_s)

    def event(self, t_s: float, name: str) -> None:
        """An event was logged at on-board time `t_s`."""
        at = _EVENTS_AT + _EVENT.size * (self._events % MAX_EVENTS)
        _EVENT.pack_into(self._page, at, t_s, name.encode()[:NAME_BYTES])
        self._events += 1
        _COUNT.pack_into(self._page, _COUNT_AT, self._events & 0xFFFFFFFF)

    # The supervisor

    def read(self) -> Snapshot:
        """What the page says now."""
        return unpack(self._page)


def unpack(page: mmap.mmap) -> Snapshot:
    """What a page says; values out of their range are replaced by the nearest, or by 0."""
    watched, mode, activity, incarnation, t_s = _STATE.unpack_from(page, _STATE_AT)
    ping_s, group, since_s = _PULSE.unpack_from(page, _PULSE_AT)
    return Snapshot(
        watched,
        MODES[min(mode, len(MODES) - 1)],
        ACTIVITIES[min(activity, len(ACTIVITIES) - 1)],
        incarnation,
        _finite(t_s),
        _finite(ping_s),
        RATE_GROUPS[group - 1] if 1 <= group <= len(RATE_GROUPS) else "",
        _finite(since_s),
        _latest(page),
    )


def _finite(value: float) -> float:
    return value if math.isfinite(value) else 0.0


def _latest(page: mmap.mmap) -> tuple[LoggedEvent, ...]:
    (count,) = _COUNT.unpack_from(page, _COUNT_AT)
    found = []
    for number in range(max(0, count - MAX_EVENTS), count):
        t_s, name = _EVENT.unpack_from(page, _EVENTS_AT + _EVENT.size * (number % MAX_EVENTS))
        found.append(LoggedEvent(_finite(t_s), name.rstrip(b"\0").decode("ascii", "replace")))
    return tuple(found)
