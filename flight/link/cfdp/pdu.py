"""CFDP PDUs as plain values (727.0-B-5 clause 5); `flight.link.cfdp.codec` makes bytes of them."""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum
from typing import TypeAlias

from flight.link.cfdp import checksum

CRC_BYTES = 2
NAK_REQUEST_BYTES = 8
_WIDTHS = (1, 2, 4, 8)  # of ids and numbers that every implementation takes


class Condition(IntEnum):
    """Why a transaction ended, or what was found (table 5-5)."""

    NO_ERROR = 0
    POSITIVE_ACK_LIMIT_REACHED = 1
    KEEP_ALIVE_LIMIT_REACHED = 2
    INVALID_TRANSMISSION_MODE = 3
    FILESTORE_REJECTION = 4
    FILE_CHECKSUM_FAILURE = 5
    FILE_SIZE_ERROR = 6
    NAK_LIMIT_REACHED = 7
    INACTIVITY_DETECTED = 8
    INVALID_FILE_STRUCTURE = 9
    CHECK_LIMIT_REACHED = 10
    UNSUPPORTED_CHECKSUM_TYPE = 11
    SUSPEND_REQUEST_RECEIVED = 14
    CANCEL_REQUEST_RECEIVED = 15


class FileStatus(IntEnum):
    """What became of the file at the receiver (table 5-7)."""

    DISCARDED_DELIBERATELY = 0
    DISCARDED_FILESTORE_REJECTION = 1
    FILE_RETAINED = 2
    FILE_STATUS_UNREPORTED = 3


@dataclass(frozen=True, slots=True)
class Transaction:
    """Source entity and sequence number, which name a transaction, and what all of its PDUs have in their headers."""

    source: int
    destination: int
    number: int
    id_bytes: int = 1
    number_bytes: int = 1
    acknowledged: bool = True
    crc: bool = False
    large: bool = False

    @classmethod
    def smallest(cls, source: int, destination: int, number: int) -> Transaction:
        """With the shortest fields that hold the numbers and that every implementation takes."""
        return cls(source, destination, number, shortest_width(max(source, destination)), shortest_width(number))

    @property
    def header_bytes(self) -> int:
        """Bytes of a header (5.1)."""
        return 4 + 2 * self.id_bytes + self.number_bytes

    @property
    def offset_bytes(self) -> int:
        """Bytes of a file size or offset (5.1.10)."""
        return 8 if self.large else 4

    @property
    def segment_overhead_bytes(self) -> int:
        """What a file data PDU has besides the data (5.3)."""
        return self.header_bytes + self.offset_bytes + CRC_BYTES * self.crc


@dataclass(frozen=True, slots=True)
class Metadata:
    """5.2.5: size [bytes, 0 if not known before the end], names, checksum type. `requests` tells of what we refuse."""

    size: int
    source_name: str
    destination_name: str
    checksum_type: int = checksum.CRC_32
    closure: bool = False
    requests: bool = False


@dataclass(frozen=True, slots=True)
class FileData:
    """5.3: bytes of the file from `offset` on."""

    offset: int
    data: bytes


@dataclass(frozen=True, slots=True)
class Eof:
    """5.2.2: the end of a file, or a cancellation by its sender."""

    checksum: int
    size: int
    condition: Condition = Condition.NO_ERROR


@dataclass(frozen=True, slots=True)
class Finished:
    """5.2.3: how the receiver ended. `message` is that of a filestore response (5.4.2), if there is one."""

    condition: Condition = Condition.NO_ERROR
    complete: bool = True
    file_status: FileStatus = FileStatus.FILE_RETAINED
    message: str = ""

    @property
    def success(self) -> bool:
        """Whether the file is safe at the receiver."""
        done = (Condition.NO_ERROR, Condition.UNSUPPORTED_CHECKSUM_TYPE)
        kept = (FileStatus.FILE_RETAINED, FileStatus.FILE_STATUS_UNREPORTED)
        return self.condition in done and self.complete and self.file_status in kept

    @property
    def reason(self) -> str:
        """The message, or the condition in words."""
        return self.message or self.condition.name.lower().replace("_", " ")


class Acknowledged(IntEnum):
    """What is acknowledged (5.2.4.1): directive codes."""

    EOF = 0x04
    FINISHED = 0x05


class Status(IntEnum):
    """What the acknowledging end knows of the transaction (5.2.4, table 5-8)."""

    UNDEFINED = 0
    ACTIVE = 1
    TERMINATED = 2
    UNRECOGNIZED = 3


@dataclass(frozen=True, slots=True)
class Ack:
    """5.2.4: an EOF or a Finished was received."""

    of: Acknowledged
    condition: Condition
    status: Status = Status.ACTIVE


@dataclass(frozen=True, slots=True)
class Nak:
    """5.2.6: between `start` and `end` the receiver lacks `requests`; (0, 0) stands for the metadata."""

    start: int
    end: int
    requests: tuple[tuple[int, int], ...] = ()


@dataclass(frozen=True, slots=True)
class Prompt:
    """5.2.7: answer with a NAK, or with a keep alive."""

    keep_alive: bool = False


@dataclass(frozen=True, slots=True)
class KeepAlive:
    """5.2.8: how far reception has come [bytes]."""

    progress: int


Pdu: TypeAlias = Metadata | FileData | Eof | Finished | Ack | Nak | Prompt | KeepAlive


def largest_metadata_bytes(name_chars: int) -> int:
    """Bytes of the largest metadata PDU with names of ASCII characters and ids below 256 (5.2.5)."""
    t = Transaction(1, 2, 3, 1, 4)
    return t.header_bytes + 2 + t.offset_bytes + 2 * (1 + name_chars)


def shortest_width(number: int) -> int:
    """Bytes of the shortest field for a number."""
    return next((width for width in _WIDTHS if number < 1 << 8 * width), 8)
