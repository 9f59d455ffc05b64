"""What an operator may expect of time tags, sequences, critical telecommands and the on-board clock."""

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from flight.config import FlightConfig
from flight.downlink import Downlink
from flight.executive import Executive
from flight.link.cuc import TICKS
from flight.link.dictionary import Telecommand, embed, extract
from flight.link.packet import FileKind
from flight.link.sequence import Sequence, SequenceStep, pack_sequence
from flight.link.transfer import File
from flight.onboard_time import OnBoardTime
from flight.schedule import Entry, Schedule, ScheduleError
from flight.sequences import SequenceRunner
from flight.step import NEVER
from tests.flight.flight_world import PowerCut, World, config


def ping(echo):
    return Telecommand("ping", {"echo": echo})


def sequence_file(*steps, sequence_id=7):
    """A file whose steps are (delay, telecommand)."""
    sequence = Sequence(sequence_id, tuple(SequenceStep(*step) for step in steps))
    return File("sequence", FileKind.SEQUENCE, pack_sequence(sequence))


def tagged(world, at_s, command, if_late="skip"):
    return world.command("schedule", at_s=at_s, if_late=if_late, command=embed(command))


def pongs(world):
    return [told["echo"] for told in world.told("pong")]


@pytest.fixture
def up(tmp_path):
    """Flight in a pass, with nothing to do."""
    world = World(tmp_path)
    world.contact()
    world.run(20.0)
    return world


def on_board(world):
    return world.flight.time.read(world.t)


# Time


def test_the_clock_drifts_and_is_set_and_what_was_set_survives_a_restart(tmp_path):
    settings_ = config()
    drifting = FlightConfig(**{**vars(settings_), "clock": type(settings_.clock)(drift_ppm=50.0)})
    world = World(tmp_path, drifting)
    world.contact()
    world.run(1000.0)
    assert on_board(world) - world.t == pytest.approx(0.05, abs=0.001)
    assert world.command("arm", command="set-time") == ("executed", "")
    assert world.command("set-time", unix_s=1.75e9) == ("executed", "")
    world.run(1.0)
    (told,) = world.told("time-set")
    assert told["delta_s"] == pytest.approx(1.75e9 - world.t, abs=3.0)
    world.restart()
    assert on_board(world) == pytest.approx(1.75e9, abs=5.0)
    before = on_board(world) - world.t
    world.run(1000.0)
    assert on_board(world) - world.t - before == pytest.approx(0.05, abs=0.001)


def test_an_adjustment_that_would_leave_the_time_code_is_refused(up):
    assert up.command("adjust-time", delta_s=-600.0) == ("rejected", "on-board time would be -580 s")
    assert on_board(up) == pytest.approx(up.t)


def test_a_time_report_says_when_the_frame_that_it_names_began_to_leave(up):
    sent = {}
    transmit = up.flight.endpoint.poll

    def poll(t, **keywords):
        frame = transmit(t, **keywords)
        if frame is not None:
            sent[up.flight.endpoint.frame_sent] = t
        return frame

    up.flight.endpoint.poll = poll
    up.run(200.0)
    reports = up.told("time-report")[1:]
    assert len(reports) >= 3
    assert all(report["frame_s"] == pytest.approx(sent[report["frame"]], abs=1 / TICKS) for report in reports)


@pytest.mark.parametrize("drift_ppm", [-1000.0, 0.0, 20.0])
def test_the_mission_time_of_an_on_board_time_is_that_at_which_the_clock_shows_it(drift_ppm):
    clock = OnBoardTime(drift_ppm)
    clock.set(1000.0, 1.75e9)
    assert clock.read(clock.when(1.75e9 + 5000)) == pytest.approx(1.75e9 + 5000, abs=1e-6)


# Critical telecommands


def test_a_critical_telecommand_needs_arming_and_arming_counts_once_and_not_for_long(up):
    refused = ("rejected", "set-time is not armed")
    assert up.command("set-time", unix_s=1e9) == refused
    up.command("arm", command="set-time")
    up.run(130.0)
    assert up.command("set-time", unix_s=1e9) == refused
    up.command("arm", command="set-time")
    assert up.command("set-time", unix_s=1e9)[0] == "executed"
    assert up.command("set-time", unix_s=1e9) == refused


def test_only_what_is_critical_can_be_armed(up):
    assert up.command("arm", command="ping") == ("rejected", "ping needs no arming")
    assert up.command("arm", command="pong")[0] == "rejected"


# Schedule


