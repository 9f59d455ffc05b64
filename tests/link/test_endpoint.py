import dataclasses

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from link_world import CONFIG, KEYS, Radio, World, content

from flight.link import state
from flight.link.cfdp import codec
from flight.link.cfdp import pdu as cfdp
from flight.link.channels import max_data_bytes
from flight.link.dictionary import Telecommand, Telemetry, encode
from flight.link.endpoint import MIN_FRAME_BYTES, Endpoint
from flight.link.errors import LinkError, LinkFullError, StateError
from flight.link.events import CommandAcknowledged, CommandReceived, FrameRejected, PacketRejected, TelemetryReceived
from flight.link.frame import Channel, Direction
from flight.link.keys import KeyRing
from flight.link.packet import FileKind, Packer, idle
from flight.link.security import SecureChannel
from flight.link.transfer import File

NEVER = float("inf")
PONG = Telemetry("pong", {"echo": 1, "t_s": 0.0})


def in_pass(**changes) -> World:
    world = World(**changes)
    world.contact(True)
    return world


def without_counters(endpoint: Endpoint, *more: str) -> dict:
    saved = state.loads(endpoint.save())
    return {key: value for key, value in saved.items() if key not in ("counters", *more)}


def hostile(endpoint: Endpoint, payload: bytes):
    """What an endpoint in space makes of an authentic frame with this payload."""
    return endpoint.receive(SecureChannel(CONFIG, KEYS, Direction.UPLINK).seal(Channel.OPERATIONS, payload)[0], 0.0)


def packet(apid: int, body: bytes) -> bytes:
    return Packer(Direction.UPLINK).pack(apid, body)


def test_a_telecommand_is_executed_and_acknowledged():
    world = in_pass()
    number = world.ground.endpoint.send(Telecommand("set-task", {"task_id": 7}))
    world.run(2)
    assert world.space.of(CommandReceived) == [CommandReceived(number, "set-task", {"task_id": 7})]
    assert world.ground.of(CommandAcknowledged) == [CommandAcknowledged(number, "set-task", "executed", "")]
    assert not world.ground.endpoint.queued_packets


def test_a_telecommand_sent_ten_times_is_executed_once_and_each_copy_acknowledged():
    world = in_pass()
    number = world.ground.endpoint.send(Telecommand("set-task", {"task_id": 7}))
    for _ in range(9):
        world.ground.endpoint.send(Telecommand("set-task", {"task_id": 7}, number))
    world.run(5)
    assert world.space.executed == [number]
    outcomes = [event.outcome for event in world.ground.of(CommandAcknowledged)]
    assert outcomes == ["executed"] + 9 * ["duplicate"]


@settings(max_examples=30, deadline=None)
@given(
    st.integers(0, 2**32),
    st.floats(0, 0.6),
    st.lists(st.tuples(st.floats(0, 8), st.sampled_from(["ground", "space"])), max_size=5),
)
def test_telecommands_are_executed_once_over_a_lossy_link_and_restarts(seed, loss, restarts):
    world = in_pass(seed=seed, up=Radio(loss, 0.2, 1.0), down=Radio(loss, 0.2, 1.0))
    numbers = []
    for after_s, side in restarts:
        numbers.append(world.ground.endpoint.send(Telecommand("ping", {"echo": 1})))
        world.ground.disk = world.ground.endpoint.save()
        world.run(after_s)
        getattr(world, side).restart()
        world.contact(True)
    world.run(1000, idle_ends=True)
    assert sorted(world.space.executed) == numbers
    assert {event.number for event in world.ground.of(CommandAcknowledged)} == set(numbers)
    assert not world.ground.endpoint.queued_packets


def test_a_telecommand_in_hand_is_not_handed_over_again_and_comes_back_after_a_restart():
    world = in_pass()
    world.ground.endpoint.send(Telecommand("get-model", {}))
    frame = world.ground.poll(0.0)
    space = world.space.endpoint
    (event,) = space.receive(frame, 0.0)
    world.ground.endpoint.send(Telecommand("get-model", {}, event.number))
    copy = world.ground.poll(0.1)
    assert space.receive(copy, 0.1) == []
    world.space.disk = space.save()
    world.space.restart()
    world.ground.endpoint.send(Telecommand("get-model", {}, event.number))
    assert world.space.receive(world.ground.poll(0.2), 0.2) == [event]


