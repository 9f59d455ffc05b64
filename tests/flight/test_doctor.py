"""A board is looked over before flight runs on it, and each finding says how to mend it."""

import json

import pytest

from flight import doctor
from flight.cli import main
from flight.doctor import FAILED, OK, WARNING
from tests.flight.flight_world import KEYS


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


def test_a_library_that_is_missing_is_named_with_what_installs_it(board, monkeypatch):
    there = doctor._version
    monkeypatch.setattr(doctor, "_version", lambda package: None if package == "msgpack" else there(package))
    finding = board()["libraries"]
    assert (finding.verdict, finding.mend) == (FAILED, "pip install msgpack")
    assert "msgpack missing" in finding.found


def test_flight_is_for_linux_alone(board, monkeypatch):
    monkeypatch.setattr(doctor.platform, "system", lambda: "Darwin")
    finding = board()["Python"]
    assert finding.verdict == FAILED and "64-bit Linux" in finding.mend


@pytest.mark.parametrize(("what", "mend"), [("kernels", "--bundle"), ("encoder runtime", "[litert]")])
def test_what_flight_can_do_without_is_a_warning(board, monkeypatch, what, mend):
    monkeypatch.setattr(doctor.kernels, "has_jit", lambda: False)
    monkeypatch.setattr(doctor.importlib.util, "find_spec", lambda name: None)
    finding = board()[what]
    assert finding.verdict == WARNING and mend in finding.mend


def test_a_clock_that_nobody_keeps_right_is_a_warning(board, monkeypatch):
    monkeypatch.setattr(doctor, "_kernel_says_synchronised", lambda: False)
    finding = board()["clock"]
    assert finding.verdict == WARNING and "set-ntp" in finding.mend


def state_of(tmp_path, what):
    (finding,) = [each for each in doctor.examine(tmp_path, root=tmp_path / "root") if each.what == what]
    return finding


def test_a_state_directory_that_others_may_read_is_a_warning_with_what_closes_it(tmp_path):
    tmp_path.chmod(0o755)
    finding = state_of(tmp_path, "state directory")
    assert (finding.verdict, finding.mend) == (WARNING, f"chmod 700 {tmp_path}")


def test_a_state_directory_that_cannot_be_written_is_a_failure(tmp_path, monkeypatch):
    def refused(directory):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(doctor, "_sync_s", refused)
    finding = state_of(tmp_path, "state directory")
    assert finding.verdict == FAILED
    assert "Permission denied" in finding.found and finding.mend.startswith("sudo chown")


def test_a_disk_without_room_is_a_failure_and_a_slow_one_a_warning(tmp_path, monkeypatch):
    monkeypatch.setattr(doctor, "_sync_s", lambda directory: 2 * doctor.SLOW_SYNC_S)
    finding = state_of(tmp_path, "disk")
    assert finding.verdict == WARNING and "a synced write takes" in finding.found
    monkeypatch.setattr(doctor, "LEAST_FREE_BYTES", 1 << 62)
    finding = state_of(tmp_path, "disk")
    assert finding.verdict == FAILED and "use another disk" in finding.mend


def test_a_key_file_that_others_may_read_is_a_failure_and_its_own_is_not(tmp_path):
    keys = tmp_path / "keys.toml"
    keys.write_bytes(KEYS.dump())
    found = []
    for mode in (0o644, 0o600):
        keys.chmod(mode)
        found += doctor.key_file(keys)
    assert [finding.verdict for finding in found] == [FAILED, OK]
    assert found[0].mend == f"chmod 600 {keys}"
