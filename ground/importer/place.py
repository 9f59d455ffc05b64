"""Where imagery and municipalities meet: the grid over both, and the region on it."""

from __future__ import annotations

from collections.abc import Sequence
from math import ceil, floor
from pathlib import Path

import numpy as np

from ground.gis import GisError
from ground.grids import AUTO, choose_crs
from ground.importer.mosaic import boxes_in
from ground.importer.scenes import Scene
from ground.polygons import PolygonOptions, Polygons, projected, read_polygons
from ground.regions import MIN_COVER, MappedRegion, map_region

Bounds = tuple[float, float, float, float]


def lay_region(
    scenes: Sequence[Scene],
    polygons: PolygonOptions,
    path: Path,
    *,
    region_id: int,
    chip_m: float,
    crs: str = AUTO,
    bounds: Bounds | None = None,
    min_cover: float = MIN_COVER,
) -> tuple[MappedRegion, Polygons]:
    """The region of the municipalities under `scenes`, and all municipalities of the file as they were read.

    Its grid covers what images and municipalities have in common, with lines at multiples of `chip_m`, or `bounds`.
    GisError where nothing lies under the images.
    """
    if bounds is not None and crs == AUTO:
        raise GisError("--bounds are in the grid's CRS: name it with --crs")
    given = read_polygons(path, polygons)
    kept = _under(given, scenes, str(path))
    on_grid = projected(kept, choose_crs(kept, crs))
    return map_region(on_grid, region_id, chip_m, bounds or _common(on_grid, scenes, chip_m), min_cover), given


def _under(given: Polygons, scenes: Sequence[Scene], path: str) -> Polygons:
    """The municipalities whose box meets the box of an image."""
    import shapely

    boxes = shapely.box(*boxes_in(scenes, given.crs.to_wkt()).T)
    usable = ~shapely.is_missing(given.geometry) & ~shapely.is_empty(given.geometry)
    envelopes = shapely.envelope(given.geometry[usable])
    hit = shapely.STRtree(envelopes).query(boxes, predicate="intersects")[1]
    keep = np.flatnonzero(usable)[np.unique(hit)]
    if not usable.any():
        raise GisError(f"{path}: no municipality has a geometry")
    if not len(keep):
        images = ", ".join(f"{value:.6g}" for value in shapely.total_bounds(boxes))
        towns = ", ".join(f"{value:.6g}" for value in shapely.total_bounds(given.geometry))
        told = f"no municipality is under the images: in {given.crs.name}, these span {images}, municipalities {towns}"
        raise GisError(f"{path}: {told}; is the CRS of one of them wrong (--source-crs names that of the polygons)?")
    notes = list(given.notes)
    if len(keep) < len(given.codes):
        notes.append(f"{len(given.codes) - len(keep)} municipalities are not under the images and are left out")
    codes, names = (tuple(column[i] for i in keep) for column in (given.codes, given.names))
    return Polygons(codes, names, given.geometry[keep], given.crs, notes)


def _common(polygons: Polygons, scenes: Sequence[Scene], chip_m: float) -> Bounds:
    """The box that images and municipalities share, out to the next lines of the grid."""
    import shapely

    if not (np.isfinite(chip_m) and 1 <= chip_m <= 1e6):
        raise GisError(f"--chip-m {chip_m:g}: a chip has 1 to 1,000,000 m")
    boxes = boxes_in(scenes, polygons.crs.to_wkt())
    towns = shapely.total_bounds(polygons.geometry)
    west, south = np.maximum(towns[:2], boxes[:, :2].min(0))
    east, north = np.minimum(towns[2:], boxes[:, 2:].max(0))
    slack = 1e-6 * chip_m  # corners that were projected come back a little off
    return (
        floor(west / chip_m + slack) * chip_m,
        floor(south / chip_m + slack) * chip_m,
        ceil(east / chip_m - slack) * chip_m,
        ceil(north / chip_m - slack) * chip_m,
    )
