"""The intervals and limits of a transaction (727.0-B-5 8.3), all in seconds in view."""

from __future__ import annotations

from dataclasses import dataclass

# Longest way between antennas below 2,000 km that a pass begins or ends at, and what the ends need to compute.
ONE_WAY_S = 0.015


@dataclass(frozen=True)
class Timing:
    """When to repeat, and when to give up.

    Args:
        response_s: what is answered at once is answered by then: the positive acknowledgement timer (4.7.1).
        frame_s: how long this end's radio takes for a PDU; what was sent later than that ago was not heard yet.
        nak_delay_s: a gap is reported when it is this old, so that reordering is not taken for loss.
        attempts: repetitions without an answer before a limit fault (4.7.1, 4.6.4.7).
        slow_s: interval after that, if the fault is ignored; None to cancel the transaction instead (4.8).
        inactivity_s: a transaction of which nothing was heard for so long is given up (4.10).
        immediate_nak: whether gaps are reported before the end of the file (4.6.4.3.1) or only from then on (4.6.4.6).
        prompts: whether a source asks with Prompt PDUs, or leaves it to the destination's timers.
    """

    response_s: float
    frame_s: float = 0.0
    nak_delay_s: float = 0.5
    attempts: int = 10
    slow_s: float | None = None
    inactivity_s: float = 600.0
    immediate_nak: bool = True
    prompts: bool = True

    @classmethod
    def over_radio(
        cls, frame_bytes: int, own_bps: float, far_bps: float, turnaround_s: float, **others: float | bool | None
    ) -> Timing:
        """For two radios: an answer may wait for both turnarounds and for two frames of the far end before it."""
        own_s, far_s = 8 * frame_bytes / own_bps, 8 * frame_bytes / far_bps
        return cls(2 * (turnaround_s + ONE_WAY_S + far_s) + own_s, own_s, **others)  # type: ignore[arg-type]
