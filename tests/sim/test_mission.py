"""Whole missions over a small region, through real processes and in one; what an operator may rely on."""

import dataclasses
import json
import os
import signal

import pytest

from flight.config import LinkConfig
from flight.learn import LEARNERS
from flight.link import product
from flight.link.keys import KeyRing
from ground.archive import product_number
from ground.capture import Capture
from ground.capture_cli import Sums
from ground.describe import Describer
from ground.products import ProductArchive, read_telemetry
from sim.mission import Mission
from sim.outcome import conclude
from sim.plan import make_plan
from sim.processes import ProcessNode
from sim.radio import Outage, RadioConfig
from sim.report import write_report, write_summary
from sim.scenario import FaultOrder, LabelOrder, WorldSection, load_scenario
from tests.sim.clocked import plan_of_minutes

SMALL_BATCHES = {"downconv": {"bags_per_batch": 2, "chips_per_bag": 2, "cells_per_chip": 4, "n_hidden": 32}}
MEASURED = {"retask_cpu_s", "flight_peak_rss_bytes", "chips_per_s", "timings"}
REGION_AT_H, IMAGING_AT_H, RETASK_AT_H = 1.791, 6.8533, 8.2271  # first frames of the pass; camera; upload of task 2


def scenario(learner="moments", faults=(), **changes):
    """A third of a day over 12 x 12 chips: labels, imaging, and another task."""
    demo = load_scenario("demo")
    return dataclasses.replace(
        demo,
        duration_h=9.0,
        world=WorldSection(12, 12, 12),
        learner=dataclasses.replace(demo.learner, name=learner),
        labels=(LabelOrder(0.0, 1, 1), LabelOrder(8.0, 2, 1)),
        commands=(),
        camera=dataclasses.replace(demo.camera, revisit=False),
        faults=tuple(FaultOrder(at_h) for at_h in faults),
        **{"radio": dataclasses.replace(demo.radio, capture_mb=16.0), **changes},
    )


def fly(plan, directory, **options):
    mission = Mission(plan, directory, **options)
    mission.fly()
    return mission, conclude(mission)


def comparable(record):
    return {key: value for key, value in record.summary.items() if key not in MEASURED}


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    """The same mission, undisturbed, in one process."""
    return fly(make_plan(scenario()), tmp_path_factory.mktemp("undisturbed"), in_process=True)


@pytest.mark.parametrize("tcp", [False, True])
def test_real_processes_and_one_process_give_the_same_summary(undisturbed, tmp_path, tcp):
    _, record = fly(make_plan(scenario()), tmp_path, tcp=tcp)
    assert comparable(record) == comparable(undisturbed[1])
    assert record.summary["completed"]


def test_the_summary_says_what_computed(undisturbed):
    assert undisturbed[1].summary["kernels"] == "numpy"  # nothing else is there: no bundle was given


def test_the_mission_learns_both_tasks_from_chips_that_were_taken_in_once(undisturbed):
    summary = undisturbed[1].summary
    assert summary["n_chips"] == 144
    assert [task["task_id"] for task in summary["tasks"]] == [1, 2]
    for task in summary["tasks"]:
        assert task["mae_soft"] < task["baselines"]["training mean"]["mae_soft"]
    assert summary["retask_cpu_s"] < 1.0


def test_every_split_is_scored_by_the_same_model_and_no_test_row_was_sent(undisturbed):
    record = undisturbed[1]
    for task, result in zip(record.summary["tasks"], record.tasks, strict=True):
        by_split = task["by_split"]
        assert set(by_split) >= {"training", "test"}
        assert by_split["test"]["mae_soft"] == pytest.approx(task["mae_soft"], abs=1e-6)
        assert by_split["test"]["n_rows_sent"] == 0 < by_split["training"]["n_rows_sent"]
        assert result.test[tuple(by_split["test"]["worst_cell"])]
        assert not result.test[tuple(by_split["training"]["worst_cell"])]


