"""The parent of the flight process: starts it, watches it, says why it ended, starts it again, with less if need be.

It holds no state of the mission. What it has to remember is in STATE/supervisor, so that it may die as well.
"""

from __future__ import annotations

import logging
import os
import signal
from collections.abc import Sequence
from pathlib import Path
from types import FrameType

from flight import last_words
from flight.caps import PARENT_VARIABLE, die_with_parent, oom_kills
from flight.child import Child
from flight.clock import unix_s, wall_s
from flight.config import WatchdogConfig
from flight.crashes import DIRECTORY, EXIT_CONFIG, HUNG, OUT_OF_MEMORY, RECORD, CrashLog, cause, own_fault
from flight.orders import Orders
from flight.watch import Watchdogs

log = logging.getLogger("swath.supervisor")

POLL_S = 0.2
_STOP_SIGNALS = (signal.SIGTERM, signal.SIGINT)


class Supervisor:
    """Runs `command` until it ends normally, cannot run at all, or all that can be left out has been.

    `run` returns the exit code for the supervisor itself: 0 after a normal end, else the child's code or 1.
    """

    def __init__(
        self,
        command: Sequence[str],
        state: Path,
        config: WatchdogConfig | None = None,
        watchdogs: Watchdogs | None = None,
    ) -> None:
        self.command = list(command)
        self.directory = state / DIRECTORY
        self.config = config or WatchdogConfig()
        self.watchdogs = watchdogs or Watchdogs()
        self.crashes = CrashLog.read(self.directory / RECORD)
        self.child: Child | None = None
        self.standby: Child | None = None
        self.stopping = False

    def mission_epoch(self) -> float:
        """Unix time at which mission time began: when the first supervisor on this state did."""
        if self.crashes.epoch_unix_s is None:
            self.crashes.epoch_unix_s = unix_s()
        return self.crashes.epoch_unix_s

    def run(self) -> int:
        """Supervise until there is nothing more to supervise."""
        if PARENT_VARIABLE in os.environ:
            die_with_parent()
        for number in _STOP_SIGNALS:
            signal.signal(number, self._stop)
        self.directory.mkdir(parents=True, exist_ok=True)
        if self.crashes.pid:  # the one before did not come to its end
            self.crashes.note("the supervisor died", False, unix_s(), self.config.window_s)
        orders = Orders(self.crashes.last_cause)
        try:
            while True:
                code = self._run_once(orders)
                if code == 0 or self.stopping:
                    return 0
                if code == EXIT_CONFIG:
                    return code
                if self.crashes.hopeless(self.config):
                    log.error("%d crashes in %.0f s: giving up", len(self.crashes.crashes_s), self.config.window_s)
                    return 1
                self._back_off()
                if self.stopping:
                    return 0
                orders = Orders(self.crashes.last_cause, self.crashes.fallback(self.config) if self._counted else "")
        finally:
            self._end()

    def _run_once(self, orders: Orders) -> int:
        """One life of a flight process; how it ended, which is written down."""
        kills = oom_kills()
        child, self.standby = self.standby or Child(self.command), None
        self.child = child
        self.crashes.pid, self.crashes.blackbox = os.getpid(), child.box.descriptor
        self.crashes.starts += 1
        began_s = wall_s()
        child.begin(orders)
        self._write()
        if self.stopping:  # the signal came before there was a child to pass it on to
            child.stop()
        code, why = self._watch(child)
        if code == -signal.SIGKILL and oom_kills() > kills:
            code, why = 1, OUT_OF_MEMORY
        self._counted = own_fault(code) and not self.stopping
        if code != 0 and not self.stopping:
            self._write_down(child, why, wall_s() - began_s)
        self.child = None
        child.close()
        return code

    def _write_down(self, child: Child, why: str, lived_s: float) -> None:
        self.crashes.note(why, self._counted, unix_s(), self.config.window_s, lived_s)
        log.warning("flight process: %s", why)
        self.watchdogs.status(f"flight: {why}")
        if self._counted:
            words = last_words.compose(self.directory, why, child.read(), len(self.crashes.crashes_s))
            last_words.write(self.directory, words)
        self._write()

    def _watch(self, child: Child) -> tuple[int, str]:
        """Wait for its end, and end it if it hangs; exit code and cause. All watchdogs are stroked meanwhile."""
        warned = up = False
        while (code := child.ended(POLL_S)) is None:
            page = child.read()
            hung_s = page.hung_s(wall_s())
            if hung_s > self.config.fatal_s and not self.stopping:
                code = child.abort()
                return code or -signal.SIGABRT, f"{HUNG}: {page.where}, {hung_s:.0f} s"
            if hung_s > self.config.warn_s and not warned:
                log.warning("no ping for %.1f s: %s", hung_s, page.where)
            warned = hung_s > self.config.warn_s
            self.watchdogs.stroke()
            if not up and page.ping_s:
                up = True
                self.watchdogs.ready(f"flight: incarnation {page.incarnation}")
            if up and self.standby is None and self.config.standby and not self.stopping:
                self.standby = Child(self.command)
            if self.standby is not None and self.standby.ended(0.0) is not None:
                self.standby.close()
                self.standby = None
        return code, cause(code)

    def _back_off(self) -> None:
        """Wait, longer after each death; a signal to stop ends the wait."""
        signal.pthread_sigmask(signal.SIG_BLOCK, _STOP_SIGNALS)
        try:
            deadline_s = wall_s() + self.crashes.back_off_s
            while not self.stopping and (left_s := deadline_s - wall_s()) > 0:
                self.watchdogs.stroke()
                if signal.sigtimedwait(_STOP_SIGNALS, min(left_s, 1.0)) is not None:
                    self.stopping = True
        finally:
            signal.pthread_sigmask(signal.SIG_UNBLOCK, _STOP_SIGNALS)

    def _end(self) -> None:
        self.watchdogs.end()
        for child in (self.child, self.standby):
            if child is not None:
                child.close()
        self.crashes.pid, self.crashes.blackbox = 0, -1
        self._write()

    def _write(self) -> None:
        self.crashes.write(self.directory / RECORD)

    def _stop(self, number: int, frame: FrameType | None) -> None:
        self.stopping = True
        if self.child is not None:
            self.child.stop()