def test_a_tagged_telecommand_is_executed_at_its_on_board_time_once(up):
    assert tagged(up, on_board(up) + 100.0, ping(5)) == ("executed", "")
    up.run(95.0)
    assert pongs(up) == []
    up.run(300.0)
    assert pongs(up) == [5]
    (told,) = up.told("tag-executed")
    assert told["command_id"] == 1


def test_a_tag_in_the_past_is_refused_or_executed_at_once_as_it_says(up):
    outcome, reason = tagged(up, on_board(up) - 15.0, ping(1))
    assert outcome == "rejected" and reason.startswith("time tag is 1") and reason.endswith("s in the past")
    assert tagged(up, on_board(up) - 15.0, ping(2), "run") == ("executed", "")
    up.run(5.0)
    assert pongs(up) == [2]


def test_the_schedule_is_listed_thinned_out_and_cleared(up):
    at_s = on_board(up) + 500.0
    for echo in (1, 2, 3):
        tagged(up, at_s - echo, ping(echo))
    up.command("list-schedule")
    up.run(2.0)
    entries = up.told("schedule-entry")
    assert [extract(entry["command"]).args["echo"] for entry in entries] == [3, 2, 1]
    assert up.command("unschedule", number=entries[0]["number"]) == ("executed", "")
    assert up.command("unschedule", number=entries[0]["number"])[0] == "rejected"
    assert up.command("clear-schedule") == ("executed", "")
    up.run(600.0)
    assert pongs(up) == []


def test_the_schedule_has_room_for_its_limit_and_not_for_itself(up):
    limit = up.config.executive.schedule_entries
    for i in range(limit):
        assert tagged(up, on_board(up) + 1000.0, ping(i))[0] == "executed"
    assert tagged(up, on_board(up) + 1000.0, ping(0)) == ("rejected", f"{limit} telecommands wait already")
    up.command("clear-schedule")
    within = Telecommand("schedule", {"at_s": 1.0, "if_late": "run", "command": embed(ping(1))})
    assert tagged(up, on_board(up) + 10.0, within) == ("rejected", "schedule may not be in the schedule")
    assert up.command("schedule", at_s=1e6, if_late="skip", command=b"\xff")[0] == "rejected"


def test_what_became_late_while_the_process_was_down_is_skipped_or_run_as_it_says_and_reported(up):
    at_s = on_board(up) + 30.0
    tagged(up, at_s, ping(1), "skip")
    tagged(up, at_s, ping(2), "run")
    tagged(up, at_s + 100.0, ping(3), "skip")
    up.kill()
    up.run(60.0)
    up.start()
    up.run(15.0)
    assert pongs(up) == [2]
    (missed,) = up.told("tag-missed")
    assert 25 < missed["late_s"] < 45
    up.run(100.0)
    assert pongs(up) == [2, 3]


def test_a_telecommand_refused_at_its_time_is_reported_with_the_reason(up):
    tagged(up, on_board(up) + 5.0, Telecommand("predict", {"task_id": 9}))
    up.run(10.0)
    (told,) = up.told("tag-failed")
    assert told["reason"] == "task 9 is not active" and told["command_id"] == 5


def test_nothing_is_executed_at_its_time_while_the_disk_is_full_and_nothing_is_lost(up, monkeypatch):
    tagged(up, on_board(up) + 5.0, ping(4), "run")
    with monkeypatch.context() as patch:
        patch.setattr(Executive, "save", lambda executive: False)
        for step in range(10):
            up.flight.write_s = up.t + 1.0 + step
            up.run(1.0)
    assert pongs(up) == []
    up.run(20.0)
    assert pongs(up) == [4]


# Sequences


def test_a_sequence_runs_step_by_step_with_its_delays(up):
    up.upload(sequence_file((1.0, ping(1)), (50.0, ping(2)), (0.0, ping(3))))
    up.command("start-sequence", sequence_id=7)
    up.run(20.0)
    assert pongs(up) == [1]
    assert (up.told("sequence-started")[0]["steps"], up.flight.commanding.runner.step) == (3, 1)
    up.run(40.0)
    assert pongs(up) == [1, 2, 3]
    assert [told["step"] for told in up.told("sequence-step")] == [1, 2, 3]
    assert up.told("sequence-completed")


def test_a_sequence_ends_at_its_first_failure_and_says_at_which_step(up):
    up.upload(sequence_file((0.0, ping(1)), (0.0, Telecommand("predict", {"task_id": 9})), (0.0, ping(2))))
    up.command("start-sequence", sequence_id=7)
    up.run(10.0)
    assert pongs(up) == [1]
    (told,) = up.told("sequence-aborted")
    assert (told["sequence_id"], told["step"], told["reason"]) == (7, 2, "task 9 is not active")


