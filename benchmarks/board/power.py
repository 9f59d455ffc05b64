"""Electrical power, where a board measures it: the Raspberry Pi 5's PMIC, a Jetson's INA3221, x86 RAPL."""

from __future__ import annotations

import re
import statistics
import threading
from collections.abc import Callable
from dataclasses import dataclass

from benchmarks.board.identity import board
from benchmarks.board.system import System
from flight.clock import wall_s

_SAMPLE_S = 0.25
_RAIL = re.compile(r"^\s*(\w+)_([AV])\s+(?:current|volt)\(\d+\)=([\d.]+)[AV]\s*$", re.MULTILINE)
# Rails of the INA3221 that carry everything the module draws, as Jetson Linux labels them.
_WHOLE_MODULE = ("VDD_IN",)


@dataclass(frozen=True)
class Meter:
    """Something that tells power.

    Attributes:
        source: where it reads.
        covers: what of the board's power it sees.
        watts: power at this instant [W], None if it does not answer; for meters without a counter.
        joules: (energy so far [J], where the counter starts again [J]) of each zone; for meters that count energy.
    """

    source: str
    covers: str
    watts: Callable[[], float | None] | None = None
    joules: Callable[[], list[tuple[float, float]] | None] | None = None


@dataclass(frozen=True)
class Power:
    """Mean power [W] over some time [s]; None, and why, if it could not be measured."""

    watts: float | None
    seconds: float
    why: str = ""


def meter(system: System) -> Meter | str:
    """The board's meter; if it has none, the reason."""
    if system.command("vcgencmd", "pmic_read_adc") is not None and _pmic_watts(system) is not None:
        return Meter(
            "vcgencmd pmic_read_adc",
            "the PMIC's rails: processor, memory and board; neither USB nor what the regulators lose",
            watts=lambda: _pmic_watts(system),
        )
    rails = _ina_rails(system)
    if rails:
        whole = [rail for rail in rails if rail[0] in _WHOLE_MODULE]
        chosen = whole or rails
        return Meter(
            "INA3221 " + ", ".join(label for label, _, _ in chosen),
            "the whole module" if whole else "the module's measured rails, added up",
            watts=lambda: _ina_watts(system, chosen),
        )
    return _rapl(system)


def _pmic_watts(system: System) -> float | None:
    """Sum over the rails whose current the PMIC measures; the 5 V input has a voltage alone."""
    told: dict[str, dict[str, float]] = {}
    for name, kind, value in _RAIL.findall(system.command("vcgencmd", "pmic_read_adc") or ""):
        told.setdefault(name, {})[kind] = float(value)
    watts = [rail["A"] * rail["V"] for rail in told.values() if len(rail) == 2]
    return sum(watts) if watts else None


def _ina_rails(system: System) -> list[tuple[str, str, str]]:
    """(label, voltage [mV], current [mA]) of each channel: hwmon, ina3221 driver of Linux."""
    rails = []
    for chip in system.glob("sys/class/hwmon/hwmon*"):
        if system.text(f"{chip}/name") != "ina3221":
            continue
        for channel in (1, 2, 3):
            label = system.text(f"{chip}/in{channel}_label")
            volts, current = f"{chip}/in{channel}_input", f"{chip}/curr{channel}_input"
            if label and label != "NC" and system.number(current) is not None:
                rails.append((label, volts, current))
    return rails


def _ina_watts(system: System, rails: list[tuple[str, str, str]]) -> float | None:
    readings = [(system.number(volts), system.number(current)) for _, volts, current in rails]
    if any(volts is None or current is None for volts, current in readings):
        return None
    return sum((volts or 0.0) * (current or 0.0) for volts, current in readings) * 1e-6


def _rapl(system: System) -> Meter | str:
    """The packages' energy counters: powercap framework of Linux. AMD processors have them under the same name."""
    zones = [at for at in system.glob("sys/class/powercap/intel-rapl:*") if at.count(":") == 1]
    if not zones:
        told = board(system)
        if told.is_pi:
            return "this Raspberry Pi has no current sensor: the 5 has one, or measure at the supply"
        return "the board has no meter that Linux reads: neither PMIC, INA3221 nor RAPL"
    packages = [at for at in zones if (system.text(f"{at}/name") or "").startswith("package")] or zones
    if any(system.number(f"{at}/energy_uj") is None for at in packages):
        return f"only root may read /{packages[0]}/energy_uj: run as root, or sudo chmod a+r /{packages[0]}/energy_uj"

    def joules() -> list[tuple[float, float]] | None:
        counts = [(system.number(f"{at}/energy_uj"), system.number(f"{at}/max_energy_range_uj")) for at in packages]
        return [(count * 1e-6, (most or 0.0) * 1e-6) for count, most in counts if count is not None] or None

    covers = " and ".join(system.text(f"{at}/name") or at for at in packages)
    return Meter("RAPL", f"{covers} of the processor, without memory and board", joules=joules)


def measure(system: System, work: Callable[[], object], least_s: float) -> Power:
    """Mean power while `work` is repeated for at least `least_s` seconds."""
    chosen = meter(system)
    if isinstance(chosen, str):
        return Power(None, 0.0, chosen)
    if chosen.joules is not None:
        return _counted(chosen, chosen.joules, work, least_s)
    assert chosen.watts is not None  # noqa: S101  # a meter has one or the other
    return _sampled(chosen, chosen.watts, work, least_s)


def _repeat(work: Callable[[], object], least_s: float) -> float:
    start = wall_s()
    while wall_s() - start < least_s:
        work()
    return wall_s() - start


def _counted(
    chosen: Meter,
    joules: Callable[[], list[tuple[float, float]] | None],
    work: Callable[[], object],
    least_s: float,
) -> Power:
    before = joules()
    seconds = _repeat(work, least_s)
    after = joules()
    if before is None or after is None or len(before) != len(after):
        return Power(None, seconds, f"{chosen.source} did not answer")
    used = [new - old + (most if new < old else 0.0) for (old, most), (new, _) in zip(before, after, strict=True)]
    return Power(sum(used) / seconds, seconds)


def _sampled(chosen: Meter, watts: Callable[[], float | None], work: Callable[[], object], least_s: float) -> Power:
    """Samples come from a second thread: a command that reads a sensor waits, it does not compute."""
    samples: list[float] = []
    done = threading.Event()

    def sample() -> None:
        while not done.wait(_SAMPLE_S):
            value = watts()
            if value is not None:
                samples.append(value)

    thread = threading.Thread(target=sample, daemon=True)
    thread.start()
    try:
        seconds = _repeat(work, least_s)
    finally:
        done.set()
        thread.join()
    if not samples:
        return Power(None, seconds, f"{chosen.source} did not answer")
    return Power(statistics.fmean(samples), seconds)
