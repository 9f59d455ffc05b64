"""flight becomes a service of systemd, on a machine whose files and whose systemctl are recorded."""

import os
import pwd
import shutil
import subprocess
from pathlib import Path

import pytest

from flight import service
from flight.cli import main, parser
from flight.service import MARK, Service, ServiceError, System, install, uninstall

ME = pwd.getpwuid(1)  # `daemon`: any account but root


class Recorded:
    """systemctl: keeps what it is asked, and fails where it is told to."""

    def __init__(self):
        self.calls, self.failing = [], ""

    def __call__(self, command):
        self.calls.append(" ".join(command[1:]))
        failed = bool(self.failing) and self.failing in command
        return subprocess.CompletedProcess(command, int(failed), "", "Unit is not happy." if failed else "")


@pytest.fixture
def machine(tmp_path):
    """A machine that systemd runs, asked by root."""
    (tmp_path / "root/run/systemd/system").mkdir(parents=True)
    return System(tmp_path / "root", 0, Recorded())


@pytest.fixture
def keys(tmp_path, monkeypatch):
    """Keys of a board that belong to `daemon`."""
    directory = tmp_path / "board"
    directory.mkdir()
    for name in ("keys.toml", "flight.key_secret"):
        (directory / name).write_text("secret", encoding="ascii")
    monkeypatch.setattr(service, "HOMES", ())  # wherever the tests are run from
    if os.getuid() == 0:
        for path in (directory, *directory.iterdir()):
            os.chown(path, ME.pw_uid, ME.pw_gid)
    return directory


def owner(path):
    return pwd.getpwuid(path.stat().st_uid).pw_name


@pytest.fixture
def listen(keys):
    return Service.of(parser().parse_args(["listen", "--keys", str(keys), "--state", "/var/lib/swath"]))


@pytest.fixture
def satellite(keys):
    options = ["run", "--keys", str(keys / "keys.toml"), "--state", "/var/lib/swath"]
    return Service.of(
        parser().parse_args([*options, "--radio", "ipc:///run/swath/r", "--camera", "ipc:///run/swath/c"])
    )


def settings(unit):
    return dict(line.split("=", 1) for line in unit.splitlines() if "=" in line and not line.startswith((" ", "#")))


def test_a_service_is_written_enabled_and_started_and_removed_without_a_trace(machine, listen):
    assert "installed, enabled and started" in install(listen, machine)
    assert machine.unit.read_text(encoding="utf-8") == listen.unit()
    assert machine.unit.stat().st_mode & 0o777 == 0o644
    name = "swath-flight.service"
    assert machine.call.calls == ["daemon-reload", f"enable {name}", f"restart {name}"]
    machine.call.calls.clear()
    assert "removed" in uninstall(machine)
    assert machine.call.calls == [f"disable --now {name}", "daemon-reload"]
    assert list(machine.unit.parent.iterdir()) == []
    assert "nothing to remove" in uninstall(machine)


def test_the_same_service_again_changes_nothing_and_does_not_end_what_runs(machine, listen):
    install(listen, machine)
    written = machine.unit.stat().st_mtime_ns
    assert "installed already" in install(listen, machine)
    assert machine.unit.stat().st_mtime_ns == written
    assert machine.call.calls[-1] == "start swath-flight.service"


def test_another_unit_stays_unless_it_is_to_be_replaced_and_the_difference_is_shown(machine, listen, satellite):
    install(listen, machine)
    with pytest.raises(ServiceError, match=r"(?s)--replace.*-Type=exec.*\+Type=notify"):
        install(satellite, machine)
    assert machine.unit.read_text(encoding="utf-8") == listen.unit()
    install(satellite, machine, replace=True, start=False)
    assert machine.unit.read_text(encoding="utf-8") == satellite.unit()
    assert machine.call.calls[-1] == "enable swath-flight.service"


@pytest.mark.parametrize("before", [None, "[Service]\nExecStart=/bin/true\n"])
@pytest.mark.parametrize("failing", ["daemon-reload", "enable"])
def test_a_unit_that_cannot_be_enabled_leaves_what_was_there(machine, listen, failing, before):
    if before is not None:
        machine.unit.parent.mkdir(parents=True)
        machine.unit.write_text(before, encoding="utf-8")
    machine.call.failing = failing
    with pytest.raises(ServiceError, match=f"systemctl {failing}.*not happy"):
        install(listen, machine, replace=True)
    assert [path.read_text(encoding="utf-8") for path in machine.unit.parent.iterdir()] == ([before] if before else [])


def test_a_disk_that_is_full_leaves_no_half_of_a_unit(machine, listen, monkeypatch):
    def full(descriptor):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("flight.service.os.fsync", full)
    with pytest.raises(OSError, match="No space"):
        install(listen, machine)
    assert list(machine.unit.parent.iterdir()) == []
    assert machine.call.calls == []


def test_a_service_that_does_not_start_stays_and_its_log_is_named(machine, listen):
    machine.call.failing = "restart"
    with pytest.raises(ServiceError, match="installed and enabled, but does not run: journalctl -u swath-flight"):
        install(listen, machine)
    assert machine.unit.exists()


def test_who_is_not_root_or_has_no_systemd_is_told_so(machine, listen, tmp_path):
    with pytest.raises(ServiceError, match="takes root: sudo"):
        install(listen, System(machine.root, 1000, machine.call))
    with pytest.raises(ServiceError, match="systemd does not run this machine"):
        uninstall(System(tmp_path / "elsewhere", 0, machine.call))
    assert machine.call.calls == []
    assert not machine.unit.exists()


def test_a_unit_of_somebody_else_is_not_removed(machine):
    machine.unit.parent.mkdir(parents=True)
    machine.unit.write_text("[Service]\n", encoding="utf-8")
    with pytest.raises(ServiceError, match="not written by install-service"):
        uninstall(machine)
    assert machine.unit.exists()


