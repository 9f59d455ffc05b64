"""Real and exported imagery from ``.npz`` files, checked in full before anything uses it.

A file may be larger than memory: chips and labels are mapped where they are stored without compression (`ground.npz`).

The schema. N chips, B municipalities (bags), C classes; no pickles.

    chips        uint8 (N, height, width, bands)
    bag          int (N,)          municipality 0..B-1 of the chip; the first one, where it overlaps several
    split        uint8 (N,)        0 train, 1 validation, 2 test; that of the chip's bag
    bag_split    uint8 (B,)
    bag_props    float (B, C)      the label table of the first task, rows on the simplex; a NaN row is missing
    class_names  str (C,)          a class named "unlabeled" is ignored: its pixels are unknown, its column dropped and
                                   rows normalised again
    licence      str (1,)

Truth is one of

    labels       uint8 (N, height, width)   class of each pixel, 255 unknown; one task
    scene        uint8 (N,)                 class of the chip, which fills all its pixels. With `scene_to_group` (C,)
                                            and `group_names` (G,) there are two tasks: 1 the groups, which
                                            `bag_props` (B, G) is about, and 2 the scenes, whose table is derived

Position is one of

    cell         int (N, 2) and grid int (2,)   row and column of each chip, rows and columns of the grid
    tile, row, col   int (N,)                   row and column within a tile. Tiles are set side by side on one grid, an
                                                empty column between them: a map is geographic within a tile
    none                                        chips are laid out bag by bag along strips, so that each bag is compact;
                                                the map means nothing, and `geographic` is False

Optional, as the simulator exports them:

    bags, weights    int, float (N, k), k <= 4   overlaps, largest first, padded with -1 and 0; rows of weights sum to 1
    codes            str (B,)                    municipality codes; without them, numbers with leading zeros
    centre           float (2,)                  latitude and longitude [deg] of the grid's middle
    task_names       str (T,)                    names of the tasks, which are numbered from 1
    labels_<i>, class_names_<i>, bag_props_<i>   task i of per-pixel data, for i from 2 to T
"""

from __future__ import annotations

import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil, sqrt
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ground.files import replaced
from ground.imagery import MAX_OVERLAPS, Imagery, Task
from ground.npz import DatasetError, NpzFile, write_array

__all__ = ["DatasetError", "NpzImagery", "open_imagery", "write_npz"]

IGNORED_CLASS = "unlabeled"
UNKNOWN = 255
MAX_SIDE = 65535
_TOLERANCE = 1e-3
_BATCH = 256  # chips at a time
STORED_BYTES = 1 << 30  # files with more chips than that are not compressed, so that they can be mapped


@dataclass(frozen=True)
class _Truth:
    """Labels of one task as in the file, (N, height, width) or (N,), the class (256,) that each value is, its table."""

    labels: NDArray[np.uint8]
    classes: NDArray[np.uint8]
    table: NDArray[np.float32]

    def of(self, index: NDArray[np.integer]) -> NDArray[np.uint8]:
        """Labels of chips `index`, 255 unknown."""
        found: NDArray[np.uint8] = self.classes[self.labels[index]]
        return found


