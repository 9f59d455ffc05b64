"""CurveZMQ on a hop between two machines: certificates, who may come in, and the gate that keeps the others out.

The end nearer to space is the CurveZMQ server, whichever end binds: it has a list of the keys that it lets in and asks
for nothing else. The other end, the client, has the server's public key. Certificates are files as CZMQ's zcert and
pyzmq's ``zmq.auth`` write them; a key is 40 characters of Z85 (ZeroMQ RFC 32).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import zmq
from zmq.utils import z85

PUBLIC_SUFFIX, SECRET_SUFFIX = ".key", ".key_secret"
MAX_FILE_BYTES = 4096
MAX_PEERS = 64
_ZAP_ENDPOINT = "inproc://zeromq.zap.01"  # ZeroMQ RFC 27
_ZAP_VERSION = b"1.0"
_KEY = r'^\s+{}-key = "([0-9a-zA-Z.\-:+=^!/*?&<>()\[\]{{}}@%$#]{{40}})"\s*$'


class CurveError(ValueError):
    """A certificate that cannot be used; the message names the file and never shows a secret key."""


@dataclass(frozen=True)
class Curve:
    """One end of a protected port: its own key pair, and the public keys of the `peers` that it trusts (Z85)."""

    server: bool
    public: bytes
    secret: bytes = field(repr=False)
    peers: frozenset[bytes]

    @classmethod
    def load(cls, server: bool, certificate: Path, peers: Path) -> Curve:
        """This end's secret certificate, and its peers: a public certificate, or a directory of them.

        A client has exactly one peer. CurveError names the file that does not fit.
        """
        if not zmq.has("curve"):
            raise CurveError("this build of ZeroMQ has no CurveZMQ: install pyzmq from its wheel")
        if certificate.exists() and certificate.stat().st_mode & 0o077:
            raise CurveError(f"{certificate}: others may read it; chmod 600 it")
        keys = _read(certificate)
        secret = keys.get("secret")
        if secret is None:
            raise CurveError(f"{certificate}: holds no secret key; give the file *{SECRET_SUFFIX}")
        if zmq.curve_public(secret) != keys["public"]:
            raise CurveError(f"{certificate}: its public key is not that of its secret key")
        files = sorted(peers.glob(f"*{PUBLIC_SUFFIX}")) if peers.is_dir() else [peers]
        if not 1 <= len(files) <= (MAX_PEERS if server else 1):
            wanted = f"1 to {MAX_PEERS}" if server else "1"
            raise CurveError(f"{peers}: {len(files)} public certificates (*{PUBLIC_SUFFIX}), expected {wanted}")
        return cls(server, keys["public"], secret, frozenset(_read(file)["public"] for file in files))

    def protect(self, socket: zmq.Socket[bytes], domain: str) -> None:
        """Set up a socket before it binds or connects; on a server a `Gate` for `domain` must be there already."""
        socket.setsockopt(zmq.CURVE_PUBLICKEY, self.public)
        socket.setsockopt(zmq.CURVE_SECRETKEY, self.secret)
        if self.server:
            socket.setsockopt(zmq.CURVE_SERVER, 1)
            socket.setsockopt(zmq.ZAP_DOMAIN, domain.encode())
            socket.setsockopt(zmq.ZAP_ENFORCE_DOMAIN, 1)  # without a gate nobody comes in
        else:
            socket.setsockopt(zmq.CURVE_SERVERKEY, next(iter(self.peers)))


def new_certificate(name: str) -> tuple[bytes, bytes]:
    """The texts of a new public and secret certificate."""
    public, secret = zmq.curve_keypair()
    head = f'#   ZeroMQ CURVE certificate\n\nmetadata\n    name = "{name}"\ncurve\n'
    head += f'    public-key = "{public.decode()}"\n'
    return head.encode(), (head + f'    secret-key = "{secret.decode()}"\n').encode()


def _read(path: Path) -> dict[str, bytes]:
    """The keys in a certificate: "public", and "secret" if it is there."""
    try:
        with path.open("rb") as file:
            text = file.read(MAX_FILE_BYTES + 1).decode("utf-8", "replace")
    except OSError as error:
        raise CurveError(f"{path}: {error.strerror}") from None
    found = {kind: re.findall(_KEY.format(kind), text, re.M) for kind in ("public", "secret")}
    if len(text) > MAX_FILE_BYTES or len(found["public"]) != 1 or len(found["secret"]) > 1:
        raise CurveError(f"{path}: is not a CurveZMQ certificate (swath-ground keys curve makes one)")
    return {kind: keys[0].encode() for kind, keys in found.items() if keys}


class Gate:
    """Answers ZeroMQ's question whether a key may come in (ZAP, RFC 27), for the servers of one context, by domain."""

    def __init__(self, context: zmq.Context[zmq.Socket[bytes]], allowed: Mapping[str, frozenset[bytes]]) -> None:
        self.allowed = {domain.encode(): keys for domain, keys in allowed.items()}
        self.socket: zmq.Socket[bytes] = context.socket(zmq.REP)
        self.socket.setsockopt(zmq.LINGER, 0)
        self.socket.bind(_ZAP_ENDPOINT)

    def answer(self) -> None:
        """Answer every question that waits."""
        while self.socket.poll(0):
            parts = self.socket.recv_multipart()
            code, text = (b"200", b"") if self._lets_in(parts) else (b"400", b"key not allowed")
            request = parts[1] if len(parts) > 1 else b""
            self.socket.send_multipart([_ZAP_VERSION, request, code, text, b"", b""])

    def _lets_in(self, parts: list[bytes]) -> bool:
        """Whether the question is well formed and its key on the list of its domain."""
        if len(parts) != 7 or parts[0] != _ZAP_VERSION or parts[5] != b"CURVE" or len(parts[6]) != 32:
            return False
        return z85.encode(parts[6]) in self.allowed.get(parts[2], frozenset())
