"""Chips in: the messages between camera and flight, and the bounded queue that takes them in order.

The camera's recorder numbers chips in the order in which it takes them and keeps each until flight acknowledges it,
which follows a checkpoint. Flight gives credit: `RecorderRequest` names the window of numbers it has room for. The
queue takes only the next number (go-back-N): after a restart, or when it sees a hole, it asks the recorder to start
over from there. A chip that the recorder could not keep is announced by `Gap`, so that flight does not wait for it.
"""

from __future__ import annotations

import math
from collections import deque
from dataclasses import dataclass
from typing import Any

import msgpack
import numpy as np
from numpy.typing import NDArray

MAX_NUMBER = 1 << 40
MAX_GRID = 1 << 16
MAX_SCENE = 1 << 31
MIN_SIDE, MAX_SIDE, MAX_BANDS = 16, 512, 13
MAX_HEADER_BYTES = 64
MAX_CHIP_BYTES = MAX_SIDE * MAX_SIDE * MAX_BANDS + MAX_HEADER_BYTES
MAX_REQUEST_BYTES = 64
MAX_REWINDS = 3


class IngestError(ValueError):
    """A message between camera and flight that is malformed."""


@dataclass(frozen=True, eq=False)
class Chip:
    """One image chip, as the camera sends it; it does not know municipalities.

    Attributes:
        number: position in the order of taking, from 0.
        t_s: mission time at which it was taken [s].
        row, col: cell of the region's grid.
        scene: number of the overpass.
        image: uint8 (height, width, bands), sides 16 to 512, 1 to 13 bands; read-only when unpacked.
    """

    number: int
    t_s: float
    row: int
    col: int
    scene: int
    image: NDArray[np.uint8]

    def pack(self) -> bytes:
        """The message: msgpack array ["chip", number, t_s, row, col, scene, height, width, bands, pixels]."""
        if self.image.dtype != np.uint8 or self.image.ndim != 3:
            raise IngestError(f"chip image is {self.image.dtype} {self.image.shape}, expected uint8 of 3 dimensions")
        head = (self.number, self.t_s, self.row, self.col, self.scene, *self.image.shape)
        _check_chip(*head)
        return _packed("chip", *head, self.image.tobytes())

    @classmethod
    def unpack(cls, body: bytes, max_bytes: int = MAX_CHIP_BYTES) -> Chip:
        """The chip in a message of at most `max_bytes`; IngestError if it is anything else."""
        return cls._from_fields(_fields(body, max_bytes, "chip", 9), body)

    @classmethod
    def _from_fields(cls, fields: list[Any], body: bytes) -> Chip:
        *head, pixels = fields
        _check_chip(*head)
        number, t_s, row, col, scene, height, width, bands = head
        if not isinstance(pixels, bytes) or len(pixels) != height * width * bands:
            found = f"{len(pixels)} bytes" if isinstance(pixels, bytes) else type(pixels).__name__
            raise IngestError(f"chip {number}: pixels are {found}, expected {height} x {width} x {bands} bytes")
        image = np.frombuffer(body, np.uint8, offset=len(body) - len(pixels))  # they end the message: no second copy
        return cls(number, t_s, row, col, scene, image.reshape(height, width, bands))


@dataclass(frozen=True)
class Gap:
    """The recorder has no chips `first` to `until` - 1 (it overflowed, or has forgotten them), and never will."""

    first: int
    until: int

    def pack(self) -> bytes:
        """The message: msgpack array ["gap", first, until]."""
        self._check()
        return _packed("gap", self.first, self.until)

    @classmethod
    def unpack(cls, body: bytes) -> Gap:
        """The gap in a message; IngestError if it is anything else."""
        return cls._from_fields(_fields(body, MAX_REQUEST_BYTES, "gap", 2))

    @classmethod
    def _from_fields(cls, fields: list[Any]) -> Gap:
        gap = cls(*fields)
        gap._check()
        return gap

    def _check(self) -> None:
        _check_int("gap first", self.first, 0, MAX_NUMBER)
        _check_int("gap until", self.until, self.first + 1, MAX_NUMBER)


