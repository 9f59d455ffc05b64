"""``swath-ground encoder``: from a frozen encoder to a file that flies."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from ground.console import AsJson, told
from ground.encoder_training_cli import distil, freeze, pretrain
from ground.encoders.frozen import Frozen
from ground.facts import show

app = typer.Typer(
    help="Encoders: train without labels, freeze, export, look into.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)


@app.callback()
def encoder() -> None:
    """Encoders: train without labels, freeze, export, look into."""


app.command()(pretrain)
app.command()(distil)
app.command()(freeze)


@app.command()
def inspect(
    file: Annotated[Path, typer.Argument(help="A frozen encoder (.npz).", dir_okay=False)],
    as_json: AsJson = False,
) -> None:
    """Say what an encoder file holds."""
    with told():
        frozen = Frozen.read(file)
        facts: dict[str, Any] = {"name": frozen.name, "digest": frozen.digest, "bands": list(frozen.bands)}
        facts |= {"layers": len(frozen.layers), "parameters": frozen.parameters, "width": frozen.width}
        show(f"{file}", {**facts, "pixels_a_cell": frozen.stride, "trained": dict(frozen.trained)}, as_json)
