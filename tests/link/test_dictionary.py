import re
import struct

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from flight.handlers import HANDLERS
from flight.link import cuc, dictionary
from flight.link.definitions import ACKNOWLEDGEMENT, EVENTS, MAX_EMBEDDED_BYTES, OF_THE_LINK, TELECOMMANDS, TELEMETRY
from flight.link.dictionary import Telecommand, decode, embed, encode, extract
from flight.link.errors import LinkError, RejectedError
from flight.link.packet import Apid
from flight.link.schema import Definition, Field, FieldError

ALL = [*TELECOMMANDS, *TELEMETRY, ACKNOWLEDGEMENT, *EVENTS]
PRINTABLE = st.characters(min_codepoint=32, max_codepoint=126)
APIDS = [Apid.COMMAND, Apid.ACKNOWLEDGEMENT, Apid.HOUSEKEEPING, Apid.EVENT]


def values_of(field: Field) -> st.SearchStrategy:
    low, high = int(field.low), int(field.high)
    return {
        "int": st.integers(low, high),
        "float": st.floats(field.low, field.high),
        "time": st.integers(low * cuc.TICKS, high * cuc.TICKS).map(lambda ticks: ticks / cuc.TICKS),
        "text": st.text(PRINTABLE, min_size=low, max_size=high),
        "bytes": st.binary(min_size=low, max_size=high),
        "choice": st.sampled_from(field.choices or ("",)),
    }[field.kind]


@st.composite
def packets(draw, table=tuple(ALL)):
    declared: Definition = draw(st.sampled_from(table))
    return declared, {field.name: draw(values_of(field)) for field in declared.fields}


@given(packets(), st.integers(0, 0xFFFFFFFF))
def test_every_packet_comes_back_as_it_was_encoded_and_within_its_declared_size(packet, number):
    declared, values = packet
    apid, body = encode(declared.name, values, number)
    timed = apid in (Apid.HOUSEKEEPING, Apid.EVENT)
    assert decode(apid, body) == (declared, 0 if timed else number, values)
    assert len(body) <= dictionary.body_bytes(apid, declared) <= dictionary.largest_body_bytes(apid)


@given(st.sampled_from(APIDS), st.binary(max_size=300))
def test_any_bytes_are_a_packet_or_refused(apid, body):
    try:
        declared, number, values = decode(apid, body)
    except RejectedError as error:
        assert error.reason in ("bad_body", "unknown_id", "bad_field")
    else:
        assert encode(declared.name, values, number) == (apid, body)


@given(packets(), st.data())
def test_a_packet_with_octets_changed_lost_or_added_is_refused_with_a_path_or_says_what_it_says(packet, data):
    apid, body = encode(packet[0].name, packet[1], 7)
    changed = bytearray(body)
    changed[data.draw(st.integers(0, len(body) - 1))] = data.draw(st.integers(0, 255))
    changed = bytes(changed[: data.draw(st.integers(0, len(body)))]) + data.draw(st.binary(max_size=3))
    try:
        declared, number, values = decode(apid, changed)
    except RejectedError as error:
        assert error.reason != "bad_field" or re.match(r"[a-z-]+(\.\w+)?: ", error.detail)
    else:
        assert encode(declared.name, values, number) == (apid, changed)


@given(packets(TELECOMMANDS))
def test_a_telecommand_that_waits_comes_back_as_it_was_embedded(packet):
    declared, args = packet
    embedded = embed(Telecommand(declared.name, args))
    assert extract(embedded) == Telecommand(declared.name, args)
    assert declared.name == "schedule" or len(embedded) <= MAX_EMBEDDED_BYTES


@pytest.mark.parametrize("data", [b"", b"\xff", b"\x03\x00", b"\x03\x00\x01\x00"])
def test_what_is_no_embedded_telecommand_is_refused(data):
    with pytest.raises(LinkError):
        extract(data)


def test_every_telecommand_has_its_handler():
    assert [*HANDLERS, *OF_THE_LINK] == [declared.name for declared in TELECOMMANDS]


def test_a_telecommand_is_laid_out_as_its_page_says():
    _, body = encode("set-task", {"task_id": 513}, number=7)
    assert body == struct.pack(">BIH", 3, 7, 513)


def test_an_event_begins_with_its_time_as_a_ccsds_unsegmented_time_code():
    apid, body = encode("task-changed", {"t_s": 1.75e9 + 0.5, "serial": 70_000, "task_id": 2})
    assert apid == Apid.EVENT and body == struct.pack(">IHBIH", 1_750_000_000, 0x8000, 6, 70_000, 2)


def test_whole_numbers_of_numpy_are_whole_numbers():
    assert encode("set-task", {"task_id": np.int64(3)}, 1) == encode("set-task", {"task_id": 3}, 1)


@pytest.mark.parametrize(
    ("args", "message"),
    [
        ({}, r"set-task: missing task_id"),
        ({"task_id": 65536}, r"set-task\.task_id: value 65536 is not between 0 and 65535"),
        ({"task_id": -1}, r"set-task\.task_id"),
        ({"task_id": "1"}, r"set-task\.task_id: expected int, found str"),
        ({"task_id": True}, r"set-task\.task_id: expected int, found bool"),
        ({"task_id": 1.5}, r"set-task\.task_id: expected int, found float"),
        ({"task_id": None}, r"set-task\.task_id: None is not a whole number"),
        ({"task_id": 1, "x": 2}, r"set-task\.x: unknown field"),
    ],
)
def test_an_operator_is_told_which_argument_is_wrong(args, message):
    with pytest.raises(FieldError, match=message):
        encode("set-task", args)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -1.0, 2.0**32, 1e300])
def test_a_time_that_is_no_time_is_refused(value):
    with pytest.raises(FieldError, match=r"set-time\.unix_s"):
        encode("set-time", {"unix_s": value})


def test_a_number_that_is_none_is_refused_on_the_wire_too():
    body = bytes([20, 0, 0, 0, 1]) + struct.pack(">d", float("nan"))
    with pytest.raises(RejectedError, match=r"adjust-time\.delta_s: value nan"):
        decode(Apid.COMMAND, body)


def test_an_unknown_name_is_answered_with_the_known_ones():
    with pytest.raises(LinkError, match="set-task"):
        encode("set-tsk", {})


def test_ids_and_names_are_unique():
    assert len({declared.name for declared in ALL}) == len(ALL)
    for table in (TELECOMMANDS, TELEMETRY, EVENTS):
        assert len({declared.id for declared in table}) == len(table)


@pytest.mark.parametrize("fields", [b"", b"\0", b"\0\1\2"])
def test_too_few_or_too_many_arguments_are_refused(fields):
    with pytest.raises(RejectedError, match="set-task"):
        decode(Apid.COMMAND, b"\x03\0\0\0\1" + fields)
