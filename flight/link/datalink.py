"""The data link of one end: packets into sealed frames, frames that arrive back into packets, and what both cost."""

from __future__ import annotations

from flight.config import LinkConfig
from flight.link import tm
from flight.link.channels import Framer, Reception, Source, TcFramer, TmFramer, max_data_bytes
from flight.link.counters import FRAMING, Counters, add_bytes
from flight.link.frame import Direction, Frame
from flight.link.packet import HEADER_BYTES, IDLE_APID, label
from flight.link.security import SecureChannel


def max_body_bytes(direction: Direction, frame_bytes: int) -> int:
    """Body of the largest packet that a frame of `frame_bytes` holds whole [bytes]."""
    return max_data_bytes(direction, frame_bytes) - HEADER_BYTES


class DataLink:
    """What stands between an endpoint's packets and the radio. `needs_save` as for the endpoint."""

    def __init__(self, config: LinkConfig, secure: SecureChannel, sends: Direction, counters: Counters) -> None:
        self._secure = secure
        capacity = max_data_bytes(sends, config.frame_bytes)
        self._framer: Framer = TcFramer(capacity) if sends is Direction.UPLINK else TmFramer(capacity)
        self._reception = Reception(sends.other, config.counter_block, counters.frames_lost)
        self._counters = counters
        self.needs_save = False

    def use_counters(self, counters: Counters) -> None:
        """Count in these from now on."""
        self._counters = counters
        self._reception.lost = counters.frames_lost

    @property
    def unfinished(self) -> bool:
        """Whether a packet has begun that the next frame must go on with."""
        return self._framer.unfinished

    def transmit(self, source: Source, or_idle: bool) -> bytes | None:
        """The next frame with packets from `source`; without any an idle one or None."""
        field = self._framer.fill(source) or (self._framer.idle() if or_idle else None)
        if field is None:
            return None
        frame, reserves = self._secure.seal(field.channel, field.data, field.channel_count, field.first_header)
        self.needs_save |= reserves
        self._counters.frames_sent += 1
        add_bytes(self._counters.bytes_sent, FRAMING, len(frame) - len(field.data))
        add_bytes(self._counters.bytes_sent, label(IDLE_APID), field.idle_bytes)
        return frame

    def receive(self, data: bytes) -> tuple[Frame, list[bytes]]:
        """An authentic frame and the runs of packets that it completes; `RejectedError`, and nothing has changed."""
        frame = self._secure.open(data)
        self._counters.frames_accepted += 1
        add_bytes(self._counters.bytes_received, FRAMING, len(data) - len(frame.data))
        if frame.header.first_header == tm.ONLY_IDLE_DATA:
            add_bytes(self._counters.bytes_received, label(IDLE_APID), len(frame.data))
        self.needs_save |= self._secure.window_is_old
        return frame, self._reception.take(frame)
