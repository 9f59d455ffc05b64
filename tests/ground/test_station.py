"""The station against a spacecraft's endpoint: orders in their order, restarts, and what comes down."""

import heapq
import json

import numpy as np
import pytest

from flight.config import LinkConfig
from flight.link import product
from flight.link.dictionary import Telecommand, Telemetry, extract
from flight.link.endpoint import Endpoint
from flight.link.events import CommandReceived, FileFailed, FileReceived
from flight.link.keys import KeyRing
from flight.link.packet import FileKind
from flight.link.product import Product
from flight.link.transfer import File
from flight.step import NEVER, Message
from flight.store import Store
from ground.archive import LOG, RECEIVED, StationArchive
from ground.station import Order, Station, Tagged, Window

CONFIG = LinkConfig(max_queued_packets=8)
KEYS = KeyRing({1: bytes(range(32)), 2: bytes(range(32, 64))}, 1)
WAY_S = 0.005
PASSES = [Window(100.0, 400.0), Window(1000.0, 1300.0), Window(5000.0, 5600.0)]


def a_file(name, size=3000, kind=FileKind.LABEL_SET):
    return File(name, kind, np.random.Generator(np.random.PCG64(size)).bytes(size))


class Sky:
    """A station and a spacecraft; the radio takes its time, and works only while the station looks."""

    def __init__(self, directory, orders, windows=PASSES):
        self.directory, self.orders, self.windows = directory, orders, windows
        self.t = 0.0
        self.space = Endpoint("space", CONFIG, KEYS)
        self.files, self.commands, self.failed = [], [], []
        self.refuses = None
        self._air, self._free_s, self._serial = [], 0.0, 0
        self.start()

    def start(self):
        """The station comes up with what it has on disk."""
        self.archive = StationArchive(self.directory)
        store = Store(self.directory / "state")
        self.station = Station(CONFIG, KEYS, self.windows, self.orders, self.archive, store)
        self._step([])

    def run(self, until_s):
        while True:
            space_s = max(self.space.next_due(self.t), self._free_s)
            due = min(self._due_s, space_s, self._air[0][0] if self._air else NEVER)
            if due > until_s:
                self.t = until_s
                return
            self.t = max(self.t, due)
            inputs = []
            while self._air and self._air[0][0] <= self.t:
                t, serial, to, frame = heapq.heappop(self._air)
                if to == "station":
                    inputs.append(Message(t, "channel", serial, "radio", frame))
                else:
                    self._hear(frame)
            if inputs or self._due_s <= self.t:
                self._step(inputs)
            if self.t >= self._free_s and (frame := self.space.poll(self.t)) is not None:
                self._free_s = self.t + self.space.frame_time_s(frame)
                self._send(self._free_s, "station", frame)

    def _step(self, inputs):
        step = self.station.step(self.t, inputs)
        self._due_s = step.next_due
        for output in step.outputs:
            assert any(window.aos_s <= self.t < window.los_s for window in self.windows)
            self._send(output.t + self.space.frame_time_s(output.body), "space", output.body)

    def _send(self, t, to, frame):
        self._serial += 1
        heapq.heappush(self._air, (t + WAY_S, self._serial, to, frame))

    def _hear(self, frame):
        for event in self.space.receive(frame, self.t):
            if isinstance(event, FileReceived):
                self.files.append(event.file.name)
                if event.file.name == self.refuses:
                    self.space.refuse(event.transfer_id, "not wanted")
                else:
                    self.space.accept(event.transfer_id)
            elif isinstance(event, CommandReceived):
                self.commands.append(event.name)
                self.args = event.args
                self.space.acknowledge(event.number, "executed")
            elif isinstance(event, FileFailed):
                self.failed.append((event.name, event.reason))


def test_orders_are_dealt_with_in_the_order_of_their_times_and_after_the_file_before_them(tmp_path):
    orders = [
        Order(900.0, Telecommand("get-model", {})),
        Order(0.0, a_file("region", 50_000)),
        Order(1.0, a_file("labels")),
        Order(2.0, Telecommand("status", {})),
    ]
    sky = Sky(tmp_path, orders)
    sky.run(99.0)
    assert sky.files == []
    sky.run(500.0)
    assert (sky.files, sky.commands) == (["region", "labels"], ["status"])
    sky.run(1100.0)
    assert sky.commands == ["status", "get-model"]
    report = sky.station.report()
    assert [name for name, _ in report["delivered"]] == ["region", "labels"]
    assert report["orders_left"] == 0 and report["acknowledged"] == {"executed": 2}
    json.dumps(report)


def test_a_refused_file_is_noted_and_does_not_hold_up_what_follows(tmp_path):
    sky = Sky(tmp_path, [Order(0.0, a_file("bad")), Order(0.0, a_file("good"))])
    sky.refuses = "bad"
    sky.run(400.0)
    assert sky.files == ["bad", "good"]
    assert [(name, reason) for name, _, reason in sky.station.report()["failed"]] == [("bad", "not wanted")]


