import pytest
from hypothesis import given
from hypothesis import strategies as st
from spacepackets.ccsds.spacepacket import PacketType, SequenceFlags, SpacePacketHeader

from flight.link.errors import RejectedError
from flight.link.frame import Direction
from flight.link.packet import Packer, idle, label, split, whole


@given(st.sampled_from(Direction), st.lists(st.tuples(st.integers(0, 2046), st.binary(min_size=1, max_size=50))))
def test_packets_that_share_a_frame_come_back_in_order(direction, packets):
    packer = Packer(direction)
    assert list(split(b"".join(packer.pack(*packet) for packet in packets), direction)) == packets


def test_the_sequence_count_of_each_apid_wraps_at_14_bits():
    packer = Packer(Direction.UPLINK)
    packer.counts[0x10] = 16383
    counts = [SpacePacketHeader.unpack(packer.pack(apid, b"x")).seq_count for apid in (0x10, 0x10, 0x11)]
    assert counts == [16383, 0, 0]


@given(st.binary(max_size=60), st.sampled_from(Direction))
def test_any_payload_ends_in_packets_or_a_refusal(payload, direction):
    try:
        assert sum(6 + len(body) for _, body in split(payload, direction)) == len(payload)
    except RejectedError as error:
        assert error.reason == "bad_packet"


def header(**changes) -> bytes:
    fields = {"packet_type": PacketType.TC, "apid": 0x10, "seq_count": 0, "data_len": 0}
    return bytes(SpacePacketHeader(**(fields | changes)).pack())


@pytest.mark.parametrize(
    "payload",
    [
        header() + b"x" + b"left",
        header(data_len=1) + b"x",
        header(data_len=65535) + b"x",
        header(packet_type=PacketType.TM) + b"x",
        header(seq_flags=SequenceFlags.FIRST_SEGMENT) + b"x",
        header(sec_header_flag=True) + b"x",
        header(ccsds_version=1) + b"x",
        header(),
    ],
)
def test_a_packet_that_is_not_whole_or_not_ours_is_refused(payload):
    with pytest.raises(RejectedError):
        list(split(payload, Direction.UPLINK))


def test_an_apid_out_of_use_is_refused():
    with pytest.raises(RejectedError, match="unknown_apid"):
        label(0x7F0)
    assert label(0x42) == "label set"


@given(st.integers(7, 300), st.sampled_from(Direction))
def test_an_idle_packet_is_as_long_as_asked_and_known_by_its_apid(size, direction):
    packet = idle(size, direction)
    assert len(packet) == size
    ((apid, _),) = split(packet, direction)
    assert label(apid) == "idle"


@given(st.lists(st.binary(min_size=1, max_size=40), max_size=6), st.integers(0, 60))
def test_whole_packets_are_told_from_one_that_goes_on(bodies, cut):
    packer = Packer(Direction.DOWNLINK)
    packets = [packer.pack(1, body) for body in bodies]
    data = b"".join(packets)[: -cut or None]
    ends = [sum(map(len, packets[:n])) for n in range(len(packets) + 1)]
    assert whole(data) == max(end for end in ends if end <= len(data))
