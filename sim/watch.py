"""A mission that runs by the wall clock, or faster for show: nobody steps it, this only takes in what it reports."""

from __future__ import annotations

from typing import Any

from flight.clock import ScaledClock
from sim.fleet import Processes

POLL_S = 0.1


class Watch:
    """The reports of processes that run by `clock`; has the same view of them as `sim.lockstep.Lockstep`."""

    def __init__(self, fleet: Processes, clock: ScaledClock) -> None:
        self.fleet = fleet
        self.clock = clock
        self._names: dict[bytes, str] = {}
        self._pids: dict[str, int] = {}
        self._reports: dict[str, dict[str, Any]] = {}

    @property
    def t(self) -> float:
        """Mission time [s]."""
        return self.clock.now()

    @property
    def complete(self) -> bool:
        """Whether every process has reported."""
        return all(self._reports.get(node.name) for node in self.fleet.nodes)

    def report(self, name: str) -> dict[str, Any]:
        """The latest report of a process."""
        return self._reports[name]

    def is_up(self, name: str) -> bool:
        """Whether the process is there."""
        return name in self._pids

    def poll(self) -> str | None:
        """Take in what has come; the name of a process that has come back after it had died."""
        control = self.fleet.control
        control.poll(POLL_S)
        returned = None
        for name, joins in control.joined.items():
            while joins:
                identity, pid = joins.popleft()
                returned = name if name in self._reports else returned
                self._names[identity], self._pids[name] = name, pid
                next(node for node in self.fleet.nodes if node.name == name).adopt(identity, pid)
        for identity, answers in control.answers.items():
            while answers:
                _, _, report = answers.popleft()
                if report:
                    self._reports[self._names[identity]] = report
        for node in self.fleet.nodes:
            node.child.check()
        return returned

    def kill(self, name: str) -> None:
        """SIGKILL to a process."""
        pid = self._pids.pop(name)
        next(node for node in self.fleet.nodes if node.name == name).child.kill(pid)
