"""Predictions: of every learner, and of `downconv` against torch."""

from __future__ import annotations

import argparse
from collections.abc import Callable

from benchmarks import torch_side
from benchmarks.learner_speed import prediction_rows
from benchmarks.limits import Work
from benchmarks.networks import BATCH_CHIPS, HIDDEN, downconv, downconv_flops, without_torch
from benchmarks.rows import Row
from benchmarks.setting import Setting, setting
from benchmarks.synthetic import CLASSES, sample
from flight.learn import LEARNERS, Learner


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """No options of its own."""


def run(args: argparse.Namespace) -> list[Row]:
    """The network of `downconv` against torch, then what every learner predicts."""
    given = setting(args)
    found = given.machine_rows() + _network_rows(given)
    return found + [row for name in LEARNERS for row in prediction_rows(given, name)]


def _network_rows(given: Setting) -> list[Row]:
    data = sample(BATCH_CHIPS)
    contenders = {
        name: _predictor(downconv(each, data, n_steps=1), data.chips) for name, each in given.backends.items()
    }
    contenders |= torch_side.predictions(data.chips, HIDDEN, CLASSES)
    flops = BATCH_CHIPS * downconv_flops(backward=False)
    work = Work(BATCH_CHIPS, "chips/s", flops, float(data.chips.nbytes))
    name = "downconv, all 576 cells, from uint8"
    return given.contest(name, work, contenders) + without_torch(given, name, "chips/s")


def _predictor(learner: Learner, chips: object) -> Callable[[], object]:
    return lambda: learner.predict(chips)
