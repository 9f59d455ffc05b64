"""``swath-ground``: operations, keys, label tables, regions, datasets and products at the analyst's desk."""

from __future__ import annotations

import dataclasses
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer
from typer.core import TyperGroup

from flight.config import LinkConfig
from flight.link import event_log, labelset, municipal, parcel, product, region, region_codec, region_patch
from flight.link.pack import EVENT_LOG, MODEL, MUNICIPAL
from ground import (
    build_cli,
    capture_cli,
    cfdp_cli,
    dataset_cli,
    encoder_cli,
    gis_cli,
    keys_cli,
    station_cli,
    update_cli,
)
from ground.archive import export
from ground.console import MAX_FILE_BYTES, AsJson, Dataset, Out, read_packed, told
from ground.datasets import DatasetError, NpzImagery, open_imagery
from ground.facts import (
    archive_facts,
    event_log_facts,
    label_facts,
    model_facts,
    municipal_archive_facts,
    municipal_facts,
    product_facts,
    region_facts,
    show,
)
from ground.files import write_bytes
from ground.georef import georef_path, read_georef
from ground.imagery import TEST, TRAIN, VALIDATION, Task
from ground.labels import (
    TOLERANCE,
    LabelTable,
    TableError,
    in_order,
    read_table,
    write_table,
)
from ground.municipal import MunicipalArchive, is_municipal
from ground.operations import command_app, dictionary_app, log, sequence_app
from ground.packing import pack_smallest, read_labels, renamings
from ground.products import ProductArchive
from ground.regions import region_from_imagery
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
from ground.versions import with_version

_settings: dict[str, Any] = {"no_args_is_help": True, "pretty_exceptions_enable": False}


class _Desk(TyperGroup):
    """Commands in the order in which a newcomer needs them; all others follow."""

    FIRST = ("dataset", "labels", "region", "products", "encoder", "keys", "station", "command", "sequence", "update")

    def list_commands(self, ctx: Any) -> list[str]:
        first = [name for name in self.FIRST if name in self.commands]
        return [*first, *(name for name in self.commands if name not in first)]


app = typer.Typer(help="The ground segment at the analyst's desk.", add_completion=False, cls=_Desk, **_settings)
labels_app = typer.Typer(help="Label tables: check, pack for the uplink, look into.", **_settings)
region_app = typer.Typer(help="Region files: the chip grid and its municipalities.", **_settings)
products_app = typer.Typer(help="Predictions that came down.", **_settings)
for _name, _sub in {
    "keys": keys_cli.app,
    "labels": labels_app,
    "region": region_app,
    "dataset": dataset_cli.app,
    "products": products_app,
    "encoder": encoder_cli.app,
    "update": update_cli.app,
    "command": command_app,
    "sequence": sequence_app,
    "dictionary": dictionary_app,
    "cfdp": cfdp_cli.app,
    "capture": capture_cli.app,
}.items():
    app.add_typer(_sub, name=_name)
app.command()(log)
app.command()(station_cli.station)
app.command("spool")(station_cli.spool_files)
app.command()(build_cli.build)
with_version(app, "swath-ground")

Base = Annotated[
    list[Path] | None,
    typer.Option("--base", help="Label file that is on board; repeated, what the next one is a delta against."),
]


class Split(StrEnum):
    """Which municipalities of a dataset."""

    train = "train"
    validation = "validation"
    test = "test"
    all = "all"


_SPLITS = {Split.train: (TRAIN,), Split.validation: (VALIDATION,), Split.test: (TEST,), Split.all: (0, 1, 2)}


