"""``--version`` of the command lines."""

from __future__ import annotations

import typer

from flight import __version__


def with_version(app: typer.Typer, name: str) -> None:
    """Give `app`, the command line `name`, the option ``--version``."""

    def show(wanted: bool) -> None:
        if wanted:
            typer.echo(f"{name} {__version__}")
            raise typer.Exit

    option = typer.Option(False, "--version", callback=show, is_eager=True, help="Show the version and exit.")

    @app.callback()
    def _(version: bool = option) -> None:
        pass
