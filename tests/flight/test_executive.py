"""What an operator may expect of the executive: tasks, products, housekeeping, time."""

import os
from collections import Counter

import numpy as np
import pytest

from flight.link.dictionary import Telecommand
from flight.link.errors import LinkError, LinkFullError
from flight.link.events import CommandAcknowledged
from flight.link.packet import FileKind
from flight.link.transfer import File
from sim.disk import SimDisk
from tests.flight.flight_world import (
    EARTH,
    LEARNERS_TESTED,
    MIB,
    ROWS,
    World,
    config,
    flown,
    label_file,
    make_chip,
    region_file,
)

# Labels and tasks


def test_labels_and_chips_may_come_in_any_order(tmp_path):
    first = flown(tmp_path / "before")
    after = World(tmp_path / "after")
    after.contact()
    after.image()
    after.upload(region_file())
    after.until(lambda: after.flight.acknowledged == len(EARTH.chips))
    after.upload(label_file())
    after.settle()
    assert after.weights() == first.weights()
    np.testing.assert_array_equal(after.received(1), first.received(1))


def test_a_change_of_task_brings_down_predictions_of_every_chip_without_a_chip_sent_again(tmp_path):
    world = flown(tmp_path)
    weights, predictions, sent = world.weights(), world.received(1), len(world.recorder.requests)
    world.upload(label_file(2))
    world.settle()
    assert world.told("task-changed")[-1]["task_id"] == 2
    retask = world.flight.report()["retask"]
    assert retask["task_id"] == 2 and 0 < retask["t_s"] < 30 and retask["cpu_s"] > 0
    assert world.received(2).shape == (48, 2) and not np.isnan(world.received(2)).any()
    world.products.clear()
    assert world.command("set-task", task_id=1)[0] == "executed"
    world.settle()
    assert world.weights() == weights
    np.testing.assert_array_equal(world.received(1), predictions)
    assert not any(request.rewind for request in world.recorder.requests[sent:])
    assert world.flight.queue.counters["accepted"] == 48


@pytest.mark.parametrize("learner", LEARNERS_TESTED)
def test_under_imagery_without_end_training_begins_in_time_and_comes_to_its_end(tmp_path, learner):
    world = World(tmp_path, config(learner, train_within_s=20.0, train_step_s=0.1))
    world.contact()
    world.upload(region_file(), label_file(1))
    began_s, models = world.t, []
    while world.t < began_s + 60:
        world.image(make_chip(len(world.recorder.chips)))
        world.camera(world.recorder.take()[0]) if world.recorder.until > world.recorder.cursor else None
        world.run(0.25)
        models += [world.t - began_s] if world.flight.log.counts["model-ready"] > len(models) else []
    assert len(models) >= 2 and 20 <= models[0] <= 26 and models[1] - models[0] <= 28
    world.settle()
    assert world.flight.payload.progress.chips == len(world.recorder.chips) > 200


def test_training_that_is_due_holds_no_chips_up_while_it_is_paused(tmp_path):
    world = World(tmp_path, config(train_within_s=1.0, start_mode="acquire"))
    world.contact()
    world.upload(region_file(), label_file(1))
    world.image()
    world.run(30.0)
    assert world.flight.payload.progress.chips == 48 and world.flight.log.counts["model-ready"] == 0


def test_tasks_with_the_same_table_each_get_their_products(tmp_path):
    world = flown(tmp_path)
    world.upload(label_file(1, task_id=2))
    world.settle()
    assert sorted({each.task_id for each in world.products.values()}) == [1, 2]


def test_labels_that_come_while_predictions_are_made_belong_to_no_product_of_the_old_model(tmp_path):
    world = World(tmp_path, config(predict_s=0.5, product_chips=48))
    world.begin()
    world.until(lambda: world.flight.cpu.activity == "predicting")
    old = world.weights()
    world.upload(label_file(2))
    world.settle()
    assert world.weights() != old
    assert {each.model_digest.hex() for each in world.products.values()} <= {old[:16], world.weights()[:16]}
    assert all(each.model_digest.hex() == world.weights()[:16] for each in world.products.values() if each.task_id == 2)
    assert world.flight.log.counts["model-ready"] == 2
    assert not np.isnan(world.received(2)).any()


def test_products_are_the_learner_s_predictions_to_within_a_count(tmp_path):
    world = flown(tmp_path)
    learner = world.flight.payload.learner
    expected = learner.predict_summaries(learner.summarise(EARTH.chips))
    assert np.abs(world.received(1) - expected).max() < 1 / 64


