"""What bad input gets, over the radio and from the camera: a count, an event, and nothing else changes."""

import dataclasses

import numpy as np
import pytest

from flight.ingest import Gap
from flight.link import labelset, layout
from flight.link import pack as wire
from flight.link.dictionary import Telecommand, encode
from flight.link.endpoint import Endpoint
from flight.link.errors import FRAME_REASONS
from flight.link.events import CommandAcknowledged
from flight.link.frame import Channel, Direction
from flight.link.keys import KeyRing
from flight.link.packet import FileKind, Packer
from flight.link.parcel import unpack_model
from flight.link.security import SecureChannel
from flight.link.transfer import File
from tests.flight.flight_world import (
    COLS,
    EARTH,
    KEYS,
    ROWS,
    PowerCut,
    World,
    config,
    flown,
    label_file,
    label_set,
    make_chip,
    make_region,
    region_file,
)

# Bad input over the link


def rejects(world, frame, name, cause):
    """The frame is counted under its cause, told, and changes nothing."""
    before = world.on_board()
    world.send(frame)
    world.until(lambda: any(values["cause"] == cause for values in world.told(name)), 40)
    assert world.on_board() == before
    assert set(world.flight.log.counts) == {"restarted", "region-loaded", "labels-loaded", "model-ready", name}


def a_frame(keys=KEYS, payload=None):
    """A frame that the ground might have sent, with a counter far ahead."""
    body = Packer(Direction.UPLINK).pack(0x10, encode("status", {}, 9)[1]) if payload is None else payload
    return SecureChannel(config().link, keys, Direction.UPLINK, 1_000_000).seal(Channel.OPERATIONS, body)[0]


WRONG_KEYS = KeyRing({1: bytes(32), 2: bytes(32)}, 1)


@pytest.mark.parametrize(
    ("frame", "cause"),
    [
        (bytes([*a_frame()[:20], a_frame()[20] ^ 4, *a_frame()[21:]]), "bad_crc"),
        (a_frame(WRONG_KEYS), "bad_tag"),
        (a_frame()[:30], "bad_crc"),
        (a_frame()[:3], "too_short"),
        (bytes(1000), "too_long"),
        (np.random.Generator(np.random.PCG64(1)).bytes(200), "bad_crc"),
    ],
)
def test_a_bad_frame_is_counted_told_and_changes_nothing(frame, cause, idle):
    assert cause in FRAME_REASONS
    rejects(idle, frame, "frames-rejected", cause)


def test_a_replayed_frame_is_counted_told_and_changes_nothing(idle):
    frame = a_frame()
    idle.send(frame)
    idle.run(1.0)
    rejects(idle, frame, "frames-rejected", "replayed")


def test_a_telecommand_that_nobody_knows_is_counted_told_and_answered(idle):
    payload = Packer(Direction.UPLINK).pack(0x10, bytes([99, 0, 0, 0, 5]))
    rejects(idle, a_frame(payload=payload), "packets-rejected", "unknown_id")


def with_wrong_crc(file):
    data = bytearray(file.data)
    data[3] ^= 1
    return dataclasses.replace(file, data=bytes(data))


def cut(file, n):
    return dataclasses.replace(file, data=file.data[:n])


def short_table(rows):
    return label_set().proportions[:rows]


def patch_of_nothing():
    out = wire.Writer(wire.REGION, wire.PATCH)
    out.raw((12345).to_bytes(2, "big"))
    return out.finish(0)


def delta_file(**base):
    """A delta against a table that is not on board."""
    before = dataclasses.replace(label_set().quantised(), **base)
    packed = labelset.pack(label_set(1, 8), None, before)
    return File("delta", FileKind.LABEL_SET, packed)


def along_another_map():
    other = dataclasses.replace(make_region(), codes=tuple(f"N{i}" for i in range(ROWS)))
    return File("labels", FileKind.LABEL_SET, labelset.pack(label_set(), layout.map_order(other)))


BAD_FILES = {
    "labels of unknown region 5": label_file(region_id=5),
    "5 rows, region has 8": label_file(proportions=short_table(5)),
    "task id 0 is not from 1 to 65535": label_file(task_id=0),
    "task id 70000 is not from 1 to 65535": label_file(task_id=70000),
    "label set: CRC-32 of the decoded content is": with_wrong_crc(label_file()),
    "region: CRC-32 of the decoded content is": with_wrong_crc(region_file(region_id=3)),
    "region: columns is 30, not between 1 and 3": region_file(rows=30, cols=30),
    "label set: 8 x 3 proportions are more than": label_file(),
    "the stream ends too early": dataclasses.replace(region_file(), data=region_file(region_id=3).data[:-12]),
    "region: a patch of version 3039, on board is": File("patch", FileKind.REGION, patch_of_nothing()),
    "label set: ends within the class names: 0 of 1 b": cut(label_file(), 14),
    "delta against version 7 of task 1 (check": delta_file(version=7),
    "delta against version 1 of task 3 (check": delta_file(task_id=3),
    "label set: is coded along another map of region": along_another_map(),
    "label set: 3 bytes are too few for its envelope": File("short", FileKind.LABEL_SET, b"abc"),
    "files of kind MODEL have no use here": File("model", FileKind.MODEL, b"abc"),
}


