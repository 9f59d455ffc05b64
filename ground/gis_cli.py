"""``swath-ground`` commands on maps: regions from polygons, predictions as maps. They need the extra `gis`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from flight.link import region, region_codec
from ground.console import AsJson, Out, corners, read_packed, told
from ground.facts import region_facts, show
from ground.georef import engineering, georef_path, municipalities_path, read_georef
from ground.gis import GisError, need_gis
from ground.maps import Format, write_maps
from ground.municipal import MunicipalArchive, is_municipal
from ground.pictures import check_picture, write_png
from ground.polygons import PolygonOptions
from ground.products import ProductArchive
from ground.region_files import LEVELS, write_region
from ground.regions import MIN_COVER, region_from_polygons

MAX_NOTES = 30


def from_polygons(
    polygons: Annotated[Path, typer.Argument(help="GeoPackage, GeoJSON or Shapefile of municipalities.")],
    out: Out,
    id_field: Annotated[str, typer.Option(help="Field that holds the municipality codes.")],
    name_field: Annotated[str | None, typer.Option(help="Field that holds their names.")] = None,
    layer: Annotated[str | None, typer.Option(help="Layer, where the file has several.")] = None,
    chip_m: Annotated[float, typer.Option(min=1, help="Side of a chip \\[m].")] = 960.0,
    crs: Annotated[str, typer.Option(help="CRS of the grid, projected, in metres; auto picks UTM or LAEA.")] = "auto",
    source_crs: Annotated[str | None, typer.Option(help="CRS of the file, where it says none or a wrong one.")] = None,
    bounds: Annotated[str | None, typer.Option(help="WEST,SOUTH,EAST,NORTH in the grid's CRS.")] = None,
    region_id: Annotated[int, typer.Option(min=0, help="Region id.")] = 1,
    levels: Annotated[int, typer.Option(min=2, max=56, help="Counts that shares are rounded to.")] = LEVELS,
    min_cover: Annotated[float, typer.Option(min=0, max=1, help="Chips covered less belong to nobody.")] = MIN_COVER,
    merge: Annotated[bool, typer.Option("--merge", help="Join features that share a code.")] = False,
    zero_pad: Annotated[int, typer.Option(min=0, max=64, help="Digits of a code; restores leading zeros.")] = 0,
    picture: Annotated[Path | None, typer.Option(help="Check picture to write, a PNG.", dir_okay=False)] = None,
    as_json: AsJson = False,
) -> None:
    """Lay a grid of chips over municipalities and pack it for the uplink, shares of chips exact by area.

    Beside the region file go OUT.georef.json, where the grid lies, and OUT.municipalities.parquet, the polygons on it:
    the ground needs them for maps, the satellite does not.
    """
    box = corners(bounds)
    with told():
        need_gis()
        options = PolygonOptions(id_field, name_field, layer, source_crs, merge, zero_pad)
        mapped = region_from_polygons(
            polygons, options, region_id=region_id, chip_m=chip_m, crs=crs, bounds=box, min_cover=min_cover
        )
        write_region(mapped, out, levels)
        if picture is not None:
            write_png(picture, check_picture(mapped))
        data, decoded = read_packed(out, region_codec.unpack)
        mean, greatest = region.share_error(mapped.region, levels)
        facts: dict[str, Any] = {
            **region_facts(data, decoded),
            **mapped.facts,
            "mean_error": mean,
            "max_error": greatest,
        }
        show(f"{out}", {**facts, "notes": mapped.notes} if as_json else facts, as_json)
        for note in mapped.notes[:MAX_NOTES]:
            typer.echo(f"note: {note}", err=True)
        if len(mapped.notes) > MAX_NOTES:
            typer.echo(f"note: and {len(mapped.notes) - MAX_NOTES} more; --json has them all", err=True)


def export_maps(
    archive: Annotated[Path, typer.Argument(help="products.parquet, or municipalities.parquet.")],
    region_file: Annotated[Path, typer.Option("--region", help="Region file that the predictions were made for.")],
    out: Annotated[Path, typer.Option("--out", "-o", help="Directory to write to.", file_okay=False)],
    format_: Annotated[Format, typer.Option("--format", help="Format of the maps.")] = Format.geotiff,
    georef_file: Annotated[
        Path | None, typer.Option("--region-georef", help="Where the grid lies.  \\[beside the region file]")
    ] = None,
    made_up: Annotated[
        bool, typer.Option("--made-up", help="The grid lies nowhere: write an engineering CRS.")
    ] = False,
) -> None:
    """Write predictions as maps for QGIS, rasterio and GeoPandas: a band or a column a class, and uncertainty."""
    with told():
        need_gis()
        _, of_region = read_packed(region_file, region_codec.unpack)
        georef_file = georef_file or georef_path(region_file)
        polygons = municipalities_path(georef_file)
        if made_up:
            georef = engineering(of_region.region_id, of_region.rows, of_region.cols, 1.0)
            typer.echo(
                "note: the grid is made up: maps are in an engineering CRS, one unit a chip, nowhere on the Earth"
            )
        elif georef_file.exists():
            georef = read_georef(georef_file)
        else:
            advice = "make the region with `swath-ground region from-polygons`, name the file with --region-georef"
            raise GisError(f"{georef_file}: not there, so nobody knows where the grid lies; {advice}, or say --made-up")
        shapes = polygons if polygons.exists() and not made_up else None
        if shapes is None:
            typer.echo("note: no polygons of municipalities are at hand: their shapes are made of chips")
        kind = MunicipalArchive if is_municipal(archive) else ProductArchive
        for path in write_maps(kind.read(archive), of_region, georef, format_, out, shapes):
            typer.echo(f"wrote {path}")