def test_a_rejected_telecommand_stays_rejected_for_its_copies():
    world = in_pass()
    number = world.ground.endpoint.send(Telecommand("predict", {"task_id": 9}))
    space = world.space.endpoint
    space.receive(world.ground.poll(0.0), 0.0)
    space.acknowledge(number, "rejected", "no such task")
    world.ground.endpoint.send(Telecommand("predict", {"task_id": 9}, number))
    space.receive(world.ground.poll(0.1), 0.1)
    events = world.ground.endpoint.receive(space.poll(0.2), 0.2)
    assert events == [CommandAcknowledged(number, "predict", "rejected", "no such task")] * 2


def test_only_a_telecommand_in_hand_can_be_acknowledged():
    with pytest.raises(LinkError, match="telecommand 5"):
        World().space.endpoint.acknowledge(5, "executed")


def test_a_number_used_by_another_telecommand_is_rejected():
    world = in_pass()
    number = world.ground.endpoint.send(Telecommand("ping", {"echo": 1}))
    world.run(2)
    world.ground.endpoint.send(Telecommand("ping", {"echo": 2}, number))
    world.run(2)
    assert [event.outcome for event in world.ground.of(CommandAcknowledged)] == ["executed", "rejected"]
    assert world.space.executed == [number]


def test_numbers_too_old_to_remember_are_never_executed_again():
    world = in_pass()
    space = world.space.endpoint
    for number in range(1, 1100):
        assert space._commands.log.judge(number, 1, b"x") is None
        space._commands.log.deal(number, "executed", "")
    assert space._commands.log.judge(3, 1, b"x")[0] == "rejected"
    assert space._commands.log.judge(1000, 1, b"x")[0] == "duplicate"
    assert len(space._commands.log.save()["dealt"]) == 1024


def test_telemetry_and_events_come_down_in_contact_most_urgent_first():
    world = World()
    event = {"t_s": 1.0, "serial": 3, "task_id": 2}
    world.space.endpoint.send(PONG)
    world.space.endpoint.send(Telemetry("task-changed", event), priority=1)
    world.run(50)
    assert not world.ground.events
    world.contact(True)
    world.run(2)
    assert world.ground.of(TelemetryReceived) == [
        TelemetryReceived("task-changed", event, "info"),
        TelemetryReceived("pong", {"echo": 1, "t_s": 0.0}, ""),
    ]


def test_when_telemetry_overflows_the_oldest_of_the_least_urgent_goes_and_is_counted():
    world = World(dataclasses.replace(CONFIG, max_queued_packets=8))
    for echo in range(9):
        world.space.endpoint.send(Telemetry("pong", {"echo": echo, "t_s": 0.0}))
    world.space.endpoint.send(Telemetry("pong", {"echo": 99, "t_s": 0.0}), priority=200)
    world.contact(True)
    world.run(3)
    assert [event.values["echo"] for event in world.ground.of(TelemetryReceived)] == list(range(1, 9))
    assert world.space.endpoint.counters.telemetry_dropped == 2


def test_queued_telemetry_survives_a_restart():
    world = World()
    world.space.endpoint.send(PONG)
    world.space.disk = world.space.endpoint.save()
    world.space.restart()
    world.contact(True)
    world.run(2)
    assert len(world.ground.of(TelemetryReceived)) == 1


def test_too_many_waiting_telecommands_are_refused_to_the_operator():
    ground = World(dataclasses.replace(CONFIG, max_queued_packets=8)).ground.endpoint
    for _ in range(8):
        ground.send(Telecommand("status", {}))
    with pytest.raises(LinkFullError):
        ground.send(Telecommand("status", {}))


@pytest.mark.parametrize(
    ("role", "what"),
    [
        ("ground", PONG),
        ("space", Telecommand("status", {})),
        ("ground", Telecommand("pong", {"echo": 1, "t_s": 0.0})),
        ("space", Telemetry("acknowledgement", {"command_id": 1, "outcome": "executed", "reason": ""})),
    ],
)
def test_an_end_sends_only_what_is_its_own(role, what):
    with pytest.raises(LinkError):
        Endpoint(role, CONFIG, KEYS).send(what)


def test_the_ground_keeps_contact_alive_with_the_shortest_frame():
    world = in_pass()
    world.run(60)
    assert world.frames["ground"] == 60 / CONFIG.keepalive_s + 1
    assert world.bytes["ground"] == (28 + 7) * world.frames["ground"]
    assert world.space.endpoint.in_contact(world.t)
    assert world.frames["space"] == 0


