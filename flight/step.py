"""The contract of every core: one step at a mission time, messages in, outputs out.

Flight, ground station, radio channel and camera are *cores*: they hold state and decisions, and no socket, thread or
clock. ``flight.runner`` puts a core behind sockets, in lockstep with a time master or on the wall clock; the
simulator also runs cores side by side in one process.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

NEVER = float("inf")


@dataclass(frozen=True, slots=True)
class Message:
    """What a core receives: delivered at mission time `t` [s] on `port`, the `seq`-th of its `source`."""

    t: float
    source: str
    seq: int
    port: str
    body: bytes

    @property
    def order(self) -> tuple[float, str, int]:
        """The order in which a core takes its inputs: mission time, source, sequence."""
        return (self.t, self.source, self.seq)


@dataclass(frozen=True, slots=True)
class Output:
    """What a core sends: to be delivered to the other end of `port` at mission time `t` [s], not before now."""

    t: float
    port: str
    body: bytes


class Step(NamedTuple):
    """What a step returns: the outputs, and the mission time [s] at which the core wants to run again by itself."""

    outputs: list[Output]
    next_due: float


class Core(Protocol):
    """A deterministic state machine on mission time."""

    def step(self, t: float, inputs: Sequence[Message]) -> Step:
        """Take the inputs (all due at or before `t`, in order), do what is due at `t` and say when to come back."""
        ...

    def report(self) -> dict[str, Any]:
        """Counters and state for whoever watches the simulation; never read by another core. JSON types only."""
        ...
