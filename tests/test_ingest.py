"""The wire between camera and flight, and the queue behind it."""

import msgpack
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from flight.ingest import MAX_REWINDS, Chip, ChipQueue, Gap, IngestError, RecorderRequest, unpack_from_camera


def chip(number: int, side: int = 16) -> Chip:
    return Chip(number, 10.0 + number, number % 7, number % 5, 3, np.full((side, side, 3), number % 256, np.uint8))


def fields(number: int = 0) -> list[object]:
    return ["chip", number, 1.5, 2, 3, 4, 16, 16, 3, bytes(768)]


@given(
    number=st.integers(0, 2**40 - 1),
    t_s=st.floats(allow_nan=False, allow_infinity=False),
    cell=st.tuples(st.integers(0, 65535), st.integers(0, 65535)),
    shape=st.tuples(st.integers(16, 40), st.integers(16, 40), st.integers(1, 13)),
    seed=st.integers(0, 9),
)
def test_a_chip_survives_the_wire(number, t_s, cell, shape, seed):
    image = np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)
    sent = Chip(number, t_s, *cell, 7, image)
    got = Chip.unpack(sent.pack(), max_bytes=40 * 40 * 13 + 64)
    assert (got.number, got.t_s, got.row, got.col, got.scene) == (number, t_s, *cell, 7)
    assert got.image.dtype == np.uint8 and np.array_equal(got.image, image)


@given(st.tuples(*[st.integers(0, 2**39)] * 3).map(sorted), st.booleans())
def test_a_request_survives_the_wire(numbers, rewind):
    request = RecorderRequest(*numbers, rewind)
    assert RecorderRequest.unpack(request.pack()) == request


@given(st.binary(max_size=200))
def test_random_bytes_are_an_ingest_error_and_nothing_else(body):
    for unpack in (Chip.unpack, Gap.unpack, RecorderRequest.unpack, unpack_from_camera):
        with pytest.raises(IngestError):
            unpack(body)


@given(st.data())
def test_a_chip_with_one_byte_changed_never_raises_anything_but_an_ingest_error(data):
    body = bytearray(chip(5).pack())
    at = data.draw(st.integers(0, 60))
    body[at] = data.draw(st.integers(0, 255))
    try:
        got = Chip.unpack(bytes(body))
    except IngestError:
        return
    assert got.image.nbytes == 768


@pytest.mark.parametrize(
    ("at", "value", "says"),
    [
        (1, -1, "number"),
        (1, True, "number"),
        (1, 1 << 40, "number"),
        (2, float("nan"), "time"),
        (2, 3, "time"),
        (3, 65536, "row"),
        (4, -1, "column"),
        (5, 1 << 31, "scene"),
        (6, 15, "height"),
        (7, 513, "width"),
        (8, 0, "bands"),
        (8, 14, "bands"),
        (8, 2, "expected 16 x 16 x 2 bytes"),
        (9, "x", "pixels"),
        (9, bytes(767), "pixels"),
    ],
)
def test_a_chip_out_of_range_is_refused_by_the_name_of_the_field(at, value, says):
    bad = fields()
    bad[at] = value
    with pytest.raises(IngestError, match=says):
        Chip.unpack(msgpack.packb(bad))


def test_a_message_longer_than_allowed_is_refused_before_it_is_read():
    with pytest.raises(IngestError, match="allowed are 100"):
        Chip.unpack(chip(0).pack(), max_bytes=100)


@pytest.mark.parametrize("dtype", [np.float32, np.uint16])
def test_only_uint8_images_are_sent(dtype):
    with pytest.raises(IngestError, match="uint8"):
        Chip(0, 0.0, 0, 0, 0, np.zeros((16, 16, 3), dtype)).pack()


@pytest.mark.parametrize("numbers", [(5, 4, 9), (0, 4, 3), (-1, 0, 0)])
def test_a_request_whose_window_runs_backwards_is_refused(numbers):
    with pytest.raises(IngestError):
        RecorderRequest(*numbers).pack()


def test_the_queue_takes_chips_in_order_and_drops_copies():
    queue = ChipQueue(4)
    assert [queue.offer(chip(n).pack()) for n in (0, 1, 1, 0, 2)] == [True, True, False, False, True]
    assert [c.number for c in queue.take(10)] == [0, 1, 2]
    assert queue.counters["duplicates"] == 2


def test_a_hole_makes_the_queue_ask_for_the_missing_number_again():
    queue = ChipQueue(8)
    queue.offer(chip(0).pack())
    queue.request(0)
    assert not queue.offer(chip(2).pack())
    assert queue.request(0) == RecorderRequest(0, 1, 8, rewind=True)
    assert queue.counters["out_of_order"] == 1


def test_a_chip_that_is_malformed_every_time_is_not_asked_for_for_ever():
    queue = ChipQueue(8)
    rewinds = 0
    for _ in range(20):
        request = queue.request(0)
        rewinds += request is not None and request.rewind
        queue.offer(b"\xc1")
    assert rewinds == MAX_REWINDS
    assert queue.counters["malformed"] == 20


def test_a_full_queue_refuses_the_next_chip_and_stays_within_its_capacity():
    queue = ChipQueue(2)
    assert [queue.offer(chip(n).pack()) for n in range(3)] == [True, True, False]
    assert len(queue) == 2 and queue.counters["overflow"] == 1


def test_a_gap_lets_the_queue_go_on_behind_chips_that_were_never_recorded():
    queue = ChipQueue(4)
    queue.offer(chip(0).pack())
    assert queue.offer(Gap(0, 5).pack())
    assert queue.counters["lost"] == 4
    assert queue.offer(chip(5).pack())


def test_a_chip_of_another_shape_than_the_mission_s_is_malformed():
    queue = ChipQueue(4, shape=(16, 16, 3))
    assert not queue.offer(chip(0, side=32).pack())
    assert queue.counters["malformed"] == 1


def test_after_a_restart_the_first_request_rewinds_to_the_first_chip_not_in_the_checkpoint():
    assert ChipQueue(4, next_number=17).request(17) == RecorderRequest(17, 17, 21, rewind=True)


def test_nothing_is_requested_while_nothing_has_changed():
    queue = ChipQueue(4)
    assert queue.request(0) is not None
    assert queue.request(0) is None
    queue.offer(chip(0).pack())
    assert queue.request(0) == RecorderRequest(0, 1, 4)
    queue.take(1)
    assert queue.request(1) == RecorderRequest(1, 1, 5)
    assert queue.request(1) is None


@given(st.lists(st.one_of(st.integers(0, 12), st.tuples(st.integers(0, 12), st.integers(1, 4))), max_size=60))
def test_whatever_arrives_the_queue_holds_ascending_numbers_and_never_more_than_its_capacity(arrivals):
    queue = ChipQueue(5)
    taken = []
    for arrival in arrivals:
        item = chip(arrival) if isinstance(arrival, int) else Gap(arrival[0], arrival[0] + arrival[1])
        queue.offer(item.pack())
        assert len(queue) <= 5
        if isinstance(arrival, int) and arrival % 4 == 0:
            taken += [c.number for c in queue.take(2)]
    taken += [c.number for c in queue.take(100)]
    assert taken == sorted(set(taken))
    assert len(taken) + queue.counters["lost"] == queue.next_number
