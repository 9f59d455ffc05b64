"""How long it took after a fault until the ground heard the spacecraft again."""

from __future__ import annotations

from dataclasses import dataclass

from sim.campaign.faults import Fault
from sim.record import PassRecord


@dataclass
class Recovery:
    """From a fault that took the service away to the next frame of flight's that the ground accepted."""

    fault: Fault
    ended_s: float
    heard_s: float | None = None

    def in_view_s(self, passes: list[PassRecord], without: list[tuple[float, float]] | None = None) -> float | None:
        """How long that took, of the time in view and outside of the intervals `without`; None if it never came."""
        if self.heard_s is None:
            return None
        clear_s, t = 0.0, self.ended_s
        edges = sorted({e for p in passes for e in (p.aos_s, p.los_s)} | {e for i in without or [] for e in i})
        for edge_s in [e for e in edges if self.ended_s < e < self.heard_s] + [self.heard_s]:
            middle_s = (t + edge_s) / 2
            view = any(p.aos_s <= middle_s < p.los_s and not p.lost for p in passes)
            if view and not any(begin_s <= middle_s < end_s for begin_s, end_s in without or []):
                clear_s += edge_s - t
            t = edge_s
        return clear_s
