"""swath-flight from the shell, in fresh processes."""

import shutil
import subprocess
import sys

import msgpack
import pytest

from flight import cli
from flight.crashes import EXIT_CONFIG
from flight.curve import new_certificate
from flight.store import Store
from tests.flight.flight_world import KEYS, flown


def swath_flight(*arguments):
    done = subprocess.run(
        [sys.executable, "-m", "flight.cli", *map(str, arguments)], capture_output=True, text=True, timeout=60
    )
    return done.returncode, done.stdout, done.stderr


@pytest.fixture
def keys(tmp_path):
    path = tmp_path / "keys.toml"
    path.write_bytes(KEYS.dump())
    return path


def sockets(tmp_path):
    return ["--radio", f"ipc://{tmp_path}/radio", "--camera", f"ipc://{tmp_path}/camera"]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--help"], ["run", "core", "status"]),
        (
            ["run", "--help"],
            ["--state", "--keys", "--config", "--radio", "--camera", "--epoch", "--certificate", "--peers"],
        ),
        (["status", "--help"], ["--state"]),
        (["--version"], ["swath-flight"]),
    ],
)
def test_help_names_every_option(arguments, words):
    code, out, error = swath_flight(*arguments)
    assert (code, error) == (0, "")
    assert [word for word in words if word not in out] == []


@pytest.mark.parametrize("command", ["run", "core"])
@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[link]\nframe_bytes = 3\n", "link.frame_bytes: 3 is not between"),
        ('[learner]\nname = "forest"\n', "learner.name: 'forest' is unknown; known are "),
        ("[caps", "flight.toml: "),
    ],
)
def test_a_bad_configuration_is_named_by_its_field_and_final(command, text, message, keys, tmp_path):
    path = tmp_path / "flight.toml"
    path.write_text(text)
    code, _, error = swath_flight(
        command, "--state", tmp_path / "state", "--keys", keys, "--config", path, *sockets(tmp_path)
    )
    assert code == EXIT_CONFIG
    assert "swath-flight: " in error and message in error and "Traceback" not in error


def test_a_key_file_that_cannot_be_used_is_final(tmp_path):
    code, _, error = swath_flight("run", "--state", tmp_path, "--keys", tmp_path / "none", *sockets(tmp_path))
    assert code == EXIT_CONFIG and "none: No such file" in error


def test_an_option_that_is_missing_is_named():
    code, _, error = swath_flight("run", "--state", "x")
    assert code == 2 and "--keys" in error


STATE_ERROR = """
import sys, types
import flight.cli, flight.runner
flight.runner.run_clocked = lambda core, *arguments, **keywords: core.step(0.0, [])
sys.exit(flight.cli.main(sys.argv[1:]))
"""


