"""The event log as a file."""

from __future__ import annotations

import contextlib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flight.link import content, cuc, dictionary, event_log
from flight.link import pack as wire
from flight.link.definitions import EVENTS
from flight.link.dictionary import Telemetry
from flight.link.event_log import MAX_EVENTS, LoggedEvents, pack, unpack
from flight.link.pack import CodecError
from flight.link.packet import Apid
from tests.link.test_dictionary import packets

events = packets(EVENTS).map(lambda packet: Telemetry(packet[0].name, packet[1]))
logs = st.builds(
    LoggedEvents,
    st.integers(0, 65535),
    st.integers(0, 1 << 47).map(lambda ticks: ticks / cuc.TICKS),
    st.dictionaries(st.sampled_from([event.name for event in EVENTS]), st.integers(1, 2**32 - 1), max_size=5),
    st.lists(events, max_size=4),
)


def a_log(n: int = 3) -> LoggedEvents:
    kept = [Telemetry("task-changed", {"t_s": 100.0 + i, "serial": i, "task_id": i}) for i in range(n)]
    return LoggedEvents(2, 500.25, {"task-changed": 1000, "restarted": 1}, kept)


def a_file(data: bytes, n_counts: int, n_events: int) -> bytes:
    head, made = (1, n_counts, n_events, len(data)), cuc.pack(5.0)
    return content.pack(wire.EVENT_LOG, head, made, data, wire.crc(head, made, data))


@given(logs)
@settings(max_examples=40, deadline=None)
def test_a_log_reads_back(log: LoggedEvents) -> None:
    assert unpack(pack(log)) == log


@given(st.integers(0, 400), st.integers(0, 7))
@settings(max_examples=60, deadline=None)
def test_a_flipped_bit_is_refused_or_means_nothing(at: int, bit: int) -> None:
    data = bytearray(pack(a_log()))
    data[at % len(data)] ^= 1 << bit
    with contextlib.suppress(CodecError):
        assert unpack(bytes(data)) == a_log()


@given(st.binary(max_size=80), st.integers(0, 4), st.integers(0, 4))
@settings(max_examples=60, deadline=None)
def test_any_content_is_a_log_or_refused(noise: bytes, n_counts: int, n_events: int) -> None:
    for data in (noise, b"E\x01" + noise, b"E\x02" + noise, a_file(noise, n_counts, n_events)):
        with contextlib.suppress(CodecError):
            unpack(data)


def test_a_full_log_is_sent_and_a_longer_one_is_not() -> None:
    assert len(unpack(pack(a_log(MAX_EVENTS))).events) == MAX_EVENTS
    with pytest.raises(CodecError, match="257 events"):
        pack(a_log(MAX_EVENTS + 1))


def test_a_length_octet_holds_every_event_of_the_dictionary() -> None:
    assert dictionary.largest_body_bytes(Apid.EVENT) < 256


@pytest.mark.parametrize(
    ("data", "n_counts", "n_events", "message"),
    [
        (bytes([1, 0, 0, 0, 0]), 1, 0, "one is 0"),
        (bytes([2, 0, 0, 0, 1, 1, 0, 0, 0, 1]), 2, 0, "order of their ids"),
        (bytes([255, 0, 0, 0, 1]), 1, 0, "no event 255"),
        (bytes([1, 0, 0]), 1, 0, "ends within its 1 counts"),
        (bytes([9, 0, 0]), 0, 1, "ends within event 1 of 1"),
        (bytes([7, 0, 0, 0, 0, 0, 0, 255]), 0, 1, "event 1: .*no packet 255"),
        (bytes([13, 0, 0, 0, 0, 0, 0, 6, 0, 0, 0, 2, 0, 1, 9]), 0, 1, "1 bytes too many after its events"),
    ],
)
def test_what_is_not_as_declared_is_refused_with_its_place(
    data: bytes, n_counts: int, n_events: int, message: str
) -> None:
    with pytest.raises(CodecError, match=f"event log: .*{message}"):
        unpack(a_file(data, n_counts, n_events))


def test_what_is_no_event_is_not_put_into_a_log() -> None:
    with pytest.raises(CodecError, match="pong"):
        pack(event_log.LoggedEvents(1, 1.0, {"pong": 1}, []))
    with pytest.raises(CodecError, match=r"task-changed\.task_id"):
        pack(event_log.LoggedEvents(1, 1.0, {}, [Telemetry("task-changed", {"t_s": 1.0, "serial": 0, "task_id": -1})]))
