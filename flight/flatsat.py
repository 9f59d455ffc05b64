"""A board as the satellite of a mission that a desk elsewhere flies: starts flight, ends it, and hands over its record.

One socket, msgpack arrays, request to answer::

    hello()                                               ->  hello(version, machine, unix_s)
    start(config, control, radio, camera, epoch, rate, encoder files)  ->  started()
    look()                                                ->  running() | ended(exit code, end of the log)
    kill()                                                ->  killed()           SIGKILL to the flight process
    record(name)                                          ->  record(bytes or nil)
    stop()                                                ->  stopped()
    anything else                                         ->  refused(why)

Over TCP only a desk whose key the board has is let in, and everything else that flight opens is protected by the same
certificate. A mission ends with the desk that started it: by `stop`, or when its connection is gone for a while.
"""

from __future__ import annotations

import logging
import os
import platform
import shutil
import signal
import subprocess
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any

import msgpack
import zmq

from flight import __version__
from flight.caps import PARENT_VARIABLE, one_blas_thread
from flight.clock import unix_s, wall_s
from flight.curve import Curve, Gate
from flight.errors import RefusedError
from flight.hop import Watch, leaves_machine, new_socket
from flight.store import Store

log = logging.getLogger("swath.flatsat")

CERTIFICATE, PEERS, KEYS = "flight.key_secret", "peers", "keys.toml"
RECORDS = ("checkpoint",)
MAX_CONFIG_BYTES = 64 << 10
MAX_ENDPOINT_CHARS = 200
MAX_ENCODERS, MAX_ENCODER_BYTES = 8, 6 << 20  # together; a message of the hop has at most 8 MiB
LOG_TAIL_BYTES = 2000
DESK_GONE_S = 10.0  # of wall time without the desk's connection, after which its mission is ended
STOP_TIMEOUT_S = 5.0
_POLL_MS = 250
_REQUESTS: dict[str, tuple[Any, ...]] = {
    "hello": (),
    "start": (str, str, str, str, (float, type(None)), float, list),
    "look": (),
    "kill": (),
    "record": (str,),
    "stop": (),
}


class Flight:
    """The supervisor of one mission, with the state in `directory`."""

    def __init__(self, directory: Path, keys: Path, options: list[str], request: tuple[Any, ...]) -> None:
        config, control, radio, camera, epoch, rate, encoders = request
        shutil.rmtree(directory, ignore_errors=True)
        directory.mkdir(parents=True)
        self.log = directory / "flight.log"
        self.state = directory / "state"
        (directory / "flight.toml").write_text(config, encoding="utf-8")
        arguments = [
            "run",
            "--fall-back",
            "--state",
            str(self.state),
            "--keys",
            str(keys),
            "--config",
            str(directory / "flight.toml"),
        ]
        arguments += ["--radio", radio, "--camera", camera, "--control", control, *options]
        for i, data in enumerate(encoders):
            (directory / f"encoder-{i}").write_bytes(data)
            arguments += ["--encoder", str(directory / f"encoder-{i}")]
        if epoch is not None:
            arguments += ["--epoch", repr(epoch), "--rate", repr(rate)]
        environment = one_blas_thread(dict(os.environ)) | {PARENT_VARIABLE: str(os.getpid())}
        with self.log.open("wb") as output:
            self.supervisor = subprocess.Popen(
                [sys.executable, "-m", "flight.cli", *arguments],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,
                env=environment,
            )

    def tail(self) -> str:
        """The end of what it has printed."""
        return self.log.read_bytes()[-LOG_TAIL_BYTES:].decode("utf-8", "replace").strip()

    def kill(self) -> None:
        """SIGKILL to the flight process, not to its supervisor; RefusedError if there is none now."""
        children = Path(f"/proc/{self.supervisor.pid}/task/{self.supervisor.pid}/children")
        with suppress(OSError):
            pids = [int(pid) for pid in children.read_text(encoding="ascii").split()]
            if pids:
                os.kill(pids[0], signal.SIGKILL)
                return
        raise RefusedError("there is no flight process at this moment")

    def end(self) -> None:
        """End the supervisor and what it has started."""
        for number, wait_s in ((signal.SIGTERM, STOP_TIMEOUT_S), (signal.SIGKILL, STOP_TIMEOUT_S)):
            with suppress(ProcessLookupError):
                os.killpg(self.supervisor.pid, number)
            with suppress(subprocess.TimeoutExpired):
                self.supervisor.wait(wait_s)


