"""What comes up: frames, what the link tells of them, and files, each put where it belongs.

A file is acknowledged when it is on disk; what could not be written is tried again. In safe mode maps and labels wait,
and what is behind them does not: parameters and sequences are how a spacecraft in safe mode is mended.
"""

from __future__ import annotations

from collections import Counter, deque
from typing import TYPE_CHECKING

from flight.errors import RefusedError
from flight.link import events
from flight.link.events import LinkEvent
from flight.link.packet import FileKind
from flight.modes import FILES_IN
from flight.step import NEVER
from flight.store import StoreError
from flight.telemetry import short

if TYPE_CHECKING:
    from flight.executive import Executive

OF_THE_PAYLOAD = (FileKind.REGION, FileKind.LABEL_SET)


class Uplink:
    """Takes frames and files of one flight process."""

    def __init__(self, flight: Executive) -> None:
        self.flight = flight
        self.rejected: Counter[tuple[str, str]] = Counter()  # not told of yet
        self.files: deque[events.FileReceived] = deque()  # whole, and not on disk yet

    def take_frame(self, frame: bytes) -> None:
        """Act on a frame."""
        for event in self.flight.endpoint.receive(frame, self.flight.t):
            self.take_event(event)

    def take_event(self, event: LinkEvent) -> None:
        """Act on what the link tells."""
        flight = self.flight
        match event:
            case events.CommandReceived():
                flight.commanding.take(event)
            case events.FileReceived():
                self.files.append(event)
            case events.FrameRejected():
                self.rejected["frames", event.reason] += 1
            case events.PacketRejected():
                self.rejected["packets", event.reason] += 1
            case events.KeyChanged():
                flight.emit("key-changed", key_id=event.key_id)
            case events.FileRefused() | events.FileFailed():
                flight.emit("file-refused", transfer_id=event.transfer_id, reason=short(event.reason))

    def take_files(self) -> None:
        """Put the files that have arrived on disk, in their order."""
        while (event := self._next_file()) is not None:
            try:
                if self._file(event):
                    self.files.remove(event)
            except StoreError as error:
                self.flight.write_failed(error)

    def _next_file(self) -> events.FileReceived | None:
        """The first file that can be taken in now."""
        flight = self.flight
        if flight.t < flight.write_s:
            return None
        if flight.modes.mode in FILES_IN:
            return self.files[0] if self.files and not flight.payload.decoding else None
        return next((each for each in self.files if each.file.kind not in OF_THE_PAYLOAD), None)

    def _file(self, event: events.FileReceived) -> bool:
        """Take in a file; False if that goes on, as decoding a region does."""
        flight, data = self.flight, event.file.data
        try:
            if event.file.kind is FileKind.REGION:
                flight.scrub.check()
                if flight.payload.intake is None:
                    flight.payload.begin_region(data)
                    return False
                flight.payload.take_region()
            elif event.file.kind is FileKind.UPDATE:
                flight.updates.receive(data)
            elif event.file.kind is FileKind.LABEL_SET:
                flight.activate(lambda: flight.payload.receive_labels(data))
            elif event.file.kind is FileKind.SEQUENCE:
                flight.commanding.receive_sequence(data)
            else:
                raise RefusedError(f"files of kind {event.file.kind.name} have no use here")
        except RefusedError as error:
            flight.endpoint.refuse(event.transfer_id, short(error))
            flight.emit("file-refused", transfer_id=event.transfer_id, reason=short(error))
        else:
            flight.endpoint.accept(event.transfer_id)
        return True

    def due_s(self) -> float:
        """When a file can be taken in."""
        return self.flight.write_s if self._waits() else NEVER

    def _waits(self) -> bool:
        if self.flight.modes.mode in FILES_IN:
            return bool(self.files) and not self.flight.payload.decoding
        return any(each.file.kind not in OF_THE_PAYLOAD for each in self.files)
