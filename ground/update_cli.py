"""``swath-ground update``: files that change what the spacecraft works with."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from flight import parameters
from flight.config import FlightConfig
from flight.link import parcel
from flight.link.pack import CodecError
from flight.updates import UpdateError
from ground.console import AsJson, Out, read_packed, told
from ground.facts import show, update_facts
from ground.files import write_bytes

app = typer.Typer(
    help="Updates of what is on board: the parameter table.", no_args_is_help=True, pretty_exceptions_enable=False
)


@app.command("pack")
def pack(
    table: Annotated[Path, typer.Argument(help="TOML: sections and fields of the configuration, and new values.")],
    out: Out,
    version: Annotated[int, typer.Option(min=1, help="Number of this version; rollback goes by it.")],
    as_json: AsJson = False,
) -> None:
    """Check a parameter table as flight does, and pack it for the uplink."""
    with told():
        content = table.read_bytes()
        try:
            parameters.changed(FlightConfig(), content)
        except UpdateError as error:
            raise CodecError(f"{table}: {error}") from None
        update = parcel.Update(parameters.SLOT, version, content)
        data = parcel.pack_update(update)
        write_bytes(out, data)
        show(f"{out}", update_facts(data, update), as_json)


@app.command("inspect")
def inspect(file: Annotated[Path, typer.Argument(help="An update file.")], as_json: AsJson = False) -> None:
    """Say what an update holds; its digest is the one that events show."""
    with told():
        data, update = read_packed(file, lambda data, config: parcel.unpack_update(data, config.max_file_bytes))
        show(f"{file}", update_facts(data, update), as_json)
