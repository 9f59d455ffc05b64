"""Flight at full load in stepped time: whether frames, chips and training are on time.

The spacecraft is in view all the time and fills its downlink; the camera takes chips as fast as nine tenths of the CPU
can take them in; and new labels come every ten seconds. All times are mission time: a chip and a training cost what the
table of costs says.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from flight.config import CostConfig
from flight.executive import Executive
from flight.ingest import Chip, IngestError
from flight.link import labelset
from flight.link.packet import FileKind
from flight.link.transfer import File
from flight.step import Message, Step
from flight.store import Store
from ground.station import Order, Station, Window
from sim import node
from sim.camera import Camera
from sim.campaign import short
from sim.campaign.keys import KEYS
from sim.campaign.nodes import Desk
from sim.channel import Channel
from sim.disk import SimDisk
from sim.lockstep import LocalNode, Lockstep
from sim.overpass import Overpass
from sim.record import PassRecord

CHIP_S, LOAD = 0.02, 0.9  # mission time to take a chip in, and how much of the CPU that takes
LABELS_EVERY_S = 10.0
CHIP_DEADLINE_S, TRAINING_DEADLINE_S, FRAME_DEADLINE_S = 5.0, 5.0, 0.1
AOS_S, START_S = 1.0, 20.0  # contact; the camera begins when the map is on board


@dataclass
class Punctual:
    """How many there were, how many of them were late, and by how much the latest [s]."""

    deadline_s: float
    count: int = 0
    late: int = 0
    most_s: float = 0.0

    def add(self, took_s: float) -> None:
        """Count one that took so long."""
        self.count += 1
        self.late += took_s > self.deadline_s
        self.most_s = max(self.most_s, took_s)

    @property
    def percent(self) -> float:
        """The share that was on time [%]."""
        return 100.0 * (self.count - self.late) / self.count if self.count else 0.0


@dataclass
class Watched:
    """A flight core under a stopwatch: it sees what goes in and out, and asks nothing but what is on board."""

    core: Executive
    chips: Punctual = field(default_factory=lambda: Punctual(CHIP_DEADLINE_S))
    frames: Punctual = field(default_factory=lambda: Punctual(FRAME_DEADLINE_S))
    trainings: Punctual = field(default_factory=lambda: Punctual(TRAINING_DEADLINE_S))
    _waiting: dict[int, float] = field(default_factory=dict)
    _free_s: float | None = None
    _version: tuple[int, float] = (0, 0.0)

    def step(self, t: float, inputs: Sequence[Message]) -> Step:
        """A step of the core, and what it says of time."""
        for message in inputs:
            if message.port == "camera":
                self._waiting.setdefault(_number(message.body), t)
        step = self.core.step(t, inputs)
        self._look_at_frames(t, step)
        payload = self.core.payload
        for number in [each for each in self._waiting if each < payload.progress.next_number]:
            self.chips.add(t - self._waiting.pop(number))
        if payload.label_version != self._version[0]:
            self._version = payload.label_version, t
        elif self._version[1] and payload.has_model:
            self.trainings.add(t - self._version[1])
            self._version = self._version[0], 0.0
        return step

    def report(self) -> dict[str, Any]:
        """Nothing: this is not a mission that anybody watches."""
        return {}

    def _look_at_frames(self, t: float, step: Step) -> None:
        """The downlink is filled: a frame is late if the radio was free before it."""
        for output in step.outputs:
            if output.port == "radio":
                if self._free_s is not None:
                    self.frames.add(t - self._free_s)
                self._free_s = t + self.core.endpoint.frame_time_s(output.body)


def _number(body: bytes) -> int:
    try:
        return Chip.unpack(body).number
    except IngestError:
        return -1


def measure(duration_s: float) -> dict[str, Punctual]:
    """Fly for so long [mission s]; what was on time, by name."""
    made = dataclasses.replace(short.recipe(0), learner="moments")
    plan, end_s = short.plan(made), START_S + duration_s
    wanted = dataclasses.replace(
        plan.scenario,
        costs=CostConfig(chip_s=CHIP_S),
        link=dataclasses.replace(plan.scenario.link, fill_downlink=True),
        executive=dataclasses.replace(
            plan.scenario.executive, queue_chips=64, checkpoint_s=10.0, archive_bytes=1 << 16
        ),
    )
    config = wanted.flight_config()
    config = dataclasses.replace(config, caps=dataclasses.replace(config.caps, memory_bytes=1 << 36))
    passes = [PassRecord(AOS_S, end_s + 60.0, "station", 45.0)]
    orders = [plan.orders[0], *_labels(made, end_s)]
    watched = Watched(Executive(config, KEYS, Store(SimDisk())))
    cores = {
        "camera": Camera(plan.imagery, [_imaging(duration_s)], recorder_bytes=1 << 40, batch_chips=8),
        "channel": Channel(wanted.radio, passes, 0),
        "station": Station(config.link, KEYS, [Window(AOS_S, end_s + 60.0)], orders, Desk(), Store(SimDisk())),
        "flight": watched,
    }
    nodes = [LocalNode(name, lambda core=core: core) for name, core in cores.items()]  # type: ignore[misc]
    lockstep = Lockstep(list(nodes), node.WIRING)
    for name in cores:
        lockstep.start(name)
    lockstep.run_until(end_s)
    return {"frames": watched.frames, "chips": watched.chips, "trainings": watched.trainings}


def _imaging(duration_s: float) -> Overpass:
    n_chips = int(duration_s * LOAD / CHIP_S)
    cells = (np.arange(n_chips) % short.N_CHIPS).astype(np.int32)
    return Overpass(0, 0.0, 45.0, cells, START_S + np.linspace(0.0, duration_s, n_chips))


def _labels(made: short.Recipe, end_s: float) -> list[Order]:
    """A new version of the same task again and again."""
    found = []
    for version, at_s in enumerate(np.arange(START_S, end_s - TRAINING_DEADLINE_S, LABELS_EVERY_S), 1):
        table = dataclasses.replace(short.labels(made.world, 1, 1 + version % 2), version=version)
        found.append(Order(float(at_s), File(f"labels-1-{version}", FileKind.LABEL_SET, labelset.pack(table))))
    return found
