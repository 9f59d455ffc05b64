import binascii
import dataclasses
import hashlib
import hmac

import pytest
from hypothesis import given
from hypothesis import strategies as st
from link_world import CONFIG, KEYS

from flight.link import tc, tm
from flight.link.channels import max_data_bytes
from flight.link.errors import RejectedError
from flight.link.frame import Channel, Direction, Header, crc16, with_crc
from flight.link.security import COUNTER_LIMIT, ReplayWindow, SecureChannel, SendCounter, expand

SPACECRAFT = st.integers(0, 1023)
ROOM = max_data_bytes(Direction.DOWNLINK, CONFIG.frame_bytes)
POINTERS = st.one_of(st.integers(0, ROOM - 1), st.sampled_from([tm.NO_PACKET_STARTS, tm.ONLY_IDLE_DATA]))


def ends() -> tuple[SecureChannel, SecureChannel]:
    return SecureChannel(CONFIG, KEYS, Direction.UPLINK), SecureChannel(CONFIG, KEYS, Direction.DOWNLINK)


def up(ground: SecureChannel, data: bytes = b"some packet bytes") -> bytes:
    return ground.seal(Channel.OPERATIONS, data)[0]


def down(space: SecureChannel, filler: int = 0) -> bytes:
    return space.seal(Channel.OPERATIONS, bytes([filler]) * ROOM)[0]


def reason(channel: SecureChannel, data: bytes) -> str:
    before = channel.save()
    with pytest.raises(RejectedError) as caught:
        channel.open(data)
    assert channel.save() == before
    return caught.value.reason


def reseal(data: bytes) -> bytes:
    return with_crc(bytes(data[:-2]))


# Primary headers


def test_the_crc_is_the_one_of_the_standard():
    assert crc16(b"123456789") == 0x29B1


def test_a_tc_header_has_the_bits_of_figure_4_2_of_232_0():
    # version 00, bypass 1, control 0, reserved 00, spacecraft 0x2AB | channel 000010, length 255 | sequence 0
    assert tc.pack_header(0x2AB, 2, 256) == bytes([0b00100010, 0xAB, 0b00001000, 0xFF, 0])


def test_a_tm_header_has_the_bits_of_figure_4_2_of_132_0():
    # version 00, spacecraft 10_1010_1011, channel 010, no OCF | counts | no secondary header, 0, 0, 11, pointer 5
    assert tm.pack_header(0x2AB, 2, 258, 7, 5) == bytes([0b00101010, 0b10110100, 2, 7, 0b00011000, 5])


@given(SPACECRAFT, st.sampled_from(Channel), st.binary(min_size=24, max_size=1017))
def test_a_tc_frame_comes_back_as_it_was_packed(spacecraft, channel, rest):
    frame = with_crc(tc.pack_header(spacecraft, channel, len(rest) + 7) + rest)
    assert tc.parse(frame, 1024) == Header(spacecraft, channel, 5)


@given(SPACECRAFT, st.sampled_from(Channel), st.integers(0, 1000), st.integers(0, 1000), POINTERS)
def test_a_tm_frame_comes_back_as_it_was_packed(spacecraft, channel, master, count, pointer):
    frame = with_crc(tm.pack_header(spacecraft, channel, master, count, pointer) + bytes(248))
    assert tm.parse(frame, 256) == Header(spacecraft, channel, 6, master % 256, count % 256, pointer)


def test_the_noise_of_idle_frames_is_the_standard_s_and_goes_on():
    # 132.0-B-3, note to 4.1.4.6.2.2
    noise = tm.IdleData()
    assert (noise.take(3) + noise.take(7)).hex() == "ffffffff6db6d861451f"
    assert noise.take(64) != tm.IdleData().take(64)


@given(st.binary(max_size=300))
def test_noise_is_never_taken_for_a_frame(noise):
    for end in ends():
        assert reason(end, noise) in ("too_short", "too_long", "bad_crc")
        assert reason(end, reseal(noise + bytes(2))) != "replayed"


@pytest.mark.parametrize(
    ("byte", "value", "expected"),
    [
        (0, 0x00, "bad_header"),  # Type-AD: with COP-1, which is not here
        (0, 0x30, "bad_header"),  # Type-BC: a control command
        (0, 0x60, "bad_header"),  # another version
        (0, 0x24, "bad_header"),  # reserved bits
        (2, 0x0C, "bad_channel"),
        (3, 99, "bad_length"),
        (1, 43, "wrong_spacecraft"),
        (5, 9, "unknown_key"),
    ],
)
def test_an_uplink_header_field_that_is_not_allowed_has_its_own_reason(byte, value, expected):
    ground, space = ends()
    data = bytearray(up(ground))
    data[byte] = value
    assert reason(space, reseal(data)) == expected


@pytest.mark.parametrize(
    ("byte", "value", "expected"),
    [
        (0, 0x42, "bad_header"),  # another version
        (1, 0xA1, "bad_header"),  # an operational control field
        (4, 0x98, "bad_header"),  # a secondary header
        (4, 0x58, "bad_header"),  # no packets but a service of its own
        (4, 0x18 | ROOM >> 8, "bad_header"),  # see below: a pointer beyond the data
        (1, 0xA6, "bad_channel"),
        (0, 0x01, "wrong_spacecraft"),
        (6, 9, "unknown_key"),
    ],
)
def test_a_downlink_header_field_that_is_not_allowed_has_its_own_reason(byte, value, expected):
    ground, space = ends()
    data = bytearray(down(space))
    data[5] = ROOM & 0xFF if value == 0x18 | ROOM >> 8 and byte == 4 else data[5]
    data[byte] = value
    assert reason(ground, reseal(data)) == expected


