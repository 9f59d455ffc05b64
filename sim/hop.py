"""The ZeroMQ hop of a simulated mission: sockets in a private directory, or TCP with CurveZMQ.

Between processes of one machine TCP is on the loopback, with certificates made for one run; to a flight process on
another machine it is on all interfaces, with certificates that both have. Channel, camera and board bind, so that the
others may come and go.
"""

from __future__ import annotations

import json
import shutil
import socket
from collections.abc import Iterable, Mapping
from pathlib import Path

from flight.curve import PUBLIC_SUFFIX, SECRET_SUFFIX, Curve, new_certificate
from flight.edge import PortSpec

End = tuple[str, str]  # node, port
BINDERS = ("channel", "camera", "board")
TOWARDS_SPACE = ("station", "channel", "camera", "board", "flight")  # of two nodes the later one is the CurveZMQ server
_ENDPOINTS = "hop.json"


def make_tcp(directory: Path, ends: Iterable[tuple[End, End]]) -> None:
    """Choose TCP ports for the pairs of ends, and make a certificate for every node, in `directory`."""
    endpoints = {}
    for node in TOWARDS_SPACE:
        public, secret = new_certificate(node)
        _clients(directory, node).mkdir()
        (directory / f"{node}{PUBLIC_SUFFIX}").write_bytes(public)
        certificate(directory, node).touch(mode=0o600)
        certificate(directory, node).write_bytes(secret)
    for one, other in ends:
        client, server = sorted((one[0], other[0]), key=TOWARDS_SPACE.index)
        key = (directory / f"{client}{PUBLIC_SUFFIX}").read_bytes()
        (_clients(directory, server) / f"{client}{PUBLIC_SUFFIX}").write_bytes(key)
        endpoints[_name(one, other)] = f"tcp://127.0.0.1:{free_port('127.0.0.1')}"
    (directory / _ENDPOINTS).write_text(json.dumps(endpoints), encoding="utf-8")


def make_remote(directory: Path, wires: Mapping[End, End], own: Path, flight: Path) -> dict[str, int]:
    """Choose TCP ports for the wires to a flight process on another machine; by flight's port, the number.

    Whoever is at this end has the secret certificate `own`, and knows flight by its public one.
    """
    numbers, endpoints = {}, {}
    shutil.copyfile(flight, directory / f"flight{PUBLIC_SUFFIX}")
    for end, other in wires.items():
        if other[0] == "flight":
            numbers[other[1]] = free_port("")
            endpoints[_name(end, other)] = f"tcp://0.0.0.0:{numbers[other[1]]}"
            certificate(directory, end[0]).touch(mode=0o600)
            shutil.copyfile(own, certificate(directory, end[0]))
    (directory / _ENDPOINTS).write_text(json.dumps(endpoints), encoding="utf-8")
    return numbers


def _endpoints(directory: Path) -> dict[str, str]:
    """The endpoints of the wires that go over TCP."""
    path = directory / _ENDPOINTS
    found: dict[str, str] = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    return found


def port_spec(directory: Path, end: End, other: End) -> PortSpec:
    """The port at `end`, which is joined to `other`."""
    (node, port), binds = end, end[0] in BINDERS
    endpoint = _endpoints(directory).get(_name(end, other))
    if endpoint is None:
        return PortSpec(port, f"ipc://{directory}/{_name(end, other)}", binds)
    server = TOWARDS_SPACE.index(node) > TOWARDS_SPACE.index(other[0])
    peers = _clients(directory, node) if server else directory / f"{other[0]}{PUBLIC_SUFFIX}"
    return PortSpec(port, endpoint, binds, Curve.load(server, certificate(directory, node), peers))


def protection(directory: Path, server: str) -> list[str]:
    """The arguments of swath-flight, or of any server, that name its certificate and its peers; none without TCP."""
    if not _endpoints(directory):
        return []
    return ["--certificate", str(certificate(directory, server)), "--peers", str(_clients(directory, server))]


def certificate(directory: Path, node: str) -> Path:
    """The secret certificate of a node."""
    return directory / f"{node}{SECRET_SUFFIX}"


def _clients(directory: Path, server: str) -> Path:
    return directory / f"{server}-clients"


def _name(one: End, other: End) -> str:
    """The name of a wire: that of the end that binds it."""
    return "-".join(one if one[0] in BINDERS else other)


def free_port(host: str) -> int:
    """A TCP port that nobody listens on now at `host`; with "" on any interface."""
    with socket.create_server((host, 0)) as probe:
        return int(probe.getsockname()[1])
