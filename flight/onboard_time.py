"""The on-board clock: an oscillator that drifts, and a correction that telecommands set."""

from __future__ import annotations

from dataclasses import dataclass

from flight.link.cuc import MAX_S


class ClockError(ValueError):
    """A time that the on-board clock cannot take."""


@dataclass
class OnBoardTime:
    """On-board time [s] as an affine function of mission time; before it is set it counts from the mission's start.

    `drift_ppm` is that of the oscillator, `offset_s` the correction so far, `times_set` how often that was changed.
    """

    drift_ppm: float = 0.0
    offset_s: float = 0.0
    times_set: int = 0

    def read(self, t: float) -> float:
        """On-board time at mission time `t`, within what its code on the wire can say."""
        return min(max(self._oscillator(t) + self.offset_s, 0.0), MAX_S)

    def when(self, on_board_s: float) -> float:
        """Mission time at which the clock will show `on_board_s`, if it is not set again."""
        return (on_board_s - self.offset_s) / self._rate

    def set(self, t: float, on_board_s: float) -> float:
        """Let the clock show `on_board_s` at mission time `t`; by how much it leaps [s]. ClockError out of range."""
        if not 0 <= on_board_s <= MAX_S:
            raise ClockError(f"on-board time would be {on_board_s:.0f} s")
        leap_s = on_board_s - self.read(t)
        self.offset_s = on_board_s - self._oscillator(t)
        self.times_set = (self.times_set + 1) & 0xFFFF
        return leap_s

    @property
    def _rate(self) -> float:
        return 1 + self.drift_ppm * 1e-6

    def _oscillator(self, t: float) -> float:
        return t * self._rate
