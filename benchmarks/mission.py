"""A mission end to end: from the camera to a trained model while the link is up, every core in its own process."""

from __future__ import annotations

import argparse
import dataclasses
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmarks import library
from benchmarks.rows import Row
from benchmarks.setting import Setting, setting
from benchmarks.timing import ALL_CORES, on_cores
from flight.bundle import Bundle
from flight.kernels.backend import AOT

if TYPE_CHECKING:
    from sim.scenario import Scenario

# An orbit that passes a station for six minutes, the region a minute into that, and another station after it.
_EPOCH_UTC, _LTAN_H, _ARGUMENT_DEG = "2025-06-21T10:00:00Z", 10.0, 30.0
_DURATION_H = 0.28
_SIDE, _SIDE_QUICK = 64, 26  # chips; the reservoir of the default learner keeps 512
_CHIPS_PER_MUNICIPALITY = 60
_NAMES = ("end to end", "flight alone / chips taken in", "flight alone / peak memory (VmHWM)")
_UNITS = ("chips/s", "chips/s", "MB")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """No options of its own."""


def run(args: argparse.Namespace) -> list[Row]:
    """Fly the mission with what flies, and unless it has to be quick with numpy as well."""
    try:
        from sim.scenario import load_scenario
    except ImportError as error:
        why = f"{error.name} is missing: pip install '.[sim]' in swath's checkout"
        return [Row(name, None, unit, why=why) for name, unit in zip(_NAMES, _UNITS, strict=True)]
    given = setting(args)
    side = _SIDE_QUICK if args.quick else _SIDE
    bundle = library.opened(library.find(args.bundle)) if AOT in given.backends else None
    demo = load_scenario("demo")
    return [row for name in _backends(given) for row in _rows(_scenario(demo, side, name), name, bundle)]


def _backends(given: Setting) -> list[str]:
    best = given.best.name
    return [best] if given.quick or best not in given.compiled else [best, list(given.backends)[-1]]


def _scenario(demo: Scenario, side: int, kernels: str) -> Scenario:
    """One pass over a station, in which labels go up and every chip of a small region is taken; without an encoder."""
    changes: dict[str, Any] = {
        "name": "benchmark",
        "epoch_utc": _EPOCH_UTC,
        "orbit": dataclasses.replace(demo.orbit, ltan_h=_LTAN_H, argument_of_latitude_deg=_ARGUMENT_DEG),
        "duration_h": _DURATION_H,
        "world": dataclasses.replace(
            demo.world, rows=side, cols=side, municipalities=max(10, side * side // _CHIPS_PER_MUNICIPALITY)
        ),
        "encoder": dataclasses.replace(demo.encoder, files=()),
        "labels": demo.labels[:1],
        "commands": (),
        "executive": dataclasses.replace(demo.executive, kernels=kernels),
    }
    return dataclasses.replace(demo, **changes)


def _rows(scenario: Scenario, kernels: str, bundle: Bundle | None) -> list[Row]:
    from sim.mission import Mission
    from sim.plan import make_plan

    plan = make_plan(scenario, None)
    with tempfile.TemporaryDirectory(prefix="swath-bench-") as folder, on_cores(ALL_CORES):
        mission = Mission(plan, Path(folder), bundle=bundle)
        mission.fly()
        flight = mission.lockstep.report("flight")
        shortfalls = mission.shortfalls()
    title = f"{flight['chips']:,} chips, {kernels} kernels"
    if shortfalls:
        why = "the mission was not completed: " + "; ".join(shortfalls)
        return [Row(f"{title} / {name}", None, unit, why=why) for name, unit in zip(_NAMES, _UNITS, strict=True)]
    values = (flight["chips"] / mission.timings["mission_s"], flight["chips_per_s"], flight["peak_rss_bytes"] / 1e6)
    return [Row(f"{title} / {name}", v, u) for name, v, u in zip(_NAMES, values, _UNITS, strict=True)]
