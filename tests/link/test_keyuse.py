"""Changing keys over the link: no order of events, losses and restarts leaves the operator without a way in."""

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, precondition, rule
from link_world import CONFIG, KEYS, Radio, World

from flight.link import state
from flight.link.dictionary import Telecommand
from flight.link.endpoint import Endpoint
from flight.link.errors import LinkError, LinkFullError, StateError
from flight.link.events import CommandAcknowledged, CommandReceived, KeyChanged
from flight.link.frame import Direction
from flight.link.keys import KeyRing


def in_pass(**changes) -> World:
    world = World(**changes)
    world.contact(True)
    return world


def rotate(world: World, key_id: int, number: int | None = None) -> int:
    given = world.ground.endpoint.send(Telecommand("rotate-key", {"key_id": key_id}, number))
    world.ground.disk = world.ground.endpoint.save()
    return given


def use(owner):
    return owner.endpoint._secure.use


def in_use(world: World) -> list[tuple[int, set[int]]]:
    return [(use(end).sending, set(use(end).accepted)) for end in (world.ground, world.space)]


def answers(world: World) -> bool:
    """Whether a telecommand is executed within a minute."""
    number = world.ground.endpoint.send(Telecommand("status", {}))
    world.run(60.0)
    return number in world.space.executed


def with_active(key_id: int) -> KeyRing:
    return KeyRing.parse(KEYS.dump().replace(b"active = 1", b"active = %d" % key_id))


def test_a_rotation_ends_with_one_key_at_both_ends():
    world = in_pass()
    assert in_use(world) == [(1, {1, 2})] * 2
    number = rotate(world, 2)
    world.run(20.0)
    assert in_use(world) == [(2, {2})] * 2
    assert world.ground.of(CommandAcknowledged) == [CommandAcknowledged(number, "rotate-key", "executed", "")]
    assert world.ground.of(KeyChanged) == world.space.of(KeyChanged) == [KeyChanged(2)]
    assert not world.space.of(CommandReceived) and answers(world)


def test_after_a_rotation_frames_with_the_old_key_are_refused_both_ways():
    world = in_pass()
    rotate(world, 2)
    world.run(20.0)
    for role, receiver in (("ground", world.space), ("space", world.ground)):
        sender = Endpoint(role, CONFIG, with_active(1), 1_000_000)
        if role == "ground":
            sender.set_contact(True, 0.0)
        else:
            peer = Endpoint("ground", CONFIG, KEYS)
            peer.set_contact(True, 0.0)
            sender.receive(peer.poll(0.0), 0.0)
            sender.acknowledge(sender.receive(command_frame(peer), 0.0)[0].number, "executed")
        (event,) = receiver.endpoint.receive(sender.poll(0.0), world.t)
        assert event.reason == "unknown_key" and "retired" in event.detail


def command_frame(ground: Endpoint) -> bytes:
    ground.send(Telecommand("status", {}))
    return ground.poll(0.0)


def test_keys_can_be_changed_back_and_forth():
    world = in_pass()
    for key_id in (2, 1, 1, 2):
        rotate(world, key_id)
        world.run(20.0)
        assert in_use(world) == [(key_id, {key_id})] * 2


def test_until_its_order_is_acknowledged_ground_sends_with_the_old_key_and_space_accepts_both():
    world = in_pass(down=Radio(loss=1.0))
    rotate(world, 2)
    world.run(60.0)
    assert in_use(world) == [(1, {1, 2})] * 2
    world.down.loss = 0.0
    world.run(60.0)
    assert in_use(world) == [(2, {2})] * 2


def test_an_order_is_on_disk_before_it_is_acknowledged():
    world = in_pass()
    rotate(world, 2)
    space = world.space.endpoint
    space.receive(world.ground.poll(0.0), 0.0)
    assert space.needs_save
    again = Endpoint.restore(space.save(), "space", CONFIG, KEYS)
    assert again._secure.use.successor == 2


def test_a_change_to_a_key_that_is_in_no_slot_is_refused_at_the_desk():
    with pytest.raises(LinkError, match="key 9"):
        World().ground.endpoint.send(Telecommand("rotate-key", {"key_id": 9}))


def test_a_second_change_waits_for_the_first():
    world = in_pass(down=Radio(loss=1.0))
    number = rotate(world, 2)
    with pytest.raises(LinkFullError):
        rotate(world, 1)
    rotate(world, 2, number)
    world.down.loss = 0.0
    world.run(60.0)
    assert in_use(world) == [(2, {2})] * 2


def test_space_refuses_a_key_that_it_does_not_have():
    world = World()
    other = KeyRing({1: bytes(range(32)), 9: bytes(32)}, 1)
    world.ground.endpoint = Endpoint("ground", CONFIG, other)
    world.contact(True)
    world.ground.endpoint.send(Telecommand("rotate-key", {"key_id": 9}))
    world.run(20.0)
    assert [(each.outcome, each.reason) for each in world.ground.of(CommandAcknowledged)] == [
        ("rejected", "key 9 is in no slot, only [1, 2]")
    ]
    assert in_use(world)[0][0] == 1 and in_use(world)[1] == (1, {1, 2})


def test_a_station_that_lost_its_state_gets_in_with_the_key_that_its_file_calls_active():
    world = in_pass()
    rotate(world, 2)
    world.run(20.0)
    for active, reaches in ((1, False), (2, True)):
        world.ground.endpoint = Endpoint("ground", CONFIG, with_active(active), first_number=active * 1_000_000)
        world.contact(True)
        assert answers(world) is reaches


