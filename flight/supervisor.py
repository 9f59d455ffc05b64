"""The parent of the flight process: starts it, waits for it, says why it ended, and starts it again."""

from __future__ import annotations

import logging
import os
import signal
import subprocess
import sys
from collections import deque
from collections.abc import Sequence
from types import FrameType

from flight.caps import PARENT_VARIABLE, die_with_parent, one_blas_thread
from flight.clock import wall_s

log = logging.getLogger("swath.supervisor")

EXIT_MEMORY = 75  # the process stepped down before its memory cap did it (EX_TEMPFAIL of sysexits.h)
EXIT_CONFIG = 78  # its configuration, keys or state cannot be used: starting again would not help (EX_CONFIG)
MAX_CRASHES = 8
CRASH_WINDOW_S = 60.0
_STOP_SIGNALS = (signal.SIGTERM, signal.SIGINT)
BACK_OFF_S = (0.0, 0.0, 0.5, 1.0, 2.0, 4.0)


def cause(code: int) -> str:
    """Why a process with this exit code (negative: signal) ended."""
    if code < 0:
        try:
            return f"killed by {signal.Signals(-code).name}"
        except ValueError:  # most real-time signals have no name
            return f"killed by signal {-code}"
    known = {0: "ended normally", EXIT_MEMORY: "memory cap reached", EXIT_CONFIG: "unusable configuration or state"}
    return known.get(code, f"exit code {code}")


class Supervisor:
    """Runs `command` until it ends normally, cannot run at all, or crashes too often.

    `run` returns the exit code for the supervisor itself: 0 after a normal end, else the child's code or 1.
    The child finds the cause of its predecessor's death in the environment variable SWATH_LAST_CAUSE.
    """

    def __init__(self, command: Sequence[str]) -> None:
        self.command = list(command)
        self.child: subprocess.Popen[bytes] | None = None
        self.stopping = False
        self.crashes: deque[float] = deque()

    def run(self) -> int:
        """Supervise until there is nothing more to supervise."""
        die_with_parent() if PARENT_VARIABLE in os.environ else None
        for number in _STOP_SIGNALS:
            signal.signal(number, self._stop)
        last_cause = ""
        while not self.stopping:
            code = self._run_once(last_cause)
            last_cause = cause(code)
            if code == 0 or self.stopping:
                return 0
            log.warning("flight process: %s", last_cause)
            if code == EXIT_CONFIG:
                return code
            if not self._may_restart():
                log.error("%d crashes in %.0f s: giving up", len(self.crashes), CRASH_WINDOW_S)
                return 1
            self._back_off()
        return 0

    def _run_once(self, last_cause: str) -> int:
        environment = one_blas_thread(dict(os.environ))
        environment[PARENT_VARIABLE] = str(os.getpid())
        environment["SWATH_LAST_CAUSE"] = last_cause
        self.child = subprocess.Popen([sys.executable, *self.command], env=environment)
        if self.stopping:  # the signal came before there was a child to pass it on to
            self.child.terminate()
        return self.child.wait()

    def _may_restart(self) -> bool:
        now = wall_s()
        self.crashes.append(now)
        while now - self.crashes[0] > CRASH_WINDOW_S:
            self.crashes.popleft()
        return len(self.crashes) <= MAX_CRASHES

    def _back_off(self) -> None:
        """Wait, longer after each crash; a signal to stop ends the wait."""
        back_off_s = BACK_OFF_S[min(len(self.crashes), len(BACK_OFF_S) - 1)]
        signal.pthread_sigmask(signal.SIG_BLOCK, _STOP_SIGNALS)
        try:
            if not self.stopping and signal.sigtimedwait(_STOP_SIGNALS, back_off_s) is not None:
                self.stopping = True
        finally:
            signal.pthread_sigmask(signal.SIG_UNBLOCK, _STOP_SIGNALS)

    def _stop(self, number: int, frame: FrameType | None) -> None:
        self.stopping = True
        if self.child is not None and self.child.poll() is None:
            self.child.terminate()
