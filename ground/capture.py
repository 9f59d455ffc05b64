"""Captures: every frame on the radio, both ways, with its time and what became of it, as a pcapng file.

Wireshark opens the file (link type USER0; the fate of a frame is its comment), `swath-ground capture` decodes it. Each
frame is one write to the file, so a kill costs at most the last one. Times are mission times; the section's comment has
the epoch. The simulated channel writes what it did to each frame; `Tap` writes what a real station sends and hears.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from flight import __version__
from flight.step import Core, Message, Output, Step
from ground import pcapng
from ground.pcapng import PcapngError

INTERFACES = ("up", "down")
FATES = ("passed", "damaged", "lost", "sent", "received")
MAX_FRAME_BYTES = 1 << 13
_FULL = b"full: what follows was left out"
_ROOM_FOR_NOTE = 256  # bytes kept free for the note that the file is full
_EPOCH = "epoch_unix_s="


class CaptureError(ValueError):
    """A file that is not a capture, or a damaged one; the message names it."""


@dataclass(frozen=True, slots=True)
class Captured:
    """A frame handed to the transmitter (or received by a station) at mission time `t_s`.

    `data` is what arrived, or what was sent if it was lost, for the `cause`. `held` says that it was held back, `copy`
    that it is the second arrival of the frame before. A station knows only "sent" and "received".
    """

    t_s: float
    direction: str
    data: bytes
    fate: str
    cause: str = ""
    arrival_s: float | None = None
    bits_flipped: int = 0
    held: bool = False
    copy: bool = False

    def comment(self) -> str:
        """All but time, direction and data, as the packet's comment in the file."""
        parts = [f"fate={self.fate}"]
        parts += [f"cause={self.cause}"] if self.cause else []
        parts += [f"arrival_s={self.arrival_s!r}"] if self.arrival_s is not None else []
        parts += [f"bits_flipped={self.bits_flipped}"] if self.bits_flipped else []
        parts += ["held=1"] * self.held + ["copy=1"] * self.copy
        return " ".join(parts)


class CaptureWriter:
    """Appends frames to the capture at `path`, up to `max_bytes`; a disk that fails ends the capture and nothing else.

    A file that is there already is continued; a block that was cut off at its end is removed.
    """

    def __init__(self, path: Path, epoch_unix_s: float, max_bytes: int) -> None:
        self.path = path
        self.max_bytes = max_bytes
        self.frames = self.left_out = 0
        self.error = ""
        self._epoch_ns = round(epoch_unix_s * 1e9)
        self._size = _whole_bytes(path) if path.exists() else 0
        self._file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
        os.ftruncate(self._file, self._size)
        head = {pcapng.COMMENT: f"{_EPOCH}{epoch_unix_s!r}".encode(), pcapng.USER_APPLICATION: _application()}
        self._append(pcapng.section(head) + b"".join(_interface(f"{name}link") for name in INTERFACES))

    def write(self, captured: Captured) -> None:
        """Append one frame; count it as left out if there is no room or no disk for it."""
        number = INTERFACES.index(captured.direction)
        flags = (pcapng.OUTBOUND, pcapng.INBOUND)[number].to_bytes(4, "little")
        options = {pcapng.COMMENT: captured.comment().encode(), pcapng.FLAGS: flags}
        time_ns = self._epoch_ns + round(captured.t_s * 1e9)
        block = pcapng.packet(pcapng.Packet(number, time_ns, captured.data, options))
        full = self._size + len(block) + _ROOM_FOR_NOTE > self.max_bytes
        if full and not self.left_out:
            self._append(b"".join(pcapng.statistics(i, time_ns, {pcapng.COMMENT: _FULL}) for i in range(2)))
        if full or self.left_out or not self._append(block):
            self.left_out += 1
        else:
            self.frames += 1

    def _append(self, data: bytes) -> bool:
        """Whether the data are in the file, whole; if not, nothing of them is."""
        if self.error:
            return False
        try:
            written = os.write(self._file, data)
            if written < len(data):
                os.ftruncate(self._file, self._size)
                raise OSError(f"wrote {written} of {len(data)} bytes")
        except OSError as error:
            self.error = str(error)
            return False
        self._size += len(data)
        return True

    def report(self) -> dict[str, Any]:
        """What the capture holds, and what was left out because it was full or the disk failed."""
        return {
            "file": self.path.name,
            "frames": self.frames,
            "bytes": self._size,
            "left_out": self.left_out,
            "error": self.error,
        }

    def close(self) -> None:
        """Close the file."""
        os.close(self._file)


