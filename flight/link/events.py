"""What the link tells its owner: typed events, returned by ``Endpoint.receive``, and the progress of files."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from flight.link.packet import FileKind
from flight.link.transfer import File


@dataclass(frozen=True, slots=True)
class CommandReceived:
    """A telecommand to execute, once; then ``Endpoint.acknowledge``, save both states, and go on."""

    number: int
    name: str
    args: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class CommandAcknowledged:
    """What became of a telecommand: `outcome` is executed, duplicate or rejected."""

    number: int
    name: str
    outcome: str
    reason: str


@dataclass(frozen=True, slots=True)
class TelemetryReceived:
    """A telemetry packet, or an event if it has a `severity`."""

    name: str
    values: Mapping[str, Any]
    severity: str


@dataclass(frozen=True, slots=True)
class FileReceived:
    """A whole file with the right checksum: put it on disk, then ``Endpoint.accept`` or ``Endpoint.refuse``."""

    transfer_id: int
    file: File


@dataclass(frozen=True, slots=True)
class FileRefused:
    """A file that was cancelled by its sender, or whose checksum or size was wrong: nothing was kept of it."""

    transfer_id: int
    name: str
    kind: FileKind
    reason: str


@dataclass(frozen=True, slots=True)
class FileDelivered:
    """The far side has accepted a submitted file."""

    transfer_id: int
    name: str
    kind: FileKind


@dataclass(frozen=True, slots=True)
class FileFailed:
    """A submitted file was cancelled, or the far side has refused it for good."""

    transfer_id: int
    name: str
    kind: FileKind
    reason: str


@dataclass(frozen=True, slots=True)
class FrameRejected:
    """A frame that was refused whole, for a reason of ``errors.FRAME_REASONS``."""

    reason: str
    detail: str


@dataclass(frozen=True, slots=True)
class PacketRejected:
    """A packet that was refused in an authentic frame, for a reason of ``errors.PACKET_REASONS``."""

    reason: str
    detail: str


@dataclass(frozen=True, slots=True)
class KeyChanged:
    """A change of keys is done: this key is used both ways, and no other is accepted any longer."""

    key_id: int


LinkEvent = (
    CommandReceived
    | CommandAcknowledged
    | TelemetryReceived
    | FileReceived
    | FileRefused
    | FileDelivered
    | FileFailed
    | FrameRejected
    | PacketRejected
    | KeyChanged
)


@dataclass(frozen=True, slots=True)
class Progress:
    """Where a file stands; `size_bytes` is 0 while a receiver does not know it."""

    transfer_id: int
    name: str
    kind: FileKind
    outgoing: bool
    size_bytes: int
    left_bytes: int
