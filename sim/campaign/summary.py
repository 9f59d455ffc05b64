"""What a campaign comes to: faults by kind, invariants broken, times to recover; as JSON and as a table."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np
from rich.markup import escape
from rich.table import Table

from sim.campaign.faults import KINDS
from sim.campaign.outcome import Outcome

MAX_FAILURES = 200  # that are listed


def replay_command(seed: int) -> str:
    """What flies one mission again."""
    return f"swath-sim campaign --replay {seed}"


def summary(outcomes: Sequence[Outcome], campaign_seed: int) -> dict[str, Any]:
    """The campaign in plain values: nothing but `wall_s` depends on the machine, of missions in one process."""
    failed = [outcome for outcome in outcomes if outcome.broken]
    peaks = [outcome.peak_rss_bytes for outcome in outcomes if outcome.peak_rss_bytes]
    return {
        "seed": campaign_seed,
        "missions": len(outcomes),
        "real": sum(outcome.real for outcome in outcomes),
        "failed": len(failed),
        "faults": sum(len(outcome.faults) for outcome in outcomes),
        "deaths": dict(sum((Counter(outcome.deaths) for outcome in outcomes), Counter())),
        "peak_rss_bytes": max(peaks, default=None),
        "mission_s": sum(outcome.mission_s for outcome in outcomes),
        "wall_s": sum(outcome.took_s for outcome in outcomes),
        "kinds": kinds(outcomes),
        "invariants_broken": dict(Counter(text.partition(":")[0] for outcome in failed for text in outcome.broken)),
        "failures": [
            {
                "seed": outcome.seed,
                "faults": [str(fault) for fault in outcome.faults],
                "broken": outcome.broken,
                "replay": replay_command(outcome.seed),
            }
            for outcome in failed[:MAX_FAILURES]
        ],
    }


def kinds(outcomes: Sequence[Outcome]) -> list[dict[str, Any]]:
    """A row a kind of fault: how often, in how many missions, how many of them failed, seconds in view to recover."""
    rows = []
    for kind in KINDS:
        flown = [outcome for outcome in outcomes if any(fault.kind == kind for fault in outcome.faults)]
        took_s = recoveries(outcomes, kind)
        rows.append(
            {
                "kind": kind,
                "faults": sum(fault.kind == kind for outcome in flown for fault in outcome.faults),
                "missions": len(flown),
                "failed": sum(bool(outcome.broken) for outcome in flown),
                "recovery_median_s": float(np.median(took_s)) if took_s else None,
                "recovery_p95_s": float(np.quantile(took_s, 0.95)) if took_s else None,
                "recovery_max_s": max(took_s, default=None),
            }
        )
    return rows


def recoveries(outcomes: Sequence[Outcome], kind: str) -> list[float]:
    """Seconds in view until the ground heard flight again, after each fault of that kind."""
    return [took_s for outcome in outcomes for each, took_s in outcome.recoveries if each == kind]


def verdict(found: dict[str, Any]) -> str:
    """The campaign in a sentence."""
    held = f"{found['missions'] - found['failed']:,} of {found['missions']:,} missions kept every invariant"
    return f"{held}, with {found['faults']:,} faults among them; {found['real']:,} flew with real processes"


def console_table(found: dict[str, Any]) -> Table:
    """The campaign as a table for the terminal."""
    table = Table(title=escape(verdict(found)))
    table.add_column("fault")
    for name in ("faults", "missions", "failed", "median", "95 %", "most"):
        table.add_column(name, justify="right")
    for row in found["kinds"]:
        times = [_seconds(row[f"recovery_{name}_s"]) for name in ("median", "p95", "max")]
        table.add_row(row["kind"], f"{row['faults']:,}", f"{row['missions']:,}", f"{row['failed']:,}", *times)
    table.caption = "seconds in view from the fault to the next frame that the ground accepts"
    return table


def _seconds(value: float | None) -> str:
    return "" if value is None else f"{value:.1f} s"
