"""Ports over real sockets, and cores behind them on the clock."""

import tempfile
import threading

import msgpack
import pytest
import zmq

from flight.clock import ScaledClock, unix_s, wall_s
from flight.edge import DATA, HELLO, Edge, EdgeError, PortSpec
from flight.runner import _unpack, run_clocked, run_stepped
from flight.step import Message, Output
from tests.sim.toy import Player


@pytest.fixture
def endpoint():
    with tempfile.TemporaryDirectory(prefix="swath-") as directory:
        yield f"ipc://{directory}/port"


@pytest.fixture
def edges(endpoint):
    """A binder and a way to make peers that connect to it; all are closed in the end."""
    opened = [Edge("camera", [PortSpec("flight", endpoint, bind=True)])]

    def connect(name="flight"):
        opened.append(Edge(name, [PortSpec("camera", endpoint, bind=False)]))
        return opened[-1]

    yield opened[0], connect
    for edge in opened:
        edge.close()


def joined(binder, peer, incarnation):
    """Let a peer join a binder that lives in this very thread."""
    thread = threading.Thread(target=peer.join, args=(incarnation, 10.0))
    thread.start()
    while thread.is_alive():
        binder.receive(10)
    thread.join()


def received(edge, count=1):
    deadline_s, messages = wall_s() + 10.0, []
    while len(messages) < count and wall_s() < deadline_s:
        edge.receive(10)
        messages += edge.take_all()
    return messages


def test_after_hello_and_welcome_messages_go_both_ways_with_their_names(edges):
    binder, connect = edges
    peer = connect()
    joined(binder, peer, 7)
    assert peer.send(Output(1.5, "camera", b"request")) == 1
    assert received(binder) == [Message(1.5, "flight", 1, "flight", b"request")]
    assert binder.send(Output(2, "flight", b"chip")) == 1
    assert received(peer) == [Message(2.0, "camera", 1, "camera", b"chip")]


def test_a_second_incarnation_takes_over_and_the_first_hears_nothing_more(edges):
    binder, connect = edges
    first, second = connect(), connect()
    joined(binder, first, 1)
    joined(binder, second, 2)
    binder.send(Output(1.0, "flight", b"chip"))
    assert [message.body for message in received(second)] == [b"chip"]
    first.receive(50)
    assert first.take_all() == []


def test_messages_are_told_apart_by_incarnation(edges):
    binder, connect = edges
    for incarnation in (1, 2):
        peer = connect()
        joined(binder, peer, incarnation)
        peer.send(Output(float(incarnation), "camera", b"%d" % incarnation))
    while binder.missing([("flight", 1, 1), ("flight", 2, 1)]):
        binder.receive(100)
    assert [message.body for message in binder.take([("flight", 2, 1)])] == [b"2"]
    assert binder.missing([("flight", 2, 1), ("flight", 1, 1)]) == [("flight", 2, 1)]


def test_without_a_peer_what_the_binder_sends_is_lost_and_not_waited_for(edges):
    binder, connect = edges
    assert binder.send(Output(0.0, "flight", b"chip")) == 1
    peer = connect()
    joined(binder, peer, 1)
    peer.close()
    for number in range(2, 600):  # more than the queues hold
        assert binder.send(Output(0.0, "flight", bytes(10_000)), timeout_s=5.0) == number


def test_a_peer_that_says_hello_and_dies_does_no_harm(edges, endpoint):
    binder, connect = edges
    for _ in range(20):
        context = zmq.Context()
        socket = context.socket(zmq.DEALER)
        socket.connect(endpoint)
        socket.send_multipart([HELLO, b""])
        context.destroy(linger=20)
    binder.receive(200)
    peer = connect()
    joined(binder, peer, 1)
    binder.send(Output(1.0, "flight", b"chip"))
    assert [message.body for message in received(peer)] == [b"chip"]


def test_a_missing_peer_is_an_error_that_says_where(edges, endpoint, tmp_path):
    nobody = Edge("flight", [PortSpec("radio", f"ipc://{tmp_path}/nobody", bind=False)])
    with pytest.raises(EdgeError, match=r"flight: .*nobody \(port radio\)"):
        nobody.join(1, timeout_s=0.1)
    nobody.close()
    _, connect = edges
    with pytest.raises(EdgeError, match=rf"flight: no answer at {endpoint} \(port camera\)"):
        connect().join(1, timeout_s=0.1)  # it is there, but does not answer


def test_an_unknown_port_is_an_error_that_names_those_there_are(edges):
    with pytest.raises(EdgeError, match="no port 'radio'; there are flight"):
        edges[0].send(Output(0.0, "radio", b""))


