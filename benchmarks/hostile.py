"""Hostile frames: what an attacker who sees the link can send, and how many of them an end accepts.

The attacker has recorded frames of both directions and knows every format, but no key. Nearly every frame has a correct
CRC, so that it is the tag that is tested. All depends on the seed.
"""

from __future__ import annotations

import random
from collections.abc import Callable

from flight.config import LinkConfig
from flight.link import tc, tm
from flight.link.channels import max_data_bytes
from flight.link.errors import RejectedError
from flight.link.frame import CRC_BYTES, SECURITY_HEADER, TRAILER_BYTES, Channel, Direction, with_crc
from flight.link.keys import KeyRing
from flight.link.security import SecureChannel

RECORDED = 64


class Attacker:
    """Makes frames against one direction of a link; `target` is the end that they are sent to.

    `accepted` of its recorded frames the target has taken, the others never reached it. The key ring's second key has
    been retired at the target.
    """

    def __init__(self, direction: Direction, seed: int, config: LinkConfig | None = None) -> None:
        self.random = random.Random(seed)  # noqa: S311 (an attacker that can be repeated)
        self.config = config or LinkConfig()
        keys = KeyRing({1: self.random.randbytes(32), 2: self.random.randbytes(32)}, 1)
        sender = SecureChannel(self.config, keys, direction)
        self.target = SecureChannel(self.config, keys, direction.other)
        self.header_bytes = (tc if direction is Direction.UPLINK else tm).HEADER_BYTES
        self._direction = direction
        self._others = [
            SecureChannel(self.config, KeyRing({1: bytes(32), 2: bytes(range(32))}, 1), direction),
            SecureChannel(self.config, KeyRing.parse(keys.dump().replace(b"active = 1", b"active = 2")), direction),
        ]
        self.target.use.admit(1)
        self.target.use.heard(1, 0)
        self.accepted = [self._sealed(sender) for _ in range(RECORDED)]
        for frame in self.accepted:
            self.target.open(frame)
        self.unseen = [self._sealed(sender) for _ in range(RECORDED)]
        self._genuine = frozenset(self.unseen)
        self.reflected = [self._sealed(self.target) for _ in range(RECORDED)]
        self.kinds: tuple[Callable[[], bytes], ...] = (
            self.noise,
            self.forged,
            self.flipped,
            self.rewritten,
            self.replayed,
            self.wrong_key,
            self.truncated,
            self.oversized,
            self.spliced,
            self.from_the_other_end,
        )

    def frame(self) -> bytes:
        """One hostile frame.

        A splice may come out as a whole genuine frame, which the target rightly accepts: that is no attack.
        """
        while True:
            frame = self.random.choice(self.kinds)()
            if frame not in self._genuine:
                return frame

    def _sealed(self, channel: SecureChannel) -> bytes:
        way = channel.sends
        size = max_data_bytes(way, self.config.frame_bytes)
        if way is Direction.UPLINK:
            size = self.random.randint(1, size)
        return channel.seal(self.random.choice(list(Channel)), self.random.randbytes(size))[0]

    def _resized(self, body: bytes) -> bytes:
        """A body with a correct CRC and, on the uplink, the length that the header must say."""
        if self._direction is Direction.UPLINK and len(body) >= tc.HEADER_BYTES:
            length = (len(body) + CRC_BYTES - 1) & 0x3FF
            body = body[:2] + bytes([body[2] & 0xFC | length >> 8, length & 0xFF]) + body[4:]
        return with_crc(body)

    def noise(self) -> bytes:
        """Random bytes; one in four has no correct CRC either."""
        body = self.random.randbytes(self.random.randint(0, self.config.frame_bytes))
        return body if self.random.random() < 0.25 else self._resized(body[:-CRC_BYTES])

    def forged(self) -> bytes:
        """A good header, a key in use, a counter to come, random data and a random tag."""
        start = self.random.choice(self.unseen)[: self.header_bytes]
        size = max_data_bytes(self._direction, self.config.frame_bytes)
        header = SECURITY_HEADER.pack(1, self.random.randint(RECORDED, 4 * RECORDED))
        return self._resized(start + header + self.random.randbytes(size + TRAILER_BYTES - CRC_BYTES))

    def flipped(self) -> bytes:
        """A frame that the target has not seen, with 1 to 8 bits turned."""
        body = bytearray(self.random.choice(self.unseen)[:-CRC_BYTES])
        for bit in self.random.sample(range(8 * len(body)), self.random.randint(1, 8)):
            body[bit // 8] ^= 1 << bit % 8
        return with_crc(bytes(body))

    def rewritten(self) -> bytes:
        """An accepted frame with another counter."""
        frame = bytearray(self.random.choice(self.accepted))
        at = self.header_bytes + 1
        new = self.random.randint(RECORDED, (1 << 31) - 1).to_bytes(4, "big")
        frame[at : at + 4] = new
        return with_crc(bytes(frame[:-CRC_BYTES]))

    def replayed(self) -> bytes:
        """A frame that was accepted."""
        return self.random.choice(self.accepted)

    def wrong_key(self) -> bytes:
        """A frame with keys of the attacker's own, or with the retired one."""
        return self._sealed(self.random.choice(self._others))

    def truncated(self) -> bytes:
        """The beginning of a frame."""
        frame = self.random.choice(self.unseen)
        return self._resized(frame[: self.random.randint(0, len(frame) - CRC_BYTES - 1)])

    def oversized(self) -> bytes:
        """A frame with more data before its tag."""
        frame = self.random.choice(self.unseen)
        more = self.random.randbytes(self.random.randint(1, 64))
        return self._resized(frame[:-TRAILER_BYTES] + more + frame[-TRAILER_BYTES:-CRC_BYTES])

    def spliced(self) -> bytes:
        """The beginning of one frame and the end of another."""
        first, second = self.random.sample(self.unseen, 2)
        cut = self.random.randint(1, min(len(first), len(second)) - CRC_BYTES - 1)
        return self._resized(first[:cut] + second[cut:-CRC_BYTES])

    def from_the_other_end(self) -> bytes:
        """A frame of the target's own, as it is."""
        return self.random.choice(self.reflected)


def attack(attacker: Attacker, frames: int) -> tuple[int, dict[str, int]]:
    """How many of so many hostile frames the target accepts, and why it refuses the others."""
    reasons: dict[str, int] = {}
    accepted = 0
    for _ in range(frames):
        try:
            attacker.target.open(attacker.frame())
        except RejectedError as error:
            reasons[error.reason] = reasons.get(error.reason, 0) + 1
        else:
            accepted += 1
    return accepted, reasons