def test_a_cancelled_upload_is_noted_and_does_not_hold_up_what_follows(tmp_path):
    sky = Sky(tmp_path, [Order(0.0, a_file("unwanted", 50_000)), Order(0.0, a_file("good"))])
    sky.run(105.0)
    sky.station.suspend(1)
    sky.station.resume(1, sky.t)
    sky.station.cancel(1, sky.t)
    sky.run(400.0)
    assert sky.files == ["good"]
    failed = sky.station.report()["failed"]
    assert [(name, reason) for name, _, reason in failed] == [("unwanted", "cancel request received")]


@pytest.mark.parametrize("restarts_s", [[120.0], [101.0, 110.0, 130.0], [399.0, 700.0, 1001.0], [50.0]])
def test_a_station_that_restarts_goes_on_where_it_was(restarts_s, tmp_path):
    orders = [
        Order(0.0, a_file("region", 200_000)),
        Order(0.0, Telecommand("status", {})),
        Order(0.0, a_file("labels")),
    ]
    sky = Sky(tmp_path, orders)
    for at_s in restarts_s:
        sky.run(at_s)
        sky.start()
    sky.run(5600.0)
    assert sky.files == ["region", "labels"] and sky.commands == ["status"]
    assert sky.station.report()["orders_left"] == 0
    assert sky.station.endpoint.counters.segments_sent < 1.5 * 200_000 / 200
    # A frame on its way when the station died arrives after the first of the next block of counters.
    assert sum(sky.space.counters.frames_rejected.values()) <= len(restarts_s)


def test_more_telecommands_than_the_link_can_hold_wait_for_room(tmp_path):
    sky = Sky(tmp_path, [Order(0.0, Telecommand("ping", {"echo": i})) for i in range(50)])
    sky.run(400.0)
    assert sky.commands == ["ping"] * 50
    assert sky.station.report()["orders_left"] == 0


def a_product(number=1, task=1):
    cells = np.arange(5, dtype=np.int32)
    return Product(1, task, 1, bytes(8), 64, cells, np.full((5, 2), 0.5, np.float32))


def test_products_are_archived_as_they_came_before_the_spacecraft_may_forget_them(tmp_path):
    sky = Sky(tmp_path, [])
    data = product.pack(a_product())
    sky.space.submit(File("product-1-1-1", FileKind.PRODUCT, data))
    sky.space.submit(File("model-1", FileKind.MODEL, b"weights"))
    sky.space.submit(File("event-log-1-4", FileKind.EVENT_LOG, b"events"))
    sky.run(400.0)
    assert (tmp_path / RECEIVED / "product-1-1-1").read_bytes() == data
    assert (tmp_path / RECEIVED / "model-1").read_bytes() == b"weights"
    assert (tmp_path / RECEIVED / "event-log-1-4").read_bytes() == b"events"
    assert sky.station.report()["products"] == ["product-1-1-1"]
    assert sky.space.progress() == []


def test_a_product_that_cannot_be_decoded_is_counted_and_refused(tmp_path):
    sky = Sky(tmp_path, [])
    sky.space.submit(File("product-1-1-1", FileKind.PRODUCT, b"junk that is long enough"))
    sky.run(400.0)
    report = sky.station.report()
    assert (report["bad_products"], report["products"]) == (1, [])
    assert sky.failed[0][0] == "product-1-1-1" and "not product data" not in sky.failed[0][1]
    assert list((tmp_path / RECEIVED).iterdir()) == []


def test_telemetry_is_in_the_log_when_a_pass_is_over(tmp_path):
    sky = Sky(tmp_path, [Order(0.0, Telecommand("ping", {"echo": 4}))])
    sky.space.send(Telemetry("pong", {"echo": 4, "t_s": 7.0}))
    sky.space.send(Telemetry("task-changed", {"task_id": 2, "t_s": 8.0, "serial": 5}))
    sky.run(401.0)
    lines = [json.loads(line) for line in (tmp_path / LOG).read_text().splitlines()]
    assert sorted((kind, name) for _, kind, name, _ in lines) == [
        ("acknowledgement", "ping"),
        ("event", "task-changed"),
        ("telemetry", "pong"),
    ]
    assert all(100.0 <= t < 400.0 for t, *_ in lines)


def test_a_frame_that_is_no_good_is_counted_under_its_reason(tmp_path):
    sky = Sky(tmp_path, [])
    sky.run(150.0)
    sky._send(sky.t, "station", bytes(CONFIG.frame_bytes))
    sky.run(151.0)
    assert sky.station.report()["frames_rejected"] == {"bad_crc": 1}


