"""Files over a radio that loses, repeats and reorders, over passes that begin and end, and over restarts."""

import dataclasses

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from link_world import CONFIG, Radio, World, content

from flight.link import pdu
from flight.link.contact import NOW
from flight.link.errors import LinkError, LinkFullError, RejectedError
from flight.link.events import FileDelivered, FileFailed, FileReceived, FileRefused, PacketRejected
from flight.link.packet import FileKind
from flight.link.receiving import ABANDONED_S, Receiver
from flight.link.sending import Sender
from flight.link.transfer import File, Status

LABELS = FileKind.LABEL_SET
WIDTH = 213
DIGEST = bytes(16)


def file(size: int, seed: int = 0, name: str = "labels.bin") -> File:
    return File(name, LABELS, content(size, seed))


def delivered(world: World, files: dict[int, File]) -> None:
    assert world.space.files == files
    assert sorted(event.transfer_id for event in world.ground.of(FileDelivered)) == sorted(files)
    assert not world.ground.of(FileFailed)


@pytest.mark.parametrize("size", [0, 1, WIDTH - 1, WIDTH, WIDTH + 1, 5 * WIDTH, 20_000])
def test_a_file_of_any_size_arrives_whole(size):
    world = World()
    world.contact(True)
    sent = {world.ground.endpoint.submit(file(size)): file(size)}
    world.run(100, idle_ends=True)
    delivered(world, sent)
    assert world.space.accepted == [1]
    assert world.ground.endpoint.counters.segments_resent == 0


def test_a_file_travels_down_as_it_does_up():
    world = World(up=Radio(loss=0.1), down=Radio(loss=0.1))
    world.contact(True)
    product = File("product-1.bin", FileKind.PRODUCT, content(5000))
    world.space.endpoint.submit(product)
    world.run(200, idle_ends=True)
    assert world.ground.files == {1: product}
    assert [event.name for event in world.space.of(FileDelivered)] == ["product-1.bin"]


@pytest.mark.parametrize("frame_bytes", [160, 256, 1024])
def test_loss_costs_little_more_than_what_was_lost(frame_bytes):
    config = dataclasses.replace(CONFIG, frame_bytes=frame_bytes)
    world = World(config, seed=3, up=Radio(loss=0.1), down=Radio(loss=0.1))
    world.contact(True)
    world.ground.endpoint.submit(file(20_000))
    world.run(200, idle_ends=True)
    counters = world.ground.endpoint.counters
    assert world.space.files[1].data == content(20_000)
    assert counters.segments_resent <= 0.2 * counters.segments_sent


def test_reordering_alone_makes_nothing_be_sent_again_before_the_end():
    world = World(seed=1, up=Radio(jitter_s=0.5))
    world.contact(True)
    world.ground.endpoint.submit(file(40_000))
    world.run(200, idle_ends=True)
    assert world.space.files[1].data == content(40_000)
    assert world.ground.endpoint.counters.segments_resent <= 3


def test_sixty_files_at_once_are_queued_beyond_what_may_be_open():
    world = World(seed=5, up=Radio(loss=0.05), down=Radio(loss=0.05))
    files = {}
    for seed in range(60):
        files[world.ground.endpoint.submit(file(700, seed, f"f{seed}"))] = file(700, seed, f"f{seed}")
    world.contact(True)
    most = 0
    while world.ground.endpoint.progress():
        world.run(1)
        most = max(most, len(world.space.endpoint.progress()))
        assert world.t < 1000
    delivered(world, files)
    assert most <= CONFIG.max_open_transfers
    assert not world.space.endpoint.counters.packets_rejected["too_many_transfers"]


def test_an_urgent_file_overtakes_files_under_way():
    world = World()
    for seed in range(20):
        world.ground.endpoint.submit(file(3000, seed), priority=100)
    world.contact(True)
    world.run(10)
    urgent = world.ground.endpoint.submit(file(2000, 99), priority=1)
    world.run(5)
    assert urgent in world.space.files


def test_files_of_the_same_priority_share_the_link():
    world = World()
    world.ground.endpoint.submit(file(20_000, 1))
    world.ground.endpoint.submit(file(20_000, 2))
    world.contact(True)
    world.run(15)
    first, second = (p.segments_left for p in world.ground.endpoint.progress())
    assert abs(first - second) <= 1 and first < 94


