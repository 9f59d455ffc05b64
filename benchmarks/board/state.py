"""How a board fares: clock and governor, temperatures, and whether it was throttled."""

from __future__ import annotations

import re
from dataclasses import dataclass

from benchmarks.board.system import System

# Bits of `vcgencmd get_throttled`, Raspberry Pi documentation, "vcgencmd"; the same 16 bits further up: since boot.
_THROTTLED_BITS = ("under-voltage", "clock capped", "throttled", "soft temperature limit")
_SINCE_BOOT = 16
_HEXADECIMAL = re.compile(r"^(?:throttled=0x)?([0-9a-fA-F]{1,8})$", re.MULTILINE)
_FIRMWARE = "sys/devices/platform/soc/soc:firmware/get_throttled"
_CPUFREQ = "sys/devices/system/cpu/cpu*/cpufreq"
# Zones of the processor itself, by how Raspberry Pi OS, Jetson Linux and x86 kernels name them.
_CPU_ZONES = ("cpu-thermal", "CPU-therm", "x86_pkg_temp", "k10temp", "coretemp")


@dataclass(frozen=True)
class Clock:
    """Clock in Hz, now and at most, of the fastest core, with what told it; governors of all cores."""

    now_hz: float | None
    most_hz: float | None
    governors: tuple[str, ...]
    source: str


@dataclass(frozen=True)
class Throttling:
    """What holds the clock back now, and counts or flags that rise when something did; None if nothing tells."""

    now: tuple[str, ...] | None
    past: tuple[tuple[str, int], ...]
    source: str


def clock(system: System) -> Clock:
    """The clock by cpufreq, by the Raspberry Pi's firmware, or by /proc/cpuinfo."""
    folders = system.glob(_CPUFREQ)
    governors = tuple(sorted({name for at in folders if (name := system.text(f"{at}/scaling_governor"))}))
    now = _largest(system, folders, "scaling_cur_freq", 1e3)
    most = _largest(system, folders, "scaling_max_freq", 1e3)
    if now:
        return Clock(now, most, governors, "cpufreq")
    firmware = re.search(r"frequency\(\d+\)=(\d+)", system.command("vcgencmd", "measure_clock", "arm") or "")
    if firmware:
        return Clock(float(firmware[1]), most, governors, "vcgencmd measure_clock arm")
    told = [float(each) for each in re.findall(r"^cpu MHz\s*:\s*([\d.]+)$", _cpuinfo(system), re.MULTILINE)]
    if told:
        return Clock(max(told) * 1e6, most, governors, "/proc/cpuinfo")
    return Clock(None, most, governors, "neither cpufreq nor /proc/cpuinfo tells")


def _cpuinfo(system: System) -> str:
    return system.text("proc/cpuinfo") or ""


def _largest(system: System, folders: list[str], name: str, unit: float) -> float | None:
    found = [value * unit for at in folders if (value := system.number(f"{at}/{name}")) is not None]
    return max(found, default=None)


def temperatures_c(system: System) -> dict[str, float]:
    """Temperatures in degrees Celsius by the names of their sensors; empty where none tells."""
    found = {}
    for zone in system.glob("sys/class/thermal/thermal_zone*"):
        name, milli = system.text(f"{zone}/type"), system.number(f"{zone}/temp")
        if name and milli is not None:
            found[name] = milli / 1e3
    for chip in system.glob("sys/class/hwmon/hwmon*"):
        name, milli = system.text(f"{chip}/name"), system.number(f"{chip}/temp1_input")
        if name in _CPU_ZONES and name not in found and milli is not None:
            found[name] = milli / 1e3
    if not found:
        firmware = re.search(r"temp=([\d.]+)", system.command("vcgencmd", "measure_temp") or "")
        if firmware:
            found["vcgencmd measure_temp"] = float(firmware[1])
    return found


def processor_c(temperatures: dict[str, float]) -> float | None:
    """The processor's own temperature among `temperatures`; the greatest, if none names the processor."""
    for name in _CPU_ZONES:
        if name in temperatures:
            return temperatures[name]
    return max(temperatures.values(), default=None)


def throttling(system: System) -> Throttling:
    """By the Raspberry Pi's firmware, by x86 counters, or by the over-current counters of a Jetson."""
    for told, source in (
        (system.command("vcgencmd", "get_throttled"), "vcgencmd get_throttled"),
        (system.text(_FIRMWARE), f"/{_FIRMWARE}"),
    ):
        if told and (hexadecimal := _HEXADECIMAL.search(told)):
            bits = int(hexadecimal[1], 16)
            now = tuple(name for bit, name in enumerate(_THROTTLED_BITS) if bits >> bit & 1)
            past = tuple((name, bits >> bit + _SINCE_BOOT & 1) for bit, name in enumerate(_THROTTLED_BITS))
            return Throttling(now, past, source)
    for pattern, source in (
        ("sys/devices/system/cpu/cpu*/thermal_throttle/*_throttle_count", "thermal_throttle counters"),
        ("sys/class/hwmon/hwmon*/oc*_event_cnt", "over-current counters"),
    ):
        counts: dict[str, int] = {}
        for path in system.glob(pattern):
            name = path.rpartition("/")[2].removesuffix("_count").removesuffix("_event_cnt").replace("_", " ")
            counts[name] = counts.get(name, 0) + int(system.number(path) or 0)
        if counts:
            return Throttling((), tuple(sorted(counts.items())), source)
    return Throttling(None, (), "neither firmware nor kernel counts it")


def throttled_since(before: Throttling, after: Throttling) -> list[str] | None:
    """What held the clock back at either time or between them; None if nothing tells."""
    if before.now is None or after.now is None:
        return None
    earlier = dict(before.past)
    rose = [name for name, count in after.past if count > earlier.get(name, 0)]
    return list(dict.fromkeys([*before.now, *after.now, *rose]))
