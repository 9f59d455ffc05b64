"""Cold start: from nothing to the first training step, and the peak memory of the process that does it."""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import NamedTuple

from benchmarks import library
from benchmarks.rows import Row
from benchmarks.setting import Setting, setting
from flight.bundle import LIBRARY
from flight.clock import wall_s
from flight.kernels.backend import AOT, JIT, NUMPY
from flight.kernels.registry import KERNELS

_LEARNERS = ("downconv", "swath")
_COLD = "jit, nothing compiled yet"
_WARM = "jit, compiled before"


class Start(NamedTuple):
    """Seconds from nothing to the first training step, by the wall and of CPU, and the peak memory [MB]."""

    wall_s: float
    cpu_s: float
    peak_mb: float


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """No options of its own."""


def run(args: argparse.Namespace) -> list[Row]:
    """Processes in turn, one a backend and round; then one that has to compile every kernel that it needs."""
    given = setting(args)
    shared = library.find(args.bundle) if AOT in given.backends else None
    found = _size_rows(shared, args.quick)
    for name in _LEARNERS:
        found += _started(given, name, shared)
    return found


def _size_rows(shared: Path | None, quick: bool) -> list[Row]:
    """How large the machine code is: of the bundle in use, and for other targets if they can be built here."""
    title = f"shared object of {len(KERNELS)} kernels"
    if shared is None:
        return []
    bundle = library.opened(shared)
    found = [Row(f"{title} / {bundle.manifest.target}", float(len(bundle.files[LIBRARY])), "bytes")]
    if quick:
        return found
    try:
        from ground.build import BuildError, targets
        from ground.build import bundle as build
    except ImportError:
        return found
    for name in targets.NAMES:
        if name == bundle.manifest.target or not targets.target(name).flies:
            continue
        try:
            found.append(Row(f"{title} / {name}", float(len(build.library(targets.target(name)))), "bytes"))
        except BuildError as error:
            found.append(Row(f"{title} / {name}", None, "bytes", why=str(error)))
    return found


def _started(given: Setting, learner: str, shared: Path | None) -> list[Row]:
    kinds = {AOT: (AOT, str(shared or "")), _WARM: (JIT, ""), NUMPY: (NUMPY, "")}
    kinds = {kind: each for kind, each in kinds.items() if each[0] in given.backends}
    starts: dict[str, list[Start]] = {kind: [] for kind in kinds}
    for backend, path in kinds.values():
        _start(backend, learner, path)  # reads files from disk, compiles what is not compiled yet
    for _ in range(3 if given.quick else 9):
        for kind, (backend, path) in kinds.items():
            starts[kind].append(_start(backend, learner, path))
    found = []
    for kind in kinds:
        found += _rows(f"{learner} / {kind}", starts[kind])
    found += given.missing_rows(f"{learner} / cold start to the first training step", "s")
    if JIT in given.backends and not given.quick:
        with tempfile.TemporaryDirectory() as empty:
            found += _rows(f"{learner} / {_COLD}", [_start(JIT, learner, "", {"NUMBA_CACHE_DIR": empty})])
    return found


def _rows(name: str, starts: list[Start]) -> list[Row]:
    found = []
    for what, unit, values in (
        ("cold start to the first training step", "s", [each.wall_s for each in starts]),
        ("CPU time of it", "s", [each.cpu_s for each in starts]),
        ("peak memory (VmHWM)", "MB", [each.peak_mb for each in starts]),
    ):
        spread = statistics.stdev(values) if len(values) > 1 else None
        found.append(Row(f"{name} / {what}", statistics.median(values), unit, None, len(values), spread))
    return found


def _start(backend: str, learner: str, shared: str, environment: dict[str, str] | None = None) -> Start:
    """Start a process that trains a step; RuntimeError if it failed."""
    command = [sys.executable, "-m", "benchmarks.boot_child", backend, learner, shared]
    with tempfile.TemporaryFile("w+", encoding="utf-8") as errors:
        began = wall_s()
        with subprocess.Popen(
            command, env=os.environ | (environment or {}), stdout=subprocess.PIPE, stderr=errors, text=True
        ) as child:
            assert child.stdout is not None  # noqa: S101  # for the type checker: it is a pipe
            said = child.stdout.readline().strip()
            took = wall_s() - began
            told = child.stdout.read().split()
        if said != "stepped" or child.returncode:
            errors.seek(0)
            raise RuntimeError(f"{' '.join(command)} failed: {errors.read()[-500:].strip()}")
    return Start(took, float(told[0]), int(told[1]) * 1024 / 1e6)
