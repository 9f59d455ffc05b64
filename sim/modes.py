"""What a mission saw of flight's modes and of the board, as it went along."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from sim.record import ModeSpan, PowerSample

MAX_SAMPLES = 20_000  # then every other one is dropped, and only every other one kept from there on


class Housekeeping:
    """Spans of modes, and the board's readings; `mark` is told of every change of mode."""

    def __init__(self, mark: Callable[[float, str, str], None]) -> None:
        self.modes: list[ModeSpan] = []
        self.power: list[PowerSample] = []
        self._mark = mark
        self._mode = ""  # the last one while flight was up
        self._stride = self._seen = 0
        self._last_s = -1.0

    def look(self, t: float, flight: dict[str, Any] | None, board: dict[str, Any] | None) -> None:
        """Look at the latest reports; `flight` is None while it is down, `board` where there is none."""
        if flight:
            self._note(ModeSpan(t, flight["mode"], flight["limit_action"]))
            if self._mode and flight["mode"] != self._mode:
                self._mark(t, "mode", f"{flight['mode']}: {flight['mode_cause']}")
            self._mode = flight["mode"]
        else:
            self._note(ModeSpan(t, "down", "none"))
        if board and board["t_s"] > self._last_s:
            self._last_s = board["t_s"]
            self._keep(board)

    def _note(self, span: ModeSpan) -> None:
        before = self.modes[-1] if self.modes else None
        if before is None or (before.mode, before.limit_action) != (span.mode, span.limit_action):
            self.modes.append(span if before is not None else replace(span, start_s=0.0))

    def _keep(self, board: dict[str, Any]) -> None:
        self._seen += 1
        if self._seen % (1 << self._stride):
            return
        names = ("t_s", "battery", "sunlit", "temperature_degc", "payload_w")
        self.power.append(PowerSample(**{name: board[name] for name in names}))
        if len(self.power) >= MAX_SAMPLES:
            self.power = self.power[::2]
            self._stride += 1

    def seconds(self, duration_s: float) -> dict[str, float]:
        """Mission seconds spent in each mode."""
        spent: dict[str, float] = {}
        ends = [span.start_s for span in self.modes[1:]] + [duration_s]
        for span, end_s in zip(self.modes, ends, strict=False):
            spent[span.mode] = spent.get(span.mode, 0.0) + end_s - span.start_s
        return spent