def test_the_key_file_wins_over_the_saved_state_once_it_names_another_key():
    world = in_pass()
    rotate(world, 2)
    world.run(20.0)
    saved = world.ground.endpoint.save()
    for active, sending, accepted in ((1, 2, {2}), (2, 2, {2})):
        found = Endpoint.restore(saved, "ground", CONFIG, with_active(active))._secure.use
        assert (found.sending, set(found.accepted)) == (sending, accepted)
    back = Endpoint.restore(
        Endpoint.restore(saved, "ground", CONFIG, with_active(2)).save(), "ground", CONFIG, with_active(1)
    )
    assert back._secure.use.sending == 1 and set(back._secure.use.accepted) == {1, 2}


def test_neither_state_nor_events_hold_a_key():
    world = in_pass()
    rotate(world, 2)
    world.run(20.0)
    derived = [key for way in Direction for key in KEYS.derive(CONFIG.spacecraft_id, way).values()]
    for secret in [bytes(range(32)), bytes(range(32, 64)), *derived]:
        for end in (world.ground, world.space):
            assert secret not in end.endpoint.save() and secret.hex() not in end.endpoint.save().decode("latin-1")
            assert secret.hex() not in repr(end.events) + repr(vars(end.endpoint._secure.use))


@pytest.mark.parametrize(
    ("field", "value"),
    [("sending", 9), ("accepted", []), ("accepted", [1, 9]), ("successor", 5), ("order", [1]), ("order", [1, 9])],
)
def test_a_damaged_state_of_the_keys_is_refused_with_its_path(field, value):
    saved = state.loads(World().ground.endpoint.save())
    saved["security"]["keys"][field] = value
    with pytest.raises(StateError, match=rf"security\.keys\.{field}"):
        Endpoint.restore(state.dumps(saved), "ground", CONFIG, KEYS)


def test_a_frame_from_before_that_was_lost_and_is_replayed_ends_no_change_back_to_its_key():
    """Flight would retire the key that ground still sends with, as the acknowledgement is lost."""
    world = in_pass()
    world.ground.endpoint.send(Telecommand("status", {}))
    lost = world.ground.endpoint.poll(world.t)
    rotate(world, 2)
    world.run(20.0)
    world.down = Radio(1.0)
    rotate(world, 1)
    world.run(1.0)
    assert use(world.space).successor == 1
    for _ in range(2):
        world.space.endpoint.receive(lost, world.t)
        assert use(world.space).accepted == {1, 2} and use(world.space).sending == 2
        world.space.restart()
    world.down = Radio()
    assert answers(world) and in_use(world) == [(1, {1})] * 2


class Rotation(RuleBasedStateMachine):
    """An operator, a lossy radio, restarts of both sides and an attacker who records and replays."""

    def __init__(self) -> None:
        super().__init__()
        self.world = in_pass(seed=1)
        self.ordered: list[tuple[int, int]] = []
        self.recorded: list[bytes] = []
        poll = self.world.ground.poll

        def recording(t: float) -> bytes | None:
            frame = poll(t)
            if frame is not None:
                self.recorded.append(frame)
            return frame

        self.world.ground.poll = recording

    @rule(key_id=st.sampled_from([1, 2]))
    def order(self, key_id: int) -> None:
        try:
            self.ordered.append((rotate(self.world, key_id), key_id))
        except LinkFullError:
            assert use(self.world.ground).order or use(self.world.ground).successor

    @precondition(lambda self: self.ordered)
    @rule()
    def order_again(self) -> None:
        number, key_id = self.ordered[-1]
        if number in self.world.ground.endpoint._commands.queue:
            rotate(self.world, key_id, number)

    @rule(seconds=st.floats(0.01, 30.0), up=st.sampled_from([0.0, 0.3, 1.0]), down=st.sampled_from([0.0, 0.3, 1.0]))
    def go_on(self, seconds: float, up: float, down: float) -> None:
        self.world.up, self.world.down = Radio(up, 0.2, 0.5), Radio(down, 0.2, 0.5)
        self.world.run(seconds)

    @rule(sides=st.sampled_from([("ground",), ("space",), ("ground", "space")]))
    def restart(self, sides: tuple[str, ...]) -> None:
        for side in sides:
            getattr(self.world, side).restart()
        self.world.contact(False)
        self.world.contact(True)

    @precondition(lambda self: self.recorded)
    @rule(pick=st.integers(0, 1 << 30))
    def replay(self, pick: int) -> None:
        """A recorded frame is never taken twice by one process, and never does anything twice."""
        frame = self.recorded[pick % len(self.recorded)]
        executed = list(self.world.space.executed)
        self.world.space.receive(frame, self.world.t)
        (event,) = self.world.space.endpoint.receive(frame, self.world.t)
        assert event.reason in ("replayed", "unknown_key", "bad_tag")
        assert len(set(self.world.space.executed)) == len(self.world.space.executed) >= len(executed)

    def teardown(self) -> None:
        """Over a clean radio the operator gets through, and a change that was ordered comes to its end."""
        self.world.up, self.world.down = Radio(), Radio()
        assert answers(self.world)
        if self.ordered:
            key_id = self.ordered[-1][1]
            assert in_use(self.world) == [(key_id, {key_id})] * 2


Rotation.TestCase.settings = settings(max_examples=100, stateful_step_count=30, deadline=None)
TestRotation = Rotation.TestCase
