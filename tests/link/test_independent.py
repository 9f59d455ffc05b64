"""Other implementations read what goes over the radio, and what they write is read.

TM frames and the packets inside: the ground data system of F Prime (``fprime-gds``) checks identifiers, CRC, counts and
pointer and puts packets together. Packets alone: ``space-packet-parser``. TC frames: F Prime builds them and does not
parse them, so its frames are compared with ours byte by byte.
"""

import io

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from link_world import CONFIG, KEYS, World, content
from space_packet_parser import ccsds_generator

from flight.config import LinkConfig
from flight.link import tc, tm
from flight.link.channels import Reception, max_data_bytes
from flight.link.dictionary import Telecommand, Telemetry
from flight.link.frame import SECURITY_HEADER, TAG_BYTES, Channel, Direction, Frame, with_crc
from flight.link.packet import IDLE_APID, FileKind, Packer, idle, split
from flight.link.security import SecureChannel
from flight.link.transfer import File

pytest.importorskip("fprime_gds", reason="needs fprime-gds: pip install '.[interop]' in swath's checkout")
from fprime_gds.common.communication.ccsds.space_data_link import SpaceDataLinkFramerDeframer
from fprime_gds.common.communication.ccsds.space_packet_splitter import SpacePacketSplitterFramerDeframer
from fprime_gds.common.communication.ccsds.tm_frame_aggregator import TmFrameAggregatorFramerDeframer

SMALL = LinkConfig(frame_bytes=160)


class Deframer(SpaceDataLinkFramerDeframer):
    """F Prime's, with the one thing that it has no notion of: the security fields within its data field."""

    def __init__(self, channel: Channel, config: LinkConfig) -> None:
        super().__init__(config.spacecraft_id, int(channel), config.frame_bytes)
        self.counts: list[int] = []

    def reassemble(self, field, first_header_pointer, vc_count):
        self.counts.append(vc_count)
        return super().reassemble(field[SECURITY_HEADER.size : -TAG_BYTES], first_header_pointer, vc_count)


def packets_by_fprime(frames: list[bytes], channel: Channel, config: LinkConfig) -> list[bytes]:
    deframer, splitter = Deframer(channel, config), SpacePacketSplitterFramerDeframer()
    own = [frame for frame in frames if frame[1] >> 1 & 7 == channel]
    runs, rest, discarded = deframer.deframe_all(b"".join(own), False)
    assert not rest and not discarded
    assert deframer.counts == [n % 256 for n in range(len(own))]
    packets = []
    for run in runs:
        found, rest, discarded = splitter.deframe_all(run, False)
        assert not rest and not discarded
        packets += found
    return packets


def packets_of_ours(frames: list[bytes], channel: Channel, config: LinkConfig) -> list[tuple[int, bytes]]:
    receiver = SecureChannel(config, KEYS, Direction.UPLINK)
    reception = Reception(Direction.DOWNLINK, config.counter_block, {})
    opened: list[Frame] = [receiver.open(frame) for frame in frames]
    runs = [run for frame in opened if frame.header.channel is channel for run in reception.take(frame)]
    return [packet for run in runs for packet in split(run, Direction.DOWNLINK) if packet[0] != IDLE_APID]


def flown(config: LinkConfig) -> tuple[list[bytes], list[bytes]]:
    """All frames of a short pass, up and down: telecommands, telemetry, files both ways, long telemetry."""
    world = World(config)
    up, down = [], []
    for owner, frames in ((world.ground, up), (world.space, down)):
        poll = owner.endpoint.poll

        def noted(t, poll=poll, frames=frames):
            frame = poll(t)
            if frame is not None:
                frames.append(frame)
            return frame

        owner.endpoint.poll = noted
    world.contact(True)
    world.ground.endpoint.send(Telecommand("set-task", {"task_id": 7}))
    world.ground.endpoint.submit(File("up", FileKind.REGION, content(2000)))
    world.space.endpoint.submit(File("down", FileKind.PRODUCT, content(60_000)))
    world.space.endpoint._telemetry.put(0, 0x12, content(700))
    for echo in range(9):
        world.space.endpoint.send(Telemetry("pong", {"echo": echo, "t_s": 0.0}))
    world.run(200.0, idle_ends=True)
    return up, down


