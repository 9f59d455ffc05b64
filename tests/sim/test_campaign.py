"""A small part of the fault campaign, and whether it would see what it looks for."""

import dataclasses
import json
from collections import Counter

import numpy as np
import pytest
from typer.testing import CliRunner

from sim.campaign import encoder, invariants, outcome, short
from sim.campaign.faults import FAULTS_UNTIL_S, KINDS, MAX_FAULTS, Fault, draw, is_real
from sim.campaign.outcome import Outcome, fly
from sim.campaign.real import RealMission
from sim.campaign.run import Results, run, seeds
from sim.campaign.simulated import SimulatedMission
from sim.campaign.summary import summary
from sim.cli import app

UNDISTURBED = 4


def flown(seed=UNDISTURBED, *faults):
    mission = SimulatedMission(short.recipe(seed), faults)
    mission.fly()
    return mission


@pytest.fixture(scope="module")
def undisturbed():
    return flown()


def without_wall_time(each):
    return dataclasses.replace(each, took_s=0.0)


# Draws


def test_every_kind_of_fault_is_drawn_and_a_tenth_of_the_missions_is_real():
    drawn = Counter(fault.kind for seed in range(1000) for fault in draw(seed))
    assert set(drawn) == set(KINDS)
    assert sum(is_real(seed) for seed in range(1000)) == 100


def test_faults_are_a_function_of_the_seed_and_end_in_time():
    for seed in range(300):
        faults = draw(seed)
        assert faults == draw(seed) and 1 <= len(faults) <= MAX_FAULTS
        assert all(fault.at_s >= 0 and fault.at_s + fault.length_s <= FAULTS_UNTIL_S for fault in faults)
        assert all(KINDS[fault.kind].real if is_real(seed) else KINDS[fault.kind].in_process for fault in faults)


def test_a_fault_prints_when_what_and_how_much():
    assert str(Fault(12.5, "disk-slow", 20.0, 0.25)) == "T+12.5 s disk-slow for 20 s, seconds a step 0.25"
    assert str(Fault(3.0, "power-cut")) == "T+3.0 s power-cut"


# Missions


@pytest.mark.parametrize("seed", [seed for seed in range(10) if not is_real(seed)])
def test_a_mission_with_faults_keeps_every_invariant(seed):
    assert fly(seed).broken == []


def test_a_mission_of_real_processes_keeps_every_invariant():
    found = fly(9)  # the flight process is killed by SIGKILL in a pass
    assert (found.real, found.broken, found.deaths) == (True, [], {"flight": 1})
    assert 0 < found.peak_rss_bytes < short.scenario(short.recipe(9)).caps.memory_bytes


def test_the_same_seed_gives_the_same_mission():
    assert without_wall_time(fly(2)) == without_wall_time(fly(2))


@pytest.mark.parametrize("kind", ["kill-flight-at-write", "power-cut-at-write"])
def test_a_death_at_a_write_breaks_nothing(kind):
    for write in (1, 4, 9):
        mission = flown(UNDISTURBED, Fault(60.0, kind, 0.0, float(write)))
        assert invariants.broken(mission) == [] and mission.deaths == {"flight": 1}


def test_an_undisturbed_mission_ends_with_what_the_learner_alone_gives(undisturbed):
    assert invariants.broken(undisturbed) == [] and undisturbed.deaths == {}
    assert short.adjustments(undisturbed.flight.time.offset_s) == [1] * 7 + [0, 0]


# What the invariants see


def test_a_command_that_was_run_twice_is_seen():
    mission = flown()
    mission.flight.time.offset_s += short.ADJUST_BASE_S * short.ADJUST_RADIX ** short.DIRECT[1]
    assert invariants.commands_once(mission) == ["adjust-time 1 was executed 2 times"]


def test_a_command_with_foreign_keys_that_was_executed_is_seen():
    mission = flown()
    mission.flight.time.offset_s += short.adjust(short.FORBIDDEN).args["delta_s"]
    assert invariants.authentic(mission) == ["a telecommand with foreign keys was executed"]