def test_a_file_that_is_wrong_anywhere_is_refused_whole(up):
    data = bytearray(sequence_file((0.0, ping(1)), (0.0, Telecommand("set-task", {"task_id": 1}))).data)
    data[-3] = 99
    transfer = up.ground.submit(File("bad", FileKind.SEQUENCE, bytes(data)))
    up.until(lambda: up.outcome(transfer) is not None)
    assert up.outcome(transfer) == "sequence: step 2: telecommand id 99 is unkno"[:48] or "step 2" in up.outcome(
        transfer
    )
    assert up.command("start-sequence", sequence_id=7) == ("rejected", "sequence 7 is not on board")


def test_a_sequence_starts_at_a_time_tag_and_is_stopped_by_a_telecommand(up):
    up.upload(sequence_file((0.0, ping(1)), (100.0, ping(2))))
    tagged(up, on_board(up) + 20.0, Telecommand("start-sequence", {"sequence_id": 7}))
    up.run(30.0)
    assert pongs(up) == [1]
    assert up.command("start-sequence", sequence_id=7) == ("rejected", "sequence 7 is running")
    assert up.command("delete-sequence", sequence_id=7) == ("rejected", "sequence 7 is running")
    assert up.command("stop-sequence") == ("executed", "")
    up.run(120.0)
    assert pongs(up) == [1]
    assert up.told("sequence-aborted")[0]["reason"] == "stopped by a telecommand"
    assert up.command("stop-sequence") == ("rejected", "no sequence is running")
    assert up.command("delete-sequence", sequence_id=7) == ("executed", "")
    assert up.command("start-sequence", sequence_id=7)[0] == "rejected"


def test_a_running_sequence_is_not_replaced_and_there_is_room_for_so_many(up):
    up.upload(sequence_file((500.0, ping(1))))
    up.command("start-sequence", sequence_id=7)
    transfer = up.ground.submit(sequence_file((0.0, ping(2))))
    up.until(lambda: up.outcome(transfer) is not None)
    assert up.outcome(transfer) == "sequence 7 is running"
    for number in range(20, 20 + up.config.executive.sequences - 1):
        up.upload(sequence_file((0.0, ping(2)), sequence_id=number))
    transfer = up.ground.submit(sequence_file((0.0, ping(2)), sequence_id=99))
    up.until(lambda: up.outcome(transfer) is not None)
    assert up.outcome(transfer) == "8 sequences are on board already"


def test_a_sequence_goes_on_after_a_restart_where_it_was(up):
    up.upload(sequence_file((0.0, ping(1)), (30.0, ping(2)), (30.0, ping(3))))
    up.command("start-sequence", sequence_id=7)
    up.run(10.0)
    up.kill()
    up.run(40.0)
    up.start()
    up.run(15.0)
    assert up.flight.commanding.runner.step == 2
    up.run(40.0)
    # Telemetry of the time around a kill may come twice; each step was executed once.
    assert [told["step"] for told in up.told("sequence-step")][-2:] == [2, 3]
    assert up.flight.log.counts["sequence-step"] == 2 and set(pongs(up)) == {1, 2, 3}


def test_a_restart_within_a_step_aborts_the_sequence_and_never_repeats_the_step(up, monkeypatch):
    up.upload(sequence_file((0.0, ping(1)), (5.0, Telecommand("status", {})), (5.0, ping(3))))
    up.command("start-sequence", sequence_id=7)
    up.run(2.0)

    def die(downlink, t):
        raise PowerCut

    with monkeypatch.context() as patch, pytest.raises(PowerCut):
        patch.setattr(Downlink, "report_by", die)
        up.run(20.0)
    up.restart()
    up.run(60.0)
    (told,) = up.told("sequence-aborted")
    assert told["step"] == 2 and told["reason"].startswith("cut short by a restart")
    assert pongs(up) == [1]


def test_a_restart_within_a_tagged_telecommand_reports_it_and_never_repeats_it(up, monkeypatch):
    tagged(up, on_board(up) + 5.0, Telecommand("status", {}), "run")

    def die(downlink, t):
        raise PowerCut

    with monkeypatch.context() as patch, pytest.raises(PowerCut):
        patch.setattr(Downlink, "report_by", die)
        up.run(20.0)
    up.restart()
    up.run(60.0)
    (told,) = up.told("tag-failed")
    assert told["command_id"] == 2 and told["reason"].startswith("cut short by a restart")
    assert not up.told("tag-executed")


