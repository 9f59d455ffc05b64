"""What a benchmark of kernels runs on: the backends that can be had here, the machine's limits, how often to repeat."""

from __future__ import annotations

import argparse
import ctypes
import sys
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from benchmarks import library
from benchmarks.limits import Limits, Work, figure
from benchmarks.rows import Row
from benchmarks.timing import STOPWATCHES, Times, race
from flight.bundle import BundleError
from flight.kernels.backend import AOT, JIT, NUMPY, Backend, BackendError, choose

_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3  # <malloc.h>
_KEPT_BYTES = 1 << 30


@dataclass(frozen=True)
class Setting:
    """Backends by name, compiled ones first and numpy last; why others cannot be had; how contenders are timed."""

    backends: dict[str, Backend]
    missing: dict[str, str]
    limits: Limits
    rounds: int
    quick: bool
    time: str

    @property
    def best(self) -> Backend:
        """What flies: kernels compiled ahead of time, else just in time, else numpy."""
        return next(iter(self.backends.values()))

    @property
    def compiled(self) -> dict[str, Backend]:
        """The backends that have kernels."""
        return {name: backend for name, backend in self.backends.items() if backend.compiled}

    def race(self, contenders: Mapping[str, Callable[[], object]]) -> dict[str, Times]:
        """Contenders side by side, with the rounds and the clock that the command line asks for."""
        return race(contenders, self.rounds, stopwatch=STOPWATCHES[self.time])

    def contest(self, name: str, work: Work, contenders: Mapping[str, Callable[[], object]]) -> list[Row]:
        """Rows of contenders that all do `work`: each against the limit that binds, the first against the others.

        The first contender is the one that the benchmark is about.
        """
        bounded = bool(work.flops or work.n_bytes)
        times = self.race({**self.limits.probes, **contenders} if bounded else contenders)
        bound = self.limits.bound(work, times)
        found = [figure(f"{name} / {who}", times[who], work.amount, work.unit, bound) for who in contenders]
        first, *others = contenders
        for who in others:
            title = f"{name} / {first} beside {who}"
            found.append(figure(title, times[first], work.amount, work.unit, (who, times[who])))
        return found

    def machine_rows(self) -> list[Row]:
        """The machine's limits, raced on their own."""
        return self.limits.rows(self.race(self.limits.probes))

    def missing_rows(self, name: str, unit: str) -> list[Row]:
        """A row for each backend that cannot be had."""
        return [Row(f"{name} / {who}", None, unit, why=why) for who, why in self.missing.items()]


def setting(options: argparse.Namespace) -> Setting:
    """The setting for the command line's options."""
    _keep_memory()
    backends, missing = _backends(options.bundle)
    return Setting(backends, missing, _limits(options.bundle), 3 if options.quick else 15, options.quick, options.time)


@cache
def _backends(bundle: Path | None) -> tuple[dict[str, Backend], dict[str, str]]:
    found: dict[str, Backend] = {}
    missing: dict[str, str] = {}
    try:
        found[AOT] = library.opened(library.find(bundle)).kernels()
    except (library.NoLibraryError, BundleError, BackendError) as error:
        missing[AOT] = str(error)
    try:
        found[JIT] = choose(JIT)
    except BackendError as error:
        missing[JIT] = str(error)
    found[NUMPY] = choose(NUMPY)
    for name, why in missing.items():
        print(f"no {name} kernels: {why}", file=sys.stderr)
    return found, missing


@cache
def _limits(bundle: Path | None) -> Limits:
    return Limits(next(iter(_backends(bundle)[0].values())))


@cache
def _keep_memory() -> None:
    """Let the C library keep what is freed, from the first array on and not only when it has learnt to.

    Contenders that allocate as they go, numpy and torch, are else slowed by fresh pages, up to twice, or are not: it
    depends on what ran before them.
    """
    with suppress(OSError, AttributeError):
        tune = ctypes.CDLL(None).mallopt
        for parameter in (_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD):
            tune(parameter, _KEPT_BYTES)