@dataclass(frozen=True)
class RecorderRequest:
    """What flight asks of the camera's recorder.

    Attributes:
        acknowledged: chips below this number may be forgotten.
        wanted_from, wanted_until: flight has room for these numbers, the last one exclusive; equal if it has none.
        rewind: send again from `wanted_from`, whatever was sent before; otherwise go on where sending stopped.
    """

    acknowledged: int
    wanted_from: int
    wanted_until: int
    rewind: bool = False

    def pack(self) -> bytes:
        """The message: msgpack array ["request", acknowledged, wanted_from, wanted_until, rewind]."""
        self._check()
        return _packed("request", self.acknowledged, self.wanted_from, self.wanted_until, self.rewind)

    @classmethod
    def unpack(cls, body: bytes) -> RecorderRequest:
        """The request in a message; IngestError if it is anything else."""
        request = cls(*_fields(body, MAX_REQUEST_BYTES, "request", 4))
        request._check()
        return request

    def _check(self) -> None:
        _check_int("request acknowledged", self.acknowledged, 0, MAX_NUMBER)
        _check_int("request wanted_from", self.wanted_from, self.acknowledged, MAX_NUMBER)
        _check_int("request wanted_until", self.wanted_until, self.wanted_from, MAX_NUMBER)
        if not isinstance(self.rewind, bool):
            raise IngestError(f"request rewind is {self.rewind!r}, expected true or false")


class ChipQueue:
    """Chips that wait to be learned from: at most `capacity`, numbers without a hole, starting at `next_number`.

    Args:
        capacity: greatest number of chips that wait; also the credit given to the recorder.
        next_number: first number expected; after a restart, the first one not in the checkpoint.
        max_message_bytes: longer messages are malformed.
        shape: (height, width, bands) that every chip must have; None accepts any shape that `Chip` does.
    """

    def __init__(
        self,
        capacity: int,
        next_number: int = 0,
        *,
        max_message_bytes: int = MAX_CHIP_BYTES,
        shape: tuple[int, int, int] | None = None,
    ) -> None:
        self.capacity = capacity
        self.next_number = next_number
        self.max_message_bytes = max_message_bytes
        self.shape = shape
        self.counters = dict.fromkeys(
            ("accepted", "lost", "duplicates", "out_of_order", "overflow", "malformed", "rewinds"), 0
        )
        self._waiting: deque[Chip] = deque()
        self._rewind = True  # a recorder may be anywhere when flight starts
        self._rewinds_here = 0
        self._last: RecorderRequest | None = None

    def __len__(self) -> int:
        return len(self._waiting)

    def offer(self, body: bytes) -> bool:
        """Take in a message from the camera; True if it was the next chip or gap, False if counted and dropped."""
        try:
            item = unpack_from_camera(body, self.max_message_bytes)
            if self.shape is not None and isinstance(item, Chip) and item.image.shape != self.shape:
                raise IngestError(f"chip {item.number}: shape is {item.image.shape}, expected {self.shape}")
        except IngestError:
            return self._refuse("malformed")
        first, until = (item.first, item.until) if isinstance(item, Gap) else (item.number, item.number + 1)
        if until <= self.next_number:
            self.counters["duplicates"] += 1
            return False
        if first > self.next_number:
            return self._refuse("out_of_order")
        if isinstance(item, Gap):
            self.counters["lost"] += until - self.next_number
        elif len(self._waiting) >= self.capacity:
            return self._refuse("overflow")
        else:
            self._waiting.append(item)
            self.counters["accepted"] += 1
        self.next_number = until
        self._rewinds_here = 0
        return True

    @property
    def first_number(self) -> int:
        """Number of the first chip that waits; the next one expected if none does."""
        return self._waiting[0].number if self._waiting else self.next_number

    def take(self, limit: int) -> list[Chip]:
        """Up to `limit` chips in order, removed from the queue."""
        return [self._waiting.popleft() for _ in range(min(limit, len(self._waiting)))]

    def drop(self) -> int:
        """Forget all chips that wait, and ask for them again; how many there were."""
        dropped = len(self._waiting)
        self.next_number = self.first_number
        self._waiting.clear()
        self.rewind()
        return dropped

    def rewind(self) -> None:
        """Ask for everything from the next number on again, with the next request."""
        self._rewind = True

    def request(self, acknowledged: int) -> RecorderRequest | None:
        """What to tell the recorder now that chips below `acknowledged` are on disk; None if nothing has changed."""
        until = min(MAX_NUMBER, self.next_number + max(0, self.capacity - len(self._waiting)))
        request = RecorderRequest(acknowledged, self.next_number, until, self._rewind)
        if request == self._last:
            return None
        self.counters["rewinds"] += self._rewind
        self._rewinds_here += self._rewind
        self._rewind = False
        self._last = RecorderRequest(acknowledged, self.next_number, until)
        return request

    def _refuse(self, counter: str) -> bool:
        """Count a message that cannot be taken, and ask for a rewind; MAX_REWINDS times for one number.

        What was on its way before a rewind still arrives, so one hole may cost two; a chip that is malformed every
        time must not keep the bus busy for ever.
        """
        self.counters[counter] += 1
        if self._rewinds_here < MAX_REWINDS:
            self._rewind = True
        return False


