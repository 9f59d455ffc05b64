"""Updates on board: whole or not at all, back by themselves or by command, whatever moment the power goes."""

from __future__ import annotations

import dataclasses
import errno
from pathlib import Path
from typing import Any

import msgpack
import pytest

from flight.config import FlightConfig
from flight.errors import RefusedError
from flight.link import parcel
from flight.link.events import TelemetryReceived
from flight.link.packet import FileKind
from flight.link.parcel import Update, unpack_model
from flight.link.transfer import File
from flight.parameters import CHANGEABLE, changed
from flight.store import StateFormatError, Store, StoreError
from flight.updates import MAX_DEATHS, Slot, UpdateError, Updates
from sim.disk import DiskDeath, SimDisk
from tests.flight.flight_world import PowerCut, World, flown


class Board:
    """Something with one slot, "thing", that takes any content but b"wrong", and fails its self-test with b"bad"."""

    def __init__(self, where: Path | SimDisk) -> None:
        self.store, self.events, self.used = Store(where), [], "nothing"
        self.store.sweep()
        self.updates = Updates({"thing": Slot(100, self.check, self.use)}, self.store, self.emit)
        self.updates.start()

    def emit(self, name: str, **values: Any) -> None:
        self.events.append((name, values.get("version")))

    def check(self, content: bytes) -> None:
        if content == b"wrong":
            raise UpdateError("it is wrong")

    def use(self, content: bytes | None) -> None:
        self.used = content
        if content == b"bad":
            raise UpdateError("it is bad")
        if content == b"deadly":
            raise PowerCut

    def receive(self, content: bytes, version: int, slot: str = "thing") -> None:
        self.updates.receive(parcel.pack_update(Update(slot, version, content)))

    @property
    def version(self) -> int:
        return self.updates.status()[0]["version"]


@pytest.fixture
def board(tmp_path: Path) -> Board:
    return Board(tmp_path)


def test_an_update_is_in_use_at_once_and_after_a_restart(board: Board, tmp_path: Path) -> None:
    board.receive(b"one", 1)
    assert board.used == b"one" and board.events == [("update-activated", 1)]
    again = Board(tmp_path)
    assert again.used == b"one" and again.version == 1 and again.events == []
    assert again.updates.status()[0]["digest"] == parcel.digest(b"one")[:8]


def test_what_was_before_comes_back_by_command_and_once(board: Board, tmp_path: Path) -> None:
    board.receive(b"one", 1)
    board.receive(b"two", 2)
    board.updates.roll_back("thing", 2)
    assert board.used == b"one"
    board.updates.roll_back("thing", 2)  # a copy of the telecommand
    assert board.used == b"one" and Board(tmp_path).used == b"one"
    board.updates.roll_back("thing", 1)
    assert board.used == b"two", "and forth"


def test_before_the_first_update_there_is_what_flight_was_started_with(board: Board, tmp_path: Path) -> None:
    with pytest.raises(RefusedError, match="version 1 is not in use, but 0"):
        board.updates.roll_back("thing", 1)
    board.receive(b"one", 1)
    board.updates.roll_back("thing", 1)
    assert board.used is None and board.version == 0
    assert Board(tmp_path).used == "nothing", "which needs nobody to put it in use"


def test_a_failed_self_test_leaves_both_generations_as_they_were(board: Board, tmp_path: Path) -> None:
    board.receive(b"one", 1)
    board.receive(b"two", 2)
    with pytest.raises(RefusedError, match="self-test failed: it is bad"):
        board.receive(b"bad", 3)
    assert board.used == b"two" and board.events[-1] == ("update-rolled-back", 3)
    again = Board(tmp_path)
    assert again.used == b"two"
    again.updates.roll_back("thing", 2)
    assert again.used == b"one"


def test_what_its_slot_refuses_is_never_written(board: Board) -> None:
    for content, slot, message in (
        (b"wrong", "thing", "it is wrong"),
        (b"x" * 101, "thing", "the length of the content is 101"),
        (b"x", "../thing", "no slot '../thing' for updates"),
    ):
        with pytest.raises(RefusedError, match=message):
            board.receive(content, 1, slot)
    with pytest.raises(RefusedError, match="update"):
        board.updates.receive(b"U\x01 and so on")
    assert board.store.names() == [] and board.used == "nothing"


def test_a_version_number_is_not_used_for_two_contents(board: Board) -> None:
    board.receive(b"one", 1)
    with pytest.raises(RefusedError, match="version 1 is on board with another content"):
        board.receive(b"other", 1)
    board.receive(b"one", 1)  # a copy
    assert board.events == [("update-activated", 1)]


