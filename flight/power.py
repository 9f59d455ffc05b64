"""What follows from the board's readings: limits that trip and clear, and what flight tells the board it draws for."""

from __future__ import annotations

from typing import TYPE_CHECKING

from flight.board import BoardError, Draw, Reading
from flight.limits import Crossing, Limits
from flight.modes import SAFE
from flight.step import NEVER, Output
from flight.telemetry import short

if TYPE_CHECKING:
    from flight.executive import Executive


class Power:
    """The last reading, the table of limits, and the last draw of one flight process."""

    def __init__(self, flight: Executive) -> None:
        self.flight = flight
        self.limits = Limits(flight.config.limits)
        self.reading: Reading | None = None
        self.malformed = 0
        self._reading_s = 0.0
        self._told: Draw | None = None

    def take(self, body: bytes) -> None:
        """Take a message from the board; one that is malformed is counted, and silence trips a limit in the end."""
        try:
            reading = Reading.unpack(body)
        except BoardError:
            self.malformed += 1
            return
        self.reading, self._reading_s = reading, self.flight.t
        values = {"battery": reading.battery, "temperature_degc": reading.temperature_degc, "silence_s": 0.0}
        self._act(self.limits.take(values))

    def serve(self) -> None:
        """Notice silence."""
        if self.flight.t >= self.due_s():
            self._act(self.limits.take({"silence_s": self.flight.t - self._reading_s}))

    def due_s(self) -> float:
        """When silence becomes too long; never, if the board has not spoken."""
        return self.limits.silence_due_s(self._reading_s) if self.reading is not None else NEVER

    def _act(self, crossings: list[Crossing]) -> None:
        for limit, value, tripped in crossings:
            self.flight.endpoint.needs_save = True
            if not tripped:
                self.flight.emit("limit-cleared", limit=limit.name, value=value)
                continue
            self.flight.emit("limit-exceeded", limit=limit.name, value=value, action=limit.action)
            if limit.action == "safe" and self.flight.modes.mode != SAFE:
                self.flight.enter_mode(SAFE, short(f"limit {limit.name}: {value:.3g}"))

    def tell(self) -> list[Output]:
        """What to tell the board: what flight draws power for, if that has changed; nothing to one that never spoke."""
        flight = self.flight
        draw = Draw(flight.modes.mode, flight.cpu.activity, flight.share)
        if self.reading is None or draw == self._told:
            return []
        self._told = draw
        return [Output(flight.t, "board", draw.pack())]
