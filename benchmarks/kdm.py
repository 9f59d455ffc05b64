"""Kernel density matrices: densities, responsibilities, novelty of chips, and the prototype network `qkm`."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from functools import partial

import numpy as np

from benchmarks.limits import Work
from benchmarks.networks import FOREVER, stepper
from benchmarks.rows import Row
from benchmarks.setting import Setting, setting
from benchmarks.synthetic import sample
from flight.kernels.backend import Backend
from flight.learn import QKM
from flight.learn.kdm import KDM, RBF
from flight.learn.novelty import Novelty

_POINTS, _PROTOTYPES, _DIM = 1024, 64, 24
_DOUBLE = 2.0  # a double takes the place of two floats
_PATCHES, _INPUTS, _CLASSES, _QKM_PROTOTYPES = 2209, 48, 5, 64


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """No options of its own."""


def run(args: argparse.Namespace) -> list[Row]:
    """Points through a density, chips through novelty, a training step of `qkm` with every patch."""
    given = setting(args)
    return [*given.machine_rows(), *_density_rows(given), *_novelty_rows(given), *_network_rows(given)]


def _density_rows(given: Setting) -> list[Row]:
    """A difference, a square and a sum a coordinate; exponentials are left out, so the share is a lower bound."""
    rng = np.random.Generator(np.random.Philox(6))
    density = KDM.of(rng.standard_normal((_PROTOTYPES, _DIM)), RBF(2.0))
    x = rng.standard_normal((_POINTS, _DIM))
    flops = _DOUBLE * 3.0 * _POINTS * _PROTOTYPES * _DIM
    work = Work(_POINTS, "points/s", flops)
    size = f"{_PROTOTYPES} prototypes in {_DIM} dimensions"
    found: list[Row] = []
    for title, ask in (("log-density", KDM.log_density), ("responsibilities", KDM.log_responsibilities)):
        contenders = {who: _asked(ask, density, x, backend) for who, backend in given.backends.items()}
        found += given.contest(f"{title}, {size}", work, contenders)
    return found


def _asked(ask: Callable[..., object], density: KDM, x: np.ndarray, backend: Backend) -> Callable[[], object]:
    return lambda: ask(density, x, backend=backend)


def _novelty_rows(given: Setting) -> list[Row]:
    data = sample(64 if given.quick else 256)
    some, numbers = data.chips[:16], np.arange(len(data.chips))
    contenders: dict[str, Callable[[], object]] = {}
    for who, backend in given.backends.items():
        novelty = Novelty(capacity=len(data.chips)).use(backend).partial_fit(data.chips, number=numbers)
        contenders[who] = partial(novelty.score, some)
    return given.contest("novelty of chips", Work(len(some), "chips/s"), contenders)


def _network_rows(given: Setting) -> list[Row]:
    """`qkm` on all 47 x 47 patches of each chip: logits, responsibilities, and their gradients."""
    data = sample(8 if given.quick else 32)
    n, product = len(data.chips), 2.0 * _INPUTS * _QKM_PROTOTYPES
    work = Work(n, "chips/s", n * _PATCHES * 2 * product, float(data.chips.nbytes))
    contenders: dict[str, Callable[[], object]] = {}
    for who, backend in given.backends.items():
        learner = QKM(n_steps=FOREVER, cells_per_chip=_PATCHES).use(backend)
        contenders[who] = stepper(learner.partial_fit(data.chips, data.bags).set_labels(data.table))
    return given.contest("qkm training, all 2,209 patches, from uint8 to Adam", work, contenders)