@pytest.mark.parametrize("reason", BAD_FILES)
def test_a_bad_file_is_refused_told_and_changes_nothing(reason, tmp_path):
    limits = {"max_region_chips": 100} if "columns" in reason else {}
    limits = {"max_label_cells": 20} if "proportions are more" in reason else limits
    world = World(tmp_path, config(**limits))
    world.contact()
    if limits:
        world.upload(region_file())
    else:
        world.fly()
        world.upload(label_file(2, activate=False))
    world.run(20.0)
    before, events = world.on_board(), dict(world.flight.log.counts)
    transfer_id = world.ground.submit(BAD_FILES[reason])
    world.until(lambda: world.outcome(transfer_id) is not None)
    assert world.outcome(transfer_id).startswith(reason[:48])
    world.until(lambda: world.told("file-refused"))
    (told,) = world.told("file-refused")
    assert told["reason"].startswith(reason[:48]) and told["transfer_id"] == transfer_id
    assert world.on_board() == before
    assert world.flight.log.counts == {**events, "file-refused": 1}


@pytest.mark.parametrize(
    ("name", "args", "reason"),
    [
        ("set-task", {"task_id": 9}, "no label set of task 9 on board"),
        ("set-task", {"task_id": 0}, "no label set of task 0 on board"),
        ("predict", {"task_id": 2}, "task 2 is not active"),
    ],
)
def test_a_telecommand_that_cannot_be_obeyed_is_rejected_with_a_reason_and_changes_nothing(name, args, reason, idle):
    before, events = idle.on_board(), dict(idle.flight.log.counts)
    assert idle.command(name, **args) == ("rejected", reason)
    assert idle.on_board() == before
    assert idle.flight.log.counts == {**events, "command-rejected": 1}
    idle.until(lambda: idle.told("command-rejected"))
    assert idle.told("command-rejected")[0]["reason"] == reason


def test_without_a_model_none_can_be_sent_or_predicted_with(tmp_path):
    world = World(tmp_path)
    world.contact()
    assert world.command("get-model") == ("rejected", "there is no model yet")
    assert world.command("predict", task_id=0) == ("rejected", "task 0 is not active")


def test_a_model_in_training_is_not_sent_and_its_predictions_come_down_later(tmp_path):
    world = flown(tmp_path, "downconv", train_step_s=1.0)
    world.upload(label_file(1, 2, share=0.5))
    assert world.command("get-model") == ("rejected", "the model is being trained")
    world.settle()
    assert world.command("get-model") == ("executed", "")
    world.settle()
    assert unpack_model(world.models[0], 1 << 20).weights == world.flight.payload.learner.weights()
    assert {each.label_version for each in world.products.values()} == {1, 2}


def test_labels_that_teach_nothing_leave_flight_up_without_a_model(tmp_path):
    world = flown(tmp_path)
    world.upload(label_file(1, 2, share=0.0))
    world.run(30.0)
    assert world.command("get-model")[0] == "rejected"
    assert world.command("predict", task_id=1)[0] == "executed"
    world.run(30.0)
    world.upload(label_file(1, 3))
    world.settle()
    assert world.command("get-model")[0] == "executed"


def test_a_full_queue_of_files_rejects_the_telecommand_and_not_the_flight(tmp_path):
    world = flown(tmp_path, max_file_bytes=2048, max_open_transfers=1)
    while world.flight.log.counts["command-rejected"] == 0:
        number = world.ground.send(Telecommand("get-model", {}))
        world.flight.endpoint.submit(File("filler", FileKind.MODEL, bytes(1500)))
        world.run(0.3)
    world.until(lambda: any(e.number == number for e in world.of(CommandAcknowledged)))
    world.settle()


# Chips


def test_bad_chips_are_counted_told_and_the_others_are_learned(tmp_path):
    world = World(tmp_path)
    world.contact()
    world.upload(region_file(), label_file())
    odd = np.zeros((18, 24, 3), np.uint8)
    chips = [make_chip(i) for i in range(30)]
    chips[0] = make_chip(0, image=odd)  # no learner takes it, and it must not set the shape
    chips[4] = make_chip(4, cell=ROWS * COLS + 3)
    chips[7] = make_chip(7, image=np.zeros((32, 32, 3), np.uint8))
    chips[9] = make_chip(9, image=np.zeros((24, 24, 4), np.uint8))
    world.image(*chips)
    world.settle()
    assert world.flight.payload.progress.chips == 26
    world.until(lambda: len(world.told("chip-refused")) == 4)
    reasons = {told["chip"]: told["reason"] for told in world.told("chip-refused")}
    assert reasons[4] == "cell (8, 3) is off the grid"
    assert reasons[9] == "shape (24, 24, 4) is not (24, 24, 3)"
    assert sorted(reasons) == [0, 4, 7, 9]