def unpack_from_camera(body: bytes, max_bytes: int = MAX_CHIP_BYTES) -> Chip | Gap:
    """The chip or gap in a message from the camera of at most `max_bytes`; IngestError if it is neither."""
    kind, fields = _message(body, max_bytes)
    if kind == "chip" and len(fields) == 9:
        return Chip._from_fields(fields, body)
    if kind == "gap" and len(fields) == 2:
        return Gap._from_fields(fields)
    raise IngestError(f"expected a chip or a gap, found {kind!r} with {len(fields)} fields")


def _packed(*fields: object) -> bytes:
    return bytes(msgpack.packb(fields, use_bin_type=True))


def _fields(body: bytes, max_bytes: int, kind: str, count: int) -> list[Any]:
    found, fields = _message(body, max_bytes)
    if found != kind or len(fields) != count:
        raise IngestError(f"expected {kind!r} with {count} fields, found {found!r} with {len(fields)}")
    return fields


def _message(body: bytes, max_bytes: int) -> tuple[str, list[Any]]:
    """Kind and fields of a message; nothing longer than the message itself is allocated."""
    if len(body) > max_bytes:
        raise IngestError(f"message has {len(body)} bytes, allowed are {max_bytes}")
    try:
        value = msgpack.unpackb(
            body, raw=False, max_bin_len=len(body), max_str_len=16, max_array_len=16, max_map_len=0, max_ext_len=0
        )
    except (ValueError, msgpack.UnpackException) as error:
        raise IngestError(f"message of {len(body)} bytes is not msgpack: {error}") from None
    if not (isinstance(value, list) and value and isinstance(value[0], str)):
        raise IngestError("message is not an array that starts with its kind")
    return value[0], value[1:]


def _check_int(name: str, value: object, low: int, high: int) -> None:
    if type(value) is not int or not low <= value <= high:
        raise IngestError(f"{name} is {value!r}, expected an integer between {low} and {high}")


def _check_chip(
    number: object, t_s: object, row: object, col: object, scene: object, height: object, width: object, bands: object
) -> None:
    _check_int("chip number", number, 0, MAX_NUMBER - 1)
    if type(t_s) is not float or not math.isfinite(t_s):
        raise IngestError(f"chip {number}: time is {t_s!r}, expected finite seconds")
    for name, value, low, high in (
        ("row", row, 0, MAX_GRID - 1),
        ("column", col, 0, MAX_GRID - 1),
        ("scene", scene, 0, MAX_SCENE - 1),
        ("height", height, MIN_SIDE, MAX_SIDE),
        ("width", width, MIN_SIDE, MAX_SIDE),
        ("bands", bands, 1, MAX_BANDS),
    ):
        _check_int(f"chip {number}: {name}", value, low, high)
