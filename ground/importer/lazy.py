"""Imagery whose chips are read from many small files when they are asked for."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from ground.imagery import Task

Load = Callable[[int], tuple[NDArray[np.uint8], NDArray[np.uint8]]]


class LazyImagery:
    """Imagery (`ground.imagery.Imagery`) of one task; `load` gives image and labels of a chip.

    Without `cell`, int32 (n_chips, 2), and `grid`, chips lie nowhere, and the schema lays them out bag by bag.
    """

    def __init__(
        self,
        name: str,
        licence: str,
        chip_shape: tuple[int, int, int],
        codes: tuple[str, ...],
        bag: NDArray[np.int32],
        bag_split: NDArray[np.uint8],
        task: Task,
        table: NDArray[np.float32],
        load: Load,
        cell: NDArray[np.int32] | None = None,
        grid: tuple[int, int] = (0, 0),
    ) -> None:
        self.name, self.licence, self.chip_shape, self.codes = name, licence, chip_shape, codes
        self.bags, self.weights = bag[:, None].astype(np.int32), np.ones((len(bag), 1), np.float32)
        self.bag_split, self.chip_split = bag_split, bag_split[bag]
        self.tasks = (task,)
        self._table, self._load = table, load
        self.geographic = cell is not None
        self.centre = None
        self.cell = np.zeros((len(bag), 2), np.int32) if cell is None else cell
        self.rows, self.cols = grid

    @property
    def n_chips(self) -> int:
        """Number of chips."""
        return len(self.bags)

    def chips(self, index: NDArray[np.integer], scene: int = 0) -> NDArray[np.uint8]:
        """Images (n, height, width, bands) of chips `index`."""
        return np.stack([self._load(int(i))[0] for i in index])

    def labels(self, index: NDArray[np.integer], task: Task) -> NDArray[np.uint8]:
        """True class of each pixel (n, height, width); 255 where it is unknown."""
        return np.stack([self._load(int(i))[1] for i in index])

    def proportions(self, index: NDArray[np.integer], task: Task) -> NDArray[np.float32]:
        """True class proportions (n, n_classes) over the pixels that are known; a NaN row where none is."""
        return shares(self.labels(index, task), len(task.class_names))

    def table(self, task: Task) -> NDArray[np.float32]:
        """The label table (n_municipalities, n_classes); a NaN row is missing."""
        return self._table


def shares(labels: NDArray[np.uint8], n_classes: int) -> NDArray[np.float32]:
    """Proportions (n, n_classes) of labels (n, ...), over those that are known; a NaN row where none is."""
    flat = labels.reshape(len(labels), -1)
    counts = np.stack([(flat == c).sum(1) for c in range(n_classes)], axis=1).astype(np.float64)
    total = counts.sum(1, keepdims=True)
    result = np.full(counts.shape, np.nan)
    np.divide(counts, total, out=result, where=total > 0)
    return result.astype(np.float32)
