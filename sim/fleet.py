"""The nodes of a mission: real processes behind sockets, or the same cores in this process."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Protocol

from flight.config import ConfigError
from flight.executive import Executive
from flight.kernels.backend import BackendError, choose
from flight.link.keys import KeyRing
from flight.store import Store
from sim import hop, node
from sim.flatsat import BOARD, CERTIFICATE, Board
from sim.lockstep import LocalNode, Lockstep, LockstepError, Node
from sim.plan import Plan
from sim.processes import STOP_TIMEOUT_S, Child, Control, ProcessNode, Watched, end_all


class Fleet(Protocol):
    """Nodes that a time master can step, and a way to kill flight without a word."""

    @property
    def nodes(self) -> Sequence[Node]:
        """All nodes."""
        ...

    def kill_flight(self, lockstep: Lockstep) -> None:
        """End the flight process as `kill -9` does; its nodes' peers keep what it had sent."""
        ...

    def record(self, name: str) -> bytes | None:
        """A record of flight's store, as it is on the disk."""
        ...

    def close(self, at_once: bool = False) -> None:
        """End everything; `at_once` after an interruption."""
        ...


class InProcess:
    """Every core in this process, without sockets."""

    def __init__(self, plan: Plan, directory: Path) -> None:
        spec, config = directory / "spec", plan.scenario.flight_config()
        # The memory of this process is not flight's: no cap on it.
        config = dataclasses.replace(config, caps=dataclasses.replace(config.caps, memory_bytes=1 << 36))
        makers: dict[str, Callable[[], Any]] = {
            kind: (lambda kind=kind: node.make_core(kind, spec, plan.imagery)) for kind in node.kinds(plan.scenario)
        }
        try:
            backend = choose(config.executive.kernels, may_compile=False)
        except (BackendError, ValueError) as error:
            raise ConfigError(f"executive.kernels: {error}") from error
        makers["flight"] = lambda: Executive(
            config,
            KeyRing.load(spec / node.KEYS),
            Store(directory / "flight"),
            backend=backend,
            encoder_files=plan.encoders,
        )
        self.nodes = [LocalNode(name, make) for name, make in makers.items()]
        self._state = directory / "flight"

    def kill_flight(self, lockstep: Lockstep) -> None:
        """Forget the flight core."""
        next(each for each in self.nodes if each.name == "flight").kill()

    def record(self, name: str) -> bytes | None:
        """A record of flight's store."""
        return Store(self._state).get(name)

    def close(self, at_once: bool = False) -> None:
        """Forget every core."""
        for each in self.nodes:
            each.kill()


class Processes:
    """Every core in a process of its own, flight under its supervisor.

    With `clock`, (Unix time of the epoch, rate), they run by the wall clock and only report; else in lockstep. With
    `tcp` they meet over TCP on the loopback, protected by CurveZMQ, else in the directory `sockets`. With `board`
    flight is there, and the others here.
    """

    def __init__(
        self,
        plan: Plan,
        directory: Path,
        sockets: Path,
        clock: tuple[float, float] | None = None,
        tcp: bool = False,
        board: Board | None = None,
    ) -> None:
        if board is not None and plan.scenario.power.enabled:
            raise LockstepError("power.enabled: a board on another machine has its own power; fly it without [power]")
        self.board = board
        self._state = directory / "flight"
        self.control = Control(f"ipc://{sockets}/control")
        numbers: dict[str, int] = {}
        if board is not None:
            numbers = hop.make_remote(sockets, node.WIRING, board.keys / CERTIFICATE, board.keys / BOARD)
            numbers["control"] = hop.free_port("")
            self.control.also(f"tcp://0.0.0.0:{numbers['control']}", board.curve)
        elif tcp:
            hop.make_tcp(sockets, [(end, other) for end, other in node.WIRING.items() if end[0] in hop.BINDERS])
        self.children: list[Child] = []
        spec, logs = directory / "spec", directory / "logs"
        common = ["--control", self.control.endpoint]
        if clock is not None:
            common += ["--epoch", repr(clock[0]), "--rate", repr(clock[1])]
        for kind in node.kinds(plan.scenario):
            arguments = ["-m", "sim.node", kind, str(spec), "--sockets", str(sockets), *common]
            self.children.append(Child(kind, arguments, logs / f"{kind}.log"))
        nodes: list[tuple[str, Watched]] = [(child.name, child) for child in self.children]
        if board is None:
            self.children.append(_flight(plan, directory, sockets, common))
            nodes.append(("flight", self.children[-1]))
        else:
            board.start((spec / node.CONFIG).read_text(encoding="utf-8"), numbers, clock, plan.encoders)
            nodes.append(("flight", board))
        self.nodes = [ProcessNode(name, self.control, child) for name, child in nodes]

    def start_again(self, name: str) -> Child:
        """Start the process called `name`, flight's supervisor for "flight", in place of one that has ended."""
        place = next(i for i, child in enumerate(self.children) if child.name == name)
        ended = self.children[place]
        self.children[place] = Child(name, ended.arguments, ended.log)
        return self.children[place]

    def kill_flight(self, lockstep: Lockstep) -> None:
        """SIGKILL, once everybody has what flight had finished sending."""
        by_name = {each.name: each for each in self.nodes}
        for receiver, sent in lockstep.in_flight("flight").items():
            by_name[receiver].hold([message.name for message in sent])
        by_name["flight"].kill()

    def record(self, name: str) -> bytes | None:
        """A record of flight's store."""
        return Store(self._state).get(name) if self.board is None else self.board.record(name)

    def close(self, at_once: bool = False) -> None:
        """Say that it is over and wait a little; then end what has not ended. `at_once` ends it without a word."""
        if not at_once:
            for each in self.nodes:
                each.stop()
        end_all(self.children, 0.0 if at_once else STOP_TIMEOUT_S)
        if self.board is not None:
            self.board.end()
            self.board.close()
        self.control.close()


def _flight(plan: Plan, directory: Path, sockets: Path, common: list[str]) -> Child:
    """The flight process of a mission on this machine, under its supervisor."""
    spec = directory / "spec"
    where = {port.name: port.endpoint for port in node.ports("flight", sockets)}
    arguments = ["-m", "flight.cli", "run", "--fall-back", "--state", str(directory / "flight"), *common]
    arguments += ["--keys", str(spec / node.KEYS), "--config", str(spec / node.CONFIG)]
    if (spec / node.BUNDLE).exists():
        arguments += ["--bundle", str(spec / node.BUNDLE)]
    for i in range(len(plan.encoders)):
        arguments += ["--encoder", str(spec / node.ENCODER.format(i))]
    arguments += ["--radio", where["radio"], "--camera", where["camera"], *hop.protection(sockets, "flight")]
    if plan.scenario.power.enabled:
        arguments += ["--board", where["board"]]
    return Child("flight", arguments, directory / "logs" / "flight.log")
