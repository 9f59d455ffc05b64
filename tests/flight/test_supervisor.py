"""The supervisor over real child processes."""

import json
import os
import select
import signal
import socket
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path

import pytest

from flight import last_words, status
from flight.child import Child
from flight.clock import wall_s
from flight.config import WatchdogConfig
from flight.crashes import EXIT_CONFIG, EXIT_CRASH, EXIT_MEMORY, EXIT_UNREACHABLE, CrashLog, cause
from flight.orders import Orders
from flight.watch import Watchdogs


@pytest.mark.parametrize(
    ("code", "text"),
    [
        (0, "ended normally"),
        (1, "exit code 1"),
        (-9, "killed by SIGKILL"),
        (-11, "killed by SIGSEGV"),
        (-40, "killed by signal 40"),
        (EXIT_MEMORY, "memory cap reached"),
        (EXIT_CRASH, "unexpected exception"),
        (EXIT_UNREACHABLE, "radio, camera or board unreachable"),
        (EXIT_CONFIG, "unusable configuration or state"),
    ],
)
def test_the_cause_of_a_death_in_words(code, text):
    assert cause(code) == text


# A child that notes the orders of each start in a file, and ends as it is told for that start.
CHILD = """
import json, os, signal, sys, time
from pathlib import Path
from flight import last_words
from flight.blackbox import BlackBox
from flight.caps import die_with_parent
from flight.orders import Orders
orders = Orders.received(Path(sys.argv[3]))
with open(sys.argv[1], "a") as log:
    print(json.dumps([orders.cause, orders.fallback]), file=log)
with open(sys.argv[1]) as log:
    start = len(log.readlines())
how = sys.argv[2].split(",")[min(start, len(sys.argv[2].split(","))) - 1]
box = BlackBox.inherited(watched=True)
box.note("train", "training", start, 12.0)
box.event(11.0, "model-ready")
if how != "hang":  # else once it is ready to leave its stack
    box.begin("training")
if how in ("wait", "hang"):
    die_with_parent()
    print(os.getpid(), flush=True)
    while how == "wait":
        box.ping()
        time.sleep(0.05)
    with last_words.stack_file(Path(sys.argv[3])):
        box.begin("training")
        signal.pause()
if how.startswith("-"):
    os.kill(os.getpid(), -int(how))
sys.exit(int(how))
"""
SUPERVISE = """
import json, sys
from pathlib import Path
import flight.crashes as c, flight.supervisor as s
from flight.config import WatchdogConfig
c.BACK_OFF_S = (float(sys.argv[1]),)
state = Path(sys.argv[5])
config = WatchdogConfig(**json.loads(sys.argv[6]))
raise SystemExit(s.Supervisor(["-c", *sys.argv[2:5], str(state / "supervisor")], state, config).run())
"""


