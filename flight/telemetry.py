"""Events of the dictionary, counted, the latest kept, and those that still have to go down; and a stopwatch."""

from __future__ import annotations

from collections import Counter, deque
from dataclasses import dataclass
from typing import Any

from flight.clock import cpu_s, wall_s
from flight.link.definitions import U32
from flight.link.dictionary import Telemetry, decode, encode
from flight.link.event_log import MAX_EVENTS, LoggedEvents
from flight.link.state import entries

LOG_LENGTH = MAX_EVENTS


class EventLog:
    """Events by name; a burst of more than 256 between two passes loses its oldest, and the counts still have them."""

    def __init__(self) -> None:
        self.recent: deque[Telemetry] = deque(maxlen=LOG_LENGTH)
        self.unsent: deque[Telemetry] = deque(maxlen=LOG_LENGTH)
        self.counts: Counter[str] = Counter()

    def add(self, t_s: float, name: str, **values: Any) -> None:
        """Log event `name` at on-board time `t_s`; FieldError if the values are not as the dictionary declares them."""
        event = Telemetry(name, {"t_s": t_s, **values})
        encode(name, event.values)
        self.recent.append(event)
        self.unsent.append(event)
        self.counts[name] += 1

    def logged(self, incarnation: int, made_s: float) -> LoggedEvents:
        """The latest events and the counts of all, as a file has them."""
        counts = {name: min(count, U32) for name, count in self.counts.items()}
        return LoggedEvents(incarnation, made_s, counts, list(self.recent))

    def save(self) -> list[list[Any]]:
        """The events that still have to go down, as plain values."""
        return [list(encode(event.name, event.values)) for event in self.unsent]

    def restore(self, saved: Any) -> None:
        """Send the events that were saved before all others."""
        for apid, body in entries(saved, "events", int, bytes):
            declared, _, values = decode(apid, body)
            self.unsent.append(Telemetry(declared.name, values))


def short(reason: object, limit: int = 48) -> str:
    """A reason as it fits an event: printable ASCII, at most `limit` characters."""
    return "".join(char if char.isascii() and char.isprintable() else "?" for char in str(reason))[:limit]


@dataclass
class Retask:
    """From the last byte of a new task's labels to the first prediction: mission time, wall time and CPU [s]."""

    task_id: int
    t_s: float
    wall_s: float
    cpu_s: float
    done: bool = False

    @classmethod
    def begin(cls, task_id: int, t: float) -> Retask:
        """Start the stopwatches."""
        return cls(task_id, t, wall_s(), cpu_s())

    def end(self, t: float) -> None:
        """Stop them."""
        self.t_s, self.wall_s, self.cpu_s = t - self.t_s, wall_s() - self.wall_s, cpu_s() - self.cpu_s
        self.done = True
