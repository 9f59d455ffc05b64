import tempfile
from pathlib import Path

import pytest

from flight.step import NEVER, Output, Step
from sim.lockstep import LocalNode, Lockstep, LockstepError, wires
from sim.processes import Child, Control, ProcessNode, end_all
from tests.sim.toy import PLAYERS, Player

WIRING = wires((("left", "court"), ("right", "court")))


def play_locally(until_s: float) -> dict[str, dict]:
    nodes = [LocalNode(name, lambda name=name: Player(*PLAYERS[name])) for name in PLAYERS]
    master = Lockstep(nodes, WIRING)
    for name in PLAYERS:
        master.start(name)
    master.run_until(until_s)
    return {name: master.report(name) for name in PLAYERS}


class ProcessPair:
    """The two players as processes; the right one under nobody's supervision, started again by the test."""

    def __init__(self, log_directory: Path) -> None:
        self.log_directory = log_directory
        self.sockets = tempfile.TemporaryDirectory(prefix="swath-")
        self.control = Control(f"ipc://{self.sockets.name}/control")
        self.nodes = {name: ProcessNode(name, self.control, self.launch(name)) for name in PLAYERS}
        self.deaths: list[str] = []
        self.master = Lockstep(list(self.nodes.values()), WIRING, on_death=self.deaths.append)

    def launch(self, name: str) -> Child:
        toy = str(Path(__file__).with_name("toy.py"))
        court = f"ipc://{self.sockets.name}/court"
        return Child(name, [toy, name, court, self.control.endpoint], self.log_directory / f"{name}.log")

    def relaunch(self, name: str) -> None:
        end_all([self.nodes[name].child], 0.1)
        self.nodes[name].child = self.launch(name)

    def close(self) -> None:
        for node in self.nodes.values():
            node.stop()
        end_all([node.child for node in self.nodes.values()], 5.0)
        self.control.close()
        self.sockets.cleanup()


@pytest.fixture
def pair(tmp_path):
    pair = ProcessPair(tmp_path)
    yield pair
    pair.close()


def test_processes_behind_sockets_see_the_same_mission_as_cores_in_one_process(pair):
    for name in PLAYERS:
        pair.master.start(name)
    pair.master.run_until(60.0)
    local = play_locally(60.0)
    assert local["left"]["seen"] > 100
    assert {name: pair.master.report(name) for name in PLAYERS} == local


def test_a_killed_process_leaves_the_lockstep_and_rejoins_later_as_a_new_incarnation(pair):
    for name in PLAYERS:
        pair.master.start(name)
    pair.master.run_until(5.0)
    pair.nodes["left"].hold([sent.name for sent in pair.master.in_flight("right")["left"]])
    pair.nodes["right"].kill()
    pair.master.drop("right")
    pair.master.run_until(9.0)
    seen_while_down = pair.master.report("left")["seen"]
    pair.relaunch("right")
    pair.master.start("right")
    pair.master.run_until(60.0)
    assert pair.nodes["right"].incarnation == 2
    assert pair.master.report("left")["seen"] > seen_while_down + 50


def test_a_process_that_dies_in_a_step_is_reported_and_its_step_never_happened(pair):
    for name in PLAYERS:
        pair.master.start(name)
    pair.master.run_until(5.0)
    pair.nodes["right"].child.signal_group(9)  # nobody told the master
    pair.relaunch("right")
    pair.master.run_until(9.0)
    assert pair.deaths == ["right"]
    assert not pair.master.is_up("right")
    pair.master.start("right")
    pair.master.run_until(60.0)
    assert pair.master.report("right")["seen"] > 50


def test_a_process_that_cannot_run_is_an_error_with_the_end_of_its_log(pair):
    pair.nodes["right"].child.signal_group(9)
    pair.nodes["right"].child.popen.wait()
    pair.master.start("left")
    with pytest.raises(LockstepError, match="right process ended with exit code"):
        pair.control.joined["right"].clear()
        pair.master.start("right")


class _Stubborn:
    def __init__(self, output_at_s: float, next_due_s: float) -> None:
        self.output_at_s, self.next_due_s = output_at_s, next_due_s

    def step(self, t, inputs):
        return Step([Output(self.output_at_s, "court", b"")] if t > 0 else [], self.next_due_s if t == 0 else t)

    def report(self):
        return {}


def test_a_core_that_sends_into_the_past_is_refused():
    nodes = [LocalNode(name, lambda: _Stubborn(0.5, 1.0)) for name in PLAYERS]
    master = Lockstep(nodes, WIRING)
    master.start("left")
    with pytest.raises(LockstepError, match="into the past"):
        master.run_until(2.0)


def test_a_core_that_never_lets_time_pass_is_refused(monkeypatch):
    monkeypatch.setattr("sim.lockstep.MAX_ROUNDS_AT_ONE_INSTANT", 50)
    master = Lockstep([LocalNode(name, lambda: _Stubborn(NEVER, 1.0)) for name in PLAYERS], WIRING)
    master.start("left")
    with pytest.raises(LockstepError, match="does not get past"):
        master.run_until(2.0)