def test_a_pass_that_ends_suspends_a_transfer_and_the_next_one_goes_on_with_it():
    world = World()
    world.ground.endpoint.submit(file(20_000))
    for _ in range(4):
        world.contact(True)
        world.run(7)
        world.contact(False)
        sent = world.frames["ground"]
        world.run(5000)
        assert world.frames["ground"] == sent, "the ground transmits without contact"
    delivered(world, {1: file(20_000)})
    assert world.ground.endpoint.counters.segments_resent < 10


def test_the_satellite_is_silent_without_contact():
    world = World()
    world.space.endpoint.submit(File("p", FileKind.PRODUCT, content(20_000)))
    world.run(100)
    assert world.frames["space"] == 0
    world.contact(True)
    world.run(10)
    assert world.frames["space"] > 0
    world.contact(False)
    world.run(CONFIG.contact_timeout_s + 1)
    sent = world.frames["space"]
    world.run(10_000)
    assert world.frames["space"] == sent


def test_several_lost_passes_delay_a_file_and_nothing_else():
    world = World()
    world.ground.endpoint.submit(file(5000))
    world.up.loss = 1.0
    for _ in range(3):
        world.contact(True)
        world.run(60)
        world.contact(False)
        world.run(5000)
    assert not world.space.files
    world.up.loss = 0.0
    world.contact(True)
    world.run(15, idle_ends=True)
    delivered(world, {1: file(5000)})


def test_without_any_report_the_whole_file_still_goes_up_and_is_known_delivered_later():
    world = World(down=Radio(loss=1.0))
    world.contact(True)
    world.ground.endpoint.submit(file(5000))
    world.run(60)
    assert world.space.files == {1: file(5000)}
    assert not world.ground.of(FileDelivered)
    world.down.loss = 0.0
    world.run(10)
    delivered(world, {1: file(5000)})
    assert world.space.accepted == [1]


def test_after_a_restart_of_the_sender_data_flow_even_if_no_report_comes():
    world = World(down=Radio(loss=1.0))
    world.contact(True)
    world.ground.endpoint.submit(file(5000))
    world.run(2)
    world.ground.restart()
    world.contact(True)
    world.run(30)
    assert world.space.files == {1: file(5000)}


@pytest.mark.parametrize("side", ["ground", "space"])
@pytest.mark.parametrize("when_s", [0.0, 0.05, 0.3, 2.0, 4.9, 5.1, 5.5, 6.0])
def test_a_restart_of_either_side_at_any_point_loses_nothing(side, when_s):
    world = World(seed=2, up=Radio(loss=0.05), down=Radio(loss=0.05))
    world.contact(True)
    world.ground.endpoint.submit(file(5000))
    world.ground.disk = world.ground.endpoint.save()
    world.run(when_s)
    getattr(world, side).restart()
    world.contact(True)
    world.run(60, idle_ends=True)
    assert world.space.files == {1: file(5000)}
    assert not world.ground.endpoint.progress()


def test_a_receiver_that_forgot_everything_gets_everything_again():
    world = World()
    world.contact(True)
    empty = world.space.disk
    world.ground.endpoint.submit(file(5000))
    world.run(4)
    world.space.disk = empty
    world.space.restart()
    world.run(60, idle_ends=True)
    delivered(world, {1: file(5000)})


def test_a_file_that_was_whole_but_not_accepted_is_handed_over_again_after_a_restart():
    world = World()
    world.space.receive = lambda frame, t: world.space.endpoint.receive(frame, t)  # an owner that is too slow
    world.contact(True)
    world.ground.endpoint.submit(file(500))
    world.run(3)
    assert not world.ground.of(FileDelivered)
    world.space.disk = world.space.endpoint.save()
    del world.space.receive
    world.space.restart()
    world.run(20, idle_ends=True)
    delivered(world, {1: file(500)})


def test_a_refused_file_ends_for_the_sender_with_the_reason():
    world = World()
    world.space.refuses = True
    world.contact(True)
    world.ground.endpoint.submit(file(500))
    world.run(20, idle_ends=True)
    assert [event.reason for event in world.ground.of(FileFailed)] == ["not wanted"]
    assert not world.ground.endpoint.progress() and not world.space.endpoint.progress()


