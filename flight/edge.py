"""The edge between a core and its sockets: ports, peers, and messages that are named so that none is taken twice.

A *port* joins two cores. One side binds a ROUTER, the other connects a DEALER and says hello with its incarnation; the
binder answers and from then on talks to that incarnation alone. What was sent to a dead one is lost, as it would be in
life. High-water marks are small and nothing lingers: a slow peer slows the sender down, it is never flooded. The
side that connects says hello again whenever its connection was broken and is back.
"""

from __future__ import annotations

import math
from contextlib import suppress
from dataclasses import dataclass, field

import msgpack
import zmq

from flight.clock import wall_s
from flight.curve import Curve, Gate
from flight.hop import REFUSED_RETRY_S, Watch, new_socket
from flight.step import Message, Output

HELLO = b"hello"
WELCOME = b"welcome"
DATA = b"data"
CONTROL = "control"

Name = tuple[str, int, int]  # source, incarnation, sequence


class EdgeError(RuntimeError):
    """A socket peer that cannot be reached or does not keep to the protocol."""


@dataclass(frozen=True)
class PortSpec:
    """Where a port is: its ZeroMQ endpoint, whether this side binds it, and its protection on the way."""

    name: str
    endpoint: str
    bind: bool
    curve: Curve | None = None


@dataclass
class _Port:
    spec: PortSpec
    socket: zmq.Socket[bytes]
    watch: Watch
    peer: bytes | None = None  # ROUTER identity of the latest incarnation that said hello
    joined: bool = False
    hellos: int = 0  # number of the connection on which hello was said last
    retry_at_s: float = math.inf  # wall time at which a connection that was given up is made again
    inbox: dict[Name, Message] = field(default_factory=dict)


