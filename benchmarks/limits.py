"""The machine's own limits, measured beside what they bound, and kernels as shares of them.

A kernel that does `flops` operations and must move `n_bytes` cannot take less than the longer of the two times
(Williams, Waterman, Patterson 2009, "Roofline").
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from benchmarks.rows import Row
from benchmarks.timing import Times
from flight.clock import cpu_s
from flight.kernels.backend import Backend

FMA, BANDWIDTH = "FMA peak", "memory bandwidth"
NO_KERNELS = "needs compiled kernels: pip install '.[jit]' in swath's checkout, or --bundle FILE"
_LANES = 16
_CHAINS = (12, 6, 3)
_STEPS = 500_000  # of a chain in a call, beside which the call itself is nothing
_TRIAD_FLOATS = 1 << 23  # 32 MiB an array, larger than the last-level caches of boards
_CHOOSE_ROUNDS = 9


@dataclass(frozen=True)
class Work:
    """What a call has to do at least: operations (a fused multiply-add is two), and bytes to and from memory.

    `amount` of `unit` is what it gets done. Zero operations or bytes bound nothing.
    """

    amount: float
    unit: str
    flops: float = 0.0
    n_bytes: float = 0.0


class Limits:
    """Probes of the machine's limits: they run in the same rounds as the kernels that they bound."""

    def __init__(self, backend: Backend) -> None:
        self.compiled = backend.compiled
        self.probes: dict[str, Callable[[], object]] = {}
        self._amounts: dict[str, float] = {}
        if self.compiled:
            self._add_fma(backend)
        self._add_triad(backend)

    def _add_fma(self, backend: Backend) -> None:
        values = np.ones((_CHAINS[0], _LANES), np.float32)
        half = np.float32(0.5)

        def probe(chains: int) -> Callable[[], object]:
            return lambda: backend.fma_chains(values, half, half, chains, _STEPS)

        speeds = {n: min(_once(probe(n)) for _ in range(_CHOOSE_ROUNDS)) / n for n in _CHAINS}
        best = min(speeds, key=lambda n: speeds[n])
        self.probes[FMA] = probe(best)
        self._amounts[FMA] = 2.0 * _LANES * best * _STEPS

    def _add_triad(self, backend: Backend) -> None:
        a, b, c = (np.ones(_TRIAD_FLOATS, np.float32) for _ in range(3))
        if backend.compiled:
            self.probes[BANDWIDTH] = lambda: backend.triad(a, b, c, 0.5, _TRIAD_FLOATS)
            self._amounts[BANDWIDTH] = 12.0 * _TRIAD_FLOATS
        else:
            self.probes[BANDWIDTH] = lambda: np.copyto(a, b)
            self._amounts[BANDWIDTH] = 8.0 * _TRIAD_FLOATS

    def rows(self, times: Mapping[str, Times]) -> list[Row]:
        """The limits themselves."""
        found = []
        for name, unit in ((FMA, "GFLOP/s"), (BANDWIDTH, "GB/s")):
            if name in times:
                found.append(figure(f"machine / {name}", times[name], self._amounts[name] * 1e-9, unit))
            else:
                found.append(Row(f"machine / {name}", None, unit, why=NO_KERNELS))
        return found

    def bound(self, work: Work, times: Mapping[str, Times]) -> tuple[str, Times] | None:
        """(Which limit binds, how long `work` would take with no other); None if none is known that does."""
        least = {
            name: times[name].times(amount / self._amounts[name])
            for name, amount in ((FMA, work.flops), (BANDWIDTH, work.n_bytes))
            if amount and name in times
        }
        if not least or (work.flops and FMA not in times):
            return None
        name = max(least, key=lambda each: least[each].median_s)
        return name, least[name]


def figure(name: str, times: Times, amount: float, unit: str, against: tuple[str, Times] | None = None) -> Row:
    """A row of the median rate over the rounds, held against the times of others in the same rounds."""
    other = None if against is None else (against[0], against[1].rate(amount))
    ratio = None if against is None else times.speed_beside(against[1])
    return Row(name, times.rate(amount), unit, other, len(times.seconds), times.rate_spread(amount), ratio=ratio)


def _once(work: Callable[[], Any]) -> float:
    start = cpu_s()  # what else runs must not choose for us
    work()
    return cpu_s() - start
