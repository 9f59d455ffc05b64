"""When there is contact, and time in view: the clock of every timer of the link, which stands still between passes."""

from __future__ import annotations

NEVER = float("inf")
NOW = float("-inf")
# Deadlines this close count as reached: adding and subtracting mission times rounds.
TOLERANCE_S = 1e-3


class Contact:
    """One end's view of contact: from `start` to `end` [mission s], and the seconds in view before that."""

    def __init__(self) -> None:
        self._start = 0.0
        self._end = 0.0
        self._before_s = 0.0

    def holds(self, t: float) -> bool:
        """Whether there is contact at mission time `t`."""
        return self._start <= t < self._end

    def extend(self, t: float, end: float) -> bool:
        """Contact holds from `t` at the latest until `end`; True if it begins only now."""
        begins = not self.holds(t)
        if begins:
            self._before_s += self._end - self._start
            self._start = t
        self._end = end
        return begins

    def lose(self, t: float) -> None:
        """Contact ends at `t`, if it holds."""
        if self.holds(t):
            self._end = t

    def view_s(self, t: float) -> float:
        """Seconds in view up to mission time `t`, since this object was made."""
        return self._before_s + max(0.0, min(t, self._end) - self._start)

    def when(self, view_s: float) -> float:
        """Mission time at which so many seconds in view are reached; NEVER if contact ends before."""
        t = self._start + view_s - self._before_s
        return t if t < self._end else NEVER