def test_a_content_that_kills_its_process_is_given_up_and_at_last_refused(tmp_path: Path) -> None:
    Board(tmp_path).receive(b"one", 1)
    for _ in range(MAX_DEATHS):
        with pytest.raises(PowerCut):
            Board(tmp_path).receive(b"deadly", 2)
    board = Board(tmp_path)
    assert board.used == b"one" and board.events == [("update-rolled-back", 2)]
    with pytest.raises(RefusedError, match="the process died 2 times in its trial"):
        board.receive(b"deadly", 2)
    board.receive(b"three", 3)
    assert board.used == b"three"


def interrupted(act: Any, at: int | None, failure: int | None = None) -> tuple[Board | None, SimDisk, int]:
    """Two generations, then `act` with trouble at its `at`-th change of the disk: a failure, or the process dies.

    Returns the board, None if the process died, the disk and how many changes `act` made.
    """
    disk = SimDisk(seed=at or 0)
    board = Board(disk)
    board.receive(b"one", 1)
    board.receive(b"two", 2)
    before = disk.steps
    if at is not None and failure is None:
        disk.die_at = before + at
    elif at is not None and failure is not None:
        disk.fail_at = {before + at: failure}
    try:
        act(board)
    except DiskDeath:
        return None, disk, disk.steps - before
    except StoreError:
        pass
    return board, disk, disk.steps - before


ACTS = {
    "receive": (lambda board: board.receive(b"three", 3), b"three"),
    "rollback": (lambda board: board.updates.roll_back("thing", 2), b"one"),
}


@pytest.mark.parametrize("end", [SimDisk.cut_power, SimDisk.kill], ids=["power cut", "kill"])
@pytest.mark.parametrize("name", list(ACTS))
def test_a_death_at_any_write_leaves_one_whole_content_in_use(name: str, end: Any) -> None:
    act, after = ACTS[name]
    _, _, steps = interrupted(act, None)
    assert steps >= 4
    for at in range(1, steps + 1):
        died, disk, _ = interrupted(act, at)
        assert died is None
        end(disk)
        board = Board(disk)
        assert board.used in (b"two", after), at
        act(board)  # the ground sends it again
        assert board.used == after and Board(disk).used == after
        assert len([record for record in board.store.names() if record.startswith("update-")]) == 2


@pytest.mark.parametrize("failure", [errno.ENOSPC, errno.EROFS, errno.EIO])
@pytest.mark.parametrize("name", list(ACTS))
def test_a_write_that_fails_anywhere_delays_and_breaks_nothing(name: str, failure: int) -> None:
    act, after = ACTS[name]
    _, _, steps = interrupted(act, None)
    for at in range(1, steps + 1):
        board, disk, _ = interrupted(act, at, failure)
        assert board is not None
        act(board)
        assert board.used == after and Board(disk).used == after


def test_a_damaged_content_gives_way_to_the_one_before(board: Board, tmp_path: Path) -> None:
    board.receive(b"one", 1)
    board.receive(b"two", 2)
    for path in tmp_path.glob("update-thing-*"):
        if b"two" in path.read_bytes():
            path.write_bytes(path.read_bytes().replace(b"two", b"owt"))
    again = Board(tmp_path)
    assert again.used == b"one" and again.events == [("update-rolled-back", 2)]
    assert Board(tmp_path).used == b"one"


def test_an_index_of_another_format_stops_the_start(board: Board, tmp_path: Path) -> None:
    board.store.put("updates", msgpack.packb({"format": 99, "slots": {}}))
    with pytest.raises(StateFormatError, match="format 99"):
        Board(tmp_path)
    board.store.put("updates", msgpack.packb({"format": 1, "slots": {"thing": [[7, 1, b""], None, None, b"", 0]}}))
    with pytest.raises(StateFormatError, match="content 7"):
        Board(tmp_path)


# The parameter table

BASE = FlightConfig()


def test_a_parameter_table_changes_what_it_names_and_nothing_else() -> None:
    new = changed(BASE, b"[executive]\nhousekeeping_s = 30\n[caps]\ncpu_share = 0.5\n")
    assert new.executive == dataclasses.replace(BASE.executive, housekeeping_s=30.0)
    assert new.caps == dataclasses.replace(BASE.caps, cpu_share=0.5)
    assert (new.link, new.learner, new.costs) == (BASE.link, BASE.learner, BASE.costs)


def test_every_changeable_parameter_is_one_of_the_configuration() -> None:
    for section, names in CHANGEABLE.items():
        for name in names:
            value = getattr(getattr(BASE, section), name)
            assert changed(BASE, f"[{section}]\n{name} = {value}\n".encode()) == BASE


