"""M3LEO (Allen et al., NeurIPS 2024): co-aligned tiles of 4,480 m, a folder a layer, a file a tile.

    AOI/
      AOI_partitions_aschips_*_splits_*.csv       identifier, split: train, val or test of each tile
      s2rgbm-2020/ID.tif                          Sentinel-2 median, 448 x 448
      s1grd-2020/ID.tif                           Sentinel-1 GRD, 16 bands: season, polarisation, orbit
      gssic/ID.nc                                 coherence (season, deltadays, y, x), amplitude, ...: NetCDF 4
      esaworldcover-2020/ID.tif                   land cover

It has no municipalities: a tile is the bag, its row the proportions of its land cover, its split as published. Bands
are named LAYER:BAND, by number or description in GeoTIFF, and in NetCDF by variable and the names along its axes, such
as `gssic:coherence/summer/12`. A layer of another resolution is brought to that of the land cover, nearest value. For
real municipalities, give the tiles to `swath-ground dataset build`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ground.datasets import UNKNOWN, write_npz
from ground.gis import GisError, listed, need_gis
from ground.imagery import TEST, TRAIN, VALIDATION, Task
from ground.importer.files import open_raster, told
from ground.importer.lazy import LazyImagery, shares
from ground.importer.safe import normal_name
from ground.importer.scaling import DEFAULT, Scale, find_scale, parse_scale
from ground.importer.truth import WORLDCOVER, read_class_map
from ground.npz import DatasetError
from ground.sheets import SheetOptions, TableError, read_sheet

LICENCE = "M3LEO, CC BY 4.0; contains modified Copernicus Sentinel data"
_SPLITS = {"train": TRAIN, "val": VALIDATION, "test": TEST}
_MAX_SIDE, _MAX_BYTES = 4096, 256 << 20
_SAMPLED = 64
_TILES_IN_MEMORY = 4


@dataclass(frozen=True)
class LayerBand:
    """A band of a layer's files."""

    layer: str
    band: str

    @staticmethod
    def parse(text: str) -> LayerBand:
        """The band that LAYER:BAND names."""
        layer, _, band = text.partition(":")
        if not layer or not band or "/" in layer or layer.startswith("."):
            raise DatasetError(f"--band {text}: must be LAYER:BAND, such as s2rgbm-2020:1 or gssic:coherence/summer/12")
        return LayerBand(layer, band)


@dataclass(frozen=True)
class Tiles:
    """Tiles that have all layers, with their splits, and how they are read."""

    directory: Path
    names: tuple[str, ...]
    splits: NDArray[np.uint8]
    bands: tuple[LayerBand, ...]
    truth: str
    class_of: NDArray[np.uint8]

    def read(self, tile: int) -> tuple[NDArray[np.float32], NDArray[np.uint8]]:
        """Bands (n_bands, side, side) and classes (side, side) of a tile."""
        labels = self.labels(tile)
        side = len(labels)
        found = [_resized(self._band(band, tile), side) for band in self.bands]
        return np.stack(found), labels

    def labels(self, tile: int) -> NDArray[np.uint8]:
        """Classes (side, side) of a tile."""
        values = np.nan_to_num(_read_tif(self._file(self.truth, tile), "1"))
        side = min(values.shape)
        return self.class_of[np.clip(values, 0, 255).astype(np.uint8)][:side, :side]

    def _band(self, band: LayerBand, tile: int) -> NDArray[np.float32]:
        path = self._file(band.layer, tile)
        return _read_netcdf(path, band.band) if path.suffix == ".nc" else _read_tif(path, band.band)

    def _file(self, layer: str, tile: int) -> Path:
        found = _layer_file(self.directory / layer, self.names[tile])
        if found is None:
            raise DatasetError(f"{self.directory / layer}: has no file of tile {self.names[tile]} any more")
        return found


def _layer_file(layer: Path, tile: str) -> Path | None:
    return next((path for end in (".tif", ".nc") if (path := layer / f"{tile}{end}").exists()), None)


