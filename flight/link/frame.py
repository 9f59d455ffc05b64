"""What the transfer frames of both directions share: virtual channels, the security fields and the error control field.

A frame is a primary header (``tc`` up, ``tm`` down), a security header, data, a tag and a CRC:

    ...      primary header: 5 bytes (232.0-B-4 4.1.2) or 6 bytes (132.0-B-3 4.1.2)
    1 byte   key id              } security header: SDLS-shaped (355.0-B-2 4.1.1), it is not SDLS
    4 bytes  low 32 counter bits }
    ...      data: Space Packets
    16 bytes tag                   security trailer (shaped like 355.0-B-2 4.1.2)
    2 bytes  CRC-16                frame error control field (232.0-B-4 4.1.4, 132.0-B-3 4.1.6)
"""

from __future__ import annotations

import binascii
import struct
from dataclasses import dataclass
from enum import IntEnum

from flight.link.errors import RejectedError

SECURITY_HEADER = struct.Struct(">BI")
TAG_BYTES = 16
CRC_BYTES = 2
TRAILER_BYTES = TAG_BYTES + CRC_BYTES
COUNTER_MASK = 0xFFFFFFFF


class Direction(IntEnum):
    """Which way a frame goes."""

    UPLINK = 0
    DOWNLINK = 1

    @property
    def other(self) -> Direction:
        """The way back."""
        return Direction(1 - self)


class Channel(IntEnum):
    """Virtual channels, the same ids both ways, the most urgent first."""

    OPERATIONS = 0  # up: telecommands; down: acknowledgements, housekeeping and events
    FILE_REPORTS = 1  # what the receiver of a file answers
    FILE_DATA = 2  # what the sender of a file says


@dataclass(frozen=True, slots=True)
class Header:
    """The fields of a primary header that vary, and where the security header begins.

    The frame counts and the pointer exist in TM frames alone; TC frames have zeros here.
    """

    spacecraft_id: int
    channel: Channel
    security_at: int
    master_count: int = 0
    channel_count: int = 0
    first_header: int = 0


@dataclass(frozen=True, slots=True)
class Frame:
    """An authentic frame: its header, its whole counter, the key it came with, and its data."""

    header: Header
    counter: int
    key_id: int
    data: bytes


def crc16(data: bytes) -> int:
    """CRC-16/CCITT-FALSE (232.0-B-4 4.1.4.2, 132.0-B-3 4.1.6.2); check value over b"123456789" is 0x29B1."""
    return binascii.crc_hqx(data, 0xFFFF)


def with_crc(body: bytes) -> bytes:
    """A whole frame from all that stands before its frame error control field."""
    return body + crc16(body).to_bytes(CRC_BYTES, "big")


def check_crc(data: bytes) -> None:
    """`RejectedError` unless the frame error control field fits: the CRC over a frame that includes it is zero."""
    if binascii.crc_hqx(data, 0xFFFF):
        raise RejectedError("bad_crc", f"frame of {len(data)} bytes fails its CRC")


def known_channel(number: int) -> Channel:
    """The virtual channel with this id; `RejectedError` if it is not in use."""
    if number >= len(Channel):
        raise RejectedError("bad_channel", f"there is no virtual channel {number}")
    return Channel(number)
