"""The report of a campaign: one HTML file that needs no network and runs no script, and its figure as PNG."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from sim.campaign.faults import KINDS
from sim.campaign.outcome import Outcome
from sim.campaign.summary import recoveries, verdict
from sim.report_html import Markup, document, element, picture, table
from sim.report_style import FAINT, LOST, ON_BOARD, WIDTH_PX, Canvas
from sim.report_summary import write_atomically

LEFT_PX, ROW_PX, TOP_PX = 190, 24, 30


def write_report(outcomes: Sequence[Outcome], found: dict[str, Any], directory: Path) -> Path:
    """Write `report.html` and `recovery.png` into `directory`; the path of the page."""
    canvas = recovery_figure(outcomes)
    png = canvas.png()
    write_atomically(directory / "recovery.png", png)
    sections = [
        element("h1", "Fault campaign"),
        element("p", verdict(found) + ".", class_="verdict"),
        element("h2", "Faults and outcomes"),
        table("Each kind of fault", ("fault", "faults", "missions", "failed", "what it is"), _kind_rows(found)),
        element("h2", "Time to recover"),
        picture(
            png,
            canvas.width_px,
            canvas.height_px,
            "Seconds in view to the next frame accepted, for each kind of fault",
            "From a fault (of a disk: from its end) to the next frame of the spacecraft that the ground accepts, "
            "counted while the spacecraft is in view. Restarting the process takes 20 s of mission time.",
        ),
        element("h2", "Invariants broken"),
        _failures(found),
        element("h2", "Resources"),
        table("", ("figure", "value"), _resources(found)),
    ]
    body = element("main", Markup("\n".join(sections)))
    return write_atomically(directory / "report.html", document("Fault campaign", body))


def _kind_rows(found: dict[str, Any]) -> list[list[object]]:
    return [
        [row["kind"], f"{row['faults']:,}", f"{row['missions']:,}", f"{row['failed']:,}", KINDS[row["kind"]].help]
        for row in found["kinds"]
    ]


def _failures(found: dict[str, Any]) -> Markup:
    if not found["failures"]:
        return element("p", "None.")
    rows = [
        [each["seed"], "; ".join(each["faults"]), "; ".join(each["broken"]), element("code", each["replay"])]
        for each in found["failures"]
    ]
    return table("Missions that failed", ("seed", "faults", "broken", "replay"), rows)


def _resources(found: dict[str, Any]) -> list[list[object]]:
    peak = found["peak_rss_bytes"]
    rows: list[list[object]] = [
        ["mission time flown", f"{found['mission_s'] / 3600:,.0f} h"],
        ["wall time of all missions", f"{found['wall_s'] / 60:,.1f} min"],
        *([f"deaths of {name}", f"{count:,}"] for name, count in sorted(found["deaths"].items())),
    ]
    return rows + ([["greatest VmHWM of a flight process", f"{peak / 2**20:.1f} MiB"]] if peak else [])


def recovery_figure(outcomes: Sequence[Outcome]) -> Canvas:
    """A row a kind of fault: each time to recover a tick, the median a bar."""
    rows = [(kind, np.array(times)) for kind in KINDS if (times := recoveries(outcomes, kind))]
    height = TOP_PX + ROW_PX * max(1, len(rows))
    canvas = Canvas(WIDTH_PX, height + 50)
    ax = canvas.axes(LEFT_PX, TOP_PX, WIDTH_PX - LEFT_PX - 40, height - TOP_PX)
    ax.set_ylim(max(1, len(rows)) - 0.5, -0.5)
    ax.set_yticks(range(len(rows)), [kind for kind, _ in rows])
    ax.set_xlim(0, max([float(times.max()) for _, times in rows] or [1.0]) * 1.05 + 1e-9)
    ax.grid(axis="x", color=FAINT, linewidth=0.6)
    for row, (_, times) in enumerate(rows):
        ax.plot(times, np.full(len(times), row), "|", color=ON_BOARD, markersize=9, markeredgewidth=0.8, alpha=0.5)
        ax.plot([np.median(times)] * 2, [row - 0.35, row + 0.35], color=LOST, linewidth=2)
    canvas.text(LEFT_PX, 6, "each fault a tick, the median of its kind in red", 12)
    canvas.text(LEFT_PX, height + 28, "seconds in view until the ground hears the spacecraft again", 12)
    return canvas
