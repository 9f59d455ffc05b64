"""What an operator writes: telecommands and sequences as TOML, checked against the dictionary with the path of a fault.

A file of telecommands holds ``[[commands]]`` as a scenario does; a sequence file holds one sequence.
"""

from __future__ import annotations

import json
import tomllib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from flight.config import ConfigError, build, described, limited
from flight.link.definitions import LATE, U16
from flight.link.dictionary import Telecommand, embed, telecommand
from flight.link.errors import LinkError
from flight.link.pack import CodecError
from flight.link.packet import FileKind
from flight.link.sequence import MAX_DELAY_S, Sequence, SequenceStep, pack_sequence
from flight.link.transfer import File
from flight.schedule import NOT_IN_THE_SCHEDULE
from ground.station import Order, Tagged

T = TypeVar("T")
MAX_TEXT_BYTES = 1 << 20


@dataclass(frozen=True)
class CommandOrder:
    """A telecommand, sent not before `at_h`; with `execute_h`, into the schedule on board."""

    name: str
    at_h: float = limited(0.0, 0, 10000, "not before this mission hour")
    args: dict[str, Any] = field(
        default_factory=dict,
        metadata={"help": "its arguments by name (`swath-ground command NAME --help`); bytes as hexadecimal text"},
    )
    execute_h: float | None = limited(None, 0, 10000, "mission hour at which it is executed; at once without")
    if_late: str = described("skip", "what happens if it comes later than that: skip, run")

    def telecommand(self, path: str) -> Telecommand:
        """The telecommand; ConfigError if the dictionary does not allow it."""
        command = checked(self.name, self.args, path)
        if self.if_late not in LATE:
            raise ConfigError(f"{path}.if_late: {self.if_late!r} is not one of {', '.join(LATE)}")
        if self.execute_h is not None and self.name in NOT_IN_THE_SCHEDULE:
            raise ConfigError(f"{path}.execute_h: {self.name} may not be in the schedule")
        if self.execute_h is not None and self.execute_h < self.at_h:
            raise ConfigError(f"{path}.execute_h: {self.execute_h:g} is before at_h = {self.at_h:g}")
        return command

    def order(self) -> Order:
        """The order to the station; mission time in seconds."""
        command = self.telecommand("commands")
        if self.execute_h is None:
            return Order(self.at_h * 3600, command)
        return Order(self.at_h * 3600, Tagged(self.execute_h * 3600, self.if_late, command))


@dataclass(frozen=True)
class StepOrder:
    """A step of a sequence."""

    command: str
    after_s: float = limited(0.0, 0, MAX_DELAY_S, "after the step before it, or after the start")
    args: dict[str, Any] = field(default_factory=dict, metadata={"help": "arguments of the telecommand, by name"})


@dataclass(frozen=True)
class SequenceOrder:
    """A command sequence, uploaded not before `at_h`; `start-sequence` runs it.

    Its steps are here, or in a sequence file that `file` names, beside the scenario's own.
    """

    sequence_id: int = limited(1, 1, U16, "its number on board; one with the same number replaces it")
    at_h: float = limited(0.0, 0, 10000, "uploaded not before this mission hour")
    description: str = described("", "one line")
    steps: tuple[StepOrder, ...] = ()

    def sequence(self, path: str) -> Sequence:
        """The sequence; ConfigError with the path of a step that cannot be in it."""
        steps = tuple(
            SequenceStep(step.after_s, checked(step.command, step.args, f"{path}.steps[{i}]"))
            for i, step in enumerate(self.steps)
        )
        made = Sequence(self.sequence_id, steps)
        try:
            pack_sequence(made)
        except CodecError as error:
            raise ConfigError(f"{path}: {error}") from None
        return made

    def order(self) -> Order:
        """The order to the station."""
        data = pack_sequence(self.sequence("sequences"))
        return Order(self.at_h * 3600, File(f"sequence-{self.sequence_id}", FileKind.SEQUENCE, data))


def checked(name: str, args: Mapping[str, Any], path: str) -> Telecommand:
    """A telecommand as the dictionary declares it, bytes from hexadecimal text; ConfigError names what does not fit."""
    try:
        kinds = {each.name: each.kind for each in telecommand(name).fields}
        values = {key: _octets(value) if kinds.get(key) == "bytes" else value for key, value in args.items()}
        command = Telecommand(name, values)
        embed(command)
    except LinkError as error:
        raise ConfigError(f"{path}: {error}") from None
    return command


def _octets(value: Any) -> Any:
    try:
        return bytes.fromhex(value) if isinstance(value, str) else value
    except ValueError:
        raise LinkError(f"{value!r} is not hexadecimal") from None


@dataclass(frozen=True)
class CommandFile:
    """A file of telecommands."""

    commands: tuple[CommandOrder, ...] = ()


def read_toml(path: Path) -> dict[str, Any]:
    """The values in a TOML file; ConfigError says what is wrong with it."""
    try:
        if path.stat().st_size > MAX_TEXT_BYTES:
            raise ConfigError(f"{path}: has more than {MAX_TEXT_BYTES} bytes")
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(f"{path}: {error.strerror}") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: {error}") from None


def read_commands(path: Path) -> tuple[CommandOrder, ...]:
    """The telecommands in a file, each of them checked."""
    return _in_file(path, lambda: _checked_commands(build(CommandFile, read_toml(path)).commands))


def _checked_commands(commands: tuple[CommandOrder, ...]) -> tuple[CommandOrder, ...]:
    for i, command in enumerate(commands):
        command.telecommand(f"commands[{i}]")
    return commands


def read_sequence(path: Path) -> SequenceOrder:
    """The sequence in a file, every step checked."""

    def read() -> SequenceOrder:
        order = build(SequenceOrder, read_toml(path))
        order.sequence("sequence")
        return order

    return _in_file(path, read)


def _in_file(path: Path, read: Callable[[], T]) -> T:
    try:
        return read()
    except ConfigError as error:
        text = str(error)
        raise ConfigError(text if text.startswith(f"{path}: ") else f"{path}: {text}") from None


def entry(order: CommandOrder) -> str:
    """A telecommand as an entry of a file of telecommands, or of a scenario."""
    lines = ["[[commands]]", f"name = {json.dumps(order.name)}", f"at_h = {order.at_h!r}"]
    if order.execute_h is not None:
        lines += [f"execute_h = {order.execute_h!r}", f"if_late = {json.dumps(order.if_late)}"]
    if order.args:
        inline = ", ".join(f"{key} = {json.dumps(value)}" for key, value in order.args.items())
        lines.append(f"args = {{ {inline} }}")
    return "\n".join(lines) + "\n"