class Edge:
    """The ports of one process, called `name` in messages. Numbers what it sends; keeps what it receives by name.

    `control` is the protection of the control socket (`flight.runner`), which shares this edge's context.
    """

    def __init__(self, name: str, ports: list[PortSpec], control: Curve | None = None) -> None:
        self.name = name
        self.incarnation = 0
        self.context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        self.poller = zmq.Poller()
        self.malformed = 0
        self.dropped = 0
        self._sequence = 0
        curves = {spec.name: spec.curve for spec in ports} | {CONTROL: control}
        servers = {name: curve.peers for name, curve in curves.items() if curve and curve.server}
        self._gate = Gate(self.context, servers) if servers else None
        if self._gate:
            self.poller.register(self._gate.socket, zmq.POLLIN)
        self._ports = {spec.name: self._open(spec) for spec in ports}

    def _open(self, spec: PortSpec) -> _Port:
        socket = new_socket(self.context, zmq.ROUTER if spec.bind else zmq.DEALER, spec.endpoint)
        if spec.curve:
            spec.curve.protect(socket, spec.name)
        role = "open" if spec.curve is None else "server" if spec.curve.server else "client"
        watch = Watch(socket, f"{self.name}, port {spec.name}, {spec.endpoint}", role)
        if spec.bind:
            socket.setsockopt(zmq.ROUTER_MANDATORY, 1)
            try:
                socket.bind(spec.endpoint)
            except zmq.ZMQError as error:
                raise EdgeError(f"{self.name}: cannot bind {spec.endpoint} (port {spec.name}): {error}") from None
        else:
            socket.connect(spec.endpoint)
        self.poller.register(socket, zmq.POLLIN)
        self.poller.register(watch.monitor, zmq.POLLIN)
        return _Port(spec, socket, watch)

    def join(self, incarnation: int, timeout_s: float = 30.0) -> None:
        """Say hello on every port that connects and wait for the answers; EdgeError if one does not come."""
        self.incarnation = incarnation
        self._sequence = 0
        deadline_s = wall_s() + timeout_s
        for port in self._ports.values():
            if not port.spec.bind:
                self._patiently(port, [HELLO, b""], deadline_s)
        while waiting := [p.spec for p in self._ports.values() if not (p.spec.bind or p.joined)]:
            if wall_s() > deadline_s:
                raise EdgeError(f"{self.name}: no answer at {self._where(waiting[0])}")
            self.receive(100)

    def _where(self, spec: PortSpec) -> str:
        """The port's endpoint, name, and why nobody could be reached there, if that is known."""
        why = self._ports[spec.name].watch.why
        return f"{spec.endpoint} (port {spec.name})" + (f": {why}" if why else "")

    def _patiently(self, port: _Port, parts: list[bytes], deadline_s: float) -> None:
        while True:
            try:
                port.socket.send_multipart(parts, zmq.NOBLOCK)
                return
            except zmq.Again as full:
                if wall_s() > deadline_s:
                    where = self._where(port.spec)
                    raise EdgeError(f"{self.name}: nobody has taken a message for too long at {where}") from full
                self.receive(5)  # drain our own side meanwhile, so that two full queues cannot block each other

    def send(self, output: Output, timeout_s: float = 60.0) -> int:
        """Send `output` to the peer of its port; the message's sequence number. Without a peer it is lost."""
        port = self._ports.get(output.port)
        if port is None:
            raise EdgeError(f"{self.name}: no port {output.port!r}; there are {', '.join(self._ports)}")
        self._sequence += 1
        header = msgpack.packb((self.name, self.incarnation, self._sequence, float(output.t)))
        parts = [DATA, header, output.body]
        if port.spec.bind:
            if port.peer is None:
                return self._sequence
            parts.insert(0, port.peer)
        try:
            self._patiently(port, parts, wall_s() + timeout_s)
        except zmq.ZMQError as error:
            if error.errno != zmq.EHOSTUNREACH:
                raise
            port.peer = None  # it died; what is sent to it is lost until it says hello again
        return self._sequence

    def offer(self, output: Output, timeout_s: float = 1.0) -> None:
        """Send `output`, or drop and count it if nobody is there, or takes it in time: for life on the clock."""
        port = self._ports.get(output.port)
        if port is not None:
            self.receive(0)  # who was there may be gone
            if not (port.peer if port.spec.bind else port.watch.connected):
                self.dropped += 1
                return
        try:
            self.send(output, timeout_s)
        except EdgeError:
            if port is None:
                raise
            self.dropped += 1

    def receive(self, timeout_ms: int | None) -> None:
        """Take in what has come, waiting up to `timeout_ms` for the first of it (None: for ever)."""
        retry_at_s = min((port.retry_at_s for port in self._ports.values()), default=math.inf)
        if retry_at_s < math.inf:
            left_ms = max(0, math.ceil(1000 * (retry_at_s - wall_s())))
            timeout_ms = left_ms if timeout_ms is None else min(timeout_ms, left_ms)
        ready = dict(self.poller.poll(timeout_ms))
        if self._gate and self._gate.socket in ready:
            self._gate.answer()
        for port in self._ports.values():
            if port.watch.monitor in ready or port.retry_at_s < math.inf:
                self._keep_connected(port)
            if port.socket in ready:
                self._drain(port)

    def _keep_connected(self, port: _Port) -> None:
        """Connect anew where ZeroMQ does not, and say hello on a connection that has come back."""
        port.watch.look()
        if port.spec.bind:
            return
        if port.watch.given_up:
            port.watch.given_up = False
            port.retry_at_s = wall_s() + REFUSED_RETRY_S
        if wall_s() >= port.retry_at_s:
            port.retry_at_s = math.inf
            port.socket.disconnect(port.spec.endpoint)
            port.socket.connect(port.spec.endpoint)
        if port.joined and port.hellos < port.watch.connections:
            with suppress(zmq.Again):
                port.socket.send_multipart([HELLO, b""], zmq.NOBLOCK)
            port.hellos = port.watch.connections

    def _drain(self, port: _Port) -> None:
        while True:
            try:
                parts = port.socket.recv_multipart(zmq.NOBLOCK)
            except zmq.Again:
                return
            identity = parts.pop(0) if port.spec.bind else b""
            if len(parts) == 2 and parts[0] == HELLO and port.spec.bind:
                self._welcome(port, identity)
            elif len(parts) == 2 and parts[0] == WELCOME and not port.spec.bind:
                port.joined = True
                port.watch.look()
                port.hellos = port.watch.connections
            elif len(parts) == 3 and parts[0] == DATA:
                self._keep(port, parts[1], parts[2])
            else:
                self.malformed += 1

    def _welcome(self, port: _Port, identity: bytes) -> None:
        try:
            port.socket.send_multipart([identity, WELCOME, b""], zmq.NOBLOCK)
        except zmq.ZMQError as error:
            if error.errno not in (zmq.EHOSTUNREACH, zmq.EAGAIN):
                raise
            return  # it died as soon as it had said hello
        port.peer = identity

    def _keep(self, port: _Port, header: bytes, body: bytes) -> None:
        try:
            source, incarnation, seq, t = msgpack.unpackb(header, strict_map_key=True, max_str_len=64, max_array_len=4)
        except (ValueError, TypeError, msgpack.UnpackException):
            self.malformed += 1
            return
        if [type(part) for part in (source, incarnation, seq, t)] != [str, int, int, float] or not math.isfinite(t):
            self.malformed += 1
            return
        port.inbox[source, incarnation, seq] = Message(t, source, seq, port.spec.name, body)

    def missing(self, names: list[Name]) -> list[Name]:
        """Those of `names` that have not arrived."""
        return [name for name in names if not any(name in port.inbox for port in self._ports.values())]

    def take(self, names: list[Name]) -> list[Message]:
        """The messages called `names`, in the order that cores take them; they must all have arrived."""
        taken = [port.inbox.pop(name) for name in names for port in self._ports.values() if name in port.inbox]
        return sorted(taken, key=lambda message: message.order)

    def take_all(self) -> list[Message]:
        """Every message that has arrived."""
        taken = [message for port in self._ports.values() for message in port.inbox.values()]
        for port in self._ports.values():
            port.inbox.clear()
        return sorted(taken, key=lambda message: message.order)

    def close(self) -> None:
        """Close every socket."""
        self.context.destroy(linger=0)
