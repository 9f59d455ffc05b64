"""What every command of ``swath-ground`` shares: options, files read with limits, and how errors are told."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, TypeVar

import typer

from flight.bundle import BundleError
from flight.config import ConfigError, LinkConfig
from flight.curve import CurveError
from flight.edge import EdgeError
from flight.encoder.graph import EncoderError as EncoderFileError
from flight.link.keys import KeyFileError
from flight.link.pack import CodecError
from ground.build import BuildError
from ground.capture import CaptureError
from ground.datasets import DatasetError
from ground.encoders.errors import EncoderError
from ground.gis import GisError
from ground.labels import TableError
from ground.products import ArchiveError
from ground.spool import SpoolError

MAX_FILE_BYTES = 1 << 26
T = TypeVar("T")

_OF_FILES = (TableError, DatasetError, CodecError, ArchiveError, GisError, CaptureError, ConfigError)
_OF_STATIONS = (KeyFileError, CurveError, SpoolError, EdgeError)
_OF_BUNDLES = (BuildError, BundleError, EncoderFileError)
_OF_ENCODERS = (EncoderError,)

AsJson = Annotated[bool, typer.Option("--json", help="One JSON object instead of a table.")]
Dataset = Annotated[Path, typer.Argument(metavar="DATASET", help="Imagery with labels, an npz file.")]
Out = Annotated[Path, typer.Option("--out", "-o", help="File to write, whole or not at all.", dir_okay=False)]


@contextmanager
def told() -> Iterator[None]:
    """Turn what a user can mend into a message on stderr and exit status 1."""
    try:
        yield
    except (*_OF_FILES, *_OF_STATIONS, *_OF_BUNDLES, *_OF_ENCODERS) as error:
        typer.echo(f"swath-ground: {error}", err=True)
    except BrokenPipeError:  # the reader of our output has seen enough
        raise
    except FileExistsError as error:
        typer.echo(f"swath-ground: {error.filename}: exists already and is not replaced", err=True)
    except OSError as error:
        typer.echo(f"swath-ground: {error.filename or ''}: {error.strerror or error}", err=True)
    else:
        return
    raise typer.Exit(1)


def read_packed(path: Path, unpack: Callable[[bytes, LinkConfig], T]) -> tuple[bytes, T]:
    """A packed file and what it holds, checked as flight does; CodecError names the file."""
    if path.stat().st_size > MAX_FILE_BYTES:
        raise CodecError(f"{path}: has {path.stat().st_size} bytes, more than any file on the link")
    data = path.read_bytes()
    try:
        return data, unpack(data, LinkConfig())
    except CodecError as error:
        raise CodecError(f"{path}: {error}") from None


def corners(bounds: str | None) -> tuple[float, float, float, float] | None:
    """The four numbers of --bounds."""
    if bounds is None:
        return None
    try:
        west, south, east, north = (float(text) for text in bounds.split(","))
    except ValueError:
        raise typer.BadParameter("--bounds is four numbers: WEST,SOUTH,EAST,NORTH in the grid's CRS") from None
    return west, south, east, north
