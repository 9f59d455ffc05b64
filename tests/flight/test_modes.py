"""Modes and limits: what an operator may rely on."""

import dataclasses
import itertools

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from flight.board import Draw
from flight.config import LimitConfig
from flight.errors import RefusedError
from flight.limits import Limits
from flight.link.definitions import LIMIT_ACTIONS, MODES
from flight.link.dictionary import Telecommand, embed
from flight.modes import Modes
from flight.parameters import changed
from flight.step import Message
from flight.updates import UpdateError
from tests.flight.flight_world import ROWS, World, config, flown, label_file, region_file
from tests.flight.test_commanding import sequence_file

# The machine itself


class ModeMachine(RuleBasedStateMachine):
    """Random requests and faults, against the rules as the page on modes tells them."""

    def __init__(self):
        super().__init__()
        self.modes, self.held = Modes(), ""

    @rule(mode=st.sampled_from(MODES), direct=st.booleans())
    def request(self, mode, direct):
        before = self.modes.mode
        leaving = before == "safe" and mode != "safe"
        open_ = not leaving or (direct and mode == "idle" and not self.held)
        try:
            self.modes.check(mode, direct, self.held)
        except RefusedError:
            assert not open_
        else:
            assert open_
            assert self.modes.enter(mode, "asked") == before

    @rule()
    def fault(self):
        self.modes.enter("safe", "fault")
        self.held = "battery"

    @rule()
    def fault_clears(self):
        self.held = ""

    @invariant()
    def safe_is_always_open(self):
        self.modes.check("safe", False, self.held)


TestModeMachine = ModeMachine.TestCase
TestModeMachine.settings = settings(max_examples=60, stateful_step_count=20, deadline=None)

TABLE = (
    LimitConfig("low", "battery", low=0.5, persistence=2, margin=0.1, action="throttle"),
    LimitConfig("lower", "battery", low=0.25, persistence=3, margin=0.1, action="safe"),
    LimitConfig("hot", "temperature_degc", high=60.0, persistence=1, margin=5.0, action="pause"),
)


class LimitMachine(RuleBasedStateMachine):
    """Readings against the table, and what the definition of a limit says of the readings so far."""

    @initialize()
    def begin(self):
        self.limits = Limits(TABLE)
        self.history = {"battery": [], "temperature_degc": []}
        self.tripped = {limit.name: (False, 0) for limit in TABLE}  # and since which reading

    @rule(
        battery=st.sampled_from([0.1, 0.3, 0.45, 0.55, 0.6, 0.9]),
        temperature=st.sampled_from([20.0, 54.0, 57.0, 61.0]),
    )
    def read(self, battery, temperature):
        values = {"battery": battery, "temperature_degc": temperature}
        crossings = {crossing.limit.name: crossing.tripped for crossing in self.limits.take(values)}
        for name, value in values.items():
            self.history[name].append(value)
        for limit in TABLE:
            tripped, since = self.tripped[limit.name]
            recent = self.history[limit.parameter][since:][-limit.persistence :]
            sign = 1 if limit.high is not None else -1
            bound = sign * (limit.high if limit.high is not None else limit.low)
            if tripped:
                crosses = all(sign * value <= bound - limit.margin for value in recent)
            else:
                crosses = all(sign * value > bound for value in recent)
            if crosses and len(recent) == limit.persistence:
                self.tripped[limit.name] = (not tripped, len(self.history[limit.parameter]))
                assert crossings.pop(limit.name) is not tripped
        assert not crossings

    @rule()
    def restart(self):
        restored = Limits(TABLE)
        restored.restore(self.limits.save())
        assert restored.action == self.limits.action

    @invariant()
    def the_strongest_action_counts(self):
        actions = [limit.action for limit in TABLE if self.tripped[limit.name][0]]
        assert self.limits.action == max(["none", *actions], key=LIMIT_ACTIONS.index)
        assert self.limits.holding_safe == ("lower" if self.tripped["lower"][0] else "")


TestLimitMachine = LimitMachine.TestCase
TestLimitMachine.settings = settings(
    max_examples=60, stateful_step_count=30, deadline=None, suppress_health_check=[HealthCheck.filter_too_much]
)


# In flight


def test_safe_mode_stops_payload_work_at_once_and_keeps_link_commands_and_housekeeping(tmp_path):
    world = World(tmp_path, config("downconv", train_step_s=0.5))
    world.begin()
    world.until(lambda: world.flight.cpu.activity == "training")
    assert world.command("set-mode", mode="safe") == ("executed", "")
    world.run(5.0)
    done = (world.flight.payload.progress.steps, world.flight.payload.progress.chips)
    world.image()
    world.events.clear()
    world.run(130.0)
    assert (world.flight.payload.progress.steps, world.flight.payload.progress.chips) == done
    assert world.flight.job is None and len(world.told("housekeeping")) >= 2
    assert {told["mode"] for told in world.told("housekeeping")} == {"safe"}
    assert world.command("ping", echo=1) == ("executed", "")
    assert world.flight.checkpoint.dirty_since_s == float("inf")  # what was learned is on disk


