"""Virtual channels: packets of each into frames, the most urgent channel first, and frames back into packets.

An uplink frame is as long as its packets, which are whole. A downlink frame has a fixed length: packets that wait go
into it together, and an idle packet fills the rest, because a frame that waited for more would only leave the radio
silent. A packet that does not fit the rest of a frame begins the next one instead of spanning both, for then the loss
of either frame would lose it; one that is longer than a frame spans as many as it needs.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from flight.link import tc, tm
from flight.link.frame import Channel, Direction, Frame
from flight.link.packet import HEADER_BYTES, MIN_PACKET_BYTES, Packer, idle, whole

# APID and body of the next packet of a channel, in at most so many bytes of body; None if there is none.
Source = Callable[[Channel, int], tuple[int, bytes] | None]
LARGEST_BODY_BYTES = 1 << 16  # 133.0-B-2 4.1.3.5.2


def max_data_bytes(direction: Direction, frame_bytes: int) -> int:
    """The most data that a frame of `frame_bytes` carries, packet headers included [bytes]."""
    return frame_bytes - (tc.OVERHEAD_BYTES if direction is Direction.UPLINK else tm.OVERHEAD_BYTES)


@dataclass(frozen=True, slots=True)
class Field:
    """The data of one frame of a channel, and the fields of a downlink header that go with them."""

    channel: Channel
    data: bytes
    channel_count: int = 0
    first_header: int = 0
    idle_bytes: int = 0  # of the idle packet or the idle data that begin here


class Framer(Protocol):
    """What makes the data of one direction's frames."""

    def fill(self, source: Source) -> Field | None:
        """The data of the next frame; None if no channel has a packet."""
        ...

    def idle(self) -> Field:
        """The data of a frame that only says that someone is there."""
        ...

    @property
    def unfinished(self) -> bool:
        """Whether a packet has begun that the next frame must go on with."""
        ...


class TcFramer:
    """Whole packets of one channel into the data of a TC frame."""

    def __init__(self, capacity: int) -> None:
        self._capacity = capacity
        self._packer = Packer(Direction.UPLINK)

    def fill(self, source: Source) -> Field | None:
        """The data of the next frame; None if no channel has a packet."""
        for channel in Channel:
            data = b""
            while (room := self._capacity - len(data) - HEADER_BYTES) > 0 and (unit := source(channel, room)):
                data += self._packer.pack(*unit)
            if data:
                return Field(channel, data)
        return None

    def idle(self) -> Field:
        """One idle packet, the shortest there is: the data field of a TC frame may not be empty (4.1.1.1 b)."""
        return Field(Channel.OPERATIONS, idle(MIN_PACKET_BYTES, Direction.UPLINK), idle_bytes=MIN_PACKET_BYTES)

    @property
    def unfinished(self) -> bool:
        """Never: packets are whole."""
        return False


@dataclass
class _Outgoing:
    """A downlink channel: its frame count, and the rest of a packet that goes on in its next frame."""

    count: int = 0
    rest: bytes = b""
    rest_is_idle: bool = False


