import re

import msgpack
import pytest
from hypothesis import given
from hypothesis import strategies as st

from flight.link import dictionary
from flight.link.dictionary import ACKNOWLEDGEMENT, EVENTS, TELECOMMANDS, TELEMETRY, decode, encode, reference
from flight.link.errors import LinkError, RejectedError
from flight.link.packet import Apid
from flight.link.schema import Definition, Field, FieldError

ALL = [*TELECOMMANDS, *TELEMETRY, ACKNOWLEDGEMENT, *EVENTS]
PRINTABLE = st.characters(min_codepoint=32, max_codepoint=126)


def values_of(field: Field) -> st.SearchStrategy:
    low, high = int(field.low), int(field.high)
    return {
        "int": st.integers(low, high),
        "float": st.floats(field.low, field.high),
        "text": st.text(PRINTABLE, min_size=low, max_size=min(high, 64)),
        "bytes": st.binary(min_size=low, max_size=min(high, 64)),
        "choice": st.sampled_from(field.choices or ("",)),
    }[field.kind]


@st.composite
def packets(draw):
    declared: Definition = draw(st.sampled_from(ALL))
    return declared, {field.name: draw(values_of(field)) for field in declared.fields}


@given(packets(), st.integers(0, 0xFFFFFFFF))
def test_every_packet_comes_back_as_it_was_encoded_and_within_its_declared_size(packet, number):
    declared, values = packet
    apid, body = encode(declared.name, values, number)
    assert decode(apid, body) == (declared, number, values)
    assert len(body) <= declared.largest_bytes <= dictionary.largest_body_bytes()


@given(st.sampled_from([Apid.COMMAND, Apid.ACKNOWLEDGEMENT, Apid.HOUSEKEEPING, Apid.EVENT]), st.binary(max_size=300))
def test_any_bytes_are_a_packet_or_refused(apid, body):
    try:
        decode(apid, body)
    except RejectedError as error:
        assert error.reason in ("bad_msgpack", "unknown_id", "bad_field")


WRONG_VALUES = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(2**63), 2**64 - 1),
    st.floats(),
    st.text(max_size=20),
    st.binary(max_size=20),
    st.lists(st.integers(), max_size=3),
)


@given(st.sampled_from(ALL), st.data())
def test_values_that_are_not_as_declared_are_refused_with_their_path(declared, data):
    wire = data.draw(st.lists(WRONG_VALUES, min_size=len(declared.fields), max_size=len(declared.fields)))
    apid, _ = dictionary.definition(declared.name)
    try:
        body = msgpack.packb([declared.id, 1, wire])
    except OverflowError:
        return
    try:
        _, _, values = decode(apid, body)
    except RejectedError as error:
        assert error.reason in ("bad_field", "bad_msgpack")
        assert error.reason == "bad_msgpack" or re.match(rf"{declared.name}(\.\w+)?: ", error.detail)
    else:
        assert encode(declared.name, values, 1) == (apid, msgpack.packb([declared.id, 1, wire]))


@pytest.mark.parametrize(
    ("args", "message"),
    [
        ({}, r"set-task: missing task_id"),
        ({"task_id": 65536}, r"set-task\.task_id: value 65536 is not between 0 and 65535"),
        ({"task_id": -1}, r"set-task\.task_id"),
        ({"task_id": "1"}, r"set-task\.task_id: expected int, found str"),
        ({"task_id": True}, r"set-task\.task_id: expected int, found bool"),
        ({"task_id": 1, "x": 2}, r"set-task\.x: unknown field"),
    ],
)
def test_an_operator_is_told_which_argument_is_wrong(args, message):
    with pytest.raises(FieldError, match=message):
        encode("set-task", args)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -1.0, 1e300])
def test_a_time_that_is_no_time_is_refused(value):
    with pytest.raises(FieldError, match=r"set-time\.unix_s"):
        encode("set-time", {"unix_s": value})


def test_an_unknown_name_is_answered_with_the_known_ones():
    with pytest.raises(LinkError, match="set-task"):
        encode("set-tsk", {})


def test_ids_and_names_are_unique():
    assert len({declared.name for declared in ALL}) == len(ALL)
    for table in (TELECOMMANDS, TELEMETRY, EVENTS):
        assert len({declared.id for declared in table}) == len(table)


def test_the_reference_page_shows_every_packet_and_field():
    page = reference()
    for declared in ALL:
        assert f"`{declared.name}`" in page
        assert all(f"| {field.name} | {field.kind} |" in page for field in declared.fields)
    assert "`set-task`, critical" in page


@pytest.mark.parametrize(
    "body",
    [
        b"\xdd\xff\xff\xff\xff",
        b"\xc6\xff\xff\xff\xff",
        b"\x93\x01\x01\xdc\xff\xff",
        b"\x91" * 1000,
        msgpack.packb([1, 1, [msgpack.ExtType(4, b"x")]]),
        msgpack.packb([1, 1, [{1: 2}]]),
        msgpack.packb([1, 2**32, []]),
        b"",
        b"\x93\x01\x01\x90\x00",
    ],
)
def test_hostile_msgpack_is_refused_before_it_allocates(body):
    with pytest.raises(RejectedError):
        decode(Apid.COMMAND, body)


@pytest.mark.parametrize("wire", [[], [1, 2]])
def test_too_few_or_too_many_arguments_are_refused(wire):
    with pytest.raises(RejectedError, match="set-task: expected 1 fields"):
        decode(Apid.COMMAND, msgpack.packb([3, 1, wire]))
