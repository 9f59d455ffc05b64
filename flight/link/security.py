"""Authentication of frames and protection against replay, shaped like SDLS (CCSDS 355.0-B), which it is not.

A frame carries the low half of a 64-bit counter and a tag: HMAC-SHA-256, truncated to 16 bytes, over the whole
counter, the primary header, the security header and the data. Data are not encrypted. The sender reserves counters in
blocks that must be on disk before any of them is used; the receiver accepts each counter once, within a window of 64.

SDLS proper (355.0-B-2) has a 16-bit security parameter index, masks fields that a relay may change, among them the
master channel frame count (4.2.2.6.2), and names AES-CMAC and AES-GCM as its baselines (annex E).
"""

from __future__ import annotations

import hmac
from typing import Any

from flight.config import LinkConfig
from flight.link import state, tc, tm
from flight.link.errors import LinkError, RejectedError
from flight.link.frame import (
    COUNTER_MASK,
    SECURITY_HEADER,
    TAG_BYTES,
    TRAILER_BYTES,
    Channel,
    Direction,
    Frame,
    with_crc,
)
from flight.link.keys import KeyRing
from flight.link.keyuse import KeyUse

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
    """Counters for sending, each used once even if the process dies: what is saved is the end of the block in use.

    Blocks end at multiples of their size, so a receiver can tell a counter that was skipped by a restart.
    """

    def __init__(self, block: int, first: int = 0) -> None:
        self.block = block
        self.next = first
        self.reserved = first

    @property
    def left(self) -> int:
        """Counters that can be taken without another block."""
        return self.reserved - self.next

    def take(self) -> tuple[int, bool]:
        """The next counter, and whether a new block was reserved that must be saved before the frame leaves."""
        reserves = self.next >= self.reserved
        if reserves:
            self.reserved = (self.next // self.block + 1) * self.block
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
        self.sends = sends
        self._parse = tc.parse if sends is Direction.DOWNLINK else tm.parse
        self._send_keys = keys.derive(config.spacecraft_id, sends)
        self._receive_keys = keys.derive(config.spacecraft_id, sends.other)
        self._saved_highest = -1
        self.use = KeyUse(keys.key_ids, keys.active)
        self.counter = SendCounter(config.counter_block, first_counter)
        self.window = ReplayWindow()

    def seal(self, channel: Channel, data: bytes, channel_count: int = 0, first_header: int = 0) -> tuple[bytes, bool]:
        """A frame with the next counter, and whether the state must be saved before it leaves.

        Downlink data fill the frame, and come with their virtual channel frame count and first header pointer. The
        master channel frame count is the low byte of the counter.
        """
        counter, reserves = self.counter.take()
        if self.sends is Direction.UPLINK:
            header = tc.pack_header(self._spacecraft_id, channel, tc.OVERHEAD_BYTES + len(data))
        else:
            header = tm.pack_header(self._spacecraft_id, channel, counter, channel_count, first_header)
        key_id = self.use.sending
        covered = header + SECURITY_HEADER.pack(key_id, counter & COUNTER_MASK) + data
        return with_crc(covered + tag(self._send_keys[key_id], counter, covered)), reserves

    def open(self, data: bytes) -> Frame:
        """An authentic frame that has not been seen before; otherwise `RejectedError`, and nothing has changed."""
        header = self._parse(data, self._frame_bytes)
        if header.spacecraft_id != self._spacecraft_id:
            raise RejectedError("wrong_spacecraft", f"frame is for spacecraft {header.spacecraft_id}")
        key_id, counter_low = SECURITY_HEADER.unpack_from(data, header.security_at)
        key = self._receive_keys.get(key_id)
        if key is None or key_id not in self.use.accepted:
            raise RejectedError("unknown_key", f"key {key_id} is {'in no slot' if key is None else 'retired'}")
        counter = expand(counter_low, max(self.window.highest, 0))
        end = len(data) - TRAILER_BYTES
        if not hmac.compare_digest(tag(key, counter, data[:end]), data[end : end + TAG_BYTES]):
            raise RejectedError("bad_tag", f"tag does not fit key {key_id} and counter {counter}")
        if not self.window.accept(counter):
            raise RejectedError("replayed", f"counter {counter} was used before, the highest is {self.window.highest}")
        self.use.newest = self.window.highest
        return Frame(header, counter, key_id, bytes(data[header.security_at + SECURITY_HEADER.size : end]))

    @property
    def window_is_old(self) -> bool:
        """Whether a whole block has been accepted since the window was saved: replays of those would pass a restart."""
        return self.window.highest - self._saved_highest >= self.counter.block

    def save(self) -> dict[str, Any]:
        """The counters and which keys are in use, as plain values."""
        self._saved_highest = self.window.highest
        return {
            "reserved": self.counter.reserved,
            "highest": self.window.highest,
            "seen": self.window.seen.to_bytes(WINDOW // 8, "big"),
            "keys": self.use.save(),
        }

    def restore(self, saved: Any) -> None:
        """Go on from saved counters: sending at the end of the block that was reserved."""
        reserved, highest, seen, keys = state.fields(
            saved, "security", reserved=int, highest=int, seen=bytes, keys=dict
        )
        state.check(0 <= reserved < COUNTER_LIMIT, "security.reserved", reserved)
        state.check(-1 <= highest < COUNTER_LIMIT, "security.highest", highest)
        state.check(len(seen) == WINDOW // 8, "security.seen", seen)
        self.counter.next = self.counter.reserved = reserved
        self.window = ReplayWindow(highest, int.from_bytes(seen, "big"))
        self._saved_highest = highest
        self.use.restore(keys, highest)
