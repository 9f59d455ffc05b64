"""The head of the default learner: its loss and gradient, which each iteration of its search asks for."""

from __future__ import annotations

from functools import partial

import numpy as np

from benchmarks.limits import Work
from benchmarks.rows import Row
from benchmarks.setting import Setting
from benchmarks.synthetic import CLASSES, sample
from flight.learn import Swath

_CHIPS, _CHIPS_QUICK = 512, 64
_CELL_BYTES, _FLOAT_BYTES = 2, 4


def head_rows(given: Setting) -> list[Row]:
    """Scores of the cells of every chip that is kept, the matched loss of municipalities, and the way back."""
    data = sample(_CHIPS_QUICK if given.quick else _CHIPS)
    contenders = {}
    for who, backend in given.backends.items():
        learner = Swath().use(backend).partial_fit(data.chips, data.bags).set_labels(data.table)
        ready = learner._prepare()  # what it trains on
        x = np.random.Generator(np.random.Philox(7)).normal(0, 0.05, ready.inputs.n_weights)
        contenders[who] = partial(ready.inputs.objective, x, ready.loss, learner.penalty)
    k, axes = ready.rotation.shape[1], ready.axes.basis.shape[1]
    flops, n_bytes = head_work(len(data.chips), learner.cells_per_chip, k, axes, len(data.table))
    size = f"{len(data.chips)} chips of {learner.cells_per_chip} cells"
    title = f"default learner / loss and gradient of its head, {size}"
    found = given.contest(title, Work(1.0, "calls/s", flops, n_bytes), contenders)
    return found + given.missing_rows(title, "calls/s")


def head_work(chips: int, cells: int, k: int, axes: int, bags: int) -> tuple[float, float]:
    """Operations of the products, there and back, and bytes of what they read; exponentials and logarithms left out.

    Args:
        chips, cells: how many are kept, and cells of each.
        k, axes: features of a cell, and of a chip.
        bags: municipalities with labels.
    """
    flops = 4.0 * chips * CLASSES * (cells * k + axes + bags)
    return flops, float(chips * (_CELL_BYTES * cells * k + _FLOAT_BYTES * (axes + bags)))