def test_lost_labels_are_seen():
    mission = flown()
    for name in mission.disk.names():
        if name.startswith("labels-"):
            mission.disk.lose(name)
    assert any("no label set of task" in text for text in invariants.labels_kept(mission))


def test_lost_chips_other_weights_and_missing_predictions_are_seen():
    mission = flown()
    mission.flight.payload.progress.chips -= 1
    assert "47 chips" in invariants.chips_kept(mission)[0]
    mission.flight.payload.progress.model_digest = bytes(32)
    assert invariants.same_weights(mission)[0].startswith("weights 000000000000")
    assert "47 chips have not come down" in invariants.predictions_down(mission)[0]


def test_a_mission_that_never_ends_is_seen(undisturbed):
    mission = SimulatedMission(short.recipe(UNDISTURBED), ())
    mission.lockstep.t = 0.0
    assert invariants.broken(mission) == ["commandable: flight or station is down at the end"]


def test_a_core_that_raises_fails_its_mission_and_not_the_campaign(monkeypatch):
    def fail(mission):
        raise ZeroDivisionError("boom")

    monkeypatch.setattr(SimulatedMission, "fly", fail)
    assert fly(0).broken[0].startswith("no-crash: ZeroDivisionError: boom (")


def test_flipped_bits_in_memory_are_repaired_within_the_mission():
    faults = [Fault(310.0 + 40 * i, "flip-memory", 0.0, 1.0, i) for i in range(6)]
    mission = flown(UNDISTURBED, *faults)
    assert sum("is flipped" in line for line in mission.trace) == 6
    assert mission.flight.log.counts["memory-repaired"] >= 1
    assert invariants.broken(mission) == []


# Campaigns


def results(path, resume=False):
    return Results(path / "outcomes.jsonl", resume)


def fake(seed):
    broken = ["chips_kept: one is gone"] if seed % 5 == 3 else []
    return Outcome(seed, False, "recipe", list(draw(seed)), broken, [("kill-flight", 1.0 + seed % 7)])


def test_a_campaign_that_was_stopped_flies_only_what_is_left(tmp_path, monkeypatch):
    flights = []
    monkeypatch.setattr("sim.campaign.run.fly", lambda seed: flights.append(seed) or fake(seed))
    first = run(range(4), results(tmp_path))
    path = tmp_path / "outcomes.jsonl"
    path.write_bytes(path.read_bytes()[:-20])  # the last line was cut short
    again = run(range(6), results(tmp_path, resume=True))
    assert flights == [0, 1, 2, 3, 3, 4, 5]
    assert again[:4] == first and [each.seed for each in again] == list(range(6))
    assert [Outcome.load(line) for line in path.read_text().splitlines()] == again


def test_a_file_that_holds_no_outcomes_is_refused_with_its_line(tmp_path):
    (tmp_path / "outcomes.jsonl").write_text('{"seed": 1}\n')
    with pytest.raises(ValueError, match=r"outcomes\.jsonl, line 1"):
        results(tmp_path, resume=True)


def test_campaigns_share_no_mission():
    assert not set(seeds(1, 1000)) & set(seeds(2, 1000))
    with pytest.raises(ValueError, match="a campaign has 1 to"):
        seeds(0, 0)


def test_the_summary_counts_by_kind_and_names_what_replays_a_failure():
    found = summary([fake(seed) for seed in range(20)], 0)
    assert (found["missions"], found["failed"]) == (20, 4)
    assert found["invariants_broken"] == {"chips_kept": 4}
    assert found["failures"][0]["replay"] == "swath-sim campaign --replay 3"
    assert sum(row["faults"] for row in found["kinds"]) == found["faults"]
    kill = next(row for row in found["kinds"] if row["kind"] == "kill-flight")
    assert kill["recovery_median_s"] == np.median([1.0 + seed % 7 for seed in range(20)])


