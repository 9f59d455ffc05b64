"""What an attacker on the link, or who reads what comes down, must not get: a second execution, a file, a key."""

import base64
import logging
import re

import pytest

from flight.link.dictionary import Telecommand
from flight.link.events import CommandAcknowledged
from flight.link.frame import Direction
from flight.link.keys import KeyFileError, KeyRing
from flight.link.packet import FileKind
from flight.link.transfer import File
from flight.store import Store
from sim.disk import DiskDeath, SimDisk
from tests.flight.flight_world import KEYS, World, config, flown, label_file, region_file

# Replay


def fly_and_replay(at):
    """Two telecommands, power cut at the `at`-th change of the disk, and then every frame that went up once more."""
    disk, sent = SimDisk(seed=at or 0), []
    world = flown(disk)
    send = world.send

    def record(frame, t=None):
        sent.append(frame)
        send(frame, t)

    world.send = record
    before = disk.steps
    disk.die_at = None if at is None else before + at
    numbers = [world.ground.send(Telecommand("adjust-time", {"delta_s": delta_s})) for delta_s in (100.0, 10.0)]

    def answered():
        return {event.number for event in world.of(CommandAcknowledged)} >= set(numbers)

    try:
        world.until(answered)
    except DiskDeath:
        disk.cut_power()
        world.restart()
    for _ in range(2):
        for frame in list(sent):
            send(frame)
        world.run(5.0)
    world.until(answered)
    for frame in list(sent):
        send(frame)
    world.run(5.0)
    return world, disk.steps - before


def test_a_telecommand_is_executed_once_whatever_is_replayed_after_a_power_cut_at_any_write():
    _, steps = fly_and_replay(None)
    assert steps >= 8
    for at in range(1, steps + 1):
        world, _ = fly_and_replay(at)
        assert world.flight.time.offset_s == pytest.approx(110.0), at


def test_frame_counters_never_go_back_over_power_cuts():
    disk = SimDisk()
    world = flown(disk)
    highest = -1
    for _ in range(6):
        world.run(40.0)
        now = world.flight.endpoint._secure.counter.next
        disk.cut_power()
        world.restart()
        assert world.flight.endpoint._secure.counter.next >= now > highest
        highest = now


# Files

NAMES = re.compile(
    r"(start|region|mission|checkpoint|updates|labels-\d+|sequence-\d+|update-[a-z]+-\d)\.[01]|archive\.bin"
)


def test_files_from_the_link_become_records_of_known_names_whatever_they_are_called(tmp_path):
    world = flown(tmp_path / "jail" / "state")
    names = ("checkpoint.0", "keys.toml", "mission.1", "a.b", "x.tmp", "--help", "CON", "a" * 48)
    for kind in (FileKind.REGION, FileKind.LABEL_SET, FileKind.SEQUENCE, FileKind.UPDATE, FileKind.MODEL):
        for name in names:
            try:
                world.upload(File(name, kind, b"anything"))
            except ValueError:
                assert name == "--help"
    world.upload(File("checkpoint.1", FileKind.LABEL_SET, label_file(2).data))
    world.upload(File("keys.toml", FileKind.REGION, region_file().data))
    found = [path.relative_to(tmp_path) for path in tmp_path.rglob("*") if path.is_file()]
    assert all(path.parent.as_posix() == "jail/state" and NAMES.fullmatch(path.name) for path in found), found
    assert len(found) >= 8


@pytest.mark.parametrize("name", ["", "..", "a/b", "a.b", "A", "é", "a" * 65, "-a"])
def test_a_record_has_a_plain_name_or_is_refused(name):
    disk = SimDisk()
    with pytest.raises(ValueError, match="record name"):
        Store(disk).put(name, b"x")
    assert disk.names() == []


# Keys


def traces(keys):
    """What would give a key away: its bytes, hexadecimal digits and base64 at any offset; frame keys as well."""
    secrets = [*keys._keys.values()]
    for direction in Direction:
        secrets += keys.derive(42, direction).values()
    for secret in secrets:
        yield secret
        yield secret[:16]
        for text in (secret.hex(), secret.hex().upper(), secret.hex(" "), repr(secret)[2:-1]):
            yield text.encode()[:40]
        for offset in range(3):
            encoded = base64.b64encode(bytes(offset) + secret)
            yield encoded[4:40]
            yield base64.urlsafe_b64encode(bytes(offset) + secret)[4:40]


def test_no_key_leaves_the_process_in_frames_files_logs_or_reports(tmp_path, caplog):
    caplog.set_level(logging.DEBUG)
    world = World(tmp_path, config())
    outputs = []
    hear = world._hear
    world._hear = lambda frame: (outputs.append(frame), hear(frame))
    world.fly()
    for name, arguments in (
        ("rotate-key", {"key_id": 2}), ("get-model", {}), ("get-event-log", {}), ("list-updates", {}), ("status", {}),
        ("predict", {"task_id": 1}), ("rotate-key", {"key_id": 2}),
    ):  # fmt: skip
        world.command(name, **arguments)
    world.send(bytes(64))
    world.upload(File("bad", FileKind.UPDATE, b"x"))
    world.settle()
    world.restart()
    world.run(60.0)
    outputs += [path.read_bytes() for path in tmp_path.iterdir()]
    outputs += [*world.models, *[event.file.data for event in world.events if hasattr(event, "file")]]
    outputs += [repr(each).encode() for each in (world.events, world.flight.report(), world.config, KEYS)]
    outputs += [repr(list(world.flight.log.recent)).encode(), caplog.text.encode()]
    everything = b"\n".join(outputs)
    assert len(world.models) == 2 and len(everything) > 100_000
    assert [trace for trace in traces(KEYS) if trace in everything] == []


@pytest.mark.parametrize("cut", [1, 40, 120, -3])
def test_a_key_file_that_cannot_be_used_is_told_of_without_what_is_in_it(cut, tmp_path):
    text = KEYS.dump()
    path = tmp_path / "keys.toml"
    path.write_bytes(text[:cut])
    with pytest.raises(KeyFileError) as told:
        KeyRing.load(path)
    shown = "".join(repr(error) for error in (told.value, told.value.__cause__)).encode()
    assert [trace for trace in traces(KEYS) if trace[:12] in shown] == []
