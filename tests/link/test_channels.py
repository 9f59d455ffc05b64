"""Virtual channels: packets into frames of either kind, frames back into packets, and what gets lost on the way."""

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st
from link_world import KEYS, Radio, World

from flight.config import LinkConfig
from flight.link.channels import Reception, TcFramer, TmFramer
from flight.link.dictionary import Telecommand, Telemetry
from flight.link.events import TelemetryReceived
from flight.link.frame import Channel, Direction, Frame, Header
from flight.link.packet import IDLE_APID, FileKind, Packer, split
from flight.link.security import SecureChannel
from flight.link.transfer import File

ROOM = 40
BODIES = st.lists(st.tuples(st.sampled_from(Channel), st.binary(min_size=1, max_size=120)), max_size=30)


class Queues:
    """Packets of each channel, handed out in order if they fit; each body is its own APID's."""

    def __init__(self, packets=()):
        self.waiting = {channel: [body for owner, body in packets if owner is channel] for channel in Channel}

    def __call__(self, channel, room):
        waiting = self.waiting[channel]
        return (0x10 + channel, waiting.pop(0)) if waiting and len(waiting[0]) <= room else None


def framed(packets):
    """All TM data fields that the packets need, as authentic frames with counters from 0."""
    framer, queues, counters = TmFramer(ROOM), Queues(packets), itertools.count()
    while field := framer.fill(queues):
        assert len(field.data) == ROOM
        header = Header(1, field.channel, 6, 0, field.channel_count, field.first_header)
        yield Frame(header, next(counters), 1, field.data)
    assert not framer.unfinished


def received(frames, reception=None):
    """Channel and body of every packet that is not idle."""
    reception = reception or Reception(Direction.DOWNLINK, 1024, {})
    return [
        (Channel(apid - 0x10), body)
        for frame in frames
        for run in reception.take(frame)
        for apid, body in split(run, Direction.DOWNLINK)
        if apid != IDLE_APID
    ]


@given(BODIES)
def test_packets_of_any_length_come_back_whole_and_each_channel_in_its_order(packets):
    assert received(framed(packets)) == sorted(packets, key=lambda packet: packet[0])


