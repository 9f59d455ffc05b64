"""Swath frames: one unit on the radio, at most `frame_bytes` long, checked by a CRC and carrying an SDLS-shaped tag.

These are not CCSDS transfer frames. The layout, big endian:

    bits  0-2   version, 0b101 (no CCSDS transfer frame version starts so)
    bit   3     direction: 0 uplink, 1 downlink, so that an end refuses its own frames when they are reflected
    bits  4-5   spare, zero
    bits  6-15  spacecraft id
    byte  2     virtual channel: 0 packets, 7 idle
    bytes 3-4   length of the whole frame
    byte  5     key id              } security header, shaped like SDLS (CCSDS 355.0-B)
    bytes 6-9   low 32 counter bits }
    ...         payload: whole Space Packets, or nothing on the idle channel
    16 bytes    tag
    2 bytes     CRC-16/CCITT-FALSE of all before (132.0-B 4.1.6.2: polynomial 0x1021, preset to ones)
"""

from __future__ import annotations

import binascii
import struct
from dataclasses import dataclass
from enum import IntEnum

from flight.link.errors import RejectedError

VERSION = 0b101
HEADER = struct.Struct(">HBHBI")
TAG_BYTES = 16
CRC_BYTES = 2
OVERHEAD_BYTES = HEADER.size + TAG_BYTES + CRC_BYTES  # 28
COUNTER_MASK = 0xFFFFFFFF


class Direction(IntEnum):
    """Which way a frame goes."""

    UPLINK = 0
    DOWNLINK = 1


class Channel(IntEnum):
    """Virtual channels: packets, and idle for frames that only say that someone is there."""

    PACKETS = 0
    IDLE = 7


@dataclass(frozen=True, slots=True)
class Frame:
    """The fields of a frame; `counter_low` is the low half of the anti-replay counter."""

    direction: Direction
    spacecraft_id: int
    channel: Channel
    key_id: int
    counter_low: int
    payload: bytes
    tag: bytes = bytes(TAG_BYTES)

    def covered(self) -> bytes:
        """What the tag protects besides the full counter: header and payload."""
        word = VERSION << 13 | self.direction << 12 | self.spacecraft_id
        length = OVERHEAD_BYTES + len(self.payload)
        return HEADER.pack(word, self.channel, length, self.key_id, self.counter_low) + self.payload


def seal(covered: bytes, tag: bytes) -> bytes:
    """A whole frame from what the tag covers and the tag."""
    body = covered + tag
    return body + struct.pack(">H", crc16(body))


def crc16(data: bytes) -> int:
    """CRC-16/CCITT-FALSE; check value over b"123456789" is 0x29B1."""
    return binascii.crc_hqx(data, 0xFFFF)


def parse(data: bytes, frame_bytes: int) -> Frame:
    """The fields of a received frame, of which nothing is authentic yet; `RejectedError` if it is not one."""
    if len(data) < OVERHEAD_BYTES:
        raise RejectedError("too_short", f"{len(data)} bytes, the shortest frame has {OVERHEAD_BYTES}")
    if len(data) > frame_bytes:
        raise RejectedError("too_long", f"{len(data)} bytes, the longest frame has {frame_bytes}")
    if crc16(data[:-CRC_BYTES]) != int.from_bytes(data[-CRC_BYTES:], "big"):
        raise RejectedError("bad_crc", f"frame of {len(data)} bytes fails its CRC")
    word, channel, length, key_id, counter_low = HEADER.unpack_from(data)
    if word >> 13 != VERSION or word >> 10 & 0b11:
        raise RejectedError("bad_version", f"first byte is 0x{data[0]:02x}")
    if length != len(data):
        raise RejectedError("bad_length", f"the header says {length} bytes, the frame has {len(data)}")
    end = len(data) - CRC_BYTES - TAG_BYTES
    try:
        virtual_channel = Channel(channel)
    except ValueError:
        raise RejectedError("bad_channel", f"there is no virtual channel {channel}") from None
    return Frame(
        Direction(word >> 12 & 1),
        word & 0x3FF,
        virtual_channel,
        key_id,
        counter_low,
        bytes(data[HEADER.size : end]),
        bytes(data[end : end + TAG_BYTES]),
    )
