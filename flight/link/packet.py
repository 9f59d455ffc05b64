"""Space Packets (CCSDS 133.0-B) in the data of frames.

Uplink packets are telecommand packets, downlink packets telemetry packets (133.0-B-2 4.1.3.3.2); all are unsegmented.
The APID tells what is inside; the packets of a file carry the APID of its kind. Telemetry and events, and nothing else,
have a secondary header, which is a time code field (133.0-B-2 4.1.4.2): the on-board time, see `flight.link.cuc`. Idle
packets (133.0-B-2 4.1.3.3.4.4) fill what is left of a frame, and are dropped.
"""

from __future__ import annotations

from collections.abc import Iterator
from enum import IntEnum

from spacepackets.ccsds.spacepacket import CCSDS_HEADER_LEN, PacketType, SequenceFlags, SpacePacketHeader

from flight.link.errors import RejectedError
from flight.link.frame import Direction

HEADER_BYTES: int = CCSDS_HEADER_LEN
SEQUENCE_COUNTS = 1 << 14
IDLE_APID = 0x7FF
MIN_PACKET_BYTES = HEADER_BYTES + 1


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
        self._type = PacketType.TC if direction is Direction.UPLINK else PacketType.TM
        self.counts: dict[int, int] = {}

    def pack(self, apid: int, body: bytes) -> bytes:
        """One packet around a body of at least one byte."""
        count = self.counts.get(apid, 0)
        self.counts[apid] = (count + 1) % SEQUENCE_COUNTS
        header = SpacePacketHeader(self._type, apid, count, len(body) - 1, apid in TIMED, SequenceFlags.UNSEGMENTED)
        return bytes(header.pack()) + body


def idle(size: int, direction: Direction) -> bytes:
    """An idle packet of `size` bytes in all, at least 7, filled with zeros; its sequence count stays 0."""
    kind = PacketType.TC if direction is Direction.UPLINK else PacketType.TM
    header = SpacePacketHeader(kind, IDLE_APID, 0, size - MIN_PACKET_BYTES, seq_flags=SequenceFlags.UNSEGMENTED)
    return bytes(header.pack()) + bytes(size - HEADER_BYTES)


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
    expected = PacketType.TC if direction is Direction.UPLINK else PacketType.TM
    start = 0
    while start < len(payload):
        if len(payload) - start <= HEADER_BYTES:
            raise RejectedError("bad_packet", f"{len(payload) - start} bytes left over after the last packet")
        header = SpacePacketHeader.unpack(payload[start : start + HEADER_BYTES])
        end = start + header.packet_len
        if end > len(payload):
            raise RejectedError("bad_packet", f"packet of {header.packet_len} bytes, {len(payload) - start} are left")
        if header.ccsds_version or header.seq_flags != SequenceFlags.UNSEGMENTED:
            raise RejectedError("bad_packet", "packet is segmented, or has another version")
        if header.sec_header_flag is not (header.apid in TIMED):
            raise RejectedError("bad_packet", f"APID 0x{header.apid:03x} and its secondary header flag disagree")
        if header.packet_type != expected:
            raise RejectedError("bad_packet", f"packet type is {header.packet_type.name}, expected {expected.name}")
        yield header.apid, payload[start + HEADER_BYTES : end]
        start = end
