"""CFDP with independent entities: both directions, with loss, in memory and over loopback sockets."""

import json
import random
import threading
from contextlib import contextmanager

import pytest
import spacepackets.countdown
from cfdp_peer import Peer
from hypothesis import given, settings
from hypothesis import strategies as st
from spacepackets.cfdp import TransmissionMode
from typer.testing import CliRunner

from flight.link.cfdp import checksum, codec
from flight.link.cfdp import pdu as cfdp
from flight.link.cfdp.pdu import Condition, FileStatus, Transaction
from flight.link.cfdp.source import Source
from flight.link.cfdp.timing import Timing
from ground import udp
from ground.cfdp import Receiving, Sending, safe_name
from ground.cli import app

TIMING = Timing(1.0, nak_delay_s=0.2, attempts=50, inactivity_s=100.0)
STEP_S = 0.05


@pytest.fixture
def clock(monkeypatch):
    """Seconds that the independent entity believes in."""
    now = [0.0]
    monkeypatch.setattr(spacepackets.countdown, "time_ms", lambda: round(now[0] * 1000))
    return now


def a_file(size: int = 5000) -> bytes:
    return random.Random(size).randbytes(size)


def sending(data: bytes, transaction: Transaction | None = None, **changes) -> Sending:
    transaction = transaction or Transaction.smallest(1, 2, 7)
    return Sending(Source(transaction, data, ("a.bin", changes.pop("name", "a.bin")), 200, TIMING, **changes))


def receiving(files: dict[str, bytes], **changes) -> Receiving:
    return Receiving(files.__setitem__, TIMING, 1 << 20, 256, **changes)


class Lossy:
    """Drops a share of what passes."""

    def __init__(self, share: float, seed: int) -> None:
        self._share, self._random = share, random.Random(seed)

    def __call__(self, datagrams: list[bytes]) -> list[bytes]:
        return [datagram for datagram in datagrams if self._random.random() >= self._share]


def drained(poll, now_s: float, most: int = 20) -> list[bytes]:
    """What one of our ends sends now: a few PDUs at a time."""
    sent = []
    while len(sent) < most and (found := poll(now_s)):
        sent.append(found[1] if isinstance(found, tuple) else found)
    return sent


def exchange(clock, ours, peer: Peer, loss: float = 0.0, seed: int = 0, limit_s: float = 300.0, until=None) -> None:
    """Let one of our ends and the independent one talk until `until`."""
    ears = [Lossy(loss, seed), Lossy(loss, seed + 1)]
    while not until():
        assert clock[0] < limit_s, "not done in time"
        for datagram in ears[0](peer.step()):
            ours.hear(datagram, clock[0])
        for datagram in ears[1](drained(ours.poll, clock[0])):
            for answer in ears[0](peer.step(datagram)):
                ours.hear(answer, clock[0])
        clock[0] += STEP_S


# With cfdp-py.


@pytest.mark.parametrize("size", [0, 1, 199, 200, 201, 5000])
def test_a_file_goes_to_an_independent_entity(size, clock, tmp_path):
    ours, peer, data = sending(a_file(size), name=str(tmp_path / "b.bin")), Peer(2, 1), a_file(size)
    peer.listen()
    exchange(clock, ours, peer, until=lambda: ours.outcome is not None)
    assert ours.outcome.success and ours.outcome.file_status is FileStatus.FILE_RETAINED
    assert (tmp_path / "b.bin").read_bytes() == data


@pytest.mark.parametrize("seed", range(6))
def test_a_file_goes_to_an_independent_entity_over_a_link_that_loses_a_tenth(seed, clock, tmp_path):
    ours, peer = sending(a_file(), name=str(tmp_path / "b.bin")), Peer(2, 1)
    peer.listen()
    exchange(clock, ours, peer, 0.1, seed, until=lambda: ours.outcome is not None)
    assert ours.outcome.success
    assert (tmp_path / "b.bin").read_bytes() == a_file()


@pytest.mark.parametrize("seed", range(6))
def test_a_file_comes_from_an_independent_entity_over_a_link_that_loses_a_tenth(seed, clock, tmp_path):
    (tmp_path / "a.bin").write_bytes(a_file())
    files, peer = {}, Peer(1, 2)
    ours = receiving(files)
    peer.put(tmp_path / "a.bin", "out/b.bin")
    exchange(clock, ours, peer, 0.1, seed, until=lambda: peer.user.finished)
    assert files == {"b.bin": a_file()}
    assert peer.user.finished[0].condition_code == Condition.NO_ERROR
    assert peer.user.finished[0].file_status == FileStatus.FILE_RETAINED


