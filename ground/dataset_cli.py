"""``swath-ground dataset``: imagery with labels as npz files, made of one's own rasters or of published data sets."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

from ground.console import AsJson, Dataset, Out, corners, told
from ground.datasets import open_imagery
from ground.facts import dataset_facts, show
from ground.gis import GisError
from ground.importer.build import SCENE_CLASSIFICATION, BuildOptions, Built, build, working_directory
from ground.importer.example import write_example
from ground.importer.llpeo import write_llpeo
from ground.importer.m3leo import write_m3leo
from ground.importer.splits import SplitBy, SplitOptions, parse_parts
from ground.labels import TOLERANCE
from ground.polygons import PolygonOptions
from ground.regions import MIN_COVER
from ground.table_options import (
    ByName,
    Classes,
    CodeColumn,
    DecimalOption,
    Delimiter,
    Encoding,
    HeaderRow,
    Ignore,
    Missing,
    Other,
    SheetName,
    Tolerance,
    Total,
    Units,
    UnitsOption,
    ZeroPad,
    label_options,
    sheet_options,
)

MAX_NOTES = 30
app = typer.Typer(help="Imagery with labels, as npz files.", no_args_is_help=True, pretty_exceptions_enable=False)


class Resampling(StrEnum):
    """How pixels are found between those of an image."""

    nearest = "nearest"
    bilinear = "bilinear"
    cubic = "cubic"
    average = "average"


@app.command("inspect")
def inspect_(dataset: Dataset, as_json: AsJson = False) -> None:
    """Check a dataset in full and say what it holds."""
    with told():
        imagery = open_imagery(dataset)
        show(f"{dataset}: all checks passed", dataset_facts(imagery), as_json)


@app.command("build")
def build_(
    out: Out,
    polygons: Annotated[Path, typer.Option(help="GeoPackage, GeoJSON or Shapefile of municipalities.")],
    id_field: Annotated[str, typer.Option(help="Field that holds the municipality codes.")],
    images: Annotated[list[Path] | None, typer.Option("--images", help="GeoTIFF (COG) or .SAFE; several may follow.")],
    more: Annotated[list[Path] | None, typer.Argument(metavar="[IMAGE]...", help="Further images.")] = None,
    labels: Annotated[Path | None, typer.Option(help="Label table: CSV, Excel or Parquet.")] = None,
    truth: Annotated[list[Path] | None, typer.Option(help="Land-cover raster; repeated, the first one counts.")] = None,
    truth_classes: Annotated[
        str | None, typer.Option(help="What its values mean: a table value,class, or worldcover.")
    ] = None,
    bands: Annotated[str | None, typer.Option(help="Numbers or names.  [1,2,3; of .SAFE B04,B03,B02]")] = None,
    scale: Annotated[
        str | None, typer.Option(help="Limits that become 0 and 255: P2:P98, 0:3000, none.  [P2:P98; uint8: none]")
    ] = None,
    chip_m: Annotated[float, typer.Option(min=1, help="Side of a chip \\[m].")] = 960.0,
    chip_px: Annotated[int, typer.Option(min=8, max=1024, help="Side of a chip in pixels.")] = 96,
    crs: Annotated[str, typer.Option(help="CRS of the grid, projected, in metres; auto picks UTM or LAEA.")] = "auto",
    bounds: Annotated[str | None, typer.Option(help="WEST,SOUTH,EAST,NORTH in the grid's CRS.")] = None,
    clouds: Annotated[
        list[str] | None, typer.Option(help="Cloud mask, a raster; or SCL, the classification of .SAFE; repeated.")
    ] = None,
    cloud_values: Annotated[str | None, typer.Option(help="Values of masks that are clouds, 3,8,9.  \\[not 0]")] = None,
    nodata: Annotated[float | None, typer.Option(help="Nodata value, where the files do not say it.")] = None,
    resampling: Annotated[Resampling, typer.Option(help="How pixels are reprojected.")] = Resampling.bilinear,
    min_valid: Annotated[float, typer.Option(min=0, max=1, help="Share of a chip's pixels that must be known.")] = 0.9,
    min_seen: Annotated[
        float, typer.Option(min=0, max=1, help="Municipalities of which less is on chips have no row.")
    ] = 0.5,
    min_cover: Annotated[float, typer.Option(min=0, max=1, help="Chips covered less belong to nobody.")] = MIN_COVER,
    split: Annotated[SplitBy, typer.Option(help="What is drawn for training, validation, test.")] = (
        SplitBy.municipality
    ),
    parts: Annotated[str, typer.Option(help="Parts of training, validation and test.")] = "70:15:15",
    block_km: Annotated[float, typer.Option(min=0.1, help="Side of a block, with --split block \\[km].")] = 20.0,
    seed: Annotated[int, typer.Option(min=0, help="Seed of the split.")] = 0,
    name_field: Annotated[str | None, typer.Option(help="Field that holds their names.")] = None,
    layer: Annotated[str | None, typer.Option(help="Layer, where the file has several.")] = None,
    source_crs: Annotated[str | None, typer.Option(help="CRS of the polygons, where they say none or a wrong one.")] = (
        None
    ),
    merge: Annotated[bool, typer.Option("--merge", help="Join features that share a code.")] = False,
    region_id: Annotated[int, typer.Option(min=0, help="Region id.")] = 1,
    task: Annotated[str, typer.Option(help="Name of the task.")] = "land cover",
    licence: Annotated[str, typer.Option(help="Licence of the imagery, a line.")] = "not stated",
    tolerance: Tolerance = TOLERANCE,
    units: UnitsOption = Units.fraction,
    decimal: DecimalOption = None,
    other: Other = None,
    total: Total = None,
    classes: Classes = None,
    ignore: Ignore = None,
    missing: Missing = None,
    code_column: CodeColumn = None,
    by_name: ByName = False,
    zero_pad: ZeroPad = 0,
    delimiter: Delimiter = None,
    encoding: Encoding = "utf-8-sig",
    header_row: HeaderRow = None,
    sheet: SheetName = None,
    as_json: AsJson = False,
) -> None:
    """Make a data set of images, municipalities and a label table: chips on a grid, overlap weights, split, truth.

    OUT is the npz file; beside it go OUT.bin, the region for the uplink, with OUT.georef.json and
    OUT.municipalities.parquet for maps, OUT.png, a check picture, and OUT.json, what it was made of. Images are read a
    block at a time. An import that was stopped goes on where it was when the same command is given again.
    """
    box, layout = corners(bounds), sheet_options(delimiter, encoding, header_row, sheet)
    content = label_options(units, decimal, other, total, classes, ignore, missing, code_column, by_name, zero_pad)
    with told():
        options = BuildOptions(
            images=(*(images or ()), *(more or ())),
            polygons=polygons,
            polygon_options=PolygonOptions(id_field, name_field, layer, source_crs, merge, zero_pad),
            labels=labels,
            sheet=layout,
            label_options=content,
            tolerance=tolerance,
            truth=tuple(truth or ()),
            truth_classes=truth_classes,
            bands=_names(bands),
            scale=scale,
            chip_m=chip_m,
            chip_px=chip_px,
            crs=crs,
            bounds=box,
            clouds=tuple(clouds or ()),
            cloud_values=_values(cloud_values, clouds),
            nodata=nodata,
            resampling=resampling,
            min_valid=min_valid,
            min_seen=min_seen,
            min_cover=min_cover,
            split=SplitOptions(split, parse_parts(parts), block_km, seed),
            region_id=region_id,
            task=task,
            licence=licence,
        )
        _show(_with_progress(options, out), out, as_json)


@app.command("example")
def example(
    directory: Annotated[Path, typer.Argument(help="Directory to write to; made if it is not there.", file_okay=False)],
    seed: Annotated[int, typer.Option(min=0, help="Seed of the made-up land.")] = 0,
) -> None:
    """Write small made-up files to try an import on: GeoTIFFs, a GeoPackage, a land-cover raster, a messy CSV."""
    with told():
        for path in write_example(directory, seed):
            typer.echo(f"wrote {path}")


@app.command("from-llpeo")
def from_llpeo(
    directory: Annotated[Path, typer.Argument(help="Unpacked record: splits.csv, data/*.pkl.", file_okay=False)],
    out: Out,
    classes: Annotated[
        str | None, typer.Option(help="esaworldcover, humanpop, or groups: 0+7,1,2+3.  \\[by the directory's name]")
    ] = None,
    partition: Annotated[str, typer.Option(help="Which municipalities: communes, or another partition.")] = "communes",
    as_json: AsJson = False,
) -> None:
    """Make a data set of the llpeo chips from Zenodo: communes, splits and class groups as published.

    Its pickles are parsed and never run: one that names anything but arrays and plain containers is refused.
    """
    with told():
        _, notes = write_llpeo(directory, out, classes, partition)
        _show_written(out, notes, as_json)


@app.command("from-m3leo")
def from_m3leo(
    directory: Annotated[Path, typer.Argument(help="Area of interest: a folder a layer.", file_okay=False)],
    out: Out,
    bands: Annotated[
        list[str] | None,
        typer.Option("--band", help="LAYER:BAND, such as s1grd-2020:summer_vvasc; repeated, in order."),
    ] = None,
    truth: Annotated[
        str, typer.Option(help="Layer of land cover, in ESA WorldCover's classes.")
    ] = "esaworldcover-2020",
    splits: Annotated[Path | None, typer.Option(help="CSV with identifier and split.  [*_splits_*.csv]")] = None,
    scale: Annotated[str, typer.Option(help="Limits that become 0 and 255: P2:P98, 0:3000.")] = "P2:P98",
    chip_px: Annotated[int, typer.Option(min=8, max=1024, help="Side of a chip in pixels.")] = 112,
    as_json: AsJson = False,
) -> None:
    """Make a data set of M3LEO tiles: each tile is a bag of chips, its row the land cover, its split as published."""
    with told():
        default = [f"s2rgbm-2020:{i}" for i in (1, 2, 3)]
        _, notes = write_m3leo(
            directory, out, bands or default, truth=truth, splits=splits, scale=scale, chip_px=chip_px
        )
        _show_written(out, notes, as_json)


def _show_written(out: Path, notes: list[str], as_json: bool) -> None:
    """What was written, read back in full."""
    facts = dataset_facts(open_imagery(out))
    show(f"{out}", {**facts, "notes": notes} if as_json else facts, as_json)
    for note in notes:
        typer.echo(f"note: {note}", err=True)


def _names(text: str | None) -> tuple[str, ...]:
    if text is None:
        return ()
    names = tuple(part.strip() for part in text.split(","))
    if not all(names):
        raise GisError(f"--bands {text}: has an empty name; separate numbers or names by commas, such as 4,3,2")
    return names


def _values(text: str | None, clouds: list[str] | None) -> frozenset[int] | None:
    if text is None:
        return None
    if not any(name != SCENE_CLASSIFICATION for name in clouds or ()):
        raise GisError("--cloud-values are those of a mask: name one with --clouds (of SCL, clouds are 3, 8, 9 and 10)")
    try:
        return frozenset(int(part) for part in text.split(","))
    except ValueError:
        raise GisError(f"--cloud-values {text}: must be whole numbers with commas between them") from None


def _with_progress(options: BuildOptions, out: Path) -> Built:
    """Build with a bar on stderr where that is a terminal, and a line a tenth where it is not."""
    console = Console(stderr=True)
    columns = (TextColumn("{task.description}"), BarColumn(), TextColumn("{task.fields[chips]:,} chips"))
    told_tenths = set()
    with Progress(*columns, TimeRemainingColumn(), console=console, disable=not console.is_terminal) as bar:
        bar_task = bar.add_task("chips", total=None, chips=0)

        def progress(done: int, total: int, chips: int) -> None:
            bar.update(bar_task, completed=done, total=total, chips=chips)
            tenth = 10 * done // max(1, total)
            if not console.is_terminal and tenth not in told_tenths:
                told_tenths.add(tenth)
                typer.echo(f"{10 * tenth} %: {done} of {total} blocks, {chips} chips", err=True)

        try:
            return build(options, out, progress)
        except KeyboardInterrupt:
            if working_directory(out).is_dir():
                told_where = (
                    f"{working_directory(out)}: finished blocks are kept here; the same command goes on from there"
                )
                typer.echo(told_where, err=True)
            raise


def _show(built: Built, out: Path, as_json: bool) -> None:
    facts: dict[str, Any] = {**built.facts, "files": [str(path) for path in built.files]}
    show(f"{out}", {**facts, "notes": built.notes} if as_json else facts, as_json)
    for note in built.notes[:MAX_NOTES]:
        typer.echo(f"note: {note}", err=True)
    if len(built.notes) > MAX_NOTES:
        typer.echo(f"note: and {len(built.notes) - MAX_NOTES} more; {out.with_suffix('.json')} has them all", err=True)
