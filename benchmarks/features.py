"""From pixels to features: statistics of cells in windows around them, and the mean of their random embedding."""

from __future__ import annotations

import argparse
from functools import partial

import numpy as np
from numpy.typing import NDArray

from benchmarks.limits import Work
from benchmarks.rows import Row
from benchmarks.setting import Setting, setting
from benchmarks.synthetic import SHAPE, sample
from flight.kernels.backend import Backend
from flight.learn import arithmetic
from flight.learn.compiled import CompiledEmbedding
from flight.learn.embedding import Embedding
from flight.learn.features import CELL_PX, WIDE_WINDOWS_CELLS, WINDOWS_CELLS, CellFeatures

CELLS = SHAPE[0] * SHAPE[1] // CELL_PX**2
UNITS = 256
# What each learner reads of a chip: windows, whether raw pixels come first, units of the embedding.
_CASES = {
    "moments: 69 features, 256 units": (WINDOWS_CELLS, True, UNITS),
    "swath: 28 features, 228 units": (WIDE_WINDOWS_CELLS, False, UNITS - 28),
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """No options of its own."""


def run(args: argparse.Namespace) -> list[Row]:
    """What learners that keep the mean of a chip do with it, and those that predict its cells."""
    given = setting(args)
    chip = sample(1).chips[0]
    found = given.machine_rows()
    for name, (windows, raw, units) in _CASES.items():
        found += _rows(given, name, chip, windows, raw, units)
    return found


def feature_flops(windows: int) -> float:
    """Operations on a chip of 96 x 96 x 3 without which its statistics cannot be had, integer ones included.

    A value is added, squared and added; a pixel adds three bands and takes two differences, their sizes and their sum;
    a window is slid two ways over every sum of cells, an addition and a subtraction each.
    """
    height, width, bands = SHAPE
    return height * width * (3.0 * bands + bands + 5.0) + CELLS * windows * 4.0 * (2 * bands + 1)


def embedding_flops(features: int, units: int) -> float:
    """Operations of the products with random weights, and of the mean over cells."""
    return CELLS * (2.0 * features * units + units + features)


def embedding(backend: Backend, windows: tuple[int, ...], raw: bool, units: int) -> Embedding:
    """The embedding of chips of 96 x 96 x 3 as learners make it on `backend`."""
    features = CellFeatures(SHAPE, windows, raw=raw)
    if backend.compiled:
        return CompiledEmbedding(features, units, 0, backend)
    return Embedding(features, units, 0, arithmetic.of(backend))


def _rows(
    given: Setting, name: str, chip: NDArray[np.uint8], windows: tuple[int, ...], raw: bool, units: int
) -> list[Row]:
    made = {who: embedding(backend, windows, raw, units) for who, backend in given.backends.items()}
    n_features = next(iter(made.values())).features.n_features
    flops = feature_flops(len(windows)) + embedding_flops(n_features, units)
    work = Work(1.0, "chips/s", flops, float(chip.nbytes))
    found: list[Row] = []
    for what, job in (("features and mean embedding", "summary"), ("and the embedding of every cell", "cells")):
        contenders = {who: partial(getattr(each, job), chip) for who, each in made.items()}
        title = f"{name} / {what}"
        found += given.contest(title, work, contenders) + given.missing_rows(title, "chips/s")
    return found
