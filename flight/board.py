"""What flight and the board (power and thermal control) tell each other.

The board reports the state of battery, Sun and temperature. Flight answers with what it draws power for, whenever that
has changed: a board may plan with it, and a simulator turns it into watts. A board that never speaks is not missed.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import msgpack

from flight.link.definitions import ACTIVITIES, MODES

MAX_BYTES = 96


class BoardError(ValueError):
    """A message between board and flight that is malformed."""


@dataclass(frozen=True)
class Reading:
    """What the board reports: charge as a share of full, whether the Sun shines, temperature of the payload [degC]."""

    battery: float
    sunlit: bool
    temperature_degc: float

    def pack(self) -> bytes:
        """The message: msgpack array ["reading", battery, sunlit, temperature_degc]."""
        self._check()
        return bytes(msgpack.packb(("reading", self.battery, self.sunlit, self.temperature_degc)))

    @classmethod
    def unpack(cls, body: bytes) -> Reading:
        """The reading in a message; BoardError if it is anything else."""
        reading = cls(*_fields(body, "reading", 3))
        reading._check()
        return reading

    def _check(self) -> None:
        _check_number("battery", self.battery, 0.0, 1.0)
        _check_number("temperature_degc", self.temperature_degc, -273.15, 1000.0)
        if not isinstance(self.sunlit, bool):
            raise BoardError(f"sunlit is {self.sunlit!r}, expected true or false")


@dataclass(frozen=True)
class Draw:
    """What flight draws power for: its mode, what the CPU does, and the share of the CPU that work may have."""

    mode: str
    activity: str
    cpu_share: float

    def pack(self) -> bytes:
        """The message: msgpack array ["draw", mode, activity, cpu_share]."""
        self._check()
        return bytes(msgpack.packb(("draw", self.mode, self.activity, self.cpu_share)))

    @classmethod
    def unpack(cls, body: bytes) -> Draw:
        """The draw in a message; BoardError if it is anything else."""
        draw = cls(*_fields(body, "draw", 3))
        draw._check()
        return draw

    def _check(self) -> None:
        _check_number("cpu_share", self.cpu_share, 0.0, 1.0)
        for name, value, known in (("mode", self.mode, MODES), ("activity", self.activity, ACTIVITIES)):
            if value not in known:
                raise BoardError(f"{name} is {value!r}, expected one of {', '.join(known)}")


def _fields(body: bytes, kind: str, count: int) -> list[Any]:
    if len(body) > MAX_BYTES:
        raise BoardError(f"message has {len(body)} bytes, allowed are {MAX_BYTES}")
    try:
        value = msgpack.unpackb(body, max_str_len=16, max_array_len=8, max_map_len=0, max_bin_len=0, max_ext_len=0)
    except (ValueError, msgpack.UnpackException) as error:
        raise BoardError(f"message of {len(body)} bytes is not msgpack: {error}") from None
    if not isinstance(value, list) or len(value) != count + 1 or value[0] != kind:
        raise BoardError(f"expected {kind!r} with {count} fields")
    return value[1:]


def _check_number(name: str, value: object, low: float, high: float) -> None:
    if not isinstance(value, float) or not math.isfinite(value) or not low <= value <= high:
        raise BoardError(f"{name} is {value!r}, expected a number between {low:g} and {high:g}")
