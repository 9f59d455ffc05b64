"""``swath-ground command``, ``sequence``, ``dictionary`` and ``log``: what an operator does with the dictionary."""

from __future__ import annotations

import inspect
import json
from collections.abc import Callable
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer

from flight.config import ConfigError
from flight.link.definitions import TELECOMMANDS
from flight.link.dictionary import embed
from flight.link.schema import Definition, Field
from flight.link.sequence import pack_sequence, unpack_sequence
from flight.schedule import NOT_IN_THE_SCHEDULE
from ground import reference, xtce
from ground.archive import LOG
from ground.console import AsJson, Out, told
from ground.facts import airtime_s, show
from ground.files import write_bytes
from ground.orders import CommandOrder, entry, read_sequence
from ground.spool import put
from ground.times import clock

_settings: dict[str, Any] = {"no_args_is_help": True, "pretty_exceptions_enable": False}
command_app = typer.Typer(
    help="Write a telecommand down, checked: an entry for a scenario, or for a file of telecommands.", **_settings
)
sequence_app = typer.Typer(help="Command sequences: check one, compile one for the uplink.", **_settings)
dictionary_app = typer.Typer(help="The dictionary of telecommands and telemetry.", **_settings)


class Late(StrEnum):
    """What happens to a telecommand that comes later than its time."""

    skip = "skip"
    run = "run"


# Telecommands


def _argument(field: Field) -> inspect.Parameter:
    """A field of the dictionary as an argument of the command line."""
    about = f"{field.help[:1].upper()}{field.help[1:]}" + (f", in {field.unit}" if field.unit else "") + "."
    options: dict[str, Any] = {"help": about, "show_default": False}
    hint: Any = {"int": int, "float": float, "time": float, "text": str, "bytes": str}.get(field.kind)
    if field.kind == "choice":
        hint = StrEnum(field.name, {choice: choice for choice in field.choices})
    elif field.kind in ("text", "bytes"):
        options["help"] = f"{about[:-1]}; {field.range}{', hexadecimal' if field.kind == 'bytes' else ''}."
    else:
        options |= {"min": field.low if field.kind == "float" else int(field.low), "max": field.high}
    kind = inspect.Parameter.POSITIONAL_OR_KEYWORD
    return inspect.Parameter(field.name, kind, annotation=Annotated[hint, typer.Argument(**options)])


def _options(declared: Definition) -> list[inspect.Parameter]:
    """What can be said of every telecommand, and of one that may wait on board."""
    hours: dict[str, Any] = {"min": 0.0, "show_default": False}
    options: dict[str, Any] = {
        "at_h": (float, 0.0, typer.Option(help="Sent not before this mission hour.", **hours)),
        "confirm": (bool, False, typer.Option("--confirm", help="Mean it: for vital and critical telecommands.")),
        "out": (Path | None, None, typer.Option("--out", "-o", help="File to append it to; stdout without.")),
        "spool": (Path | None, None, typer.Option("--spool", help="Spool of a running station: it is sent.")),
    }
    if declared.name not in NOT_IN_THE_SCHEDULE:
        options["execute_h"] = (float | None, None, typer.Option(help="Executed on board at this hour.", **hours))
        options["if_late"] = (Late, Late.skip, typer.Option(help="What happens if it comes later than that."))
    kind = inspect.Parameter.KEYWORD_ONLY
    return [
        inspect.Parameter(name, kind, default=default, annotation=Annotated[hint, option])
        for name, (hint, default, option) in options.items()
    ]


def _command(declared: Definition) -> Callable[..., None]:
    """The command that writes one telecommand down."""
    names = [field.name for field in declared.fields]

    def write(confirm: bool, out: Path | None, spool: Path | None, **given: Any) -> None:
        with told():
            plain = {name: value.value if isinstance(value, StrEnum) else value for name, value in given.items()}
            args = {name: plain.pop(name) for name in names}
            order = CommandOrder(name=declared.name, args=args, **plain)
            order.telecommand(declared.name)
            if declared.criticality != "normal" and not confirm:
                raise ConfigError(f"{declared.name} is {declared.criticality}: repeat it with --confirm")
            if spool is not None:
                path = put(spool, f"{declared.name}.toml", entry(order).encode())
                typer.echo(f"{path}: waits for the station")
            if out is None and spool is None:
                typer.echo(entry(order), nl=False)
            if out is not None:
                with out.open("a", encoding="utf-8") as file:
                    file.write(("\n" if file.tell() else "") + entry(order))
                typer.echo(f"{out}: {declared.name} added")

    parameters = [*map(_argument, declared.fields), *_options(declared)]
    write.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    write.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
    return write


