"""The time master: steps cores from event to event, in this process or in others, with the same result either way.

A *node* is a core under the master's control. `Lockstep` knows the wires between ports, keeps every message's name and
time of delivery, and always advances the nodes for which something is due first. Nodes that are due at the same instant
run side by side; what they send to each other at that instant is taken in the next round.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Protocol

from flight.edge import Name
from flight.step import NEVER, Core, Message, Output, Step

MAX_ROUNDS_AT_ONE_INSTANT = 100_000


class LockstepError(RuntimeError):
    """A mission that cannot go on: a node broke the contract of time, or is gone for good."""


class NodeDied(Exception):  # noqa: N818 - an event that the master handles, not an error
    """A node died in the middle of a step; that step never happened."""


@dataclass(frozen=True)
class Sent:
    """A message on its way, as the master knows it. `body` is there only when both ends live in this process."""

    t: float
    port: str
    name: Name
    body: bytes | None = None


@dataclass(frozen=True)
class Done:
    """What a node answers: what it sent (times, own port, name), when it is due by itself, and its report."""

    sent: list[Sent]
    next_due: float
    report: dict[str, Any]


class Node(Protocol):
    """One core, wherever it runs."""

    name: str

    def start(self, t: float) -> Done:
        """Bring the core up at mission time `t` as a new incarnation, and let it take its first step."""
        ...

    def begin(self, t: float, inputs: list[Sent]) -> None:
        """Ask for one step at `t` with `inputs` (ports are the node's own); does not wait."""
        ...

    def finish(self) -> Done:
        """Wait for the step asked for; NodeDied if the node is no more."""
        ...


class LocalNode:
    """A core in this process. `make` builds it, and builds it again after it was killed."""

    def __init__(self, name: str, make: Callable[[], Core]) -> None:
        self.name = name
        self.make = make
        self.incarnation = 0
        self.core: Core | None = None
        self._sequence = 0
        self._done: Done | None = None

    def start(self, t: float) -> Done:
        """Build the core and let it take its first step."""
        self.incarnation += 1
        self._sequence = 0
        self.core = self.make()
        return self._told(self.core.step(t, []), self.core)

    def begin(self, t: float, inputs: list[Sent]) -> None:
        """Take the step at once; `finish` hands it over."""
        if self.core is None:
            raise LockstepError(f"{self.name} is not up")
        messages = [Message(s.t, s.name[0], s.name[2], s.port, s.body or b"") for s in inputs]
        self._done = self._told(self.core.step(t, sorted(messages, key=lambda m: m.order)), self.core)

    def finish(self) -> Done:
        """The step that `begin` took."""
        if self._done is None:
            raise LockstepError(f"{self.name} was not asked for a step")
        done, self._done = self._done, None
        return done

    def kill(self) -> None:
        """Forget the core and all that it held in memory."""
        self.core = None

    def _told(self, step: Step, core: Core) -> Done:
        return Done([self._name(output) for output in step.outputs], step.next_due, core.report())

    def _name(self, output: Output) -> Sent:
        self._sequence += 1
        return Sent(output.t, output.port, (self.name, self.incarnation, self._sequence), output.body)


Wires = Mapping[tuple[str, str], tuple[str, str]]


def wires(*pairs: tuple[tuple[str, str], tuple[str, str]]) -> Wires:
    """Two-way wires between (node, port) and (node, port)."""
    return {a: b for pair in pairs for a, b in (pair, pair[::-1])}


def _no_way_back(name: str) -> None:
    raise LockstepError(f"{name} died, and nothing says when it comes back")


@dataclass
class _State:
    node: Node
    up: bool = False
    next_due: float = NEVER
    report: dict[str, Any] = field(default_factory=dict)
    inbox: list[tuple[float, Name, Sent]] = field(default_factory=list)  # heap

    @property
    def due(self) -> float:
        if not self.up:
            return NEVER
        return min(self.next_due, self.inbox[0][0] if self.inbox else NEVER)

    def take(self, t: float) -> list[Sent]:
        taken = []
        while self.inbox and self.inbox[0][0] <= t:
            taken.append(heapq.heappop(self.inbox)[2])
        return taken


class Lockstep:
    """The master of mission time over `nodes`, joined by `wiring`."""

    def __init__(
        self, nodes: list[Node], wiring: Wires, t: float = 0.0, on_death: Callable[[str], None] | None = None
    ) -> None:
        self.t = t
        self.on_death = on_death or _no_way_back
        self.wiring = wiring
        self.steps = 0
        self._states = {node.name: _State(node) for node in nodes}
        self._rounds = 0

    def start(self, name: str) -> None:
        """Bring node `name` up now. Whatever was sent to it while it was away is lost."""
        state = self._states[name]
        state.inbox.clear()
        done = state.node.start(self.t)
        state.up = True
        self._settle(state, done)

    def drop(self, name: str) -> None:
        """Take node `name`, which has died, out of the lockstep until it is started again."""
        state = self._states[name]
        state.up = False
        state.inbox.clear()

    def is_up(self, name: str) -> bool:
        """Whether node `name` is in the lockstep."""
        return self._states[name].up

    def report(self, name: str) -> dict[str, Any]:
        """The latest report of node `name`."""
        return self._states[name].report

    def in_flight(self, name: str) -> dict[str, list[Sent]]:
        """Messages from node `name` that others have not taken yet, by receiver."""
        return {
            other: [sent for _, _, sent in state.inbox if sent.name[0] == name]
            for other, state in self._states.items()
            if other != name
        }

    def next_due(self) -> float:
        """Mission time of the earliest thing that any node has to do."""
        return min((state.due for state in self._states.values()), default=NEVER)

    def round(self) -> None:
        """Advance to the earliest thing due, and let every node that is due then take one step."""
        t = self.next_due()
        if t == NEVER:
            raise LockstepError("nothing is due: every node sleeps for ever")
        if t > self.t:
            self._rounds = 0
        self.t = max(self.t, t)
        self._rounds += 1
        if self._rounds > MAX_ROUNDS_AT_ONE_INSTANT:
            raise LockstepError(f"mission time does not get past {self.t} s: some node is always due")
        ready = [state for _, state in sorted(self._states.items()) if state.due <= self.t]
        for state in ready:
            state.node.begin(self.t, state.take(self.t))
        answers = [(state, self._finish(state)) for state in ready]
        for state, done in answers:
            if done is not None:
                self._settle(state, done)
        self.steps += len(ready)

    def _finish(self, state: _State) -> Done | None:
        try:
            return state.node.finish()
        except NodeDied:
            self.drop(state.node.name)
            self.on_death(state.node.name)
            return None

    def run_until(self, t: float) -> None:
        """Take rounds until nothing is due before `t`, then stand at `t`."""
        while self.next_due() < t:
            self.round()
        self.t = max(self.t, t)

    def _settle(self, state: _State, done: Done) -> None:
        state.next_due, state.report = done.next_due, done.report
        for sent in done.sent:
            if sent.t < self.t:
                raise LockstepError(f"{state.node.name} at {self.t} s sent a message into the past ({sent.t} s)")
            to, port = self.wiring[(state.node.name, sent.port)]
            receiver = self._states[to]
            if receiver.up:
                heapq.heappush(receiver.inbox, (sent.t, sent.name, replace(sent, port=port)))