def test_a_sequence_whose_record_is_lost_is_aborted_at_the_restart(up):
    up.upload(sequence_file((0.0, ping(1)), (30.0, ping(2))))
    up.command("start-sequence", sequence_id=7)
    up.run(5.0)
    up.kill()
    for path in up.where.glob("sequence-7.*"):
        path.write_bytes(b"gone")
    up.start()
    up.run(60.0)
    assert 2 not in pongs(up)
    assert up.told("sequence-aborted")[0]["reason"] == "sequence 7 is not on board"


# State machines

LATE_S, LIMIT = 5.0, 4


class ScheduleMachine(RuleBasedStateMachine):
    """The schedule against a plain list: nothing twice, nothing early, nothing forgotten, across restarts."""

    def __init__(self):
        super().__init__()
        self.schedule, self.now_s, self.number = Schedule(LIMIT, LATE_S), 1.75e9, 0
        self.waiting = {}

    @rule(delay_s=st.floats(-20, 100), if_late=st.sampled_from(["skip", "run"]))
    def add(self, delay_s, if_late):
        self.number += 1
        entry = Entry(self.number, self.now_s + delay_s, if_late, b"\x02")
        refused = len(self.waiting) >= LIMIT or (if_late == "skip" and self.now_s - entry.at_s > LATE_S)
        try:
            self.schedule.add(entry, self.now_s)
        except ScheduleError:
            assert refused
        else:
            assert not refused
            self.waiting[self.number] = entry

    @rule(seconds=st.floats(0, 60))
    def wait(self, seconds):
        self.now_s += seconds

    @rule()
    def take(self):
        entry = self.schedule.take(self.now_s)
        if entry is None:
            assert all(each.at_s > self.now_s for each in self.waiting.values())
            return
        assert entry.at_s <= self.now_s + 2 / TICKS
        assert entry == min(self.waiting.values(), key=lambda each: (each.at_s, each.number))
        del self.waiting[entry.number]

    @rule(number=st.integers(1, 20))
    def delete(self, number):
        try:
            self.schedule.delete(number)
        except ScheduleError:
            assert number not in self.waiting
        else:
            del self.waiting[number]

    @rule()
    def clear(self):
        self.schedule.clear()
        self.waiting.clear()

    @rule()
    def restart(self):
        saved = self.schedule.save()
        self.schedule = Schedule(LIMIT, LATE_S)
        self.schedule.restore(saved)

    @invariant()
    def agrees(self):
        assert {entry.number: entry for entry in self.schedule.entries} == self.waiting
        assert self.schedule.due_s() == min((each.at_s for each in self.waiting.values()), default=NEVER)


class SequenceMachine(RuleBasedStateMachine):
    """A sequence with power cuts anywhere: no step is executed twice, none is left out before the end."""

    def __init__(self):
        super().__init__()
        self.runner, self.t, self.done, self.sequence = SequenceRunner(), 0.0, [], None
        self.disk = self.runner.save()

    @rule(delays=st.lists(st.floats(0, 50), min_size=1, max_size=5))
    def start(self, delays):
        if self.runner.sequence is None:
            self.sequence = Sequence(3, tuple(SequenceStep(delay, ping(i)) for i, delay in enumerate(delays)))
            self.runner.start(self.sequence, self.t)
            self.done = []
            self.disk = self.runner.save()

    @rule(seconds=st.floats(0, 60))
    def wait(self, seconds):
        self.t += seconds

    @precondition(lambda self: self.runner.due_s() <= self.t)
    @rule(dies=st.sampled_from(["before", "within", "after", "no", "no", "no"]))
    def step(self, dies):
        step = self.runner.begin()
        if dies == "before":
            return self.restart()
        self.disk = self.runner.save()
        self.done.append(step.command.args["echo"])
        if dies != "within":
            last = self.runner.end(self.t)
            assert last is (len(self.done) == len(self.sequence.steps))
            if dies == "after":
                return self.restart()
            self.disk = self.runner.save()
            return None
        return self.restart()

    @rule()
    def restart(self):
        self.runner = SequenceRunner()
        self.runner.restore(self.disk, self.sequence if self.disk["sequence_id"] else None)
        if self.runner.interrupted:
            self.runner.stop()
            self.disk = self.runner.save()

    @invariant()
    def every_step_once_and_in_order(self):
        assert self.done == list(range(len(self.done)))
        if self.runner.sequence is not None:
            assert self.runner.step == len(self.done)


TestSchedule = ScheduleMachine.TestCase
TestSequences = SequenceMachine.TestCase
for _machine in (TestSchedule, TestSequences):
    _machine.settings = settings(max_examples=60, deadline=None, stateful_step_count=30)
