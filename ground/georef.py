"""Where a region's grid lies on the Earth: kept beside the region file, which needs no coordinates to fly.

`region.bin` has `region.georef.json` (CRS, corner, size of a chip, names of municipalities) and
`region.municipalities.parquet` (their polygons on the grid's CRS, GeoParquet) beside it.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from ground.files import write_bytes
from ground.gis import GisError

FORMAT = "swath-georef-1"
ENGINEERING_WKT = (
    'ENGCRS["made-up grid of chips",EDATUM["no place on the Earth"],CS[Cartesian,2],'
    'AXIS["x",east,ORDER[1],LENGTHUNIT["metre",1]],AXIS["y",north,ORDER[2],LENGTHUNIT["metre",1]]]'
)
_MAX_BYTES = 64 << 20


@dataclass(frozen=True)
class Georef:
    """Grid of a region: CRS as WKT 2 (ISO 19162), top left corner and size of a chip [m], rows down, columns right.

    `names` are those of municipalities, by code. `geographic` is False for a grid that lies nowhere on the Earth.
    """

    region_id: int
    rows: int
    cols: int
    crs_wkt: str
    crs_name: str
    x0_m: float
    y0_m: float
    chip_m: float
    names: dict[str, str]
    geographic: bool = True

    @property
    def transform(self) -> tuple[float, float, float, float, float, float]:
        """Affine coefficients a, b, c, d, e, f: x = a col + b row + c, y = d col + e row + f."""
        return (self.chip_m, 0.0, self.x0_m, 0.0, -self.chip_m, self.y0_m)

    def centre(self) -> tuple[float, float] | None:
        """Latitude and longitude [deg, WGS 84] of the grid's middle; None if it lies nowhere on the Earth."""
        if not self.geographic:
            return None
        from pyproj import Transformer

        to_degrees = Transformer.from_crs(self.crs_wkt, "EPSG:4326", always_xy=True)
        x, y = self.x0_m + self.cols * self.chip_m / 2, self.y0_m - self.rows * self.chip_m / 2
        lon_deg, lat_deg = to_degrees.transform(x, y)
        return float(lat_deg), float(lon_deg)


def engineering(region_id: int, rows: int, cols: int, chip_m: float) -> Georef:
    """A grid that lies nowhere: an engineering CRS (ISO 19111), origin at the lower left corner."""
    name = "made-up grid of chips"
    return Georef(region_id, rows, cols, ENGINEERING_WKT, name, 0.0, rows * chip_m, chip_m, {}, geographic=False)


def georef_path(region_file: Path) -> Path:
    """Where the georeference of a region file is kept."""
    return region_file.with_suffix(".georef.json")


def municipalities_path(georef_file: Path) -> Path:
    """Where the polygons are kept that belong to a georeference."""
    return georef_file.with_name(georef_file.name.removesuffix(".georef.json") + ".municipalities.parquet")


def write_georef(path: Path, georef: Georef) -> None:
    """Write a georeference, whole or not at all."""
    values = {"format": FORMAT, **asdict(georef), "transform": georef.transform}
    write_bytes(path, json.dumps(values, indent=1, ensure_ascii=False).encode())


def read_georef(path: Path) -> Georef:
    """The georeference in a file that `write_georef` wrote; GisError if it is none."""
    try:
        if path.stat().st_size > _MAX_BYTES:
            raise GisError(f"{path}: has more than {_MAX_BYTES} bytes")
        values: Any = json.loads(path.read_text(encoding="utf-8"))
        if not isinstance(values, dict) or values.pop("format", None) != FORMAT:
            raise ValueError(f"is not in the format {FORMAT}")
        values.pop("transform", None)
        georef = Georef(**values)
        numbers = (georef.x0_m, georef.y0_m, georef.chip_m, georef.rows, georef.cols, georef.region_id)
        if not all(isinstance(n, (int, float)) and abs(n) < 1e12 for n in numbers) or georef.chip_m <= 0:
            raise ValueError("corner, size of a chip and grid must be numbers")
        if not isinstance(georef.names, dict) or not isinstance(georef.crs_wkt, str):
            raise ValueError("names must be a table and the CRS text")
    except (OSError, ValueError, TypeError, RecursionError) as error:
        if isinstance(error, GisError):
            raise
        why = getattr(error, "strerror", None) or error
        raise GisError(
            f"{path}: is not a georeference as `swath-ground region from-polygons` writes it: {why}"
        ) from None
    return georef