class FlatSat:
    """Serves desks at `endpoint`; `keys` is the board's directory of keys, `state` holds the mission's directory.

    Missions fly with the kernels of `bundle`, if it is given.
    CurveError if the keys do not fit; ValueError if `endpoint` would let strangers in.
    """

    def __init__(self, endpoint: str, keys: Path, state: Path, bundle: Path | None = None) -> None:
        self.keys, self.directory = keys, state / "flatsat"
        curve = Curve.load(True, keys / CERTIFICATE, keys / PEERS) if (keys / CERTIFICATE).exists() else None
        if curve is None and leaves_machine(endpoint):
            raise ValueError(f"{endpoint}: other machines can reach it, and {keys / CERTIFICATE} is not there")
        self.options = [] if bundle is None else ["--bundle", str(bundle)]
        if curve is not None:
            self.options += ["--certificate", str(keys / CERTIFICATE), "--peers", str(keys / PEERS)]
        self.context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        self.socket = new_socket(self.context, zmq.ROUTER, endpoint)
        self.gate = Gate(self.context, {"flatsat": curve.peers}) if curve is not None else None
        if curve is not None:
            curve.protect(self.socket, "flatsat")
        self.watch = Watch(self.socket, f"flatsat at {endpoint}", "server" if curve else "open")
        self.socket.bind(endpoint)
        self.poller = zmq.Poller()
        for each in (self.socket, self.watch.monitor, *((self.gate.socket,) if self.gate else ())):
            self.poller.register(each, zmq.POLLIN)
        self.flight: Flight | None = None
        self.stopping = False
        self._desk_seen_s = wall_s()

    @property
    def endpoint(self) -> str:
        """Where it listens, with the port that was found if none was named."""
        found = self.socket.getsockopt(zmq.LAST_ENDPOINT)
        return found.decode().rstrip("\0") if isinstance(found, bytes) else str(found)

    def serve(self) -> None:
        """Serve until `stopping` is set."""
        try:
            while not self.stopping:
                self.poller.poll(_POLL_MS)
                self._turn()
        finally:
            self._end()
            self.context.destroy(linger=0)

    def _turn(self) -> None:
        """Take in what has come."""
        if self.gate:
            self.gate.answer()
        self.watch.look()
        while self.socket.poll(0):
            peer, *parts = self.socket.recv_multipart()
            with suppress(zmq.Again, zmq.ZMQError):  # a desk that is gone has no use for an answer
                self.socket.send_multipart([peer, msgpack.packb(self._answer(parts))], zmq.NOBLOCK)
            self._desk_seen_s = wall_s()
        if self.watch.connected:
            self._desk_seen_s = wall_s()
        if self.flight is not None and wall_s() - self._desk_seen_s > DESK_GONE_S:
            log.warning("the desk is gone: its mission is ended")
            self._end()

    def _answer(self, parts: list[bytes]) -> tuple[Any, ...]:
        try:
            kind, arguments = _read(parts)
            answer: tuple[Any, ...] = getattr(self, f"_{kind}")(*arguments)
            return answer
        except (RefusedError, OSError) as error:
            log.warning("refused: %s", error)
            return "refused", str(error)

    def _hello(self) -> tuple[Any, ...]:
        return "hello", __version__, platform.machine(), unix_s()

    def _start(self, config: str, *request: Any) -> tuple[Any, ...]:
        if self.flight is not None and self.flight.supervisor.poll() is None:
            raise RefusedError("a mission is under way on this board; stop it first")
        if len(config.encode()) > MAX_CONFIG_BYTES:
            raise RefusedError(f"a configuration of {len(config):,} characters; {MAX_CONFIG_BYTES:,} bytes at most")
        for endpoint in request[:3]:
            if not endpoint.startswith("tcp://") or len(endpoint) > MAX_ENDPOINT_CHARS:
                raise RefusedError(f"endpoint {endpoint[:MAX_ENDPOINT_CHARS]!r}: expected tcp://ADDRESS:PORT")
        encoders = request[-1]
        if len(encoders) > MAX_ENCODERS or not all(isinstance(each, bytes) for each in encoders):
            raise RefusedError(f"encoder files: expected {MAX_ENCODERS} at most")
        if sum(map(len, encoders)) > MAX_ENCODER_BYTES:
            raise RefusedError(f"encoder files of {sum(map(len, encoders)):,} bytes; {MAX_ENCODER_BYTES:,} at most")
        self.flight = Flight(self.directory, self.keys / KEYS, self.options, (config, *request))
        log.info("a mission begins")
        return ("started",)

    def _look(self) -> tuple[Any, ...]:
        flight = self._running()
        code = flight.supervisor.poll()
        return ("running",) if code is None else ("ended", code, flight.tail())

    def _kill(self) -> tuple[Any, ...]:
        self._running().kill()
        return ("killed",)

    def _record(self, name: str) -> tuple[Any, ...]:
        if name not in RECORDS:
            raise RefusedError(f"record {name[:40]!r}: only {', '.join(RECORDS)} can be asked for")
        return "record", Store(self._running().state).get(name)

    def _stop(self) -> tuple[Any, ...]:
        self._end()
        return ("stopped",)

    def _running(self) -> Flight:
        if self.flight is None:
            raise RefusedError("no mission has been started")
        return self.flight

    def _end(self) -> None:
        if self.flight is not None:
            self.flight.end()
            self.flight = None
            log.info("the mission has ended")


def _read(parts: list[bytes]) -> tuple[str, list[Any]]:
    """A request: its kind and arguments; RefusedError if it is none."""
    try:
        request = msgpack.unpackb(parts[0]) if len(parts) == 1 else None
    except (ValueError, msgpack.UnpackException):
        request = None
    if not isinstance(request, list) or not request or not isinstance(request[0], str):
        raise RefusedError("not a request")
    kind, *arguments = request
    kinds = _REQUESTS.get(kind)
    if kinds is None or len(kinds) != len(arguments) or not all(map(isinstance, arguments, kinds)):
        raise RefusedError(f"request {kind[:40]!r}: unknown, or with other arguments than this version takes")
    return kind, arguments
