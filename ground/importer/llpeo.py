"""The data sets of "On-orbit model training for satellite imagery with label proportions" (Ramos-Pollan, Gonzalez).

As Zenodo has them (records 7935303, 7939365, 7935237, 7939348), a directory is

    splits.csv            identifier, split, split_communes: train, val or test of each chip
    data/ID.pkl           a dictionary: chip (or chipmean) uint8 (100, 100, 3) and a little more at times, label
                          (100, 100), label_proportions by partition, metadata with the corners in degrees

Pickles are parsed, not run (`ground.importer.pickles`). A chip's row for a partition is that of its commune, or a
mix of several where it lies on a border; the row of a commune is the one that most of its chips have.
"""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ground.datasets import write_npz
from ground.gis import GisError, listed, need_gis
from ground.imagery import TEST, TRAIN, VALIDATION, Task
from ground.importer.lazy import LazyImagery
from ground.importer.pickles import MAX_BYTES, PickleError, loads
from ground.npz import DatasetError
from ground.sheets import SheetOptions, TableError, read_sheet

SIDE = 100
LICENCE = "contains modified Copernicus Sentinel data; see the record at Zenodo"
_SPLITS = {"train": TRAIN, "val": VALIDATION, "test": TEST}
_MAX_CHIPS = 2_000_000


@dataclass(frozen=True)
class Groups:
    """Classes as published: how many there are, and which of them make one, with its name."""

    n_classes: int
    members: tuple[tuple[int, ...], ...]
    names: tuple[str, ...]

    def lookup(self) -> NDArray[np.uint8]:
        """uint8 (256,), group of each class; 255 where there is none."""
        table = np.full(256, 255, np.uint8)
        for group, members in enumerate(self.members):
            table[list(members)] = group
        return table


PUBLISHED = {
    "esaworldcover": Groups(
        12,
        ((0, 7, 8, 9, 10, 11), (1,), (2, 3, 6), (4,), (5,)),
        ("other", "tree cover", "shrub, grass, bare", "cropland", "built-up"),
    ),
    "humanpop": Groups(31, ((0,), tuple(range(1, 10)), tuple(range(10, 31))), ("none", "classes 1-9", "classes 10-30")),
}


def groups_of(directory: Path, what: str | None) -> Groups:
    """The groups of a data set that is named, or seen in the name of its directory, or written as "0+7,1,2+3"."""
    if what is not None and re.fullmatch(r"[\d+,]+", what):
        try:
            members = tuple(tuple(int(n) for n in group.split("+")) for group in what.split(","))
        except ValueError:
            raise DatasetError(f"--classes {what}: must be class numbers, + within a group, commas between") from None
        flat = [n for group in members for n in group]
        if len(set(flat)) < len(flat) or len(members) < 2 or max(flat) > 254:
            raise DatasetError(f"--classes {what}: needs two groups or more, and each class once, below 255")
        return Groups(max(flat) + 1, members, tuple("class " + "+".join(map(str, group)) for group in members))
    plain = re.sub("[^a-z]", "", (what or directory.resolve().name).lower())
    found = [groups for name, groups in PUBLISHED.items() if name in plain]
    if not found:
        known = " or ".join(PUBLISHED)
        raise DatasetError(f"{directory}: is neither {known} by its name; say --classes, or groups such as 0+7,1,2+3")
    return found[0]


def read_chip(path: Path) -> dict[str, Any]:
    """What a chip's pickle holds; DatasetError names the file."""
    try:
        if path.stat().st_size > MAX_BYTES:
            raise PickleError(f"has {path.stat().st_size} bytes, more than {MAX_BYTES}")
        value = loads(path.read_bytes())
    except PickleError as error:
        raise DatasetError(f"{path}: {error}") from None
    except OSError as error:
        raise DatasetError(f"{path}: cannot be read: {error.strerror}") from None
    if not isinstance(value, dict):
        raise DatasetError(f"{path}: holds {type(value).__name__}, not the dictionary of a chip")
    return value


