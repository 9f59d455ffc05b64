"""TM transfer frames (CCSDS 132.0-B-3): the primary header of the downlink, and the filling of idle frames.

    bits  0-1   transfer frame version number, 00 (4.1.2.2.2)
    bits  2-11  spacecraft identifier (4.1.2.2.3)
    bits 12-14  virtual channel identifier (4.1.2.3)
    bit  15     operational control field flag, 0 (4.1.2.4): a CLCW would report on COP-1, which is not used
    byte  2     master channel frame count (4.1.2.5)
    byte  3     virtual channel frame count (4.1.2.6)
    bit  32     secondary header flag, 0 (4.1.2.7.2)
    bit  33     synchronization flag, 0: packets (4.1.2.7.3)
    bit  34     packet order flag, 0 (4.1.2.7.4)
    bits 35-36  segment length identifier, 11 (4.1.2.7.5.2)
    bits 37-47  first header pointer: where in the data field the first packet begins (4.1.2.7.6)

All frames of the link are `frame_bytes` long (4.1.1.2). The data field begins after the security header, and the
pointer counts from there (6.3). Packets may span frames.
"""

from __future__ import annotations

import struct
from functools import cache

from flight.link.errors import RejectedError
from flight.link.frame import SECURITY_HEADER, TRAILER_BYTES, Header, check_crc, known_channel

_HEADER = struct.Struct(">HBBH")
HEADER_BYTES = _HEADER.size
OVERHEAD_BYTES = HEADER_BYTES + SECURITY_HEADER.size + TRAILER_BYTES  # 29
COUNTS = 256
NO_PACKET_STARTS = 0x7FF  # 4.1.2.7.6.4
ONLY_IDLE_DATA = 0x7FE  # 4.1.2.7.6.5
_UNSEGMENTED = 0b11 << 11
_POINTER_MASK = 0x7FF
_VERSION_AND_OCF = 0b11 << 14 | 1


def pack_header(spacecraft_id: int, channel: int, master_count: int, channel_count: int, first_header: int) -> bytes:
    """The primary header of a frame."""
    identifier = spacecraft_id << 4 | channel << 1
    return _HEADER.pack(identifier, master_count % COUNTS, channel_count % COUNTS, _UNSEGMENTED | first_header)


def parse(data: bytes, frame_bytes: int) -> Header:
    """The header of a received frame, of which nothing is authentic yet; `RejectedError` if it is not a frame."""
    if len(data) != frame_bytes:
        reason = "too_short" if len(data) < frame_bytes else "too_long"
        raise RejectedError(reason, f"{len(data)} bytes, every frame has {frame_bytes}")
    check_crc(data)
    identifier, master_count, channel_count, status = _HEADER.unpack_from(data)
    pointer = status & _POINTER_MASK
    if identifier & _VERSION_AND_OCF or status != _UNSEGMENTED | pointer:
        raise RejectedError("bad_header", f"{data[:HEADER_BYTES].hex()} is not the header of a frame with packets")
    if frame_bytes - OVERHEAD_BYTES <= pointer < ONLY_IDLE_DATA:
        raise RejectedError("bad_header", f"first header pointer {pointer} is beyond the data field")
    channel = known_channel(identifier >> 1 & 0b111)
    return Header(identifier >> 4 & 0x3FF, channel, HEADER_BYTES, master_count, channel_count, pointer)


def _bit(register: int) -> int:
    """The bit that a shift register of 32 cells, D0 + D1 + D2 + D22 + D32, takes in next."""
    return (register >> 31 ^ register >> 21 ^ register >> 1 ^ register) & 1


def _next_byte(register: int) -> int:
    for _ in range(8):
        register = (register << 1 | _bit(register)) & 0xFFFFFFFF
    return register & 0xFF


@cache
def _tables() -> tuple[tuple[int, ...], ...]:
    """What each byte of the register adds to the next byte: the register is linear, so these are summed by XOR."""
    return tuple(tuple(_next_byte(value << shift) for value in range(256)) for shift in (0, 8, 16, 24))


class IdleData:
    """The pseudo-noise that fills only-idle-data frames (4.1.4.6.2): never restarted while the process lives.

    Its shift register begins with ones; its first bytes are ff ff ff ff 6d b6 d8 61 45 1f (note to 4.1.4.6.2.2).
    """

    def __init__(self) -> None:
        self._bits = 0xFFFFFFFF  # the next 32 bits to come out, the first of them on top

    def take(self, size: int) -> bytes:
        """The next `size` bytes."""
        low, second, third, high = _tables()
        out, bits = bytearray(), self._bits
        for _ in range(size):
            out.append(bits >> 24)
            added = low[bits & 255] ^ second[bits >> 8 & 255] ^ third[bits >> 16 & 255] ^ high[bits >> 24]
            bits = (bits << 8 | added) & 0xFFFFFFFF
        self._bits = bits
        return bytes(out)