@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 2**32),
    losses=st.tuples(st.floats(0, 0.5), st.floats(0, 0.5)),
    duplicate=st.floats(0, 0.5),
    jitter_s=st.floats(0, 2),
    up=st.lists(st.integers(0, 2500), min_size=1, max_size=4),
    down=st.lists(st.integers(0, 1500), max_size=2),
    passes=st.lists(st.tuples(st.floats(0.5, 12), st.sampled_from(["", "ground", "space", "both"])), max_size=5),
)
def test_whatever_the_channel_does_files_arrive_intact_once_and_both_sides_know(
    seed, losses, duplicate, jitter_s, up, down, passes
):
    world = World(seed=seed, up=Radio(losses[0], duplicate, jitter_s), down=Radio(losses[1], duplicate, jitter_s))
    going_up = {}
    for number, size in enumerate(up):
        labels = file(size, number, "up")
        going_up[world.ground.endpoint.submit(labels)] = labels
    going_down = {}
    for number, size in enumerate(down):
        product = File("down", FileKind.PRODUCT, content(size, number))
        going_down[world.space.endpoint.submit(product)] = product
    for owner in (world.ground, world.space):
        owner.disk = owner.endpoint.save()
    for length_s, restarts in passes:
        world.contact(True)
        world.run(length_s)
        for side in ("ground", "space"):
            if restarts in (side, "both"):
                getattr(world, side).restart()
        world.ground.endpoint.set_contact(False, world.t)
        world.run(100)
    world.contact(True)
    world.run(3000, idle_ends=True)
    assert world.space.files == going_up and sorted(world.space.accepted) == sorted(going_up)
    assert world.ground.files == going_down and sorted(world.ground.accepted) == sorted(going_down)
    assert world.idle(), "one side does not know that all is delivered"
    assert {event.transfer_id for event in world.ground.of(FileDelivered)} == set(going_up)
    assert {event.transfer_id for event in world.space.of(FileDelivered)} == set(going_down)


# The receiver by itself, against input that no honest sender makes.


def receiver(**changes) -> Receiver:
    return Receiver(dataclasses.replace(CONFIG, **changes), WIDTH)


def metadata(data: bytes, transfer_id: int = 1, **changes) -> pdu.Metadata:
    meta = pdu.Metadata(transfer_id, len(data), WIDTH, File("x", LABELS, data).digest, "x")
    return dataclasses.replace(meta, **changes)


