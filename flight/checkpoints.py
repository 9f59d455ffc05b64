"""The checkpoint: two generations of what the payload has learned, and up to which chip both of them hold it."""

from __future__ import annotations

from typing import Any

import msgpack

from flight.store import Store, read_state

RECORD = "checkpoint"
FORMAT = 1


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
        saved = [read_state(data, RECORD, FORMAT) for data in self.store.whole(RECORD)]
        if not saved:
            return None
        numbers = [int(each["progress"]["next_number"]) for each in saved]
        self.generation = self.store.generation(RECORD)
        self._in_newest = numbers[0]
        self.safe_number = min(numbers) if len(numbers) == 2 else 0
        return saved[0]

    def write(self, state: dict[str, Any]) -> None:
        """Write the next generation; StoreError if that fails, and those before it stand."""
        self.generation = self.store.put(RECORD, msgpack.packb({"format": FORMAT, **state}))
        self.safe_number, self._in_newest = self._in_newest, state["progress"]["next_number"]

    def doubt(self) -> None:
        """A generation is damaged: until two more are written, none is counted on."""
        self.safe_number = self._in_newest = 0

    def safe(self, next_number: int) -> bool:
        """Whether both generations hold the same chips, as many as there were; nothing is to be done about it then."""
        return self.safe_number >= self._in_newest and (self._in_newest > 0 or not next_number)
