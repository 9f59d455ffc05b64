"""The camera and its recorder, as flight sees them."""

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flight.ingest import Chip, ChipQueue, Gap, RecorderRequest, unpack_from_camera
from flight.step import NEVER, Message
from ground.imagery import Imagery
from sim.camera import Camera
from sim.overpass import Overpass

ROWS, COLS = 10, 12
CHIP_BYTES = 16 * 16 * 3


@dataclass
class FlatImagery:
    """A grid of flat chips whose value tells index and scene."""

    cell: Any = field(default_factory=lambda: np.stack(np.divmod(np.arange(ROWS * COLS), COLS), 1).astype(np.int32))
    name: str = "flat"
    rows: int = ROWS
    cols: int = COLS
    chip_shape: tuple[int, int, int] = (16, 16, 3)

    def chips(self, index: Any, scene: int = 0) -> Any:
        values = ((np.asarray(index) + 100 * scene) % 256).astype(np.uint8)
        return np.broadcast_to(values[:, None, None, None], (len(values), *self.chip_shape))


def overpass(scene: int, start_s: float, cells: Any, chips_per_s: float = 10.0) -> Overpass:
    cells = np.asarray(cells, dtype=np.int32)
    return Overpass(scene, 0.0, 45.0, cells, start_s + np.arange(len(cells)) / chips_per_s)


def camera(recorder_chips: int = 1000, imagery: Any = None, **kwargs: Any) -> Camera:
    flown = [overpass(0, 100.0, range(60)), overpass(1, 500.0, range(60, 120))]
    source: Imagery = imagery or FlatImagery()
    return Camera(source, flown, recorder_bytes=recorder_chips * CHIP_BYTES, **{"batch_chips": 16, **kwargs})


def ask(t: float, *request: Any) -> Message:
    return Message(t, "flight", 0, "flight", RecorderRequest(*request).pack())


def run(core: Camera, requests: list[Message], until: float = 2000.0) -> list[tuple[float, Chip | Gap]]:
    """Step the camera as the time master does; everything that it sends."""
    sent: list[tuple[float, Chip | Gap]] = []
    pending = sorted(requests, key=lambda m: m.order)
    t, due = 0.0, 0.0
    while t <= until:
        inputs = [m for m in pending if m.t <= t]
        pending = pending[len(inputs) :]
        step = core.step(t, inputs)
        assert step.next_due > t
        assert all(o.t >= t and o.port == "flight" for o in step.outputs)
        sent += [(o.t, unpack_from_camera(o.body)) for o in step.outputs]
        due = step.next_due
        t = min(due, pending[0].t if pending else NEVER)
    return sent


def numbers(sent: list[tuple[float, Chip | Gap]]) -> list[Any]:
    return [item.number if isinstance(item, Chip) else (item.first, item.until) for _, item in sent]


