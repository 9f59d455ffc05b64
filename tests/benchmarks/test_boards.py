"""What each kind of board is taken for, and what its sensors are read as: on recorded files and command outputs."""

from __future__ import annotations

from pathlib import Path

import pytest
from recorded import recorded

from benchmarks.board import identity, power, state
from benchmarks.board.system import System

BOARDS = {
    "pi4": ("Raspberry Pi 4 Model B Rev 1.4", "4 x Cortex-A72", "Debian GNU/Linux 12 (bookworm)"),
    "pi5": ("Raspberry Pi 5 Model B Rev 1.0", "4 x Cortex-A76", "Debian GNU/Linux 13 (trixie)"),
    "orin-nano": ("NVIDIA Jetson Orin Nano Developer Kit", "6 x Cortex-A78AE", "Jetson Linux R36.4.3"),
    "x86": (
        "Dell Inc. OptiPlex 7060", "Intel(R) Core(TM) i7-8700 CPU @ 3.20GHz", "Debian GNU/Linux 12 (bookworm)"
    ),
    "cloud": (None, "AMD EPYC", None),
}  # fmt: skip


@pytest.mark.parametrize("name", BOARDS)
def test_board_processor_and_system_are_named(name, tmp_path):
    system = recorded(name, tmp_path)
    board = identity.board(system)
    assert (board.name, identity.processor(system, "aarch64"), board.release) == BOARDS[name]


def test_device_trees_tell_pis_from_jetsons(tmp_path):
    pi, jetson = (identity.board(recorded(name, tmp_path / name)) for name in ("pi5", "orin-nano"))
    assert (pi.is_pi, pi.is_jetson, jetson.is_pi, jetson.is_jetson) == (True, False, False, True)


@pytest.mark.parametrize(
    ("name", "now_hz", "most_hz", "governor"),
    [
        ("pi4", 1.8e9, 1.8e9, "ondemand"),
        ("pi5", 2.4e9, 2.4e9, "ondemand"),
        ("orin-nano", 1.5104e9, 1.5104e9, "schedutil"),
        ("x86", 4.3e9, 4.6e9, "powersave"),
    ],
)
def test_clock_and_governor_come_from_cpufreq(name, now_hz, most_hz, governor, tmp_path):
    clock = state.clock(recorded(name, tmp_path))
    assert (clock.now_hz, clock.most_hz, clock.governors, clock.source) == (now_hz, most_hz, (governor,), "cpufreq")


def test_without_cpufreq_a_pi_asks_its_firmware_and_a_virtual_machine_cpuinfo(tmp_path):
    pi = recorded("pi5", tmp_path / "pi")
    bare = System(tmp_path, lambda command: pi.command(*command))
    assert (state.clock(bare).now_hz, state.clock(bare).source) == (2400033792.0, "vcgencmd measure_clock arm")
    cloud = state.clock(recorded("cloud", tmp_path / "cloud"))
    assert (cloud.now_hz, cloud.governors, cloud.source) == (pytest.approx(2596.096e6), (), "/proc/cpuinfo")


def test_a_clock_that_nothing_tells_is_not_guessed(tmp_path):
    clock = state.clock(recorded("orin-nano", tmp_path / "a"))
    assert clock.now_hz
    assert state.clock(System(tmp_path / "empty", lambda command: None)).now_hz is None


@pytest.mark.parametrize(
    ("name", "celsius", "sensors"), [("pi4", 48.686, 1), ("pi5", 51.25, 1), ("orin-nano", 47.093, 6), ("x86", 61.0, 3)]
)
def test_the_processors_own_temperature_is_picked(name, celsius, sensors, tmp_path):
    found = state.temperatures_c(recorded(name, tmp_path))
    assert state.processor_c(found) == celsius
    assert len(found) == sensors  # a Jetson's vision accelerators are powered down: their zones do not answer


def test_a_virtual_machine_has_no_temperature(tmp_path):
    assert state.processor_c(state.temperatures_c(recorded("cloud", tmp_path))) is None


def test_a_pi_on_a_weak_supply_says_what_holds_it_back(tmp_path):
    weak = state.throttling(recorded("pi4", tmp_path))  # 0x50005
    assert weak.now == ("under-voltage", "throttled")
    assert state.throttled_since(weak, weak) == ["under-voltage", "throttled"]


