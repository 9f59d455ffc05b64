"""Every learner as it is by default: chips taken in, training, predictions, sizes."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from benchmarks.limits import Work
from benchmarks.networks import FOREVER, stepper
from benchmarks.rows import Row
from benchmarks.setting import Setting
from benchmarks.synthetic import Sample, sample
from flight.kernels.backend import Backend
from flight.learn import LEARNERS, Learner

_BY_STEPS = ("downconv", "qkm")  # they train for thousands of steps, each on a batch of its own


def training_rows(given: Setting, name: str) -> list[Row]:
    """Chips taken in, training, and sizes of learner `name`."""
    data = sample(64 if given.quick else 256)
    backends = _shown(given)
    work = Work(len(data.chips), "chips/s")
    taking = {who: _taker(name, backend, data) for who, backend in backends.items()}
    found = given.contest(f"{name} / chips taken in", work, taking)
    learners = {who: taught(name, backend, data) for who, backend in backends.items()}
    if name in _BY_STEPS:
        steps = {who: stepper(taught(name, backend, data, n_steps=FOREVER)) for who, backend in backends.items()}
        found += given.contest(f"{name} / training", Work(1, "steps/s"), steps)
    else:
        found += retask_rows(given, name, learners, data)
    learner = next(iter(learners.values()))
    return [
        *found,
        Row(f"{name} / parameters", learner.n_parameters, "1"),
        Row(f"{name} / arrays", learner.n_bytes, "bytes"),
        Row(f"{name} / state", len(learner.state()), "bytes"),
    ]


def prediction_rows(given: Setting, name: str) -> list[Row]:
    """Proportions of chips, maps of cells, and proportions from summaries, by learner `name`."""
    data = sample(32)
    found: list[Row] = []
    chips, n = data.chips, len(data.chips)
    few = {"n_steps": 1} if name in _BY_STEPS else {}  # any weights predict at the same speed
    learners = {who: taught(name, backend, data, **few) for who, backend in _shown(given).items()}
    for learner in learners.values():
        learner.train(learner.pending_steps)
    jobs: list[tuple[str, dict[str, Callable[[], object]]]] = [
        ("chips", {who: (lambda each=each: each.predict(chips)) for who, each in learners.items()}),
        ("maps of cells", {who: (lambda each=each: each.predict_map(chips)) for who, each in learners.items()}),
    ]
    summaries = next(iter(learners.values())).summarise(chips)
    if summaries is not None:
        found.append(Row(f"{name} / summary of a chip", summaries.shape[1], "bytes"))
        jobs.append(
            ("summaries", {w: (lambda each=each: each.predict_summaries(summaries)) for w, each in learners.items()})
        )
    for what, contenders in jobs:
        found += given.contest(f"{name} / {what}", Work(n, "chips/s"), contenders)
    return found


def _shown(given: Setting) -> dict[str, Backend]:
    """What flies, and numpy; every backend unless it has to be quick."""
    return {
        who: each for who, each in given.backends.items() if not given.quick or each is given.best or not each.compiled
    }


def _taker(name: str, backend: Backend, data: Sample) -> Callable[[], object]:
    return lambda: LEARNERS[name]().use(backend).partial_fit(data.chips, data.bags)


def taught(name: str, backend: Backend, data: Sample, **parameters: int) -> Learner:
    """A learner with chips and labels, not yet trained."""
    return LEARNERS[name](**parameters).use(backend).partial_fit(data.chips, data.bags).set_labels(data.table)


def retask_rows(given: Setting, name: str, learners: dict[str, Learner], data: Sample) -> list[Row]:
    """From new labels to final weights."""
    tables = (data.table, data.table[::-1].copy())
    times = given.race({who: _retasker(learner, tables) for who, learner in learners.items()})
    title = f"{name} / from new labels to final weights"
    found = [Row(f"{title} / {who}", t.median_s, "s", None, len(t.seconds), t.spread_s) for who, t in times.items()]
    first, *others = times
    for who in others:
        mine, theirs = times[first], times[who]
        against, ratio = (who, theirs.median_s), theirs.speed_beside(mine)
        title_of_both = f"{title} / {first} beside {who}"
        found.append(Row(title_of_both, mine.median_s, "s", against, len(mine.seconds), mine.spread_s, ratio=ratio))
    return found


def _retasker(learner: Learner, tables: tuple[NDArray[np.float32], ...]) -> Callable[[], object]:
    turn = 0

    def retask() -> object:
        nonlocal turn
        turn += 1
        learner.set_labels(tables[turn % len(tables)])
        return learner.train(learner.pending_steps)

    return retask
