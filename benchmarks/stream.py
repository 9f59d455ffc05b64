"""The default learner on a long stream: features, moments, reservoir and solves, everything included."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from benchmarks.rows import Row
from benchmarks.setting import Setting
from benchmarks.synthetic import CLASSES, sample
from benchmarks.timing import STOPWATCHES
from flight.kernels.backend import Backend
from flight.learn import Swath

_POOL = 512  # chips that the stream is made of, over and over, each time with a number of its own
_BATCH = 64
_PER_MUNICIPALITY = 60
_FULL, _QUICK = 100_000, 2_000
_SOLVES, _SOLVES_QUICK = 10, 2


def stream_rows(given: Setting, chips: int | None) -> list[Row]:
    """Chips a second with what flies and with numpy; solves are evenly spread, as if each followed an overpass."""
    n = chips or (_QUICK if given.quick else _FULL)
    backends = {name: each for name, each in given.backends.items() if each is given.best or not each.compiled}
    found = []
    n_solves = _SOLVES_QUICK if given.quick else _SOLVES
    for name, backend in backends.items():
        took_s, solves_s = _fly(backend, n, n_solves, STOPWATCHES[given.time])
        title = f"default learner, a stream of {n:,} chips with {n_solves} solves / {name}"
        found.append(Row(title, n / took_s, "chips/s"))
        found.append(Row(f"{title} / share of the solves", solves_s / took_s, "1"))
    return found


def _fly(backend: Backend, n: int, n_solves: int, stopwatch: Callable[[], float]) -> tuple[float, float]:
    """Seconds for the whole stream, and of them for the solves; making chips is not counted."""
    pool = sample(_POOL).chips
    rng = np.random.Generator(np.random.Philox(3))
    table = rng.dirichlet(np.ones(CLASSES), -(-n // _PER_MUNICIPALITY)).astype(np.float32)
    learner = Swath().use(backend).set_labels(table)
    solve_after = {round((i + 1) * n / n_solves) for i in range(n_solves)}
    took_s = solves_s = 0.0
    for start in range(0, n, _BATCH):
        numbers = np.arange(start, min(start + _BATCH, n))
        chips, bags = pool[numbers % _POOL], numbers // _PER_MUNICIPALITY
        began = stopwatch()
        learner.partial_fit(chips, bags, number=numbers)
        taken = stopwatch()
        if any(start < end <= start + _BATCH for end in solve_after):
            learner.train(learner.pending_steps)
        took_s += stopwatch() - began
        solves_s += stopwatch() - taken
    return took_s, solves_s