def test_a_failed_campaign_exits_with_1_and_its_report_says_how_to_replay(tmp_path, monkeypatch):
    monkeypatch.setattr("sim.campaign.run.fly", fake)
    result = CliRunner().invoke(app, ["campaign", "--missions", "5", "--out", str(tmp_path), "--json"])
    assert result.exit_code == 1
    assert json.loads(result.stdout)["failed"] == 1
    assert "swath-sim campaign --replay 3: chips_kept: one is gone" in result.stderr
    page = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert "swath-sim campaign --replay 3" in page and "<script" not in page
    assert (tmp_path / "recovery.png").stat().st_size > 1000


def test_a_replay_tells_faults_and_verdict(monkeypatch):
    result = CliRunner().invoke(app, ["campaign", "--replay", "2"])
    assert result.exit_code == 0
    assert all(str(fault) in result.output for fault in draw(2)) and "every invariant held" in result.output
    monkeypatch.setattr(outcome.invariants, "broken", lambda mission: ["x: y"])
    assert CliRunner().invoke(app, ["campaign", "--replay", "2"]).exit_code == 1


def test_missions_fly_on_whatever_is_behind_a_scheduler(tmp_path):
    distributed = pytest.importorskip("distributed")
    with distributed.LocalCluster(
        n_workers=1, threads_per_worker=1, processes=False, dashboard_address=":0"
    ) as cluster:
        found = run([0, 1], results(tmp_path), scheduler=cluster.scheduler_address)
    assert [without_wall_time(each) for each in found] == [without_wall_time(fly(seed)) for seed in (0, 1)]


def test_labels_that_come_late_and_files_that_are_none_are_told_apart_from_what_was_lost():
    late, bad = (Fault(330.0, kind, 0.0, amount, 733) for kind, amount in (("late-file", 0.0), ("bad-file", 3.0)))
    mission = SimulatedMission(
        dataclasses.replace(short.recipe(UNDISTURBED), tasks=((1, 1), (1, 2)), set_task=0), (late, bad)
    )
    mission.fly()
    assert invariants.broken(mission) == []
    failed = {name: reason for name, _, reason in mission.station.failed}
    assert len(failed) == 4 and "2 is on board" in failed["late-file-733"]


def test_a_flight_process_whose_configuration_is_damaged_goes_on_with_that_of_its_last_start():
    mission = RealMission(short.recipe(9), (Fault(310.0, "corrupt-config"),))
    mission.fly()
    assert mission.judge() == []
    assert any("the configuration is corrupt" in line for line in mission.trace)
    assert "start-fallback" in mission.told()


@pytest.mark.skipif(not encoder.can_fly(), reason="no runtime for encoders is installed")
@pytest.mark.parametrize(("at_s", "lost"), [(5.0, 0), (330.0, 24), (635.0, 48)])
def test_without_its_encoder_flight_says_so_and_learns_on_by_the_statistics_of_cells(at_s, lost):
    made = dataclasses.replace(short.recipe(UNDISTURBED), encoder=True)
    mission = SimulatedMission(made, (Fault(at_s, "corrupt-encoder"),))
    mission.fly()
    assert invariants.broken(mission) == [] and mission.first == lost
    assert len(mission.desk.of("encoder-missing")) == 1
    assert mission.flight.payload.progress.chips == short.N_CHIPS - lost


@pytest.mark.skipif(not encoder.can_fly(), reason="no runtime for encoders is installed")
def test_an_encoder_that_flight_does_without_in_silence_is_seen():
    mission = SimulatedMission(dataclasses.replace(short.recipe(UNDISTURBED), encoder=True), ())
    mission.fly()
    assert invariants.broken(mission) == []
    mission.encoders = (b"",)
    assert len(invariants.encoder_told(mission)) == 2


@pytest.mark.skipif(not encoder.can_fly(), reason="no runtime for encoders is installed")
def test_a_flight_process_whose_encoder_is_gone_flies_without():
    mission = RealMission(
        dataclasses.replace(short.recipe(9), encoder=True), (Fault(330.0, "corrupt-encoder", seed=1),)
    )
    mission.fly()
    assert mission.judge() == [] and mission.first == 24


def test_an_encoder_that_was_spoilt_to_nothing_can_be_spoilt_again():
    for seed in range(20):
        for content in (b"", b"\0"):
            assert encoder.spoilt(content, np.random.default_rng(seed)) == b""
