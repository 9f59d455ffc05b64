"""Scenes of imagery: GeoTIFF files with bands, single-band files that belong together, and Sentinel-2 products."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ground.gis import GisError, listed
from ground.importer import safe
from ground.importer.files import open_raster

MAX_BANDS = 16


@dataclass(frozen=True)
class Band:
    """A band of a file, from 1, and what is to be added to its values."""

    path: Path
    index: int
    offset: int = 0


@dataclass(frozen=True, eq=False)
class Scene:
    """Bands that were taken together, in the order that was asked for.

    Attributes:
        name: for messages.
        bands: where each is.
        crs: rasterio CRS of the first band's file.
        bounds: west, south, east, north in `crs`.
        dtype: of the pixels.
        nodata: value of pixels that are none, where the file itself does not say it.
        classification: the product's own scene classification, if it has one.
    """

    name: str
    bands: tuple[Band, ...]
    crs: Any
    bounds: tuple[float, float, float, float]
    dtype: str
    nodata: float | None = None
    classification: Path | None = None

    @property
    def files(self) -> tuple[Path, ...]:
        """All of its files, each once."""
        more = () if self.classification is None else (self.classification,)
        return tuple(dict.fromkeys([*(band.path for band in self.bands), *more]))


def open_scenes(paths: Sequence[Path], bands: Sequence[str], nodata: float | None = None) -> list[Scene]:
    """The scenes in `paths`, in their order; `bands` are numbers from 1, or names.

    Without `bands`, B04, B03 and B02 of Sentinel-2 products, and the first three of other files, or the only one. By
    name, bands of a file go by their descriptions; single-band files whose names differ in the band alone are a scene.
    Raises GisError, naming the file.
    """
    if not paths:
        raise GisError("no images are given: name GeoTIFF files or .SAFE directories with --images")
    if len(bands) > MAX_BANDS:
        raise GisError(f"--bands: {len(bands)} bands, more than {MAX_BANDS}")
    singles: dict[tuple[Path, str], dict[str, Path]] = {}
    rank: dict[tuple[Path, str], int] = {}
    ranked: list[tuple[int, Scene]] = []
    for place, path in enumerate(paths):
        if safe.is_safe(path):
            ranked.append((place, _product(path, bands or safe.NATURAL, nodata)))
            continue
        name = _band_in_name(path, bands)
        with open_raster(path) as opened:
            if name is None or opened.count > 1:
                ranked.append((place, _of_file(path, opened, bands, nodata)))
                continue
        key = (path.parent, _stem_without(path, name))
        rank.setdefault(key, place)
        group = singles.setdefault(key, {})
        if name in group:
            raise GisError(f"{path}: is a second file of band {name!r}, beside {group[name]}; name one of them")
        group[name] = path
    ranked += [(rank[key], _of_singles(group, bands, nodata)) for key, group in singles.items()]
    scenes = [scene for _, scene in sorted(ranked, key=lambda each: each[0])]
    first = scenes[0]
    for scene in scenes:
        if scene.dtype != first.dtype:
            told = f"{scene.name}: holds {scene.dtype}, but {first.name} holds {first.dtype}"
            raise GisError(f"{told}; scenes that are mosaicked need one kind of values: convert one of them")
        if len(scene.bands) != len(first.bands):
            told = f"{scene.name}: has {len(scene.bands)} bands, but {first.name} has {len(first.bands)}"
            raise GisError(f"{told}; say which with --bands")
    return scenes


def _of_file(path: Path, opened: Any, bands: Sequence[str], nodata: float | None) -> Scene:
    from rasterio.enums import ColorInterp

    pixels = [i for i, meaning in zip(opened.indexes, opened.colorinterp, strict=True) if meaning != ColorInterp.alpha]
    wanted = list(bands) or [str(i) for i in pixels[: 3 if len(pixels) >= 3 else 1]]
    indices = [_index(path, opened, band, pixels) for band in wanted]
    kinds = {opened.dtypes[i - 1] for i in indices}
    if len(kinds) > 1:
        raise GisError(f"{path}: bands {', '.join(wanted)} hold {' and '.join(sorted(kinds))}; give bands of one kind")
    found = tuple(Band(path, i) for i in indices)
    return Scene(str(path), found, opened.crs, tuple(opened.bounds), kinds.pop(), nodata)


def _index(path: Path, opened: Any, band: str, pixels: Sequence[int]) -> int:
    """The number of a band that is named by its number or its description."""
    if band.isdigit():
        if int(band) not in pixels:
            raise GisError(f"{path}: has no band {band}; it has {len(pixels)}: name others with --bands")
        return int(band)
    names = [str(name or "") for name in opened.descriptions]
    fitting = [i for i in pixels if safe.normal_name(names[i - 1]) == safe.normal_name(band)]
    if len(fitting) != 1:
        what = f"{len(fitting)} bands" if fitting else "no band"
        known = listed([f"{i} {names[i - 1]!r}" for i in pixels], 20)
        raise GisError(f"{path}: has {what} named {band!r}; there are {known}: name them with --bands, by number too")
    return fitting[0]


def _band_in_name(path: Path, bands: Sequence[str]) -> str | None:
    """Which of the bands that were asked for by name stands in a file's name."""
    parts = {safe.normal_name(part) for part in re.split(r"[^0-9A-Za-z]+", path.stem)}
    return next((band for band in bands if not band.isdigit() and safe.normal_name(band) in parts), None)


def _stem_without(path: Path, band: str) -> str:
    parts = re.split(r"([^0-9A-Za-z]+)", path.stem)
    return "".join(part for part in parts if safe.normal_name(part) != safe.normal_name(band))


def _of_singles(group: dict[str, Path], bands: Sequence[str], nodata: float | None) -> Scene:
    missing = [band for band in bands if band not in group]
    first = group[next(band for band in bands if band in group)]
    if missing:
        there = listed([str(path.name) for path in group.values()])
        raise GisError(f"{first}: belongs to {there}, of which band {', '.join(missing)} is not there; add its file")
    return _together(first, [Band(group[band], 1) for band in bands], nodata, None)


def _product(path: Path, bands: Sequence[str], nodata: float | None) -> Scene:
    if any(band.isdigit() for band in bands):
        raise GisError(f"{path}: bands of Sentinel-2 products go by name, such as --bands B04,B03,B02")
    found = [Band(safe.band_file(path, band), 1, safe.offset(path, band)) for band in bands]
    try:
        classification = safe.band_file(path, "SCL")
    except GisError:
        classification = None  # a Level-1C product has none
    return _together(path, found, 0.0 if nodata is None else nodata, classification)


def _together(name: Path, bands: list[Band], nodata: float | None, classification: Path | None) -> Scene:
    """A scene of single-band files; resolutions may differ, CRS and values may not."""
    with open_raster(bands[0].path) as first:
        crs, bounds, dtype = first.crs, tuple(first.bounds), first.dtypes[0]
    for band in bands[1:]:
        with open_raster(band.path) as opened:
            if opened.crs != crs or opened.dtypes[0] != dtype:
                what = f"{opened.crs.to_string()} and {opened.dtypes[0]}, {bands[0].path.name} {crs.to_string()}"
                raise GisError(f"{band.path}: has {what} and {dtype}; bands of a scene are of one CRS and kind")
    return Scene(str(name), tuple(bands), crs, bounds, dtype, nodata, classification)
