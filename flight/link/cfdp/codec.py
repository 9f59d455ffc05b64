"""CFDP PDUs to bytes and back (727.0-B-5 clause 5), through `spacepackets.cfdp`.

The library takes entity ids and sequence numbers of 1, 2, 4 or 8 bytes, while the standard allows 1 to 8; it refuses
PDUs with TLVs or checksum types that it does not know, which 4.6.1.2 lets pass; and it hands out the condition code of
an EOF unshifted. So the header, the CRC and the TLVs are dealt with here and the fixed fields by the library.
"""

from __future__ import annotations

import binascii
import struct
from collections.abc import Iterator
from dataclasses import replace
from functools import lru_cache
from itertools import pairwise

from spacepackets.cfdp import CrcFlag, LargeFileFlag, PduConfig, TransmissionMode
from spacepackets.cfdp.defs import ChecksumType, DeliveryCode
from spacepackets.cfdp.lv import CfdpLv
from spacepackets.cfdp.pdu import (
    AckPdu,
    DirectiveType,
    EofPdu,
    FileDataPdu,
    FinishedPdu,
    KeepAlivePdu,
    MetadataPdu,
    NakPdu,
    PromptPdu,
    TransactionStatus,
)
from spacepackets.cfdp.pdu.file_data import FileDataParams
from spacepackets.cfdp.pdu.finished import FinishedParams
from spacepackets.cfdp.pdu.header import AbstractPduBase
from spacepackets.cfdp.pdu.metadata import MetadataParams
from spacepackets.cfdp.pdu.prompt import ResponseRequired
from spacepackets.cfdp.tlv import EntityIdTlv, FilestoreActionCode, FilestoreResponseStatusCode, FileStoreResponseTlv
from spacepackets.exceptions import BytesTooShortError
from spacepackets.util import ByteFieldGenerator, UnsignedByteField

