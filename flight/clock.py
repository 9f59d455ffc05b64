"""Mission clocks, and the only place in the product that reads the wall clock.

Mission time is a float: seconds since the mission's epoch. ``stepped`` time jumps from event to event and belongs to
simulation; ``wall`` is for production and hardware in the loop; ``scaled`` runs faster than the wall for show, and
promises no determinism.
"""

from __future__ import annotations

import time
from typing import Protocol

CLOCKS = ("stepped", "wall", "scaled")


class Clock(Protocol):
    """Something that tells mission time."""

    def now(self) -> float:
        """Mission time [s since the epoch]."""
        ...


class SteppedClock:
    """Mission time that moves only when it is told to, and never backwards."""

    def __init__(self, t: float = 0.0) -> None:
        self._t = t

    def now(self) -> float:
        """Mission time [s]."""
        return self._t

    def advance(self, t: float) -> None:
        """Move to mission time `t` [s]; ValueError if that lies in the past."""
        if t < self._t:
            raise ValueError(f"mission time cannot go back from {self._t} s to {t} s")
        self._t = t


class ScaledClock:
    """Mission time that runs `rate` times as fast as the wall from `epoch_unix_s` on.

    The wall clock is read once, at the start, and the time since then is that of a clock which nobody can set: a wall
    clock that jumps moves mission time only of processes that start later.
    """

    def __init__(self, epoch_unix_s: float, rate: float = 1.0) -> None:
        if not rate > 0:
            raise ValueError(f"clock rate is {rate}, must be positive")
        self.epoch_unix_s = epoch_unix_s
        self.rate = rate
        self._start_s = time.time() - epoch_unix_s
        self._since_s = time.monotonic()

    def now(self) -> float:
        """Mission time [s]."""
        return (self._start_s + time.monotonic() - self._since_s) * self.rate

    def wall_until(self, t: float) -> float:
        """Wall seconds until mission time `t`; zero if it has passed."""
        return max(0.0, (t - self.now()) / self.rate)


class WallClock(ScaledClock):
    """Mission time at the pace of the wall clock."""

    def __init__(self, epoch_unix_s: float) -> None:
        super().__init__(epoch_unix_s, 1.0)


def unix_s() -> float:
    """Wall time [s since 1970]: for file names, time stamps and watchdogs, never for a decision of a core."""
    return time.time()


def wall_s() -> float:
    """A wall stopwatch [s, arbitrary origin]: for measuring, never for deciding."""
    return time.perf_counter()


def cpu_s() -> float:
    """CPU time of this process [s], user and system: for measuring, never for deciding."""
    return time.process_time()
