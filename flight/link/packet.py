"""Space Packets (CCSDS 133.0-B) in the data of frames.

Uplink packets are telecommand packets, downlink packets telemetry packets (133.0-B-2 4.1.3.3.2); all are unsegmented.
The APID tells what is inside; the packets of a file carry the APID of its kind. Telemetry and events, and nothing else,
have a secondary header, which is a time code field (133.0-B-2 4.1.4.2): the on-board time, see `flight.link.cuc`. Idle
packets (133.0-B-2 4.1.3.3.4.4) fill what is left of a frame, and are dropped.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from enum import IntEnum

from flight.link.errors import RejectedError
from flight.link.frame import Direction

HEADER_BYTES = 6
SEQUENCE_COUNTS = 1 << 14
IDLE_APID = 0x7FF
MIN_PACKET_BYTES = HEADER_BYTES + 1
_HEADER = struct.Struct(">3H")  # 4.1.3: version, type, secondary header flag, APID; sequence; length of the data less 1
_SECONDARY = 1 << 11
_UNSEGMENTED = 3 << 14


class PacketType(IntEnum):
    """4.1.3.3.2."""

    TM = 0
    TC = 1


class Apid(IntEnum):
    """Application process ids of what is not a file."""

    COMMAND = 0x10
    ACKNOWLEDGEMENT = 0x11
    HOUSEKEEPING = 0x12
    EVENT = 0x13
    FILE_REPORT = 0x20


TIMED = frozenset((Apid.HOUSEKEEPING, Apid.EVENT))  # with a secondary header


class FileKind(IntEnum):
    """What a file is, and the APID of the packets that it travels in."""

    REGION = 0x41
    LABEL_SET = 0x42
    UPDATE = 0x43
    MODEL = 0x44
    PRODUCT = 0x45
    SEQUENCE = 0x46
    EVENT_LOG = 0x47
    MUNICIPAL_PRODUCT = 0x48


_PURPOSES: dict[int, Apid | FileKind] = {**{apid: apid for apid in Apid}, **{kind: kind for kind in FileKind}}


def purpose(apid: int) -> Apid | FileKind:
    """What the APID stands for; `RejectedError` if nothing."""
    found = _PURPOSES.get(apid)
    if found is None:
        raise RejectedError("unknown_apid", f"APID 0x{apid:03x} is not in use")
    return found


def label(apid: int) -> str:
    """The APID's name as reports write it, for example "label set"."""
    return "idle" if apid == IDLE_APID else purpose(apid).name.lower().replace("_", " ")


class Packer:
    """Puts Space Packet headers on the packets of one direction, counting each APID's packets modulo 16384."""

    def __init__(self, direction: Direction) -> None:
        self._type = _type(direction)
        self.counts: dict[int, int] = {}

    def pack(self, apid: int, body: bytes) -> bytes:
        """One packet around a body of at least one byte."""
        count = self.counts.get(apid, 0)
        self.counts[apid] = (count + 1) % SEQUENCE_COUNTS
        return (
            _HEADER.pack(self._type << 12 | _SECONDARY * (apid in TIMED) | apid, _UNSEGMENTED | count, len(body) - 1)
            + body
        )


def _type(direction: Direction) -> PacketType:
    return PacketType.TC if direction is Direction.UPLINK else PacketType.TM


def idle(size: int, direction: Direction) -> bytes:
    """An idle packet of `size` bytes in all, at least 7, filled with zeros; its sequence count stays 0."""
    header = _HEADER.pack(_type(direction) << 12 | IDLE_APID, _UNSEGMENTED, size - MIN_PACKET_BYTES)
    return header + bytes(size - HEADER_BYTES)


def whole(data: bytes) -> int:
    """How many bytes of `data`, which begins with a packet, are whole packets, by the lengths in their headers."""
    end = 0
    while end + HEADER_BYTES <= len(data):
        size = int.from_bytes(data[end + 4 : end + HEADER_BYTES], "big") + MIN_PACKET_BYTES
        if end + size > len(data):
            break
        end += size
    return end


def split(payload: bytes, direction: Direction) -> Iterator[tuple[int, bytes]]:
    """The (APID, body) of each packet, idle ones too; ends with `RejectedError` at the first that does not fit."""
    expected = _type(direction)
    start = 0
    while start < len(payload):
        if len(payload) - start <= HEADER_BYTES:
            raise RejectedError("bad_packet", f"{len(payload) - start} bytes left over after the last packet")
        identification, sequence, length = _HEADER.unpack_from(payload, start)
        apid, size = identification & 0x7FF, length + MIN_PACKET_BYTES
        end = start + size
        if end > len(payload):
            raise RejectedError("bad_packet", f"packet of {size} bytes, {len(payload) - start} are left")
        if identification >> 13 or sequence & _UNSEGMENTED != _UNSEGMENTED:
            raise RejectedError("bad_packet", "packet is segmented, or has another version")
        if bool(identification & _SECONDARY) is not (apid in TIMED):
            raise RejectedError("bad_packet", f"APID 0x{apid:03x} and its secondary header flag disagree")
        if (found := PacketType(identification >> 12 & 1)) is not expected:
            raise RejectedError("bad_packet", f"packet type is {found.name}, expected {expected.name}")
        yield apid, payload[start + HEADER_BYTES : end]
        start = end