@pytest.mark.parametrize("size", [0, 1, 5000])
@pytest.mark.parametrize(("width", "crc"), [(1, True), (2, False), (4, True), (8, False)])
def test_ids_of_other_lengths_and_crcs_are_taken(size, width, crc, clock, tmp_path):
    (tmp_path / "a.bin").write_bytes(a_file(size))
    files, peer = {}, Peer(1, 2, width, crc)
    ours = receiving(files)
    peer.put(tmp_path / "a.bin", "b.bin")
    exchange(clock, ours, peer, until=lambda: peer.user.finished)
    assert files == {"b.bin": a_file(size)}


def test_class_1_files_are_taken_too(clock, tmp_path):
    (tmp_path / "a.bin").write_bytes(a_file())
    files, peer = {}, Peer(1, 2)
    ours = receiving(files)
    peer.put(tmp_path / "a.bin", "b.bin", TransmissionMode.UNACKNOWLEDGED)
    exchange(clock, ours, peer, until=lambda: files)
    assert files == {"b.bin": a_file()} and len(ours) == 0


def test_a_cancellation_by_an_independent_entity_ends_the_transaction_here(clock, tmp_path):
    (tmp_path / "a.bin").write_bytes(a_file(50_000))
    files, peer = {}, Peer(1, 2)
    ours = receiving(files)
    peer.put(tmp_path / "a.bin", "b.bin")
    for _ in range(10):
        for datagram in peer.step():
            ours.hear(datagram, clock[0])
    for datagram in peer.cancel():
        ours.hear(datagram, clock[0])
    exchange(clock, ours, peer, until=lambda: ours.arrivals)
    assert ours.arrivals[0].finished.condition is Condition.CANCEL_REQUEST_RECEIVED
    assert not files


# Between our own ends, with what an implementation may choose.

WIDTHS, BITS = st.integers(1, 8), st.booleans()


@settings(max_examples=60, deadline=None)
@given(
    st.integers(0, 3000),
    st.builds(lambda *choices: Transaction(1, 2, 7, *choices), WIDTHS, WIDTHS, st.just(True), BITS, BITS),
    st.sampled_from(sorted(checksum.NAMES.values())),
    st.floats(0, 0.5),
    st.integers(0, 1 << 32),
)  # fmt: skip
def test_any_choice_of_header_and_checksum_brings_the_file_over_a_lossy_link(size, transaction, kind, loss, seed):
    files, lossy = {}, Lossy(loss, seed)
    out, into, now_s = sending(a_file(size), transaction, checksum_type=kind), receiving(files), 0.0
    while out.outcome is None:
        for datagram in lossy(drained(out.poll, now_s)):
            into.hear(datagram, now_s)
        for datagram in lossy(drained(into.poll, now_s)):
            out.hear(datagram, now_s)
        now_s += STEP_S
        assert now_s < 1000
    assert out.outcome.success and files == {"a.bin": a_file(size)}
    assert [arrival.size_bytes for arrival in into.arrivals] == [size]


def answers(into: Receiving, pdu: cfdp.Pdu, transaction: Transaction, now_s: float = 0.0) -> list[cfdp.Pdu]:
    into.hear(codec.pack(transaction, pdu), now_s)
    return [codec.unpack(datagram)[1] for datagram in drained(into.poll, now_s)]


@pytest.mark.parametrize(
    ("tlv", "refused"),
    [
        (b"\x02\x04abcd", False),  # message to user
        (b"\x05\x02xy", False),  # flow label
        (b"\x04\x01\x53", False),  # fault handler override
        (b"\x63\x01z", False),  # not in the standard
        (b"\x02\x08cfdp\x00abc", True),  # proxy put request
        (b"\x00\x05\x10\x03abc", True),  # filestore request
    ],
)
def test_options_in_metadata_are_ignored_unless_they_ask_for_something(tlv, refused):
    files, t = {}, Transaction(1, 2, 3)
    raw = bytearray(codec.pack(t, cfdp.Metadata(0, "a", "a"))) + tlv
    raw[2] += len(tlv)
    into = receiving(files)
    into.hear(bytes(raw), 0.0)
    into.hear(codec.pack(t, cfdp.Eof(0, 0)), 0.0)
    assert (files == {}) is refused
    assert [arrival.finished.success for arrival in into.arrivals] == [not refused]


def test_an_unknown_checksum_type_counts_as_none_and_is_told():
    files, t = {}, Transaction(1, 2, 3)
    raw = bytearray(codec.pack(t, cfdp.Metadata(3, "a", "a")))
    raw[t.header_bytes + 1] |= 0x09
    into = receiving(files)
    into.hear(bytes(raw), 0.0)
    into.hear(codec.pack(t, cfdp.FileData(0, b"abc")), 0.0)
    into.hear(codec.pack(t, cfdp.Eof(1234, 3)), 0.0)
    assert files == {"a": b"abc"}
    assert into.arrivals[0].finished.condition is Condition.UNSUPPORTED_CHECKSUM_TYPE


