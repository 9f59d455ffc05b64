"""``swath-ground capture``: what was on the radio, frame by frame and in sum."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from flight.link.keys import KeyRing
from ground.capture import Capture, Captured
from ground.console import AsJson, told
from ground.describe import Described, Describer, Layer

app = typer.Typer(
    help="Captures of the radio: every frame, and what became of it.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)

File = Annotated[Path, typer.Argument(help="A capture (pcapng), such as radio.pcapng of a mission.")]
Keys = Annotated[
    Path | None, typer.Option(help="Key file, or a directory with keys.toml in it: tags are checked.", exists=True)
]


class Way(StrEnum):
    """A direction."""

    up = "up"
    down = "down"


@app.command("show")
def show(
    file: File,
    keys: Keys = None,
    start_s: Annotated[float, typer.Option("--from", help="From this mission time on \\[s].")] = 0.0,
    end_s: Annotated[float, typer.Option("--to", help="Before this mission time \\[s].")] = float("inf"),
    direction: Annotated[Way | None, typer.Option(help="Frames of this direction alone.")] = None,
    as_json: AsJson = False,
) -> None:
    """Print every frame layer by layer: frame, security, packets, and what they hold. With --json one object a line."""
    capture = Capture(file)
    with told():
        for captured, described in _described(capture, keys):
            if start_s <= captured.t_s < end_s and direction in (None, captured.direction):
                typer.echo(json.dumps(_as_object(captured, described)) if as_json else as_text(captured, described))
    _remarks(capture)


@app.command("summary")
def summary(file: File, keys: Keys = None, as_json: AsJson = False) -> None:
    """Count frames by fate, bytes by purpose and contents by kind, each way. Second copies count once, as such."""
    capture = Capture(file)
    sums = Sums()
    with told():
        for captured, described in _described(capture, keys):
            sums.add(captured, described)
    values = {**sums.report(), "cut_off": capture.cut_off, "full": capture.full}
    if as_json:
        typer.echo(json.dumps(values, indent=2))
        return
    for title, unit in (("frames", "frames"), ("bytes", "bytes"), ("contents", "count")):
        Console().print(_table(title, unit, values[title]))
    _remarks(capture)


def _described(capture: Capture, keys: Path | None) -> Iterator[tuple[Captured, Described]]:
    """The frames with their layers. Tags are checked along the whole file: counters go on from frame to frame."""
    ring = None if keys is None else KeyRing.load(keys / "keys.toml" if keys.is_dir() else keys)
    describer = Describer(ring)
    for captured in capture:
        yield captured, describer.describe(captured.data, captured.direction)


def _remarks(capture: Capture) -> None:
    if capture.cut_off:
        typer.echo(f"{capture.path}: its last frame is cut off, whoever wrote it was killed", err=True)
    if capture.full:
        typer.echo(f"{capture.path}: it was full before the end, later frames were left out", err=True)


def _as_object(captured: Captured, described: Described) -> dict[str, Any]:
    return {
        "t_s": captured.t_s,
        "direction": captured.direction,
        "fate": captured.fate,
        "cause": captured.cause,
        "arrival_s": captured.arrival_s,
        "bits_flipped": captured.bits_flipped,
        "held": captured.held,
        "copy": captured.copy,
        "bytes": len(captured.data),
        "layers": [
            {"layer": layer.name, **layer.values, **({"error": layer.error} if layer.error else {})}
            for layer in described.layers
        ],
    }


def as_text(captured: Captured, described: Described) -> str:
    """A frame as people read it: a line for the frame's fate, then a line a layer."""
    head = f"{clock(captured.t_s)}  {captured.direction:<4}  {len(captured.data):>4} B  {fate(captured)}"
    return "\n".join([head, *(f"    {_line(layer)}" for layer in described.layers)])


def fate(captured: Captured) -> str:
    """What became of a frame, in words."""
    words = [captured.fate]
    words += [f"({captured.cause.replace('_', ' ')})"] if captured.cause else []
    words += [f"({captured.bits_flipped} bits)"] if captured.bits_flipped else []
    words += [f"after {captured.arrival_s - captured.t_s:.3f} s"] if captured.arrival_s is not None else []
    words += ["held back"] * captured.held + ["second copy"] * captured.copy
    return " ".join(words)


def clock(t_s: float) -> str:
    """Mission time as hours:minutes:seconds, to the millisecond."""
    seconds, millis = divmod(round(t_s * 1000), 1000)
    return f"T+{seconds // 3600:02d}:{seconds // 60 % 60:02d}:{seconds % 60:02d}.{millis:03d}"


def _line(layer: Layer) -> str:
    values = " ".join(f"{name}={value}" for name, value in layer.values.items())
    return f"{layer.name:<11} {values}" + (f"  ! {layer.error}" if layer.error else "")


class Sums:
    """Counts over a capture, by direction."""

    def __init__(self) -> None:
        self.frames: dict[str, Counter[str]] = {way.value: Counter() for way in Way}
        self.bytes: dict[str, Counter[str]] = {way.value: Counter() for way in Way}
        self.contents: dict[str, Counter[str]] = {way.value: Counter() for way in Way}

    def add(self, captured: Captured, described: Described) -> None:
        """Count one frame, sent or lost; a second copy is counted as one and no further."""
        frames = self.frames[captured.direction]
        if captured.copy:
            frames["second copies"] += 1
            return
        frames["in all"] += 1
        frames[f"{captured.fate} {captured.cause}".replace("_", " ").strip()] += 1
        frames["held back"] += captured.held
        self.bytes[captured.direction].update(described.shares)
        self.contents[captured.direction].update(kind for layer in described.layers if (kind := _kind(layer)))

    def report(self) -> dict[str, Any]:
        """All counts, as plain values; those of nothing are left out."""
        tables = {"frames": self.frames, "bytes": self.bytes, "contents": self.contents}
        return {name: {way: dict(+counts) for way, counts in table.items()} for name, table in tables.items()}


def _kind(layer: Layer) -> str:
    """What a layer counts as; nothing for layers that say no more than those within."""
    if layer.error:
        return f"{layer.name}: {layer.error.partition(':')[0]}"
    if layer.name == "security":
        return f"tag {layer.values['tag']}"
    inner = layer.values.get("name") if layer.name == "dictionary" else layer.values.get("unit")
    return f"{layer.name}: {inner}" if inner else ""


def _table(title: str, unit: str, ways: dict[str, dict[str, int]]) -> Table:
    table = Table(title=title.capitalize(), title_justify="left")
    table.add_column("")
    totals = {way: max(1, sum(counts.values())) for way, counts in ways.items()}
    for way in ways:
        table.add_column(f"{way}, {unit}", justify="right")
        if unit == "bytes":
            table.add_column("share", justify="right")
    for name in sorted({name for counts in ways.values() for name in counts}, key=lambda n: (n != "in all", n)):
        cells = []
        for way, counts in ways.items():
            cells += [f"{counts.get(name, 0):,}"]
            cells += [f"{100 * counts.get(name, 0) / totals[way]:.1f} %"] if unit == "bytes" else []
        table.add_row(name, *cells)
    return table