def test_a_mission_that_was_in_safe_mode_for_a_while_ends_with_the_same_weights(tmp_path):
    expected = flown(tmp_path / "undisturbed", "downconv").weights()
    world = World(tmp_path / "safe", config("downconv"))
    world.begin()
    world.until(lambda: world.flight.cpu.activity == "training")
    world.command("set-mode", mode="safe")
    world.run(60.0)
    world.restart()
    assert world.flight.modes.mode == "safe"
    for mode in ("idle", "train"):
        assert world.command("set-mode", mode=mode) == ("executed", "")
    world.settle()
    assert world.weights() == expected


def test_entering_and_leaving_modes_are_events_with_a_cause(idle):
    idle.command("set-mode", mode="safe")
    idle.command("set-mode", mode="idle")
    idle.run(15.0)
    (entered,), (left,) = idle.told("safe-mode-entered"), idle.told("mode-changed")
    assert (entered["previous"], entered["cause"]) == ("train", "telecommand")
    assert (left["previous"], left["mode"]) == ("safe", "idle")


def test_safe_mode_is_left_for_idle_alone_and_not_by_the_schedule(idle):
    idle.command("set-mode", mode="safe")
    assert idle.command("set-mode", mode="train") == ("rejected", "safe mode is left for idle only")
    embedded = embed(Telecommand("set-mode", {"mode": "idle"}))
    at_s = idle.flight.time.read(idle.t) + 5.0
    assert idle.command("schedule", at_s=at_s, if_late="run", command=embedded)[0] == "executed"
    idle.until(lambda: idle.told("tag-failed"))
    assert idle.told("tag-failed")[0]["reason"] == "safe mode is left by a direct telecommand only"
    assert idle.flight.modes.mode == "safe"


def test_the_schedule_may_change_between_other_modes(idle):
    embedded = embed(Telecommand("set-mode", {"mode": "acquire"}))
    idle.command("schedule", at_s=idle.flight.time.read(idle.t) + 5.0, if_late="run", command=embedded)
    idle.until(lambda: idle.flight.modes.mode == "acquire")
    assert idle.flight.modes.cause == "schedule or sequence"


def test_in_acquire_chips_are_taken_in_and_nothing_is_trained_or_predicted(tmp_path):
    world = World(tmp_path, config("downconv"))
    world.contact()
    world.command("set-mode", mode="acquire")
    world.upload(region_file(), label_file())
    world.image()
    world.until(lambda: world.flight.acknowledged == 48)
    world.run(60.0)
    assert world.flight.payload.progress.steps == 0 and not world.products
    world.command("set-mode", mode="train")
    world.settle()
    assert world.products


def test_in_idle_labels_are_taken_in_and_chips_wait_in_the_recorder(tmp_path):
    world = World(tmp_path)
    world.contact()
    world.command("set-mode", mode="idle")
    world.upload(region_file(), label_file())
    world.image()
    world.run(60.0)
    assert world.flight.payload.task_id == 1 and not world.recorder.requests


def test_in_safe_mode_maps_wait_and_sequences_and_parameters_do_not(tmp_path):
    world = World(tmp_path)
    world.contact()
    world.command("set-mode", mode="safe")
    region = world.ground.submit(region_file())
    world.run(20.0)
    world.upload(sequence_file((0.0, Telecommand("ping", {"echo": 1}))))
    assert world.outcome(region) is None and world.flight.payload.region is None
    world.command("set-mode", mode="idle")
    world.until(lambda: world.outcome(region) == "ok")
    assert len(world.flight.payload.region.codes) == ROWS


def test_a_sequence_ends_when_safe_mode_is_entered(idle):
    idle.upload(sequence_file((0.0, Telecommand("ping", {"echo": 1})), (60.0, Telecommand("ping", {"echo": 2}))))
    idle.command("start-sequence", sequence_id=7)
    idle.run(10.0)
    idle.command("set-mode", mode="safe")
    idle.until(lambda: idle.told("sequence-aborted"))
    assert idle.told("sequence-aborted")[0]["reason"] == "safe mode"


# Limits in flight


