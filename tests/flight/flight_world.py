"""A flight executive between a ground endpoint and a recorder, on mission time: what the tests of flight play with."""

from __future__ import annotations

import dataclasses
import heapq
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np

from flight.board import Draw, Reading
from flight.config import CostConfig, ExecutiveConfig, FlightConfig, LearnerConfig, LinkConfig
from flight.disk import Disk
from flight.executive import Executive
from flight.ingest import Chip, Gap, RecorderRequest
from flight.learn import LEARNERS
from flight.link import labelset, product, region_codec
from flight.link.dictionary import Telecommand
from flight.link.endpoint import Endpoint
from flight.link.events import (
    CommandAcknowledged,
    FileDelivered,
    FileFailed,
    FileReceived,
    LinkEvent,
    TelemetryReceived,
)
from flight.link.keys import KeyRing
from flight.link.labelset import LabelSet
from flight.link.packet import FileKind
from flight.link.product import Product
from flight.link.region import Region
from flight.link.transfer import File
from flight.orders import Orders
from flight.step import Message
from flight.store import Store
from tests.learn.learn_world import QUICK
from tests.learn.learn_world import world as learn_world

KEYS = KeyRing({1: bytes(range(32)), 2: bytes(range(32, 64))}, 1)
ROWS, COLS = 8, 6
EARTH = learn_world(ROWS * COLS, COLS)
TABLE = EARTH.table
TABLE_2 = np.stack([TABLE[:, 0], TABLE[:, 1] + TABLE[:, 2]], axis=1)
MIB = 1 << 20
LINK_S = 0.005
LEARNERS_TESTED = ("moments", "downconv")
# Slow enough that a kill can fall into the middle of everything.
SLOW: dict[str, Any] = {
    "uplink_bps": 9600.0,
    "downlink_bps": 9600.0,
    "chip_s": 0.05,
    "train_step_s": 0.1,
    "predict_s": 0.02,
    "checkpoint_s": 1.0,
    "checkpoint_cost_s": 0.5,
    "queue_chips": 16,
    "product_chips": 16,
}


class PowerCut(BaseException):
    """The power goes: nothing is cleaned up."""


def config(learner: str = "moments", **changes: Any) -> FlightConfig:
    """A quick mission: fast radio, short settling; `changes` are fields, `checkpoint_cost_s` is that of the costs."""
    defaults = {"uplink_bps": 64000.0, "downlink_bps": 64000.0, "settle_s": 2.0, "checkpoint_s": 4.0}
    sections: dict[str, Any] = {"learner": LearnerConfig(learner)}
    for name, cls in (("link", LinkConfig), ("costs", CostConfig), ("executive", ExecutiveConfig)):
        known = {field.name for field in dataclasses.fields(cls)}
        wanted = {**defaults, **changes}
        if name == "costs":
            wanted["checkpoint_s"] = changes.get("checkpoint_cost_s", 0.2)
        sections[name] = cls(**{k: v for k, v in wanted.items() if k in known})
    caps = {k: v for k, v in changes.items() if k in ("memory_bytes", "cpu_share")}
    made = FlightConfig(**sections)
    return dataclasses.replace(made, caps=dataclasses.replace(made.caps, **caps))


def quick_learners(monkeypatch: Any) -> None:
    """Let every learner be built with what keeps it quick."""
    for name, params in QUICK.items():
        for key, value in params.items():
            monkeypatch.setitem(LEARNERS[name].__init__.__kwdefaults__, key, value)


def make_region(region_id: int = 1, rows: int = ROWS, cols: int = COLS) -> Region:
    """A municipality a row."""
    bags = np.full((rows * cols, 4), -1, np.int32)
    bags[:, 0] = np.arange(rows * cols) // cols
    weights = np.zeros((rows * cols, 4), np.uint8)
    weights[:, 0] = 255
    return Region(region_id, rows, cols, tuple(f"M{i:02d}" for i in range(rows)), bags, weights)


