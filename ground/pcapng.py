"""The few blocks of pcapng that a capture of frames needs (draft-ietf-opsawg-pcapng), little endian.

Every block is its type, its whole length, a body padded to 32 bits, and the length again; so a file that was cut off
ends in a block that is short, and everything before it stands.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Mapping
from typing import BinaryIO, NamedTuple

SECTION, INTERFACE, STATISTICS, PACKET = 0x0A0D0D0A, 1, 5, 6
COMMENT, USER_APPLICATION, INTERFACE_NAME, TIME_RESOLUTION, FLAGS = 1, 4, 2, 9, 2  # option codes, by kind of block
USER0 = 147  # LINKTYPE_USER0: Wireshark lets the user say what it is
NANOSECONDS = b"\x09"  # if_tsresol: 10 to the minus 9
INBOUND, OUTBOUND = 1, 2  # epb_flags, bits 0 and 1
BYTE_ORDER = 0x1A2B3C4D
MAX_BLOCK_BYTES = 1 << 16

_HEAD = struct.Struct("<II")
_SECTION = struct.Struct("<IHHq")
_INTERFACE = struct.Struct("<HHI")
_PACKET = struct.Struct("<IIIII")
_STATISTICS = struct.Struct("<III")
_OPTION = struct.Struct("<HH")

Options = Mapping[int, bytes]


class PcapngError(ValueError):
    """Bytes that are not the blocks of a pcapng file; the message says where in the file."""


class Packet(NamedTuple):
    """What an Enhanced Packet Block holds (4.3): interface, time [ns since 1970], data and options."""

    interface: int
    unix_ns: int
    data: bytes
    options: Options


def section(options: Options) -> bytes:
    """A Section Header Block (4.1) of unknown length."""
    return _block(SECTION, _SECTION.pack(BYTE_ORDER, 1, 0, -1) + _options(options))


def interface(link_type: int, snap_bytes: int, options: Options) -> bytes:
    """An Interface Description Block (4.2)."""
    return _block(INTERFACE, _INTERFACE.pack(link_type, 0, snap_bytes) + _options(options))


def packet(packet: Packet) -> bytes:
    """An Enhanced Packet Block (4.3) of a packet captured whole."""
    high, low = divmod(packet.unix_ns, 1 << 32)
    size = len(packet.data)
    head = _PACKET.pack(packet.interface, high, low, size, size)
    return _block(PACKET, head + _padded(packet.data) + _options(packet.options))


def statistics(interface: int, unix_ns: int, options: Options) -> bytes:
    """An Interface Statistics Block (4.6)."""
    high, low = divmod(unix_ns, 1 << 32)
    return _block(STATISTICS, _STATISTICS.pack(interface, high, low) + _options(options))


def blocks(file: BinaryIO) -> Iterator[tuple[int, bytes, int]]:
    """Type, body and end (offset in the file) of each whole block; stops at one that the file's end cuts off."""
    end = 0
    while len(head := file.read(_HEAD.size)) == _HEAD.size:
        kind, size = _HEAD.unpack(head)
        if size < 12 or size % 4 or size > MAX_BLOCK_BYTES:
            raise PcapngError(f"byte {end}: a block cannot have {size} bytes")
        rest = file.read(size - _HEAD.size)
        if len(rest) < size - _HEAD.size:
            return
        if rest[-4:] != head[4:]:
            raise PcapngError(f"byte {end}: a block of {size} bytes does not end with its length")
        if kind == SECTION and rest[:4] != BYTE_ORDER.to_bytes(4, "little"):
            raise PcapngError(f"byte {end}: a section in another byte order than little endian")
        end += size
        yield kind, rest[:-4], end


def read_section(body: bytes) -> Options:
    """The options of a Section Header Block."""
    return _read_options(body, _SECTION.size)


def read_packet(body: bytes) -> Packet:
    """The packet in an Enhanced Packet Block; PcapngError if its lengths do not fit."""
    if len(body) < _PACKET.size:
        raise PcapngError(f"a packet block of {len(body)} bytes")
    number, high, low, size, _ = _PACKET.unpack_from(body)
    end = _PACKET.size + size + -size % 4
    if end > len(body):
        raise PcapngError(f"a packet of {size} bytes in a block of {len(body)}")
    return Packet(number, high << 32 | low, body[_PACKET.size : _PACKET.size + size], _read_options(body, end))


def read_statistics(body: bytes) -> Options:
    """The options of an Interface Statistics Block."""
    return _read_options(body, _STATISTICS.size)


def _block(kind: int, body: bytes) -> bytes:
    size = _HEAD.size + len(body) + 4
    return _HEAD.pack(kind, size) + body + size.to_bytes(4, "little")


def _padded(data: bytes) -> bytes:
    return data + bytes(-len(data) % 4)


def _options(options: Options) -> bytes:
    return b"".join(_OPTION.pack(code, len(value)) + _padded(value) for code, value in options.items()) + bytes(4)


def _read_options(body: bytes, start: int) -> Options:
    found: dict[int, bytes] = {}
    while start + _OPTION.size <= len(body):
        code, size = _OPTION.unpack_from(body, start)
        start += _OPTION.size
        if not code:
            break
        if start + size > len(body):
            raise PcapngError(f"option {code} of {size} bytes does not fit into its block")
        found[code] = body[start : start + size]
        start += size + -size % 4
    return found