def test_chips_arrive_numbered_in_orbit_order_with_their_cell_scene_and_image():
    sent = run(camera(), [ask(0.0, 0, 0, 1000, True)])
    chips = [item for _, item in sent]
    assert numbers(sent) == list(range(120))
    assert [(c.row, c.col) for c in chips[:14]] == [(n // 12, n % 12) for n in range(14)]
    assert [c.scene for c in chips] == [0] * 60 + [1] * 60
    assert [int(c.image[0, 0, 0]) for c in chips] == [n if n < 60 else (n + 100) % 256 for n in range(120)]


def test_no_chip_arrives_before_it_was_taken():
    assert all(arrival_s > item.t_s for arrival_s, item in run(camera(), [ask(0.0, 0, 0, 1000, True)]))


def test_cells_without_a_chip_are_passed_over():
    land = FlatImagery(cell=FlatImagery().cell[::2])
    sent = run(camera(imagery=land), [ask(0.0, 0, 0, 1000, True)])
    assert numbers(sent) == list(range(60))
    assert all(item.col % 2 == 0 for _, item in sent)


def test_nothing_is_sent_beyond_the_window_that_flight_asked_for():
    assert numbers(run(camera(), [ask(0.0, 0, 0, 20, True)])) == list(range(20))
    more = [ask(0.0, 0, 0, 20, True), ask(700.0, 0, 20, 30)]
    assert numbers(run(camera(), more)) == list(range(30))


def test_flight_s_request_after_a_restart_is_served_again_from_the_number_it_names():
    core = camera()
    sent = run(core, [ask(0.0, 0, 0, 50, True), ask(300.0, 20, 20, 50, True)])
    assert numbers(sent) == list(range(50)) + list(range(20, 50))
    assert core.report()["chips_resent"] == 30


def test_a_request_that_does_not_rewind_repeats_nothing():
    sent = run(camera(), [ask(0.0, 0, 0, 50, True), ask(300.0, 20, 20, 50)])
    assert numbers(sent) == list(range(50))


def test_the_bus_carries_its_rate_and_not_a_byte_more():
    core = camera(bus_bytes_per_s=1000.0)
    sent = run(core, [ask(200.0, 0, 0, 60, True)])
    busy_s = sent[-1][0] - 200.0
    assert core.report()["bytes_sent"] / busy_s == pytest.approx(1000.0)


def test_a_batch_arrives_together_so_that_flight_takes_few_steps():
    sent = run(camera(), [ask(0.0, 0, 0, 1000, True)])
    assert len({t for t, _ in sent}) == 8  # 60 chips an overpass in batches of 16


def test_a_full_recorder_loses_the_newest_chips_and_tells_flight_so():
    core = camera(recorder_chips=40)
    sent = run(core, [ask(0.0, 0, 0, 60, True), ask(200.0, 40, 60, 1000)])
    assert [n for n in numbers(sent) if isinstance(n, int)] == [*range(40), *range(60, 100)]
    announced = [n for _, item in sent if isinstance(item, Gap) for n in range(item.first, item.until)]
    assert announced == [*range(40, 60), *range(100, 120)]
    report = core.report()
    assert (report["chips_lost"], report["recorder_bytes_peak"]) == (40, 40 * CHIP_BYTES)


def test_acknowledged_chips_make_room_in_the_recorder():
    core = camera(recorder_chips=60)
    run(core, [ask(0.0, 0, 0, 60, True), ask(200.0, 60, 60, 1000)])
    assert core.report()["chips_lost"] == 0


def test_chips_forgotten_after_their_acknowledgement_are_announced_as_a_gap():
    sent = run(camera(), [ask(0.0, 0, 0, 60, True), ask(200.0, 50, 60, 60), ask(300.0, 0, 0, 60, True)])
    assert numbers(sent)[60:] == [(0, 50), *range(50, 60)]


@pytest.mark.parametrize("body", [b"", b"\xc1", RecorderRequest(0, 500, 600).pack(), Gap(0, 5).pack()])
def test_a_request_that_makes_no_sense_is_counted_and_changes_nothing(body):
    core = camera()
    sent = run(core, [ask(0.0, 0, 0, 20, True), Message(400.0, "flight", 1, "flight", body)])
    assert numbers(sent) == list(range(20))
    assert core.report()["requests_refused"] == 1


def test_the_report_knows_what_was_taken_while_flight_was_silent():
    core = camera(recorder_chips=30)
    run(core, [])
    assert (core.report()["chips_taken"], core.report()["chips_lost"]) == (120, 90)


def test_an_overpass_over_another_grid_is_refused():
    with pytest.raises(ValueError, match="grid of 10 x 12"):
        Camera(FlatImagery(), [overpass(0, 0.0, [120])], recorder_bytes=0)


@settings(max_examples=40, deadline=None)
@given(
    kills=st.lists(st.floats(90, 700), max_size=4),
    capacity=st.integers(1, 40),
    recorder=st.integers(20, 200),
    lag_s=st.floats(0.01, 3.0),
)
def test_however_often_flight_restarts_it_gets_every_recorded_chip_once_and_in_order(kills, capacity, recorder, lag_s):
    """Flight here takes a few chips each `lag_s`, checkpoints now and then, and forgets the rest when it is killed."""
    core = camera(recorder_chips=recorder)
    queue, checkpoint, processed = ChipQueue(capacity), 0, []
    inbox: list[tuple[float, bytes]] = []
    kills = sorted(kills)
    t, due = 0.0, 0.0
    for cycle in range(20000):
        if kills and t >= kills[0]:
            kills.pop(0)
            processed = [n for n in processed if n < checkpoint]
            queue, inbox = ChipQueue(capacity, checkpoint), []
        for arrival_s, body in [x for x in inbox if x[0] <= t]:
            queue.offer(body)
            inbox.remove((arrival_s, body))
        processed += [c.number for c in queue.take(5)]
        if cycle % 7 == 0 and not len(queue):
            checkpoint = queue.next_number
        request = queue.request(checkpoint)
        step = core.step(t, [] if request is None else [Message(t, "flight", cycle, "flight", request.pack())])
        inbox += [(o.t, o.body) for o in step.outputs]
        due = min([step.next_due, *(x[0] for x in inbox), *kills])
        if due == NEVER and not len(queue) and checkpoint == queue.next_number:
            break
        t = max(t + lag_s, min(due, t + 100))
    report = core.report()
    assert queue.next_number == report["chips_planned"] == 120
    assert processed == sorted(set(processed))
    assert len(processed) == 120 - report["chips_lost"]