@pytest.mark.parametrize("size", [255, 257])
def test_a_downlink_frame_of_another_length_is_refused(size):
    ground, space = ends()
    frame = down(space)
    resized = frame[:-2] if size < 256 else frame + b"x"
    assert reason(ground, resized) == ("too_short" if size < 256 else "too_long")


def test_a_frame_sequence_number_means_nothing_in_type_b_frames_but_is_authentic():
    ground, space = ends()
    data = bytearray(up(ground))
    data[4] = 1
    assert reason(space, reseal(data)) == "bad_tag"


# Security


@pytest.mark.parametrize("way", Direction)
def test_one_flipped_bit_anywhere_is_refused_even_if_the_crc_is_made_to_fit(way):
    ground, space = ends()
    sender, receiver, data = (ground, space, up(ground)) if way is Direction.UPLINK else (space, ground, down(space))
    for bit in range(8 * len(data)):
        flipped = bytearray(data)
        flipped[bit // 8] ^= 1 << bit % 8
        assert reason(receiver, bytes(flipped)) == "bad_crc"
        if bit < 8 * (len(data) - 2):
            assert reason(receiver, reseal(flipped)) != "bad_crc"
    assert receiver.open(data).counter == sender.counter.next - 1


def test_a_frame_cannot_be_replayed():
    ground, space = ends()
    data = up(ground)
    space.open(data)
    assert reason(space, data) == "replayed"


def test_frames_out_of_order_are_taken_within_the_window_and_only_there():
    ground, space = ends()
    frames = [up(ground) for _ in range(66)]
    space.open(frames[65])
    for frame in frames[64:1:-1]:
        space.open(frame)
    assert reason(space, frames[1]) == "replayed"
    assert reason(space, frames[40]) == "replayed"


def test_an_end_refuses_its_own_frames_when_they_are_reflected():
    ground, space = ends()
    assert reason(ground, up(ground, bytes(228))) == "bad_header"
    assert reason(space, down(space)) == "bad_header"


def test_a_frame_of_one_direction_dressed_as_one_of_the_other_fails_authentication():
    ground, space = ends()
    inside = down(space)[6:-2]
    dressed = with_crc(tc.pack_header(CONFIG.spacecraft_id, 0, 255) + inside)
    assert reason(space, dressed) == "bad_tag"
    assert space.open(up(ground)).data == b"some packet bytes"


def test_frames_for_another_spacecraft_are_refused():
    other = SecureChannel(dataclasses.replace(CONFIG, spacecraft_id=43), KEYS, Direction.UPLINK)
    assert reason(ends()[1], up(other)) == "wrong_spacecraft"


def test_the_high_half_of_the_counter_is_authenticated():
    ground, space = ends()
    ground.counter.next = ground.counter.reserved = 1 << 32
    assert reason(space, up(ground)) == "bad_tag"


def test_the_link_goes_on_when_the_low_half_of_the_counter_wraps():
    ground, space = ends()
    ground.counter.next = ground.counter.reserved = (1 << 32) - 3
    space.window = ReplayWindow((1 << 32) - 4, 1)
    frames = [up(ground, bytes([i])) for i in range(6)]
    for i in (0, 4, 2, 3, 1, 5):
        assert space.open(frames[i]).data == bytes([i])


@given(st.integers(0, 2**40), st.integers(-(2**31) + 1, 2**31 - 1))
def test_the_low_half_gives_back_every_counter_nearby(near, distance):
    counter = max(0, near + distance)
    assert expand(counter & 0xFFFFFFFF, near) == counter


@given(st.lists(st.integers(0, 200), max_size=200))
def test_the_window_accepts_each_counter_at_most_once_and_every_new_one_in_reach(counters):
    window, seen, highest = ReplayWindow(), set(), -1
    for counter in counters:
        assert window.accept(counter) == (counter not in seen and counter > highest - 64)
        seen.add(counter)
        highest = max(highest, counter)


@given(st.integers(1, 20), st.integers(0, 50), st.lists(st.booleans(), max_size=100))
def test_no_counter_is_used_twice_however_often_the_sender_dies(block, first, deaths):
    counter, saved, used = SendCounter(block, first), first, []
    for dies in deaths:
        value, reserves = counter.take()
        if reserves:
            saved = counter.reserved
        used.append(value)
        if dies:
            counter = SendCounter(block, saved)
            assert saved % block == 0
    assert len(set(used)) == len(used)
    assert max(used, default=0) < COUNTER_LIMIT


def test_the_tag_is_hmac_sha256_over_counter_headers_and_data():
    ground, _ = ends()
    ground.counter.next = ground.counter.reserved = 7
    data = up(ground, b"payload")
    key = KEYS.derive(CONFIG.spacecraft_id, Direction.UPLINK)[1]
    expected = hmac.new(key, bytes(7) + b"\x07" + data[:10] + b"payload", hashlib.sha256).digest()[:16]
    assert data[-18:-2] == expected
    assert binascii.crc_hqx(data, 0xFFFF) == 0


def test_the_master_channel_count_is_the_low_byte_of_the_counter():
    ground, space = ends()
    space.counter.next = space.counter.reserved = 254
    counts = [ground.open(down(space)).header.master_count for _ in range(4)]
    assert counts == [254, 255, 0, 1]


def test_a_window_that_has_moved_by_a_block_since_it_was_saved_asks_for_it():
    ground, space = ends()
    for _ in range(CONFIG.counter_block):
        assert not space.window_is_old
        space.open(up(ground))
    space.open(up(ground))
    assert space.window_is_old
    space.save()
    assert not space.window_is_old