def test_contact_ends_for_the_satellite_some_time_after_the_last_valid_frame():
    world = in_pass()
    world.run(1)
    heard = 8 * (28 + 7) / 9600 + 0.005
    assert world.space.endpoint.in_contact(heard + CONFIG.contact_timeout_s - 0.01)
    assert not world.space.endpoint.in_contact(heard + CONFIG.contact_timeout_s + 0.01)


def test_a_refused_frame_makes_no_contact():
    space = World().space.endpoint
    space.receive(b"noise" * 20, 0.0)
    assert not space.in_contact(0.0)


def test_only_the_ground_is_told_of_contact():
    with pytest.raises(LinkError):
        World().space.endpoint.set_contact(True, 0.0)


def test_what_is_urgent_goes_before_file_data():
    world = in_pass()
    world.ground.endpoint.submit(File("f", FileKind.REGION, content(50_000)))
    world.run(5)
    world.ground.endpoint.send(Telecommand("status", {}))
    world.run(0.7)
    assert len(world.space.of(CommandReceived)) == 1


def test_small_packets_share_a_frame():
    world = World()
    for _ in range(5):
        world.space.endpoint.send(PONG)
    world.contact(True)
    world.run(2)
    assert world.frames["space"] == 1
    assert len(world.ground.of(TelemetryReceived)) == 5


def test_bytes_by_kind_add_up_to_what_went_over_the_radio():
    world = in_pass()
    world.ground.endpoint.submit(File("f", FileKind.LABEL_SET, content(2000)))
    world.ground.endpoint.send(Telecommand("status", {}))
    world.space.endpoint.send(PONG)
    world.run(20, idle_ends=True)
    sent, received = world.ground.endpoint.counters.bytes_sent, world.space.endpoint.counters.bytes_received
    assert sent == received
    assert sum(sent.values()) == world.bytes["ground"]
    assert set(sent) == {"command", "label set", "file report", "framing"} and sent["label set"] > 2000
    received = world.ground.endpoint.counters.bytes_received
    assert received == world.space.endpoint.counters.bytes_sent
    assert sum(received.values()) == world.bytes["space"] == CONFIG.frame_bytes * world.frames["space"]
    assert set(received) == {
        "acknowledgement",
        "housekeeping",
        "file report",
        "framing",
        "idle",
    }


def test_frame_time_follows_each_direction_s_rate():
    config = dataclasses.replace(CONFIG, uplink_bps=1200.0, downlink_bps=32000.0)
    frame = bytes(150)
    assert Endpoint("ground", config, KEYS).frame_time_s(frame) == 1.0
    assert Endpoint("space", config, KEYS).frame_time_s(frame) == 0.0375


# What bad input gets: a reason and a count, and nothing else changes.

BAD_FRAMES = {
    "too_short": b"",
    "too_long": bytes(257),
    "bad_crc": bytes(100),
    "wrong_spacecraft": SecureChannel(dataclasses.replace(CONFIG, spacecraft_id=1), KEYS, Direction.UPLINK),
    "unknown_key": SecureChannel(CONFIG, KeyRing({8: bytes(32), 9: bytes(32)}, 9), Direction.UPLINK),
    "bad_tag": SecureChannel(CONFIG, KeyRing({1: bytes(32), 2: bytes(32)}, 1), Direction.UPLINK),
}


@pytest.mark.parametrize("reason", BAD_FRAMES)
def test_a_bad_frame_is_counted_under_its_reason_and_changes_nothing(reason):
    bad = BAD_FRAMES[reason]
    frame = (
        bad.seal(Channel.OPERATIONS, packet(0x10, encode("status", {}, 1)[1]))[0] if not isinstance(bad, bytes) else bad
    )
    space = World().space.endpoint
    before = without_counters(space)
    (event,) = space.receive(frame, 0.0)
    assert isinstance(event, FrameRejected) and event.reason == reason
    assert space.counters.frames_rejected == {**dict.fromkeys(space.counters.frames_rejected, 0), reason: 1}
    assert without_counters(space) == before and not space.in_contact(0.0)


def test_a_replayed_frame_is_counted_and_changes_nothing():
    world = in_pass()
    world.ground.endpoint.send(Telecommand("status", {}))
    frame = world.ground.poll(0.0)
    world.space.receive(frame, 0.0)
    before = without_counters(world.space.endpoint)
    (event,) = world.space.receive(frame, 1.0)
    assert event.reason == "replayed"
    assert without_counters(world.space.endpoint) == before
    assert world.space.executed == [1]


