"""One mission of the campaign, flown and judged: a function of its seed, and a plain record of what came of it."""

from __future__ import annotations

import json
import traceback
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from flight.clock import wall_s
from sim.campaign import invariants, short
from sim.campaign.faults import Fault, draw, is_real
from sim.campaign.real import RealMission
from sim.campaign.simulated import SimulatedMission


@dataclass
class Outcome:
    """What came of a mission.

    Attributes:
        seed: of the mission, which says everything about it.
        real: whether it flew with real processes.
        recipe: what was flown, in words.
        faults: what went wrong, in the order of mission time.
        broken: invariants that do not hold, in words; empty if all do.
        recoveries: (kind of fault, seconds in view until the ground heard flight again).
        deaths: of processes, by name.
        peak_rss_bytes: greatest VmHWM of any flight process; None in one process.
        mission_s: mission time at its end.
        weights_sha256: of the last model.
        trace: what happened, a line each, for people.
        took_s: wall time; the only field that is not a function of the seed if `real` is not set.
    """

    seed: int
    real: bool
    recipe: str
    faults: list[Fault]
    broken: list[str] = field(default_factory=list)
    recoveries: list[tuple[str, float]] = field(default_factory=list)
    deaths: dict[str, int] = field(default_factory=dict)
    peak_rss_bytes: int | None = None
    mission_s: float = 0.0
    weights_sha256: str = ""
    trace: list[str] = field(default_factory=list)
    took_s: float = 0.0

    def dump(self) -> str:
        """The outcome as one line of JSON."""
        return json.dumps(asdict(self), separators=(",", ":"))

    @classmethod
    def load(cls, line: str | bytes) -> Outcome:
        """The outcome in a line; ValueError if it is none."""
        try:
            values: Mapping[str, Any] = json.loads(line)
            recoveries = [(str(kind), float(took_s)) for kind, took_s in values["recoveries"]]
            faults = [Fault(**fault) for fault in values["faults"]]
            return cls(**{**values, "faults": faults, "recoveries": recoveries})
        except (TypeError, KeyError, AttributeError) as error:
            raise ValueError(f"not an outcome of a mission: {error}") from error


def fly(seed: int) -> Outcome:
    """Fly the mission of that seed and judge it; a core that raises breaks an invariant, and never the campaign."""
    started_s, made, faults = wall_s(), short.recipe(seed), draw(seed)
    tasks = ", ".join(f"{task}.{version}" for task, version in made.tasks)
    recipe = f"world {made.world}, learner {made.learner}, labels {tasks}" + (", set-task" if made.set_task else "")
    outcome = Outcome(seed, is_real(seed), recipe, list(faults))
    mission = RealMission(made, faults) if outcome.real else SimulatedMission(made, faults)
    try:
        mission.fly()
        outcome.broken = mission.judge() if isinstance(mission, RealMission) else invariants.broken(mission)
    except Exception as error:  # whatever it is: the report has it
        where = "; ".join(f"{each.name} {each.filename.rpartition('/')[2]}:{each.lineno}" for each in _last(error))
        outcome.broken = [f"no-crash: {type(error).__name__}: {error} ({where})"]
    _fill(outcome, mission)
    outcome.took_s = wall_s() - started_s
    return outcome


def _last(error: BaseException) -> list[traceback.FrameSummary]:
    return list(traceback.extract_tb(error.__traceback__))[-3:]


def _fill(outcome: Outcome, mission: SimulatedMission | RealMission) -> None:
    outcome.deaths, outcome.trace = mission.deaths, mission.trace
    outcome.mission_s, outcome.weights_sha256 = mission.lockstep.t, mission.weights()
    if isinstance(mission, RealMission):
        outcome.peak_rss_bytes = mission.peak_rss_bytes
    outcome.recoveries = [
        (each.fault.kind, took_s)
        for each in mission.recoveries
        if (took_s := each.in_view_s(mission.contacts)) is not None
    ]