def _about(declared: Definition) -> str:
    needs = {
        "normal": "",
        "vital": " VITAL: needs --confirm.",
        "critical": " CRITICAL: needs --confirm here, and `arm` before it on board.",
    }
    return declared.help.replace("`", "") + needs[declared.criticality].replace("`", "")


for _declared in TELECOMMANDS:
    command_app.command(_declared.name, help=_about(_declared))(_command(_declared))


# Sequences

SequenceFile = Annotated[Path, typer.Argument(metavar="FILE", help="A sequence: TOML, or compiled.")]


def _facts(path: Path) -> tuple[dict[str, Any], bytes]:
    if path.suffix == ".toml":
        order = read_sequence(path)
        data, about = pack_sequence(order.sequence("sequence")), order.description
    else:
        data, about = path.read_bytes()[: 1 << 16], ""
    sequence = unpack_sequence(data)  # what flight would refuse is not sent
    at_s, steps = 0.0, {}
    for number, step in enumerate(sequence.steps, 1):
        at_s += step.after_s
        args = " ".join(f"{key}={value}" for key, value in step.command.args.items())
        steps[f"{number}"] = f"+{at_s:g} s  {step.command.name} {args} ({len(embed(step.command))} bytes)"
    facts = {"sequence_id": sequence.sequence_id, "description": about, "bytes": len(data), "lasts_s": at_s}
    return {**facts, "step": steps, "airtime_s": airtime_s(len(data))}, data


@sequence_app.command("check")
def sequence_check(file: SequenceFile, as_json: AsJson = False) -> None:
    """Check a sequence whole, as flight does before it runs any of it, and list its steps."""
    with told():
        show(f"{file}", _facts(file)[0], as_json)


@sequence_app.command("compile")
def sequence_compile(file: SequenceFile, out: Out) -> None:
    """Compile a sequence for the uplink."""
    with told():
        facts, data = _facts(file)
        write_bytes(out, data)
        typer.echo(f"wrote {out}: sequence {facts['sequence_id']}, {len(facts['step'])} steps, {len(data)} bytes")


# Dictionary and log


@dictionary_app.command("page")
def dictionary_page() -> None:
    """Print the dictionary as Markdown."""
    typer.echo(reference.page())


@dictionary_app.command("xtce")
def dictionary_xtce(out: Out) -> None:
    """Write the dictionary as XTCE 1.2, for other ground systems."""
    with told():
        write_bytes(out, xtce.document().encode())
        typer.echo(f"wrote {out}: XTCE 1.2, {len(TELECOMMANDS)} telecommands and all that comes down")


def log(
    directory: Annotated[Path, typer.Argument(help="The station's archive, such as runs/demo/ground.")],
    kind: Annotated[str | None, typer.Option(help="Only these: event, telemetry, acknowledgement.")] = None,
    name: Annotated[str | None, typer.Option(help="Only packets of this name.")] = None,
) -> None:
    """Print what came down, a line a packet: mission time of its arrival, kind, name, values."""
    with told(), (directory / LOG).open(encoding="utf-8") as lines:
        for line in lines:
            if not line.endswith("\n"):
                return
            t_s, of, called, values = json.loads(line)
            if kind in (None, of) and name in (None, called):
                text = "  ".join(f"{key}={_short(value)}" for key, value in values.items())
                typer.echo(f"{clock(t_s)}  {of:<15}  {called:<18}  {text}")


def _short(value: Any) -> str:
    return f"{value:.3f}" if isinstance(value, float) else str(value)
