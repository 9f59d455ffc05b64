"""``swath-ground encoder``: from a frozen encoder to a file that flies."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.progress import Progress
from rich.table import Table

from flight.encoder.file import EncoderFile
from ground.console import MAX_FILE_BYTES, AsJson, Out, told
from ground.encoder_training_cli import distil, freeze, pretrain
from ground.encoders import verify as agreement
from ground.encoders.export import Form, Precision, exported, lowered
from ground.encoders.frozen import Frozen, FrozenError
from ground.encoders.network import LEVELS
from ground.encoders.sizes import calibration_chips, file_facts, frozen_facts, read_chips
from ground.facts import show
from ground.files import write_bytes

app = typer.Typer(
    help="Encoders: train without labels, freeze, export, look into.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)
FrozenFile = Annotated[Path, typer.Argument(metavar="FROZEN", help="A frozen encoder (.npz).", dir_okay=False)]
Calibration = Annotated[
    list[Path] | None,
    typer.Option(help="npz file whose chips (training split) show how far activations reach; for int8. Repeated."),
]
Levels = Annotated[
    int, typer.Option(min=7, max=127, help="Weights are rounded to so many steps either side of 0; fewer fly cheaper.")
]


@app.callback()
def encoder() -> None:
    """Encoders: train without labels, freeze, export, look into."""


app.command()(pretrain)
app.command()(distil)
app.command()(freeze)


@app.command()
def export(
    frozen_file: FrozenFile,
    out: Out,
    form: Annotated[Form, typer.Option("--format", help="tflite for LiteRT, onnx for ONNX Runtime.")] = Form.tflite,
    precision: Annotated[Precision, typer.Option(help="int8 flies; fp32 is for comparison.")] = Precision.int8,
    chip: Annotated[int, typer.Option(min=8, max=1024, help="Side of the chips, in pixels.")] = 96,
    calibration: Calibration = None,
    levels: Levels = LEVELS,
    as_json: AsJson = False,
) -> None:
    """Write an encoder as a file that flies, checked as flight checks it."""
    with told():
        frozen = Frozen.read(frozen_file)
        chips = calibration_chips(calibration) if calibration else None
        file = exported(lowered(frozen, precision, chips, levels), form, chip, chip)
        write_bytes(out, file.data)
        show(f"{out}", file_facts(file), as_json)


@app.command()
def inspect(
    file: Annotated[Path, typer.Argument(help="A frozen encoder (.npz), or a file that flies.", dir_okay=False)],
    chip: Annotated[int, typer.Option(min=8, max=1024, help="Side of the chips of a frozen encoder.")] = 96,
    as_json: AsJson = False,
) -> None:
    """Say what an encoder is and takes: layers, parameters, products, memory, bytes, time on the air."""
    with told():
        if zipfile.is_zipfile(file):
            show(f"{file}", frozen_facts(Frozen.read(file), chip), as_json)
            return
        with file.open("rb") as opened:
            data = opened.read(MAX_FILE_BYTES + 1)
        show(f"{file}", file_facts(EncoderFile.parse(data)), as_json)


@app.command()
def verify(
    frozen_file: FrozenFile,
    data: Annotated[list[Path], typer.Option("--data", help="npz file, every chip of which is compared; repeated.")],
    file: Annotated[
        list[Path] | None,
        typer.Option("--file", help="Exported file to compare; repeated. Without, each format and precision is made."),
    ] = None,
    calibration: Calibration = None,
    levels: Levels = LEVELS,
    least_cosine: Annotated[
        float, typer.Option(min=0, max=1, help="Least mean cosine of int8 embeddings with those in floats.")
    ] = agreement.LEAST_COSINE,
    as_json: AsJson = False,
) -> None:
    """Compare numpy, torch, LiteRT and ONNX Runtime chip by chip; exit status 1 if any is over its tolerance.

    In floats an embedding may be off by 1e-5 of its greatest value, on every chip. In int8 its cosine with that in
    floats is .999 at least, as a mean over chips. Runtimes that are not installed are left out.
    """
    results = []
    with told():
        frozen = Frozen.read(frozen_file)
        given = [EncoderFile.parse(path.read_bytes()) for path in file or []]
        for path in data:
            chips = read_chips(path)
            side = chips.shape[1]
            calibrated = calibration_chips(calibration or [path])
            networks = [lowered(frozen, precision, calibrated, levels) for precision in Precision]
            files = [(each, None) for each in given if each.header.chip == chips.shape[1:]]
            if not given:
                made = [(network, exported(network, form, side, side)) for network in networks for form in Form]
                files = [(each, network.embed if network.step is not None else None) for network, each in made]
            if not files:
                raise FrozenError(f"{path}: no file takes chips of {side} pixels")
            with Progress(console=Console(stderr=True), transient=True) as bar:
                task = bar.add_task(path.name, total=len(chips))
                found = agreement.compare(frozen, files, chips, lambda n, task=task, bar=bar: bar.advance(task, n))
                for each in found:
                    each.least_cosine = least_cosine
            results += [{"data": path.name, **each.facts()} for each in found]
        passed = all(each["passed"] for each in results)
        if as_json:
            print(json.dumps({"passed": passed, "rows": results}, indent=2))
        else:
            _show(results)
    if not passed:
        raise typer.Exit(1)


def _show(results: list[dict[str, object]]) -> None:
    table = Table(
        "data", "runtime", "chips", "worst, relative", "least cosine", "mean cosine", "bits of the oracle", ""
    )
    for row in results:
        exact = "" if row["exact"] is None else f"{row['exact']:.4%}"
        cosines = f"{row['cosine']:.5f}", f"{row['mean_cosine']:.5f}"
        ends = f"{row['worst']:.1e}", *cosines, exact, "passed" if row["passed"] else "FAILED"
        table.add_row(str(row["data"]), str(row["what"]), f"{row['chips']:,}", *ends)
    Console(width=140).print(table)
