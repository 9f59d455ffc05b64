"""Nodes that are real processes: started, stepped over a control socket, killed, and taken back when they rejoin."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections import defaultdict, deque
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, Protocol

import msgpack
import zmq

from flight.clock import wall_s
from flight.curve import Curve
from flight.edge import EdgeError, Name
from flight.hop import new_socket
from sim.lockstep import Done, LockstepError, NodeDied, Sent

ANSWER_TIMEOUT_S = 300.0  # of wall time: a step that takes longer has hung
STOP_TIMEOUT_S, TERM_TIMEOUT_S, KILL_TIMEOUT_S = 3.0, 2.0, 2.0


class Watched(Protocol):
    """A process of the mission, here or on another machine."""

    name: str

    def check(self) -> None:
        """LockstepError with the end of its log if the process has ended."""
        ...

    def kill(self, pid: int) -> None:
        """SIGKILL to process `pid`, which is this one or, under a supervisor, its child."""
        ...


class Child:
    """A Python process of the mission, in a group of its own; its output goes to `log`."""

    def __init__(self, name: str, arguments: Sequence[str], log: Path) -> None:
        self.name = name
        self.arguments = arguments
        self.log = log
        log.parent.mkdir(parents=True, exist_ok=True)
        environment = dict(os.environ, SWATH_PARENT_PID=str(os.getpid()), OPENBLAS_NUM_THREADS="1")
        with log.open("ab") as output:
            self.popen = subprocess.Popen(
                [sys.executable, *arguments],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,
                env=environment,
            )

    def check(self) -> None:
        """LockstepError with the end of its log if the process has ended."""
        code = self.popen.poll()
        if code is not None:
            tail = self.log.read_text(encoding="utf-8", errors="replace")[-2000:].strip()
            raise LockstepError(f"the {self.name} process ended with exit code {code}; end of {self.log}:\n{tail}")

    def kill(self, pid: int) -> None:
        """SIGKILL to process `pid`."""
        os.kill(pid, signal.SIGKILL)

    def signal_group(self, number: int) -> None:
        """Send a signal to the process and its children."""
        if self.popen.poll() is None:
            os.killpg(self.popen.pid, number)


def end_all(children: Sequence[Child], grace_s: float) -> None:
    """Wait so long for all to end by themselves, then terminate their groups, then kill them; side by side."""
    for number, wait_s in ((None, grace_s), (signal.SIGTERM, TERM_TIMEOUT_S), (signal.SIGKILL, KILL_TIMEOUT_S)):
        deadline_s = wall_s() + wait_s
        for child in children:
            if number is not None:
                child.signal_group(number)
        for child in children:
            with suppress(subprocess.TimeoutExpired):
                child.popen.wait(max(0.0, deadline_s - wall_s()))


class Control:
    """The master's end of the control socket: who has joined, and what each process has answered."""

    def __init__(self, endpoint: str) -> None:
        self.endpoint = endpoint
        self.context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        self.socket = new_socket(self.context, zmq.ROUTER)
        self.socket.bind(endpoint)
        self.joined: dict[str, deque[tuple[bytes, int]]] = defaultdict(deque)
        self.answers: dict[bytes, deque[list[Any]]] = defaultdict(deque)
        self.current: dict[str, tuple[bytes, int]] = {}  # name: identity and incarnation in the lockstep

    def also(self, endpoint: str, curve: Curve) -> None:
        """Listen at another endpoint as well, protected by `curve`."""
        curve.protect(self.socket, "control")
        self.socket.bind(endpoint)

    def send(self, identity: bytes, *parts: Any) -> None:
        """Send a command to one process."""
        self.socket.send_multipart([identity, msgpack.packb(parts)])

    def poll(self, timeout_s: float) -> None:
        """Take in what has come, waiting up to `timeout_s` for the first of it."""
        if not self.socket.poll(int(timeout_s * 1000)):
            return
        while self.socket.poll(0):
            identity, body = self.socket.recv_multipart()
            kind, *rest = msgpack.unpackb(body)
            if kind == "join":
                self._join(identity, *rest)
            else:
                self.answers[identity].append([kind, *rest])

    def _join(self, identity: bytes, name: str, pid: int) -> None:
        self.joined[name].append((identity, pid))
        if name in self.current:  # the one before is dead: nobody need wait for what it did not finish sending
            _, incarnation = self.current[name]
            for other, (peer, _) in self.current.items():
                if other != name:
                    self.send(peer, "abandon", name, incarnation)

    def close(self) -> None:
        """Close the socket."""
        self.context.destroy(linger=0)


class ProcessNode:
    """A core in another process. `child` is the process to watch: the core's own, or the supervisor above it."""

    def __init__(self, name: str, control: Control, child: Watched) -> None:
        self.name = name
        self.control = control
        self.child = child
        self.incarnation = 0
        self.pid = 0
        self._identity = b""

    def start(self, t: float) -> Done:
        """Wait for the process to join, and welcome it at mission time `t`."""
        deadline_s = wall_s() + ANSWER_TIMEOUT_S
        while not self.control.joined[self.name]:
            self._wait(deadline_s, "to join")
        self._identity, self.pid = self.control.joined[self.name].pop()
        self.control.joined[self.name].clear()
        self.incarnation += 1
        self.control.current[self.name] = (self._identity, self.incarnation)
        self.control.send(self._identity, "welcome", self.incarnation, t)
        return self._done(self._answer("ready"))

    def adopt(self, identity: bytes, pid: int) -> None:
        """Know the process that has joined, without stepping it."""
        self._identity, self.pid = identity, pid

    def begin(self, t: float, inputs: list[Sent]) -> None:
        """Ask for a step."""
        self.control.send(self._identity, "advance", t, [sent.name for sent in inputs])

    def finish(self) -> Done:
        """Wait for the step; NodeDied if the process has died and another has joined in its place."""
        return self._done(self._answer("done"))

    def hold(self, names: list[Name]) -> None:
        """Wait until the process has received the messages called `names`."""
        self.control.send(self._identity, "hold", names)
        self._answer("held")

    def kill(self) -> None:
        """SIGKILL to the core's process (not to its supervisor)."""
        self.child.kill(self.pid)
        self.control.current.pop(self.name, None)

    def stop(self) -> None:
        """Tell the process that the mission is over."""
        if self._identity:
            self.control.send(self._identity, "stop")

    def _answer(self, kind: str) -> list[Any]:
        deadline_s = wall_s() + ANSWER_TIMEOUT_S
        while not self.control.answers[self._identity]:
            if self.control.joined[self.name]:
                self.control.current.pop(self.name, None)
                raise NodeDied(self.name)
            self._wait(deadline_s, "to answer")
        found, *rest = self.control.answers[self._identity].popleft()
        if found != kind:
            raise LockstepError(f"{self.name} answered {found!r} where {kind!r} was due")
        return rest

    def _wait(self, deadline_s: float, what: str) -> None:
        self.control.poll(0.25)
        self.child.check()
        if wall_s() > deadline_s:
            raise EdgeError(f"waited {ANSWER_TIMEOUT_S:.0f} s for {self.name} {what}")

    def _done(self, answer: list[Any]) -> Done:
        sent, next_due, report = answer
        last = [Sent(t, port, (self.name, self.incarnation, seq)) for t, port, seq in sent]
        return Done(last, next_due, report)
