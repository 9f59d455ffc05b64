"""Flight on a board: the same mission as on one machine, and a board that only its desk can use."""

import threading

import pytest
from typer.testing import CliRunner

import flight.flatsat
from flight.clock import wall_s
from flight.curve import new_certificate
from flight.edge import EdgeError
from flight.flatsat import FlatSat
from ground.cli import app as ground_app
from sim.flatsat import Board
from sim.lockstep import LockstepError
from sim.mission import Mission
from sim.plan import make_plan
from sim.scenario import load_scenario
from tests.sim.clocked import plan_of_minutes

SMALL = """
duration_h = 12.0
[world]
rows = 8
cols = 8
municipalities = 12
[[faults]]
at_h = 6.5
kind = "kill-flight"
"""
LIMIT_S = 20.0  # of wall time, for anything that is to happen


@pytest.fixture
def keys(tmp_path):
    assert CliRunner().invoke(ground_app, ["keys", "flatsat", str(tmp_path / "keys")]).exit_code == 0
    return tmp_path / "keys"


@pytest.fixture
def flatsat(keys, tmp_path):
    """A board that listens on the loopback, in a thread."""
    board = FlatSat("tcp://127.0.0.1:*", keys / "board", tmp_path)
    thread = threading.Thread(target=board.serve)
    thread.start()
    yield board
    board.stopping = True
    thread.join()


@pytest.fixture
def desk(flatsat, keys):
    opened = []

    def connect(own=keys / "desk"):
        opened.append(Board(flatsat.endpoint, own))
        return opened[-1]

    yield connect
    for each in opened:
        each.close()


def begin(board, epoch=None):
    """Start a flight process that finds nobody to fly with."""
    return board.start("", {"control": 1, "radio": 1, "camera": 1}, epoch)


def until(condition):
    deadline_s = wall_s() + LIMIT_S
    while not condition():
        assert wall_s() < deadline_s
    return True


def test_a_mission_with_flight_on_a_board_ends_with_the_weights_of_one_machine_although_flight_was_killed(
    flatsat, keys, tmp_path
):
    (tmp_path / "small.toml").write_text(SMALL, encoding="utf-8")
    plan = make_plan(load_scenario(str(tmp_path / "small.toml")))
    here = Mission(plan, tmp_path / "here", in_process=True)
    here.fly()
    there = Mission(plan, tmp_path / "there", board=Board(flatsat.endpoint, keys / "desk"))
    there.fly()
    assert there.restarts == here.restarts == 1
    assert there.lockstep.report("flight")["weights_sha256"] == here.lockstep.report("flight")["weights_sha256"] != ""
    assert there.models.keys() == here.models.keys()
    assert not (tmp_path / "there" / "flight").exists()
    assert flatsat.flight is None  # nothing is left running


def test_the_encoder_of_a_mission_is_carried_to_the_board_and_gives_the_same_weights(flatsat, keys, tmp_path):
    (tmp_path / "small.toml").write_text(
        SMALL.partition("[[")[0] + '[encoder]\nfiles = ["released"]\n', encoding="utf-8"
    )
    plan = make_plan(load_scenario(str(tmp_path / "small.toml")))
    here = Mission(plan, tmp_path / "here", in_process=True)
    here.fly()
    there = Mission(plan, tmp_path / "there", board=Board(flatsat.endpoint, keys / "desk"))
    there.fly()
    one, other = (mission.lockstep.report("flight") for mission in (here, there))
    assert other["encoder"] == one["encoder"] != ""
    assert other["weights_sha256"] == one["weights_sha256"] != ""


def test_a_mission_in_wall_time_takes_in_every_chip_on_the_board_and_ends_with_the_weights_of_stepped_time(
    flatsat, keys, tmp_path
):
    plan = plan_of_minutes()
    here = Mission(plan, tmp_path / "here", in_process=True)
    here.fly()
    there = Mission(plan, tmp_path / "there", board=Board(flatsat.endpoint, keys / "desk"), rate=12.0)
    there.fly()
    assert there.lockstep.report("flight")["chips"] == 144
    assert there.lockstep.report("flight")["weights_sha256"] == here.lockstep.report("flight")["weights_sha256"] != ""


def test_a_desk_whose_key_the_board_does_not_have_is_not_let_in(desk, keys, tmp_path, monkeypatch):
    monkeypatch.setattr("sim.flatsat.ANSWER_TIMEOUT_S", 1.0)
    stranger = tmp_path / "stranger"
    stranger.mkdir()
    _, secret = new_certificate("stranger")
    (stranger / "desk.key_secret").touch(mode=0o600)
    (stranger / "desk.key_secret").write_bytes(secret)
    (stranger / "flight.key").write_bytes((keys / "desk" / "flight.key").read_bytes())
    with pytest.raises(EdgeError, match="does not allow our key"):
        begin(desk(stranger))


def test_a_board_flies_one_mission_at_a_time(desk):
    begin(desk())
    with pytest.raises(EdgeError, match="under way on this board"):
        begin(desk())


def test_a_flight_process_that_ends_is_told_with_the_end_of_its_log(desk):
    board = desk()
    board.start("[executive]\nqueue_chips = -1\n", {"control": 1, "radio": 1, "camera": 1}, None)

    def told():
        board._look_s = 0.0
        try:
            board.check()
        except LockstepError as error:
            assert "queue_chips" in str(error)
            assert "exit code 78" in str(error)
            return True
        return False

    until(told)


def test_a_mission_ends_when_its_desk_is_gone(flatsat, desk, monkeypatch):
    monkeypatch.setattr(flight.flatsat, "DESK_GONE_S", 0.2)
    board = desk()
    begin(board)
    assert flatsat.flight is not None
    board.close()
    until(lambda: flatsat.flight is None)


@pytest.mark.parametrize(
    ("request_", "why"),
    [
        (("erase",), "unknown"),
        (("start", "", "ipc://x", "tcp://a:1", "tcp://a:1", None, 1.0, []), "expected tcp://ADDRESS:PORT"),
        (("start", "x" * 70_000, "tcp://a:1", "tcp://a:1", "tcp://a:1", None, 1.0, []), "65,536 bytes at most"),
        (("start", "", "tcp://a:1", "tcp://a:1", "tcp://a:1", None, 1.0, [bytes(7 << 20)]), "6,291,456 at most"),
        (("start", "", "tcp://a:1", "tcp://a:1", "tcp://a:1", None, 1.0, ["name"]), "encoder files"),
        (("record", "../keys"), "only checkpoint"),
        (("record", 7), "other arguments"),
        (("kill",), "no mission has been started"),
    ],
)
def test_what_a_board_is_not_made_for_is_refused_with_the_reason(desk, request_, why):
    with pytest.raises(EdgeError, match=why):
        desk().ask(*request_)


def test_a_board_without_keys_listens_to_its_own_machine_only(tmp_path):
    with pytest.raises(ValueError, match="other machines can reach it"):
        FlatSat("tcp://0.0.0.0:*", tmp_path, tmp_path)


def test_what_is_no_board_or_has_another_time_is_said(desk, keys, monkeypatch):
    with pytest.raises(ValueError, match="tcp://BOARD:PORT"):
        Board("raspberrypi", keys / "desk")
    monkeypatch.setattr("sim.flatsat.unix_s", lambda: 0.0)
    with pytest.raises(EdgeError, match="synchronise"):
        begin(desk(), (0.0, 1.0))