def test_a_pi_without_vcgencmd_is_asked_by_its_firmwares_file(tmp_path):
    file = tmp_path / "sys/devices/platform/soc/soc:firmware/get_throttled"
    file.parent.mkdir(parents=True)
    file.write_text("50005\n")
    assert state.throttling(System(tmp_path, lambda command: None)).now == ("under-voltage", "throttled")


def test_a_cool_pi_was_not_throttled(tmp_path):
    cool = state.throttling(recorded("pi5", tmp_path))
    assert state.throttled_since(cool, cool) == []


def test_over_current_on_a_jetson_counts_if_it_happened_during_the_run(tmp_path):
    system = recorded("orin-nano", tmp_path)
    before = state.throttling(system)
    assert state.throttled_since(before, state.throttling(system)) == []
    (tmp_path / "sys/class/hwmon/hwmon3/oc3_event_cnt").write_text("9\n")
    assert state.throttled_since(before, state.throttling(system)) == ["oc3"]


def test_x86_throttling_is_counted_over_all_cores(tmp_path):
    system = recorded("x86", tmp_path)
    before = state.throttling(system)
    (tmp_path / "sys/devices/system/cpu/cpu2/thermal_throttle/package_throttle_count").write_text("3\n")
    assert state.throttled_since(before, state.throttling(system)) == ["package throttle"]


def test_throttling_that_nothing_counts_is_unknown_and_not_absent(tmp_path):
    unknown = state.throttling(recorded("cloud", tmp_path))
    assert state.throttled_since(unknown, unknown) is None


def test_power_of_a_pi_5_is_the_sum_of_its_pmics_rails(tmp_path):
    found = power.measure(recorded("pi5", tmp_path), lambda: None, 0.6)
    assert found.watts == pytest.approx(4.67167, abs=1e-4)  # twelve rails; the 5 V input tells no current


@pytest.mark.parametrize(("name", "watts"), [("orin-nano", 6.716736), ("agx-orin", 13.230474)])
def test_power_of_a_jetson_is_the_modules_input_or_the_sum_of_its_rails(name, watts, tmp_path):
    found = power.measure(recorded(name, tmp_path), lambda: None, 0.6)
    assert found.watts == pytest.approx(watts, abs=1e-6)


def test_x86_energy_is_the_packages_alone_and_survives_the_counters_wrap(tmp_path):
    system = recorded("x86", tmp_path)
    counter = tmp_path / "sys/class/powercap/intel-rapl:0/energy_uj"
    found = power.measure(system, lambda: counter.write_text("5000000\n"), 0.05)
    assert found.watts == pytest.approx((5.0 + 0.02885) / found.seconds, rel=1e-6)


@pytest.mark.parametrize(("name", "why"), [("pi4", "no current sensor"), ("cloud", "no meter that Linux reads")])
def test_power_that_cannot_be_measured_says_why(name, why, tmp_path):
    found = power.measure(recorded(name, tmp_path), lambda: None, 0.01)
    assert found.watts is None
    assert why in found.why


def test_an_energy_counter_for_root_alone_says_how_to_open_it(tmp_path):
    system = recorded("x86", tmp_path)
    locked = tmp_path / "sys/class/powercap/intel-rapl:0/energy_uj"
    locked.unlink()
    locked.mkdir()  # cannot be read, whoever runs the tests
    assert "sudo chmod a+r" in power.measure(system, lambda: None, 0.01).why


def test_a_pi_is_not_taken_for_an_emulator(tmp_path):
    assert identity.emulated(recorded("pi4", tmp_path), "aarch64") is None


@pytest.mark.parametrize(
    ("path", "text", "architecture"),
    [
        ("proc/self/comm", "qemu-aarch64-st\n", "aarch64"),
        ("proc/cpuinfo", "vendor_id\t: GenuineIntel\n", "aarch64"),
        ("proc/cpuinfo", "model name\t: QEMU Virtual CPU version 2.5+\n", "x86_64"),
    ],
)
def test_an_emulator_is_found_out(path, text, architecture, tmp_path):
    system = recorded("cloud" if architecture == "x86_64" else "pi5", tmp_path)
    (tmp_path / path).write_text(text)
    assert "qemu" in (identity.emulated(system, architecture) or "").lower()


def test_a_virtual_machine_is_called_one(tmp_path):
    assert identity.virtual(recorded("cloud", tmp_path / "a"))
    assert not identity.virtual(recorded("x86", tmp_path / "b"))


def test_no_command_that_hangs_or_fails_stops_a_reader():
    here = System(Path("/"))
    assert here.command("no-such-command-anywhere") is None
    assert here.command("false") is None
