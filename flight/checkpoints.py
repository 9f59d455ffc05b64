"""The checkpoint: two generations of what the payload has learned, and up to which chip both of them hold it."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from typing import Any

import msgpack

from flight.store import Store, read_state

RECORD = "checkpoint"
FORMAT = 1


_BYTES = struct.Struct(">BI")  # how bytes begin in MessagePack: bin 32 and their number


class Checkpoints:
    """The checkpoint of one payload in `store`.

    Attributes:
        generation: number of the newest one; 0 without.
        safe_number: the first chip that the older of the two generations lacks. Those below it may be forgotten by
            whoever took them: either generation may be damaged, and the other still has them.
    """

    def __init__(self, store: Store) -> None:
        self.store = store
        self.generation = self.safe_number = 0
        self._in_newest = 0

    def read(self) -> dict[str, Any] | None:
        """The newest whole one; None without. StateFormatError if one of them is of another format."""
        newest: dict[str, Any] | None = None
        numbers = []
        for data in self.store.each(RECORD):
            state = read_state(data, RECORD, FORMAT)
            numbers.append(int(state["progress"]["next_number"]))
            newest = newest or state
            del data, state  # the other one is as large
        if newest is None:
            return None
        self.generation = self.store.generation(RECORD)
        self._in_newest = numbers[0]
        self.safe_number = min(numbers) if len(numbers) == 2 else 0
        return newest

    def write(self, state: dict[str, Any], learner: Sequence[bytes | memoryview]) -> None:
        """Write the next generation, of `state` and a learner in parts; StoreError if that fails: others stand."""
        packer = msgpack.Packer()
        head = packer.pack_map_header(len(state) + 2)
        for key, value in {"format": FORMAT, **state}.items():
            head += packer.pack(key) + packer.pack(value)
        head += packer.pack("learner") + _BYTES.pack(0xC6, sum(map(len, learner)))
        self.generation = self.store.put(RECORD, [head, *learner])
        self.safe_number, self._in_newest = self._in_newest, state["progress"]["next_number"]

    def doubt(self) -> None:
        """A generation is damaged: until two more are written, none is counted on."""
        self.safe_number = self._in_newest = 0

    def safe(self, next_number: int) -> bool:
        """Whether both generations hold the same chips, as many as there were; nothing is to be done about it then."""
        return self.safe_number >= self._in_newest and (self._in_newest > 0 or not next_number)