def test_two_entities_may_use_the_same_sequence_number():
    files = {}
    into = receiving(files)
    for source in (1, 9):
        t = Transaction(source, 2, 3)
        into.hear(codec.pack(t, cfdp.Metadata(1, "x", f"from-{source}")), 0.0)
        into.hear(codec.pack(t, cfdp.FileData(0, b"%d" % source)), 0.0)
        into.hear(codec.pack(t, cfdp.Eof(checksum.compute(checksum.CRC_32, b"%d" % source), 1)), 0.0)
    assert files == {"from-1": b"1", "from-9": b"9"}


def test_a_file_that_cannot_be_written_is_refused_with_the_reason():
    def full(name: str, data: bytes) -> None:
        raise OSError(28, "No space left on device")

    into, t = Receiving(full, TIMING, 1 << 20), Transaction(1, 2, 3)
    into.hear(codec.pack(t, cfdp.Metadata(0, "a", "a")), 0.0)
    *_, finished = answers(into, cfdp.Eof(0, 0), t)
    assert finished.condition is Condition.FILESTORE_REJECTION and finished.message == "No space left on device"


@pytest.mark.parametrize(
    ("name", "kept"),
    [("a.bin", "a.bin"), ("/cf/up/a b", "a b"), ("..\\..\\x", "x"), ("a/..", ""), (".ssh", ""), ("a\n", ""), ("", "")],
)
def test_a_name_never_leaves_the_directory(name, kept):
    assert safe_name(name) == kept


@given(st.lists(st.binary(max_size=60), max_size=20))
def test_no_datagram_stops_either_end(datagrams):
    into, out = receiving({}), sending(b"abc")
    for number, datagram in enumerate(datagrams):
        into.hear(datagram, float(number))
        out.hear(datagram, float(number))
        drained(into.poll, float(number))
    assert into.ignored <= len(datagrams)


# The command line, over loopback sockets.


@contextmanager
def in_thread(work, *arguments):
    """The far end's loop, beside the command line that is tried."""
    thread = threading.Thread(target=work, args=arguments)
    thread.start()
    yield
    thread.join()


def test_the_send_command_delivers_a_file_over_loopback(tmp_path):
    (tmp_path / "a.bin").write_bytes(a_file(30_000))
    files = {}
    with udp.bound(("127.0.0.1", 0)) as link:
        into = receiving(files)
        with in_thread(udp.receive, link, into, None, lambda now_s: now_s < 20 and (len(into) or not files)):
            options = ["--udp", f"127.0.0.1:{link.getsockname()[1]}", "--ack-timeout", "0.1", "--ack-limit", "100"]
            sent = CliRunner().invoke(app, ["cfdp", "send", str(tmp_path / "a.bin"), *options, "--json"])
    assert sent.exit_code == 0 and json.loads(sent.stdout)["success"]
    assert files == {"a.bin": a_file(30_000)}


def test_the_receive_command_keeps_a_file_from_loopback(tmp_path):
    with udp.bound(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    out = sending(a_file(30_000), name="up/b.bin")
    with udp.bound(("127.0.0.1", 0)) as link, in_thread(
        udp.send, link, out, ("127.0.0.1", port), 1e7, 0.2, lambda now_s: None
    ):  # fmt: skip
        options = ["--udp", f"127.0.0.1:{port}", "--dir", str(tmp_path), "--count", "1", "--timeout", "20", "--json"]
        result = CliRunner().invoke(app, ["cfdp", "receive", *options])
    assert result.exit_code == 0 and json.loads(result.stdout)["files"][0]["bytes"] == 30_000
    assert (tmp_path / "b.bin").read_bytes() == a_file(30_000)
    assert out.outcome.success


def test_a_remote_entity_that_does_not_answer_is_an_error_that_says_so(tmp_path):
    (tmp_path / "a.bin").write_bytes(b"abc")
    command = [
        "cfdp",
        "send",
        str(tmp_path / "a.bin"),
        "--udp",
        "127.0.0.1:9",
        "--ack-timeout",
        "0.02",
        "--ack-limit",
        "2",
    ]
    sent = CliRunner().invoke(app, command)
    assert sent.exit_code == 1 and "positive ack limit reached" in sent.stderr


@pytest.mark.parametrize("address", ["nowhere", "localhost:", "host:99999", "host:x"])
def test_an_address_that_is_none_is_refused(address, tmp_path):
    (tmp_path / "a.bin").write_bytes(b"abc")
    sent = CliRunner().invoke(app, ["cfdp", "send", str(tmp_path / "a.bin"), "--udp", address])
    assert sent.exit_code == 2 and "HOST:PORT" in sent.output
