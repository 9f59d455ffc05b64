"""What a flight process is told by its supervisor when it is to begin: how the one before ended, and what to leave out.

A process in reserve waits for its orders with everything imported.
"""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from pathlib import Path

from flight import last_words
from flight.last_words import LastWords
from flight.link.definitions import FALLBACKS
from flight.store import Store

VARIABLE = "SWATH_ORDERS_FD"
LAST_GOOD, FACTORY = FALLBACKS
MAX_BYTES = 4096


@dataclass(frozen=True)
class Orders:
    """How the process before this one ended; what to use in place of its newest checkpoint; its last words.

    `unusable` says why configuration and bundle are those of an earlier start; empty if they are not.
    """

    cause: str = ""
    fallback: str = ""
    last_words: LastWords | None = None
    unusable: str = ""

    @classmethod
    def received(cls, directory: Path) -> Orders:
        """Wait for the supervisor's orders; none without a supervisor. Last words to be told are in `directory`."""
        descriptor = os.environ.get(VARIABLE)
        if descriptor is None:
            return cls()
        with os.fdopen(int(descriptor), "rb") as pipe:
            data = pipe.read(MAX_BYTES)
        if not data:
            raise SystemExit(0)  # the supervisor is gone, or needs this process no more
        cause, fallback = json.loads(data)
        words = last_words.read(directory)
        return cls(cause, fallback if fallback in FALLBACKS else "", words if words and not words.told else None)

    def dump(self) -> bytes:
        """As they go through the pipe."""
        return json.dumps([self.cause, self.fallback]).encode()

    def prepare(self, store: Store) -> None:
        """Leave out what the orders say: the newest checkpoint, or all of them."""
        if self.fallback == LAST_GOOD:
            store.drop_newest("checkpoint")
        elif self.fallback == FACTORY:
            store.delete("checkpoint")
