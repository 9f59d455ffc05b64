"""The hop between two machines: TCP and CurveZMQ, over the loopback, with real keys."""

import logging
import re
import socket
import threading

import pytest
import zmq
import zmq.auth

from flight.clock import wall_s
from flight.curve import Curve, CurveError, new_certificate
from flight.edge import Edge, EdgeError, PortSpec
from flight.hop import leaves_machine
from flight.step import Output

LIMIT_S = 10.0  # of wall time, for anything that is to happen


def free_endpoint():
    with socket.create_server(("127.0.0.1", 0)) as probe:
        return f"tcp://127.0.0.1:{probe.getsockname()[1]}"


def save(directory, name):
    """A certificate in `directory`; the paths of its secret and its public file."""
    directory.mkdir(exist_ok=True)
    public, secret = directory / f"{name}.key", directory / f"{name}.key_secret"
    for path, data in zip((public, secret), new_certificate(name), strict=True):
        path.touch(mode=0o600)
        path.write_bytes(data)
    return secret, public


@pytest.fixture
def keys(tmp_path):
    """Certificates of flight (the server), modem (its client) and a stranger, each at home on its own machine."""
    made = {name: save(tmp_path / name, name) for name in ("flight", "modem", "stranger")}
    flight = Curve.load(True, made["flight"][0], made["modem"][1])
    modem = Curve.load(False, made["modem"][0], made["flight"][1])
    return flight, modem, made


@pytest.fixture
def hop(caplog):
    """Makes the two ends of a hop, the modem's bound; closes them in the end."""
    caplog.set_level(logging.INFO, "swath.hop")
    opened = []

    def make(flight, modem, endpoint=None):
        endpoint = endpoint or free_endpoint()
        opened.append(Edge("modem", [PortSpec("space", endpoint, True, modem)]))
        opened.append(Edge("flight", [PortSpec("radio", endpoint, False, flight)]))
        return opened[-2:]

    yield make
    for edge in opened:
        edge.close()


def turn(edges, until):
    """Let the edges run until `until()` holds; False if it does not in time."""
    deadline_s = wall_s() + LIMIT_S
    while not until():
        if wall_s() > deadline_s:
            return False
        for edge in edges:
            edge.receive(5)
    return True


def join(edge, others, incarnation=1, timeout_s=LIMIT_S):
    """Join while the other ends run; what it raised, if anything."""
    raised = []

    def run():
        try:
            edge.join(incarnation, timeout_s)
        except EdgeError as error:
            raised.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    while thread.is_alive():
        for other in others:
            other.receive(5)
    thread.join()
    return raised[0] if raised else None


def said(caplog, name):
    return [record.getMessage() for record in caplog.records if record.getMessage().startswith(name)]


@pytest.mark.parametrize("protected", [True, False])
def test_with_the_right_keys_messages_go_both_ways_over_tcp(hop, keys, protected):
    modem, flight = hop(*keys[:2]) if protected else hop(None, None)
    assert join(flight, [modem]) is None
    flight.send(Output(1.0, "radio", b"telemetry"))
    modem.send(Output(2.0, "space", bytes(range(256))))
    found = []
    assert turn([modem, flight], lambda: found.extend(modem.take_all() + flight.take_all()) or len(found) == 2)
    assert [(m.t, m.port, m.body) for m in sorted(found, key=lambda m: m.t)] == [
        (1.0, "space", b"telemetry"),
        (2.0, "radio", bytes(range(256))),
    ]


WRONG = {
    "the modem's key is not on the list": (
        lambda keys: (keys[0], Curve.load(False, keys[2]["stranger"][0], keys[2]["flight"][1])),
        ("flight", "the other end's key is not among the allowed ones"),
        ("modem", "the other end does not allow our key"),
    ),
    "the modem has a wrong key for flight": (
        lambda keys: (keys[0], Curve.load(False, keys[2]["modem"][0], keys[2]["stranger"][1])),
        ("flight", "the other end has a wrong public key for this one"),
        ("modem", "the other end broke off: our public key of it is wrong"),
    ),
    "the modem has no certificate": (
        lambda keys: (keys[0], None),
        ("flight", "the other end (has no certificate|broke off: only one of the two has a certificate)"),
        (
            "modem",
            "the other end (broke off: only one of the two has a|wants CurveZMQ, and this one has no) certificate",
        ),
    ),
    "flight has no certificate": (
        lambda keys: (None, keys[1]),
        (
            "flight",
            "the other end (broke off: only one of the two has a|wants CurveZMQ, and this one has no) certificate",
        ),
        ("modem", "the other end (has no certificate|broke off: .* or it has no certificate)"),
    ),
}


@pytest.mark.parametrize("case", WRONG)
def test_with_a_wrong_or_missing_key_nothing_comes_through_and_both_ends_say_why(case, hop, keys, caplog):
    curves, *expected = WRONG[case]
    modem, flight = hop(*curves(keys))
    error = join(flight, [modem], timeout_s=1.0)
    assert error is not None and "port radio" in str(error)

    def told():
        return all(any(re.search(reason, line) for line in said(caplog, name)) for name, reason in expected)

    assert turn([modem, flight], told), caplog.text
    assert re.search(expected[0][1], str(error))
    for edge, port in ((flight, "radio"), (modem, "space")):
        edge.offer(Output(0.0, port, b"secret"), timeout_s=0.05)
        assert edge.dropped == 1
        edge.receive(50)
    assert modem.take_all() == flight.take_all() == []
    assert len(said(caplog, "flight")) <= 3  # a line for a reason, not for every attempt


