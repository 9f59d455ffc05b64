"""The board: power and thermal control of the simulated satellite. It reports to flight, and hears what flight draws.

What flight draws is known from its own messages: while it is down, its last word stands.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from typing import Any

from flight.board import BoardError, Draw, Reading
from flight.step import Message, Output, Step
from sim.power import Battery, PowerSection, ThermalMass

PORT = "flight"
Interval = tuple[float, float]


class Board:
    """The board's core; its one port is "flight".

    Args:
        section: the models' parameters.
        eclipses: intervals in shadow [mission s], sorted and disjoint.
        passes: intervals in which the transmitter is on, sorted and disjoint.
    """

    def __init__(self, section: PowerSection, eclipses: Sequence[Interval], passes: Sequence[Interval]) -> None:
        self.section = section
        self.battery, self.mass = Battery(section), ThermalMass(section)
        self._eclipses, self._passes = list(eclipses), list(passes)
        self._changes = sorted({t for interval in (*eclipses, *passes) for t in interval})
        self._draw: Draw | None = None
        self._t = 0.0
        self._report_s = 0.0
        self.malformed = 0

    def step(self, t: float, inputs: Sequence[Message]) -> Step:
        """Let time pass, take in what flight draws, and report when that is due."""
        self._advance(t)
        for message in inputs:
            try:
                self._draw = Draw.unpack(message.body)
            except BoardError:
                self.malformed += 1
        if t < self._report_s:
            return Step([], self._report_s)
        self._report_s = t + self.section.report_s
        reading = Reading(self.battery.share, self._sunlit(t), self.mass.degc)
        return Step([Output(t, PORT, reading.pack())], self._report_s)

    def _advance(self, t: float) -> None:
        """Let time pass up to `t`, from one change of Sun or transmitter to the next."""
        while self._t < t:
            at = bisect_right(self._changes, self._t)
            until = min(t, self._changes[at]) if at < len(self._changes) else t
            sunlit, payload_w = self._sunlit(self._t), self._payload_w()
            watts = self.section.watts
            load_w = watts.bus + payload_w + (watts.transmitter if _within(self._passes, self._t) else 0.0)
            self.battery.advance(until - self._t, load_w, sunlit)
            self.mass.advance(until - self._t, payload_w, sunlit)
            self._t = until

    def _payload_w(self) -> float:
        """Power of the payload; a share of the CPU makes work longer, and draws that share of what it adds."""
        watts, draw = self.section.watts, self._draw
        if draw is None:
            return watts.idle
        return watts.idle + draw.cpu_share * (float(getattr(watts, draw.activity)) - watts.idle)

    def _sunlit(self, t: float) -> bool:
        return not _within(self._eclipses, t)

    def report(self) -> dict[str, Any]:
        """The state of the models at the last step, and their extremes so far."""
        return {
            "t_s": self._t,
            "battery": self.battery.share,
            "battery_lowest": self.battery.lowest,
            "sunlit": self._sunlit(self._t),
            "temperature_degc": self.mass.degc,
            "temperature_highest_degc": self.mass.highest,
            "payload_w": self._payload_w(),
        }


def _within(intervals: Sequence[Interval], t: float) -> bool:
    at = bisect_right(intervals, (t, float("inf"))) - 1
    return at >= 0 and intervals[at][0] <= t < intervals[at][1]
