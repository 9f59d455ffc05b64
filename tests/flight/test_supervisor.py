"""The supervisor over real child processes."""

import os
import select
import signal
import subprocess
import sys
from contextlib import contextmanager

import pytest

from flight.supervisor import EXIT_CONFIG, EXIT_MEMORY, cause


@pytest.mark.parametrize(
    ("code", "text"),
    [
        (0, "ended normally"),
        (1, "exit code 1"),
        (-9, "killed by SIGKILL"),
        (-11, "killed by SIGSEGV"),
        (-40, "killed by signal 40"),
        (EXIT_MEMORY, "memory cap reached"),
        (EXIT_CONFIG, "unusable configuration or state"),
    ],
)
def test_the_cause_of_a_death_in_words(code, text):
    assert cause(code) == text


# A child that counts its starts in a file, tells the cause of the last death and ends as it is told for each start.
CHILD = """
import os, signal, sys, time
with open(sys.argv[1], "a") as log:
    print(os.environ["SWATH_LAST_CAUSE"], file=log)
with open(sys.argv[1]) as log:
    start = len(log.readlines())
how = sys.argv[2].split(",")[min(start, len(sys.argv[2].split(","))) - 1]
if how == "wait":
    from flight.caps import die_with_parent
    die_with_parent()
    print(os.getpid(), flush=True)
    signal.pause()
if how.startswith("-"):
    os.kill(os.getpid(), -int(how))
sys.exit(int(how))
"""
SUPERVISE = """
import sys
import flight.supervisor as s
s.BACK_OFF_S = (float(sys.argv[1]),)
raise SystemExit(s.Supervisor(["-c", sys.argv[2], *sys.argv[3:]]).run())
"""


@contextmanager
def supervised(log, how, back_off_s=0.0):
    started = subprocess.Popen(
        [sys.executable, "-c", SUPERVISE, str(back_off_s), CHILD, str(log), how],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={key: value for key, value in os.environ.items() if key != "SWATH_PARENT_PID"},
    )
    try:
        yield started
    finally:
        started.kill()
        started.communicate()


def finished(tmp_path, how):
    """Exit code of the supervisor, and the causes that its children were told."""
    with supervised(tmp_path / "log", how) as started:
        code = started.wait(30)
    return code, (tmp_path / "log").read_text().splitlines()


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
    assert finished(tmp_path, "0") == (0, [""])


def test_a_child_that_dies_is_started_again_and_told_why(tmp_path):
    code, causes = finished(tmp_path, f"-9,3,{EXIT_MEMORY},0")
    assert code == 0
    assert causes == ["", "killed by SIGKILL", "exit code 3", "memory cap reached"]


def test_a_configuration_that_cannot_be_used_is_final(tmp_path):
    assert finished(tmp_path, f"{EXIT_CONFIG},0") == (EXIT_CONFIG, [""])


def test_a_child_that_keeps_crashing_is_given_up(tmp_path):
    code, causes = finished(tmp_path, "1")
    assert code == 1 and len(causes) == 9


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_to_stop_ends_both(number, tmp_path):
    with supervised(tmp_path / "log", "wait") as started:
        pid = int(started.stdout.readline())
        started.send_signal(number)
        assert started.wait(10) == 0
        assert ended(pid)
    assert (tmp_path / "log").read_text() == "\n"


def test_a_signal_to_stop_ends_the_wait_before_a_restart(tmp_path):
    with supervised(tmp_path / "log", "1", back_off_s=600.0) as started:
        assert "exit code 1" in started.stderr.readline()
        started.send_signal(signal.SIGTERM)
        assert started.wait(10) == 0


def test_no_orphan_is_left_when_the_supervisor_is_killed(tmp_path):
    with supervised(tmp_path / "log", "wait") as started:
        pid = int(started.stdout.readline())
        started.kill()
        assert ended(pid)
