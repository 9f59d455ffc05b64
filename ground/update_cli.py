"""``swath-ground update``: files that change what the spacecraft works with."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from flight import parameters
from flight.config import FlightConfig
from flight.encoder import EncoderError, EncoderFile
from flight.encoder_slot import limits
from flight.link import parcel
from flight.link.pack import CodecError
from flight.updates import UpdateError
from ground.console import AsJson, Out, read_packed, told
from ground.facts import show, update_facts
from ground.files import write_bytes


class Slot(StrEnum):
    """Slots on board."""

    parameters = "parameters"
    encoder = "encoder"


app = typer.Typer(
    help="Updates of what is on board: the parameter table, the encoder.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)


@app.command("pack")
def pack(
    content_file: Annotated[
        Path, typer.Argument(metavar="FILE", help="TOML with new values of the configuration, or an exported encoder.")
    ],
    out: Out,
    version: Annotated[int, typer.Option(min=1, help="Number of this version; rollback goes by it.")],
    slot: Annotated[Slot, typer.Option(help="What is updated.")] = Slot.parameters,
    as_json: AsJson = False,
) -> None:
    """Check a parameter table, or an encoder file, as flight does, and pack it for the uplink."""
    with told():
        content = content_file.read_bytes()
        try:
            if slot is Slot.parameters:
                parameters.changed(FlightConfig(), content)
            else:
                EncoderFile.parse(content, limits(FlightConfig().encoder))
        except (UpdateError, EncoderError) as error:
            raise CodecError(f"{content_file}: {error}") from None
        update = parcel.Update(slot, version, content)
        data = parcel.pack_update(update)
        write_bytes(out, data)
        show(f"{out}", update_facts(data, update), as_json)


@app.command("inspect")
def inspect(file: Annotated[Path, typer.Argument(help="An update file.")], as_json: AsJson = False) -> None:
    """Say what an update holds; its digest is the one that events show."""
    with told():
        data, update = read_packed(file, lambda data, config: parcel.unpack_update(data, config.max_file_bytes))
        show(f"{file}", update_facts(data, update), as_json)
