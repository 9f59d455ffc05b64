"""The closed form: chips into integer statistics of municipalities, and the solve from them."""

from __future__ import annotations

import argparse
from functools import partial

import numpy as np

from benchmarks.features import UNITS, embedding_flops, feature_flops
from benchmarks.learner_speed import retask_rows, taught
from benchmarks.limits import Work
from benchmarks.rows import Row
from benchmarks.setting import Setting, setting
from benchmarks.synthetic import Sample, sample
from flight.learn import Moments, arithmetic
from flight.learn.features import WINDOWS_CELLS

_FEATURES, _LATTICE = 69, 16
_VALUES = _FEATURES + UNITS + 1
_LABELS = 5
_DOUBLE = 2.0  # a double takes the place of two floats


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """No options of its own."""


def run(args: argparse.Namespace) -> list[Row]:
    """Chips taken in, a change of labels, and the linear algebra beneath it."""
    given = setting(args)
    data = sample(64 if args.quick else 256)
    learners = {who: taught("moments", backend, data) for who, backend in given.backends.items()}
    return [
        *given.machine_rows(),
        *_absorb_rows(given, data),
        *retask_rows(given, "moments", learners, data),
        *_solve_rows(given),
    ]


def _absorb_rows(given: Setting, data: Sample) -> list[Row]:
    """Features, embedding and its mean; the outer products of sixteen cells, by symmetry half of them."""
    each = feature_flops(len(WINDOWS_CELLS)) + embedding_flops(_FEATURES, UNITS) + _LATTICE * _DOUBLE * _VALUES**2
    n = len(data.chips)
    learners = {who: Moments().use(backend) for who, backend in given.backends.items()}
    contenders = {who: partial(learner.partial_fit, data.chips, data.bags) for who, learner in learners.items()}
    work = Work(n, "chips/s", n * each, float(data.chips.nbytes))
    return given.contest("chips into sums of municipalities and covariance", work, contenders)


def _solve_rows(given: Setting) -> list[Row]:
    """Factor and solve, in double precision: n^3 / 3 and 2 n^2 a column."""
    rng = np.random.Generator(np.random.Philox(5))
    root = rng.standard_normal((_VALUES, 2 * _VALUES))
    a, b = root @ root.T, rng.standard_normal((_VALUES, _LABELS))
    flops = _DOUBLE * (_VALUES**3 / 3 + 2.0 * _VALUES**2 * _LABELS)
    contenders = {who: partial(arithmetic.of(backend).solve, a, b) for who, backend in given.backends.items()}
    title = f"symmetric solve, {_VALUES} unknowns, {_LABELS} columns"
    return given.contest(title, Work(1.0, "solves/s", flops), contenders)
