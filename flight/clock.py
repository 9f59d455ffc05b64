"""The mission's clock, and the only place in the product that reads the wall clock.

Mission time is a float: seconds since the mission's epoch. ``wall`` time, at rate 1, is for production and hardware in
the loop; ``scaled`` runs faster for show, and promises no determinism. ``stepped`` time jumps from event to event and
belongs to simulation: it needs no clock, as the time master says what time it is.
"""

from __future__ import annotations

import time


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


def unix_s() -> float:
    """Wall time [s since 1970]: for file names, time stamps and watchdogs, never for a decision of a core."""
    return time.time()


def wall_s() -> float:
    """A wall stopwatch [s, arbitrary origin]: for measuring, never for deciding."""
    return time.perf_counter()


def cpu_s() -> float:
    """CPU time of this process [s], user and system: for measuring, never for deciding."""
    return time.process_time()