def test_between_passes_the_station_sleeps_until_aos(tmp_path):
    sky = Sky(tmp_path, [Order(0.0, a_file("labels"))])
    sky.run(99.0)
    assert sky._due_s == 100.0
    sky.run(450.0)
    assert sky._due_s == 1000.0
    sky.run(5600.0)
    assert sky._due_s == NEVER


def test_a_state_of_a_foreign_format_is_refused(tmp_path):
    sky = Sky(tmp_path, [])
    sky.station.store.put("station", b"\x81\xa6format\x63")
    with pytest.raises(ValueError, match="format 99"):
        sky.start()


# Time


def tell_time(sky, on_board, times_set=0):
    """Let the spacecraft send a frame, and tell in the next when that began to leave, `on_board` of mission time."""
    sky.space.send(Telemetry("pong", {"echo": 0, "t_s": 0.0}))
    sky.run(sky.t + 1.0)
    began_s = sky._free_s - sky.space.frame_time_s(sky.last_frame)
    values = {"frame": sky.space.frame_sent, "frame_s": on_board(began_s), "times_set": times_set, "t_s": 0.0}
    sky.space.send(Telemetry("time-report", values))
    sky.run(sky.t + 1.0)


@pytest.fixture
def watched(tmp_path, monkeypatch):
    """In a pass, with a note of the frame that the spacecraft sent last."""

    def make(orders=()):
        sky = Sky(tmp_path, list(orders))
        poll = sky.space.poll

        def noted(t):
            frame = poll(t)
            if frame is not None:
                sky.last_frame = frame
            return frame

        monkeypatch.setattr(sky.space, "poll", noted)
        sky.run(130.0)
        return sky

    return make


def test_the_station_estimates_offset_and_drift_of_the_on_board_clock(watched):
    sky = watched()
    assert sky.station.report()["clock"] is None
    for until in (140, 200, 260, 320, 380):
        sky.run(until)
        tell_time(sky, lambda t: 1e9 + t * (1 + 50e-6))
    clock = sky.station.report()["clock"]
    assert clock["points"] == 5
    assert clock["offset_s"] == pytest.approx(1e9 - WAY_S, abs=0.001)
    assert clock["drift_ppm"] == pytest.approx(50.0, abs=1.0)
    assert clock["residual_s"] < 0.001


def test_points_from_before_the_clock_was_set_do_not_count(watched):
    sky = watched()
    tell_time(sky, lambda t: t)
    tell_time(sky, lambda t: t + 1000.0, times_set=1)
    clock = sky.station.report()["clock"]
    assert clock["points"] == 1 and clock["offset_s"] == pytest.approx(1000.0 - WAY_S, abs=0.001)


def test_a_telecommand_for_a_time_waits_for_the_clock_and_is_tagged_in_on_board_time(watched):
    tagged = Tagged(2000.0, "run", Telecommand("ping", {"echo": 8}))
    sky = watched([Order(0.0, tagged)])
    assert sky.commands == []
    tell_time(sky, lambda t: t + 500.0)
    sky.run(sky.t + 5.0)
    assert sky.commands == ["schedule"] and sky.args["if_late"] == "run"
    assert sky.args["at_s"] == pytest.approx(2500.0, abs=0.01)
    assert extract(sky.args["command"]) == Telecommand("ping", {"echo": 8})


def test_after_the_clock_was_set_a_telecommand_for_a_time_waits_until_it_is_known_again(watched):
    tagged = Tagged(2000.0, "skip", Telecommand("ping", {"echo": 8}))
    setting = Telecommand("adjust-time", {"delta_s": 2.0})
    sky = watched([Order(133.0, setting), Order(133.0, tagged)])
    tell_time(sky, lambda t: t)
    sky.run(sky.t + 10.0)
    assert sky.commands == ["adjust-time"]
    tell_time(sky, lambda t: t + 2.0, times_set=1)
    sky.run(sky.t + 5.0)
    assert sky.args["at_s"] == pytest.approx(2002.0, abs=0.01)


def test_changes_of_keys_are_made_one_after_the_other_and_one_that_cannot_be_made_is_reported(tmp_path):
    orders = [Order(0.0, Telecommand("rotate-key", {"key_id": key_id})) for key_id in (2, 9, 1)]
    sky = Sky(tmp_path, [*orders, Order(0.0, Telecommand("ping", {"echo": 1}))])
    sky.run(400.0)
    report = sky.station.report()
    assert report["acknowledged"] == {"executed": 3} and report["orders_left"] == 0
    assert [(name, reason) for name, _, reason in report["failed"]] == [
        ("rotate-key", "key 9 is in no slot, only [1, 2]")
    ]
    for end in (sky.station.endpoint, sky.space):
        assert (end._secure.use.sending, set(end._secure.use.accepted)) == (1, {1})