class TmFramer:
    """Packets of one channel into the data field of a TM frame, which they fill (132.0-B-3 4.2.2 and 4.2.3)."""

    def __init__(self, capacity: int) -> None:
        self._capacity = capacity
        self._packer = Packer(Direction.DOWNLINK)
        self._noise = tm.IdleData()
        self._channels = {channel: _Outgoing() for channel in Channel}

    def fill(self, source: Source) -> Field | None:
        """The data of the next frame; None if no channel has a packet."""
        for channel, state in self._channels.items():
            data, rest = state.rest[: self._capacity], state.rest[self._capacity :]
            first_header = len(data) if len(data) < self._capacity else tm.NO_PACKET_STARTS
            while (room := self._capacity - len(data) - HEADER_BYTES) > 0 and (unit := source(channel, room)):
                data += self._packer.pack(*unit)
            idles = not state.rest or state.rest_is_idle
            if idles and data == state.rest and (unit := source(channel, LARGEST_BODY_BYTES)):
                data += self._packer.pack(*unit)
            if data != state.rest or not idles:
                return self._finish(channel, state, data, rest, first_header)
        return None

    def _finish(self, channel: Channel, state: _Outgoing, data: bytes, rest: bytes, first_header: int) -> Field:
        """Cut what goes on in the next frame, or fill what is left; the shortest idle packet may be too long."""
        missing = self._capacity - len(data)
        filling = idle(max(missing, MIN_PACKET_BYTES), Direction.DOWNLINK) if missing > 0 else b""
        data += filling
        state.rest, state.rest_is_idle = data[self._capacity :] + rest, bool(filling)
        return self._field(channel, data[: self._capacity], first_header, len(filling))

    def _field(self, channel: Channel, data: bytes, first_header: int, idle_bytes: int) -> Field:
        state = self._channels[channel]
        count, state.count = state.count, (state.count + 1) % tm.COUNTS
        return Field(channel, data, count, first_header, idle_bytes)

    def idle(self) -> Field:
        """Only idle data, on a channel that carries packets (132.0-B-3 4.1.4.6.3); a rest that is idle goes with it."""
        self._channels[Channel.FILE_DATA].rest = b""
        noise = self._noise.take(self._capacity)
        return self._field(Channel.FILE_DATA, noise, tm.ONLY_IDLE_DATA, len(noise))

    @property
    def unfinished(self) -> bool:
        """Whether a packet has begun that the next frame must go on with."""
        return any(state.rest and not state.rest_is_idle for state in self._channels.values())


@dataclass
class _Incoming:
    """A channel as received: the last frame's counts, and the beginning of a packet that goes on."""

    counter: int = -1
    count: int = 0
    begun: bytes = b""


class Reception:
    """Frames of one direction back into whole packets, and how many frames each channel has lost.

    Lost frames are those that the virtual channel frame count skips (132.0-B-3 4.1.2.6). TC frames of Type-BD have no
    count, so uplink frames are missed by the anti-replay counter, all channels together under "uplink". Counters that a
    restart of the sender skipped, up to the end of a block, are not taken for lost frames.
    """

    def __init__(self, direction: Direction, counter_block: int, lost: dict[str, int]) -> None:
        self._uplink = direction is Direction.UPLINK
        self._block = counter_block
        self._channels = {channel: _Incoming() for channel in Channel}
        self.lost = lost

    def take(self, frame: Frame) -> list[bytes]:
        """Runs of whole packets that this frame brings to an end; nothing for one that only continues a packet."""
        header = frame.header
        state = self._channels[Channel.OPERATIONS if self._uplink else header.channel]
        name = "uplink" if self._uplink else header.channel.name.lower().replace("_", " ")
        if frame.counter < state.counter:  # counted as lost, and only late
            self.lost[name] = max(0, self.lost.get(name, 0) - 1)
            return [frame.data] if self._uplink else _runs(b"", frame.data, header.first_header)[0]
        missed = frame.counter - state.counter - 1
        skipped = missed if self._uplink else (header.channel_count - state.count - 1) % tm.COUNTS
        goes_on = state.counter >= 0 and skipped == 0 and missed < tm.COUNTS
        if state.counter >= 0:
            self.lost[name] = self.lost.get(name, 0) + min(skipped, missed, frame.counter % self._block)
        state.counter, state.count = frame.counter, header.channel_count
        if self._uplink:
            return [frame.data]
        runs, state.begun = _runs(state.begun if goes_on else b"", frame.data, header.first_header)
        return runs


def _runs(begun: bytes, data: bytes, first_header: int) -> tuple[list[bytes], bytes]:
    """Whole packets from what an earlier frame began and this one's data, and what the next frame must go on with."""
    if first_header == tm.ONLY_IDLE_DATA:
        return [], b""
    continues = first_header == tm.NO_PACKET_STARTS
    runs = []
    if begun:
        begun += data if continues else data[:first_header]
        end = whole(begun)
        if end == len(begun):
            runs.append(begun)
            begun = b""
        elif not continues or end or len(begun) > HEADER_BYTES + LARGEST_BODY_BYTES:
            begun = b""  # lengths and pointer disagree: what was begun is not what goes on here
    if continues:
        return runs, begun
    fresh = data[first_header:]
    end = whole(fresh)
    return [*runs, fresh[:end]] if end else runs, fresh[end:]
