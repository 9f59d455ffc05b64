"""CFDP PDUs to bytes and back (727.0-B-5 clause 5)."""

from __future__ import annotations

import binascii
import struct
from collections.abc import Iterator
from itertools import pairwise

from flight.link.cfdp.pdu import (
    CRC_BYTES,
    Ack,
    Acknowledged,
    Condition,
    Eof,
    FileData,
    FileStatus,
    Finished,
    KeepAlive,
    Metadata,
    Nak,
    Pdu,
    Prompt,
    Status,
    Transaction,
    shortest_width,
)
from flight.link.errors import RejectedError

VERSION = 0b001  # 5.1: version 2 of the protocol
_TOWARDS_SENDER, _UNACKNOWLEDGED, _CRC, _LARGE, _FILE_DATA = 0x08, 0x04, 0x02, 0x01, 0x10  # in the header's first octet
_SEGMENT_METADATA = 0x08  # in its fourth octet
_EOF, _FINISHED, _ACK, _METADATA, _NAK, _PROMPT, _KEEP_ALIVE = 4, 5, 6, 7, 8, 9, 12  # directive codes, table 5-4
_FILESTORE_REQUEST, _FILESTORE_RESPONSE, _MESSAGE_TO_USER, _ENTITY_ID = 0, 1, 2, 6  # TLVs, 5.4
_CREATE_FILE_NOT_ALLOWED = 0x01  # action and status of a filestore response, table 5-18
_TWO_NAMES = (2, 3, 4)  # filestore actions on two files: rename, append, replace
_RESERVED_MESSAGE = b"cfdp"  # 6.1: proxy and directory operations begin so
_BACKWARD = (Finished, Nak, KeepAlive)


def pack(transaction: Transaction, pdu: Pdu) -> bytes:
    """The bytes of a PDU."""
    t = transaction
    field = _field(t, pdu)
    length = len(field) + CRC_BYTES * t.crc
    backward = isinstance(pdu, _BACKWARD) or (isinstance(pdu, Ack) and pdu.of is Acknowledged.EOF)
    first = VERSION << 5 | _TOWARDS_SENDER * backward | _FILE_DATA * isinstance(pdu, FileData)
    first |= _UNACKNOWLEDGED * (not t.acknowledged) | _CRC * t.crc | _LARGE * t.large
    packed = bytes([first, length >> 8, length & 0xFF, t.id_bytes - 1 << 4 | t.number_bytes - 1])
    for number, width in ((t.source, t.id_bytes), (t.number, t.number_bytes), (t.destination, t.id_bytes)):
        packed += number.to_bytes(width, "big")
    packed += field
    return packed + binascii.crc_hqx(packed, 0xFFFF).to_bytes(CRC_BYTES, "big") if t.crc else packed  # 4.1.1


def _field(t: Transaction, pdu: Pdu) -> bytes:
    """The data field: file data, or a directive code and its parameters."""

    def size(number: int) -> bytes:
        return number.to_bytes(t.offset_bytes, "big")

    match pdu:
        case FileData():
            return size(pdu.offset) + pdu.data
        case Metadata():
            head = bytes([_METADATA, 0x40 * pdu.closure | pdu.checksum_type])
            return head + size(pdu.size) + _lv(pdu.source_name) + _lv(pdu.destination_name)
        case Eof():
            location = _entity(t.source) if pdu.condition else b""
            return bytes([_EOF, pdu.condition << 4]) + pdu.checksum.to_bytes(4, "big") + size(pdu.size) + location
        case Finished():
            known = pdu.condition in (Condition.NO_ERROR, Condition.UNSUPPORTED_CHECKSUM_TYPE)
            location = b"" if known else _entity(t.destination)
            done = bytes([_FINISHED, pdu.condition << 4 | 0x04 * (not pdu.complete) | pdu.file_status])
            return done + (_response(pdu.message) if pdu.message else b"") + location
        case Ack():
            subtype = int(pdu.of is Acknowledged.FINISHED)
            return bytes([_ACK, pdu.of << 4 | subtype, pdu.condition << 4 | pdu.status])
        case Nak():
            edges = (pdu.start, pdu.end, *(edge for request in pdu.requests for edge in request))
            return bytes([_NAK]) + b"".join(map(size, edges))
        case Prompt():
            return bytes([_PROMPT, 0x80 * pdu.keep_alive])
        case KeepAlive():
            return bytes([_KEEP_ALIVE]) + size(pdu.progress)


def _lv(text: str) -> bytes:
    """Length and value (5.1.8)."""
    value = text.encode()
    return bytes([len(value)]) + value


def _tlv(kind: int, value: bytes) -> bytes:
    """Type, length and value (5.1.9)."""
    return bytes([kind, len(value)]) + value


def _entity(number: int) -> bytes:
    """The end at which a fault was found (5.4.6)."""
    return _tlv(_ENTITY_ID, number.to_bytes(shortest_width(number), "big"))


def _response(message: str) -> bytes:
    """Why a file was not created, in a field that the standard has for it (5.4.2)."""
    return _tlv(_FILESTORE_RESPONSE, bytes([_CREATE_FILE_NOT_ALLOWED]) + _lv("") + _lv(message))


