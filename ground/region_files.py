"""Files of a region from polygons: where it lies and what it was made of, and last of all the region itself."""

from __future__ import annotations

from pathlib import Path

from flight.config import LinkConfig
from flight.link import region_codec
from ground.files import replaced, write_bytes
from ground.georef import georef_path, municipalities_path, write_georef
from ground.regions import MappedRegion

LEVELS = 8  # counts that shares are rounded to


def write_region(mapped: MappedRegion, out: Path, levels: int = LEVELS) -> list[Path]:
    """Write `out` and, beside it, georeference and polygons; the files. The region file is last: where it is, all are.

    Raises CodecError for a region that flight would refuse, before anything is written.
    """
    import geopandas

    data = region_codec.pack(mapped.region, levels)
    region_codec.unpack(data, LinkConfig())
    polygons = mapped.polygons
    frame = geopandas.GeoDataFrame(
        {"code": list(polygons.codes), "name": list(polygons.names)}, geometry=polygons.geometry, crs=polygons.crs
    )
    side = georef_path(out)
    with replaced(municipalities_path(side)) as partial:
        frame.to_parquet(partial)
    write_georef(side, mapped.georef)
    write_bytes(out, data)
    return [municipalities_path(side), side, out]
