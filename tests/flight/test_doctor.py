"""A board is looked over before flight runs on it, and each finding says how to mend it."""

import json

import pytest

from flight import doctor
from flight.cli import main
from flight.doctor import FAILED, OK, WARNING


@pytest.fixture
def board(tmp_path):
    """A recorded board: writes files of /proc and /sys, returns what is found by name."""

    def record(**files):
        for path, text in files.items():
            place = tmp_path / path.replace("__", "/")
            place.parent.mkdir(parents=True, exist_ok=True)
            place.write_text(text, encoding="ascii")
        return {finding.what: finding for finding in doctor.examine(root=tmp_path)}

    return record


def test_a_raspberry_pi_in_good_order_has_nothing_to_mend(board, monkeypatch):
    monkeypatch.setattr(doctor, "_kernel_says_synchronised", lambda: True)
    found = board(
        proc__meminfo="MemTotal:         3883020 kB\nMemFree:  1 kB\n",
        sys__class__thermal__thermal_zone0__temp="48312\n",
        **{
            "sys__devices__platform__soc__soc:firmware__get_throttled": "0\n",
            "sys__fs__cgroup__cgroup.controllers": "cpuset cpu io memory pids\n",
        },
    )
    assert {name: finding.verdict for name, finding in found.items() if name != "encoder runtime"} == dict.fromkeys(
        ("Python", "libraries", "kernels", "clock", "memory", "temperature", "power"), OK
    )
    assert found["memory"].found == "3792 MB"
    assert found["temperature"].found == "48 degC"


@pytest.mark.parametrize(
    ("path", "text", "what", "verdict", "mend"),
    [
        ("sys__devices__platform__soc__soc:firmware__get_throttled", "50005\n", "power", FAILED, "supply"),
        ("sys__devices__platform__soc__soc:firmware__get_throttled", "50000\n", "power", WARNING, "too low"),
        ("sys__class__thermal__thermal_zone0__temp", "81234\n", "temperature", WARNING, "cool"),
        ("sys__fs__cgroup__cgroup.controllers", "cpuset cpu io pids\n", "memory control group", WARNING, "cmdline.txt"),
        ("proc__meminfo", "MemTotal:  262144 kB\n", "memory", WARNING, "memory_bytes"),
    ],
)
def test_what_is_wrong_with_a_board_is_found_with_what_to_do(board, path, text, what, verdict, mend):
    finding = board(**{path: text})[what]
    assert finding.verdict == verdict
    assert mend in finding.mend


def test_a_clock_that_was_never_set_is_a_failure(board, monkeypatch):
    monkeypatch.setattr(doctor, "unix_s", lambda: 60.0)
    assert board()["clock"].verdict == FAILED


def test_tflite_runtime_with_numpy_2_is_a_failure_although_it_can_be_imported(board, monkeypatch):
    monkeypatch.setattr(doctor.importlib.util, "find_spec", lambda name: True if name == "tflite_runtime" else None)
    monkeypatch.setattr(doctor, "_version", lambda package: "2.1.0" if package == "numpy" else "2.14.0")
    finding = board()["encoder runtime"]
    assert (finding.verdict, ".[tflite]" in finding.mend) == (FAILED, True)


def test_a_state_directory_in_memory_would_lose_everything(tmp_path, board):
    board(proc__mounts=f"/dev/sda1 / ext4 rw 0 0\ntmpfs {tmp_path} tmpfs rw 0 0\n")
    (finding,) = [each for each in doctor.examine(tmp_path, root=tmp_path) if each.what == "disk"]
    assert finding.verdict == FAILED
    assert "nothing survives" in finding.found


def test_the_command_exits_with_1_if_the_board_is_not_fit_and_says_why(tmp_path, capsys):
    keys = tmp_path / "keys.toml"
    assert main(["doctor", "--state", str(tmp_path), "--keys", str(keys), "--json"]) == 1
    answer = json.loads(capsys.readouterr().out)
    assert not answer["fit"]
    (failed,) = [finding for finding in answer["findings"] if finding["verdict"] == FAILED]
    assert failed["what"] == "keys"
    assert "swath-ground keys new" in failed["mend"]
    assert main(["doctor"]) == 0
    assert "fit to fly" in capsys.readouterr().out


def test_a_directory_that_is_not_there_is_named(tmp_path, capsys):
    assert main(["doctor", "--state", str(tmp_path / "none")]) == 1
    assert "mkdir -m 700" in capsys.readouterr().out