def test_a_first_chip_of_another_shape_turns_no_others_away_where_the_shape_is_configured(tmp_path):
    world = World(tmp_path, config(chip_shape=(24, 24, 3)))
    world.contact()
    world.upload(region_file(), label_file())
    chips = [make_chip(i) for i in range(30)]
    chips[0] = make_chip(0, image=np.zeros((32, 32, 3), np.uint8))  # a learner could take it
    world.image(*chips)
    world.settle()
    assert (world.flight.payload.progress.chips, world.flight.payload.progress.chips_refused) == (29, 1)


def test_garbage_duplicates_holes_and_floods_from_the_camera_are_counted_and_bounded(tmp_path):
    world = World(tmp_path, config(queue_chips=8))
    world.contact()
    world.upload(region_file(), label_file())
    world.image(*[make_chip(i) for i in range(20)])
    world.settle()
    for body in (b"", b"\xc1" * 50, make_chip(3).pack(), make_chip(400).pack(), Gap(2, 5).pack()):
        world.camera(body)
    world.run(1.0)
    counters = world.flight.queue.counters
    assert counters["malformed"] == 2 and counters["duplicates"] == 2 and counters["out_of_order"] >= 1
    for number in range(20, 200):  # all at once, whatever was asked for
        world.camera(make_chip(number).pack())
    for _ in range(40):
        world.run(0.01)
        assert len(world.flight.queue) <= 8
    assert world.flight.queue.counters["overflow"] > 0
    world.recorder.chips += [make_chip(number) for number in range(20, 200)]
    world.settle()
    assert world.flight.payload.progress.chips == 200


def test_a_gap_is_told_and_not_waited_for_however_large(tmp_path):
    world = World(tmp_path)
    world.contact()
    world.upload(region_file(), label_file())
    world.camera(Gap(0, 5).pack())
    world.run(5.0)
    assert world.told("chips-lost")[0]["chips"] == 5
    world.camera(Gap(5, 1 << 40).pack())
    world.run(60.0)
    world.restart()
    assert world.command("ping", echo=1)[0] == "executed"


def test_before_there_is_a_region_chips_wait_in_the_recorder(tmp_path):
    world = World(tmp_path)
    world.contact()
    world.image()
    world.run(60.0)
    assert world.recorder.requests == [] and world.flight.payload.progress.chips == 0
    world.upload(region_file(), label_file())
    world.settle()
    assert world.flight.payload.progress.chips == len(EARTH.chips)


def test_a_region_file_sent_twice_changes_nothing(idle):
    before = idle.on_board()
    idle.upload(region_file())
    idle.run(30.0)
    after = idle.on_board()
    assert after == before


@pytest.mark.parametrize("killed", [False, True])
def test_another_region_starts_statistics_and_labels_anew_and_chips_go_on(killed, tmp_path):
    world = flown(tmp_path)
    world.upload(region_file(region_id=2))
    if killed:
        world.restart()
    assert world.flight.payload.labels is None and not world.weights()
    assert world.command("set-task", task_id=1)[0] == "rejected"
    world.image(*[make_chip(48 + i, cell=i) for i in range(48)])
    world.upload(label_file(region_id=2))
    world.settle()
    assert world.flight.payload.learner.n_chips_ == 48
    assert world.flight.acknowledged == 96
    assert {each.region_id for each in world.products.values()} == {1, 2}


def test_a_kill_while_the_region_changes_leads_to_no_loop(tmp_path, monkeypatch):
    world = flown(tmp_path)
    world.orders = [region_file(region_id=2)]

    def die(endpoint, transfer_id):
        raise PowerCut

    with monkeypatch.context() as patch, pytest.raises(PowerCut):
        patch.setattr(Endpoint, "accept", die)
        world.run(30)
    world.restart()
    assert world.flight.payload.region.region_id == 2 and world.flight.payload.labels is None
    world.run(30)
    assert world.outcome(3) == "ok"


def test_labels_of_a_former_region_take_no_room(tmp_path):
    world = World(tmp_path, config(max_tasks=2))
    world.contact()
    world.upload(region_file(), label_file(1), label_file(2))
    third = world.ground.submit(label_file(2, task_id=3))
    world.until(lambda: world.outcome(third) is not None)
    assert world.outcome(third) == "2 tasks are on board, which is the limit"
    world.upload(region_file(region_id=2), label_file(2, task_id=3, region_id=2))
    assert world.flight.payload.task_id == 3