@labels_app.command("pack")
def labels_pack(
    table: Annotated[Path, typer.Argument(help="CSV, Excel or Parquet: a column a class, or code, class, proportion.")],
    out: Out,
    region_file: Annotated[Path | None, typer.Option("--region", help="Region file that gives codes and id.")] = None,
    codes_file: Annotated[
        Path | None, typer.Option("--codes", help="Text file with a code a line, in the region's order.")
    ] = None,
    region_id: Annotated[int, typer.Option(min=0, help="Region id, where there is no region file.")] = 0,
    task_id: Annotated[int, typer.Option(min=0, help="Task that the classes belong to.")] = 1,
    version: Annotated[int, typer.Option(min=0, help="Version of the table; a later one replaces it.")] = 1,
    levels: Annotated[int | None, typer.Option(min=2, max=255, help="Counts a row is rounded to.  [32]")] = None,
    max_error: Annotated[
        float | None, typer.Option(min=0.004, max=0.5, help="Greatest error of a proportion; picks the levels.")
    ] = None,
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
    activate: Annotated[bool, typer.Option(help="Whether the satellite switches to the task.")] = True,
    base: Base = None,
    became: Annotated[
        list[str] | None, typer.Option(metavar="OLD=NEW", help="Class of the base that was merged, split or renamed.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Check a label table and pack it for the uplink, with its size, its error and its time on the air.

    Without --region and --codes the table's own codes, in its order, stand for the region's. With --region rows are
    coded along the map, in fewer bytes. With --base the file is a delta, if that is smaller.
    """
    if levels is not None and max_error is not None:
        raise typer.BadParameter("give --levels or --max-error, not both")
    if region_file is not None and (codes_file is not None or region_id):
        raise typer.BadParameter("--region gives codes and id; leave out --codes and --region-id")
    layout = sheet_options(delimiter, encoding, header_row, sheet)
    with told():
        codes: tuple[str, ...] | None = None
        names: dict[str, str] = {}
        of_region: region.Region | None = None
        if region_file is not None:
            _, of_region = read_packed(region_file, region_codec.unpack)
            codes, region_id = of_region.codes, of_region.region_id
            if georef_path(region_file).exists():
                names = read_georef(georef_path(region_file)).names
        elif codes_file is not None:
            codes = _codes(codes_file)
        if by_name and not names:
            where = (
                "a region from polygons, packed with --name-field, has them in its georeference: give it with --region"
            )
            raise TableError(str(table), [f"--by-name needs the names of municipalities; {where}"])
        options = label_options(units, decimal, other, total, classes, ignore, missing, code_column, by_name, zero_pad)
        read = read_table(table, codes=codes, names=names, tolerance=tolerance, sheet=layout, options=options)
        for note in read.notes:
            typer.echo(f"note: {note}", err=True)
        if max_error is not None:
            levels = labelset.levels_for(max_error)
        label_set = in_order(read, codes or read.codes, region_id, task_id, version, levels or 32)
        label_set = dataclasses.replace(label_set, activate=activate)
        before = read_labels(base, of_region) if base else None
        packed = pack_smallest(label_set, of_region, before, renamings(became or []))
        write_bytes(out, packed.data)
        mean, greatest = labelset.errors(label_set)
        errors = {"mean_error": mean, "max_error": greatest}
        show(f"{out}", {**label_facts(packed.data, label_set), **packed.facts, **errors}, as_json)


def _codes(path: Path) -> tuple[str, ...]:
    try:
        codes = tuple(line.strip() for line in path.read_text(encoding="utf-8-sig").splitlines() if line.strip())
    except UnicodeDecodeError as error:
        raise TableError(str(path), [f"is not UTF-8 text (byte {error.start})"]) from None
    if not codes or len(set(codes)) < len(codes):
        raise TableError(str(path), ["has a code twice" if codes else "has no codes"])
    return codes


@labels_app.command("inspect")
def labels_inspect(
    file: Annotated[Path, typer.Argument(help="A packed label set.")],
    region_file: Annotated[
        Path | None, typer.Option("--region", help="Region file whose map it is coded along.")
    ] = None,
    base: Base = None,
    as_json: AsJson = False,
) -> None:
    """Say what a packed label set holds, after checking it as flight does."""
    with told():
        data, header = read_packed(file, labelset.read_header)
        of_region = read_packed(region_file, region_codec.unpack)[1] if region_file is not None else None
        label_set = read_labels([*(base or []), file], of_region)
        facts = label_facts(data, label_set)
        if header.base is not None:
            facts["delta_against"] = str(header.base)
        means = np.zeros(0) if label_set.missing.all() else np.nanmean(label_set.proportions, axis=0)
        facts["mean_share"] = {c: round(float(m), 4) for c, m in zip(label_set.classes, means, strict=False)}
        show(f"{file}", facts, as_json)


def _task(imagery: NpzImagery, name: str | None) -> Task:
    found = next((task for task in imagery.tasks if name in (None, task.name, str(task.task_id))), None)
    if found is None:
        known = ", ".join(task.name for task in imagery.tasks)
        raise DatasetError(f"{imagery.name} has no task {name!r}; it has {known}")
    return found


@labels_app.command("export")
def labels_export(
    dataset: Dataset,
    out: Out,
    task: Annotated[str | None, typer.Option(help="Name or number of the task.  \\[the first]")] = None,
    split: Annotated[Split, typer.Option(help="Municipalities whose rows are written.")] = Split.train,
) -> None:
    """Write the label table of a dataset as CSV."""
    with told():
        imagery = open_imagery(dataset)
        chosen = _task(imagery, task)
        keep = np.flatnonzero(np.isin(imagery.bag_split, _SPLITS[split]))
        codes = tuple(imagery.codes[i] for i in keep)
        write_table(out, LabelTable(codes, chosen.class_names, imagery.table(chosen)[keep]))
        typer.echo(f"wrote {out}: {len(codes)} rows of {len(chosen.class_names)} classes")


@region_app.command("pack")
def region_pack(
    dataset: Dataset,
    out: Out,
    region_id: Annotated[int, typer.Option(min=0, help="Region id.")] = 1,
    levels: Annotated[int, typer.Option(min=1, max=56, help="Counts that shares are rounded to.")] = 8,
    split: Annotated[Split, typer.Option(help="Municipalities that are on the map; missions send that of train.")] = (
        Split.all
    ),
    as_json: AsJson = False,
) -> None:
    """Pack the grid and the municipalities of a dataset for the uplink."""
    with told():
        imagery = open_imagery(dataset)
        of_dataset = region_from_imagery(imagery, region_id, np.isin(imagery.bag_split, _SPLITS[split]))
        packed = region_codec.pack_parts(of_dataset, levels)
        decoded = region_codec.unpack(packed.data, LinkConfig())
        write_bytes(out, packed.data)
        mean, greatest = region.share_error(of_dataset, levels)
        sizes = {"membership_bytes": packed.membership_bytes, "overlap_bytes": packed.overlap_bytes}
        sizes |= {"code_bytes": packed.code_bytes, "mean_error": mean, "max_error": greatest}
        show(f"{out}", {**region_facts(packed.data, decoded), **sizes}, as_json)


@region_app.command("patch")
def region_patch_(
    base: Annotated[Path, typer.Argument(help="The region file that is on board.")],
    new: Annotated[Path, typer.Argument(help="The region file that it is to become.")],
    out: Out,
    result: Annotated[Path | None, typer.Option(help="Also write what results, as a region file.")] = None,
    levels: Annotated[int, typer.Option(min=1, max=56, help="Counts that shares are rounded to.")] = 8,
    as_json: AsJson = False,
) -> None:
    """Pack the change from one region to another: municipalities that are added, split or merged, borders moved.

    Municipalities keep their place in the region on board, and new ones come behind them: later label tables need the
    order of the region that results.
    """
    with told():
        _, old = read_packed(base, region_codec.unpack)
        _, wanted = read_packed(new, region_codec.unpack)
        wanted = region_patch.follow(old, wanted)
        data = region_patch.pack_patch(old, wanted, levels)
        write_bytes(out, data)
        if result is not None:
            write_bytes(result, region_codec.pack(wanted, levels))
        show(f"{out}", {**region_facts(data, wanted), "keeps_statistics": region_patch.only_adds(old, wanted)}, as_json)


region_app.command("from-polygons")(gis_cli.from_polygons)


@region_app.command("inspect")
def region_inspect(file: Annotated[Path, typer.Argument(help="A region file.")], as_json: AsJson = False) -> None:
    """Say what a region file holds, after checking it as flight does."""
    with told():
        data, of_file = read_packed(file, region_codec.unpack)
        show(f"{file}", region_facts(data, of_file), as_json)


@products_app.command("inspect")
def products_inspect(
    file: Annotated[
        Path, typer.Argument(help="A product, model or event log as it came down, or an archive (.parquet).")
    ],
    as_json: AsJson = False,
) -> None:
    """Say what a product, a model, an event log, or an archive of products holds."""
    with told():
        if file.suffix == ".parquet" and is_municipal(file):
            show(f"{file}", municipal_archive_facts(MunicipalArchive.read(file)), as_json)
            return
        if file.suffix == ".parquet":
            show(f"{file}", archive_facts(ProductArchive.read(file)), as_json)
            return
        with file.open("rb") as opened:
            kind = opened.read(1)
        if kind == EVENT_LOG:
            data, logged = read_packed(file, lambda data, config: event_log.unpack(data))
            show(f"{file}", event_log_facts(data, logged, as_json), as_json)
            return
        if kind == MUNICIPAL:
            data, header = read_packed(file, municipal.read_header)
            show(f"{file}", municipal_facts(data, header), as_json)
            return
        if kind == MODEL:
            data, model = read_packed(file, lambda data, config: parcel.unpack_model(data, MAX_FILE_BYTES))
            show(f"{file}", model_facts(data, model), as_json)
            return
        data, of_file = read_packed(file, product.unpack)
        show(f"{file}", product_facts(data, of_file), as_json)


@products_app.command("assemble")
def products_assemble(
    directory: Annotated[
        Path, typer.Argument(help="The station's archive, such as runs/demo/ground.", file_okay=False)
    ],
    region_file: Annotated[Path, typer.Option("--region", help="Region file that is on board.")],
    labels_files: Annotated[
        list[Path] | None, typer.Option("--labels", help="Label file whose classes have names; repeated.")
    ] = None,
) -> None:
    """Make products.parquet, municipalities.parquet and telemetry.parquet of what has come down so far."""
    with told():
        of_region = read_packed(region_file, region_codec.unpack)[1]
        headers = [read_packed(file, labelset.read_header)[1] for file in labels_files or []]
        export(directory, LinkConfig(), of_region, {each.task_id: each.classes for each in headers if each.classes})
        typer.echo(f"wrote products.parquet, municipalities.parquet and telemetry.parquet to {directory}")


products_app.command("export")(gis_cli.export_maps)
