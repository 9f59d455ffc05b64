"""What every source of imagery offers, real or synthetic: chips on a grid, municipalities over it, tasks with truth.

`ground.datasets` reads real files into it, `sim.world` generates it from a seed; benchmarks and missions take either.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

TRAIN, VALIDATION, TEST = 0, 1, 2
MAX_OVERLAPS = 4


@dataclass(frozen=True)
class Task:
    """A set of classes over the same land: a small number, a name, and the names of its classes."""

    task_id: int
    name: str
    class_names: tuple[str, ...]


class Imagery(Protocol):
    """A region's chips in index order 0..n_chips-1, its municipalities 0..n_municipalities-1, and truth for scoring.

    Attributes:
        name: short name, for reports.
        licence: licence of the imagery, one line.
        rows, cols: the chip grid.
        cell: int32 (n_chips, 2), grid row and column of each chip; no two chips share a cell.
        geographic: False if the grid is made up (then maps of it mean nothing).
        centre: latitude and longitude [deg] of the grid's middle; None where that is not known.
        chip_shape: (height, width, bands).
        codes: one code a municipality, strings.
        bags: int32 (n_chips, k), municipalities that the chip overlaps, largest first, padded with -1, k <= 4.
        weights: float32 (n_chips, k), share of the chip in each; 0 where padded; each row sums to 1.
        bag_split: uint8 (n_municipalities,), TRAIN, VALIDATION or TEST.
        chip_split: uint8 (n_chips,), the split of the chip's first municipality.
        tasks: the tasks there is truth for, the first one the default.
    """

    name: str
    licence: str
    rows: int
    cols: int
    cell: NDArray[np.int32]
    geographic: bool
    centre: tuple[float, float] | None
    chip_shape: tuple[int, int, int]
    codes: tuple[str, ...]
    bags: NDArray[np.int32]
    weights: NDArray[np.float32]
    bag_split: NDArray[np.uint8]
    chip_split: NDArray[np.uint8]
    tasks: tuple[Task, ...]

    @property
    def n_chips(self) -> int:
        """Number of chips."""
        ...

    def chips(self, index: NDArray[np.integer], scene: int = 0) -> NDArray[np.uint8]:
        """Images (n, height, width, bands) of chips `index`, seen in overpass `scene` (real data: always the same)."""
        ...

    def labels(self, index: NDArray[np.integer], task: Task) -> NDArray[np.uint8]:
        """True class of each pixel (n, height, width) in `task`; 255 where it is unknown."""
        ...

    def proportions(self, index: NDArray[np.integer], task: Task) -> NDArray[np.float32]:
        """True class proportions (n, n_classes) of chips `index` in `task`, over the pixels that are known."""
        ...

    def table(self, task: Task) -> NDArray[np.float32]:
        """The statistics office's label table (n_municipalities, n_classes) for `task`; a NaN row is missing."""
        ...
