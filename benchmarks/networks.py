"""The parts of training a network: a matrix product, a step with all cells, the same bits, one thread and two."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from benchmarks import torch_side
from benchmarks.limits import Work, figure
from benchmarks.rows import Row
from benchmarks.setting import Setting
from benchmarks.synthetic import CLASSES, Sample, sample
from benchmarks.timing import ALL_CORES, on_cores, race
from flight.kernels.backend import AOT, JIT, Backend
from flight.learn import LEARNERS, Downconv, Learner

HIDDEN, INPUTS, CELLS = 96, 48, 576  # of `downconv` on chips of 96 x 96 x 3
BATCH_CHIPS, BATCH_BAGS = 32, 4
FOREVER = 1_000_000
_BIT_STEPS = 100
_STEP = "downconv training, exact gradients of all 576 cells, from uint8 to Adam"


def downconv_flops(backward: bool) -> float:
    """Operations on one chip: all its cells through both layers; with `backward`, the gradients of both as well."""
    first, second = 2.0 * INPUTS * HIDDEN, 2.0 * HIDDEN * CLASSES
    return CELLS * (2 * first + 3 * second if backward else first + second)


def without_torch(given: Setting, name: str, unit: str) -> list[Row]:
    """Rows for the backends, and for torch, that are not here."""
    rows = given.missing_rows(name, unit)
    return rows if torch_side.installed() else [*rows, Row(f"{name} / torch", None, unit, why=torch_side.WHY)]


def product_rows(given: Setting) -> list[Row]:
    """The cells of a chip through the hidden layer of `downconv`, as one matrix product."""
    m, n, depth = CELLS, HIDDEN, INPUTS
    rng = np.random.Generator(np.random.Philox(2))
    a, b, start = (rng.standard_normal(shape, np.float32) for shape in ((m, depth), (depth, n), (n,)))
    c = np.empty((m, n), np.float32)
    repeats = 16  # in one call, so that what is measured is the kernel and not the call

    def by(backend: Backend) -> Callable[[], object]:
        if backend.compiled:
            return lambda: backend.gemm(a, b, start, c, m, n, depth, repeats)
        return lambda: [np.add(np.dot(a, b, out=c), start, out=c) for _ in range(repeats)]

    flops = 2.0 * m * n * depth * repeats
    contenders = {name: by(backend) for name, backend in given.backends.items()}
    contenders |= torch_side.product(a, b, start, repeats)
    name = f"matrix product {m} x {depth} x {n} with bias"
    rows = given.contest(name, Work(flops * 1e-9, "GFLOP/s", flops), contenders)
    return rows + without_torch(given, name, "GFLOP/s")


def downconv(backend: Backend, data: Sample, n_steps: int = FOREVER, threads: int = 1) -> Downconv:
    """A learner whose every batch is all of `data`, with all cells of each chip, ready to train."""
    learner = Downconv(
        n_steps=n_steps,
        bags_per_batch=BATCH_BAGS,
        chips_per_bag=BATCH_CHIPS // BATCH_BAGS,
        cells_per_chip=CELLS,
        threads=threads,
    )
    return learner.use(backend).partial_fit(data.chips, data.bags).set_labels(data.table)


def stepper(learner: Learner) -> Callable[[], object]:
    """A training step of `learner`."""
    return lambda: learner.train(1)


def step_rows(given: Setting) -> list[Row]:
    """A training step on 32 chips with all their cells, against torch's."""
    data = sample(BATCH_CHIPS)
    shares = np.repeat(np.eye(BATCH_BAGS, dtype=np.float32), BATCH_CHIPS // BATCH_BAGS, axis=1)
    shares /= shares.sum(axis=1, keepdims=True)
    contenders = {name: stepper(downconv(backend, data)) for name, backend in given.backends.items()}
    contenders |= torch_side.training_steps(data.chips, shares, data.table, HIDDEN)
    flops = BATCH_CHIPS * downconv_flops(backward=True)
    work = Work(BATCH_CHIPS, "chips/s", flops, float(data.chips.nbytes))
    return given.contest(_STEP, work, contenders) + without_torch(given, _STEP, "chips/s")


def thread_rows(given: Setting) -> list[Row]:
    """The same step with one thread and with two, on any core."""
    name = f"{_STEP} / 2 threads beside 1"
    if len(ALL_CORES) < 2:
        return [Row(name, None, "chips/s", why="there is one core")]
    if not given.best.compiled:
        return [Row(name, None, "chips/s", why="numpy trains in one thread")]
    data = sample(BATCH_CHIPS)
    with on_cores(ALL_CORES):  # CPU time would count both threads: the wall clock
        times = race({n: stepper(downconv(given.best, data, threads=int(n))) for n in ("1", "2")}, given.rounds)
    return [figure(name, times["2"], BATCH_CHIPS, "chips/s", ("1 thread", times["1"]))]


def bit_rows(given: Setting) -> list[Row]:
    """Whether kernels compiled ahead of time and just in time train to the same bits: 1 if they do, else 0."""
    data = sample(64)
    found = []
    for name in LEARNERS:
        title = f"{name} / bits after training, {AOT} = {JIT}"
        if len(given.compiled) < 2:
            found.append(Row(title, None, "1", why="; ".join(given.missing.values())))
            continue
        steps = {"n_steps": _BIT_STEPS} if name in ("downconv", "qkm") else {}
        digests = {
            LEARNERS[name](**steps).use(b).partial_fit(data.chips, data.bags).set_labels(data.table).weights_sha256
            for b in given.compiled.values()
        }
        found.append(Row(title, float(len(digests) == 1), "1"))
    return found
