"""Faults: missions with faults of every kind, real kills, flipped bits, and whether all is on time at full load."""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np

from benchmarks import bitflips, kills, punctual
from benchmarks.rows import Row
from sim.campaign import run as campaign
from sim.campaign.outcome import Outcome
from sim.campaign.summary import summary

QUICK_MISSIONS, MISSIONS = 20, 2000
QUICK_KILLS, KILLS = 20, 1000
QUICK_FLIPS, FLIPS = 20, 1000


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of this benchmark."""
    parser.add_argument("--part", nargs="+", choices=tuple(PARTS), default=tuple(PARTS), help="what is measured")
    parser.add_argument("--missions", type=int, help=f"missions with faults  [{MISSIONS}, quick {QUICK_MISSIONS}]")
    parser.add_argument("--seed", type=int, default=0, help="seed of the campaigns  [0]")
    parser.add_argument("--jobs", type=int, default=1, help="processes that fly missions  [1]")
    parser.add_argument("--scheduler", help="address of a Dask scheduler that flies them")


def run(options: argparse.Namespace) -> list[Row]:
    """The rows of the parts chosen."""
    return [row for part in options.part for row in PARTS[part](options)]


def _missions(options: argparse.Namespace) -> Iterator[Row]:
    count = options.missions or (QUICK_MISSIONS if options.quick else MISSIONS)
    with tempfile.TemporaryDirectory(prefix="swath-faults-") as directory:
        results = campaign.Results(Path(directory) / "outcomes.jsonl", resume=False)
        flown = campaign.run(campaign.seeds(options.seed, count), results, options.jobs, options.scheduler)
    found = summary(flown, options.seed)
    yield Row("missions with faults: an invariant broken", found["failed"], "missions", n=count)
    yield Row("of them with real processes", found["real"], "missions", n=count)
    yield Row("faults in them", found["faults"], "faults", n=count)
    lost = ("chips_kept", "labels_kept", "commands_once")
    for name, what in zip(lost, ("chips lost", "labels lost", "commands lost or run twice"), strict=True):
        yield Row(f"missions with acknowledged {what}", found["invariants_broken"].get(name, 0), "missions", n=count)
    times_s = [took_s for outcome in flown for _, took_s in outcome.recoveries]
    if times_s:
        yield Row("fault to the next frame heard, in view: median", float(np.median(times_s)), "s", n=len(times_s))
        yield Row("fault to the next frame heard, in view: most", max(times_s), "s", n=len(times_s))
    yield from _memory(flown)


def _memory(flown: list[Outcome]) -> Iterator[Row]:
    peaks = [outcome.peak_rss_bytes / 2**20 for outcome in flown if outcome.peak_rss_bytes]
    if peaks:
        yield Row("greatest VmHWM of a flight process", max(peaks), "MiB", n=len(peaks))


def _kills(options: argparse.Namespace) -> Iterator[Row]:
    count = QUICK_KILLS if options.quick else KILLS
    with tempfile.TemporaryDirectory(prefix="swath-kills-") as directory:
        found = kills.campaign(count, options.seed, Path(directory))
    for name in ("unreadable", "gone_back", "archive_lost"):
        yield Row(f"real kill -9 around writes: {name.replace('_', ' ')}", found[name], "times", n=count)
    yield Row("real kill -9 in the middle of a write", found["in_a_write"], "times", n=count)


def _flips(options: argparse.Namespace) -> Iterator[Row]:
    count = QUICK_FLIPS if options.quick else FLIPS
    found = bitflips.campaign(count, options.seed)
    yield Row("flipped bits found within the scrub period", 100 * found["found"] / count, "%", n=count)
    yield Row("flipped bits repaired", 100 * found["repaired"] / count, "%", n=count)
    if not options.quick:
        for name, percent in bitflips.share(options.seed).items():
            yield Row(f"checks and scrubbing, share of CPU, {name.partition('_')[0]}", percent, "%")


def _full_load(options: argparse.Namespace) -> Iterator[Row]:
    found = punctual.measure(120.0 if options.quick else 900.0)
    for name, each in found.items():
        yield Row(f"full load: {name} on time", each.percent, "%", n=each.count)
    yield Row("full load: latest chip", found["chips"].most_s, "s", n=found["chips"].count)


PARTS: dict[str, Callable[[argparse.Namespace], Iterator[Row]]] = {
    "missions": _missions,
    "kills": _kills,
    "flips": _flips,
    "load": _full_load,
}
