"""Kills, power cuts, full disks, damaged records, too little memory: nothing acknowledged is lost."""

import msgpack
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from flight.executive import Executive
from flight.link.dictionary import Telecommand
from flight.link.endpoint import Endpoint
from flight.link.events import CommandAcknowledged, TelemetryReceived
from flight.store import StateFormatError, Store
from sim.disk import DiskDeath, SimDisk
from tests.flight.flight_world import (
    EARTH,
    LEARNERS_TESTED,
    MIB,
    SLOW,
    PowerCut,
    World,
    config,
    flown,
    label_file,
    region_file,
)


def complete(world, undisturbed):
    """The mission ended as one that nothing happened to."""
    assert world.weights() == undisturbed.weights()
    assert world.flight.payload.progress.chips == len(EARTH.chips)
    assert world.flight.payload.label_version == 1
    np.testing.assert_array_equal(world.received(1), undisturbed.received(1))
    assert not np.isnan(world.received(1)).any()


# Kills


def fly_with_kills(learner, kills_s):
    world = World(SimDisk(), config(learner, **SLOW))
    world.begin()
    for at_s in kills_s:
        world.run(max(0.0, at_s - world.t))
        world.kill()
        world.run(0.7)
        world.start()
    world.settle()
    return world


@pytest.mark.parametrize("learner", LEARNERS_TESTED)
def test_one_kill_at_any_time_costs_no_chip_no_label_and_no_bit_of_the_weights(learner, undisturbed):
    end_s = undisturbed[learner].t
    for at_s in np.linspace(0.0, end_s, 40):
        world = fly_with_kills(learner, [at_s])
        complete(world, undisturbed[learner])
        world.run(20.0)  # until the ground is heard again
        assert world.told("restarted")[-1]["incarnation"] == 2