def open_tiles(directory: Path, bands: Sequence[str], truth: str, splits: Path | None) -> tuple[Tiles, list[str]]:
    """The tiles of a directory that have all layers, and what there is to say; DatasetError where something lacks."""
    wanted = tuple(LayerBand.parse(band) for band in bands)
    if not wanted:
        raise DatasetError("no band is named; say which with --band, such as --band s2rgbm-2020:1")
    layers = sorted({truth, *(band.layer for band in wanted)})
    there = sorted(path.name for path in directory.iterdir() if path.is_dir()) if directory.is_dir() else []
    for layer in layers:
        if layer not in there:
            raise DatasetError(f"{directory}: has no layer {layer!r}; it has {listed(there, 20) or 'none'}")
    published = _read_splits(splits or _split_file(directory))
    names = sorted(name for name in published if _safe_name(name))
    whole = [name for name in names if all(_layer_file(directory / layer, name) for layer in layers)]
    if not whole:
        raise DatasetError(f"{directory}: no tile of {len(names)} has all of {', '.join(layers)}")
    notes = []
    if len(whole) < len(published):
        notes.append(f"{len(published) - len(whole)} of {len(published)} tiles lack a layer, and are left out")
    class_of = read_class_map(WORLDCOVER).table()
    split = np.array([published[name] for name in whole], np.uint8)
    return Tiles(directory, tuple(whole), split, wanted, truth, class_of), notes


def _safe_name(name: str) -> bool:
    return name.replace("_", "").replace("-", "").isalnum()


def _split_file(directory: Path) -> Path:
    found = sorted(directory.glob("*_splits_*.csv")) + sorted(directory.parent.glob(f"{directory.name}_*_splits_*.csv"))
    if len(found) != 1:
        told = f"has {len(found)} files *_splits_*.csv" if found else "has no file *_splits_*.csv"
        raise DatasetError(f"{directory}: {told}; name the one with identifier and split: --splits FILE")
    return found[0]


def _read_splits(path: Path) -> dict[str, int]:
    sheet = read_sheet(path, SheetOptions(delimiter=","))
    for name in ("identifier", "split"):
        if name not in sheet.header:
            raise TableError(str(path), [f"has no column {name!r}; it has {', '.join(sheet.header)}"])
    at_id, at_split = sheet.header.index("identifier"), sheet.header.index("split")
    found: dict[str, int] = {}
    for place, row in zip(sheet.places, sheet.rows, strict=True):
        if row[at_split] in (None, "nosplit"):
            continue
        if row[at_split] not in _SPLITS:
            raise TableError(str(path), [f"{place}, column 'split': {row[at_split]!r} is none of {', '.join(_SPLITS)}"])
        found[str(row[at_id])] = _SPLITS[row[at_split]]
    return found


def _read_tif(path: Path, band: str) -> NDArray[np.float32]:
    """A band of a GeoTIFF, by number or description; NaN where it has no value."""
    with open_raster(path) as opened:
        if max(opened.shape) > _MAX_SIDE:
            raise GisError(f"{path}: is {opened.height} x {opened.width}; a tile has at most {_MAX_SIDE} a side")
        names = [str(name or "") for name in opened.descriptions]
        index = (
            int(band)
            if band.isdecimal()
            else next((i for i, name in enumerate(names, 1) if normal_name(name) == normal_name(band)), 0)
        )
        if not 1 <= index <= opened.count:
            known = listed([f"{i} {name!r}" for i, name in enumerate(names, 1)], 20)
            raise GisError(f"{path}: has no band {band!r}; there are {known}")
        with told(path):
            values = opened.read(index, masked=True)
        return np.asarray(values.astype(np.float32).filled(np.nan))


def _read_netcdf(path: Path, band: str) -> NDArray[np.float32]:
    """A plane of a variable of a NetCDF 4 file, by its names along the axes before y and x."""
    import h5py

    variable, *wanted = band.split("/")
    try:
        with h5py.File(path, "r") as file:
            if variable not in file or not isinstance(file[variable], h5py.Dataset):
                raise DatasetError(f"{path}: has no variable {variable!r}; it has {listed(sorted(file), 20)}")
            data = file[variable]
            if data.ndim != len(wanted) + 2 or max(data.shape[-2:]) > _MAX_SIDE or data.size * 8 > _MAX_BYTES:
                axes = [_axis(data, i)[0] for i in range(data.ndim)]
                told = f"variable {variable!r} has the axes {', '.join(axes)} of {data.shape}"
                raise DatasetError(f"{path}: {told}; name one of each but y and x, as in coherence/summer/12")
            place = tuple(_place(path, data, i, name) for i, name in enumerate(wanted))
            values = np.asarray(data[place], np.float32)
            fill = data.attrs.get("_FillValue")
            factor, offset = (
                float(np.ravel(data.attrs.get(n, d))[0]) for n, d in (("scale_factor", 1), ("add_offset", 0))
            )
    except (OSError, RuntimeError, KeyError, ValueError, TypeError) as error:
        if isinstance(error, DatasetError):
            raise
        raise DatasetError(f"{path}: is not NetCDF 4 (HDF5), or it is damaged: {str(error).splitlines()[0]}") from None
    if fill is not None:
        values = np.where(values == np.float32(np.ravel(fill)[0]), np.float32(np.nan), values)
    return values * np.float32(factor) + np.float32(offset)