def unpack(data: bytes) -> tuple[Transaction, Pdu]:
    """The PDU at the beginning of `data`; `RejectedError` if there is none."""
    try:
        t, field = _header(data)
        pdu = _file_data(t, data[3], field) if data[0] & _FILE_DATA else _directive(t, field)
    except (ValueError, IndexError, struct.error) as error:
        raise RejectedError("bad_pdu", f"PDU of {len(data)} bytes: {error}") from None
    if not isinstance(pdu, Prompt | Ack) and bool(data[0] & _TOWARDS_SENDER) is not isinstance(pdu, _BACKWARD):
        raise RejectedError("bad_pdu", f"{type(pdu).__name__} PDU goes the wrong way")
    return t, pdu


def _header(data: bytes) -> tuple[Transaction, bytes]:
    """The header's fields, and the data field without its CRC and what follows (5.1)."""
    first, length, widths = data[0], data[1] << 8 | data[2], data[3]
    if first >> 5 != VERSION:
        raise ValueError(f"version is {first >> 5}, expected {VERSION}")
    id_bytes, number_bytes = (widths >> 4 & 7) + 1, (widths & 7) + 1
    edges = [4, 4 + id_bytes, 4 + id_bytes + number_bytes, 4 + 2 * id_bytes + number_bytes]
    end = edges[3] + length
    if len(data) < end:
        raise ValueError(f"the header says {end} bytes")
    source, number, destination = (int.from_bytes(data[a:b], "big") for a, b in pairwise(edges))
    crc = bool(first & _CRC)
    if crc and (length < CRC_BYTES or binascii.crc_hqx(data[:end], 0xFFFF)):
        raise ValueError("its CRC is wrong")
    acknowledged, large = not first & _UNACKNOWLEDGED, bool(first & _LARGE)
    t = Transaction(source, destination, number, id_bytes, number_bytes, acknowledged, crc, large)
    return t, data[edges[3] : end - CRC_BYTES * crc]


class _Reader:
    """Reads a data field from its front; ValueError if it is too short."""

    def __init__(self, t: Transaction, data: bytes) -> None:
        self._offset_bytes = t.offset_bytes
        self.left = data

    def take(self, n: int) -> bytes:
        if n > len(self.left):
            raise ValueError(f"it ends {n - len(self.left)} bytes early")
        found, self.left = self.left[:n], self.left[n:]
        return found

    def octet(self) -> int:
        return self.take(1)[0]

    def size(self) -> int:
        return int.from_bytes(self.take(self._offset_bytes), "big")

    def lv(self) -> bytes:
        return self.take(self.octet())


def _file_data(t: Transaction, flags: int, field: bytes) -> FileData:
    reader = _Reader(t, field)
    if flags & _SEGMENT_METADATA:
        reader.take(reader.octet() & 0x3F)  # 5.3: about the records of the file
    return FileData(reader.size(), reader.left)


def _directive(t: Transaction, field: bytes) -> Pdu:
    reader = _Reader(t, field)
    code = reader.octet()
    if code == _METADATA:
        return _metadata(reader)
    if code == _EOF:
        condition, checksum = Condition(reader.octet() >> 4), reader.take(4)
        return Eof(int.from_bytes(checksum, "big"), reader.size(), condition)
    if code == _FINISHED:
        found = reader.octet()
        return Finished(Condition(found >> 4), not found & 0x04, FileStatus(found & 3), _message(reader.left))
    if code == _ACK:
        of, found = reader.octet() >> 4, reader.octet()
        return Ack(Acknowledged(of), Condition(found >> 4), Status(found & 3))
    if code == _NAK:
        start, end, requests = reader.size(), reader.size(), []
        while reader.left:
            requests.append((reader.size(), reader.size()))
        return Nak(start, end, tuple(requests))
    if code == _PROMPT:
        return Prompt(bool(reader.octet() & 0x80))
    if code == _KEEP_ALIVE:
        return KeepAlive(reader.size())
    raise ValueError(f"directive code is {code:#x}, which is none")


def _metadata(reader: _Reader) -> Metadata:
    found, size = reader.octet(), reader.size()
    source, destination = reader.lv().decode(), reader.lv().decode()
    requests = any(
        kind == _FILESTORE_REQUEST or (kind == _MESSAGE_TO_USER and value.startswith(_RESERVED_MESSAGE))
        for kind, value in _tlvs(reader.left)
    )
    return Metadata(size, source, destination, found & 0x0F, bool(found & 0x40), requests)


def _tlvs(data: bytes) -> Iterator[tuple[int, bytes]]:
    """Type and value of each TLV (5.1.9); ValueError if one is cut."""
    while data:
        if len(data) < 2 or len(data) < 2 + data[1]:
            raise ValueError("a TLV is cut")
        yield data[0], data[2 : 2 + data[1]]
        data = data[2 + data[1] :]


def _message(data: bytes) -> str:
    """The filestore message of the first filestore response, as printable ASCII; empty if there is none."""
    for kind, value in _tlvs(data):
        if kind == _FILESTORE_RESPONSE:
            rest, parts = value[1:], []
            for _ in range(3 if value[0] >> 4 in _TWO_NAMES else 2):
                parts.append(rest[1 : 1 + rest[0]])
                if len(parts[-1]) < rest[0]:
                    raise ValueError("a filestore response is cut")
                rest = rest[1 + rest[0] :]
            return "".join(chr(byte) if 0x20 <= byte < 0x7F else "?" for byte in parts[-1])
    return ""
