"""A synthetic Earth as a file in the schema of real data, so that whoever can read the one can read the other."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ground.datasets import write_npz
from ground.imagery import Task
from sim.world import MAX_SIDE_CHIPS, World

_CHIPS_PER_MUNICIPALITY = 50
Progress = Callable[[int, int], None]  # told the arrays of chips and labels done so far, and their number in all


def world_of(n_chips: int, seed: int = 1, n_municipalities: int | None = None, **options: Any) -> World:
    """A world, about square, of at least `n_chips` chips and less than one row more; `options` as `World` takes them.

    Without `n_municipalities`, one for 50 chips, but at least 10. ValueError if there is no such world.
    """
    if not 40 <= n_chips <= MAX_SIDE_CHIPS**2:
        raise ValueError(f"n_chips is {n_chips}, must be from 40 to {MAX_SIDE_CHIPS**2}")
    rows = math.isqrt(n_chips)
    towns = max(10, n_chips // _CHIPS_PER_MUNICIPALITY) if n_municipalities is None else n_municipalities
    return World(seed, rows, -(-n_chips // rows), towns, **options)


def export(
    world: World, path: Path, n_chips: int | None = None, scene: int = 0, progress: Progress | None = None
) -> int:
    """Write the first `n_chips` chips of `world` (all, if None) to `path`, with the labels and tables of all tasks.

    The schema is that of `ground.datasets`. The chips are as seen in overpass `scene`. `progress(done, total)` is
    called batch by batch, `done` counting each chip once for its image and once for its labels in each task. Returns
    the number of chips written; ValueError if the world does not have so many.
    """
    n = world.n_chips if n_chips is None else n_chips
    if not 1 <= n <= world.n_chips:
        raise ValueError(f"n_chips is {n}, must be from 1 to {world.n_chips}, the chips of {world.name}")
    source = world if progress is None else _Watched(world, n * (1 + len(world.tasks)), progress)
    write_npz(path, source, np.arange(n), scene)
    return n


class _Watched(World):
    """The same world, which tells how much of it has been asked for."""

    def __init__(self, world: World, total: int, progress: Progress) -> None:
        self.__dict__.update(world.__dict__)
        self._done, self._total, self._progress = 0, total, progress

    def chips(self, index: NDArray[np.integer], scene: int = 0) -> NDArray[np.uint8]:
        images = super().chips(index, scene)
        self._tell(len(index))
        return images

    def labels(self, index: NDArray[np.integer], task: Task) -> NDArray[np.uint8]:
        labels = super().labels(index, task)
        self._tell(len(index))
        return labels

    def _tell(self, n: int) -> None:
        self._done += n
        self._progress(self._done, self._total)
