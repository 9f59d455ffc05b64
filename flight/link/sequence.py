"""A command sequence as a file: telecommands with the delay before each, all of them valid by the dictionary.

Behind the envelope of `flight.link.pack`: sequence number, number of steps, and for each step its delay in
milliseconds, the length of its telecommand, and the telecommand as `flight.link.dictionary.embed` makes it. A sequence
may not start sequences or fill the schedule, so what it does is in its file.
"""

from __future__ import annotations

from dataclasses import dataclass

from flight.link import dictionary, pack
from flight.link.definitions import MAX_EMBEDDED_BYTES, OF_THE_LINK, U16
from flight.link.dictionary import Telecommand
from flight.link.errors import LinkError
from flight.link.pack import CodecError

MAX_STEPS = 64
MAX_DELAY_S = 7 * 86400.0
NOT_IN_A_SEQUENCE = ("schedule", "start-sequence", *OF_THE_LINK)


@dataclass(frozen=True)
class SequenceStep:
    """A telecommand, executed `after_s` after the step before it, or after the start; kept to milliseconds."""

    after_s: float
    command: Telecommand


@dataclass(frozen=True)
class Sequence:
    """Steps under a number, 1 to 65535; one that comes later with the same number replaces it."""

    sequence_id: int
    steps: tuple[SequenceStep, ...]


def pack_sequence(sequence: Sequence) -> bytes:
    """The file; CodecError names the step that cannot be in it."""
    writer = pack.Writer(pack.SEQUENCE)
    writer.integer(_within("sequence_id", sequence.sequence_id, 1, U16))
    writer.integer(_within("number of steps", len(sequence.steps), 1, MAX_STEPS))
    content = b""
    for number, step in enumerate(sequence.steps, 1):
        if not 0 <= step.after_s <= MAX_DELAY_S:
            raise CodecError(f"sequence: step {number}: after_s {step.after_s!r} is not between 0 and {MAX_DELAY_S:g}")
        try:
            command = dictionary.embed(step.command)
        except LinkError as error:
            raise CodecError(f"sequence: step {number}: {error}") from None
        _check(number, step.command, command)
        delay_ms = round(step.after_s * 1000)
        writer.integer(delay_ms, len(command))
        writer.raw(command)
        content += delay_ms.to_bytes(4, "big") + command
    return writer.finish(pack.crc((sequence.sequence_id, len(sequence.steps)), content))


def unpack_sequence(data: bytes) -> Sequence:
    """The sequence in a file, every step checked against the dictionary; CodecError otherwise."""
    reader = pack.Reader(pack.SEQUENCE, data)
    sequence_id = reader.integer("its number", 1, U16)
    n_steps = reader.integer("its number of steps", 1, MAX_STEPS)
    steps, content = [], b""
    for number in range(1, n_steps + 1):
        delay_ms = reader.integer(f"the delay of step {number}", 0, int(MAX_DELAY_S * 1000))
        command = reader.raw(f"step {number}", reader.integer(f"the length of step {number}", 1, MAX_EMBEDDED_BYTES))
        content += delay_ms.to_bytes(4, "big") + command
        try:
            decoded = dictionary.extract(command)
        except LinkError as error:
            raise reader.error(f"step {number}: {error}") from None
        _check(number, decoded, command)
        steps.append(SequenceStep(delay_ms / 1000, decoded))
    reader.finish(pack.crc((sequence_id, n_steps), content))
    return Sequence(sequence_id, tuple(steps))


def _within(what: str, value: int, low: int, high: int) -> int:
    if not low <= value <= high:
        raise CodecError(f"sequence: {what} is {value}, not between {low} and {high}")
    return value


def _check(number: int, command: Telecommand, embedded: bytes) -> None:
    if command.name in NOT_IN_A_SEQUENCE:
        raise CodecError(f"sequence: step {number}: {command.name} may not be in a sequence")
    if len(embedded) > MAX_EMBEDDED_BYTES:
        raise CodecError(f"sequence: step {number}: {command.name} takes {len(embedded)} bytes of {MAX_EMBEDDED_BYTES}")