def test_of_two_looks_at_a_cell_the_later_one_counts(tmp_path):
    world = World(tmp_path)
    world.contact()
    world.image(*[make_chip(i) for i in range(48)], make_chip(48, cell=5, image=EARTH.chips[30]))
    world.upload(region_file(), label_file())
    world.settle()
    (made,) = world.products.values()
    learner = world.flight.payload.learner
    expected = learner.predict_summaries(learner.summarise(EARTH.chips[[30]]))[0]
    assert len(made.cells) == 48
    assert np.abs(made.proportions[5] - expected).max() < 1 / 64


def test_products_too_large_for_the_link_come_as_several(tmp_path):
    rng = np.random.Generator(np.random.PCG64(1))
    table = rng.dirichlet(np.full(20, 5.0), ROWS).astype(np.float32)
    names = tuple(f"c{i}" for i in range(20))
    world = World(tmp_path, config(max_file_bytes=1024, product_levels=255, max_open_transfers=8))
    world.contact()
    world.image(*[make_chip(i, cell=i % 48) for i in range(48)])
    world.upload(region_file(), label_file(1, classes=names, proportions=table))
    world.settle()
    assert sum(len(each.cells) for each in world.products.values()) == 48


# Archive


def test_a_full_archive_is_told_and_the_mission_goes_on(tmp_path):
    world = World(tmp_path, config(archive_bytes=10 * (4 + 101 + 4)))
    world.fly()
    assert world.told("archive-full")[0]["chips"] == len(world.flight.payload.summaries) < 48
    assert world.flight.log.counts["archive-full"] == 1
    assert world.flight.payload.progress.chips == 48
    assert len(next(iter(world.products.values())).cells) == len(world.flight.payload.summaries)


def test_a_damaged_summary_is_told_and_the_others_are_predicted(tmp_path):
    world = flown(tmp_path)
    path = tmp_path / "archive.bin"
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    world.products.clear()
    world.command("predict", task_id=1)
    world.settle()
    assert np.isnan(world.received(1)).any(axis=1).sum() == 1
    world.until(lambda: world.told("archive-damaged"))
    assert world.told("archive-damaged")[0]["chips"] == 1


@pytest.mark.parametrize("length", [0, 1000, None])
def test_an_archive_cut_short_is_told_and_flight_goes_on_with_what_there_is(length, tmp_path):
    world = flown(tmp_path)
    world.kill()
    path = tmp_path / "archive.bin"
    path.unlink() if length is None else os.truncate(path, length)
    world.start()
    assert world.flight.log.counts["archive-damaged"] == 1
    world.upload(label_file(2))
    world.settle()
    world.image(*[make_chip(48 + i, cell=i) for i in range(48)])
    world.settle()
    assert not np.isnan(world.received(2)).any()


# Housekeeping and commands


def test_housekeeping_comes_at_its_period_in_contact_and_at_once_when_asked_for(idle):
    idle.events.clear()
    idle.run(305.0)
    assert len(idle.told("housekeeping")) == 5
    gaps = np.diff([told["t_s"] for told in idle.told("housekeeping")])
    assert np.allclose(gaps, 60.0, atol=0.5)
    idle.events.clear()
    assert idle.command("status") == ("executed", "")
    idle.run(0.5)
    (told,) = idle.told("housekeeping")
    assert told["t_s"] == pytest.approx(idle.t, abs=2.0)
    assert told["chips_ingested"] == 48 and told["rss_bytes"] == 60 * MIB
    idle.contact(False)
    idle.events.clear()
    idle.run(300.0)
    assert idle.events == []


def test_housekeeping_survives_counters_beyond_its_fields(idle):
    idle.flight.log.counts["write-failed"] = 1 << 20
    idle.flight.queue.counters["lost"] = 1 << 40
    assert idle.command("status") == ("executed", "")


def test_ping_and_pong(idle):
    idle.command("ping", echo=123)
    idle.until(lambda: idle.told("pong"), 5)
    assert idle.told("pong")[0]["echo"] == 123


def test_a_telecommand_sent_ten_times_is_executed_once(idle):
    number = idle.ground.send(Telecommand("ping", {"echo": 5}))
    for _ in range(9):
        idle.ground.send(Telecommand("ping", {"echo": 5}, number))
    idle.run(10.0)
    assert len(idle.told("pong")) == 1
    outcomes = [event.outcome for event in idle.of(CommandAcknowledged) if event.number == number]
    assert outcomes[0] == "executed" and set(outcomes[1:]) == {"duplicate"}


