"""Speed and size of every learner: chips taken in, training, predictions, state, memory."""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.rows import Row, rate
from flight.clock import wall_s
from flight.learn import LEARNERS, Learner, load_state

_SHAPE = (96, 96, 3)
_CLASSES = 5
_CHIPS_PER_MUNICIPALITY = 8


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of this benchmark."""
    parser.add_argument("--learner", nargs="+", choices=sorted(LEARNERS), default=sorted(LEARNERS))


def run(args: argparse.Namespace) -> list[Row]:
    """Measure each learner in a process of its own, so that its peak memory is its own too."""
    found = []
    for name in args.learner:
        command = [sys.executable, "-m", "benchmarks.learners", name, *(["quick"] if args.quick else [])]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            reason = done.stderr.strip().splitlines()
            found.append(Row(name, None, "", why=reason[-1] if reason else f"exit code {done.returncode}"))
        else:
            found += [Row(**row) for row in json.loads(done.stdout)]
    return found


def measure(name: str, quick: bool) -> list[Row]:
    """Rows of learner `name` on one core, chips of 96 x 96 x 3."""
    n, repeats = (64, 3) if quick else (256, 7)
    chips, bag = textured_chips(n), np.arange(n) // _CHIPS_PER_MUNICIPALITY
    table = np.random.Generator(np.random.Philox(1)).dirichlet(np.ones(_CLASSES), int(bag.max()) + 1)
    learner = LEARNERS[name]()
    found = [rate(f"{name} / take in", "chips/s", n, lambda: LEARNERS[name]().partial_fit(chips, bag), repeats)]
    learner.partial_fit(chips, bag).set_labels(table)
    steps, start = learner.pending_steps, wall_s()
    learner.train(steps)
    found += [
        Row(f"{name} / training, {steps} step{'s' if steps > 1 else ''}", wall_s() - start, "s"),
        rate(f"{name} / predict", "chips/s", n, lambda: learner.predict(chips), repeats),
        rate(f"{name} / predict map", "chips/s", n, lambda: learner.predict_map(chips), repeats),
        *_summary_rows(name, learner, chips, repeats),
        *_size_rows(name, learner, repeats),
    ]
    return found


def _summary_rows(name: str, learner: Learner, chips: NDArray[np.uint8], repeats: int) -> list[Row]:
    summaries = learner.summarise(chips)
    if summaries is None:
        return []
    n = len(chips)
    return [
        Row(f"{name} / summary of a chip", summaries.shape[1], "bytes"),
        rate(f"{name} / predict summaries", "chips/s", n, lambda: learner.predict_summaries(summaries), repeats),
    ]


def _size_rows(name: str, learner: Learner, repeats: int) -> list[Row]:
    data = learner.state()
    return [
        Row(f"{name} / parameters", learner.n_parameters, ""),
        Row(f"{name} / state", len(data), "bytes"),
        rate(f"{name} / state out and in", "1/s", 1, lambda: load_state(learner.state()), repeats),
        Row(f"{name} / arrays", learner.n_bytes, "bytes"),
        _peak_memory(name),
    ]


def _peak_memory(name: str) -> Row:
    """Peak resident memory of this process; a child's `ru_maxrss` would count its parent's."""
    status = Path("/proc/self/status")
    lines = status.read_text().splitlines() if status.exists() else []
    peak = [int(line.split()[1]) for line in lines if line.startswith("VmHWM")]
    label = f"{name} / peak memory of the process"
    return Row(label, peak[0] * 1024 / 1e6, "MB") if peak else Row(label, None, "MB", why="no /proc/self/status")


def textured_chips(n: int) -> NDArray[np.uint8]:
    """Chips (n, 96, 96, 3) of blocks with a level and a roughness of their own."""
    rng = np.random.Generator(np.random.Philox(0))
    height, width, bands = _SHAPE
    chips = np.empty((n, *_SHAPE), np.uint8)
    for chip in chips:
        level = rng.uniform(30, 200, (height // 16, width // 16, bands)).repeat(16, axis=0).repeat(16, axis=1)
        rough = rng.uniform(0, 30, (height // 16, width // 16, 1)).repeat(16, axis=0).repeat(16, axis=1)
        chip[:] = np.clip(level + rough * rng.standard_normal(_SHAPE), 0, 255)
    return chips


def _main(arguments: list[str]) -> None:
    fields: list[dict[str, Any]] = [vars(row) for row in measure(arguments[0], "quick" in arguments[1:])]
    print(json.dumps(fields))


if __name__ == "__main__":
    _main(sys.argv[1:])