def test_a_state_of_a_foreign_format_is_named_and_final(keys, tmp_path):
    Store(tmp_path / "state").put("mission", msgpack.packb({"format": 9}))
    done = subprocess.run(
        [sys.executable, "-c", STATE_ERROR, "core", "--state", tmp_path / "state", "--keys", keys, *sockets(tmp_path)],
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == EXIT_CONFIG
    assert "mission: state of format 9, this version reads 2" in done.stderr and "Traceback" not in done.stderr


def test_status_tells_what_a_state_directory_holds_and_changes_nothing(tmp_path):
    flown(tmp_path)
    (tmp_path / "mission.0.tmp").write_bytes(b"being written")
    raw = bytearray((tmp_path / "region.0").read_bytes())
    raw[40] ^= 1
    (tmp_path / "region.0").write_bytes(raw)
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    code, out, _ = swath_flight("status", "--state", tmp_path)
    assert code == 0
    for words in ("checkpoint", "labels-1", "mission", "chips 48", "damaged      region.0"):
        assert words in out
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before


def test_status_of_no_directory_is_an_error(tmp_path):
    code, out, error = swath_flight("status", "--state", tmp_path / "none")
    assert (code, out) == (1, "") and "none is not a directory" in error


def test_only_what_flies_is_imported():
    code = "import sys, flight.executive, flight.cli, flight.runner, flight.supervisor; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    loaded = {name.split(".")[0] for name in done.stdout.split()}
    assert {"numpy", "msgpack", "zmq", "flight"} <= loaded
    grounded = {"numba", "ground", "sim", "benchmarks", "torch", "pyarrow", "pandas", "scipy", "matplotlib", "typer"}
    assert loaded & grounded == set()


def test_status_of_a_directory_that_holds_nothing_says_so(tmp_path, capsys):
    assert cli.main(["status", "--state", str(tmp_path)]) == 0
    assert "no flight process has used" in capsys.readouterr().out


def test_an_endpoint_beyond_this_machine_is_refused_without_certificates(keys, tmp_path):
    there = ["--radio", "tcp://10.0.0.2:7001", "--camera", f"ipc://{tmp_path}/camera"]
    code, _, error = swath_flight("core", "--state", tmp_path / "state", "--keys", keys, *there)
    assert code == EXIT_CONFIG and "--radio tcp://10.0.0.2:7001 leaves this machine unprotected" in error
    alone = ["--certificate", tmp_path / "flight.key_secret"]
    code, _, error = swath_flight("core", "--state", tmp_path / "state", "--keys", keys, *there, *alone)
    assert code == EXIT_CONFIG and "--certificate and --peers belong together" in error


def test_a_certificate_that_others_may_read_is_refused_by_name(keys, tmp_path):
    public, secret = new_certificate("flight")
    (tmp_path / "flight.key_secret").write_bytes(secret)
    (tmp_path / "flight.key_secret").chmod(0o640)
    (tmp_path / "modem.key").write_bytes(public)
    curve = ["--certificate", tmp_path / "flight.key_secret", "--peers", tmp_path / "modem.key"]
    code, _, error = swath_flight("run", "--state", tmp_path / "state", "--keys", keys, *sockets(tmp_path), *curve)
    assert code == EXIT_CONFIG and "flight.key_secret: others may read it" in error


def test_the_systemd_unit_has_caps_a_watchdog_and_a_sandbox_and_systemd_accepts_it(tmp_path, capsys):
    assert cli.main(["unit"]) == 0
    unit = capsys.readouterr().out
    for setting in ("MemoryMax=", "CPUQuota=", "WatchdogSec=", "NoNewPrivileges=yes", "ProtectSystem=strict"):
        assert setting in unit
    if shutil.which("systemd-analyze"):
        (tmp_path / "swath-flight.service").write_text(unit)
        done = subprocess.run(
            ["systemd-analyze", "verify", "--man=no", tmp_path / "swath-flight.service"],
            capture_output=True,
            text=True,
            timeout=60,
        )
        assert "swath-flight.service:" not in done.stderr, done.stderr


def test_a_self_test_says_what_passed_and_that_the_board_is_sound(monkeypatch, capsys):
    monkeypatch.setattr("flight.selftest.LEARNERS", {})  # theirs take long in numpy, and have a test of their own
    assert cli.main(["selftest", "--kernels", "numpy"]) == 0
    out = capsys.readouterr().out
    assert "kernels numpy" in out and "pass  store" in out and "passed, results " in out


def test_a_self_test_of_kernels_that_are_not_there_says_what_would_bring_them(capsys):
    assert cli.main(["selftest", "--kernels", "aot"]) == EXIT_CONFIG
    assert "a flight bundle carries (--bundle)" in capsys.readouterr().err


def test_a_self_test_of_a_bundle_is_of_its_kernels_and_no_others(tmp_path, capsys):
    assert cli.main(["selftest", "--bundle", str(tmp_path / "flight.bundle"), "--kernels", "numpy"]) == EXIT_CONFIG
    assert "--kernels asks for 'numpy'" in capsys.readouterr().err


def test_a_board_that_cannot_listen_says_why(tmp_path, capsys):
    options = ["--keys", str(tmp_path / "none"), "--state", str(tmp_path / "state")]
    assert cli.main(["listen", "--at", "tcp://0.0.0.0:7700", *options]) == 2
    assert str(tmp_path / "none") in capsys.readouterr().err
