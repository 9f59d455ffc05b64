"""Why a process ended, whose fault that was, and what to do about it: the supervisor's memory, and its rules.

Deaths that come from outside (a kill, a power switch, a restart of the supervisor) only make the next start wait. What
counts are crashes, hangs and too much memory: after `crashes` of them within `window_s` the next process starts from
the checkpoint before the newest; after as many more from the factory model, in safe mode; after twice as many again the
supervisor ends, and leaves the rest to whoever started it. The record survives a restart of the supervisor.
"""

from __future__ import annotations

import json
import os
import signal
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from flight.config import WatchdogConfig
from flight.link.definitions import FALLBACKS

DIRECTORY, RECORD = "supervisor", "record.json"  # of the supervisor, in the state directory, and its memory there
EXIT_MEMORY = 75  # the process stepped down before its memory cap did it (EX_TEMPFAIL of sysexits.h)
EXIT_UNREACHABLE = 69  # radio, camera or board does not answer (EX_UNAVAILABLE): nothing is wrong with this process
EXIT_CRASH = 70  # an exception that nothing was ready for (EX_SOFTWARE)
EXIT_CONFIG = 78  # its configuration, keys or state cannot be used: starting again would not help (EX_CONFIG)
HUNG, OUT_OF_MEMORY = "hung", "killed for memory by the system"
BACK_OFF_S = (0.0, 0.0, 0.5, 1.0, 2.0, 4.0, 8.0)
YOUNG_S = 3.0
MAX_RECORD_BYTES = 1 << 16
MAX_DEATHS = 64
_OUTSIDE = (signal.SIGKILL, signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGPWR)


def cause(code: int) -> str:
    """Why a process with this exit code (negative: signal) ended."""
    if code < 0:
        try:
            return f"killed by {signal.Signals(-code).name}"
        except ValueError:  # most real-time signals have no name
            return f"killed by signal {-code}"
    known = {
        0: "ended normally",
        EXIT_UNREACHABLE: "radio, camera or board unreachable",
        EXIT_CRASH: "unexpected exception",
        EXIT_MEMORY: "memory cap reached",
        EXIT_CONFIG: "unusable configuration or state",
    }
    return known.get(code, f"exit code {code}")


def own_fault(code: int) -> bool:
    """Whether a process with this exit code is itself to blame."""
    return -code not in _OUTSIDE if code < 0 else code not in (0, EXIT_UNREACHABLE, EXIT_CONFIG)


@dataclass
class CrashLog:
    """Deaths of flight processes (Unix times) and what was done about them; `last_cause` is that of the last one."""

    deaths_s: list[float] = field(default_factory=list)  # all, within the window
    crashes_s: list[float] = field(default_factory=list)  # those that count
    last_cause: str = ""
    young: int = 0  # deaths in a row of processes that did not live long
    starts: int = 0
    epoch_unix_s: float | None = None
    pid: int = 0  # of the supervisor
    blackbox: int = -1  # its descriptor of the page that the process writes

    def note(self, why: str, counts: bool, now_s: float, window_s: float, lived_s: float = 0.0) -> None:
        """Remember the death of a process that `lived_s`."""
        self.last_cause = why
        self.young = self.young + 1 if lived_s < YOUNG_S else 0
        self.deaths_s = [*_within(self.deaths_s, now_s, window_s), now_s][-MAX_DEATHS:]
        self.crashes_s = [*_within(self.crashes_s, now_s, window_s), *([now_s] * counts)][-MAX_DEATHS:]

    def fallback(self, config: WatchdogConfig) -> str:
        """What the next process is to use in place of the newest checkpoint; empty for nothing else."""
        steps, rest = divmod(len(self.crashes_s), config.crashes)
        return FALLBACKS[steps - 1] if rest == 0 and 1 <= steps <= len(FALLBACKS) else ""

    def hopeless(self, config: WatchdogConfig) -> bool:
        """Whether the factory model in safe mode has crashed as often as all before it."""
        return len(self.crashes_s) >= 2 * len(FALLBACKS) * config.crashes

    @property
    def back_off_s(self) -> float:
        """How long to wait before the next start: longer each time that a process did not live long."""
        return BACK_OFF_S[min(self.young, len(BACK_OFF_S) - 1)]

    # The record

    def write(self, path: Path) -> None:
        """Bring it to the disk, whole or not at all; a disk that refuses is no reason not to supervise."""
        partial = path.with_name(path.name + ".partial")
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            with partial.open("w", encoding="utf-8") as file:
                json.dump(vars(self), file)
                file.flush()
                os.fsync(file.fileno())
            partial.replace(path)
        except OSError:
            with suppress(OSError):  # as on a disk that is read-only now
                partial.unlink()

    @classmethod
    def read(cls, path: Path) -> CrashLog:
        """What was written; an empty one if there is nothing, or nothing that makes sense."""
        try:
            with path.open("rb") as file:
                values = json.loads(file.read(MAX_RECORD_BYTES))
        except (OSError, ValueError, RecursionError):
            return cls()
        return cls(**values) if _sound(values) else cls()


def _within(times_s: list[float], now_s: float, window_s: float) -> list[float]:
    return [at_s for at_s in times_s if 0 <= now_s - at_s <= window_s]


def _sound(values: Any) -> bool:
    kinds: dict[str, Any] = {"last_cause": str, "young": int, "starts": int, "pid": int, "blackbox": int}
    if not isinstance(values, dict) or set(values) != set(CrashLog.__dataclass_fields__):
        return False
    times = [*values["deaths_s"], *values["crashes_s"]] if _lists(values) else [None]
    epoch = values["epoch_unix_s"]
    return (
        all(type(values[name]) is kind for name, kind in kinds.items())
        and all(isinstance(at_s, float) for at_s in times)
        and (epoch is None or isinstance(epoch, float))
    )


def _lists(values: dict[str, Any]) -> bool:
    return all(isinstance(values[name], list) and len(values[name]) <= MAX_DEATHS for name in ("deaths_s", "crashes_s"))