@pytest.mark.parametrize("learner", LEARNERS_TESTED)
@settings(max_examples=20, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(kills=st.lists(st.floats(0.0, 1.5), min_size=2, max_size=5))
def test_several_kills_cost_no_more_than_one(learner, kills, undisturbed):
    kills_s = sorted(share * undisturbed[learner].t for share in kills)
    complete(fly_with_kills(learner, kills_s), undisturbed[learner])


def fly_with_a_death(end, at, seed=0):
    """A mission whose process dies at the `at`-th change of the disk, by `end` of the disk; and the disk."""
    disk = SimDisk(seed)
    disk.die_at = at
    world = None
    try:
        world = World(disk, config(queue_chips=32, checkpoint_s=1.0))
        world.begin()
        world.settle()
    except DiskDeath:
        end(disk)
        if world is None:
            world = World(disk, config(queue_chips=32, checkpoint_s=1.0))
            world.begin()
        else:
            world.restart()
        world.settle()
    return world, disk


@pytest.mark.parametrize(("end", "every"), [(SimDisk.cut_power, 1), (SimDisk.kill, 4)], ids=["power cut", "kill"])
def test_a_death_at_any_write_loses_nothing_that_was_acknowledged(end, every):
    undisturbed, disk = fly_with_a_death(end, None)
    assert disk.steps > 40
    for at in range(1, disk.steps + 1, every):
        world, _ = fly_with_a_death(end, at, seed=at)
        complete(world, undisturbed)
        assert world.log["record-damaged"] + world.flight.log.counts["record-damaged"] == 0


def test_a_kill_between_a_file_s_arrival_and_its_acceptance_brings_the_file_again(tmp_path, monkeypatch):
    world = World(tmp_path)
    world.contact()
    world.orders = [region_file()]

    def die(endpoint, transfer_id):
        raise PowerCut

    with monkeypatch.context() as patch, pytest.raises(PowerCut):
        patch.setattr(Endpoint, "accept", die)
        world.run(30)
    world.restart()
    world.until(lambda: world.outcome(1) == "ok", 60)
    assert world.flight.payload.region is not None


def test_a_telecommand_that_died_before_it_was_saved_is_executed_after_all(tmp_path, monkeypatch):
    world = flown(tmp_path)
    world.upload(label_file(2, activate=False))

    def die(executive):
        raise PowerCut

    number = world.ground.send(Telecommand("set-task", {"task_id": 2}))
    with monkeypatch.context() as patch, pytest.raises(PowerCut):
        patch.setattr(Executive, "save", die)
        world.run(30)
    assert not any(event.number == number for event in world.of(CommandAcknowledged))
    world.restart()
    assert world.flight.payload.task_id == 1
    world.until(lambda: any(event.number == number for event in world.of(CommandAcknowledged)))
    assert world.flight.payload.task_id == 2


def test_a_command_that_was_acknowledged_holds_after_a_kill(tmp_path):
    world = flown(tmp_path)
    world.upload(label_file(2, activate=False))
    assert world.command("set-task", task_id=2) == ("executed", "")
    world.restart()
    assert world.flight.payload.task_id == 2
    world.settle()
    world.products.clear()
    assert world.command("predict", task_id=2) == ("executed", "")
    world.restart()
    world.settle()
    assert not np.isnan(world.received(2)).any()


def test_no_product_number_is_used_twice_over_kills(tmp_path):
    world = World(tmp_path, config(**{**SLOW, "checkpoint_s": 60.0, "product_chips": 4}))
    world.begin()
    for _ in range(4):
        before = len(world.products)
        world.until(lambda before=before: len(world.products) > before)
        world.restart()
    world.settle()
    numbers = [name.rpartition("-")[2] for name in world.products]
    assert len(numbers) == len(set(numbers)) > 12


# Disk


ROOM_BYTES = 1 << 30


@pytest.mark.parametrize("share", [0.0, 0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9])
def test_a_full_disk_is_told_acknowledges_nothing_and_the_mission_goes_on_when_there_is_room(share, undisturbed):
    disk = SimDisk()
    world = World(disk, config(**SLOW))
    world.begin()
    world.run(share * undisturbed["moments"].t)
    disk.capacity_bytes = 0
    world.run(3.0)  # what had been said before is on its way
    acknowledged, delivered = world.recorder.acknowledged, len(world.events)
    world.run(60.0)
    assert world.recorder.acknowledged == acknowledged
    assert [event for event in world.events[delivered:] if not isinstance(event, TelemetryReceived)] == []
    disk.capacity_bytes = ROOM_BYTES
    world.settle()
    complete(world, undisturbed["moments"])
    assert 1 <= world.flight.log.counts["write-failed"] <= 20


@pytest.mark.parametrize("share", [0.1, 0.4, 0.7])
def test_a_disk_that_is_read_only_for_a_while_even_over_a_restart_costs_nothing(share, undisturbed):
    disk = SimDisk()
    world = World(disk, config(**SLOW))
    world.begin()
    world.run(share * undisturbed["moments"].t)
    disk.read_only = True
    world.run(15.0)
    acknowledged = world.recorder.acknowledged
    world.restart()
    assert world.flight.up
    world.run(15.0)
    assert world.recorder.acknowledged == acknowledged
    disk.read_only = False
    world.settle()
    complete(world, undisturbed["moments"])
    assert world.told("write-failed")


def test_with_a_disk_that_takes_nothing_any_more_the_ground_still_hears_and_commands_but_nothing_is_acknowledged():
    disk = SimDisk()
    world = flown(disk)
    disk.read_only = True
    world.ground.send(Telecommand("ping", {"echo": 5}))
    before = len(world.told("housekeeping"))
    world.run(600.0)
    assert [told["echo"] for told in world.told("pong")] == [5]
    assert world.told("write-failed") and len(world.told("housekeeping")) >= before + 5
    assert world.of(CommandAcknowledged) == []
    counter = world.flight.endpoint._secure.counter.next
    disk.cut_power()
    world.restart()
    assert world.flight.endpoint._secure.counter.next >= counter
    disk.read_only = False
    world.until(lambda: world.of(CommandAcknowledged))


def test_with_little_room_chips_wait_and_all_else_goes_on(undisturbed):
    disk = SimDisk()
    world = World(disk, config(**SLOW, reserve_bytes=1 << 20))
    world.begin()
    world.until(lambda: world.flight.payload.progress.chips > 10)
    disk.capacity_bytes = (1 << 20) - 1 + sum(disk.size(name) for name in disk.names())
    world.run(60.0)
    chips = world.flight.payload.progress.chips
    assert chips < len(EARTH.chips)
    world.upload(label_file(2, activate=False))
    assert world.command("adjust-time", delta_s=1.0) == ("executed", "")
    world.run(world.config.executive.scrub_s)
    assert [told["cap"] for told in world.told("cap-reached")] == ["storage"]
    assert world.flight.payload.progress.chips == chips and not world.told("write-failed")
    world.restart()
    disk.capacity_bytes = ROOM_BYTES
    world.settle()
    complete(world, undisturbed["moments"])


def test_a_slow_disk_changes_nothing_but_the_time_it_takes(undisturbed):
    disk = SimDisk()
    disk.slow_s = 0.05
    world = World(disk, config(**SLOW))
    world.begin()
    world.settle()
    complete(world, undisturbed["moments"])
    assert disk.waited_s > 1.0


def test_what_is_acknowledged_is_on_disk_even_if_the_disk_is_full_when_the_file_arrives():
    disk = SimDisk()
    world = World(disk)
    world.contact()
    world.run(1.0)
    disk.capacity_bytes = 0
    world.orders = [region_file()]
    world.run(120.0)
    assert world.outcome(1) is None and world.flight.payload.region is None
    assert world.flight.log.counts["write-failed"] > 0
    disk.capacity_bytes = ROOM_BYTES
    world.until(lambda: world.outcome(1) == "ok", 60)
    world.until(lambda: world.told("write-failed"), 60)
    world.restart()
    assert world.flight.payload.region is not None


def test_no_telecommand_is_acknowledged_before_what_it_did_is_on_disk():
    disk = SimDisk()
    world = flown(disk)
    disk.capacity_bytes = 0
    world.ground.send(Telecommand("adjust-time", {"delta_s": 100.0}))
    world.run(60.0)
    assert world.flight.time.offset_s == pytest.approx(100.0)
    assert world.of(CommandAcknowledged) == []
    world.kill()
    disk.capacity_bytes = ROOM_BYTES
    world.start()
    world.until(lambda: world.of(CommandAcknowledged), 60)
    world.restart()
    assert world.flight.time.offset_s == pytest.approx(100.0)


def damage(path):
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 16
    path.write_bytes(data)


def newest(directory, name):
    """The sides of a record, newest first."""
    return sorted(
        directory.glob(f"{name}.[01]"), key=lambda path: int.from_bytes(path.read_bytes()[8:16], "little"), reverse=True
    )


def damaged(directory, name, which):
    """A mission that is over and back, of whose record `name` generations were damaged, newest first."""
    world = flown(directory, **{**SLOW, "checkpoint_s": 4.0})
    world.kill()
    paths = newest(directory, name)
    assert len(paths) == 2
    for i in which:
        damage(paths[i])
    world.start()
    told = [event.values["record"] for event in world.flight.log.recent if event.name == "record-damaged"]
    assert [f"{name}.{paths[i].suffix[1]}" in told for i in which] == [True] * len(which)
    return world


RECORDS = ["checkpoint", "mission", "labels-1", "region"]


@pytest.mark.parametrize("name", RECORDS)
@pytest.mark.parametrize("which", [0, 1])
def test_one_damaged_generation_of_any_record_is_told_and_loses_nothing(name, which, tmp_path, undisturbed):
    world = damaged(tmp_path, name, [which])
    for _ in range(2):  # never a loop
        world.restart()
    world.settle()
    assert world.command("ping", echo=7) == ("executed", "")
    assert world.flight.queue.counters["lost"] == 0 and not world.told("chips-lost")
    assert world.flight.payload.progress.chips == len(EARTH.chips)
    assert world.weights() == undisturbed["moments"].weights()


@pytest.mark.parametrize("name", RECORDS)
def test_with_both_generations_damaged_what_is_lost_is_told_and_can_be_brought_again(name, tmp_path):
    world = damaged(tmp_path, name, [0, 1])
    for _ in range(2):
        world.restart()
    if name in ("region", "labels-1"):
        world.upload(region_file(), label_file(1))
    world.run(60.0)
    assert bool(world.told("chips-lost")) is (name == "checkpoint")
    if name in ("checkpoint", "region"):
        # The recorder has forgotten the chips that these statistics were made of: new ones teach again.
        world.image()
    world.settle()
    assert world.flight.payload.learner.n_chips_ >= len(EARTH.chips)
    assert world.weights()
    assert world.command("ping", echo=7) == ("executed", "")


def test_the_recorder_may_forget_only_chips_that_both_generations_of_the_checkpoint_hold():
    disk = SimDisk()
    world = World(disk, config(**SLOW))
    world.begin()
    seen = set()
    while not world.settled():
        world.run(1.0)
        held = [msgpack.unpackb(data)["progress"]["next_number"] for data in Store(disk).whole("checkpoint")]
        assert world.recorder.acknowledged <= (min(held) if len(held) == 2 else 0)
        seen.add(world.recorder.acknowledged)
    assert len(seen) > 2 and len(EARTH.chips) in seen


def test_with_the_link_s_state_lost_the_ground_still_hears_the_spacecraft(tmp_path):
    world = flown(tmp_path / "state")
    world.run(3600.0)
    world.kill()
    for path in newest(tmp_path / "state", "mission"):
        path.unlink()
    world.start()
    before = len(world.told("pong"))
    assert world.command("ping", echo=1)[0] == "executed"
    world.until(lambda: len(world.told("pong")) > before, 5)


@pytest.mark.parametrize("name", ["checkpoint", "mission"])
@pytest.mark.parametrize("state", [{"format": 99}, {}, [1, 2], b"x"])
def test_a_state_of_a_foreign_format_is_refused_and_left_alone(name, state, tmp_path):
    Store(tmp_path).put(name, msgpack.packb(state))
    before = {path: path.read_bytes() for path in tmp_path.iterdir()}
    with pytest.raises(StateFormatError, match=f"{name}: .*format"):
        World(tmp_path)
    assert {path: path.read_bytes() for path in tmp_path.iterdir()} == before


def test_a_state_of_another_link_is_refused(tmp_path):
    flown(tmp_path)
    with pytest.raises(StateFormatError, match=r"mission: link\.spacecraft_id"):
        World(tmp_path, config(spacecraft_id=7))


def test_another_learner_starts_anew_and_says_so(tmp_path):
    flown(tmp_path).kill()
    world = World(tmp_path, config("downconv"))
    assert [event.values["reason"] for event in world.flight.log.recent if event.name == "record-damaged"] == [
        "learner moments, configured is downconv"
    ]
    assert world.flight.payload.progress.chips == 0 and world.flight.acknowledged == len(EARTH.chips)


# Memory


def test_above_the_memory_cap_flight_saves_everything_and_steps_down(tmp_path):
    reading = [60 * MIB]
    world = World(tmp_path, config(**SLOW, memory_bytes=100 * MIB), rss_bytes=lambda: reading[0])
    world.begin()
    world.until(lambda: world.flight.payload.progress.chips > 10)
    reading[0] = 101 * MIB
    with pytest.raises(MemoryError, match=r"caps\.memory_bytes"):
        world.settle()
    chips = world.flight.payload.progress.chips
    reading[0] = 60 * MIB
    world.restart()
    assert world.flight.payload.progress.chips == chips
    world.settle()
    assert world.flight.payload.progress.chips == 48
    (told,) = world.told("cap-reached")
    assert (told["cap"], told["reason"]) == ("memory", "101 MiB resident, allowed are 100")


@pytest.mark.parametrize("where", ["partial_fit", "train", "predict_summaries", "state_parts"])
def test_a_memory_error_in_the_middle_of_work_corrupts_nothing(where, tmp_path, monkeypatch, undisturbed):
    world = World(tmp_path, config(**SLOW))
    world.begin()

    def fail(*arguments, **keywords):
        raise MemoryError

    with monkeypatch.context() as patch, pytest.raises(MemoryError):
        patch.setattr(type(world.flight.payload.learner), where, fail)
        world.settle()
    world.restart()
    world.settle()
    complete(world, undisturbed["moments"])


def test_a_change_of_keys_is_told_and_holds_over_kills_at_either_end_of_it(tmp_path):
    world = flown(tmp_path / "state")
    assert world.command("rotate-key", key_id=2) == ("executed", "")
    world.restart()
    world.until(lambda: world.told("key-changed"))
    assert world.told("key-changed")[0]["key_id"] == 2
    world.restart()
    assert world.command("ping", echo=7) == ("executed", "")
    for end in (world.ground, world.flight.endpoint):
        assert (end._secure.use.sending, set(end._secure.use.accepted)) == (2, {2})
