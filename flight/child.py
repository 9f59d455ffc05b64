"""A flight process as its supervisor holds it: started with caps applied, given its orders, read, ended."""

from __future__ import annotations

import os
import select
import signal
import subprocess
import sys
from collections.abc import Sequence
from contextlib import suppress

from flight import blackbox, orders
from flight.blackbox import BlackBox, Snapshot
from flight.caps import PARENT_VARIABLE, one_blas_thread
from flight.orders import Orders

ABORT_S = 2.0  # for its stack, before it is killed


class Child:
    """A process that runs `command` in this Python; it does nothing before `begin`."""

    def __init__(self, command: Sequence[str]) -> None:
        self.box = BlackBox.create()
        reader, self._orders = os.pipe2(os.O_CLOEXEC)
        environment = one_blas_thread(dict(os.environ))
        environment[PARENT_VARIABLE] = str(os.getpid())
        environment[blackbox.VARIABLE] = str(self.box.descriptor)
        environment[orders.VARIABLE] = str(reader)
        environment.pop("NOTIFY_SOCKET", None)
        self.process = subprocess.Popen(
            [sys.executable, *command], env=environment, pass_fds=(self.box.descriptor, reader)
        )
        os.close(reader)
        self._pidfd = os.pidfd_open(self.process.pid)

    def begin(self, given: Orders) -> None:
        """Give it its orders."""
        with suppress(BrokenPipeError):
            os.write(self._orders, given.dump())
        os.close(self._orders)
        self._orders = -1

    def ended(self, timeout_s: float) -> int | None:
        """Wait up to `timeout_s` for its end; its exit code (negative: signal), None while it lives."""
        select.select([self._pidfd], [], [], timeout_s)
        return self.process.poll()

    def read(self) -> Snapshot:
        """What it says of itself, also after its death."""
        return self.box.read()

    def abort(self) -> int:
        """End it with SIGABRT, on which it leaves its stack, and with SIGKILL if that is not enough; the exit code."""
        self.process.send_signal(signal.SIGABRT)
        if self.ended(ABORT_S) is None:
            self.process.kill()
        return self.process.wait()

    def stop(self, number: int = signal.SIGTERM) -> None:
        """Ask it to end."""
        if self.process.poll() is None:
            self.process.send_signal(number)

    def close(self) -> None:
        """Kill it if it lives, and let go of everything."""
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        if self._orders >= 0:
            os.close(self._orders)
            self._orders = -1
        os.close(self._pidfd)
        self.box.close()
