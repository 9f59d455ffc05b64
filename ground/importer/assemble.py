"""Blocks of chips as imagery, so that they are written in the schema of data sets without all being in memory."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from flight.link.region import FULL
from ground.gis import GisError
from ground.imagery import Task
from ground.importer.blocks import Block, read_block, read_cells
from ground.regions import MappedRegion


class BlockImagery:
    """Imagery (`ground.imagery.Imagery`) whose chips lie in blocks, of which one is in memory at a time."""

    geographic = True

    def __init__(self, paths: Sequence[Path], mapped: MappedRegion, name: str, licence: str, side: int, n_bands: int):
        self.name, self.licence = name, licence
        self.rows, self.cols = mapped.region.rows, mapped.region.cols
        self.centre = mapped.georef.centre()
        self.codes = mapped.region.codes
        self.chip_shape = (side, side, n_bands)
        cells = [read_cells(path) for path in paths]
        self._paths = list(paths)
        self._start = np.concatenate([[0], np.cumsum([len(each) for each in cells])]).astype(np.int64)
        self._loaded: tuple[int, Block] | None = None
        flat = np.concatenate([*cells, np.zeros(0, np.int64)])
        self.cell = np.stack(np.divmod(flat, self.cols), axis=1).astype(np.int32)
        self.bags = mapped.region.bags[flat]
        self.weights = (mapped.region.weights[flat] / FULL).astype(np.float32)
        self.bag_split = np.zeros(len(self.codes), np.uint8)
        self.tasks: tuple[Task, ...] = ()
        self._table = np.zeros((0, 0), np.float32)

    @property
    def n_chips(self) -> int:
        """Number of chips."""
        return int(self._start[-1])

    @property
    def chip_split(self) -> NDArray[np.uint8]:
        """Split of each chip's first municipality."""
        return self.bag_split[self.bags[:, 0]]

    def chips_of(self) -> NDArray[np.int64]:
        """int64 (n_municipalities,), chips of which each municipality is the first."""
        return np.bincount(self.bags[:, 0], minlength=len(self.codes)).astype(np.int64)

    def settle(self, task: Task, table: NDArray[np.float32], bag_split: NDArray[np.uint8]) -> None:
        """Set what is known once all chips are: the task with its table, and the split."""
        self.tasks, self._table, self.bag_split = (task,), table, bag_split

    def chips(self, index: NDArray[np.integer], scene: int = 0) -> NDArray[np.uint8]:
        """Images (n, height, width, bands) of chips `index`."""
        return np.concatenate([block.chips[part] for block, part in self._parts(index)])

    def labels(self, index: NDArray[np.integer], task: Task) -> NDArray[np.uint8]:
        """True class of each pixel (n, height, width); 255 where it is unknown."""
        return np.concatenate([block.labels[part] for block, part in self._parts(index)])

    def thumbs(self, index: NDArray[np.integer]) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
        """Chips made small (n, t, t, bands), and the labels at the middle of each of their pixels (n, t, t)."""
        found = []
        for block, part in self._parts(index):
            t, side = block.thumbs.shape[1], block.labels.shape[1]
            at = np.arange(t) * (side // t) + side // t // 2
            found.append((block.thumbs[part], block.labels[part][:, at[:, None], at]))
        small, labels = zip(*found, strict=True)
        return np.concatenate(small), np.concatenate(labels)

    def proportions(self, index: NDArray[np.integer], task: Task) -> NDArray[np.float32]:
        """True class proportions (n, n_classes) over the pixels that are known; a NaN row where none is."""
        n = len(task.class_names)
        counts = np.concatenate(
            [
                np.stack([(block.labels[part] == c).sum((1, 2)) for c in range(n)], axis=1)
                for block, part in self._parts(index)
            ]
        ).astype(np.float64)
        total = counts.sum(1, keepdims=True)
        result = np.full(counts.shape, np.nan)
        np.divide(counts, total, out=result, where=total > 0)
        return result.astype(np.float32)

    def table(self, task: Task) -> NDArray[np.float32]:
        """The label table (n_municipalities, n_classes); a NaN row is missing."""
        return self._table

    def _parts(self, index: NDArray[np.integer]) -> list[tuple[Block, NDArray[np.int64]]]:
        """Blocks of chips `index`, which ascend, and their places within."""
        found = []
        of_block = np.searchsorted(self._start, index, side="right") - 1
        for number in np.unique(of_block):
            if self._loaded is None or self._loaded[0] != number:
                block = read_block(self._paths[number])
                if block is None:
                    raise GisError(f"{self._paths[number]}: was there a moment ago and cannot be read; import again")
                self._loaded = (int(number), block)
            within = np.asarray(index)[of_block == number].astype(np.int64) - self._start[number]
            found.append((self._loaded[1], within))
        return found


def municipal_truth(imagery: BlockImagery, task: Task) -> NDArray[np.float64]:
    """True proportions (n_municipalities, n_classes) of the chips of each, weighted by overlap; NaN without any."""
    sums = np.zeros((len(imagery.codes), len(task.class_names)))
    for start in range(0, imagery.n_chips, 256):
        index = np.arange(start, min(start + 256, imagery.n_chips))
        shares = imagery.proportions(index, task).astype(np.float64)
        known = ~np.isnan(shares[:, 0])
        for bags, weights in zip(imagery.bags[index].T, imagery.weights[index].T, strict=True):
            there = known & (bags >= 0)
            np.add.at(sums, bags[there], shares[there] * weights[there, None])
    total = sums.sum(1, keepdims=True)
    result = np.full(sums.shape, np.nan)
    np.divide(sums, total, out=result, where=total > 0)
    return result
