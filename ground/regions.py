"""Regions, as they go up: from imagery, or from the polygons of municipalities."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from flight.link.counts import quantise
from flight.link.region import FULL, NOBODY, OVERLAPS, Region
from ground.coverage import Coverage, coverage
from ground.georef import Georef
from ground.gis import GisError, listed, need_gis
from ground.grids import AUTO, ChipGrid, choose_crs, lay_grid
from ground.imagery import Imagery
from ground.polygons import PolygonOptions, Polygons, projected, read_polygons

MIN_COVER = 0.002  # half of a 255th: less of a chip belongs to nobody
_OVERLAP_SHARE = 1 / FULL  # of a chip, covered twice, before it is worth a word
_MAX_PAIRS = 2000
_BATCH = 65536


def region_from_imagery(imagery: Imagery, region_id: int, municipalities: NDArray[np.bool_] | None = None) -> Region:
    """The region of the chips of `imagery`, shares in 255ths; codes and their order are the imagery's.

    With `municipalities`, bool (n_municipalities,), chips that touch none of those belong to nobody.
    """
    bags = np.full((imagery.rows * imagery.cols, OVERLAPS), NOBODY, np.int32)
    weights = np.zeros(bags.shape, np.uint8)
    cell = imagery.cell[:, 0].astype(np.int64) * imagery.cols + imagery.cell[:, 1]
    part = np.zeros((len(cell), OVERLAPS), np.uint8)
    k = imagery.bags.shape[1]
    part[:, :k] = quantise(imagery.weights, FULL)
    indices = np.full(part.shape, NOBODY, np.int32)
    indices[:, :k] = imagery.bags
    indices[part == 0] = NOBODY
    if municipalities is not None:
        indices[~(municipalities[np.maximum(indices, 0)] & (indices >= 0)).any(1)] = NOBODY
        part[(indices == NOBODY).all(1)] = 0
    order = np.argsort(-part.astype(np.int64), axis=1, kind="stable")
    bags[cell], weights[cell] = np.take_along_axis(indices, order, axis=1), np.take_along_axis(part, order, axis=1)
    return Region(region_id, imagery.rows, imagery.cols, imagery.codes, bags, weights)


@dataclass(frozen=True, eq=False)
class MappedRegion:
    """A region, where it lies, the polygons it was made from (in its order), and what there was to say."""

    region: Region
    georef: Georef
    polygons: Polygons
    facts: dict[str, Any]
    notes: list[str]


def region_from_polygons(
    path: Path,
    options: PolygonOptions,
    *,
    region_id: int = 1,
    chip_m: float = 960.0,
    crs: str = AUTO,
    bounds: tuple[float, float, float, float] | None = None,
    min_cover: float = MIN_COVER,
) -> MappedRegion:
    """The region of square chips over the municipalities in a file of polygons.

    A chip's weights are the shares of its covered area, each within 1/255; of more than four municipalities the
    greatest four stay, and their shares are normalised again. A chip of which less than `min_cover` is covered belongs
    to nobody. With `bounds` (west, south, east, north, in the grid's CRS), municipalities outside are left out.
    Raises GisError, saying what to do.
    """
    need_gis()
    if bounds is not None and crs == AUTO:
        raise GisError("--bounds are in the grid's CRS: name it with --crs")
    given = read_polygons(path, options)
    return map_region(projected(given, choose_crs(given, crs)), region_id, chip_m, bounds, min_cover)


def map_region(
    polygons: Polygons,
    region_id: int,
    chip_m: float,
    bounds: tuple[float, float, float, float] | None,
    min_cover: float = MIN_COVER,
) -> MappedRegion:
    """The same for polygons that were read and projected to the grid's CRS."""
    import shapely

    grid = lay_grid(polygons, chip_m, bounds)
    if bounds is not None:
        polygons = _within(polygons, shapely.box(*bounds))
    covered = coverage(polygons.geometry, grid.x0_m, grid.y0_m, grid.chip_m, grid.rows, grid.cols)
    n_cells, notes = grid.rows * grid.cols, list(polygons.notes)
    bags, weights, dropped = weighted(covered, n_cells, min_cover)
    region = Region(region_id, grid.rows, grid.cols, polygons.codes, bags, weights)
    facts, more = _told(region, covered, dropped, polygons, grid)
    names = {code: name for code, name in zip(polygons.codes, polygons.names, strict=True) if name}
    wkt = polygons.crs.to_wkt(version="WKT2_2019")
    georef = Georef(region_id, grid.rows, grid.cols, wkt, polygons.crs.name, grid.x0_m, grid.y0_m, grid.chip_m, names)
    return MappedRegion(region, georef, polygons, facts, notes + more)


def _within(polygons: Polygons, box: Any) -> Polygons:
    import shapely

    keep = np.flatnonzero(shapely.area(shapely.intersection(polygons.geometry, box)) > 0)
    codes, names = (tuple(column[i] for i in keep) for column in (polygons.codes, polygons.names))
    left_out = len(polygons.codes) - len(keep)
    notes = (
        [*polygons.notes, f"{left_out} municipalities outside the bounds are left out"] if left_out else polygons.notes
    )
    return Polygons(codes, names, polygons.geometry[keep], polygons.crs, notes)


def weighted(
    covered: Coverage, n_cells: int, min_cover: float
) -> tuple[NDArray[np.int32], NDArray[np.uint8], NDArray[np.float64]]:
    """Municipalities (n_cells, 4) and their weights in 255ths, and the share (n_cells,) of land that did not fit."""
    total = np.bincount(covered.cell, covered.share, n_cells)
    kept = total[covered.cell] >= min_cover
    cell, polygon, share = covered.cell[kept], covered.polygon[kept], covered.share[kept]
    order = np.lexsort((polygon, -share, cell))  # in each cell the greatest first; of equals, the first code
    cell, polygon, share = cell[order], polygon[order], share[order]
    first = np.flatnonzero(np.diff(cell, prepend=-1))
    rank = np.arange(len(cell)) - np.repeat(first, np.diff(np.append(first, len(cell))))
    fits = rank < OVERLAPS
    bags = np.full((n_cells, OVERLAPS), NOBODY, np.int32)
    shares = np.zeros((n_cells, OVERLAPS), np.float32)
    bags[cell[fits], rank[fits]] = polygon[fits]
    shares[cell[fits], rank[fits]] = share[fits]
    dropped = np.bincount(cell[~fits], share[~fits], n_cells).astype(np.float64)  # of nothing, it counts in integers
    np.divide(dropped, total, out=dropped, where=dropped > 0)
    weights = np.zeros(bags.shape, np.uint8)
    owned = np.flatnonzero(bags[:, 0] >= 0)
    for start in range(0, len(owned), _BATCH):
        part = owned[start : start + _BATCH]
        weights[part] = quantise(shares[part], FULL)
    bags[weights == 0] = NOBODY
    order = np.argsort(-weights.astype(np.int16), axis=1, kind="stable")  # rounding can turn two around
    return np.take_along_axis(bags, order, axis=1), np.take_along_axis(weights, order, axis=1), dropped


def _told(
    region: Region, covered: Coverage, dropped: NDArray[np.float64], polygons: Polygons, grid: ChipGrid
) -> tuple[dict[str, Any], list[str]]:
    """Figures on a new region, and what its user should look at."""
    total = np.bincount(covered.cell, covered.share, len(region.bags))
    twice = total > 1 + _OVERLAP_SHARE
    pairs, overlapping_km2 = _overlaps(covered, twice, polygons)
    has_chip = np.isin(np.arange(len(region.codes)), region.bags)
    crowded = int((dropped > 0).sum())
    facts = {
        "crs": f"{polygons.crs.name} ({':'.join(polygons.crs.to_authority() or ('made', 'here'))})",
        "corner_m": [grid.x0_m, grid.y0_m],
        "chip_m": grid.chip_m,
        "covered_km2": round(float(np.minimum(total, 1).sum()) * grid.chip_m**2 / 1e6, 3),
        "polygons_overlapping_km2": round(overlapping_km2, 6),
        "municipalities_without_a_chip": int((~has_chip).sum()),
        "chips_with_more_than_four": crowded,
        "greatest_share_dropped": round(float(dropped.max()), 4),
    }
    notes = []
    if pairs:
        where = f"{len(pairs)} pairs of polygons overlap, on {int(twice.sum())} chips or more"
        notes.append(f"{where}; shares there are normalised: {listed(pairs)}")
    if crowded:
        notes.append(f"{crowded} chips touch more than four municipalities: the greatest four stay")
    if not has_chip.all():
        without = [region.codes[i] for i in np.flatnonzero(~has_chip)]
        notes.append(f"{len(without)} municipalities have no chip (too small, or empty): {listed(without)}")
    return facts, notes


def _overlaps(covered: Coverage, cells: NDArray[np.bool_], polygons: Polygons) -> tuple[list[str], float]:
    """The pairs of polygons that overlap, as `cells` (n_cells,) tell, greatest first, and their area together [km2].

    Of many pairs only the first 2,000, in the order of the map, are looked at.
    """
    import shapely

    here = cells[covered.cell]
    cell, owner = covered.cell[here], covered.polygon[here]
    pairs = [np.zeros((0, 2), np.int64)]
    for step in range(1, int(np.bincount(np.unique(cell, return_inverse=True)[1]).max(initial=1))):
        same = cell[step:] == cell[:-step]
        pairs.append(np.stack([owner[:-step][same], owner[step:][same]], axis=1).astype(np.int64))
    pair = np.unique(np.concatenate(pairs), axis=0)[:_MAX_PAIRS]
    km2 = shapely.area(shapely.intersection(polygons.geometry[pair[:, 0]], polygons.geometry[pair[:, 1]])) / 1e6
    order = np.argsort(-km2, kind="stable")
    named = [
        f"{polygons.codes[pair[k, 0]]} and {polygons.codes[pair[k, 1]]} ({km2[k]:.3g} km2)" for k in order if km2[k]
    ]
    return named, float(km2.sum())
