"""From `kill -9` of the flight process to the first telecommand that is acknowledged again, over real sockets."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from flight.clock import unix_s, wall_s
from flight.config import LinkConfig
from flight.crashes import DIRECTORY, RECORD, CrashLog
from flight.edge import Edge, PortSpec
from flight.link.dictionary import Telecommand
from flight.link.endpoint import Endpoint
from flight.link.events import CommandAcknowledged
from flight.link.keys import KeyRing
from flight.step import Output

LINK = LinkConfig(uplink_bps=1e7, downlink_bps=1e7, turnaround_s=0.0, retry_s=0.5)
CONFIG = """
[link]
uplink_bps = 1e7
downlink_bps = 1e7
turnaround_s = 0.0
retry_s = 0.5
[watchdog]
standby = {standby}
"""
TRY_S, MAX_TRIES = 0.01, 120  # between two telecommands while nobody answers; then they repeat themselves
SETTLE_S = 4.0  # before each kill: telecommands are answered, a process in reserve is ready
PATIENCE_S = 60.0


class Ground:
    """A modem and the ground behind it, on one socket."""

    def __init__(self, directory: Path, keys: KeyRing) -> None:
        self.edge = Edge("ground", [PortSpec(name, f"ipc://{directory}/{name}", True) for name in ("radio", "camera")])
        self.endpoint = Endpoint("ground", LINK, keys)
        self._started_s = unix_s()
        self.endpoint.set_contact(True, self._t())

    def _t(self) -> float:
        return unix_s() - self._started_s

    def serve(self) -> set[int]:
        """Transmit and receive what there is; the numbers of the telecommands that were acknowledged."""
        frame = self.endpoint.poll(self._t())
        if frame is not None:
            self.edge.offer(Output(self._t(), "radio", frame))
        self.edge.receive(1)
        found = set()
        for message in self.edge.take_all():
            for event in self.endpoint.receive(message.body, self._t()) if message.port == "radio" else ():
                if isinstance(event, CommandAcknowledged):
                    found.add(event.number)
        return found

    def until_acknowledged(self) -> float:
        """Send a telecommand every few milliseconds until one of them is acknowledged; how long that took [s]."""
        began_s = wall_s()
        last_s, numbers = -1.0, set[int]()
        while wall_s() - began_s < PATIENCE_S:
            if wall_s() - last_s >= TRY_S and len(numbers) < MAX_TRIES:
                last_s = wall_s()
                numbers.add(self.endpoint.send(Telecommand("ping", {"echo": 0})))
            if numbers & self.serve():
                return wall_s() - began_s
        raise TimeoutError(f"no telecommand was acknowledged within {PATIENCE_S:g} s")

    def settle(self, seconds: float) -> None:
        """Let whatever is under way come to its end."""
        began_s = wall_s()
        while wall_s() - began_s < seconds:
            self.serve()


@contextmanager
def flight(directory: Path, standby: bool) -> Iterator[subprocess.Popen[bytes]]:
    """A supervisor with its flight process, on what `directory` holds."""
    (directory / "flight.toml").write_text(CONFIG.format(standby=str(standby).lower()), encoding="utf-8")
    arguments = ["run", "--state", directory / "state", "--keys", directory / "keys.toml"]
    arguments += ["--config", directory / "flight.toml"]
    arguments += ["--radio", f"ipc://{directory}/radio", "--camera", f"ipc://{directory}/camera"]
    with (directory / "log").open("ab") as log:
        started = subprocess.Popen([sys.executable, "-m", "flight.cli", *arguments], stdout=log, stderr=log)
    try:
        yield started
    finally:
        started.terminate()
        started.wait(10)


def measure(standby: bool, kills: int) -> list[tuple[float, float]]:
    """Seconds from each of so many kills to the first acknowledged telecommand, and CPU seconds of that process."""
    with tempfile.TemporaryDirectory(prefix="swath-") as name:
        directory = Path(name)
        keys = KeyRing.generate(os.urandom)
        (directory / "keys.toml").write_bytes(keys.dump())
        ground = Ground(directory, keys)
        took = []
        try:
            with flight(directory, standby) as started:
                ground.until_acknowledged()
                for _ in range(kills):
                    ground.settle(SETTLE_S)
                    os.kill(_child(started.pid, directory), signal.SIGKILL)
                    wall = ground.until_acknowledged()
                    took.append((wall, _cpu_s(_child(started.pid, directory))))
        finally:
            ground.edge.close()
    return took


def _cpu_s(pid: int) -> float:
    """CPU time that a process has used since it was started [s]."""
    fields = Path(f"/proc/{pid}/stat").read_text(encoding="ascii").rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def _child(supervisor: int, directory: Path) -> int:
    """The flight process: of the supervisor's children the one that is not in reserve."""
    record = CrashLog.read(directory / "state" / DIRECTORY / RECORD)
    text = Path(f"/proc/{supervisor}/task/{supervisor}/children").read_text(encoding="ascii")
    for pid in map(int, re.findall(r"\d+", text)):
        environment = Path(f"/proc/{pid}/environ").read_bytes()
        if f"SWATH_BLACKBOX_FD={record.blackbox}\0".encode() in environment:
            return pid
    raise RuntimeError(f"supervisor {supervisor} has no flight process")