def places(frames):
    """Channel, body and the frames that hold a part of it, for every packet that is not idle."""
    for channel in Channel:
        own = [frame for frame in frames if frame.header.channel is channel]
        stream, at = b"".join(frame.data for frame in own), 0
        while at + 6 <= len(stream):
            size = int.from_bytes(stream[at + 4 : at + 6], "big") + 7
            if stream[at : at + 2] != b"\x07\xff":
                parts = own[at // ROOM : (at + size - 1) // ROOM + 1]
                yield channel, stream[at + 6 : at + size], {part.counter for part in parts}
            at += size


@given(BODIES, st.data())
def test_exactly_the_packets_arrive_of_which_no_frame_was_lost(packets, data):
    frames = list(framed(packets))
    kept = [frame for frame in frames if data.draw(st.booleans())]
    arrived = {frame.counter for frame in kept}
    expected = [(channel, body) for channel, body, parts in places(frames) if parts <= arrived]
    assert sorted(received(kept), key=lambda packet: packet[0]) == expected


@given(BODIES, st.data())
def test_frames_lost_between_others_of_their_channel_are_counted_exactly(packets, data):
    frames = list(framed(packets))
    kept = [frame for frame in frames if data.draw(st.booleans())]
    lost: dict[str, int] = {}
    received(kept, Reception(Direction.DOWNLINK, 1024, lost))
    for channel in Channel:
        counts = [frame.header.channel_count for frame in kept if frame.header.channel is channel]
        expected = counts[-1] - counts[0] + 1 - len(counts) if counts else 0
        assert lost.get(channel.name.lower().replace("_", " "), 0) == expected


def test_a_frame_that_comes_late_is_no_longer_lost_and_its_packets_count():
    packets = [(Channel.OPERATIONS, bytes([n]) * 30) for n in range(4)]
    frames = list(framed(packets))
    lost: dict[str, int] = {}
    found = received([frames[i] for i in (0, 2, 1, 3)], Reception(Direction.DOWNLINK, 1024, lost))
    assert sorted(found) == packets and lost == {"operations": 0}


def test_counters_that_a_restart_skipped_are_not_lost_frames():
    lost: dict[str, int] = {}
    reception = Reception(Direction.UPLINK, 1024, lost)
    for counter in (0, 1, 5, 1024, 1026):
        reception.take(Frame(Header(1, Channel.OPERATIONS, 5), counter, 1, b""))
    assert lost == {"uplink": 3 + 1}


def test_what_a_sender_began_before_its_restart_is_not_joined_with_what_it_sends_after():
    long = [(Channel.OPERATIONS, bytes(100))]
    before = next(iter(framed(long)))
    after = [Frame(f.header, f.counter + 1024, 1, f.data) for f in framed([(Channel.OPERATIONS, b"new" * 10)])]
    for skipped in range(256):
        header = Header(1, Channel.OPERATIONS, 6, 0, skipped, after[0].header.first_header)
        frames = [before, Frame(header, 1024, 1, after[0].data)]
        assert received(frames) == [(Channel.OPERATIONS, b"new" * 10)]


@given(st.lists(st.tuples(st.sampled_from(Channel), st.integers(0, 255), st.binary(min_size=ROOM, max_size=ROOM),
                          st.one_of(st.integers(0, ROOM - 1), st.sampled_from([0x7FE, 0x7FF])))))  # fmt: skip
def test_no_sequence_of_authentic_fields_stops_the_receiver_or_makes_it_keep_much(fields):
    reception = Reception(Direction.DOWNLINK, 1024, {})
    for counter, (channel, count, data, pointer) in enumerate(fields):
        for run in reception.take(Frame(Header(1, channel, 6, 0, count, pointer), counter, 1, data)):
            assert run
        assert all(len(state.begun) <= 65542 + ROOM for state in reception._channels.values())


def test_a_rest_too_short_for_an_idle_packet_goes_on_in_the_next_frame_and_asks_for_none():
    framer = TmFramer(ROOM)
    queues = Queues([(Channel.FILE_DATA, bytes(ROOM - 6 - 3))])
    first = framer.fill(queues)
    assert first.first_header == 0 and not framer.unfinished and framer.fill(queues) is None
    queues.waiting[Channel.FILE_DATA].append(b"next")
    second = framer.fill(queues)
    assert second.first_header == 4
    assert [apid for apid, _ in split(second.data[4:], Direction.DOWNLINK)] == [0x12, IDLE_APID]


def test_a_short_packet_that_does_not_fit_the_rest_of_a_frame_begins_the_next():
    frames = list(framed([(Channel.FILE_DATA, b"a" * 20), (Channel.FILE_DATA, b"b" * 20)]))
    assert [frame.header.first_header for frame in frames] == [0, 0]


def test_an_uplink_frame_is_as_long_as_its_packets_and_carries_one_channel():
    framer = TcFramer(ROOM)
    queues = Queues([(Channel.OPERATIONS, b"x"), (Channel.OPERATIONS, b"yy"), (Channel.FILE_DATA, b"z")])
    assert [(field.channel, len(field.data)) for field in iter(lambda: framer.fill(queues), None)] == [
        (Channel.OPERATIONS, 15),
        (Channel.FILE_DATA, 7),
    ]


# In an endpoint


def in_pass(**changes) -> World:
    world = World(LinkConfig(**changes))
    world.contact(True)
    return world


def channels_sent(world, role, seconds) -> list[Channel]:
    """The channel of every frame that an end sends from now on, in order."""
    owner, found = getattr(world, role), []
    poll = owner.endpoint.poll

    def noted(t):
        frame = poll(t)
        if frame is not None:
            found.append(Channel(frame[2] >> 2) if role == "ground" else Channel(frame[1] >> 1 & 7))
        return frame

    owner.endpoint.poll = noted
    world.run(seconds)
    return found


def test_commands_go_before_files_and_answers_before_file_data():
    world = in_pass()
    world.ground.endpoint.submit(File("up", FileKind.REGION, bytes(3000)))
    world.run(1.0)
    world.ground.endpoint.send(Telecommand("status", {}))
    assert channels_sent(world, "ground", 0.5)[0] is Channel.OPERATIONS


def test_housekeeping_goes_before_products_and_products_last():
    world = in_pass()
    world.space.endpoint.submit(File("down", FileKind.PRODUCT, bytes(3000)))
    world.run(0.3)
    world.space.endpoint.send(Telemetry("pong", {"echo": 1, "t_s": 0.0}))
    found = channels_sent(world, "space", 1.0)
    assert found[0] is Channel.OPERATIONS and found[1] is Channel.FILE_DATA


def test_telemetry_larger_than_a_frame_comes_down_in_several():
    world = in_pass(frame_bytes=160)
    world.run(1.0)
    world.space.endpoint._telemetry.put(0, 0x12, bytes(300))
    world.run(2.0)
    assert world.frames["space"] == 3
    assert world.ground.endpoint.counters.bytes_received["housekeeping"] == 306


def test_a_continuous_downlink_is_filled_with_idle_frames_that_mean_nothing():
    world = in_pass(fill_downlink=True)
    world.run(10.0)
    world.space.endpoint.send(Telemetry("pong", {"echo": 1, "t_s": 0.0}))
    world.run(1.0)
    assert world.frames["space"] > 11.0 * 9600 / 8 / 256 - 4
    assert len(world.ground.of(TelemetryReceived)) == 1
    sent = world.space.endpoint.counters.bytes_sent
    assert sum(sent.values()) == world.bytes["space"] and sent["idle"] > 0.8 * world.bytes["space"]
    assert not sum(world.ground.endpoint.counters.frames_lost.values())


def test_lost_frames_are_counted_both_ways_and_survive_a_restart():
    world = World(seed=3, up=Radio(0.3), down=Radio(0.3))
    world.contact(True)
    world.ground.endpoint.submit(File("up", FileKind.REGION, bytes(8000)))
    world.space.endpoint.submit(File("down", FileKind.PRODUCT, bytes(8000)))
    world.run(60.0)
    ground, space = world.ground.endpoint.counters, world.space.endpoint.counters
    assert space.frames_lost["uplink"] == pytest.approx(world.frames["ground"] - space.frames_accepted, abs=3)
    assert sum(ground.frames_lost.values()) == pytest.approx(world.frames["space"] - ground.frames_accepted, abs=3)
    world.ground.disk = world.ground.endpoint.save()
    world.ground.restart()
    assert world.ground.endpoint.counters.frames_lost == ground.frames_lost


def test_frames_of_a_channel_that_is_not_in_use_are_refused():
    sender = SecureChannel(LinkConfig(), KEYS, Direction.UPLINK)
    frame = sender.seal(5, Packer(Direction.UPLINK).pack(0x10, b"x"))[0]
    (event,) = World().space.endpoint.receive(frame, 0.0)
    assert event.reason == "bad_channel"