def test_a_satellite_keeps_watchdog_and_no_network_and_a_board_on_a_desk_is_reachable_and_never_rebooted(
    listen, satellite
):
    flies, on_desk = settings(satellite.unit()), settings(listen.unit())
    assert (flies["Type"], flies["WatchdogSec"], flies["PrivateNetwork"]) == ("notify", "60", "yes")
    assert flies["StartLimitAction"] == "reboot"
    assert on_desk["Type"] == "exec"
    assert {"WatchdogSec", "NotifyAccess", "PrivateNetwork", "StartLimitAction"}.isdisjoint(on_desk)
    assert "AF_INET" in on_desk["RestrictAddressFamilies"].split()
    assert (on_desk["User"], on_desk["StateDirectory"]) == (owner(dict(listen.paths)["--keys"]), "swath")
    assert on_desk["ExecStart"].split()[1:4] == ["-m", "flight.cli", "listen"]


def test_what_was_typed_is_what_runs_with_paths_from_the_root(keys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("a.tflite", "b.onnx"):
        (tmp_path / name).touch()
    typed = ["run", "--keys", "board/keys.toml", "--state", "/var/lib/swath", "--fall-back", "--rate", "2.0"]
    typed += ["--encoder", "a.tflite", "--encoder", "b.onnx", "--radio", "ipc:///r", "--camera", "ipc:///c"]
    wanted = parser().parse_args(typed)
    wanted.keys, wanted.encoder = keys / "keys.toml", [tmp_path / "a.tflite", tmp_path / "b.onnx"]
    assert parser().parse_args(list(Service.of(parser().parse_args(typed)).arguments)) == wanted


def test_a_modem_on_the_network_opens_the_network(keys):
    options = ["run", "--keys", str(keys / "keys.toml"), "--state", "/var/lib/swath", "--camera", "ipc:///run/c"]
    there = Service.of(parser().parse_args([*options, "--radio", "tcp://10.0.0.2:7001"]))
    assert "PrivateNetwork" not in settings(there.unit())


def test_places_below_home_are_seen_and_a_state_elsewhere_can_be_written(keys, tmp_path, monkeypatch):
    state = tmp_path / "with space"
    state.mkdir()
    if os.getuid() == 0:
        os.chown(state, ME.pw_uid, ME.pw_gid)
    monkeypatch.setattr(service, "HOMES", (tmp_path,))
    found = settings(Service.of(parser().parse_args(["listen", "--keys", str(keys), "--state", str(state)])).unit())
    assert found["ProtectHome"] == "read-only"
    assert found["ReadWritePaths"] == f'"{state}"'
    assert "StateDirectory" not in found
    assert f'--state "{state}"' in found["ExecStart"]


@pytest.mark.parametrize(
    ("change", "why"),
    [
        (["--keys", "/none/board"], "--keys /none/board: does not exist"),
        (["--bundle", "/none/flight.bundle"], "--bundle /none/flight.bundle: does not exist"),
        (["--state", "/none/state"], "--state /none/state: does not exist: sudo install -d -m 700"),
        (["--state", "/"], "--state /: belongs to somebody else"),
    ],
)
def test_what_is_missing_or_somebody_elses_is_named(keys, change, why):
    options = ["listen", "--keys", str(keys), "--state", "/var/lib/swath", *change]
    with pytest.raises(ServiceError, match=why):
        Service.of(parser().parse_args(options))


def test_flight_is_not_run_as_root_nor_as_somebody_unknown_nor_with_keys_that_it_cannot_read(keys):
    options = parser().parse_args(["listen", "--keys", str(keys), "--state", "/var/lib/swath"])
    with pytest.raises(ServiceError, match="not run as root"):
        Service.of(options, "root")
    with pytest.raises(ServiceError, match="no account 'martian': sudo useradd"):
        Service.of(options, "martian")
    if os.getuid() == 0:
        os.chown(keys / "keys.toml", 0, 0)
        with pytest.raises(ServiceError, match=r"keys\.toml: daemon could not read it; sudo chown -R daemon"):
            Service.of(options)


@pytest.mark.parametrize("kind", ["listen", "satellite"])
@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="needs systemd-analyze")
def test_systemd_accepts_the_units(kind, request, tmp_path):
    path = tmp_path / "swath-flight.service"
    path.write_text(request.getfixturevalue(kind).unit(), encoding="utf-8")
    done = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", path], capture_output=True, text=True, timeout=60, check=False
    )
    assert "swath-flight.service:" not in done.stderr, done.stderr


def test_a_dry_run_prints_the_unit_and_changes_nothing_and_errors_are_one_line(keys, capsys):
    arguments = ["listen", "--keys", str(keys), "--state", "/var/lib/swath"]
    assert main(["install-service", "--dry-run", "--no-start", *arguments]) == 0
    printed = capsys.readouterr().out
    assert printed.startswith(MARK)
    assert printed.endswith("# systemctl daemon-reload\n# systemctl enable swath-flight.service\n")
    assert main(["install-service"]) == 2
    assert "say what it runs" in capsys.readouterr().err
    assert main(["install-service", "listen", "--keys", "/none", "--state", "/var/lib/swath"]) == 2
    assert capsys.readouterr().err == "swath-flight: --keys /none: does not exist\n"


def test_words_of_a_command_line_reach_the_program_as_they_are():
    assert [service._quoted(word) for word in ("plain", "", "a b", '50%"', "$HOME", "a\\b")] == [
        "plain", '""', '"a b"', '"50%%\\""', "$$HOME", '"a\\\\b"'
    ]  # fmt: skip
    assert Path(service.UNITS) == Path("etc/systemd/system")