class NpzImagery:
    """Imagery of an npz file; implements `ground.imagery.Imagery`."""

    def __init__(self, path: Path) -> None:
        file = NpzFile(path)
        self.name = path.stem
        self.licence = str(file.take("licence", "U", 1)[0])
        self._chips: NDArray[np.uint8] = file.take("chips", "u", None, None, None, None)
        n, height, width, bands = self._chips.shape
        if not min(n, height, width, bands):
            raise file.error(f"array 'chips' has shape {self._chips.shape}: nothing in it")
        self.chip_shape = (height, width, bands)
        self.bag_split = file.within("bag_split", 0, 2, None).astype(np.uint8)
        self._read_bags(file, n)
        self._read_tasks(file, n)
        self._read_cells(file, n)

    @property
    def n_chips(self) -> int:
        """Number of chips."""
        return len(self._chips)

    def chips(self, index: NDArray[np.integer], scene: int = 0) -> NDArray[np.uint8]:
        """Images (n, height, width, bands) of chips `index`; the same whatever the `scene`."""
        chips: NDArray[np.uint8] = self._chips[index]
        return chips

    def labels(self, index: NDArray[np.integer], task: Task) -> NDArray[np.uint8]:
        """True class of each pixel (n, height, width) in `task`; 255 where it is unknown."""
        labels = self._truth[task.task_id].of(index)
        if labels.ndim == 1:
            return np.broadcast_to(labels[:, None, None], (len(labels), *self.chip_shape[:2])).copy()
        return labels

    def proportions(self, index: NDArray[np.integer], task: Task) -> NDArray[np.float32]:
        """True class proportions (n, n_classes) over the pixels that are known; a NaN row where none is."""
        truth, n_classes = self._truth[task.task_id], len(task.class_names)
        counts = np.zeros((len(index), n_classes))
        for start in range(0, len(index), _BATCH):
            part = slice(start, start + _BATCH)
            labels = truth.of(index[part])
            labels = labels.reshape(len(labels), -1)
            counts[part] = np.stack([(labels == c).sum(1) for c in range(n_classes)], axis=1)
        known = counts.sum(1, keepdims=True)
        shares = np.full(counts.shape, np.nan)
        np.divide(counts, known, out=shares, where=known > 0)
        return shares.astype(np.float32)

    def table(self, task: Task) -> NDArray[np.float32]:
        """The label table (n_municipalities, n_classes) of `task`, all splits; a NaN row is missing."""
        return self._truth[task.task_id].table.copy()

    def _read_bags(self, file: NpzFile, n: int) -> None:
        n_bags = len(self.bag_split)
        bag = file.within("bag", 0, n_bags - 1, n)
        self.chip_split = file.within("split", 0, 2, n).astype(np.uint8)
        wrong = np.flatnonzero(self.chip_split != self.bag_split[bag])
        if len(wrong):
            i = int(wrong[0])
            raise file.error(
                f"chip {i} is in split {self.chip_split[i]}, but its bag {bag[i]} is in {self.bag_split[bag[i]]}; "
                f"a split must not cross a bag ({len(wrong)} chips do)"
            )
        if "bags" in file:
            self.bags, self.weights = _overlaps(file, bag, n_bags)
        else:
            self.bags, self.weights = bag[:, None].astype(np.int32), np.ones((n, 1), np.float32)
        digits = len(str(n_bags - 1))
        numbers = np.array([f"{i:0{digits}d}" for i in range(n_bags)])
        codes = file.take("codes", "U", n_bags) if "codes" in file else numbers
        self.codes = tuple(str(code) for code in codes)
        if len(set(self.codes)) < n_bags or not all(self.codes):
            raise file.error("array 'codes' has a code twice, or an empty one")

    def _read_tasks(self, file: NpzFile, n: int) -> None:
        if "labels" in file:
            names = file.take("task_names", "U", None) if "task_names" in file else np.array(["land cover"])
            truths = []
            for i in range(1, len(names) + 1):
                end = "" if i == 1 else f"_{i}"
                classes, table, lut = _classes(file, end, f"class_names{end}", len(self.bag_split))
                labels = file.take(f"labels{end}", "u", n, *self.chip_shape[:2])
                n_named = len(file.arrays[f"class_names{end}"])
                parts = (labels[start : start + _BATCH] for start in range(0, n, _BATCH))
                if any(((part >= n_named) & (part != UNKNOWN)).any() for part in parts):
                    raise file.error(f"array 'labels{end}' has classes beyond the {n_named} named ones")
                truths.append((str(names[i - 1]), classes, _Truth(labels, lut, table)))
        else:
            truths = self._scene_tasks(file, n)
        self.tasks = tuple(Task(i + 1, name, classes) for i, (name, classes, _) in enumerate(truths))
        self._truth = {i + 1: truth for i, (_, _, truth) in enumerate(truths)}

    def _scene_tasks(self, file: NpzFile, n: int) -> list[tuple[str, tuple[str, ...], _Truth]]:
        scenes = tuple(str(name) for name in file.take("class_names", "U", None))
        scene = file.within("scene", 0, len(scenes) - 1, n)
        groups, table, _ = _classes(file, "", "group_names", len(self.bag_split))
        to_group = file.within("scene_to_group", 0, len(groups) - 1, len(scenes))
        counts = np.zeros((len(self.bag_split), len(scenes)))
        for k in range(self.bags.shape[1]):
            there = self.bags[:, k] >= 0
            np.add.at(counts, (self.bags[there, k], scene[there]), self.weights[there, k].astype(np.float64))
        derived, same = _normalised(counts), np.arange(256, dtype=np.uint8)
        return [
            ("groups", groups, _Truth(to_group[scene].astype(np.uint8), same, table)),
            ("scenes", scenes, _Truth(scene.astype(np.uint8), same, derived)),
        ]

    def _read_cells(self, file: NpzFile, n: int) -> None:
        self.geographic = True
        if "cell" in file or "grid" in file:
            grid = file.within("grid", 1, MAX_SIDE, 2)
            cell = file.within("cell", 0, MAX_SIDE, n, 2)
            if (cell >= grid).any():
                raise file.error(f"array 'cell' reaches {cell.max(0).tolist()}, outside the grid {grid.tolist()}")
        elif all(name in file for name in ("tile", "row", "col")):
            tile, row, col = (file.within(name, 0, MAX_SIDE, n) for name in ("tile", "row", "col"))
            cell = _side_by_side(tile, row, col)
            grid = cell.max(0) + 1
        else:
            self.geographic = False
            cell = _strips(self.bags[:, 0])
            grid = cell.max(0) + 1
        self.rows, self.cols = (int(side) for side in grid)
        self.cell = cell.astype(np.int32)
        _, counts = np.unique(cell[:, 0] * self.cols + cell[:, 1], return_counts=True)
        if (counts > 1).any():
            raise file.error(f"{int((counts > 1).sum())} cells hold more than one chip")
        self.centre = _centre(file) if "centre" in file else None


