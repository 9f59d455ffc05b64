import pytest
from hypothesis import given
from hypothesis import strategies as st

from flight.link import pdu
from flight.link.errors import LinkError, RejectedError
from flight.link.packet import FileKind
from flight.link.transfer import File, Status

U32 = st.integers(0, 2**32 - 1)
NAMES = st.from_regex(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}", fullmatch=True)


@st.composite
def runs(draw):
    pairs = draw(st.lists(st.tuples(st.integers(0, 300), st.integers(1, 300)), max_size=60))
    found, end = [], 0
    for gap, count in pairs:
        found.append((end + gap, count))
        end += gap + count
    return tuple(found), end + draw(st.integers(0, 9))


@given(U32, U32, st.integers(1, 65535), st.binary(min_size=16, max_size=16), NAMES, st.booleans())
def test_metadata_come_back_as_packed(transfer, size, width, digest, name, asks):
    unit = pdu.Metadata(transfer, size, width, digest, name, asks)
    assert pdu.unpack(unit.pack()) == unit
    assert len(unit.pack()) <= pdu.LARGEST_METADATA_BYTES


@given(U32, U32, st.binary(max_size=300))
def test_segments_come_back_as_packed(transfer, index, data):
    unit = pdu.Segment(transfer, index, data)
    assert pdu.unpack(unit.pack()) == unit


@given(runs(), U32, st.booleans(), st.integers(61, 1000))
def test_a_report_longer_than_its_room_covers_less_and_says_so(missing_and_covered, heard, asked, room):
    missing, covered = missing_and_covered
    report = pdu.Report.fitting(room, 7, heard, covered, missing, asked)
    assert len(report.pack()) <= room
    assert pdu.unpack(report.pack()) == report
    if report.covered == covered:
        assert report.missing == missing
    else:
        assert report.missing == tuple(run for run in missing if run[0] < report.covered)
        assert report.covered > 0 and report.missing


@given(U32, st.sampled_from([s for s in Status if s.final]), st.text("abc xyz", max_size=48))
def test_final_reports_come_back_as_packed(transfer, status, reason):
    unit = pdu.Report(transfer, status, 5, reason=reason)
    assert pdu.unpack(unit.pack()) == unit


@given(st.binary(min_size=1, max_size=300))
def test_any_bytes_are_a_unit_or_refused(body):
    try:
        pdu.unpack(body)
    except RejectedError as error:
        assert error.reason == "bad_pdu"


@pytest.mark.parametrize("tail", [b"\x00\x00", b"\x05\x06", b"\x01", b"\x80", b"\xff\xff\xff\xff\xff\x01\x01"])
def test_runs_that_cannot_be_are_refused(tail):
    head = pdu.Report(1, Status.RECEIVING, covered=10).pack()
    with pytest.raises(RejectedError):
        pdu.unpack(head + tail)


@pytest.mark.parametrize("name", ["", ".hidden", "a/b", "..", "a b", "ä", "a" * 65, "a\n"])
def test_names_that_a_file_system_could_misread_are_refused(name):
    with pytest.raises(LinkError):
        File(name, FileKind.MODEL, b"")
    with pytest.raises(RejectedError):
        pdu.unpack(pdu._METADATA.pack(1, 0, 1, 1, 1, bytes(16), len(name.encode())) + name.encode())
