"""Running a core as a process: in lockstep with a time master, or on the wall clock. The core cannot tell which.

Lockstep, on the control socket (msgpack arrays, process to master first)::

    join(name, pid)              ->  welcome(incarnation, t)
    ready(next_due, report)      ->  advance(t, names of the messages to take)
    done(outputs, next_due, ...) ->  advance ... | hold(names) | abandon(source, incarnation) | stop()
    held()

`hold` asks for nothing but an answer once the named messages are in; `abandon` says that a source has died and what it
had not finished sending will never come.
"""

from __future__ import annotations

import heapq
import os
from collections.abc import Callable
from typing import Any

import msgpack
import zmq

from flight.clock import ScaledClock, unix_s, wall_s
from flight.curve import Curve
from flight.edge import CONTROL, Edge, EdgeError, Name, PortSpec
from flight.hop import new_socket
from flight.step import NEVER, Core, Message, Output


def run_stepped(core: Core, name: str, ports: list[PortSpec], control: str, curve: Curve | None = None) -> None:
    """Step `core` as the time master at endpoint `control`, protected by `curve`, says, until it says stop."""
    _Stepped(core, name, ports, control, curve).run()


class _Stepped:
    def __init__(self, core: Core, name: str, ports: list[PortSpec], control: str, curve: Curve | None) -> None:
        self.core = core
        self.edge = Edge(name, ports, curve)
        self.endpoint, self.curve = control, curve
        self.abandoned: set[tuple[str, int]] = set()

    def run(self) -> None:
        try:
            self.control = _join(self.edge, self.endpoint, self.curve)
            kind, incarnation, t = self._command()
            if kind != "welcome":
                return
            self.edge.join(incarnation)
            step = self.core.step(t, [])
            self._done("ready", step.outputs, step.next_due)
            while self._obey(*self._command()):
                pass
        finally:
            self.edge.close()

    def _obey(self, kind: str, *arguments: Any) -> bool:
        if kind == "advance":
            t, names = arguments
            step = self.core.step(t, self._await([(n[0], n[1], n[2]) for n in names]))
            self._done("done", step.outputs, step.next_due)
        elif kind == "hold":
            self._wait_for([(n[0], n[1], n[2]) for n in arguments[0]])
            self._send("held")
        elif kind == "abandon":
            self.abandoned.add((arguments[0], arguments[1]))
        return kind != "stop"

    def _await(self, names: list[Name]) -> list[Message]:
        self._wait_for(names)
        return self.edge.take(names)

    def _wait_for(self, names: list[Name]) -> None:
        while [name for name in self.edge.missing(names) if name[:2] not in self.abandoned]:
            self.edge.receive(None)
            while self.control.poll(0):
                if command := self._received():
                    self._obey(*command)  # only `abandon` can come while we owe an answer

    def _done(self, kind: str, outputs: list[Output], next_due: float) -> None:
        sent = [(output.t, output.port, self.edge.send(output)) for output in outputs]
        self._send(kind, sent, next_due, self.core.report())

    def _command(self) -> list[Any]:
        while True:
            while not self.control.poll(0):
                self.edge.receive(None)
            if command := self._received():
                return command

    def _received(self) -> list[Any]:
        command = _unpack(self.control.recv())
        self.edge.malformed += not command
        return command

    def _send(self, *parts: Any) -> None:
        self.control.send(msgpack.packb(parts))


JOIN_TIMEOUT_S = 30.0


def _join(edge: Edge, endpoint: str, curve: Curve | None) -> zmq.Socket[bytes]:
    """A control socket whose other end has been told who is here; EdgeError if nobody listens."""
    socket = new_socket(edge.context, zmq.DEALER, endpoint)
    if curve:
        curve.protect(socket, CONTROL)
    socket.connect(endpoint)
    deadline_s = wall_s() + JOIN_TIMEOUT_S
    while True:
        try:
            socket.send(msgpack.packb(("join", edge.name, os.getpid())), zmq.NOBLOCK)
            break
        except zmq.Again as error:
            if wall_s() > deadline_s:
                raise EdgeError(f"{edge.name}: nobody listens at {endpoint} (control)") from error
            edge.receive(5)  # who may come in is asked there
    edge.poller.register(socket, zmq.POLLIN)
    return socket


_NAME = (str, int, int)
_COMMANDS: dict[str, tuple[Any, ...]] = {
    "welcome": (int, float),
    "advance": (float, [_NAME]),
    "hold": ([_NAME],),
    "abandon": (str, int),
    "stop": (),
}


def _unpack(body: bytes) -> list[Any]:
    """A command of the master: its kind and arguments; empty if it is not one."""
    try:
        parts = msgpack.unpackb(body)
    except (ValueError, msgpack.UnpackException):
        return []
    if not isinstance(parts, list) or not parts or not isinstance(parts[0], str) or parts[0] not in _COMMANDS:
        return []
    return parts if _fits(parts[1:], _COMMANDS[parts[0]]) else []


def _fits(values: Any, kinds: Any) -> bool:
    """Whether plain values have the types declared: a type, a tuple of them, or a list of one that repeats."""
    if isinstance(kinds, tuple):
        return isinstance(values, list) and len(values) == len(kinds) and all(map(_fits, values, kinds))
    if isinstance(kinds, list):
        return isinstance(values, list) and all(_fits(value, kinds[0]) for value in values)
    return isinstance(values, (int, float) if kinds is float else kinds)


REPORT_PERIOD_S = 0.25  # of wall time


class _Watcher:
    """The other end of the control socket while the clock runs by itself: takes reports, may say stop."""

    def __init__(self, edge: Edge, endpoint: str, curve: Curve | None) -> None:
        self.socket = _join(edge, endpoint, curve)
        self._due_s = 0.0

    def report(self, core: Core, t: float) -> None:
        if wall_s() >= self._due_s:
            self._due_s = wall_s() + REPORT_PERIOD_S
            self._send("report", t, core.report())

    def says_stop(self) -> bool:
        while self.socket.poll(0):
            if _unpack(self.socket.recv()) == ["stop"]:
                return True
        return False

    def _send(self, *parts: Any) -> None:
        self.socket.send(msgpack.packb(parts))


def run_clocked(
    core: Core,
    name: str,
    ports: list[PortSpec],
    clock: ScaledClock,
    control: str | None = None,
    curve: Curve | None = None,
    awake: Callable[[], None] = lambda: None,
) -> None:
    """Step `core` whenever it is due or a message comes, by `clock`, until whoever listens at `control` says stop.

    `awake` is called each time the loop comes round, every quarter of a second at least. Outputs leave at their own
    time, not before; with nobody to take them they are lost, as they would be in life.
    """
    edge = Edge(name, ports, curve)
    outbox: list[tuple[float, int, Output]] = []
    count = 0
    try:
        watcher = _Watcher(edge, control, curve) if control else None
        edge.join(int(unix_s() * 1000))
        next_due = clock.now()
        while watcher is None or not watcher.says_stop():
            awake()
            now = clock.now()
            messages = edge.take_all()
            if messages or now >= next_due:
                step = core.step(now, messages)
                next_due = step.next_due
                for output in step.outputs:
                    count += 1
                    heapq.heappush(outbox, (output.t, count, output))
            while outbox and outbox[0][0] <= now:
                edge.offer(heapq.heappop(outbox)[2])
            if watcher is not None:
                watcher.report(core, now)
            wake = min(next_due, outbox[0][0] if outbox else NEVER)
            edge.receive(int(min(clock.wall_until(wake), REPORT_PERIOD_S) * 1000))
    finally:
        edge.close()
