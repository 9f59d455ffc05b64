"""Training: networks, every learner, a long stream; against the machine's limits, numpy and torch."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from threading import Event

from benchmarks.board import power
from benchmarks.board.system import System
from benchmarks.head import head_rows
from benchmarks.learner_speed import training_rows
from benchmarks.networks import BATCH_CHIPS, bit_rows, downconv, product_rows, step_rows, thread_rows
from benchmarks.rows import Row
from benchmarks.setting import Setting, setting
from benchmarks.stream import stream_rows
from benchmarks.synthetic import sample
from flight.learn import LEARNERS

_POWER_S = 3.0
PARTS: dict[str, Callable[[Setting, argparse.Namespace], list[Row]]] = {
    "product": lambda given, args: product_rows(given),
    "step": lambda given, args: step_rows(given),
    "head": lambda given, args: head_rows(given),
    "threads": lambda given, args: thread_rows(given),
    "bits": lambda given, args: bit_rows(given),
    "learners": lambda given, args: [row for name in LEARNERS for row in training_rows(given, name)],
    "stream": lambda given, args: stream_rows(given, args.chips),
    "power": lambda given, args: _power_rows(given),
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of this benchmark."""
    parser.add_argument("--part", nargs="+", choices=tuple(PARTS), default=tuple(PARTS), help="some of it  [all]")
    parser.add_argument("--chips", type=int, help="length of the stream  [100000, with --quick 2000]")


def run(args: argparse.Namespace) -> list[Row]:
    """Matrix product, a step with all cells, the default learner's head, threads, bits, learners, stream, power."""
    given = setting(args)
    return given.machine_rows() + [row for part in args.part for row in PARTS[part](given, args)]


def _power_rows(given: Setting) -> list[Row]:
    """Power at rest and in training, and energy a chip; where the board tells."""
    system = System()
    learner = downconv(given.best, sample(BATCH_CHIPS))
    trained = 0

    def step() -> None:
        nonlocal trained
        trained += learner.train(1) * BATCH_CHIPS

    seconds = _POWER_S if not given.quick else _POWER_S / 3
    rest = power.measure(system, lambda: Event().wait(0.05), seconds)
    busy = power.measure(system, step, seconds)
    why = busy.why or rest.why
    if rest.watts is None or busy.watts is None:
        return [
            Row("power / at rest", None, "W", why=why),
            Row("power / downconv training", None, "W", why=why),
            Row("energy / downconv training", None, "mJ/chip", why=why),
        ]
    return [
        Row("power / at rest", rest.watts, "W"),
        Row("power / downconv training", busy.watts, "W", ("at rest", rest.watts)),
        Row("energy / downconv training", busy.watts * busy.seconds / trained * 1e3, "mJ/chip"),
    ]