GOOD = ("flight", 1, 5, 2.0)
MALFORMED = [
    [],
    [b"what"],
    [DATA],
    [DATA, b"\xc1", b""],
    [DATA, msgpack.packb(GOOD)],
    [DATA, msgpack.packb(GOOD), b"", b""],
    [DATA, msgpack.packb([]), b""],
    [DATA, msgpack.packb({"t": 1}), b""],
    [DATA, msgpack.packb(("flight", 1, 5)), b""],
    [DATA, msgpack.packb((b"flight", 1, 5, 2.0)), b""],
    [DATA, msgpack.packb(("x" * 100, 1, 5, 2.0)), b""],
    [DATA, msgpack.packb(("flight", 1, float("inf"), 2.0)), b""],
    [DATA, msgpack.packb(("flight", 1, 5, float("nan"))), b""],
    [DATA, msgpack.packb(("flight", None, 5, 2.0)), b""],
]


def test_malformed_messages_are_counted_and_the_good_one_among_them_is_taken(edges, endpoint):
    binder, _ = edges
    context = zmq.Context()
    socket = context.socket(zmq.DEALER)
    socket.connect(endpoint)
    for parts in [*MALFORMED[1:7], [DATA, msgpack.packb(GOOD), b"body"], *MALFORMED[7:]]:
        socket.send_multipart(parts)
    assert received(binder) == [Message(2.0, "flight", 5, "flight", b"body")]
    while binder.malformed < len(MALFORMED) - 1:
        binder.receive(1000)
    assert binder.malformed == len(MALFORMED) - 1
    context.destroy(linger=0)


@pytest.mark.parametrize(
    ("command", "fits"),
    [
        (["welcome", 1, 0.0], True),
        (["advance", 1, [["a", 1, 2]]], True),
        (["hold", []], True),
        (["stop"], True),
        (["stop", 1], False),
        (["advance", 1.0, [["a", 1]]], False),
        (["advance", "now", []], False),
        (["jump", 1.0], False),
        ([["stop"]], False),
        ({"stop": 1}, False),
        ([], False),
    ],
)
def test_a_command_of_the_time_master_is_as_declared_or_ignored(command, fits):
    assert _unpack(msgpack.packb(command)) == (command if fits else [])
    assert _unpack(b"\xc1") == []


def test_malformed_commands_are_counted_and_those_after_them_obeyed(endpoint, edges):
    """A master that stammers: the core is welcomed and stopped all the same."""
    control_endpoint = endpoint + "-control"
    context = zmq.Context()
    control = context.socket(zmq.ROUTER)
    control.setsockopt(zmq.RCVTIMEO, 10_000)
    control.bind(control_endpoint)
    runner = threading.Thread(target=run_stepped, args=(Player(1.0, 0.1, balls=0), "left", [], control_endpoint))
    runner.start()
    identity, body = control.recv_multipart()
    assert msgpack.unpackb(body)[:2] == ["join", "left"]
    for command in (["nonsense"], ["welcome"], ["welcome", 1, 5.0]):
        control.send_multipart([identity, msgpack.packb(command)])
    assert msgpack.unpackb(control.recv_multipart()[1])[0] == "ready"
    for command in (["advance", "x"], ["stop"]):
        control.send_multipart([identity, msgpack.packb(command)])
    runner.join(10.0)
    assert not runner.is_alive()
    context.destroy(linger=0)


def test_without_a_time_master_a_core_ends_with_an_error(endpoint, monkeypatch):
    monkeypatch.setattr("flight.runner.JOIN_TIMEOUT_S", 0.2)
    with pytest.raises(EdgeError, match=rf"left: nobody listens at {endpoint}"):
        run_stepped(Player(1.0, 0.1), "left", [], endpoint)


def test_cores_on_the_clock_exchange_messages_until_they_are_told_to_stop(endpoint):
    clock = ScaledClock(unix_s(), 20.0)
    players = {"left": Player(1.0, 0.25), "right": Player(0.7, 0.1)}
    context = zmq.Context()
    control = context.socket(zmq.ROUTER)
    control.setsockopt(zmq.RCVTIMEO, 10_000)
    control.bind(endpoint + "-control")
    threads = []
    for name, player in players.items():
        ports = [PortSpec("court", endpoint, bind=name == "left")]
        arguments = (player, name, ports, clock, endpoint + "-control")
        threads.append(threading.Thread(target=run_clocked, args=arguments))
        threads[-1].start()
    identities, deadline_s = set(), wall_s() + 20.0
    while min(len(player.seen) for player in players.values()) < 20 and wall_s() < deadline_s:
        if control.poll(50):
            identities.add(control.recv_multipart()[0])
    for identity in identities:
        control.send_multipart([identity, msgpack.packb(["stop"])])
    for thread in threads:
        thread.join(10.0)
        assert not thread.is_alive()
    context.destroy(linger=0)
    for name, player in players.items():
        other = "right" if name == "left" else "left"
        assert len(player.seen) >= 20
        assert {source for _, source, _ in player.seen} == {other}
        assert all(0 <= t < clock.now() for t, _, _ in player.seen)
