"""CFDP PDUs against the library that others use, and against bytes that nobody should send."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from spacepackets.cfdp import ChecksumType, ConditionCode, CrcFlag, LargeFileFlag, PduConfig, TransmissionMode
from spacepackets.cfdp.pdu import EofPdu, FileDataPdu, MetadataParams, MetadataPdu, NakPdu, PduFactory
from spacepackets.cfdp.pdu.file_data import FileDataParams, RecordContinuationState, SegmentMetadata
from spacepackets.cfdp.tlv import EntityIdTlv
from spacepackets.util import ByteFieldGenerator

from flight.link.cfdp import checksum, codec
from flight.link.cfdp import pdu as cfdp
from flight.link.cfdp.pdu import Condition, FileStatus, Transaction
from flight.link.errors import LinkError, RejectedError
from flight.link.packet import FileKind
from flight.link.transfer import MAX_NAME_CHARS, File, name_allowed

U32 = st.integers(0, 2**32 - 1)
NAMES = st.text(min_size=1, max_size=60).filter(lambda name: len(name.encode()) < 256)
CONDITIONS = st.sampled_from([each for each in Condition if each in list(ConditionCode)])  # the library lacks one
BITS = st.booleans()
PDUS = st.one_of(
    st.builds(cfdp.Metadata, U32, NAMES, NAMES, st.sampled_from(sorted(checksum.NAMES.values())), BITS),
    st.builds(cfdp.FileData, U32, st.binary(min_size=1, max_size=300)),
    st.builds(cfdp.Eof, U32, U32, CONDITIONS),
    st.builds(cfdp.Finished, CONDITIONS, BITS, st.sampled_from(FileStatus), st.text("abc xyz", max_size=48)),
    st.builds(cfdp.Ack, st.sampled_from(cfdp.Acknowledged), CONDITIONS, st.sampled_from(cfdp.Status)),
    st.builds(cfdp.Nak, U32, U32, st.lists(st.tuples(U32, U32), max_size=20).map(tuple)),
    st.builds(cfdp.Prompt, BITS),
    st.builds(cfdp.KeepAlive, U32),
)
SMALL = st.integers(0, 255)
TRANSACTIONS = st.builds(Transaction, SMALL, SMALL, SMALL, st.integers(1, 8), st.integers(1, 8), BITS, BITS, BITS)


@settings(max_examples=300, deadline=None)
@given(TRANSACTIONS, PDUS, st.binary(max_size=3))
def test_every_pdu_comes_back_as_packed_with_any_header_and_whatever_follows(transaction, pdu, after):
    assert codec.unpack(codec.pack(transaction, pdu) + after) == (transaction, pdu)


@settings(max_examples=200, deadline=None)
@given(PDUS, st.sampled_from([1, 2, 4, 8]), st.sampled_from([1, 2, 4, 8]), BITS, BITS)
def test_the_library_reads_what_we_pack_and_packs_the_same_bytes(pdu, id_bytes, number_bytes, crc, large):
    packed = codec.pack(Transaction(1, 2, 3, id_bytes, number_bytes, True, crc, large), pdu)
    if isinstance(pdu, cfdp.Eof):  # it reads the condition code unshifted, but packs it right
        conf = library_conf(large, crc)
        packed = codec.pack(Transaction(300, 400, 500, 2, 2, True, crc, large), pdu)
        location = EntityIdTlv((300).to_bytes(2, "big")) if pdu.condition else None
        sums = pdu.checksum.to_bytes(4, "big")
        assert bytes(EofPdu(conf, sums, pdu.size, location, ConditionCode(pdu.condition)).pack()) == packed
        return
    assert bytes(PduFactory.from_raw(packed).pack()) == packed


def library_conf(large: bool, crc: bool) -> PduConfig:
    ids = [ByteFieldGenerator.from_int(2, number) for number in (300, 400, 500)]
    return PduConfig(*ids, TransmissionMode.ACKNOWLEDGED, LargeFileFlag(large), CrcFlag(crc))


@pytest.mark.parametrize("large", [False, True])
@pytest.mark.parametrize("crc", [False, True])
def test_what_the_library_packs_is_read(large, crc):
    conf = library_conf(large, crc)
    t = Transaction(300, 400, 500, 2, 2, True, crc, large)
    metadata = MetadataPdu(conf, MetadataParams(True, ChecksumType.MODULAR, 9, "a", "b"))
    assert codec.unpack(bytes(metadata.pack())) == (t, cfdp.Metadata(9, "a", "b", checksum.MODULAR, True))
    eof = EofPdu(conf, b"\x00\x00\x01\x00", 9, condition_code=ConditionCode.CANCEL_REQUEST_RECEIVED)
    assert codec.unpack(bytes(eof.pack())) == (t, cfdp.Eof(256, 9, Condition.CANCEL_REQUEST_RECEIVED))
    described = SegmentMetadata(RecordContinuationState.START_AND_END, b"about it")
    data = FileDataPdu(library_conf(large, crc), FileDataParams(b"abc", 7, described))
    assert codec.unpack(bytes(data.pack())) == (t, cfdp.FileData(7, b"abc"))
    nak = NakPdu(library_conf(large, crc), 0, 9, [(0, 0), (3, 6)])
    assert codec.unpack(bytes(nak.pack())) == (t, cfdp.Nak(0, 9, ((0, 0), (3, 6))))


@settings(max_examples=300)
@given(st.binary(max_size=80))
def test_any_bytes_are_a_pdu_or_refused(data):
    try:
        codec.unpack(data)
    except RejectedError as error:
        assert error.reason == "bad_pdu"


@settings(max_examples=300, deadline=None)
@given(TRANSACTIONS, PDUS, st.lists(st.tuples(st.integers(0, 400), SMALL), min_size=1, max_size=3))
def test_a_damaged_pdu_is_a_pdu_or_refused(transaction, pdu, damage):
    packed = bytearray(codec.pack(transaction, pdu))
    for place, value in damage:
        packed[place % len(packed)] = value
    try:
        codec.unpack(bytes(packed))
    except RejectedError as error:
        assert error.reason == "bad_pdu"


@settings(max_examples=300, deadline=None)
@given(TRANSACTIONS.filter(lambda t: not t.crc), PDUS, st.data())
def test_a_pdu_whose_header_says_that_it_is_shorter_is_a_pdu_or_refused(transaction, pdu, data):
    packed = codec.pack(transaction, pdu)
    length = data.draw(st.integers(0, len(packed) - transaction.header_bytes))
    shorter = packed[:1] + length.to_bytes(2, "big") + packed[3:]
    try:
        codec.unpack(shorter)
    except RejectedError as error:
        assert error.reason == "bad_pdu"


@given(TRANSACTIONS.filter(lambda t: t.crc), PDUS, st.data())
def test_a_flipped_bit_is_found_by_the_crc(transaction, pdu, data):
    packed = bytearray(codec.pack(transaction, pdu))
    place = data.draw(st.integers(4, len(packed) - 1))
    packed[place] ^= 1 << data.draw(st.integers(0, 7))
    with pytest.raises(RejectedError, match="CRC"):
        codec.unpack(bytes(packed))


def test_our_headers_are_seven_bytes():
    assert Transaction.smallest(1, 2, 255).header_bytes == 7
    assert Transaction.smallest(1, 2, 256).header_bytes == 8
    assert len(codec.pack(Transaction.smallest(1, 2, 3), cfdp.FileData(0, bytes(200)))) == 211


def test_a_pdu_that_goes_the_wrong_way_is_refused():
    packed = bytearray(codec.pack(Transaction(1, 2, 3), cfdp.Nak(0, 9)))
    packed[0] ^= 0x08
    with pytest.raises(RejectedError, match="wrong way"):
        codec.unpack(bytes(packed))


@pytest.mark.parametrize("name", ["", ".hidden", "a/b", "..", "a b", "ä", "a" * (MAX_NAME_CHARS + 1), "a\n"])
def test_names_that_a_file_system_could_misread_are_refused(name):
    assert not name_allowed(name)
    with pytest.raises(LinkError):
        File(name, FileKind.MODEL, b"")


# Checksums: check values of the catalogue of CRCs, and the example of 4.2.2.


def test_checksums_are_those_of_the_registry():
    assert checksum.compute(checksum.CRC_32, b"123456789") == 0xCBF43926
    assert checksum.compute(checksum.CRC_32C, b"123456789") == 0xE3069283
    assert checksum.compute(checksum.MODULAR, bytes(range(9))) == 0x00010203 + 0x04050607 + 0x08000000
    assert checksum.compute(checksum.NULL, b"123456789") == 0


@given(st.binary(max_size=50))
def test_the_modular_checksum_is_the_sum_of_words(data):
    words = data + bytes(-len(data) % 4)
    total = sum(int.from_bytes(words[i : i + 4], "big") for i in range(0, len(words), 4))
    assert checksum.compute(checksum.MODULAR, data) == total % 2**32