@pytest.mark.parametrize(
    ("payload", "reason"),
    [
        (b"\x00", "bad_packet"),
        (packet(0x10, b"xyz")[:-1], "bad_packet"),
        (packet(0x7F0, b"x"), "unknown_apid"),
        (packet(0x12, encode("pong", PONG.values)[1]), "unknown_apid"),
        (packet(0x10, b"\xc1"), "bad_body"),
        (packet(0x10, b"\x63" + bytes(4)), "unknown_id"),
        (packet(0x10, b"\x03" + bytes(4) + b"\xff"), "bad_field"),
        (packet(0x20, b"x"), "bad_pdu"),
        (packet(0x42, b"\x01"), "bad_pdu"),
        (packet(0x20, codec.pack(cfdp.Transaction(1, 2, 1), cfdp.FileData(0, b"x"))), "bad_pdu"),
        (packet(0x42, codec.pack(cfdp.Transaction(1, 3, 1), cfdp.FileData(0, b"x"))), "bad_pdu"),
        (packet(0x42, codec.pack(cfdp.Transaction(1, 2, 1), cfdp.FileData(2**32 - 1, b"x"))), "segment_out_of_range"),
    ],
)
def test_a_bad_packet_in_an_authentic_frame_is_counted_and_changes_nothing(payload, reason):
    space = World().space.endpoint
    before = without_counters(space, "security")
    (event,) = hostile(space, payload)
    assert isinstance(event, PacketRejected) and event.reason == reason
    assert space.counters.packets_rejected[reason] == 1
    assert without_counters(space, "security") == before


def test_one_bad_packet_does_not_hide_the_good_ones_in_its_frame():
    bad, good = packet(0x10, b"\xc1"), packet(0x10, encode("status", {}, 1)[1])
    events = hostile(World().space.endpoint, bad + good)
    assert [type(event) for event in events] == [PacketRejected, CommandReceived]


def test_a_telecommand_that_cannot_be_understood_is_answered_so_the_ground_stops_repeating_it():
    world = in_pass()
    space = world.space.endpoint
    hostile(space, packet(0x10, b"\x63\0\0\0\5"))
    (event,) = world.ground.endpoint.receive(space.poll(0.0), 0.1)
    assert event == CommandAcknowledged(5, "unknown", "rejected", "unknown id")


@settings(max_examples=150, deadline=None)
@given(
    st.lists(st.tuples(st.sampled_from([0x10, 0x20, 0x41, 0x42, 0x12]), st.binary(min_size=1, max_size=80)), max_size=2)
)
def test_no_authentic_payload_stops_either_end(packets):
    space, ground = World().space.endpoint, World().ground.endpoint
    hostile(space, b"".join(packet(*entry) for entry in packets))
    down = b"".join(Packer(Direction.DOWNLINK).pack(*entry) for entry in packets)
    down += idle(max_data_bytes(Direction.DOWNLINK, CONFIG.frame_bytes) - len(down), Direction.DOWNLINK)
    ground.receive(SecureChannel(CONFIG, KEYS, Direction.DOWNLINK).seal(Channel.OPERATIONS, down)[0], 0.0)
    ground.set_contact(True, 0.0)
    for endpoint in (space, ground):
        while endpoint.poll(0.0):
            assert endpoint.counters.frames_sent < 100


# Persistence.


def busy_world() -> World:
    world = in_pass(seed=4, up=Radio(0.2), down=Radio(0.2))
    for seed in range(12):
        world.ground.endpoint.submit(File(f"f{seed}", FileKind.LABEL_SET, content(900, seed)), priority=seed % 3)
    world.ground.endpoint.send(Telecommand("status", {}))
    world.space.endpoint.send(PONG)
    world.space.endpoint.submit(File("p", FileKind.PRODUCT, content(3000)))
    world.run(4)
    world.ground.endpoint.send(Telecommand("status", {}))
    world.space.endpoint.send(PONG)
    return world


@pytest.mark.parametrize("side", ["ground", "space"])
def test_a_restored_endpoint_saves_what_it_was_restored_from(side):
    endpoint = getattr(busy_world(), side).endpoint
    data = endpoint.save()
    assert Endpoint.restore(data, side, CONFIG, KEYS).save() == data


