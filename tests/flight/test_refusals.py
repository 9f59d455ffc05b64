"""What is refused, and by which name; and what goes on although the disk, or a process, refuses."""

import os
import signal
import sys

import msgpack
import pytest

from flight import last_words, limits
from flight.blackbox import BlackBox
from flight.board import BoardError, Draw, Reading
from flight.child import Child
from flight.config import ConfigError, LimitConfig
from flight.crashes import CrashLog
from flight.link.errors import StateError
from flight.orders import Orders

GOOD = LimitConfig("low", "battery", low=0.5, action="throttle")


def limit(**changes):
    return LimitConfig(**{**vars(GOOD), **changes})


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ([limit(parameter="humour")], r"limits\[0\].parameter: 'humour' is unknown; known are battery"),
        ([GOOD, limit(name="b", action="dance")], r"limits\[1\].action: 'dance' is unknown"),
        ([limit(action="none")], r"limits\[0\].action: 'none' is unknown"),
        ([limit(high=0.9)], r"limits\[0\]: give either low or high"),
        ([limit(low=None)], r"limits\[0\]: give either low or high"),
        ([limit(name="")], r"limits\[0\].name: '' is not 1 to 24"),
        ([limit(name="too\nlong")], r"limits\[0\].name"),
        ([GOOD, GOOD], r"limits: a name is used twice among low, low"),
        ([limit(name=f"l{i}") for i in range(limits.MAX_LIMITS + 1)], "limits: .* at most"),
    ],
)
def test_a_limit_that_cannot_be_watched_is_named_by_its_place(table, message):
    with pytest.raises(ConfigError, match=message):
        limits.check(table)


@pytest.mark.parametrize("saved", ["low", [1], None, {"low": True}])
def test_a_damaged_state_of_the_limits_is_refused(saved):
    with pytest.raises(StateError, match="limits"):
        limits.Limits([GOOD]).restore(saved)


@pytest.mark.parametrize(
    ("unpack", "fields", "message"),
    [
        (Reading.unpack, ["reading", 1.5, True, 20.0], "battery is 1.5"),
        (Reading.unpack, ["reading", 0.5, 1, 20.0], "sunlit is 1"),
        (Reading.unpack, ["reading", 0.5, True, float("nan")], "temperature_degc is nan"),
        (Reading.unpack, ["reading", 0.5, True], "with 3 fields"),
        (Reading.unpack, ["draw", 0.5, True, 20.0], "expected 'reading'"),
        (Draw.unpack, ["draw", "dream", "idle", 0.5], "mode is 'dream'"),
        (Draw.unpack, ["draw", "train", "dream", 0.5], "activity is 'dream'"),
        (Draw.unpack, ["draw", "train", "idle", 7.0], "cpu_share is 7.0"),
    ],
)
def test_what_a_board_may_not_say_is_refused_by_its_field(unpack, fields, message):
    with pytest.raises(BoardError, match=message):
        unpack(msgpack.packb(fields))
    for body in (b"\xc1", bytes(300)):
        with pytest.raises(BoardError, match="bytes"):
            unpack(body)


def test_a_disk_that_refuses_last_words_stack_and_record_is_no_reason_not_to_go_on(tmp_path):
    wall = tmp_path / "wall"
    wall.write_text("a file where the directory should be")
    with last_words.stack_file(wall / "supervisor") as stack:
        stack.write("nobody reads this")
    box = BlackBox.create()
    try:
        words = last_words.compose(wall, "hung", box.read(), 1)
    finally:
        box.close()
    assert (words.cause, words.stack, words.place) == ("hung", "", "")
    last_words.write(wall, words)
    assert last_words.read(wall) is None
    CrashLog(last_cause="hung").write(wall / "record.json")
    assert CrashLog.read(wall / "record.json") == CrashLog()


def test_a_process_that_ignores_sigabrt_is_killed(monkeypatch):
    monkeypatch.setattr("flight.child.ABORT_S", 0.1)
    told, ready = os.pipe()
    os.set_inheritable(ready, True)
    deaf = f"import os, signal; signal.signal(signal.SIGABRT, signal.SIG_IGN); os.write({ready}, b'.'); signal.pause()"
    monkeypatch.setattr("flight.child.subprocess.Popen", _keeping(ready))
    child = Child(["-c", deaf])
    child.begin(Orders())
    assert os.read(told, 1) == b"."
    assert child.abort() == -signal.SIGKILL
    child.close()
    os.close(told)
    os.close(ready)


def _keeping(descriptor):
    from subprocess import Popen

    def start(command, pass_fds, **rest):
        return Popen(command, pass_fds=(*pass_fds, descriptor), **rest)

    return start


def test_a_child_that_lives_is_killed_when_its_supervisor_lets_go_of_it():
    child = Child(["-c", f"import signal; signal.pause()  # under {sys.executable}"])
    child.close()
    assert child.process.returncode == -signal.SIGKILL