@pytest.mark.parametrize(
    ("table", "message"),
    [
        (b"[link]\nuplink_bps = 100\n", "link: may not be changed in flight"),
        (b"[learner]\nseed = 3\n", "learner: may not be changed"),
        (b"[executive]\nqueue_chips = 3\n", "executive.queue_chips: may not be changed in flight, only cycle_s"),
        (b"[executive]\nhousekeeping_s = 0\n", "executive.housekeeping_s: 0.0 is not between 1 and 3600"),
        (b"[executive]\nproduct_chips = 1.5\n", "executive.product_chips: expected int"),
        (b"executive = 3\n", "executive: may not be changed"),
        (b"[executive\n", "is not TOML"),
        (b"\xff\xfe", "is not TOML"),
        (b"a = " + b"[" * 8000, "is not TOML"),
        (b"#" * 9000, "a table has at most 8192"),
    ],
)
def test_a_parameter_table_that_breaks_the_rules_is_refused(table: bytes, message: str) -> None:
    with pytest.raises(UpdateError, match=message):
        changed(BASE, table)


def parameters_file(text: str, version: int) -> File:
    data = parcel.pack_update(Update("parameters", version, text.encode()))
    return File(f"parameters-{version}", FileKind.UPDATE, data)


def told(world: World, name: str) -> list[dict[str, Any]]:
    return [dict(event.values) for event in world.of(TelemetryReceived) if event.name == name]


def test_parameters_that_went_up_are_in_use_survive_a_kill_and_go_back_by_command(tmp_path: Path) -> None:
    world = flown(tmp_path)
    start = world.flight.config
    world.upload(parameters_file("[executive]\nhousekeeping_s = 5.0\nproduct_levels = 16\n", 1))
    assert world.flight.config.executive.housekeeping_s == 5.0
    world.run(30)
    assert len(told(world, "housekeeping")) >= 5 and told(world, "update-activated")[-1]["version"] == 1
    world.restart()
    assert world.flight.payload.config.executive.product_levels == 16
    world.upload(parameters_file("[executive]\nhousekeeping_s = 7.0\n", 2))
    assert world.flight.config.executive == dataclasses.replace(start.executive, housekeeping_s=7.0)
    assert world.command("rollback", slot="parameters", version=2) == ("executed", "")
    assert world.flight.config.executive.housekeeping_s == 5.0
    assert world.command("list-updates") == ("executed", "")
    world.run(5)
    status = next(each for each in told(world, "update-status")[::-1] if each["slot"] == "parameters")
    assert (status["version"], status["previous_version"]) == (1, 2)
    digest = parcel.digest(b"[executive]\nhousekeeping_s = 5.0\nproduct_levels = 16\n")[:8]
    assert status["digest"] == digest == told(world, "update-activated")[-1]["digest"]


def test_a_rollback_that_cannot_be_written_is_refused_and_flight_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    world = flown(tmp_path)
    world.upload(parameters_file("[executive]\nhousekeeping_s = 5.0\n", 1))

    def full(store: Store, name: str, data: bytes, twice: bool = False, put: Any = Store.put) -> int:
        if name == "updates":
            raise StoreError(errno.ENOSPC, "No space left on device")
        return put(store, name, data, twice)

    with monkeypatch.context() as patch:
        patch.setattr(Store, "put", full)
        outcome, reason = world.command("rollback", slot="parameters", version=1)
    assert outcome == "rejected" and "cannot be written" in reason
    assert world.flight.config.executive.housekeeping_s == 5.0
    assert world.command("rollback", slot="parameters", version=1)[0] == "executed"


def test_parameters_outside_their_limits_are_refused_and_the_ground_is_told(tmp_path: Path) -> None:
    world = flown(tmp_path)
    start = world.flight.config
    transfer_id = world.ground.submit(parameters_file("[caps]\ncpu_share = 7.0\n", 1))
    world.until(lambda: world.outcome(transfer_id) is not None)
    assert "cpu_share" in world.outcome(transfer_id) and world.flight.config == start
    assert world.command("rollback", slot="parameters", version=1)[0] == "rejected"
    assert world.command("rollback", slot="camera", version=1)[0] == "rejected"


def test_parameters_that_fail_the_self_test_are_taken_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    world = flown(tmp_path)
    start = world.flight.config
    with monkeypatch.context() as patch:
        patch.setattr("flight.parameters.encode", lambda name, values: 1 / 0)
        transfer_id = world.ground.submit(parameters_file("[executive]\ncycle_s = 2.0\n", 1))
        world.until(lambda: world.outcome(transfer_id) is not None)
    assert "self-test failed" in world.outcome(transfer_id) and world.flight.config == start
    world.run(20)
    assert told(world, "update-rolled-back")[0]["version"] == 1


def test_the_model_comes_down_with_what_it_was_trained_for_and_the_digest_of_the_events(tmp_path: Path) -> None:
    world = flown(tmp_path)
    assert world.command("get-model") == ("executed", "")
    world.until(lambda: world.models)
    model = unpack_model(world.models[0], 1 << 20)
    assert (model.learner, model.region_id, model.task_id, model.label_version) == ("moments", 1, 1, 1)
    assert parcel.digest(model.weights).hex() == world.flight.payload.learner.weights_sha256
    assert told(world, "model-ready")[-1]["model_digest"] == parcel.digest(model.weights)[:8]
