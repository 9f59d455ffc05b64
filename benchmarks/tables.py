"""Label tables to measure the codec on: smooth ones over any region, disorder, and changes to them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from flight.link.labelset import LabelSet
from flight.link.layout import CELL, Places

Table = NDArray[np.float32]
CHANGED = 0.1  # of the rows, in a later version
_LENGTHS_KM = (40.0, 8.0)
_WAVES = 60
_NAMES = ("forest", "crops", "grass", "shrub", "built-up", "water", "bare", "wetland", "orchard", "vineyard", "snow")


def read(path: Path) -> dict[str, Table]:
    """Tables in an archive: its arrays ``proportions_...``."""
    with np.load(path, allow_pickle=False) as file:
        return {name: file[name] for name in sorted(file.files) if name.startswith("proportions_")}


def label_set(table: Table, levels: int) -> LabelSet:
    """Version 1 of task 1 in region 1, with class names."""
    n = table.shape[1]
    names = _NAMES[:n] if n <= len(_NAMES) else tuple(f"class {i}" for i in range(n))
    return LabelSet(1, 1, 1, names, table, levels)


def smooth(places: Places, n_classes: int, seed: int) -> Table:
    """A table over a map: shares grow with the height of one random field a class, waves of two lengths added up."""
    rng = np.random.Generator(np.random.PCG64(seed))
    at = np.stack([places.row, places.col], axis=1) / CELL
    height = np.zeros((len(at), n_classes))
    for length in _LENGTHS_KM:
        waves = rng.standard_cauchy((_WAVES, 2)) / length  # of an exponential covariance, nearly
        phases = rng.uniform(0, 2 * np.pi, (_WAVES, n_classes))
        for wave, phase in zip(waves, phases, strict=True):
            left = np.exp(-(wave @ wave) * places.spread / CELL**2 / 4)  # of a wave, averaged over an area
            height += left[:, None] * np.cos((at @ wave)[:, None] + phase) * np.sqrt(2 / _WAVES)
    share = np.exp(2.5 * (height - np.linspace(0, 1.5, n_classes)))
    share *= share > 0.03 * share.max(1, keepdims=True)
    return (share / share.sum(1, keepdims=True)).astype(np.float32)


def even(rows: int, n_classes: int, seed: int) -> Table:
    """Rows that are all as likely."""
    return np.random.Generator(np.random.PCG64(seed)).dirichlet(np.ones(n_classes), rows).astype(np.float32)


def one_class_each(rows: int, n_classes: int, seed: int) -> Table:
    """Rows that are wholly of one class or another, whatever their neighbours are."""
    rng = np.random.Generator(np.random.PCG64(seed))
    return np.eye(n_classes, dtype=np.float32)[rng.integers(0, n_classes, rows)]


def changed(before: LabelSet, places: Places, how: str, seed: int) -> LabelSet:
    """The next version of a table as it was decoded, with a tenth of its rows changed.

    `how` is "moved" (some of the largest class has become another one, in rows drawn at random), "drawn anew" (around
    what they were), or "moved in places" (as the first, in rows around six points).
    """
    rng = np.random.Generator(np.random.PCG64(seed))
    table = before.proportions.copy()
    rows, n_classes = table.shape
    chosen = rng.permutation(rows)[: round(CHANGED * rows)]
    if how == "moved in places":
        at = np.stack([places.row, places.col], axis=1).astype(np.float64)
        centre = at[rng.integers(rows, size=6)]
        chosen = np.argsort(((at[:, None] - centre) ** 2).sum(2).min(1))[: len(chosen)]
    for row in chosen[~before.missing[chosen]]:
        if how == "drawn anew":
            table[row] = rng.dirichlet(table[row] * 20 + 0.05)
        else:
            largest, other = int(np.argmax(table[row])), int(rng.integers(n_classes))
            share = min(rng.uniform(0.05, 0.2), table[row, largest])
            table[row, largest] -= share
            table[row, other] += share
    return replace(before, version=before.version + 1, proportions=table)