def test_after_a_peer_with_a_wrong_key_has_gone_the_right_one_comes_in(hop, keys):
    """libzmq gives a connection up for good when a handshake breaks the protocol; the edge does not."""
    endpoint = free_endpoint()
    wrong = Curve.load(False, keys[2]["modem"][0], keys[2]["stranger"][1])
    modem, flight = hop(keys[0], wrong, endpoint)
    assert join(flight, [modem], timeout_s=0.5) is not None
    modem.close()
    right = Edge("modem", [PortSpec("space", endpoint, True, keys[1])])
    try:
        assert join(flight, [right]) is None
    finally:
        right.close()


def test_what_could_not_be_sent_while_the_peer_was_away_is_never_delivered(hop, keys):
    endpoint = free_endpoint()
    modem, flight = hop(*keys[:2], endpoint)
    assert join(flight, [modem]) is None
    modem.close()
    assert turn([flight], lambda: not flight._ports["radio"].watch.connected)
    for number in range(500):  # more than any queue holds, and nobody waits
        flight.offer(Output(float(number), "radio", b"stale"))
    assert flight.dropped == 500
    again = Edge("modem", [PortSpec("space", endpoint, True, keys[1])])
    try:
        # hello comes by itself on the new connection, so both ways work again
        assert turn([again, flight], lambda: again._ports["space"].peer is not None)
        flight.offer(Output(1000.0, "radio", b"fresh"))
        again.offer(Output(1001.0, "space", b"welcome back"))
        up, down = [], []

        def both_heard():
            down.extend(again.take_all())
            up.extend(flight.take_all())
            return up and down

        assert turn([again, flight], both_heard)
        assert [m.body for m in down] == [b"fresh"] and [m.body for m in up] == [b"welcome back"]
    finally:
        again.close()


def test_a_server_without_a_gate_lets_nobody_in(keys):
    flight, modem, _ = keys
    context, far = zmq.Context(), zmq.Context()
    server, client = context.socket(zmq.DEALER), far.socket(zmq.DEALER)
    for each in (server, client):
        each.setsockopt(zmq.LINGER, 0)
        each.setsockopt(zmq.IMMEDIATE, 1)
    flight.protect(server, "radio")
    modem.protect(client, "space")
    port = server.bind_to_random_port("tcp://127.0.0.1")
    client.connect(f"tcp://127.0.0.1:{port}")
    assert not client.poll(300, zmq.POLLOUT)
    context.destroy(linger=0)
    far.destroy(linger=0)


def test_certificates_are_those_of_other_zeromq_tools_and_theirs_are_read(tmp_path, keys):
    secret, public = keys[2]["flight"]
    assert zmq.auth.load_certificate(secret) == (keys[0].public, keys[0].secret)
    assert zmq.auth.load_certificate(public) == (keys[0].public, None)
    theirs_public, theirs_secret = zmq.auth.create_certificates(tmp_path, "theirs")
    (tmp_path / "theirs.key_secret").chmod(0o600)
    loaded = Curve.load(False, tmp_path / "theirs.key_secret", tmp_path / "theirs.key")
    assert (loaded.public, loaded.secret) == zmq.auth.load_certificate(theirs_secret)
    assert loaded.peers == {zmq.auth.load_certificate(theirs_public)[0]}


def test_a_certificate_that_cannot_be_used_is_named_and_its_secret_never_shown(tmp_path, keys):
    secret, public = keys[2]["flight"]
    curve = Curve.load(True, secret, public)
    assert curve.secret.decode() not in repr(curve)
    empty = tmp_path / "empty"
    empty.mkdir()
    (empty / "junk.key").write_text("no certificate")
    shared = tmp_path / "shared.key_secret"
    shared.write_bytes(secret.read_bytes())
    shared.chmod(0o644)
    mixed = tmp_path / "mixed.key_secret"
    mixed.touch(mode=0o600)
    stranger = keys[2]["stranger"][0].read_text().split("public-key = ")[1][:42]
    own = secret.read_text().split("public-key = ")[1][:42]
    mixed.write_text(secret.read_text().replace(own, stranger))
    bad = [
        (tmp_path / "none.key_secret", public, r"none\.key_secret: No such file"),
        (public, public, r"flight\.key: holds no secret key"),
        (shared, public, r"shared\.key_secret: others may read it; chmod 600"),
        (mixed, public, r"mixed\.key_secret: its public key is not that of its secret key"),
        (secret, tmp_path / "none.key", r"none\.key: No such file"),
        (secret, empty, r"junk\.key: is not a CurveZMQ certificate"),
        (secret, tmp_path / "flight" / "..", r"0 public certificates"),
    ]
    for own_file, peers, message in bad:
        with pytest.raises(CurveError, match=message) as error:
            Curve.load(True, own_file, peers)
        assert curve.secret.decode() not in str(error.value)


@pytest.mark.parametrize(
    ("endpoint", "leaves"),
    [
        ("ipc:///tmp/x", False),
        ("tcp://127.0.0.1:7001", False),
        ("tcp://localhost:7001", False),
        ("tcp://[::1]:7001", False),
        ("tcp://10.0.0.2:7001", True),
        ("tcp://*:7001", True),
        ("tcp://0.0.0.0:7001", True),
        ("tcp://groundstation:7001", True),
    ],
)
def test_an_endpoint_that_other_machines_can_reach_is_told_apart(endpoint, leaves):
    assert leaves_machine(endpoint) is leaves