def region_file(**changes: Any) -> File:
    return File("region", FileKind.REGION, region_codec.pack(make_region(**changes)))


def label_set(task: int = 1, version: int = 1, share: float = 1.0, **changes: Any) -> LabelSet:
    table = (TABLE if task == 1 else TABLE_2).copy()
    table[round(share * len(table)) :] = np.nan
    names = tuple(f"class {i}" for i in range(table.shape[1]))
    return dataclasses.replace(LabelSet(1, task, version, names, table, 64), **changes)


def label_file(task: int = 1, version: int = 1, share: float = 1.0, **changes: Any) -> File:
    packed = labelset.pack(label_set(task, version, share, **changes))
    return File(f"labels-{task}-{version}", FileKind.LABEL_SET, packed)


def make_chip(number: int, cell: int | None = None, image: Any = None) -> Chip:
    """The chip of that number: of that cell of the grid, unless told otherwise."""
    row, col = divmod(number % len(EARTH.chips) if cell is None else cell, COLS)
    return Chip(number, float(number), row, col, 0, EARTH.chips[number % len(EARTH.chips)] if image is None else image)


class Recorder:
    """Holds chips until they are acknowledged, and sends what is asked for."""

    def __init__(self) -> None:
        self.chips: list[Chip] = []
        self.acknowledged = self.cursor = self.until = 0
        self.requests: list[RecorderRequest] = []

    def obey(self, body: bytes) -> None:
        request = RecorderRequest.unpack(body)
        self.requests.append(request)
        assert request.acknowledged >= 0
        self.acknowledged = max(self.acknowledged, request.acknowledged)
        self.cursor = request.wanted_from if request.rewind else max(self.cursor, request.wanted_from)
        self.until = request.wanted_until

    def take(self) -> list[bytes]:
        bodies = []
        while self.cursor < min(self.until, len(self.chips)):
            if self.cursor < self.acknowledged:
                bodies.append(Gap(self.cursor, self.acknowledged).pack())
                self.cursor = self.acknowledged
            else:
                bodies.append(self.chips[self.cursor].pack())
                self.cursor += 1
        return bodies


