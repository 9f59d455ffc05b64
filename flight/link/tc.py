"""TC transfer frames, Type-BD (CCSDS 232.0-B-4): the primary header of the uplink.

    bits  0-1   transfer frame version number, 00 (4.1.2.2)
    bit   2     bypass flag, 1: Type-B, acceptance checks of COP-1 are bypassed (4.1.2.3.1)
    bit   3     control command flag, 0: Type-D, data (4.1.2.3.2)
    bits  4-5   reserved, 00 (4.1.2.4)
    bits  6-15  spacecraft identifier (4.1.2.5)
    bits 16-21  virtual channel identifier (4.1.2.6)
    bits 22-31  frame length: bytes of the whole frame less one (4.1.2.7)
    bits 32-39  frame sequence number (4.1.2.8): zeros, because COP-1 (232.1-B) counts Type-A
                frames only; not looked at by the receiver

There is no segment header (4.1.3.2): a channel without it may block whole packets into one frame, and no packet here
is longer than a frame. What a count of frames would tell, the anti-replay counter tells.
"""

from __future__ import annotations

import struct

from flight.link.errors import RejectedError
from flight.link.frame import SECURITY_HEADER, TRAILER_BYTES, Header, check_crc, known_channel

_HEADER = struct.Struct(">HHB")
HEADER_BYTES = _HEADER.size
OVERHEAD_BYTES = HEADER_BYTES + SECURITY_HEADER.size + TRAILER_BYTES  # 28
_TYPE_BD = 0b0010
_TYPE_MASK = 0b1111_11  # version, bypass, control command, reserved


def pack_header(spacecraft_id: int, channel: int, frame_bytes: int) -> bytes:
    """The primary header of a frame that is `frame_bytes` long in all."""
    return _HEADER.pack(_TYPE_BD << 12 | spacecraft_id, channel << 10 | frame_bytes - 1, 0)


def parse(data: bytes, max_frame_bytes: int) -> Header:
    """The header of a received frame, of which nothing is authentic yet; `RejectedError` if it is not a frame."""
    if len(data) <= OVERHEAD_BYTES:  # the data field is mandatory (4.1.1.1 b)
        raise RejectedError("too_short", f"{len(data)} bytes, the shortest frame has {OVERHEAD_BYTES + 1}")
    if len(data) > max_frame_bytes:
        raise RejectedError("too_long", f"{len(data)} bytes, the longest frame has {max_frame_bytes}")
    check_crc(data)
    first, second, _ = _HEADER.unpack_from(data)
    if first >> 10 & _TYPE_MASK != _TYPE_BD << 2:
        raise RejectedError("bad_header", f"{data[:HEADER_BYTES].hex()} is not the header of a Type-BD frame")
    if (second & 0x3FF) + 1 != len(data):
        raise RejectedError("bad_length", f"the header says {(second & 0x3FF) + 1} bytes, the frame has {len(data)}")
    return Header(first & 0x3FF, known_channel(second >> 10), HEADER_BYTES)
