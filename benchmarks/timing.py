"""Contenders timed side by side, in turns: a drifting clock meets them all, and a ratio is the median over rounds."""

from __future__ import annotations

import gc
import os
import statistics
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from flight.clock import cpu_s, wall_s

WALL, CPU = "wall", "cpu"
STOPWATCHES: dict[str, Callable[[], float]] = {WALL: wall_s, CPU: cpu_s}
ALL_CORES = frozenset(os.sched_getaffinity(0))  # that this process was started on
SLICE_S = 0.02  # of one contender in one round
_MOST_CALLS = 1 << 20


@dataclass(frozen=True)
class Times:
    """Seconds a call, one a round."""

    seconds: tuple[float, ...]

    @property
    def median_s(self) -> float:
        """The median over the rounds."""
        return statistics.median(self.seconds)

    @property
    def spread_s(self) -> float | None:
        """Standard deviation over the rounds; None after one."""
        return statistics.stdev(self.seconds) if len(self.seconds) > 1 else None

    def rate(self, amount: float) -> float:
        """`amount` over the median."""
        return amount / self.median_s

    def speed_beside(self, other: Times) -> float:
        """How many times as fast as `other`, of the same rounds: the median of the rounds' ratios."""
        return statistics.median(theirs / mine for mine, theirs in zip(self.seconds, other.seconds, strict=True))

    def times(self, factor: float) -> Times:
        """So many times as long."""
        return Times(tuple(factor * s for s in self.seconds))

    def rate_spread(self, amount: float) -> float | None:
        """Standard deviation of the rate over the rounds; None after one."""
        return statistics.stdev(amount / s for s in self.seconds) if len(self.seconds) > 1 else None


def race(
    contenders: Mapping[str, Callable[[], object]],
    rounds: int,
    slice_s: float = SLICE_S,
    stopwatch: Callable[[], float] = wall_s,
) -> dict[str, Times]:
    """Time every contender in every round, with as many calls as fill `slice_s`; after a call that is not counted.

    Rounds go forwards and backwards in turn, and one call less than is counted comes before: what others have
    pushed out of the caches is then back, as it is where the same work is done over and over.
    """
    calls = {name: _calls(work, slice_s, stopwatch) for name, work in contenders.items()}
    found: dict[str, list[float]] = {name: [] for name in contenders}
    with _no_garbage_collection():
        for turn in range(rounds):
            for name in list(contenders)[:: -1 if turn % 2 else 1]:
                work, n = contenders[name], calls[name]
                for _ in range(n - 1):
                    work()
                found[name].append(_timed(work, n, stopwatch))
    return {name: Times(tuple(seconds)) for name, seconds in found.items()}


def _calls(work: Callable[[], object], slice_s: float, stopwatch: Callable[[], float]) -> int:
    """How many calls fill `slice_s`; this warms up as well."""
    work()
    n = 1
    while (took := _timed(work, n, stopwatch) * n) < slice_s / 2 and n < _MOST_CALLS:
        n *= 2
    return max(1, round(n * slice_s / took)) if took < slice_s else n


def _timed(work: Callable[[], object], calls: int, stopwatch: Callable[[], float]) -> float:
    start = stopwatch()
    for _ in range(calls):
        work()
    return (stopwatch() - start) / calls


@contextmanager
def _no_garbage_collection() -> Iterator[None]:
    was = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was:
            gc.enable()


@contextmanager
def on_cores(cores: Iterable[int]) -> Iterator[None]:
    """This process on `cores` alone: threads that wait for work since they last did some, and those still to start."""
    before = os.sched_getaffinity(0)
    _move(cores)
    try:
        yield
    finally:
        _move(before)


def _move(cores: Iterable[int]) -> None:
    chosen = set(cores)
    for thread in Path("/proc/self/task").iterdir():
        with suppress(ProcessLookupError):  # it has ended meanwhile
            os.sched_setaffinity(int(thread.name), chosen)