def test_a_saved_state_of_another_link_is_refused():
    data = World().ground.endpoint.save()
    other = dataclasses.replace(CONFIG, spacecraft_id=7)
    with pytest.raises(StateError, match=r"link\.role"):
        Endpoint.restore(data, "space", CONFIG, KEYS)
    with pytest.raises(StateError, match=r"link\.spacecraft_id"):
        Endpoint.restore(data, "ground", other, KEYS)
    with pytest.raises(StateError, match=r"link\.frame_bytes"):
        Endpoint.restore(data, "ground", dataclasses.replace(CONFIG, frame_bytes=512), KEYS)


@settings(max_examples=150, deadline=None)
@given(st.data())
def test_a_damaged_saved_state_is_refused_or_usable(data):
    saved = bytearray(BUSY)
    for _ in range(data.draw(st.integers(1, 3))):
        saved[data.draw(st.integers(0, min(len(saved), 400) - 1))] = data.draw(st.integers(0, 255))
    try:
        endpoint = Endpoint.restore(bytes(saved), "space", CONFIG, KEYS)
    except StateError:
        return
    endpoint.save()


BUSY = busy_world().space.endpoint.save()


@pytest.mark.parametrize("cut", range(0, len(BUSY), 97))
def test_a_cut_saved_state_is_refused(cut):
    with pytest.raises(StateError):
        Endpoint.restore(BUSY[:cut], "space", CONFIG, KEYS)


def test_no_counter_is_used_again_after_a_restart_and_the_far_side_goes_on():
    world = in_pass(config=dataclasses.replace(CONFIG, counter_block=4, keepalive_s=1.0))
    for after_s in (0.5, 1.0, 3.5, 4.5, 9.5, 30.0):
        world.run(after_s)
        world.ground.restart()
        world.contact(True)
    world.run(1)
    assert world.space.endpoint.counters.frames_accepted == world.frames["ground"]
    assert world.space.endpoint.in_contact(world.t)


def test_a_station_that_lost_its_state_is_heard_again_if_it_starts_above_all_it_used():
    world = in_pass()
    world.ground.endpoint.send(Telecommand("status", {}))
    world.run(20)
    world.ground.endpoint = Endpoint("ground", CONFIG, KEYS)
    world.contact(True)
    world.run(0.2)
    assert world.space.endpoint.counters.frames_rejected["replayed"] > 0
    world.ground.endpoint = Endpoint("ground", CONFIG, KEYS, first_number=1_700_000_000)
    world.contact(True)
    world.ground.endpoint.send(Telecommand("status", {}))
    world.run(5)
    assert world.space.executed == [1, 1_700_000_001]


def test_either_key_is_accepted_so_that_keys_can_be_changed_over():
    world = in_pass()
    second = KeyRing.parse(KEYS.dump().replace(b"active = 1", b"active = 2"))
    world.ground.endpoint = Endpoint("ground", CONFIG, second)
    world.contact(True)
    world.ground.endpoint.send(Telecommand("status", {}))
    world.run(2)
    assert world.space.executed == [1]


def test_frames_too_small_for_the_dictionary_are_refused_at_the_start():
    with pytest.raises(LinkError, match=r"link\.frame_bytes"):
        Endpoint("space", dataclasses.replace(CONFIG, frame_bytes=MIN_FRAME_BYTES - 1), KEYS)
    Endpoint("space", dataclasses.replace(CONFIG, frame_bytes=MIN_FRAME_BYTES), KEYS)


def test_nothing_is_due_without_contact():
    world = World()
    world.ground.endpoint.submit(File("f", FileKind.REGION, b"x"))
    assert world.ground.endpoint.next_due(0.0) == NEVER and world.ground.poll(0.0) is None
    world.contact(True)
    assert world.ground.endpoint.next_due(0.0) == 0.0


def test_progress_tells_what_is_left_of_each_file():
    world = in_pass()
    world.ground.endpoint.submit(File("f", FileKind.REGION, content(20 * world.ground.endpoint.file_bytes_a_frame)))
    world.run(2)
    (going,) = world.ground.endpoint.progress()
    (coming,) = world.space.endpoint.progress()
    assert going.size_bytes == coming.size_bytes == 20 * world.ground.endpoint.file_bytes_a_frame
    assert 0 < going.left_bytes <= coming.left_bytes < going.size_bytes
    assert (going.name, going.outgoing, coming.outgoing) == ("f", True, False)
