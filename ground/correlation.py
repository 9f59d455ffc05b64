"""What the on-board clock shows when: an offset and a drift, fitted to pairs of on-board and ground time.

A pair is the on-board time at which a frame began to leave, which a later frame tells, and the time at which it arrived
here, less the time that its bits took. The way through space (2 to 10 ms) is not taken off: the offset is by as much
too small.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass
from typing import Any

import numpy as np

FRAMES_KEPT = 512
POINTS_KEPT = 64
MIN_SPAN_S = 120.0  # over less than this, jitter would pass for drift


@dataclass(frozen=True)
class Estimate:
    """On-board time is `offset_s` + (1 + `drift_ppm` / 1e6) x ground time; `residual_s` is the greatest misfit."""

    offset_s: float
    drift_ppm: float
    residual_s: float
    points: int

    def on_board_s(self, t: float) -> float:
        """On-board time at ground time `t`."""
        return t + self.offset_s + self.drift_ppm * 1e-6 * t


class TimeCorrelation:
    """Collects pairs; one that follows a change of the on-board clock throws away those before it."""

    def __init__(self) -> None:
        self._arrivals: OrderedDict[int, float] = OrderedDict()
        self._points: list[tuple[float, float]] = []  # ground time, on-board time
        self._times_set = -1

    def heard(self, frame: int, began_s: float) -> None:
        """A frame of this counter began to arrive at ground time `began_s`."""
        self._arrivals[frame] = began_s
        if len(self._arrivals) > FRAMES_KEPT:
            self._arrivals.popitem(last=False)

    def told(self, frame: int, frame_s: float, times_set: int) -> None:
        """A time report says when a frame began to leave, on board."""
        if times_set != self._times_set:
            self.forget()
            self._times_set = times_set
        began_s = self._arrivals.pop(frame, None)
        if began_s is not None:
            self._points = [*self._points, (began_s, frame_s)][-POINTS_KEPT:]

    def forget(self) -> None:
        """The on-board clock was changed: what was known no longer holds."""
        self._points = []

    def estimate(self) -> Estimate | None:
        """The line through the pairs; without drift if they span too little, None if there is none."""
        if not self._points:
            return None
        t, on_board = np.array(self._points).T
        offset = on_board - t
        mean_s, drift = t.mean(), 0.0
        if t.max() - t.min() >= MIN_SPAN_S:
            drift = float(((t - mean_s) * (offset - offset.mean())).sum() / ((t - mean_s) ** 2).sum())
        offset_s = float(offset.mean() - drift * mean_s)
        residual_s = float(np.abs(offset - offset_s - drift * t).max())
        return Estimate(offset_s, drift * 1e6, residual_s, len(t))

    def save(self) -> dict[str, Any]:
        """The pairs, as plain values."""
        return {"points": [list(point) for point in self._points], "times_set": self._times_set}

    def restore(self, saved: dict[str, Any]) -> None:
        """Go on with the pairs that were saved."""
        self._points = [(t, on_board_s) for t, on_board_s in saved["points"]]
        self._times_set = saved["times_set"]
