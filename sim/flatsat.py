"""Flight on a board, seen from the desk: the same mission, with its flight process on another machine."""

from __future__ import annotations

import re
import socket
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import msgpack
import zmq

from flight.clock import unix_s, wall_s
from flight.curve import Curve
from flight.edge import EdgeError
from flight.flatsat import MAX_ENCODER_BYTES
from flight.hop import Watch, new_socket
from sim.lockstep import LockstepError

CERTIFICATE, BOARD, KEYS = "desk.key_secret", "flight.key", "keys.toml"
ANSWER_TIMEOUT_S = 30.0
LOOK_PERIOD_S = 2.0  # of wall time, between questions whether flight still runs
MAX_CLOCK_OFFSET_S = 0.2  # in wall time both machines must have the same
_ADDRESS = re.compile(r"tcp://[^/\s]+:\d+")


class Board:
    """The board at `endpoint`, with the desk's keys in `keys`; ends what it has started there when it is closed.

    ValueError if the endpoint is none, CurveError if the keys do not fit, EdgeError if nobody answers.
    """

    name = "flight"

    def __init__(self, endpoint: str, keys: Path) -> None:
        if not _ADDRESS.fullmatch(endpoint):
            raise ValueError(f"--flight {endpoint}: expected tcp://BOARD:PORT, where `swath-flight listen` listens")
        self.endpoint, self.keys = endpoint, keys
        self.curve = Curve.load(False, keys / CERTIFICATE, keys / BOARD)
        self.ended = True
        self._look_s = 0.0
        self._context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        self._socket = new_socket(self._context, zmq.DEALER, endpoint)
        self.curve.protect(self._socket, self.name)
        self._watch = Watch(self._socket, f"desk, {endpoint}", "client")
        self._socket.connect(endpoint)

    def start(
        self, config: str, ports: dict[str, int], clock: tuple[float, float] | None, encoders: Sequence[bytes] = ()
    ) -> str:
        """Start flight there; what the board says of itself. `ports` are those at this desk that flight connects to.

        `encoders` are the files of an encoder that it is started with.

        EdgeError if the board runs another version, or, with a `clock`, tells another time.
        """
        if sum(map(len, encoders)) > MAX_ENCODER_BYTES:
            raise EdgeError(f"encoder files have more than {MAX_ENCODER_BYTES:,} bytes together: too much for a board")
        version, machine, board_unix_s = self.ask("hello")
        offset_s = board_unix_s - unix_s()
        if clock is not None and abs(offset_s) > MAX_CLOCK_OFFSET_S:
            raise EdgeError(
                f"the clock of {self.endpoint} is off by {offset_s:+.1f} s: synchronise both machines (NTP)"
            )
        address = _own_address(self.endpoint)
        here = [f"tcp://{address}:{ports[name]}" for name in ("control", "radio", "camera")]
        epoch, rate = clock if clock is not None else (None, 1.0)
        self.ask("start", config, *here, epoch, rate, list(encoders))
        self.ended = False
        return f"{machine}, swath {version}"

    def check(self) -> None:
        """LockstepError with the end of its log if flight has ended."""
        if wall_s() < self._look_s:
            return
        self._look_s = wall_s() + LOOK_PERIOD_S
        answer = self.ask("look")
        if answer:
            raise LockstepError(
                f"flight on {self.endpoint} ended with exit code {answer[0]}; end of its log:\n{answer[1]}"
            )

    def kill(self, pid: int) -> None:
        """SIGKILL to the flight process, not to its supervisor."""
        self.ask("kill")

    def record(self, name: str) -> bytes | None:
        """A record of flight's store."""
        (data,) = self.ask("record", name)
        found: bytes | None = data
        return found

    def end(self) -> None:
        """End flight there."""
        if not self.ended:
            self.ended = True
            self.ask("stop")

    def close(self) -> None:
        """Close the connection."""
        self._context.destroy(linger=0)

    def ask(self, kind: str, *arguments: Any) -> list[Any]:
        """Send a request; what the answer says. EdgeError if none comes, or if the board refuses."""
        deadline_s = wall_s() + ANSWER_TIMEOUT_S
        request = msgpack.packb((kind, *arguments))
        while True:
            self._watch.look()
            try:
                self._socket.send(request, zmq.NOBLOCK)
                break
            except zmq.Again as error:
                if wall_s() > deadline_s:
                    why = self._watch.why or "is `swath-flight listen` running there?"
                    raise EdgeError(f"nobody answers at {self.endpoint}: {why}") from error
                self._socket.poll(50, zmq.POLLOUT)
        if not self._socket.poll(int(1000 * max(0.0, deadline_s - wall_s()))):
            raise EdgeError(f"{self.endpoint} has not answered {kind!r} within {ANSWER_TIMEOUT_S:.0f} s")
        found, *rest = msgpack.unpackb(self._socket.recv())
        if found == "refused":
            raise EdgeError(f"{self.endpoint} refused {kind!r}: {rest[0]}")
        return rest


def _own_address(endpoint: str) -> str:
    """The address of this machine that a board at `endpoint` can reach it at."""
    parts = urlsplit(endpoint)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.connect((parts.hostname or "", parts.port or 0))  # sends nothing
        return str(probe.getsockname()[0])
