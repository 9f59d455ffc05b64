"""A flight core that lives for days between a ground station and a camera, for what must not grow."""

from __future__ import annotations

import heapq
from pathlib import Path

import numpy as np

from flight.config import CapsConfig, CostConfig, ExecutiveConfig, FlightConfig, LinkConfig
from flight.executive import Executive
from flight.ingest import Chip, RecorderRequest
from flight.link import labelset, region_codec
from flight.link.dictionary import Telecommand
from flight.link.endpoint import Endpoint
from flight.link.events import FileReceived, TelemetryReceived
from flight.link.keys import KeyRing
from flight.link.labelset import LabelSet
from flight.link.packet import FileKind
from flight.link.region import Region
from flight.link.transfer import File
from flight.step import NEVER, Message
from flight.store import Store

ROWS, COLS, CLASSES, BORDER = 12, 12, 3, 12
PASSES_A_DAY, PASS_S, DAY_S = 12, 480.0, 86400.0
RECORDER_CHIPS = 4096


class Days:
    """One spacecraft's days: passes, telecommands, new labels, and every cell imaged once a day."""

    def __init__(self, directory: Path) -> None:
        config = FlightConfig(
            LinkConfig(uplink_bps=64e3, downlink_bps=64e3),
            costs=CostConfig(),
            executive=ExecutiveConfig(product_chips=256),  # soon the size of every batch
            caps=CapsConfig(memory_bytes=1 << 36),
        )
        keys = KeyRing({1: bytes(32), 2: bytes(range(32))}, 1)
        self.flight = Executive(config, keys, Store(directory))
        self.ground = Endpoint("ground", config.link, keys)
        self.t = self._due_s = self._free_s = 0.0
        self._air: list[tuple[float, int, str, str, bytes]] = []
        self._serial = 0
        self._number = self._sent = self._until = self._acknowledged = 0
        self._rng = np.random.Generator(np.random.Philox(1))
        self.products = 0
        self._version = self._last_event = 0

    def day(self, number: int) -> None:
        """Live through one day."""
        for i in range(PASSES_A_DAY):
            start_s = number * DAY_S + i * DAY_S / PASSES_A_DAY
            self._run(start_s)
            self.ground.set_contact(True, self.t)
            self._orders(number, i)
            self._run(start_s + PASS_S)
            self.ground.set_contact(False, self.t)
            if i == PASSES_A_DAY // 2:
                self._number += ROWS * COLS  # an imaging overpass
                self._image()
        self._run((number + 1) * DAY_S)

    def _orders(self, number: int, i: int) -> None:
        self.ground.send(Telecommand("ping", {"echo": i}))
        self.ground.send(Telecommand("set-mode", {"mode": "acquire" if i % 2 else "train"}))
        if number == 0 and i == 0:
            self.ground.submit(File("region", FileKind.REGION, region_codec.pack(_region())))
        if self._last_event:
            self.ground.send(Telecommand("confirm-events", {"first": 0, "last": self._last_event}))
        if i == 0:
            self._version += 1
            table = self._rng.dirichlet(np.ones(CLASSES), ROWS).astype(np.float32)
            names = tuple(f"class {k}" for k in range(CLASSES))
            packed = labelset.pack(LabelSet(1, 1, self._version, names, table, 64))
            self.ground.submit(File(f"labels-1-{self._version}", FileKind.LABEL_SET, packed))

    def _run(self, end_s: float) -> None:
        while (due_s := min(self._due_s, self._ground_due(), self._air[0][0] if self._air else NEVER)) <= end_s:
            self.t = max(self.t, due_s)
            self._round()
        self.t = end_s

    def _ground_due(self) -> float:
        return max(self.ground.next_due(self.t), self._free_s)

    def _round(self) -> None:
        inputs = []
        while self._air and self._air[0][0] <= self.t:
            t, serial, to, port, body = heapq.heappop(self._air)
            if to == "flight":
                inputs.append(Message(t, port, serial, port, body))
            else:
                self._hear(body)
        if inputs or self._due_s <= self.t:
            step = self.flight.step(self.t, inputs)
            self._due_s = step.next_due
            for output in step.outputs:
                if output.port == "radio":
                    arrival_s = output.t + self.flight.endpoint.frame_time_s(output.body)
                    self._put(arrival_s, "ground", "radio", output.body)
                else:
                    self._obey(RecorderRequest.unpack(output.body))
        if self.t >= self._free_s and (frame := self.ground.poll(self.t)) is not None:
            self._free_s = self.t + self.ground.frame_time_s(frame)
            self._put(self._free_s, "flight", "radio", frame)

    def _hear(self, frame: bytes) -> None:
        for event in self.ground.receive(frame, self.t):
            if isinstance(event, TelemetryReceived):
                self._last_event = max(self._last_event, event.values.get("serial", 0))
            elif isinstance(event, FileReceived):
                self.products += 1
                self.ground.accept(event.transfer_id)

    def _obey(self, request: RecorderRequest) -> None:
        self._sent = request.wanted_from if request.rewind else max(self._sent, request.wanted_from)
        self._until, self._acknowledged = request.wanted_until, request.acknowledged
        self._image()

    def _image(self) -> None:
        """Send the chips that are there and wanted; each is a function of its number."""
        while self._sent < min(self._number, self._until):
            row, col = divmod(self._sent % (ROWS * COLS), COLS)
            pixels = np.random.Generator(np.random.Philox(self._sent)).integers(0, 256, (96, 96, 3), np.uint8)
            self._put(self.t + 0.01, "flight", "camera", Chip(self._sent, self.t, row, col, 0, pixels).pack())
            self._sent += 1

    def _put(self, t: float, to: str, port: str, body: bytes) -> None:
        self._serial += 1
        heapq.heappush(self._air, (t, self._serial, to, port, body))


def _region() -> Region:
    bags = np.full((ROWS * COLS, 4), -1, np.int32)
    bags[:, 0] = np.arange(ROWS * COLS) // COLS
    weights = np.zeros((ROWS * COLS, 4), np.uint8)
    weights[:, 0] = 255
    return Region(1, ROWS, COLS, tuple(f"M{i:02d}" for i in range(ROWS)), bags, weights)
