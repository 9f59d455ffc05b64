"""``swath-ground keys``: keys of the radio link, and certificates of the ZeroMQ hop."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

import typer

from flight.curve import PUBLIC_SUFFIX, SECRET_SUFFIX, new_certificate
from flight.link.keys import KeyRing
from ground.console import Out, told
from ground.files import write_bytes

app = typer.Typer(
    help="Keys that authenticate both ends of the link, and of the hop between two machines.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)


def _write_new(path: Path, data: bytes, mode: int) -> None:
    """Write a file that is not there yet; FileExistsError if it is."""
    with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode), "wb") as file:  # noqa: PTH123 (mode)
        file.write(data)


@app.command("new")
def new(out: Out = Path("swath-keys.toml")) -> None:
    """Make a key file with two slots, readable by its owner only. Never replaces a file."""
    with told():
        _write_new(out, KeyRing.generate(os.urandom).dump(), 0o600)
        typer.echo(f"wrote {out}: two keys, the first one active; give the same file to both ends and keep it secret")


@app.command("activate")
def activate(
    file: Annotated[Path, typer.Argument(help="The station's key file.")],
    key_id: Annotated[int, typer.Argument(help="Id of the key that it sends with.")],
) -> None:
    """Write which key a station sends with that has no saved state: once the change was made by `rotate-key`.

    On a station with saved state this also overrides what it has kept, if it sends with another key: the way back in.
    """
    with told():
        write_bytes(file, KeyRing.load(file).with_active(key_id).dump(), 0o600)
        typer.echo(f"wrote {file}: key {key_id} is the active one")


@app.command("curve")
def curve(
    name: Annotated[str, typer.Argument(help="What it is for, such as flight, modem or camera: the files' name.")],
    out: Annotated[Path, typer.Option("--out", "-o", help="Directory to write to.", file_okay=False)] = Path(),
) -> None:
    """Make a CurveZMQ certificate: NAME.key_secret for its owner's eyes only, NAME.key to give to the peer."""
    if not name or Path(name).name != name:
        raise typer.BadParameter(f"{name!r} is not a plain file name")
    with told():
        out.mkdir(parents=True, exist_ok=True)
        public, secret = new_certificate(name)
        _write_new(out / f"{name}{SECRET_SUFFIX}", secret, 0o600)
        _write_new(out / f"{name}{PUBLIC_SUFFIX}", public, 0o644)
        typer.echo(f"wrote {out / name}{SECRET_SUFFIX}: keep it on this machine, and secret")
        typer.echo(f"wrote {out / name}{PUBLIC_SUFFIX}: copy it to the machine at the other end of the hop")


@app.command("flatsat")
def flatsat(out: Annotated[Path, typer.Argument(help="Directory to make.", file_okay=False)] = Path("flatsat")) -> None:
    """Make what a board and the desk that flies missions on it need: OUT/board to copy there, OUT/desk to keep.

    Each has a CurveZMQ certificate of its own, the other's public one, and the same keys of the radio link.
    """
    board, desk = out / "board", out / "desk"
    with told():
        if out.exists() and any(out.iterdir()):
            raise FileExistsError(f"{out} is not empty: keys are never replaced")
        link = KeyRing.generate(os.urandom).dump()
        for directory in (board, desk):
            directory.mkdir(parents=True, mode=0o700)
            _write_new(directory / "keys.toml", link, 0o600)
        (board / "peers").mkdir()
        for name, home, there in (("flight", board, desk), ("desk", desk, board / "peers")):
            public, secret = new_certificate(name)
            _write_new(home / f"{name}{SECRET_SUFFIX}", secret, 0o600)
            _write_new(there / f"{name}{PUBLIC_SUFFIX}", public, 0o644)
        typer.echo(f"wrote {board}: copy it to the board, and there: swath-flight listen --keys board --state state")
        typer.echo(f"wrote {desk}: and here: swath-sim run --flight tcp://BOARD:7700 --keys {desk}")