def test_the_ground_has_every_prediction_and_the_telemetry_as_parquet(undisturbed):
    mission, record = undisturbed
    mission.export()
    archive = ProductArchive.read(mission.directory / "ground" / "products.parquet")
    assert archive.tasks == (1, 2)
    assert archive.classes(2) == record.tasks[1].class_names
    names = {name for _, _, name, _ in read_telemetry(mission.directory / "ground" / "telemetry.parquet")}
    assert {"housekeeping", "restarted", "labels-loaded", "model-ready"} <= names


def test_the_capture_holds_every_frame_and_every_byte_that_both_ends_have_counted(undisturbed):
    mission, record = undisturbed
    sums, describer = Sums(), Describer(KeyRing.load(mission.directory / "spec" / "keys.toml"))
    for captured in Capture(mission.directory / "radio.pcapng"):
        sums.add(captured, describer.describe(captured.data, captured.direction))
    facts = sums.report()
    assert facts["bytes"]["up"] == record.bytes_by_kind["uplink"]
    for way in ("up", "down"):
        counted = record.radio[way]
        assert facts["frames"][way]["in all"] == counted["offered"]["frames"] == facts["contents"][way]["tag good"]
        assert facts["frames"][way]["passed"] == counted["delivered"]["frames"]
        for cause, lost in counted["lost"].items():
            assert facts["frames"][way][f"lost {cause.replace('_', ' ')}"] == lost["frames"]
    assert record.summary["capture"]["file"] == "radio.pcapng" and not record.summary["capture"]["left_out"]


def test_a_radio_with_everything_wrong_delays_a_mission_and_no_more(undisturbed, tmp_path):
    bad = RadioConfig(
        loss="poor",
        half_duplex=True,
        bit_error_rate=2e-5,
        duplicate=0.1,
        reorder=0.1,
        elevation_loss=((10.0, 0.3), (25.0, 0.0)),
        lost_passes=(2,),
        outages=(Outage(1.80, 30.0),),
    )
    _, record = fly(make_plan(scenario(radio=bad)), tmp_path, in_process=True)
    assert record.summary["completed"], record.summary["shortfalls"]
    assert record.summary["weights_sha256"] == undisturbed[1].summary["weights_sha256"]
    assert record.summary["frames_damaged"] and record.summary["frames_duplicated"]
    assert [one.lost for one in record.passes][:3] == [False, True, False]
    causes = {cause for way in ("up", "down") for cause in record.radio[way]["lost"]}
    assert causes >= {"elevation", "outage", "pass_lost"}
    assert "at low elevation" in write_report(record, tmp_path).read_text(encoding="utf-8")


def test_report_and_summary_are_written(undisturbed, tmp_path):
    record = undisturbed[1]
    assert "synthetic" in write_report(record, tmp_path).read_text(encoding="utf-8")
    assert write_summary(record.summary, tmp_path).exists()


@pytest.mark.parametrize("learner", ["swath", "downconv"])
def test_kills_at_any_mission_time_cost_no_chip_no_label_and_no_bit_of_the_weights(learner, tmp_path, monkeypatch):
    for key, value in SMALL_BATCHES.get(learner, {}).items():  # as many steps, each of them quick
        monkeypatch.setitem(LEARNERS[learner].__init__.__kwdefaults__, key, value)
    kills = [REGION_AT_H, IMAGING_AT_H, IMAGING_AT_H + 0.007, IMAGING_AT_H + 0.014, RETASK_AT_H, RETASK_AT_H + 0.008]
    _, calm = fly(make_plan(scenario(learner)), tmp_path / "calm", in_process=True)
    _, record = fly(make_plan(scenario(learner, kills)), tmp_path / "stormy", in_process=True)
    assert record.summary["restarts"] == len(kills)
    assert record.summary["n_chips"] == calm.summary["n_chips"]
    assert record.summary["weights_sha256"] == calm.summary["weights_sha256"]


def test_kill_9_of_the_process_between_steps_costs_no_bit_of_the_weights(undisturbed, tmp_path):
    _, record = fly(make_plan(scenario(faults=[REGION_AT_H, IMAGING_AT_H, RETASK_AT_H])), tmp_path)
    assert record.summary["restarts"] == 3
    assert record.summary["completed"]
    assert record.summary["weights_sha256"] == undisturbed[1].summary["weights_sha256"]


