"""Sockets with the project's defaults, and what their connections go through: up, down, refused, and why.

Queues are small, nothing lingers, nothing is queued for a peer that is not there, so no stale message is delivered
after a reconnect. A connection over TCP is watched by heartbeats and taken up again with a growing, bounded pause.
"""

from __future__ import annotations

import logging
import struct
from ipaddress import ip_address
from urllib.parse import urlsplit

import zmq

from flight.clock import wall_s

log = logging.getLogger("swath.hop")

HIGH_WATER_MARK = 256
MAX_MESSAGE_BYTES = 8 << 20
HANDSHAKE_MS = 5000
RECONNECT_MS, RECONNECT_MAX_MS = 200, 5000
HEARTBEAT_MS, HEARTBEAT_TIMEOUT_MS = 1000, 5000
REFUSED_RETRY_S = 1.0  # libzmq gives a connection up for good when a peer breaks the protocol: it is made again
LOG_PERIOD_S = 10.0  # of wall time, between equal lines
_EVENT = struct.Struct("=Hi")  # zmq_socket_monitor(3); pyzmq's own reader imports all of asyncio, 2 MB

_OPTIONS = {
    zmq.LINGER: 0,
    zmq.SNDHWM: HIGH_WATER_MARK,
    zmq.RCVHWM: HIGH_WATER_MARK,
    zmq.MAXMSGSIZE: MAX_MESSAGE_BYTES,
    zmq.IMMEDIATE: 1,
    zmq.HANDSHAKE_IVL: HANDSHAKE_MS,
    zmq.RECONNECT_IVL: RECONNECT_MS,
    zmq.RECONNECT_IVL_MAX: RECONNECT_MAX_MS,
}
_HEARTBEATS = {zmq.HEARTBEAT_IVL: HEARTBEAT_MS, zmq.HEARTBEAT_TIMEOUT: HEARTBEAT_TIMEOUT_MS}
_WATCHED = (
    zmq.EVENT_HANDSHAKE_SUCCEEDED
    | zmq.EVENT_HANDSHAKE_FAILED_AUTH
    | zmq.EVENT_HANDSHAKE_FAILED_PROTOCOL
    | zmq.EVENT_HANDSHAKE_FAILED_NO_DETAIL
    | zmq.EVENT_DISCONNECTED
)


def new_socket(context: zmq.Context[zmq.Socket[bytes]], kind: int, endpoint: str = "") -> zmq.Socket[bytes]:
    """A socket with the project's defaults, and with heartbeats if `endpoint` is TCP."""
    socket = context.socket(kind)
    for option, value in {**_OPTIONS, **(_HEARTBEATS if endpoint.startswith("tcp:") else {})}.items():
        socket.setsockopt(option, value)
    return socket


def leaves_machine(endpoint: str) -> bool:
    """Whether other machines can reach this endpoint."""
    parts = urlsplit(endpoint)
    if parts.scheme in ("ipc", "inproc") or parts.hostname == "localhost":
        return False
    try:
        return not ip_address(parts.hostname or "").is_loopback
    except ValueError:
        return True


class Watch:
    """What happens to the connections of one socket, in words in the log, equal lines ten seconds apart.

    `connections` counts those that were made; `why` is the latest reason for one that was not; `given_up` says that
    the socket has to connect anew.
    """

    def __init__(self, socket: zmq.Socket[bytes], name: str, role: str) -> None:
        self.name = name
        self.role = role  # "server", "client", or "open" without CurveZMQ
        self.monitor: zmq.Socket[bytes] = socket.get_monitor_socket(_WATCHED)
        self.connections = 0
        self.connected = False
        self.why = ""
        self.given_up = False
        self._logged: dict[str, float] = {}

    def look(self) -> None:
        """Take in what has happened."""
        while self.monitor.poll(0):
            event, value = _EVENT.unpack(self.monitor.recv_multipart()[0])
            if event == zmq.EVENT_HANDSHAKE_SUCCEEDED:
                self.connections += 1
                self.connected, self.why = True, ""
                self._say(logging.INFO, "connected")
            elif event == zmq.EVENT_DISCONNECTED:
                if self.connected:
                    self._say(logging.WARNING, "the other end is gone")
                self.connected = False
            else:
                self.why = self._reason(event, value)
                self.given_up |= event == zmq.EVENT_HANDSHAKE_FAILED_PROTOCOL
                self._say(logging.WARNING, f"no connection: {self.why}")

    def _reason(self, event: int, value: int) -> str:
        """Why a handshake failed, as far as this end can tell."""
        if event == zmq.EVENT_HANDSHAKE_FAILED_AUTH:
            if self.role == "server":
                return "the other end's key is not among the allowed ones"
            return "the other end does not allow our key"
        if value == zmq.PROTOCOL_ERROR_ZMTP_MECHANISM_MISMATCH:
            if self.role == "open":
                return "the other end wants CurveZMQ, and this one has no certificate"
            return "the other end has no certificate (it does not speak CurveZMQ)"
        if value == zmq.PROTOCOL_ERROR_ZMTP_CRYPTOGRAPHIC:
            return "the other end has a wrong public key for this one"
        if self.role == "client":
            return "the other end broke off: our public key of it is wrong, or it has no certificate"
        return "the other end broke off: only one of the two has a certificate, or it is no peer of ours"

    def _say(self, level: int, text: str) -> None:
        """A line in the log, unless the same was said just now."""
        if wall_s() - self._logged.get(text, float("-inf")) >= LOG_PERIOD_S:
            self._logged[text] = wall_s()
            log.log(level, "%s: %s", self.name, text)