def test_files_are_suspended_resumed_and_cancelled_by_command(idle):
    going = {"source": "space", "transfer_id": idle.flight.endpoint.submit(File("m", FileKind.MODEL, bytes(30_000)))}
    idle.run(2.0)
    assert idle.command("suspend-file", **going) == ("executed", "")
    idle.run(2.0)
    left = idle.flight.endpoint.progress()[0].left_bytes
    idle.run(20.0)
    assert idle.flight.endpoint.progress()[0].left_bytes == left > 0
    assert idle.command("resume-file", **going) == ("executed", "")
    idle.run(2.0)
    assert idle.flight.endpoint.progress()[0].left_bytes < left
    assert idle.command("cancel-file", **going) == ("executed", "")
    idle.run(5.0)
    assert not idle.flight.endpoint.progress() and not idle.models
    assert idle.told("file-refused")[-1]["reason"] == "cancel request received"
    assert idle.command("cancel-file", **going)[0] == "rejected"


def test_the_generation_that_flight_goes_on_from_is_told(idle):
    generation = idle.flight.payload.checkpoint_generation
    idle.restart()
    idle.run(15.0)
    told = idle.told("restarted")[-1]
    assert told["checkpoint_generation"] == generation > 0 and told["cause"] == "test"


# Costs


@pytest.mark.parametrize("share", [1.0, 0.25])
def test_work_takes_the_mission_time_of_the_cost_table_divided_by_the_cpu_share(share, tmp_path):
    costs = {"chip_s": 0.25, "train_step_s": 0.5, "predict_s": 0.125, "checkpoint_cost_s": 1.5, "cpu_share": share}
    world = World(tmp_path, config("downconv", **costs))
    busy_s, started, last = Counter(), 0.0, "idle"
    world.begin()
    while not world.products:
        world.until(lambda last=last: world.flight.cpu.activity != last or world.products)
        busy_s[last] += world.t - started
        started, last = world.t, world.flight.cpu.activity
    assert busy_s["training"] == pytest.approx(30 * 0.5 / share)
    assert busy_s["ingesting"] == pytest.approx(48 * 0.25 / share)
    assert busy_s["predicting"] == pytest.approx(48 * 0.125 / share)


def test_a_checkpoint_takes_its_time(tmp_path):
    world = World(tmp_path, config(checkpoint_cost_s=1.5, cpu_share=0.5))
    world.begin()
    world.until(lambda: world.flight.job is not None and world.flight.cpu.activity == "saving")
    assert world.flight.job.until - world.t == pytest.approx(3.0)


def test_telecommands_are_answered_while_training_goes_on(tmp_path):
    world = World(tmp_path, config("downconv", train_step_s=20.0))
    world.begin()
    world.until(lambda: world.flight.cpu.activity == "training")
    started_s = world.t
    assert world.command("ping", echo=3) == ("executed", "")
    assert world.t - started_s < 2.0 and world.flight.cpu.activity == "training"


@pytest.mark.parametrize(("error", "least_s", "most_chips"), [(LinkFullError, 30.0, 48), (LinkError, 0.0, 24)])
def test_a_product_that_the_link_refuses_is_made_again_later_or_smaller_and_none_is_lost(error, least_s, most_chips):
    world = World(SimDisk(), config(product_chips=48))
    submit, refused = world.flight.endpoint.submit, []

    def full_at_first(file, priority):
        if not refused:
            refused.append(world.t)
            raise error("the link takes it not")
        return submit(file, priority)

    world.flight.endpoint.submit = full_at_first
    world.fly()
    assert refused and world.t >= refused[0] + least_s
    assert not np.isnan(world.received(1)).any()
    assert max(len(each.cells) for each in world.products.values() if each.block == 1) == most_chips


class Mute(SimDisk):
    """A disk that takes writes, and may not say how much room it has."""

    mute = False

    def free_bytes(self):
        if self.mute:
            raise OSError(5, "Input/output error")
        return super().free_bytes()

    def write(self, name, data, at=0):
        mute, self.mute = self.mute, False
        try:
            super().write(name, data, at)
        finally:
            self.mute = mute


def test_chips_wait_while_the_disk_does_not_say_how_much_room_it_has():
    disk = Mute()
    world = World(disk)
    disk.mute = True
    world.contact()
    world.image()
    world.upload(region_file(), label_file())
    world.run(100.0)
    assert world.flight.payload.progress.chips == 0 and world.flight.payload.task_id == 1
    assert world.command("ping", echo=1) == ("executed", "")
    disk.mute = False
    world.settle()
    assert world.flight.payload.progress.chips == len(EARTH.chips)


def test_a_checkpoint_of_another_learner_is_told_and_not_used():
    disk = SimDisk()
    flown(disk)
    world = World(disk, config("downconv"))
    (told,) = [each.values for each in world.flight.log.recent if each.name == "record-damaged"]
    assert (told["record"], told["reason"]) == ("checkpoint", "learner moments, configured is downconv")
    assert world.flight.payload.learner.name == "downconv" and world.flight.payload.task_id == 1