def test_a_low_battery_throttles_then_pauses_then_enters_safe_mode_and_says_why(tmp_path):
    world = World(tmp_path, config("downconv", train_step_s=20.0, cpu_share=0.8))
    world.begin()
    world.until(lambda: world.flight.cpu.activity == "training")
    world.board(0.39)
    assert (world.flight.power.limits.action, world.flight.share) == ("throttle", 0.25)
    world.board(0.29)
    assert world.flight.power.limits.action == "pause"
    world.board(0.19)
    assert world.flight.modes.mode == "safe"
    world.until(lambda: world.told("safe-mode-entered"))
    assert world.told("safe-mode-entered")[0]["cause"] == "limit battery-critical: 0.19"
    assert [told["action"] for told in world.told("limit-exceeded")] == ["throttle", "pause", "safe"]
    assert world.command("set-mode", mode="idle") == ("rejected", "limit battery-critical holds safe mode")
    world.board(0.9)
    assert world.flight.power.limits.action == "none" and world.flight.modes.mode == "safe"
    assert world.command("set-mode", mode="idle") == ("executed", "")


def test_fewer_readings_out_of_limits_than_the_table_says_change_nothing(tmp_path):
    world = World(tmp_path)
    for _ in range(5):
        world.board(0.05, times=2)
        world.board(0.9, times=1)
    assert world.flight.modes.mode == "train" and world.flight.power.limits.action == "none"


def test_a_pause_ends_by_itself_and_costs_no_bit_of_the_weights(tmp_path):
    expected = flown(tmp_path / "undisturbed", "downconv").weights()
    world = World(tmp_path / "hot", config("downconv"))
    world.board(temperature_degc=75.0)
    world.begin()
    world.run(100.0)
    assert world.flight.payload.progress.steps == 0 and world.flight.payload.progress.chips == 48
    world.board(temperature_degc=40.0)
    world.settle()
    assert world.weights() == expected


def test_a_board_that_falls_silent_is_noticed_and_one_that_never_spoke_is_not_missed(tmp_path):
    world = World(tmp_path)
    world.run(1000.0)
    assert world.flight.power.limits.action == "none"
    world.board()
    world.run(310.0)
    assert world.flight.power.limits.action == "pause"
    world.board(times=1)
    assert world.flight.power.limits.action == "none"


def test_limits_that_are_tripped_are_so_after_a_restart(tmp_path):
    world = World(tmp_path)
    world.board(0.35)
    world.restart()
    assert world.flight.power.limits.action == "throttle"


def test_the_board_is_told_what_power_is_drawn_for_whenever_that_changes(tmp_path):
    world = World(tmp_path, config("downconv"))
    world.board(times=1)
    world.begin()
    world.settle()
    told = world.draws
    assert told[0] == Draw("train", "idle", 1.0)
    assert {draw.activity for draw in told} == {"idle", "saving", "decoding", "ingesting", "training", "predicting"}
    assert all(a != b for a, b in itertools.pairwise(told))


@pytest.mark.parametrize("body", [b"", b"\x93", Draw("train", "idle", 1.0).pack(), b"x" * 200])
def test_a_malformed_message_from_the_board_is_counted_and_changes_nothing(body, tmp_path):
    world = World(tmp_path)
    world._step([Message(world.t, "board", 1, "board", body)])
    assert world.flight.power.malformed == 1 and world.flight.power.reading is None


def test_housekeeping_tells_mode_limits_and_what_the_board_says(idle):
    idle.board(0.36, 21.4, sunlit=False)
    idle.events.clear()
    idle.command("status")
    idle.until(lambda: idle.told("housekeeping"))
    told = idle.told("housekeeping")[-1]
    expected = {"mode": "train", "limit_action": "throttle", "sunlight": "eclipse"}
    assert {name: told[name] for name in expected} == expected
    assert (told["battery_percent"], told["temperature_degc"]) == (36, 21)


def test_a_parameter_table_replaces_the_limits(idle):
    table = b'[[limits]]\nname = "x"\nlow = 0.9\naction = "pause"\n'
    assert changed(idle.config, table).limits == (LimitConfig("x", low=0.9, action="pause"),)
    with pytest.raises(UpdateError, match=r"limits\[0\]\.action: 'explode' is unknown"):
        changed(idle.config, table.replace(b"pause", b"explode"))
    idle.flight.use(dataclasses.replace(idle.config, limits=changed(idle.config, table).limits))
    idle.board(0.8)
    assert idle.flight.power.limits.action == "pause"


def test_each_rate_group_reports_what_it_measured(idle):
    idle.command("list-rates")
    idle.until(lambda: len(idle.told("rate-group")) == 8)
    told = {values["group"]: values for values in idle.told("rate-group")}
    assert told["training"]["runs"] > 0 and 0 < told["training"]["mean_s"] <= told["training"]["max_s"]
    assert told["chips"]["budget_s"] == idle.config.rates.chips_s and told["chips"]["late"] == 0
