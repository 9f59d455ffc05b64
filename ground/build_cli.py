"""``swath-ground build``: kernels compiled ahead of time for a board, sealed in a flight bundle."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Annotated

import typer

from flight.bundle import HEADER
from flight.kernels.registry import KERNELS, abi, header
from flight.link.keys import KeyRing
from ground.build.targets import NAMES, target
from ground.console import AsJson, Out, told
from ground.facts import show
from ground.files import write_bytes

KEYS = Path("swath-keys.toml")  # where `swath-ground keys new` writes them


def build(
    out: Out,
    name: Annotated[
        str,
        typer.Option(
            "--target",
            help=f"One of {', '.join(NAMES)}. Raspberry Pi 4: a72, 5: a76; armv7 and riscv64 with --library.",
        ),
    ] = NAMES[0],
    keys: Annotated[Path, typer.Option(help="Key file of the spacecraft: its active key seals the bundle.")] = KEYS,
    config: Annotated[Path | None, typer.Option(help="Configuration (TOML) that flies in it.")] = None,
    encoder: Annotated[
        list[Path] | None, typer.Option(help="Encoder file that flies in it; repeated: the same in another format.")
    ] = None,
    library: Annotated[bool, typer.Option("--library", help="Only the shared object, its C header beside it.")] = False,
    as_json: AsJson = False,
) -> None:
    """Compile the kernels for a board and pack them, with what flies beside them, into a sealed flight bundle."""
    from ground.build import bundle  # LLVM takes half a second to load

    with told():
        wanted = target(name)
        ring = None if library else KeyRing.load(keys)
        typer.echo(f"compiling {len(KERNELS)} kernels for {wanted.name}", err=True)
        if ring is None:
            data = bundle.library(wanted)
            write_bytes(out.with_name(HEADER), header().encode())
        else:
            data = bundle.bundle(wanted, ring, config, encoder or ())
        write_bytes(out, data)
        facts = {"target": wanted.name, "machine": wanted.machine, "kernel_abi": abi(), "bytes": len(data)}
        facts["sha256"] = hashlib.sha256(data).hexdigest()
        show(f"{out}: kernels for {wanted.name}", facts, as_json)