@contextmanager
def supervised(state, how, back_off_s=0.0, environment=(), **config):
    started = subprocess.Popen(
        [sys.executable, "-c", SUPERVISE, str(back_off_s), CHILD, str(state / "log"), how, state, json.dumps(config)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={key: value for key, value in os.environ.items() if key != "SWATH_PARENT_PID"} | dict(environment),
    )
    try:
        yield started
    finally:
        started.kill()
        started.communicate()


def until(found):
    """What `found` gives as soon as that is anything; TimeoutError after 20 s."""
    deadline_s = wall_s() + 20
    while wall_s() < deadline_s:
        if value := found():
            return value
    raise TimeoutError(f"nothing came of {found}")


def orders(state):
    """Cause and fallback that each child was told."""
    return [tuple(json.loads(line)) for line in (state / "log").read_text().splitlines()]


def finished(state, how, **config):
    """Exit code of the supervisor, and the orders that its children were given."""
    with supervised(state, how, **config) as started:
        code = started.wait(60)
    return code, orders(state)


def ended(pid):
    """Wait for a process that is not our child to end."""
    try:
        descriptor = os.pidfd_open(pid)
    except ProcessLookupError:
        return True
    try:
        return bool(select.select([descriptor], [], [], 10.0)[0])
    finally:
        os.close(descriptor)


def test_a_child_that_ends_normally_is_not_started_again(tmp_path):
    assert finished(tmp_path, "0") == (0, [("", "")])


def test_a_child_that_dies_is_started_again_and_told_why(tmp_path):
    code, told = finished(tmp_path, f"-9,3,{EXIT_MEMORY},0")
    assert code == 0
    assert [cause for cause, _ in told] == ["", "killed by SIGKILL", "exit code 3", "memory cap reached"]


def test_a_configuration_that_cannot_be_used_is_final(tmp_path):
    assert finished(tmp_path, f"{EXIT_CONFIG},0") == (EXIT_CONFIG, [("", "")])


def test_crashes_bring_the_last_good_model_then_the_factory_model_and_then_the_end(tmp_path):
    code, told = finished(tmp_path, "1", crashes=2)
    assert code == 1
    assert [fallback for _, fallback in told] == ["", "", "last good model", "", "factory model", "", "", ""]


@pytest.mark.parametrize("how", ["-9", "-15", str(EXIT_UNREACHABLE)])
def test_deaths_from_outside_cost_no_checkpoint_and_are_never_given_up(how, tmp_path):
    code, told = finished(tmp_path, ",".join([how] * 12 + ["0"]), crashes=1)
    assert code == 0 and len(told) == 13
    assert {fallback for _, fallback in told} == {""}


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_to_stop_ends_both(number, tmp_path):
    with supervised(tmp_path, "wait") as started:
        pid = int(started.stdout.readline())
        started.send_signal(number)
        assert started.wait(10) == 0
        assert ended(pid)
    assert orders(tmp_path) == [("", "")]


def test_a_signal_to_stop_ends_the_wait_before_a_restart(tmp_path):
    with supervised(tmp_path, "1", back_off_s=600.0) as started:
        assert "exit code 1" in started.stderr.readline()
        started.send_signal(signal.SIGTERM)
        assert started.wait(10) == 0


def test_no_orphan_is_left_when_the_supervisor_is_killed(tmp_path):
    with supervised(tmp_path, "wait", standby=True) as started:
        pid = int(started.stdout.readline())
        started.kill()
        assert ended(pid)


def test_a_new_supervisor_knows_of_the_crashes_that_the_one_before_saw_and_of_its_death(tmp_path):
    with supervised(tmp_path, "1,1,wait", crashes=3) as started:
        pid = int(started.stdout.readline())
        started.kill()
        assert ended(pid)
    code, told = finished(tmp_path, "1,1,wait,1,0", crashes=3)
    assert code == 0
    assert told[3:] == [("the supervisor died", ""), ("exit code 1", "last good model")]


def children(pid):
    """The processes that a process has started and that live."""
    return set(map(int, Path(f"/proc/{pid}/task/{pid}/children").read_text().split()))


def test_a_reserve_that_dies_is_replaced_and_the_next_one_takes_over(tmp_path):
    with supervised(tmp_path, "wait", standby=True) as started:
        first = int(started.stdout.readline())
        os.kill(until(lambda: children(started.pid) - {first}).pop(), signal.SIGKILL)
        os.kill(first, signal.SIGKILL)
        second = int(started.stdout.readline())
        assert second != first and children(started.pid) >= {second}
    assert orders(tmp_path) == [("", ""), ("killed by SIGKILL", "")]


# The system has killed for memory while a child ran, and the one before it not.
KILLED_FOR_MEMORY = "kills = iter([0, 0, 0, 1, 1, 1]); s.oom_kills = lambda: next(kills)\nraise SystemExit"


def test_a_child_that_the_system_killed_for_memory_counts_as_a_crash_and_one_that_somebody_killed_does_not(
    tmp_path, monkeypatch
):
    monkeypatch.setitem(globals(), "SUPERVISE", SUPERVISE.replace("raise SystemExit", KILLED_FOR_MEMORY))
    code, told = finished(tmp_path, "-9,-9,0", crashes=1)
    assert code == 0
    assert told == [("", ""), ("killed by SIGKILL", ""), ("killed for memory by the system", "last good model")]


def test_a_child_that_does_not_even_die_of_an_abort_is_killed(tmp_path, monkeypatch):
    monkeypatch.setattr("flight.child.ABORT_S", 0.2)
    deaf = "import signal; signal.signal(signal.SIGABRT, signal.SIG_IGN); signal.pause()"
    child = Child(["-c", deaf])
    try:
        child.begin(Orders())
        assert child.ended(0.0) is None
        until(lambda: ignored(child.process.pid) >> (signal.SIGABRT - 1) & 1)
        assert child.abort() == -signal.SIGKILL
    finally:
        child.close()


def ignored(pid):
    """The signals that a process ignores, as a mask."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(line.split()[1], 16) for line in lines if line.startswith("SigIgn:"))


def test_a_child_that_hangs_is_ended_and_its_last_words_name_the_place(tmp_path):
    code, told = finished(tmp_path, "hang,0", warn_s=0.2, fatal_s=0.6)
    assert code == 0
    assert told[1][0].startswith("hung: rate group training, ")
    words = last_words.read(tmp_path / "supervisor")
    assert (words.mode, words.activity, words.crashes, words.t_s) == ("train", "training", 1, 12.0)
    assert words.events[0].name == "model-ready" and words.place.startswith("<string>:")


def test_a_child_that_pings_is_left_alone_and_a_watchdog_is_stroked_meanwhile(tmp_path):
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as systemd:
        systemd.bind(str(tmp_path / "notify"))
        systemd.settimeout(20)
        environment = {"NOTIFY_SOCKET": str(tmp_path / "notify")}
        with supervised(tmp_path, "wait", environment=environment, warn_s=0.2, fatal_s=0.5) as started:
            told = []
            while len(told) < 500 and (len(told) < 8 or not any("READY=1" in each for each in told)):
                told.append(systemd.recv(200).decode())
            assert started.poll() is None
    assert sum("WATCHDOG=1" in each for each in told) >= 6
    assert sum("READY=1" in each for each in told) == 1


def test_a_watchdog_at_an_abstract_address_is_stroked_too(monkeypatch):
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as systemd:
        systemd.bind(f"\0swath-test-{os.getpid()}")
        systemd.settimeout(20)
        monkeypatch.setenv("NOTIFY_SOCKET", f"@swath-test-{os.getpid()}")
        Watchdogs().stroke()
        assert systemd.recv(200) == b"WATCHDOG=1"


def test_status_tells_from_outside_what_a_running_process_does(tmp_path):
    with supervised(tmp_path, "wait") as started:
        started.stdout.readline()
        until(lambda: (status.read(tmp_path)["process"] or {}).get("last_ping_s") is not None)
        found = status.read(tmp_path)
    assert found["supervisor"]["running"] and found["supervisor"]["pid"] == started.pid
    process = found["process"]
    assert (process["mode"], process["activity"], process["incarnation"]) == ("train", "training", 1)
    assert process["mission_time_s"] == 12.0 and process["events"] == [[11.0, "model-ready"]]
    said = "\n".join(status.lines(found))
    assert f"process {started.pid}" in said and "mode train, training, mission time 12 s" in said


def test_status_believes_no_other_process_that_has_the_number_of_a_dead_supervisor(tmp_path):
    CrashLog(pid=os.getpid(), blackbox=0).write(tmp_path / "supervisor" / "record.json")
    found = status.read(tmp_path)
    assert found["process"] is None and not found["supervisor"]["running"]


def test_no_watchdog_is_stroked_while_nothing_pings(tmp_path):
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as systemd:
        systemd.bind(str(tmp_path / "notify"))
        systemd.settimeout(20)
        environment = {"NOTIFY_SOCKET": str(tmp_path / "notify")}
        with supervised(tmp_path, "hang", 600.0, environment, warn_s=0.2, fatal_s=0.5) as started:
            until(lambda: "STATUS=flight: hung" in systemd.recv(200).decode())
            started.kill()


def test_a_hardware_watchdog_is_stroked_and_disarmed_in_the_end(tmp_path):
    device = tmp_path / "watchdog"
    device.touch()
    watchdogs = Watchdogs(device)
    watchdogs.stroke()
    watchdogs.stroke()
    watchdogs.end()
    assert device.read_bytes() == b"\0\0V"


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b'{"pid": "x"}', b"[" * 100_000, b'{"deaths_s": 3}'])
def test_a_damaged_record_of_the_supervisor_is_one_of_no_deaths(content, tmp_path):
    (tmp_path / "record.json").write_bytes(content)
    assert CrashLog.read(tmp_path / "record.json") == CrashLog()


def test_crashes_are_forgotten_in_time():
    log, config = CrashLog(), WatchdogConfig(crashes=2, window_s=100.0)
    for at_s in (0.0, 150.0, 300.0):
        log.note("exit code 1", True, at_s, config.window_s)
        assert log.fallback(config) == ""
    log.note("exit code 1", True, 310.0, config.window_s)
    assert log.fallback(config) == "last good model"


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b'{"events": 1}', b'{"events": [[1]]}'])
def test_damaged_last_words_are_none(content, tmp_path):
    (tmp_path / last_words.FILE).write_bytes(content)
    assert last_words.read(tmp_path) is None
