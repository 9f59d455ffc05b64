"""Rate groups: work that comes due again and again, each with a budget, and the one CPU that they share.

A group says when it is due and what its next slice is. A slice takes mission time by the cost table and has its effect
when that is over; the wall time that it took is measured against the group's budget. In stepped time no measurement
decides anything.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from flight.blackbox import Pulse
from flight.clock import wall_s
from flight.modes import ANY
from flight.step import NEVER


@dataclass
class Meter:
    """What a group has measured since the process started: wall time against `budget_s`, lateness in mission time."""

    budget_s: float
    deadline_s: float = NEVER
    runs: int = 0
    total_s: float = 0.0
    max_s: float = 0.0
    overruns: int = 0
    late: int = 0

    @property
    def mean_s(self) -> float:
        """Wall time of a run, mean [s]."""
        return self.total_s / self.runs if self.runs else 0.0

    def add(self, took_s: float, waited_s: float = 0.0) -> None:
        """Count a run that took `took_s` of wall time and began `waited_s` of mission time after it was due."""
        self.runs += 1
        self.total_s += took_s
        self.max_s = max(self.max_s, took_s)
        self.overruns += took_s > self.budget_s
        self.late += waited_s > self.deadline_s


@dataclass(frozen=True)
class Slice:
    """A piece of work: it costs so many mission seconds of a whole CPU, and is done by `run`."""

    cost_s: float
    run: Callable[[], None]


class RateGroup(ABC):
    """Work of one kind.

    Attributes:
        name: as the dictionary has it (`RATE_GROUPS`).
        activity: what housekeeping says while it runs (`ACTIVITIES`).
        modes: those in which it may run.
        heavy: whether a limit that says "pause" stops it.
        meter: its budget, and what was measured.
    """

    name = ""
    activity = "idle"
    modes = ANY
    heavy = False

    def __init__(self, budget_s: float, deadline_s: float) -> None:
        self.meter = Meter(budget_s, deadline_s)

    @abstractmethod
    def due_s(self, t: float) -> float:
        """Mission time at which it wants to run; infinity if there is nothing to do."""

    @abstractmethod
    def next_slice(self, t: float) -> Slice:
        """What to do next; it is asked for only when the group is due."""


@dataclass
class Job:
    """A slice that has the CPU until mission time `until`, and then takes effect."""

    group: RateGroup
    until: float
    run: Callable[[], None]
    waited_s: float


class Cpu:
    """The groups in the order of urgency, and the job that one of them has going.

    Args:
        groups: the more urgent first.
        may_run: whether a group may run now, by mode and limits.
        share: the part of the CPU that work may have now.
        execute: runs a job, and does what is due after each; may raise to end the process.
        pulse: told when a group begins.
    """

    def __init__(
        self,
        groups: Sequence[RateGroup],
        may_run: Callable[[RateGroup], bool],
        share: Callable[[], float],
        execute: Callable[[Job], None],
        pulse: Pulse,
    ) -> None:
        self.groups = groups
        self.job: Job | None = None
        self._may_run, self._share, self._execute, self._pulse = may_run, share, execute, pulse
        self._due_since: dict[str, float] = {}

    def work(self, t: float) -> None:
        """Finish what is due to end, and begin what is due."""
        while self.job is None or self.job.until <= t:
            if self.job is not None:
                job, self.job = self.job, None
                with measured(job.group.name, job.group.meter, self._pulse, job.waited_s):
                    self._execute(job)
            self.job = self._next_job(t)
            if self.job is None:
                return

    def _next_job(self, t: float) -> Job | None:
        chosen = None
        for group in self.groups:
            if not self._may_run(group) or group.due_s(t) > t:
                self._due_since.pop(group.name, None)
                continue
            self._due_since.setdefault(group.name, t)
            chosen = chosen or group
        if chosen is None:
            return None
        work = chosen.next_slice(t)
        waited_s = t - self._due_since.pop(chosen.name)
        return Job(chosen, t + work.cost_s / self._share(), work.run, waited_s)

    def drop(self) -> None:
        """Forget the job under way if it may no longer run; nothing of it has been done."""
        if self.job is not None and not self._may_run(self.job.group):
            self.job = None

    def next_due(self, t: float) -> float:
        """When to call `work` again."""
        if self.job is not None:
            return self.job.until
        return min((group.due_s(t) for group in self.groups if self._may_run(group)), default=NEVER)

    @property
    def activity(self) -> str:
        """What the CPU is doing, in the dictionary's words."""
        return self.job.group.activity if self.job is not None else "idle"


@contextmanager
def measured(name: str, meter: Meter, pulse: Pulse, waited_s: float = 0.0) -> Iterator[None]:
    """Measure a run of a group, and let the supervisor know that it runs."""
    pulse.begin(name)
    started_s = wall_s()
    yield
    meter.add(wall_s() - started_s, waited_s)