def _centre(file: NpzFile) -> tuple[float, float]:
    lat_deg, lon_deg = (float(angle) for angle in file.take("centre", "f", 2))
    if not (abs(lat_deg) <= 90 and abs(lon_deg) <= 180):
        raise file.error(f"array 'centre' is {lat_deg}, {lon_deg}; expected latitude and longitude in degrees")
    return lat_deg, lon_deg


def _overlaps(file: NpzFile, bag: NDArray[np.int64], n_bags: int) -> tuple[NDArray[np.int32], NDArray[np.float32]]:
    bags = file.within("bags", -1, n_bags - 1, len(bag), None)
    if not 1 <= bags.shape[1] <= MAX_OVERLAPS or (bags[:, 0] != bag).any():
        raise file.error(f"array 'bags' needs 1 to {MAX_OVERLAPS} columns, the first of them equal to 'bag'")
    weights = file.take("weights", "f", *bags.shape).astype(np.float32)
    bad = ~np.isfinite(weights).all(1) | (weights < 0).any(1) | ((bags < 0) & (weights != 0)).any(1)
    bad |= ~(np.abs(weights.sum(1) - 1) <= _TOLERANCE) | ((bags[:, 1:] >= 0) & (bags[:, :-1] < 0)).any(1)
    for i in range(1, bags.shape[1]):
        bad |= ((bags[:, :i] == bags[:, i : i + 1]) & (bags[:, i : i + 1] >= 0)).any(1)
    if bad.any():
        i = int(np.argmax(bad))
        raise file.error(f"chip {i} has bags {bags[i].tolist()} with weights {weights[i].tolist()}")
    return bags.astype(np.int32), weights


def _classes(
    file: NpzFile, end: str, names_array: str, n_bags: int
) -> tuple[tuple[str, ...], NDArray[np.float32], NDArray[np.uint8]]:
    """Names and table of a task without its ignored class, and a table uint8 (256,) from its labels to theirs."""
    names = [str(name) for name in file.take(names_array, "U", None)]
    if not 2 <= len(names) <= UNKNOWN or len(set(names)) < len(names):
        raise file.error(f"array {names_array!r} needs 2 to {UNKNOWN} different names")
    table = file.take(f"bag_props{end}", "f", n_bags, len(names)).astype(np.float64)
    on_simplex = np.isfinite(table).all(1) & (table >= 0).all(1) & (np.abs(table.sum(1) - 1) <= _TOLERANCE)
    wrong: NDArray[np.bool_] = ~on_simplex & ~np.isnan(table).all(1)
    if wrong.any():
        i = int(np.argmax(wrong))
        raise file.error(f"row {i} of 'bag_props{end}' is not on the simplex: {table[i].tolist()}")
    keep = [i for i, name in enumerate(names) if name != IGNORED_CLASS]
    lut = np.full(256, UNKNOWN, np.uint8)
    lut[keep] = np.arange(len(keep))
    return tuple(names[i] for i in keep), _normalised(table[:, keep]), lut