from flight.link.cfdp import checksum
from flight.link.cfdp.pdu import (
    CRC_BYTES,
    LIBRARY_WIDTHS,
    Ack,
    Acknowledged,
    Condition,
    Eof,
    FileData,
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
_FILESTORE_REQUEST, _FILESTORE_RESPONSE, _MESSAGE_TO_USER = 0x00, 0x01, 0x02  # 5.4
_RESERVED_MESSAGE = b"cfdp"  # 6.1: proxy and directory operations begin so


def pack(transaction: Transaction, pdu: Pdu) -> bytes:
    """The bytes of a PDU."""
    t = transaction
    widths, fields = _fields(t)
    conf = PduConfig(
        *fields,
        TransmissionMode.ACKNOWLEDGED if t.acknowledged else TransmissionMode.UNACKNOWLEDGED,
        LargeFileFlag.LARGE if t.large else LargeFileFlag.NORMAL,
        CrcFlag.NO_CRC,
    )
    packed = bytes(_to_library(conf, t, pdu).pack())
    if widths == (t.id_bytes, t.number_bytes) and not t.crc:
        return packed
    return _with_header(packed[4 + 2 * widths[0] + widths[1] :], packed[0], packed[3] & 0x88, t)


@lru_cache(maxsize=64)
def _fields(t: Transaction) -> tuple[tuple[int, int], tuple[UnsignedByteField, UnsignedByteField, UnsignedByteField]]:
    """Widths that the library takes, and source, destination and number in them: most of the work of a header."""
    ids, number = (width if width in LIBRARY_WIDTHS else 8 for width in (t.id_bytes, t.number_bytes))
    make = ByteFieldGenerator.from_int
    return (ids, number), (make(ids, t.source), make(ids, t.destination), make(number, t.number))


def _with_header(field: bytes, first: int, flags: int, t: Transaction) -> bytes:
    """A PDU of a data field, the first octet and the segmentation flags of its header, and the rest from `t` (5.1)."""
    length = len(field) + CRC_BYTES * t.crc
    head = bytes([first & ~2 | 2 * t.crc, length >> 8, length & 0xFF, flags | t.id_bytes - 1 << 4 | t.number_bytes - 1])
    for number, width in ((t.source, t.id_bytes), (t.number, t.number_bytes), (t.destination, t.id_bytes)):
        head += number.to_bytes(width, "big")
    packed = head + field
    return packed + binascii.crc_hqx(packed, 0xFFFF).to_bytes(CRC_BYTES, "big") if t.crc else packed  # 4.1.1


def _to_library(conf: PduConfig, t: Transaction, pdu: Pdu) -> AbstractPduBase:
    match pdu:
        case FileData():
            return FileDataPdu(conf, FileDataParams(pdu.data, pdu.offset))
        case Metadata():
            kind = ChecksumType(pdu.checksum_type)
            return MetadataPdu(conf, MetadataParams(pdu.closure, kind, pdu.size, pdu.source_name, pdu.destination_name))
        case Eof():
            location = _entity(t.source) if pdu.condition else None
            return EofPdu(conf, pdu.checksum.to_bytes(4, "big"), pdu.size, location, pdu.condition)
        case Finished():
            delivery = DeliveryCode.DATA_COMPLETE if pdu.complete else DeliveryCode.DATA_INCOMPLETE
            location = _entity(t.destination) if pdu.condition not in (0, Condition.UNSUPPORTED_CHECKSUM_TYPE) else None
            responses = [_response(pdu.message)] if pdu.message else []
            return FinishedPdu(conf, FinishedParams(pdu.condition, delivery, pdu.file_status, responses, location))
        case Ack():
            return AckPdu(conf, DirectiveType(pdu.of), pdu.condition, TransactionStatus(pdu.status))
        case Nak():
            return NakPdu(conf, pdu.start, pdu.end, list(pdu.requests))
        case Prompt():
            return PromptPdu(conf, ResponseRequired.KEEP_ALIVE if pdu.keep_alive else ResponseRequired.NAK)
        case KeepAlive():
            return KeepAlivePdu(conf, pdu.progress)


def _entity(number: int) -> EntityIdTlv:
    """The end at which a fault was found (5.4.6)."""
    return EntityIdTlv(number.to_bytes(shortest_width(number), "big"))


def _response(message: str) -> FileStoreResponseTlv:
    """Why a file was not created, in a field that the standard has for it (5.4.2)."""
    return FileStoreResponseTlv(
        FilestoreActionCode.CREATE_FILE_SNM,
        FilestoreResponseStatusCode.CREATE_NOT_ALLOWED,
        "",
        filestore_msg=CfdpLv(message.encode()),
    )


def unpack(data: bytes) -> tuple[Transaction, Pdu]:
    """The PDU at the beginning of `data`; `RejectedError` if there is none."""
    try:
        transaction, towards_sender, raw = _plain(data)
        pdu = _from_library(transaction, raw)
    except (ValueError, IndexError, struct.error, BytesTooShortError) as error:
        raise RejectedError("bad_pdu", f"PDU of {len(data)} bytes: {error}") from None
    if not isinstance(pdu, Prompt | Ack) and towards_sender is not isinstance(pdu, Finished | Nak | KeepAlive):
        raise RejectedError("bad_pdu", f"{type(pdu).__name__} PDU goes the wrong way")
    return transaction, pdu


def _plain(data: bytes) -> tuple[Transaction, bool, bytes]:
    """The header's fields, and the PDU with widths that the library knows, without CRC and without what follows."""
    first, length, widths = data[0], data[1] << 8 | data[2], data[3]
    if first >> 5 != VERSION:
        raise ValueError(f"version is {first >> 5}, expected {VERSION}")
    id_bytes, number_bytes = (widths >> 4 & 7) + 1, (widths & 7) + 1
    edges = [4, 4 + id_bytes, 4 + id_bytes + number_bytes, 4 + 2 * id_bytes + number_bytes]
    end = edges[3] + length
    if len(data) < end:
        raise ValueError(f"the header says {end} bytes")
    source, number, destination = (int.from_bytes(data[a:b], "big") for a, b in pairwise(edges))
    crc = bool(first & 2)
    t = Transaction(source, destination, number, id_bytes, number_bytes, not first & 4, crc, bool(first & 1))
    if crc and binascii.crc_hqx(data[:end], 0xFFFF):
        raise ValueError("its CRC is wrong")
    raw = data[:end]
    if crc or id_bytes not in LIBRARY_WIDTHS or number_bytes not in LIBRARY_WIDTHS:
        wide = replace(t, id_bytes=8, number_bytes=8, crc=False)
        raw = _with_header(data[edges[3] : end - CRC_BYTES * crc], first, widths & 0x88, wide)
    return t, bool(first & 8), raw


def _from_library(t: Transaction, raw: bytes) -> Pdu:
    start = AbstractPduBase.header_len_from_raw(raw)
    if raw[0] & 0x10:
        found = FileDataPdu.unpack(raw)
        return FileData(found.offset, found.file_data)
    directive = DirectiveType(raw[start])
    if directive is DirectiveType.METADATA_PDU:
        return _metadata(t, raw, start + 1)
    if directive is DirectiveType.EOF_PDU:
        eof = EofPdu.unpack(_cut(raw, start, start + 6 + t.offset_bytes))
        return Eof(int.from_bytes(eof.file_checksum, "big"), eof.file_size, Condition(raw[start + 1] >> 4))
    if directive is DirectiveType.FINISHED_PDU:
        done = FinishedPdu.unpack(_cut(raw, start, start + 2))
        complete = done.delivery_code == DeliveryCode.DATA_COMPLETE
        return Finished(done.condition_code, complete, done.file_status, _message(raw[start + 2 :]))
    if directive is DirectiveType.ACK_PDU:
        ack = AckPdu.unpack(raw)
        code, status = ack.directive_code_of_acked_pdu, ack.transaction_status
        return Ack(Acknowledged(code), Condition(ack.condition_code_of_acked_pdu), Status(status))
    if directive is DirectiveType.NAK_PDU:
        nak = NakPdu.unpack(raw)
        return Nak(nak.start_of_scope, nak.end_of_scope, tuple(nak.segment_requests or ()))
    if directive is DirectiveType.PROMPT_PDU:
        return Prompt(PromptPdu.unpack(raw).response_required == ResponseRequired.KEEP_ALIVE)
    return KeepAlive(KeepAlivePdu.unpack(raw).progress)


def _cut(raw: bytes, start: int, end: int) -> bytes:
    """The PDU with its data field cut off at `end`: what the library has to see of it."""
    if end > len(raw):
        raise ValueError(f"it ends {end - len(raw)} bytes early")
    length = end - start
    return raw[:1] + length.to_bytes(2, "big") + raw[3:end]


def _metadata(t: Transaction, raw: bytes, start: int) -> Metadata:
    names = start + 1 + t.offset_bytes
    second = names + 1 + raw[names]
    end = second + 1 + raw[second]
    kind = raw[start] & 0x0F
    cut = bytearray(_cut(raw, start - 1, end))
    cut[start] = raw[start] & 0x40 | checksum.NULL
    found = MetadataPdu.unpack(bytes(cut))
    requests = any(
        kind == _FILESTORE_REQUEST or (kind == _MESSAGE_TO_USER and value.startswith(_RESERVED_MESSAGE))
        for kind, value in _tlvs(raw[end:])
    )
    source, destination = found.source_file_name or "", found.dest_file_name or ""
    return Metadata(found.file_size, source, destination, kind, found.closure_requested, requests)


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
            packed = FileStoreResponseTlv.unpack(bytes([kind, len(value)]) + value).filestore_msg.value
            return "".join(chr(byte) if 0x20 <= byte < 0x7F else "?" for byte in packed)
    return ""
