"""Flight: from kill -9 to commandable again, growth of memory over a month, slices on time."""

from __future__ import annotations

import argparse
import os
import tempfile
from pathlib import Path

from benchmarks import restart
from benchmarks.rows import Row, summary
from benchmarks.steady import Days
from flight.caps import MemoryWatch, give_back_at_once

WARM_UP_DAYS = 5
PARTS = ("restart", "days")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """What is measured, and how long."""
    parser.add_argument("--part", nargs="+", choices=PARTS, default=PARTS, help="what is measured")
    parser.add_argument("--kills", type=int, default=5, help="kills of the flight process, with and without reserve")
    parser.add_argument("--days", type=int, default=30, help="simulated days, after five that fill every table")


def run(options: argparse.Namespace) -> list[Row]:
    """The rows of the parts chosen."""
    rows = []
    if "restart" in options.part:
        rows += _restarts(2 if options.quick else options.kills)
    if "days" in options.part:
        rows += _days(3 if options.quick else options.days)
    return rows


def _restarts(kills: int) -> list[Row]:
    rows = []
    for standby, name in ((False, "cold start"), (True, "process in reserve")):
        load = ("load average", os.getloadavg()[0])
        took = restart.measure(standby, kills)
        rows.append(summary(f"kill -9 to commandable, {name}", [wall for wall, _ in took], "s", load))
        rows.append(summary(f"CPU time of the new process till then, {name}", [cpu for _, cpu in took], "s"))
    return rows


def _days(days: int) -> list[Row]:
    """Resident memory of this process, which holds the flight core, its ground station and its camera."""
    give_back_at_once()  # as a flight process does
    watch = MemoryWatch()
    with tempfile.TemporaryDirectory(prefix="swath-") as directory:
        world = Days(Path(directory))
        for day in range(WARM_UP_DAYS):
            world.day(day)
        before = watch.rss_bytes()
        for day in range(WARM_UP_DAYS, WARM_UP_DAYS + days):
            world.day(day)
        grown = watch.rss_bytes() - before
    meters = world.flight.meters
    runs = sum(meter.runs for meter in meters.values())
    late = sum(meter.late for meter in meters.values())
    over = sum(meter.overruns for meter in meters.values())
    return [
        Row(f"growth of resident memory in {days} days", grown / 1e6, "MB", n=days),
        Row("runs of rate groups on time (mission time)", 100 * (1 - late / runs), "%", n=runs),
        Row("runs of rate groups within their budget (wall time)", 100 * (1 - over / runs), "%", n=runs),
    ]