class Tap:
    """A station core with a capture of its `port`: what it sends goes up, what it takes came down."""

    def __init__(self, core: Core, port: str, writer: CaptureWriter) -> None:
        self.core = core
        self.port = port
        self.writer = writer

    def step(self, t: float, inputs: Sequence[Message]) -> Step:
        """The core's step, with frames noted."""
        for message in inputs:
            if message.port == self.port:
                self.writer.write(Captured(message.t, "down", message.body, "received"))
        step = self.core.step(t, inputs)
        for output in step.outputs:
            self._note(output)
        return step

    def _note(self, output: Output) -> None:
        if output.port == self.port:
            self.writer.write(Captured(output.t, "up", output.body, "sent"))

    def report(self) -> dict[str, Any]:
        """The core's report, and the capture's."""
        return {**self.core.report(), "capture": self.writer.report()}


class Capture:
    """The frames of the capture at `path`, in the order of the file. Once through, `cut_off` and `full` say more."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.cut_off = False  # the last block is not whole: the writer was killed
        self.full = False  # the writer had no more room
        self.epoch_unix_s = 0.0  # of the last section read

    def __iter__(self) -> Iterator[Captured]:
        """The frames, one at a time; CaptureError says where the file is not a capture."""
        end = 0
        try:
            with self.path.open("rb") as file:
                for kind, body, end in pcapng.blocks(file):
                    if end == len(body) + 12 and kind != pcapng.SECTION:
                        raise PcapngError("does not begin with a section")
                    if kind == pcapng.SECTION:
                        self.epoch_unix_s = _epoch(pcapng.read_section(body))
                    elif kind == pcapng.PACKET:
                        yield _captured(pcapng.read_packet(body), self.epoch_unix_s)
                    elif kind == pcapng.STATISTICS:
                        self.full |= pcapng.read_statistics(body).get(pcapng.COMMENT) == _FULL
        except PcapngError as error:
            raise CaptureError(f"{self.path}: not a capture of frames: {error}") from None
        self.cut_off = end < self.path.stat().st_size
        if not end:
            raise CaptureError(f"{self.path}: not a capture of frames: it is empty or cut off in its first block")


def _application() -> bytes:
    return f"swath {__version__}".encode()


def _interface(name: str) -> bytes:
    options = {pcapng.INTERFACE_NAME: name.encode(), pcapng.TIME_RESOLUTION: pcapng.NANOSECONDS}
    return pcapng.interface(pcapng.USER0, MAX_FRAME_BYTES, options)


def _whole_bytes(path: Path) -> int:
    """Size of the file without a block that was cut off at its end; CaptureError if it is something else."""
    try:
        with path.open("rb") as file:
            return max((end for _, _, end in pcapng.blocks(file)), default=0)
    except PcapngError as error:
        raise CaptureError(f"{path}: not a capture of frames, and not replaced: {error}") from None


def _epoch(options: pcapng.Options) -> float:
    comment = options.get(pcapng.COMMENT, b"").decode("utf-8", "replace")
    number = re.fullmatch(rf"{_EPOCH}(\d{{1,12}}(\.\d+)?)", comment)
    if number is None:
        raise PcapngError(f"a section without the epoch of mission time (its comment is {comment[:40]!r})")
    return float(number[1])


def _captured(packet: pcapng.Packet, epoch_unix_s: float) -> Captured:
    words = packet.options.get(pcapng.COMMENT, b"").decode("utf-8", "replace").split()
    values = dict(word.split("=", 1) for word in words if "=" in word)
    try:
        return Captured(
            t_s=(packet.unix_ns - round(epoch_unix_s * 1e9)) / 1e9,
            direction=INTERFACES[packet.interface],
            data=packet.data,
            fate=FATES[FATES.index(values["fate"])],
            cause=values.get("cause", ""),
            arrival_s=float(values["arrival_s"]) if "arrival_s" in values else None,
            bits_flipped=int(values.get("bits_flipped", 0)),
            held="held" in values,
            copy="copy" in values,
        )
    except (KeyError, ValueError, IndexError) as error:
        raise PcapngError(f"a packet whose comment does not say what became of it ({error})") from None