def segments(data: bytes, transfer_id: int = 1) -> list[pdu.Segment]:
    return [pdu.Segment(transfer_id, i, data[i * WIDTH : (i + 1) * WIDTH]) for i in range(-(-len(data) // WIDTH))]


def rejected(end: Receiver, unit: pdu.Metadata | pdu.Segment, view_s: float = 0.0) -> str:
    with pytest.raises(RejectedError) as caught:
        end.take(LABELS, unit, view_s)
    return caught.value.reason


@given(st.permutations(range(5)), st.lists(st.integers(0, 4), max_size=5))
def test_metadata_may_come_late_and_twice_and_segments_in_any_order(order, again):
    data = content(4 * WIDTH - 50)
    units = [metadata(data), *segments(data)]
    end, events = receiver(), []
    for index in [*order, *again]:
        events += end.take(LABELS, units[index], 0.0)
    assert [event.file.data for event in events if isinstance(event, FileReceived)] == [data]


def test_segments_before_the_metadata_ask_for_the_metadata():
    end = receiver()
    end.take(LABELS, segments(content(500))[1], 0.0)
    report = end.report(200, CONFIG.report_interval_s, 5)
    assert report.lacks_metadata and not report.missing


def test_a_segment_that_does_not_agree_with_late_metadata_is_asked_for_again():
    data = content(2 * WIDTH)
    end = receiver()
    end.take(LABELS, pdu.Segment(1, 1, b"short"), 0.0)
    end.take(LABELS, metadata(data, asks=True), 0.0)
    assert end.report(200, 0.0, 5).missing == ((0, 2),)


@pytest.mark.parametrize(
    ("index", "length"), [(2, WIDTH), (1, WIDTH), (0, WIDTH - 1), (0, WIDTH + 1), (2**32 - 1, 1), (0, 0)]
)
def test_a_segment_out_of_range_is_refused_and_nothing_is_kept_of_it(index, length):
    end = receiver()
    end.take(LABELS, metadata(content(WIDTH + 10)), 0.0)
    before = end.save()
    assert rejected(end, pdu.Segment(1, index, bytes(length))) == "segment_out_of_range"
    assert end.save() == before


def test_a_segment_far_out_opens_no_transfer():
    end = receiver(max_file_bytes=1024)
    assert rejected(end, pdu.Segment(1, 5, bytes(WIDTH))) == "segment_out_of_range"
    assert not end.unfinished()


def test_a_file_over_the_limit_is_refused_for_good_and_the_sender_told():
    end = receiver(max_file_bytes=1024)
    assert rejected(end, metadata(bytes(1025))) == "file_too_large"
    assert end.report(200, 0.0, 0).status is Status.TOO_LARGE
    assert not end.unfinished()


def test_segments_of_another_size_are_refused_and_the_sender_told():
    end = receiver()
    assert rejected(end, metadata(b"abc", segment_bytes=1)) == "bad_segment_size"
    assert end.report(200, 0.0, 0).status is Status.REFUSED


def test_a_wrong_digest_is_refused_and_the_sender_told():
    end = receiver()
    end.take(LABELS, metadata(b"abc", digest=DIGEST), 0.0)
    (event,) = end.take(LABELS, pdu.Segment(1, 0, b"abc"), 0.0)
    assert isinstance(event, FileRefused)
    assert end.report(200, 0.0, 0).status is Status.DIGEST_MISMATCH


def test_too_many_transfers_make_the_sender_wait_until_one_is_done():
    end = receiver(max_open_transfers=2)
    for number in (1, 2):
        end.take(LABELS, metadata(bytes(500), number), 0.0)
    assert rejected(end, metadata(b"", 3)) == "too_many_transfers"
    busy = end.report(200, 0.0, 0)
    assert busy.status is Status.BUSY and busy.transfer_id == 3 and len(end) == 2
    sender = Sender(CONFIG, WIDTH)
    sender.submit(file(500), 0)
    sender.take(222, 0.0, 0)
    sender.hear(dataclasses.replace(busy, transfer_id=1), 0.0, 1)
    assert sender.take(222, 1.0, 1) is None and sender.due() == CONFIG.retry_s
    assert pdu.unpack(sender.take(222, CONFIG.retry_s, 1).body) == pdu.Metadata(
        1, 500, WIDTH, file(500).digest, "labels.bin"
    )


def test_a_transfer_abandoned_by_its_sender_gives_its_place_to_a_new_one():
    end = receiver(max_open_transfers=1)
    end.take(LABELS, metadata(bytes(500), 1), 0.0)
    assert rejected(end, metadata(b"", 2), ABANDONED_S - 1) == "too_many_transfers"
    assert isinstance(end.take(LABELS, metadata(b"", 2), ABANDONED_S + 1)[0], FileReceived)


def test_a_file_handed_over_keeps_its_place_until_the_owner_has_spoken():
    end = receiver(max_open_transfers=1)
    end.take(LABELS, metadata(b"", 1), 0.0)
    assert rejected(end, metadata(b"", 2), 10 * ABANDONED_S) == "too_many_transfers"


def test_a_finished_transfer_answers_every_question_and_hands_nothing_over_again():
    end = receiver()
    end.take(LABELS, metadata(b""), 0.0)
    end.settle(1, Status.OK)
    for _ in range(3):
        assert end.report(200, 0.0, 0).status is Status.OK
        assert end.report(200, 0.0, 0) is None
        assert end.take(LABELS, metadata(b"", asks=True), 0.0) == []


def test_another_file_under_a_finished_id_is_refused():
    end = receiver()
    end.take(LABELS, metadata(b""), 0.0)
    end.settle(1, Status.OK)
    end.report(200, 0.0, 0)
    assert end.take(LABELS, metadata(b"new"), 0.0) == []
    assert end.report(200, 0.0, 0).status is Status.REFUSED


def test_metadata_that_change_under_way_end_the_transfer():
    end = receiver()
    end.take(LABELS, metadata(bytes(500)), 0.0)
    assert rejected(end, metadata(b"other")) == "metadata_changed"
    assert end.report(200, 0.0, 0).status is Status.REFUSED


@settings(max_examples=30, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 20), st.integers(0, 30), st.integers(0, 300), st.booleans()), max_size=200))
def test_no_input_makes_the_receiver_keep_more_than_its_limits(units):
    limits = {"max_open_transfers": 3, "max_file_bytes": 1024}
    end = receiver(**limits)
    for transfer_id, index, length, is_metadata in units:
        unit = (
            metadata(bytes(length * 5), transfer_id) if is_metadata else pdu.Segment(transfer_id, index, bytes(length))
        )
        try:
            end.take(LABELS, unit, 0.0)
        except RejectedError:
            continue
    assert len(end) <= 3
    assert all(sum(map(len, entry.segments.values())) <= 5 * WIDTH for entry in end.unfinished())