def image_and_label(path: Path, lookup: NDArray[np.uint8]) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Image (100, 100, 3) and grouped classes (100, 100) of a chip, cut to that as its authors do."""
    chip = read_chip(path)
    image, label = chip.get("chip", chip.get("chipmean")), chip.get("label")
    for name, array, ndim in (("chip", image, 3), ("label", label, 2)):
        if not isinstance(array, np.ndarray) or array.ndim != ndim or min(array.shape[:2]) < SIDE:
            shape = getattr(array, "shape", "not there")
            raise DatasetError(f"{path}: {name!r} is {shape}; expected an array of at least {SIDE} x {SIDE}")
    assert image is not None and label is not None  # noqa: S101 (both are arrays)
    if image.dtype != np.uint8 or image.shape[2] != 3:
        raise DatasetError(f"{path}: 'chip' is {image.dtype} with {image.shape[2]} bands; expected uint8 with 3")
    if label.dtype.kind not in "iuf" or not ((label >= 0) & (label < 255)).all():
        raise DatasetError(f"{path}: 'label' is {label.dtype} with values beyond 0 to 254; expected class numbers")
    return image[:SIDE, :SIDE], lookup[label[:SIDE, :SIDE].astype(np.uint8)]


def open_llpeo(
    directory: Path, classes: str | None = None, partition: str = "communes"
) -> tuple[LazyImagery, list[str]]:
    """The data set in a directory, and what there is to say of it; DatasetError where its files do not fit together."""
    groups = groups_of(directory, classes)
    splits = _splits(directory / "splits.csv", partition)
    paths = sorted((directory / "data").glob("*.pkl"))[:_MAX_CHIPS]
    if not paths:
        raise DatasetError(f"{directory / 'data'}: has no chips (*.pkl); unpack the archive of the record there")
    used = [path for path in paths if path.stem in splits]
    if not used:
        raise DatasetError(f"{directory}: none of {len(paths)} chips is in splits.csv; do both belong together?")
    rows, communes, corners = _facts(used, partition, groups)
    codes = tuple(sorted(set(communes)))
    bag = np.searchsorted(np.array(codes), np.array(communes)).astype(np.int32)
    table, unsure = _commune_rows(rows, bag, len(codes))
    bag_split, crossing = _bag_splits(np.array([splits[path.stem] for path in used]), bag, len(codes))
    notes = []
    if len(used) < len(paths):
        notes.append(f"{len(paths) - len(used)} chips are not in splits.csv and are left out")
    if unsure:
        told = listed([codes[i] for i in unsure])
        notes.append(f"{len(unsure)} {partition} have no two chips with one row, and take that of their first: {told}")
    if crossing:
        told = listed([codes[i] for i in crossing])
        notes.append(f"{len(crossing)} {partition} have chips in several splits, and take that of most: {told}")
    placed = _cells(corners)
    if placed is None:
        notes.append("chips do not lie on one grid by their corners: they are laid out bag by bag")
    lookup = groups.lookup()
    return LazyImagery(
        directory.resolve().name,
        LICENCE,
        (SIDE, SIDE, 3),
        codes,
        bag,
        bag_split,
        Task(1, directory.resolve().name, groups.names),
        table,
        lambda i: image_and_label(used[i], lookup),
        *(placed or ()),
    ), notes


def _splits(path: Path, partition: str) -> dict[str, int]:
    """Split of each chip, by its identifier."""
    sheet = read_sheet(path, SheetOptions(delimiter=","))
    column = "split" if partition == "aschip" else f"split_{partition}"
    for name in ("identifier", column):
        if name not in sheet.header:
            raise TableError(str(path), [f"has no column {name!r}; it has {', '.join(sheet.header)}"])
    at_id, at_split = sheet.header.index("identifier"), sheet.header.index(column)
    found: dict[str, int] = {}
    for place, row in zip(sheet.places, sheet.rows, strict=True):
        split = row[at_split]
        if split in (None, "", "nosplit"):
            continue
        if split not in _SPLITS:
            told = f"{place}, column {column!r}: {split!r} is none of {', '.join(_SPLITS)}"
            raise TableError(str(path), [told])
        found[str(row[at_id])] = _SPLITS[split]
    return found


def _facts(
    paths: list[Path], partition: str, groups: Groups
) -> tuple[NDArray[np.float64], list[str], NDArray[np.float64] | None]:
    """Row (n, n_groups) and commune of each chip, and corners (n, 4) in degrees if all have them."""
    rows, communes, corners = np.zeros((len(paths), len(groups.members))), [], np.zeros((len(paths), 4))
    known = True
    for i, path in enumerate(paths):
        chip = read_chip(path)
        of_partition, commune = _partition(path, chip, partition)
        try:
            shares = [_sum([float(of_partition.get(str(c), 0.0)) for c in group]) for group in groups.members]
        except (TypeError, ValueError):
            raise DatasetError(f"{path}: proportions of {partition} are not numbers") from None
        total = sum(shares)
        if not (np.isfinite(total) and abs(total - 1) <= 0.02 and min(shares) >= 0):
            told = f"proportions of {partition} sum to {total:.4g} over the classes; expected 1"
            raise DatasetError(f"{path}: {told}: is --classes that of this data set?")
        rows[i] = np.array(shares) / total
        communes.append(commune)
        try:
            ends = chip["metadata"]["corners"]
            corners[i] = [*ends["nw"], *ends["se"]]
        except (KeyError, TypeError, ValueError):
            known = False
    return rows, communes, corners if known and np.isfinite(corners).all() else None


def _sum(values: list[float]) -> float:
    """Sum of shares; ValueError unless all are finite."""
    if not all(np.isfinite(values)):
        raise ValueError("not finite")
    return float(sum(values))


def _partition(path: Path, chip: dict[str, Any], partition: str) -> tuple[dict[str, Any], str]:
    """Proportions and commune of a chip, in the older or the newer of the published forms."""
    all_of_them = chip.get("label_proportions")
    if not isinstance(all_of_them, dict):
        raise DatasetError(f"{path}: has no 'label_proportions'; it has {listed(sorted(map(str, chip)), 20)}")
    one = all_of_them.get(f"partitions_{partition}", all_of_them.get(f"partitions{partition}"))
    if not isinstance(one, dict):
        known = listed(sorted(map(str, all_of_them)), 20)
        raise DatasetError(f"{path}: has no proportions of partition {partition!r} (--partition); it has {known}")
    shares = one.get("proportions", one)
    commune = one.get("partition_id", all_of_them.get(f"foreignid_{partition}"))
    if not isinstance(shares, dict) or commune in (None, ""):
        raise DatasetError(f"{path}: does not say which of the {partition} it lies in")
    return {str(key): value for key, value in shares.items()}, str(commune)


def _commune_rows(rows: NDArray[np.float64], bag: NDArray[np.int32], n: int) -> tuple[NDArray[np.float32], list[int]]:
    """The row (n, n_groups) that most chips of each commune have, and the communes where no two agree."""
    table, unsure = np.zeros((n, rows.shape[1]), np.float32), []
    order = np.argsort(bag, kind="stable")
    for commune, part in enumerate(np.split(order, np.searchsorted(bag[order], np.arange(1, n)))):
        keys = [tuple(np.round(rows[i], 6)) for i in part]
        key, count = Counter(keys).most_common(1)[0]
        table[commune] = rows[part[keys.index(key)]]
        if count == 1 and len(part) > 1:
            unsure.append(commune)
    return table, unsure


def _bag_splits(split: NDArray[np.int64], bag: NDArray[np.int32], n: int) -> tuple[NDArray[np.uint8], list[int]]:
    """Split (n,) of most chips of each commune, and the communes with chips in several."""
    counts = np.zeros((n, 3), np.int64)
    np.add.at(counts, (bag, split), 1)
    return counts.argmax(1).astype(np.uint8), np.flatnonzero((counts > 0).sum(1) > 1).tolist()


def _cells(corners: NDArray[np.float64] | None) -> tuple[NDArray[np.int32], tuple[int, int]] | None:
    """Cells (n, 2) and grid of chips by their corners (north, west, south, east) [deg]; None if they fit no grid.

    The chips were cut on a grid of a UTM zone, which is not told: that of their middle is tried, and its neighbours.
    """
    from pyproj import Transformer

    if corners is None or len(corners) < 2:
        return None
    lat, lon = (corners[:, 0] + corners[:, 2]) / 2, (corners[:, 1] + corners[:, 3]) / 2
    if not (np.abs(lat) <= 84).all() or not (np.abs(lon) <= 180).all():
        return None
    zone, south = int((np.median(lon) + 180) // 6) + 1, np.median(lat) < 0
    for each in (zone, zone - 1, zone + 1):
        if 1 <= each <= 60:
            to_grid = Transformer.from_crs(4326, (32700 if south else 32600) + each, always_xy=True)
            found = _on_grid(np.stack(to_grid.transform(lon, lat), axis=1))
            if found is not None:
                return found
    return None


def _on_grid(xy: NDArray[np.float64]) -> tuple[NDArray[np.int32], tuple[int, int]] | None:
    """Rows from the north and columns (n, 2) of points [m] that lie on a square grid, and its size; else None."""
    import shapely

    points = shapely.points(xy)
    step = float(np.median(shapely.STRtree(points).query_nearest(points, exclusive=True, return_distance=True)[1]))
    if not step > 1:
        return None
    origin = xy.min(0)
    for _ in range(3):  # the step is that of neighbours at first, and then that of the whole
        at = np.rint((xy - origin) / step)
        if max(at.max(0)) > 65534:
            return None
        centred = at - at.mean(0)
        step = float((centred * xy).sum() / max((centred**2).sum(), 1e-9))
        origin = (xy - at * step).mean(0)
        if not step > 1:
            return None
    at = np.rint((xy - origin) / step)
    at -= at.min(0)
    off = np.abs((xy - origin) / step - np.rint((xy - origin) / step)).max()
    cell = np.stack([at[:, 1].max() - at[:, 1], at[:, 0]], axis=1).astype(np.int32)
    grid = (int(cell[:, 0].max()) + 1, int(cell[:, 1].max()) + 1)
    flat = cell[:, 0].astype(np.int64) * grid[1] + cell[:, 1]
    return (cell, grid) if off < 0.25 and len(np.unique(flat)) == len(flat) else None


def write_llpeo(directory: Path, out: Path, classes: str | None, partition: str) -> tuple[LazyImagery, list[str]]:
    """Write the data set in the schema of `ground.datasets`; what was written, and notes."""
    need_gis()
    if out.suffix != ".npz":
        raise GisError(f"{out}: must end in .npz")
    imagery, notes = open_llpeo(directory, classes, partition)
    write_npz(out, imagery, np.arange(imagery.n_chips))
    return imagery, notes
