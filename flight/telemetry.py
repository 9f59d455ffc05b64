"""The event log: events of the dictionary, counted, the latest kept, and those that still have to go down."""

from __future__ import annotations

from collections import Counter, deque
from typing import Any

from flight.link.dictionary import Telemetry, encode

LOG_LENGTH = 256


class EventLog:
    """Events by name; a burst of more than 256 between two passes loses its oldest, and the counts still have them."""

    def __init__(self) -> None:
        self.recent: deque[Telemetry] = deque(maxlen=LOG_LENGTH)
        self.unsent: deque[Telemetry] = deque(maxlen=LOG_LENGTH)
        self.counts: Counter[str] = Counter()

    def add(self, t_s: float, name: str, **values: Any) -> None:
        """Log event `name` at mission time `t_s`; FieldError if the values are not as the dictionary declares them."""
        event = Telemetry(name, {"t_s": t_s, **values})
        encode(name, event.values)
        self.recent.append(event)
        self.unsent.append(event)
        self.counts[name] += 1


def short(reason: object, limit: int = 48) -> str:
    """A reason as it fits an event: printable ASCII, at most `limit` characters."""
    return "".join(char if char.isascii() and char.isprintable() else "?" for char in str(reason))[:limit]
