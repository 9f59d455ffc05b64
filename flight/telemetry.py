"""Events of the dictionary, counted, the latest kept, and those that the ground has yet to confirm; and a stopwatch."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from flight.clock import cpu_s, wall_s
from flight.link.definitions import U16, U32
from flight.link.dictionary import Telemetry, decode, encode
from flight.link.event_log import MAX_EVENTS, LoggedEvents
from flight.link.state import entries, fields
from flight.step import NEVER

LOG_LENGTH = MAX_EVENTS
REPEAT_S = 30.0
Emit = Callable[..., None]  # logs an event by name and arguments


class EventLog:
    """Events by name, and those that the ground has not confirmed: at most 256, the oldest give way; counts have all.

    An event goes down until the ground has it: once, and again when one with a higher serial number is confirmed and it
    is not, in a new contact, and within one after `REPEAT_S`, then twice that, and so on while nothing is confirmed.
    """

    def __init__(self) -> None:
        self.recent: deque[Telemetry] = deque(maxlen=LOG_LENGTH)
        self.counts: Counter[str] = Counter()
        self.unconfirmed: dict[int, Telemetry] = {}  # by serial number, the oldest first
        self._serial = 0  # of the next event
        self._sent: set[int] = set()
        self._wait_s = REPEAT_S
        self._repeat_s = NEVER  # mission time at which all that is not confirmed goes down again

    def add(self, t_s: float, name: str, **values: Any) -> None:
        """Log event `name` at on-board time `t_s`; FieldError if the values are not as the dictionary declares them."""
        event = Telemetry(name, {"t_s": t_s, "serial": self._serial, **values})
        encode(name, event.values)
        self.counts[name] += 1
        self._keep(event)

    def _keep(self, event: Telemetry) -> None:
        self.recent.append(event)
        self.unconfirmed[self._serial] = event
        self._serial = (self._serial + 1) & U32
        if len(self.unconfirmed) > LOG_LENGTH:
            self._forget(next(iter(self.unconfirmed)))

    def _forget(self, serial: int) -> None:
        del self.unconfirmed[serial]
        self._sent.discard(serial)

    def take(self, n: int, t: float) -> list[Telemetry]:
        """Up to `n` events that go down at mission time `t`, in contact."""
        if t >= self._repeat_s:
            self._wait_s *= 2
            self._send_again(t)
        if len(self._sent) == len(self.unconfirmed):
            return []
        serials = [serial for serial in self.unconfirmed if serial not in self._sent][: max(0, n)]
        self._sent.update(serials)
        return [self.unconfirmed[serial] for serial in serials]

    def begin_contact(self, t: float) -> None:
        """Let every event go down again that is not confirmed."""
        self._wait_s = REPEAT_S
        self._send_again(t)

    def _send_again(self, t: float) -> None:
        self._sent.clear()
        self._repeat_s = t + self._wait_s

    @property
    def repeat_s(self) -> float:
        """Mission time at which there is something to send again."""
        return self._repeat_s if self.unconfirmed else NEVER

    def confirm(self, first: int, last: int) -> None:
        """The ground has the events `first` to `last`; what was sent before them and is not confirmed got lost."""
        for serial in [serial for serial in self.unconfirmed if first <= serial <= last]:
            self._forget(serial)
        self._sent = {serial for serial in self._sent if serial > last}
        self._wait_s = REPEAT_S

    def logged(self, incarnation: int, made_s: float) -> LoggedEvents:
        """The latest events and the counts of all, as a file has them."""
        counts = {name: min(count, U32) for name, count in self.counts.items()}
        return LoggedEvents(incarnation, made_s, counts, list(self.recent))

    def save(self) -> dict[str, Any]:
        """The events that are not confirmed, as plain values."""
        packets = [encode(event.name, event.values) for event in self.unconfirmed.values()]
        return {"serial": self._serial, "unconfirmed": [[int(apid), body] for apid, body in packets]}

    def restore(self, saved: Any) -> None:
        """Send the saved events before those logged since the process started, which get numbers behind them.

        Serial numbers go on at the next multiple of 65,536: the newest before the end may not have been saved, and no
        number may name two events.
        """
        early = list(self.recent)
        self.recent.clear()
        self.unconfirmed.clear()
        self._sent.clear()
        serial, kept = fields(saved, "events", serial=int, unconfirmed=list)
        for apid, body in entries(kept, "events", int, bytes):
            declared, _, values = decode(apid, body)
            self.unconfirmed[values["serial"]] = Telemetry(declared.name, values)
        self._serial = ((serial | U16) + 1) & U32
        for event in early:
            self._keep(Telemetry(event.name, {**event.values, "serial": self._serial}))


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
