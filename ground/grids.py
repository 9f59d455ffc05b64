"""The chip grid over a set of polygons: which CRS, which corner, how many rows and columns."""

from __future__ import annotations

from dataclasses import dataclass
from math import ceil, floor, hypot
from typing import Any

import numpy as np

from flight.config import LinkConfig
from ground.gis import GisError
from ground.polygons import Polygons

AUTO = "auto"
MAX_SIDE = 65535
_UTM_REACH_DEG = 3.5  # from the middle of a zone: that far, lengths are true within 0.15 %


@dataclass(frozen=True)
class ChipGrid:
    """Rows x columns of square chips of `chip_m`, top left corner at (x0_m, y0_m); rows run down (south)."""

    x0_m: float
    y0_m: float
    chip_m: float
    rows: int
    cols: int


def choose_crs(polygons: Polygons, name: str = AUTO) -> Any:
    """The CRS that `name` means, in metres, or a good one for the place.

    Of its own it takes the UTM zone where the polygons fit one (or reach a little beyond), and else a Lambert azimuthal
    equal-area projection (EPSG method 9820) about their middle. GisError for a CRS that is not in metres.
    """
    from pyproj import CRS
    from pyproj.crs import ProjectedCRS
    from pyproj.crs.coordinate_operation import LambertAzimuthalEqualAreaConversion
    from pyproj.exceptions import CRSError

    if name != AUTO:
        try:
            crs = CRS.from_user_input(name)
        except CRSError as error:
            raise GisError(f"--crs {name}: is no CRS: {error}") from None
        factor = crs.axis_info[0].unit_conversion_factor if crs.axis_info else 0
        if not crs.is_projected or abs(factor - 1) > 1e-9:
            unit = crs.axis_info[0].unit_name if crs.axis_info else "no axes"
            raise GisError(f"--crs {name}: {crs.name} is in {unit}; a grid of chips needs a projected CRS in metres")
        return crs
    lon, lat, span_lon = _middle(polygons)
    zone = int((lon + 180) // 6) % 60 + 1
    if abs(lon - (6 * zone - 183)) + span_lon / 2 <= _UTM_REACH_DEG and -80 <= lat <= 84:
        return CRS.from_epsg((32600 if lat >= 0 else 32700) + zone)
    lat, lon = round(lat, 1), round(lon, 1)
    return ProjectedCRS(
        LambertAzimuthalEqualAreaConversion(lat, lon),
        f"WGS 84 / Lambert equal-area at {lat} {lon}",
        geodetic_crs="EPSG:4326",
    )


def _middle(polygons: Polygons) -> tuple[float, float, float]:
    """Longitude and latitude of the middle, and the span of longitudes [deg]; also across the antimeridian."""
    import shapely
    from pyproj import Transformer

    shapes = polygons.geometry
    shapes = shapes[~shapely.is_missing(shapes) & ~shapely.is_empty(shapes)]
    if not len(shapes):
        raise GisError("no municipality has a geometry")
    xmin, ymin, xmax, ymax = shapely.bounds(shapes).T
    x, y = np.concatenate([xmin, xmax, xmin, xmax]), np.concatenate([ymin, ymax, ymax, ymin])
    to_degrees = Transformer.from_crs(polygons.crs, polygons.crs.geodetic_crs or "EPSG:4326", always_xy=True)
    lon, lat = to_degrees.transform(x, y)
    lon, lat = lon[np.isfinite(lon)], lat[np.isfinite(lat)]
    if not len(lon):
        raise GisError("the polygons lie outside the CRS that their file says; give the right one with --source-crs")
    around = np.sort(lon % 360)
    gap = np.diff(np.append(around, around[0] + 360))
    start, span = around[(int(np.argmax(gap)) + 1) % len(around)], 360 - gap.max()
    middle = (start + span / 2 + 180) % 360 - 180
    return float(middle), float((lat.min() + lat.max()) / 2), float(span)


def lay_grid(polygons: Polygons, chip_m: float, bounds: tuple[float, float, float, float] | None) -> ChipGrid:
    """The grid of chips of `chip_m` over projected `polygons`.

    Its lines are at multiples of `chip_m`, so that grids of one CRS fit each other; with `bounds` (west, south, east,
    north, in the grid's CRS) it starts exactly at their top left corner.
    """
    import shapely

    if not (np.isfinite(chip_m) and 1 <= chip_m <= 1e6):
        raise GisError(f"--chip-m {chip_m:g}: a chip has 1 to 1,000,000 m")
    if bounds is None:
        west, south, east, north = shapely.total_bounds(polygons.geometry)
        if not np.isfinite(west):
            raise GisError("no municipality has a geometry")
        west, north = floor(west / chip_m) * chip_m, ceil(north / chip_m) * chip_m
    else:
        west, south, east, north = bounds
        if not (np.isfinite(bounds).all() and west < east and south < north):
            raise GisError(f"--bounds {bounds}: must be west, south, east, north with west < east and south < north")
        if not shapely.intersects(polygons.geometry, shapely.box(*bounds)).any():
            here = ", ".join(f"{value:.0f}" for value in shapely.total_bounds(polygons.geometry))
            raise GisError(f"--bounds {bounds}: no municipality is there; in {polygons.crs.name} they span {here}")
    rows, cols = max(1, ceil((north - south) / chip_m - 1e-9)), max(1, ceil((east - west) / chip_m - 1e-9))
    limit = LinkConfig().max_region_chips
    if rows * cols > limit or max(rows, cols) > MAX_SIDE:
        km = hypot(north - south, east - west) / 1000
        advice = "a greater --chip-m, or a part of it with --bounds"
        raise GisError(f"{rows} x {cols} chips of {chip_m:g} m over {km:.0f} km: more than {limit}; choose {advice}")
    return ChipGrid(float(west), float(north), float(chip_m), rows, cols)