def test_kill_9_in_the_middle_of_steps_costs_no_bit_of_the_weights(undisturbed, tmp_path, monkeypatch):
    begin, steps = ProcessNode.begin, []

    def begin_and_kill(node, t, inputs):
        begin(node, t, inputs)
        if node.name == "flight":
            steps.append(t)
            if len(steps) in (5, 40, 160, 170, 175, 250):
                os.kill(node.pid, signal.SIGKILL)

    monkeypatch.setattr(ProcessNode, "begin", begin_and_kill)
    _, record = fly(make_plan(scenario()), tmp_path)
    assert record.summary["restarts"] == 6
    assert record.summary["completed"]
    assert record.summary["weights_sha256"] == undisturbed[1].summary["weights_sha256"]


def test_the_same_faults_twice_give_the_same_summary(tmp_path):
    runs = [
        comparable(fly(make_plan(scenario(faults=[IMAGING_AT_H])), tmp_path / name, in_process=True)[1])
        for name in "ab"
    ]
    assert runs[0] == runs[1]


def test_a_mission_that_cannot_deliver_its_labels_says_what_is_missing(tmp_path):
    demo = scenario()
    silent = dataclasses.replace(demo, radio=dataclasses.replace(demo.radio, pass_loss=1.0))
    _, record = fly(make_plan(silent), tmp_path, in_process=True)
    assert not record.summary["completed"]
    assert "orders are left" in " ".join(record.summary["shortfalls"])
    assert "never had a model" in " ".join(record.summary["shortfalls"])


def log_of(directory, name):
    """Packets of that name as the ground has them: (mission time of arrival, values)."""
    lines = (directory / "ground" / "telemetry.jsonl").read_text(encoding="utf-8").splitlines()
    return [(t_s, values) for t_s, _, called, values in map(json.loads, lines) if called == name]


@pytest.fixture(scope="module")
def operations(tmp_path_factory):
    """The built-in scenario of operations: a drifting clock, a kill between upload and time tag, a sequence."""
    directory = tmp_path_factory.mktemp("operations")
    operations = load_scenario("operations")
    return directory, fly(make_plan(operations), directory, in_process=True)[1]


def test_telecommands_are_executed_at_their_time_out_of_view_and_after_a_kill(operations):
    directory, record = operations
    assert record.summary["restarts"] == 1
    ((_, entry), _), (_, pong) = log_of(directory, "schedule-entry")[:2], log_of(directory, "pong")[-1]
    assert pong["echo"] == 6 and pong["t_s"] == pytest.approx(entry["at_s"], abs=0.01)
    to_mission_time = 1750470442 - log_of(directory, "time-set")[0][0]  # on-board time was set near that
    assert pong["t_s"] - to_mission_time == pytest.approx(6.0 * 3600, abs=3.0)


def test_the_sequence_of_the_scenario_runs_to_its_end(operations):
    directory, record = operations
    assert record.summary["completed"], record.summary["shortfalls"]
    assert [values["step"] for _, values in log_of(directory, "sequence-step")] == [1, 2, 3, 4]
    assert log_of(directory, "sequence-completed") and not log_of(directory, "sequence-aborted")


def test_the_update_of_the_scenario_comes_into_use_and_the_report_has_it(operations):
    directory, record = operations
    ((_, values),) = log_of(directory, "update-activated")[:1]
    assert (values["slot"], values["version"]) == ("parameters", 1)
    assert [mark.text for mark in record.marks if mark.kind == "update"] == ["update-parameters-1 delivered"]
    later = max((directory / "ground" / "received").glob("product-*"), key=lambda path: product_number(path.name))
    assert product.unpack(later.read_bytes(), LinkConfig()).levels == 128


def test_the_summary_tells_the_drift_of_the_clock(operations):
    assert operations[1].summary["clock"]["drift_ppm"] == pytest.approx(20.0, abs=0.1)
    assert operations[1].summary["clock"]["residual_s"] < 0.001


def test_a_mission_runs_by_the_clock_too(tmp_path):
    _, record = fly(plan_of_minutes(), tmp_path, rate=20.0)
    assert record.summary["n_chips"] == 144
    assert record.summary["completed"], record.summary["shortfalls"]
