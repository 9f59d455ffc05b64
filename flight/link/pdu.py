"""The three protocol data units of a file transfer, packed into the body of a Space Packet each.

Metadata and segments go from sender to receiver, reports the other way. Metadata with the `asks` flag asks for a
report, so one unit opens a transfer, marks its end, and revives it after either side has restarted.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import dataclass

from flight.link.errors import RejectedError
from flight.link.transfer import DIGEST_BYTES, MAX_NAME_CHARS, MAX_REASON_CHARS, Status, name_allowed

METADATA, SEGMENT, REPORT = 1, 2, 3
_METADATA = struct.Struct(f">BBIIH{DIGEST_BYTES}sB")
_SEGMENT = struct.Struct(">BII")
_REPORT = struct.Struct(">BBIBII")
SEGMENT_HEADER_BYTES = _SEGMENT.size
LARGEST_METADATA_BYTES = _METADATA.size + MAX_NAME_CHARS
_ASKS, _ASKED, _LACKS_METADATA = 1, 1, 2


@dataclass(frozen=True, slots=True)
class Metadata:
    """What is being sent: `size` [bytes] in segments of `segment_bytes`, of which the last may be shorter."""

    transfer_id: int
    size: int
    segment_bytes: int
    digest: bytes
    name: str
    asks: bool = False

    @property
    def n_segments(self) -> int:
        """Number of segments; none for an empty file."""
        return -(-self.size // self.segment_bytes)

    def pack(self) -> bytes:
        """The body of a packet."""
        name = self.name.encode("ascii")
        flags = _ASKS * self.asks
        head = (METADATA, flags, self.transfer_id, self.size, self.segment_bytes, self.digest, len(name))
        return _METADATA.pack(*head) + name


@dataclass(frozen=True, slots=True)
class Segment:
    """One piece of a file, the `index`-th from 0."""

    transfer_id: int
    index: int
    data: bytes

    def pack(self) -> bytes:
        """The body of a packet."""
        return _SEGMENT.pack(SEGMENT, self.transfer_id, self.index) + self.data


@dataclass(frozen=True, slots=True)
class Report:
    """What a receiver has: of the segments before `covered` it lacks `missing`, sorted (first, count) runs.

    `heard` is the low half of the highest frame counter accepted, which tells the sender what was in flight; `asked`
    marks the answer to a question; `reason` is text for a final status.
    """

    transfer_id: int
    status: Status
    heard: int = 0
    covered: int = 0
    missing: tuple[tuple[int, int], ...] = ()
    asked: bool = False
    lacks_metadata: bool = False
    reason: str = ""

    def pack(self) -> bytes:
        """The body of a packet."""
        flags = _ASKED * self.asked + _LACKS_METADATA * self.lacks_metadata
        head = _REPORT.pack(REPORT, flags, self.transfer_id, self.status, self.heard, self.covered)
        if self.status.final:
            return head + self.reason.encode("ascii")
        return head + pack_runs(self.missing)

    @classmethod
    def fitting(
        cls, room: int, transfer_id: int, heard: int, covered: int, missing: Sequence[tuple[int, int]], asked: bool
    ) -> Report:
        """A report in at most `room` bytes: if not all runs fit, it covers only as far as those that do."""
        left = room - _REPORT.size
        fitting: list[tuple[int, int]] = []
        end = 0
        for first, count in missing:
            left -= _varint_bytes(first - end) + _varint_bytes(count)
            if left < 0:
                return cls(transfer_id, Status.RECEIVING, heard, first, tuple(fitting), asked)
            fitting.append((first, count))
            end = first + count
        return cls(transfer_id, Status.RECEIVING, heard, covered, tuple(fitting), asked)


LARGEST_FINAL_REPORT_BYTES = _REPORT.size + MAX_REASON_CHARS


def pack_runs(runs: Sequence[tuple[int, int]]) -> bytes:
    """Sorted (first, count) runs as pairs of LEB128 numbers: the gap before each, and its length."""
    packed, end = bytearray(), 0
    for first, count in runs:
        for number in (first - end, count):
            while number > 0x7F:
                packed.append(number & 0x7F | 0x80)
                number >>= 7
            packed.append(number)
        end = first + count
    return bytes(packed)


def unpack_runs(data: bytes, covered: int) -> tuple[tuple[int, int], ...]:
    """The runs in `data`; `RejectedError` unless they are sorted, disjoint, not empty and end by `covered`."""
    numbers, value, shift = [], 0, 0
    for byte in data:
        value |= (byte & 0x7F) << shift
        shift += 7
        if byte < 0x80:
            numbers.append(value)
            value, shift = 0, 0
        elif shift > 28:
            raise RejectedError("bad_pdu", "report has a number of more than 5 bytes")
    if shift or len(numbers) % 2:
        raise RejectedError("bad_pdu", "report ends within a run")
    runs, end = [], 0
    for gap, count in zip(numbers[::2], numbers[1::2], strict=True):
        first, end = end + gap, end + gap + count
        if not count or end > covered:
            raise RejectedError("bad_pdu", f"report names segments {first} to {end - 1} and covers {covered}")
        runs.append((first, count))
    return tuple(runs)


def _varint_bytes(number: int) -> int:
    return max(1, -(-number.bit_length() // 7))


def unpack(body: bytes) -> Metadata | Segment | Report:
    """The unit in a packet body; `RejectedError` if there is none."""
    try:
        if body[0] == METADATA:
            return _metadata(body)
        if body[0] == SEGMENT:
            _, transfer_id, index = _SEGMENT.unpack_from(body)
            return Segment(transfer_id, index, body[_SEGMENT.size :])
        if body[0] == REPORT:
            return _report(body)
    except struct.error:
        raise RejectedError("bad_pdu", f"unit of {len(body)} bytes is too short") from None
    raise RejectedError("bad_pdu", f"unit type {body[0]} is unknown")


def _metadata(body: bytes) -> Metadata:
    _, flags, transfer_id, size, segment_bytes, digest, length = _METADATA.unpack_from(body)
    name = body[_METADATA.size :].decode("latin-1")
    if flags & ~_ASKS or not segment_bytes or len(name) != length or not name_allowed(name):
        raise RejectedError("bad_pdu", f"metadata of transfer {transfer_id}: flags, segment size or name not allowed")
    return Metadata(transfer_id, size, segment_bytes, digest, name, bool(flags & _ASKS))


def _report(body: bytes) -> Report:
    _, flags, transfer_id, code, heard, covered = _REPORT.unpack_from(body)
    tail = body[_REPORT.size :]
    if flags & ~(_ASKED | _LACKS_METADATA) or code > max(Status):
        raise RejectedError("bad_pdu", f"report on transfer {transfer_id}: flags or status not allowed")
    status, asked, lacks = Status(code), bool(flags & _ASKED), bool(flags & _LACKS_METADATA)
    if not status.final:
        return Report(transfer_id, status, heard, covered, unpack_runs(tail, covered), asked, lacks)
    reason = tail.decode("latin-1")
    if len(reason) > MAX_REASON_CHARS or not (reason.isascii() and reason.isprintable()):
        raise RejectedError("bad_pdu", f"report on transfer {transfer_id}: reason is not short printable text")
    return Report(transfer_id, status, heard, covered, (), asked, lacks, reason)