def test_only_a_file_that_was_handed_over_can_be_accepted():
    end = receiver()
    end.take(LABELS, metadata(bytes(500)), 0.0)
    with pytest.raises(LinkError, match="transfer 1"):
        end.settle(1, Status.OK)
    with pytest.raises(LinkError, match="transfer 2"):
        end.settle(2, Status.OK)


def test_a_report_means_nothing_to_a_sender_that_is_done():
    sender = Sender(CONFIG, WIDTH)
    sender.submit(file(0), 0)
    done = pdu.Report(1, Status.OK)
    assert len(sender.hear(done, 0.0, 0)) == 1
    assert sender.hear(done, 0.0, 0) == []


def test_a_report_on_more_segments_than_there_are_is_refused():
    sender = Sender(CONFIG, WIDTH)
    sender.submit(file(500), 0)
    with pytest.raises(RejectedError):
        sender.hear(pdu.Report(1, Status.RECEIVING, covered=4), 0.0, 0)


def test_what_is_still_on_its_way_is_not_sent_again():
    sender = Sender(CONFIG, WIDTH)
    sender.submit(file(4 * WIDTH), 0)
    for counter in range(4):
        sender.take(222, 0.0, counter)  # metadata in frame 0, segments 0 to 2 in frames 1 to 3
    sender.hear(pdu.Report(1, Status.RECEIVING, heard=2, covered=3, missing=((0, 3),), asked=True), 0.0, 4)
    assert [pdu.unpack(sender.take(222, 0.0, c).body).index for c in (4, 5, 6)] == [0, 1, 3]


def test_a_file_that_is_too_large_or_too_much_is_refused_when_it_is_submitted():
    world = World(dataclasses.replace(CONFIG, max_file_bytes=1024, max_open_transfers=2))
    with pytest.raises(LinkError, match="1025"):
        world.ground.endpoint.submit(file(1025))
    world.ground.endpoint.submit(file(1024))
    world.ground.endpoint.submit(file(1024))
    with pytest.raises(LinkFullError):
        world.ground.endpoint.submit(file(1))


def test_events_name_a_hostile_unit_in_an_authentic_frame():
    world = World()
    world.contact(True)
    world.ground.endpoint._urgent.put(0, LABELS, pdu.Segment(9, 2**31, b"x").pack())
    world.run(1)
    assert [event.reason for event in world.space.of(PacketRejected)] == ["segment_out_of_range"]


def test_a_resumed_sender_asks_at_once():
    world = World()
    world.contact(True)
    world.ground.endpoint.submit(file(5000))
    world.run(2)
    world.contact(False)
    world.contact(True)
    assert world.ground.endpoint._sender.due() == NOW
    unit = world.ground.endpoint._sender.take(222, 0.0, 0).body
    assert pdu.unpack(unit).asks


def test_a_transfer_that_has_begun_is_on_disk_before_the_receiver_hears_of_it():
    world = World(dataclasses.replace(CONFIG, max_open_transfers=1))
    world.contact(True)
    world.run(1)
    world.ground.endpoint.submit(file(5000), priority=5)
    urgent = world.ground.endpoint.submit(file(100, 1), priority=1)
    world.ground.disk = world.ground.endpoint.save()
    world.run(2)
    world.ground.restart()
    world.contact(True)
    world.run(30, idle_ends=True)
    assert world.space.accepted == [1, urgent]
    assert not world.space.endpoint.counters.packets_rejected["too_many_transfers"]


def test_a_sender_that_is_told_that_metadata_are_missing_sends_them_next():
    sender = Sender(CONFIG, WIDTH)
    sender.submit(file(5000), 0)
    assert isinstance(pdu.unpack(sender.take(222, 0.0, 0).body), pdu.Metadata)
    assert isinstance(pdu.unpack(sender.take(222, 0.0, 1).body), pdu.Segment)
    sender.hear(pdu.Report(1, Status.RECEIVING, lacks_metadata=True), 0.0, 2)
    assert isinstance(pdu.unpack(sender.take(222, 0.0, 2).body), pdu.Metadata)


def test_a_restarted_sender_asks_before_it_sends_what_the_receiver_may_have():
    world = World(up=Radio(delay_s=0.5), down=Radio(delay_s=0.5))
    world.contact(True)
    world.ground.endpoint.submit(file(20_000))
    world.run(18)
    world.ground.restart()  # to the state of the first frame: nothing had been sent
    world.contact(True)
    world.run(20, idle_ends=True)
    delivered(world, {1: file(20_000)})
    assert world.frames["ground"] <= 97
