"""Authentication of frames and protection against replay, shaped like SDLS (CCSDS 355.0-B), which it is not.

A frame carries the low half of a 64-bit counter and a tag: HMAC-SHA-256, truncated to 16 bytes, over the whole
counter, the header and the payload. Payloads are not encrypted. The sender reserves counters in blocks that must be
on disk before any of them is used; the receiver accepts each counter once, within a window of 64.
"""

from __future__ import annotations

import hmac
from typing import Any

from flight.config import LinkConfig
from flight.link import state
from flight.link.errors import LinkError, RejectedError
from flight.link.frame import COUNTER_MASK, OVERHEAD_BYTES, TAG_BYTES, Channel, Direction, Frame, parse, seal
from flight.link.keys import KeyRing

COUNTER_LIMIT = 1 << 63
WINDOW = 64
_WINDOW_MASK = (1 << WINDOW) - 1


def tag(key: bytes, counter: int, covered: bytes) -> bytes:
    """The 16-byte tag over the 64-bit counter and what the frame covers."""
    return hmac.digest(key, counter.to_bytes(8, "big") + covered, "sha256")[:TAG_BYTES]


def expand(low: int, near: int) -> int:
    """The counter with these low 32 bits that lies nearest to `near`, never negative."""
    candidate = (near & ~COUNTER_MASK) | low
    if candidate - near > 1 << 31 and candidate > COUNTER_MASK:
        return candidate - COUNTER_MASK - 1
    if near - candidate > 1 << 31:
        return candidate + COUNTER_MASK + 1
    return candidate


class SendCounter:
    """Counters for sending, each used once even if the process dies: what is saved is the end of the block in use."""

    def __init__(self, block: int, first: int = 0) -> None:
        self.block = block
        self.next = first
        self.reserved = first

    def take(self) -> tuple[int, bool]:
        """The next counter, and whether a new block was reserved that must be saved before the frame leaves."""
        reserves = self.next >= self.reserved
        if reserves:
            self.reserved = self.next + self.block
        if self.next >= COUNTER_LIMIT:
            raise LinkError("the frame counter is used up: change the keys")
        self.next += 1
        return self.next - 1, reserves


class ReplayWindow:
    """Which counters have been accepted: the highest, and a bit for each of the 64 up to it."""

    def __init__(self, highest: int = -1, seen: int = 0) -> None:
        self.highest = highest
        self.seen = seen

    def accept(self, counter: int) -> bool:
        """Take note of an authentic counter; False if it was seen before, or is too old to tell."""
        ahead = counter - self.highest
        if ahead > 0:
            self.seen = (self.seen << min(ahead, WINDOW) | 1) & _WINDOW_MASK
            self.highest = counter
            return True
        bit = 1 << -ahead
        if -ahead >= WINDOW or self.seen & bit:
            return False
        self.seen |= bit
        return True


class SecureChannel:
    """Makes the frames of one direction and opens those of the other."""

    def __init__(self, config: LinkConfig, keys: KeyRing, sends: Direction, first_counter: int = 0) -> None:
        self._frame_bytes = config.frame_bytes
        self._spacecraft_id = config.spacecraft_id
        self._sends = sends
        self._receives = Direction(1 - sends)
        self._active = keys.active
        self._send_key = keys.derive(config.spacecraft_id, self._sends)[keys.active]
        self._receive_keys = keys.derive(config.spacecraft_id, self._receives)
        self.counter = SendCounter(config.counter_block, first_counter)
        self.window = ReplayWindow()

    @property
    def max_payload(self) -> int:
        """Greatest payload of a frame [bytes]."""
        return self._frame_bytes - OVERHEAD_BYTES

    def seal(self, payload: bytes, channel: Channel) -> tuple[bytes, bool]:
        """A frame with the next counter, and whether the state must be saved before it leaves."""
        counter, reserves = self.counter.take()
        low = counter & COUNTER_MASK
        frame = Frame(self._sends, self._spacecraft_id, channel, self._active, low, payload)
        covered = frame.covered()
        return seal(covered, tag(self._send_key, counter, covered)), reserves

    def open(self, data: bytes) -> Frame:
        """An authentic frame that has not been seen before; otherwise `RejectedError`, and nothing has changed."""
        frame = parse(data, self._frame_bytes)
        if frame.spacecraft_id != self._spacecraft_id:
            raise RejectedError("wrong_spacecraft", f"frame is for spacecraft {frame.spacecraft_id}")
        if frame.direction != self._receives:
            raise RejectedError("wrong_direction", f"{frame.direction.name.lower()} frame came back to its sender")
        key = self._receive_keys.get(frame.key_id)
        if key is None:
            raise RejectedError("unknown_key", f"key id {frame.key_id} is in no slot")
        counter = expand(frame.counter_low, max(self.window.highest, 0))
        if not hmac.compare_digest(tag(key, counter, data[: -TAG_BYTES - 2]), frame.tag):
            raise RejectedError("bad_tag", f"tag does not fit key {frame.key_id} and counter {counter}")
        if not self.window.accept(counter):
            raise RejectedError("replayed", f"counter {counter} was used before, the highest is {self.window.highest}")
        return frame

    def save(self) -> dict[str, Any]:
        """The counters, as plain values."""
        return {
            "reserved": self.counter.reserved,
            "highest": self.window.highest,
            "seen": self.window.seen.to_bytes(WINDOW // 8, "big"),
        }

    def restore(self, saved: Any) -> None:
        """Go on from saved counters: sending at the end of the block that was reserved."""
        reserved, highest, seen = state.fields(saved, "security", reserved=int, highest=int, seen=bytes)
        state.check(0 <= reserved < COUNTER_LIMIT, "security.reserved", reserved)
        state.check(-1 <= highest < COUNTER_LIMIT, "security.highest", highest)
        state.check(len(seen) == WINDOW // 8, "security.seen", seen)
        self.counter.next = self.counter.reserved = reserved
        self.window = ReplayWindow(highest, int.from_bytes(seen, "big"))
