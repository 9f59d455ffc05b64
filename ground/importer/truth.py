"""True classes of pixels from land-cover rasters, by a small table of what their values mean."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ground.datasets import UNKNOWN
from ground.gis import GisError, listed
from ground.importer.files import open_raster
from ground.importer.mosaic import Mosaic, Warp, Window
from ground.importer.scenes import open_scenes
from ground.sheets import SheetOptions, TableError, read_sheet

WORLDCOVER = "worldcover"
# ESA WorldCover 10 m, Product User Manual V2.0, table 3
WORLDCOVER_CLASSES = {
    10: "tree cover", 20: "shrubland", 30: "grassland", 40: "cropland", 50: "built-up", 60: "bare", 70: "snow and ice",
    80: "water", 90: "wetland", 95: "mangroves", 100: "moss and lichen",
}  # fmt: skip


@dataclass(frozen=True)
class ClassMap:
    """Classes in their order, and the class that each value of a raster (0..255) stands for."""

    classes: tuple[str, ...]
    of_value: dict[int, int]

    def table(self) -> NDArray[np.uint8]:
        """uint8 (256,), class of each value, 255 where it has none."""
        result = np.full(256, UNKNOWN, np.uint8)
        for value, index in self.of_value.items():
            result[value] = index
        return result

    def ordered(self, classes: Sequence[str], source: str) -> ClassMap:
        """The same in the order of `classes`, those of the label table; GisError unless they are the same ones."""
        if set(classes) != set(self.classes):
            told = f"has the classes {listed(list(self.classes), 20)}; the label table has {listed(list(classes), 20)}"
            raise GisError(f"{source}: {told}: call them the same, and map every value to one of them")
        place = {name: i for i, name in enumerate(classes)}
        return ClassMap(tuple(classes), {value: place[self.classes[i]] for value, i in self.of_value.items()})


def read_class_map(name: str) -> ClassMap:
    """The class map called "worldcover", or that in a table with the columns value and class (CSV, Excel, Parquet)."""
    if name == WORLDCOVER:
        values = WORLDCOVER_CLASSES
    else:
        values = {}
        sheet = read_sheet(Path(name), SheetOptions())
        lower = [column.lower() for column in sheet.header]
        if "value" not in lower or "class" not in lower:
            raise TableError(name, [f"has the columns {', '.join(sheet.header)}; it needs 'value' and 'class'"])
        at_value, at_class = lower.index("value"), lower.index("class")
        for place, row in zip(sheet.places, sheet.rows, strict=True):
            value, of_class = str(row[at_value]).strip(), row[at_class]
            if not value.isdecimal() or not 0 <= int(value[:9]) <= 255:
                raise TableError(name, [f"{place}, column 'value': {value!r} is no value of a raster from 0 to 255"])
            if not isinstance(of_class, str) or not of_class:
                raise TableError(name, [f"{place}, column 'class': is empty; leave the row out if the value has none"])
            if int(value) in values:
                raise TableError(name, [f"{place}, column 'value': {value} was there before; keep one"])
            values[int(value)] = of_class
    classes = tuple(dict.fromkeys(values.values()))
    if not 2 <= len(classes) <= UNKNOWN:
        raise TableError(name, [f"has {len(classes)} class; a task has 2 to {UNKNOWN}"])
    return ClassMap(classes, {value: classes.index(of_class) for value, of_class in values.items()})


class Truth:
    """Land-cover rasters on the grid's pixels, nearest value, the first file that has one."""

    def __init__(self, paths: Sequence[Path], classes: ClassMap, warp: Warp) -> None:
        for path in paths:
            with open_raster(path) as opened:
                if opened.dtypes[0] != "uint8":
                    raise GisError(f"{path}: holds {opened.dtypes[0]}; classes are uint8 (gdal_translate -ot Byte)")
        self.classes = classes
        self._class_of = classes.table()
        self._mosaic = Mosaic(open_scenes(paths, ["1"]), warp, "nearest")
        self.unmapped = np.zeros(256, np.int64)

    def over(self, window: Window) -> list[Path]:
        """Files that meet a window."""
        return [path for rank in self._mosaic.over(window) for path in self._mosaic.scenes[rank].files]

    def read(self, window: Window) -> NDArray[np.uint8]:
        """Class of each pixel (height, width); 255 where there is none."""
        values, known = self._mosaic.read(window)
        labels = np.where(known, self._class_of[values[0]], UNKNOWN).astype(np.uint8)
        self.unmapped += np.bincount(values[0][known & (labels == UNKNOWN)], minlength=256)
        return labels

    def notes(self) -> list[str]:
        """Which values of the rasters have no class."""
        values = np.flatnonzero(self.unmapped)
        if not len(values):
            return []
        told = listed([f"{value} ({self.unmapped[value]:,} pixels)" for value in values])
        return [f"values of the land-cover raster without a class, taken as unknown: {told}"]