class World:
    """Ground, radio, flight and recorder. `flight` is None while it is dead."""

    def __init__(
        self,
        where: Path | Disk,
        config: FlightConfig | None = None,
        rss_bytes: Any = lambda: 60 * MIB,
        encoder_files: tuple[bytes, ...] = (),
    ) -> None:
        self.encoder_files = encoder_files
        self.where, self.config, self.rss_bytes = where, config or globals()["config"](), rss_bytes
        self.t = 0.0
        self.ground = Endpoint("ground", self.config.link, KEYS)
        self.recorder = Recorder()
        self.orders: list[File] = []  # to be uploaded one after the other
        self.events: list[LinkEvent] = []
        self.products: dict[str, Product] = {}
        self.models: list[bytes] = []
        self.draws: list[Draw] = []  # what flight has told the board
        self.log: Counter[str] = Counter()  # events of flight, over all its lives
        self._air: list[tuple[float, int, str, str, bytes]] = []
        self._serial = 0
        self._ground_free_s = 0.0
        self._rounds, self._round_s = 0, 0.0
        self._due_s = 0.0
        self.flight: Executive | None = None
        self.start()

    # Life and death

    def start(self) -> None:
        """Start flight on what is on disk."""
        self.flight = Executive(
            self.config,
            KEYS,
            Store(self.where),
            orders=Orders("test"),
            rss_bytes=self.rss_bytes,
            encoder_files=self.encoder_files,
        )
        self._step([])

    def kill(self) -> None:
        """Forget flight, and what is on its way to it."""
        if self.flight is not None and self.flight.up:
            self.log += self.flight.log.counts
        self.flight = None
        self._air = [entry for entry in self._air if entry[2] == "ground"]
        heapq.heapify(self._air)

    def restart(self) -> None:
        self.kill()
        self.start()

    # Time

    def contact(self, on: bool = True) -> None:
        self.ground.set_contact(on, self.t)

    def run(self, seconds: float) -> None:
        """Let the world go on."""
        end = self.t + seconds
        while True:
            due = min(self._flight_due(), self._ground_due(), self._air[0][0] if self._air else np.inf)
            if due > end:
                self.t = end
                return
            self.t = max(self.t, due)
            self._round()

    def until(self, condition: Any, limit_s: float = 600.0) -> None:
        """Let the world go on until `condition` holds; it must, within `limit_s`."""
        end = self.t + limit_s
        while not condition():
            due = min(self._flight_due(), self._ground_due(), self._air[0][0] if self._air else np.inf)
            assert due <= end, f"not within {limit_s} s of mission time"
            self.t = max(self.t, due)
            self._round()

    def _flight_due(self) -> float:
        return self._due_s if self.flight is not None else np.inf

    def _ground_due(self) -> float:
        return max(self.ground.next_due(self.t), self._ground_free_s)

    def _round(self) -> None:
        self._rounds = self._rounds + 1 if self.t == self._round_s else 0
        self._round_s = self.t
        assert self._rounds < 5000, f"mission time does not get past {self.t} s"
        self._order()
        inputs = []
        while self._air and self._air[0][0] <= self.t:
            t, serial, to, port, body = heapq.heappop(self._air)
            if to == "flight":
                inputs.append(Message(t, port, serial, port, body))
            elif to == "recorder":
                self.recorder.obey(body)
            else:
                self._hear(body)
        if self.flight is not None and (inputs or self._due_s <= self.t):
            self._step(inputs)
        if self.t >= self._ground_free_s and (frame := self.ground.poll(self.t)) is not None:
            self._ground_free_s = self.t + self.ground.frame_time_s(frame)
            self.send(frame, self._ground_free_s)
        for body in self.recorder.take() if self.flight is not None else []:
            self._put(self.t + 0.01, "flight", "camera", body)

    def _order(self) -> None:
        if self.orders and not any(going.outgoing for going in self.ground.progress()):
            self.ground.submit(self.orders.pop(0))

    def _step(self, inputs: list[Message]) -> None:
        assert self.flight is not None
        step = self.flight.step(self.t, inputs)
        self._due_s = step.next_due
        for output in step.outputs:
            assert output.t >= self.t
            if output.port == "radio":
                arrival = output.t + self.flight.endpoint.frame_time_s(output.body) + LINK_S
                self._put(arrival, "ground", "radio", output.body)
            elif output.port == "board":
                self.draws.append(Draw.unpack(output.body))
            else:
                self._put(output.t, "recorder", "camera", output.body)

    def _put(self, t: float, to: str, port: str, body: bytes) -> None:
        self._serial += 1
        heapq.heappush(self._air, (t, self._serial, to, port, body))

    def send(self, frame: bytes, t: float | None = None) -> None:
        """Bring a frame to flight's radio."""
        if self.flight is not None:
            self._put((self.t if t is None else t) + LINK_S, "flight", "radio", frame)

    def camera(self, body: bytes) -> None:
        """Bring a message to flight's camera port."""
        self._put(self.t, "flight", "camera", body)

    def board(self, battery: float = 0.9, temperature_degc: float = 20.0, sunlit: bool = True, times: int = 3) -> None:
        """Let the board report so many times, a second apart."""
        for _ in range(times):
            self._put(self.t, "flight", "board", Reading(battery, sunlit, temperature_degc).pack())
            self.run(1.0)

    def _hear(self, frame: bytes) -> None:
        for event in self.ground.receive(frame, self.t):
            self.events.append(event)
            if isinstance(event, FileReceived):
                if event.file.kind is FileKind.PRODUCT:
                    self.products[event.file.name] = product.unpack(event.file.data, self.config.link)
                else:
                    self.models.append(event.file.data)
                self.ground.accept(event.transfer_id)

    # What a ground segment does

    def upload(self, *files: File) -> None:
        """Send files up, and wait for the spacecraft's word on each."""
        for file in files:
            transfer_id = self.ground.submit(file)
            self.until(lambda transfer_id=transfer_id: self.outcome(transfer_id) is not None)

    def outcome(self, transfer_id: int) -> str | None:
        """ "ok", the reason of a refusal, or None while there is no word."""
        for event in self.events:
            if isinstance(event, FileDelivered) and event.transfer_id == transfer_id:
                return "ok"
            if isinstance(event, FileFailed) and event.transfer_id == transfer_id:
                return event.reason
        return None

    def command(self, name: str, **args: Any) -> tuple[str, str]:
        """Send a telecommand; its outcome and reason."""
        number = self.ground.send(Telecommand(name, args))
        self.until(lambda: any(e.number == number for e in self.of(CommandAcknowledged)))
        return next((e.outcome, e.reason) for e in self.of(CommandAcknowledged) if e.number == number)

    def image(self, *chips: Chip) -> None:
        """Give chips to the recorder; every cell once by default."""
        self.recorder.chips += chips or [make_chip(len(self.recorder.chips) + i) for i in range(len(EARTH.chips))]

    def settle(self) -> None:
        """Let everything be taken in, learned, predicted, sent down and written."""
        self.until(self.settled)

    def settled(self) -> bool:
        if self.flight is None:
            return False
        payload, done = self.flight.payload, self.flight.acknowledged >= len(self.recorder.chips)
        busy = self.flight.job or payload.pending_steps or payload.products.to_predict or self.ground.progress()
        return (
            not self.orders
            and done
            and not busy
            and not self.flight.endpoint.progress()
            and not self.ground.queued_packets
        )

    def begin(self, task: int = 1) -> None:
        """A mission: region and labels on their way, chips in the recorder."""
        self.contact()
        self.image()
        self.orders += [region_file(), label_file(task)]
        self._order()

    def fly(self, task: int = 1) -> None:
        """A whole mission, to the last prediction."""
        self.begin(task)
        self.settle()

    # What can be seen

    def of(self, kind: type) -> list[Any]:
        return [event for event in self.events if isinstance(event, kind)]

    def told(self, name: str) -> list[dict[str, Any]]:
        """Values of all telemetry and events of that name that have come down; of an event that came twice, once."""
        found = [dict(event.values) for event in self.of(TelemetryReceived) if event.name == name]
        return [values for i, values in enumerate(found) if "serial" not in values or values not in found[:i]]

    def weights(self) -> str:
        assert self.flight is not None
        return self.flight.report()["weights_sha256"]

    def received(self, task: int) -> np.ndarray:
        """Predictions (cells, classes) of a task as products brought them, later ones over earlier ones."""
        wanted = [name for name, each in self.products.items() if each.task_id == task]
        grid = np.full((ROWS * COLS, 3 if task == 1 else 2), np.nan, np.float32)
        for name in sorted(wanted, key=lambda name: int(name.rpartition("-")[2])):
            grid[self.products[name].cells] = self.products[name].proportions
        return grid

    def on_board(self) -> tuple[Any, ...]:
        """What bad input must not change."""
        assert self.flight is not None
        payload = self.flight.payload
        labels = payload.labels.proportions.tobytes() if payload.labels is not None else b""
        records = {name: self.flight.store.get(name) for name in self.flight.store.names() if name != "mission"}
        place = (payload.task_id, payload.label_version, payload.region_crc)
        return (*place, labels, payload.learner.state(), dict(vars(payload.progress)), records)


def flown(where: Path | Disk, learner: str = "moments", **changes: Any) -> World:
    """A world whose mission is over."""
    world = World(where, config(learner, **changes))
    world.fly()
    return world