@pytest.mark.parametrize("config", [CONFIG, SMALL], ids=["256 bytes", "160 bytes"])
def test_f_prime_puts_the_packets_of_our_downlink_together(config, capsys):
    _, down = flown(config)
    for channel in Channel:
        ours = packets_of_ours(down, channel, config)
        theirs = packets_by_fprime(down, channel, config)
        assert [(int.from_bytes(packet[:2], "big") & 0x7FF, packet[6:]) for packet in theirs] == ours
        assert len(ours) > 2 or channel is Channel.FILE_REPORTS
    assert any(tm.parse(frame, config.frame_bytes).first_header == tm.NO_PACKET_STARTS for frame in down)
    assert capsys.readouterr().err == ""


def test_f_prime_finds_our_frames_in_a_stream_of_bytes():
    _, down = flown(CONFIG)
    aggregator = TmFrameAggregatorFramerDeframer(CONFIG.frame_bytes, CONFIG.spacecraft_id)
    frames, rest, discarded = aggregator.deframe_all(b"\xff\xfe" + b"".join(down), False)
    assert (frames, rest, discarded) == (down, b"", b"\xff\xfe")


def test_f_prime_notices_a_lost_frame_of_ours_and_goes_on_at_the_pointer(capsys):
    _, down = flown(SMALL)
    own = [frame for frame in down if frame[1] >> 1 & 7 == Channel.OPERATIONS]
    (at,) = [n for n, f in enumerate(own) if tm.parse(f, 160).first_header == tm.NO_PACKET_STARTS][:1]
    deframer = Deframer(Channel.OPERATIONS, SMALL)
    runs, _, _ = deframer.deframe_all(b"".join(own[:at] + own[at + 1 :]), False)
    assert "frame loss detected" in capsys.readouterr().err
    reception = Reception(Direction.DOWNLINK, 1024, {})
    receiver = SecureChannel(SMALL, KEYS, Direction.UPLINK)
    ours = [run for f in own[:at] + own[at + 1 :] for run in reception.take(receiver.open(f))]
    assert b"".join(runs) == b"".join(ours)


def test_f_prime_sees_idle_frames_as_idle(capsys):
    space = SecureChannel(CONFIG, KEYS, Direction.DOWNLINK)
    noise = tm.IdleData().take(max_data_bytes(Direction.DOWNLINK, 256))
    frame = space.seal(Channel.FILE_DATA, noise, 0, tm.ONLY_IDLE_DATA)[0]
    assert packets_by_fprime([frame], Channel.FILE_DATA, CONFIG) == []
    assert capsys.readouterr().err == ""


@given(st.integers(1, 1023), st.sampled_from(Channel), st.binary(min_size=24, max_size=1000))
def test_f_prime_builds_the_same_tc_frame_as_we_do(spacecraft, channel, inside):
    theirs = SpaceDataLinkFramerDeframer(spacecraft, int(channel), 256).frame(inside)
    assert theirs == with_crc(tc.pack_header(spacecraft, channel, len(inside) + 7) + inside)
    header = tc.parse(theirs, 1024)
    assert (header.spacecraft_id, header.channel) == (spacecraft, channel)


def test_every_uplink_frame_of_a_pass_is_one_that_f_prime_builds():
    up, _ = flown(CONFIG)
    assert len({tc.parse(frame, 256).channel for frame in up}) == 3
    for frame in up:
        theirs = SpaceDataLinkFramerDeframer(CONFIG.spacecraft_id, tc.parse(frame, 256).channel, 256)
        assert theirs.frame(frame[5:-2]) == frame


@settings(max_examples=50)
@given(
    st.sampled_from(Direction),
    st.lists(st.tuples(st.integers(0, 2046), st.binary(min_size=1, max_size=300)), min_size=1, max_size=8),
    st.integers(7, 200),
)
def test_space_packet_parser_reads_our_packets(way, packets, idle_bytes):
    packer = Packer(way)
    stream = b"".join(packer.pack(*packet) for packet in packets) + idle(idle_bytes, way)
    found = list(ccsds_generator(io.BytesIO(stream)))
    assert [(each.apid, bytes(each)[6:]) for each in found[:-1]] == packets
    assert all(each.type == (way is Direction.UPLINK) and each.sequence_flags == 3 for each in found)
    assert found[-1].apid == 0x7FF and len(bytes(found[-1])) == idle_bytes