def _normalised(table: NDArray[np.float64]) -> NDArray[np.float32]:
    total = table.sum(1, keepdims=True)
    rows = np.full(table.shape, np.nan)
    np.divide(table, total, out=rows, where=total > 0)
    return rows.astype(np.float32)


def _side_by_side(tile: NDArray[np.int64], row: NDArray[np.int64], col: NDArray[np.int64]) -> NDArray[np.int64]:
    """Cells of chips in tiles that stand next to each other in the order of their numbers, an empty column between."""
    start, cell = 0, np.stack([row, col], axis=1)
    for number in np.unique(tile):
        cell[tile == number, 1] += start
        start += int(col[tile == number].max()) + 2
    return cell


def _strips(bag: NDArray[np.int32]) -> NDArray[np.int64]:
    """A made-up grid: chips in the order of their bags, down and along strips about as high as a bag is wide.

    Columns of a strip run down, strips run right and left in turn, so that a bag stays in one piece.
    """
    n = len(bag)
    order = np.argsort(bag, kind="stable")
    height = max(1, round(sqrt(n / len(np.unique(bag)))))
    n_strips = max(1, round(sqrt(n) / height))
    width = ceil(n / (height * n_strips))
    place = np.arange(n)
    strip, within = np.divmod(place, height * width)
    col, row = np.divmod(within, height)
    cell = np.empty((n, 2), np.int64)
    cell[order, 0] = strip * height + row
    cell[order, 1] = np.where(strip % 2 == 0, col, width - 1 - col)
    return cell


def open_imagery(path: Path) -> NpzImagery:
    """The imagery in an npz file; DatasetError says which array is wrong and how."""
    return NpzImagery(path)


def write_npz(path: Path, imagery: Imagery, index: Sequence[int] | NDArray[np.integer], scene: int = 0) -> None:
    """Write chips `index` of `imagery`, as seen in overpass `scene`, in the schema above, whole or not at all.

    All municipalities and tables are kept. Chips and labels are made and written a batch at a time.
    """
    index = np.asarray(index, np.int64)
    height, width, _ = imagery.chip_shape
    with replaced(path) as partial, zipfile.ZipFile(partial, "w", zipfile.ZIP_DEFLATED, compresslevel=6) as archive:
        small: dict[str, NDArray[Any]] = {
            "licence": np.array([imagery.licence]),
            "bag": imagery.bags[index, 0].astype(np.int32),
            "bags": imagery.bags[index].astype(np.int32),
            "weights": imagery.weights[index].astype(np.float32),
            "split": imagery.chip_split[index],
            "bag_split": imagery.bag_split,
            "codes": np.array(imagery.codes),
            "task_names": np.array([task.name for task in imagery.tasks]),
        }
        if imagery.geographic:
            small["cell"] = imagery.cell[index].astype(np.int32)
            small["grid"] = np.array([imagery.rows, imagery.cols], np.int32)
        if imagery.centre is not None:
            small["centre"] = np.array(imagery.centre, np.float64)
        for i, task in enumerate(imagery.tasks):
            end = "" if i == 0 else f"_{i + 1}"
            small[f"class_names{end}"] = np.array(task.class_names)
            small[f"bag_props{end}"] = imagery.table(task)
        for name, array in small.items():
            write_array(archive, name, array.shape, array.dtype, [array])
        batches = [index[i : i + _BATCH] for i in range(0, len(index), _BATCH)]
        uint8 = np.dtype(np.uint8)
        chips, shape = (imagery.chips(batch, scene) for batch in batches), (len(index), *imagery.chip_shape)
        compressed = int(np.prod(shape)) <= STORED_BYTES
        write_array(archive, "chips", shape, uint8, chips, compressed=compressed)
        for i, task in enumerate(imagery.tasks):
            labels = (imagery.labels(batch, task) for batch in batches)
            name, shape = f"labels_{i + 1}" if i else "labels", (len(index), height, width)
            write_array(archive, name, shape, uint8, labels, compressed=compressed)
