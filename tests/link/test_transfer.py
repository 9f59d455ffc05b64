"""Files over a radio that loses, repeats and reorders, over passes that begin and end, and over restarts."""

import dataclasses

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from link_world import CONFIG, Radio, World, content

from flight.link.cfdp import codec
from flight.link.cfdp import pdu as cfdp
from flight.link.errors import LinkError, LinkFullError
from flight.link.events import FileDelivered, FileFailed, FileRefused, PacketRejected
from flight.link.packet import FileKind
from flight.link.transfer import File

LABELS = FileKind.LABEL_SET
WIDTH = World().ground.endpoint.file_bytes_a_frame


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
    first, second = (p.left_bytes for p in world.ground.endpoint.progress())
    assert abs(first - second) <= WIDTH and first < 20_000


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


def test_a_file_that_is_too_large_or_too_much_is_refused_when_it_is_submitted():
    world = World(dataclasses.replace(CONFIG, max_file_bytes=1024, max_open_transfers=2))
    with pytest.raises(LinkError, match="1025"):
        world.ground.endpoint.submit(file(1025))
    world.ground.endpoint.submit(file(1024))
    world.ground.endpoint.submit(file(1024))
    with pytest.raises(LinkFullError):
        world.ground.endpoint.submit(file(1))


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


def test_a_restarted_sender_asks_before_it_sends_what_the_receiver_may_have():
    world = World(dataclasses.replace(CONFIG, turnaround_s=0.6), up=Radio(delay_s=0.5), down=Radio(delay_s=0.5))
    world.contact(True)
    world.ground.endpoint.submit(file(20_000))
    world.run(18)
    world.ground.restart()  # to the state of the first frame: nothing had been sent
    world.contact(True)
    world.run(25, idle_ends=True)
    delivered(world, {1: file(20_000)})
    assert world.frames["ground"] <= 20_000 / WIDTH + 6


def test_a_restarted_receiver_has_lost_at_most_what_came_since_its_last_save():
    world = World()
    world.contact(True)
    world.ground.endpoint.submit(file(40_000))
    world.run(35)
    world.space.restart()
    world.run(60, idle_ends=True)
    delivered(world, {1: file(40_000)})
    a_second = CONFIG.uplink_bps / 8 / CONFIG.frame_bytes
    assert world.ground.endpoint.counters.segments_resent <= (CONFIG.save_interval_s + 1) * a_second


# Cancellation and suspension by command.


def test_a_file_cancelled_by_its_sender_is_given_up_at_both_ends():
    world = World()
    world.contact(True)
    number = world.ground.endpoint.submit(file(20_000))
    world.run(5)
    assert world.ground.endpoint.cancel(number) == []
    world.run(5)
    assert [event.reason for event in world.ground.of(FileFailed)] == ["cancel request received"]
    assert [event.transfer_id for event in world.space.of(FileRefused)] == [number]
    assert world.idle() and not world.space.files


def test_a_file_cancelled_before_it_began_is_given_up_at_once():
    world = World()
    numbers = [world.ground.endpoint.submit(file(2000, seed)) for seed in range(12)]
    (event,) = world.ground.endpoint.cancel(numbers[-1])
    assert event == FileFailed(numbers[-1], "labels.bin", LABELS, "cancel request received")
    world.contact(True)
    world.run(100, idle_ends=True)
    assert sorted(world.space.files) == numbers[:-1]
    with pytest.raises(LinkError, match="no such file"):
        world.ground.endpoint.cancel(numbers[-1])


def test_a_cancellation_out_of_contact_reaches_the_receiver_in_the_next_pass_and_survives_a_restart():
    world = World()
    world.contact(True)
    number = world.ground.endpoint.submit(file(20_000))
    world.run(5)
    world.contact(False)
    world.ground.endpoint.cancel(number)
    world.ground.disk = world.ground.endpoint.save()
    world.ground.restart()
    world.run(5000)
    world.contact(True)
    world.run(5)
    assert len(world.ground.of(FileFailed)) == 1 and world.idle() and not world.space.files


def test_a_receiver_can_cancel_a_file_and_its_sender_is_told():
    world = World()
    world.contact(True)
    number = world.ground.endpoint.submit(file(20_000))
    world.run(5)
    world.space.endpoint.cancel(number, outgoing=False)
    world.run(5)
    assert [event.reason for event in world.ground.of(FileFailed)] == ["cancel request received"]
    assert world.idle()


@pytest.mark.parametrize("side", ["ground", "space"])
def test_a_suspended_file_waits_over_passes_and_restarts_until_it_is_resumed(side):
    world = World()
    world.contact(True)
    number = world.ground.endpoint.submit(file(6000))
    world.run(2)
    owner, outgoing = getattr(world, side), side == "ground"
    owner.endpoint.suspend(number, outgoing)
    owner.disk = owner.endpoint.save()
    owner.restart()
    for _ in range(2):
        world.contact(True)
        world.run(20)
        world.contact(False)
        world.run(1000)
    assert not world.ground.of(FileDelivered)
    world.contact(True)
    owner.endpoint.resume(number, world.t, outgoing)
    world.run(20, idle_ends=True)
    delivered(world, {number: file(6000)})


def test_a_suspended_file_does_not_hold_up_the_others():
    world = World()
    world.contact(True)
    held = world.ground.endpoint.submit(file(3000, 1))
    world.ground.endpoint.suspend(held)
    other = world.ground.endpoint.submit(file(3000, 2))
    world.run(10)
    assert list(world.space.files) == [other]


def test_nobody_shouts_at_a_dead_spacecraft_for_a_whole_pass():
    config = dataclasses.replace(CONFIG, ack_limit=20)
    world = World(config, up=Radio(loss=1.0))
    world.contact(True)
    world.ground.endpoint.submit(file(100))
    world.run(480)
    assert world.frames["ground"] < 20 + 480 / config.retry_s + 480 / config.keepalive_s


def test_events_name_a_hostile_pdu_in_an_authentic_frame():
    world = World()
    world.contact(True)
    body = codec.pack(cfdp.Transaction(1, 2, 9), cfdp.FileData(2**31, b"x"))
    world.ground.endpoint._commands.urgent.put(0, LABELS, body)
    world.run(1)
    assert [event.reason for event in world.space.of(PacketRejected)] == ["segment_out_of_range"]