def _axis(data: Any, i: int) -> tuple[str, list[str]]:
    """Name of an axis, and the names along it."""
    scales = data.dims[i]
    if not len(scales):
        return f"axis {i}", [str(n) for n in range(data.shape[i])]
    values = np.ravel(scales[0][()])[:1000].tolist()
    return str(scales[0].name).strip("/"), [each.decode() if isinstance(each, bytes) else f"{each}" for each in values]


def _place(path: Path, data: Any, i: int, name: str) -> int:
    axis, names = _axis(data, i)
    plain = [each.removesuffix(".0") for each in names]
    if name not in plain:
        raise DatasetError(f"{path}: axis {axis!r} has no {name!r}; it has {listed(plain, 20)}")
    return plain.index(name)


def _resized(values: NDArray[np.float32], side: int) -> NDArray[np.float32]:
    """A plane brought to side x side, nearest value, pixel centres on pixel centres."""
    at = [((np.arange(side) + 0.5) * n / side).astype(np.int64) for n in values.shape]
    return values[at[0][:, None], at[1]]


def write_m3leo(
    directory: Path,
    out: Path,
    bands: Sequence[str],
    *,
    truth: str,
    splits: Path | None = None,
    scale: str = DEFAULT,
    chip_px: int = 112,
) -> tuple[LazyImagery, list[str]]:
    """Write tiles, cut to chips, in the schema of `ground.datasets`; what was written, and notes.

    Percentiles of `scale` are those of up to 64 tiles, evenly over the list. Raises DatasetError, GisError, TableError.
    """
    need_gis()
    if out.suffix != ".npz":
        raise GisError(f"{out}: must end in .npz")
    limits = parse_scale(scale)
    tiles, notes = open_tiles(directory, bands, truth, splits)
    n = len(tiles.names)
    samples = []
    for i in np.unique(np.linspace(0, n - 1, _SAMPLED).astype(np.int64)):
        values, _ = tiles.read(int(i))
        samples.append(values.reshape(len(values), -1)[:, ::3])
    together = np.concatenate(samples, axis=1)
    together = together[:, np.isfinite(together).all(0)]
    if not together.shape[1]:
        raise DatasetError(f"{directory}: the bands have no pixel in common that is known")
    found = find_scale(limits, together, "uint8" if limits is None else "float32")
    side = tiles.read(0)[1].shape[0]
    per_side = side // chip_px
    if not per_side:
        raise DatasetError(f"--chip-px {chip_px}: tiles have {side} pixels a side")
    classes = read_class_map(WORLDCOVER).classes
    used = per_side * chip_px
    table = np.concatenate([shares(tiles.labels(i)[None, :used, :used], len(classes)) for i in range(n)])
    imagery = LazyImagery(
        directory.resolve().name,
        LICENCE,
        (chip_px, chip_px, len(tiles.bands)),
        tiles.names,
        np.repeat(np.arange(n, dtype=np.int32), per_side**2),
        tiles.splits,
        Task(1, truth, classes),
        table,
        _cut(tiles, found, chip_px, per_side),
    )
    write_npz(out, imagery, np.arange(imagery.n_chips))
    return imagery, [*notes, f"limits of the scale: {found.facts()}"]


def _cut(tiles: Tiles, scale: Scale, side: int, per_side: int) -> Any:
    """A function that gives image and labels of a chip: those of a tile follow each other, row by row."""

    @lru_cache(maxsize=_TILES_IN_MEMORY)
    def tile(i: int) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
        values, labels = tiles.read(i)
        known = np.isfinite(values).all(0)
        return scale.apply(values).transpose(1, 2, 0), np.where(known, labels, UNKNOWN).astype(np.uint8)

    def load(chip: int) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
        number, place = divmod(chip, per_side**2)
        row, col = divmod(place, per_side)
        image, labels = tile(number)
        here = slice(row * side, (row + 1) * side), slice(col * side, (col + 1) * side)
        return image[here], labels[here]

    return load
