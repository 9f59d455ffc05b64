"""Packets by name: what `flight.link.definitions` declares, to and from the bodies of Space Packets.

    telecommand, acknowledgement   id (1), number (4), fields
    telemetry, event               on-board time (6; the packet's secondary header), id (1), other fields

A telecommand that waits, in a schedule or a sequence, is *embedded* without its number: id (1), fields.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from flight.link import cuc
from flight.link.definitions import ACKNOWLEDGEMENT, EVENTS, TELECOMMANDS, TELEMETRY
from flight.link.errors import LinkError, RejectedError
from flight.link.packet import TIMED, Apid
from flight.link.schema import Definition, FieldError

TABLES: dict[Apid, tuple[Definition, ...]] = {
    Apid.COMMAND: TELECOMMANDS,
    Apid.ACKNOWLEDGEMENT: (ACKNOWLEDGEMENT,),
    Apid.HOUSEKEEPING: TELEMETRY,
    Apid.EVENT: EVENTS,
}
_BY_ID = {(apid, definition.id): definition for apid, table in TABLES.items() for definition in table}
_BY_NAME = {definition.name: (apid, definition) for apid, table in TABLES.items() for definition in table}
_NUMBER_BYTES = 4


@dataclass(frozen=True)
class Telecommand:
    """A telecommand by name, with its arguments; without a number the endpoint gives it the next one."""

    name: str
    args: Mapping[str, Any]
    number: int | None = None


@dataclass(frozen=True)
class Telemetry:
    """A telemetry packet or event by name, with its values."""

    name: str
    values: Mapping[str, Any]


def definition(name: str) -> tuple[Apid, Definition]:
    """APID and definition of a packet; LinkError if the dictionary has none of that name."""
    if name not in _BY_NAME:
        raise LinkError(f"{name}: not in the dictionary; known are {', '.join(_BY_NAME)}")
    return _BY_NAME[name]


def telecommand(name: str) -> Definition:
    """Definition of a telecommand; LinkError if there is none of that name."""
    if _BY_NAME.get(name, (None,))[0] is not Apid.COMMAND:
        raise LinkError(f"{name!r} is no telecommand; known are {', '.join(each.name for each in TELECOMMANDS)}")
    return _BY_NAME[name][1]


def encode(name: str, values: Mapping[str, Any], number: int = 0) -> tuple[int, bytes]:
    """APID and body of a packet; FieldError, with the path of the field, if the values are not as declared."""
    apid, declared = definition(name)
    parts = declared.pack(values)
    if apid in TIMED:
        return apid, parts[0] + bytes([declared.id]) + b"".join(parts[1:])
    return apid, bytes([declared.id]) + number.to_bytes(_NUMBER_BYTES, "big") + b"".join(parts)


def decode(apid: int, body: bytes) -> tuple[Definition, int, dict[str, Any]]:
    """Definition, number (0 for telemetry) and values of a packet body; `RejectedError` if it is not as declared."""
    packet_id, number, fields = _split(apid, body)
    declared = _BY_ID.get((Apid(apid), packet_id))
    if declared is None:
        raise RejectedError("unknown_id", f"APID 0x{apid:02x} has no packet {packet_id}")
    try:
        return declared, number, declared.unpack(fields)
    except FieldError as error:
        raise RejectedError("bad_field", str(error)) from None


def _split(apid: int, body: bytes) -> tuple[int, int, bytes]:
    """Id, number and fields of a body."""
    head = cuc.BYTES if apid in TIMED else 1 + _NUMBER_BYTES
    if len(body) < head + (apid in TIMED):
        raise RejectedError("bad_body", f"packet body of {len(body)} bytes is too short for its header")
    if apid in TIMED:
        return body[head], 0, body[:head] + body[head + 1 :]
    return body[0], int.from_bytes(body[1:head], "big"), body[head:]


def command_head(body: bytes) -> tuple[int, int]:
    """Id and number of a telecommand, whatever follows them; `RejectedError` if it is too short."""
    return _split(Apid.COMMAND, body)[:2]


def embed(command: Telecommand) -> bytes:
    """A telecommand without its number, for a schedule or a sequence; LinkError if it is not as declared."""
    declared = telecommand(command.name)
    return bytes([declared.id]) + b"".join(declared.pack(command.args))


def extract(data: bytes) -> Telecommand:
    """The telecommand in what `embed` made; LinkError if there is none, or its arguments are not as declared."""
    declared = _BY_ID.get((Apid.COMMAND, data[0])) if data else None
    if declared is None:
        raise LinkError(f"telecommand id {data[0] if data else 'missing'} is unknown")
    return Telecommand(declared.name, declared.unpack(data[1:]))


def command_name(command_id: int) -> str:
    """The name of a telecommand; "unknown" if there is none with this id."""
    declared = _BY_ID.get((Apid.COMMAND, command_id))
    return declared.name if declared else "unknown"


def body_bytes(apid: Apid, declared: Definition) -> int:
    """Bytes of the largest body of a packet."""
    return 1 + (0 if apid in TIMED else _NUMBER_BYTES) + declared.fields_bytes


def largest_body_bytes(apid: int) -> int:
    """Bytes of the largest packet body that the dictionary allows with this APID."""
    return max(body_bytes(Apid(apid), declared) for declared in TABLES[Apid(apid)])
