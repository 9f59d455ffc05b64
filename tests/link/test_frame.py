import binascii
import dataclasses
import hashlib
import hmac

import pytest
from hypothesis import given
from hypothesis import strategies as st
from link_world import CONFIG, KEYS

from flight.link.errors import RejectedError
from flight.link.frame import OVERHEAD_BYTES, Channel, Direction, Frame, crc16, parse, seal
from flight.link.security import COUNTER_LIMIT, ReplayWindow, SecureChannel, SendCounter, expand


def ends() -> tuple[SecureChannel, SecureChannel]:
    return SecureChannel(CONFIG, KEYS, Direction.UPLINK), SecureChannel(CONFIG, KEYS, Direction.DOWNLINK)


def reason(channel: SecureChannel, data: bytes) -> str:
    before = channel.save()
    with pytest.raises(RejectedError) as caught:
        channel.open(data)
    assert channel.save() == before
    return caught.value.reason


def reseal(data: bytes) -> bytes:
    return data[:-2] + crc16(data[:-2]).to_bytes(2, "big")


def test_the_crc_is_the_one_of_the_standard():
    assert crc16(b"123456789") == 0x29B1


@given(
    st.sampled_from(Direction),
    st.integers(0, 1023),
    st.sampled_from(Channel),
    st.integers(0, 255),
    st.integers(0, 2**32 - 1),
    st.binary(max_size=256 - OVERHEAD_BYTES),
    st.binary(min_size=16, max_size=16),
)
def test_a_frame_comes_back_as_it_was_packed(direction, spacecraft, channel, key, counter, payload, tag):
    frame = Frame(direction, spacecraft, channel, key, counter, payload, tag)
    data = seal(frame.covered(), tag)
    assert len(data) == OVERHEAD_BYTES + len(payload)
    assert parse(data, 256) == frame


@given(st.binary(max_size=300))
def test_noise_is_never_taken_for_a_frame(noise):
    _, space = ends()
    assert reason(space, noise) in ("too_short", "too_long", "bad_crc")
    assert reason(space, reseal(noise + bytes(2))) != "replayed"


def test_one_flipped_bit_anywhere_is_refused_even_if_the_crc_is_made_to_fit():
    ground, space = ends()
    data, _ = ground.seal(b"some packet bytes", Channel.PACKETS)
    for bit in range(8 * len(data)):
        flipped = bytearray(data)
        flipped[bit // 8] ^= 1 << bit % 8
        assert reason(space, bytes(flipped)) == "bad_crc"
        if bit < 8 * (len(data) - 2):
            assert reason(space, reseal(bytes(flipped))) != "bad_crc"
    assert space.open(data).payload == b"some packet bytes"


def test_a_frame_cannot_be_replayed():
    ground, space = ends()
    data, _ = ground.seal(b"x", Channel.PACKETS)
    space.open(data)
    assert reason(space, data) == "replayed"


def test_frames_out_of_order_are_taken_within_the_window_and_only_there():
    ground, space = ends()
    frames = [ground.seal(b"x", Channel.PACKETS)[0] for _ in range(66)]
    space.open(frames[65])
    for frame in frames[64:1:-1]:
        space.open(frame)
    assert reason(space, frames[1]) == "replayed"
    assert reason(space, frames[40]) == "replayed"


def test_an_end_refuses_its_own_frames_when_they_are_reflected():
    ground, _ = ends()
    assert reason(ground, ground.seal(b"x", Channel.PACKETS)[0]) == "wrong_direction"


def test_a_reflected_frame_with_its_direction_bit_turned_fails_authentication():
    ground, _ = ends()
    data = bytearray(ground.seal(b"x", Channel.PACKETS)[0])
    data[0] ^= 0x10
    assert reason(ground, reseal(bytes(data))) == "bad_tag"


def test_frames_for_another_spacecraft_are_refused():
    other = SecureChannel(dataclasses.replace(CONFIG, spacecraft_id=43), KEYS, Direction.UPLINK)
    assert reason(ends()[1], other.seal(b"x", Channel.PACKETS)[0]) == "wrong_spacecraft"


@pytest.mark.parametrize(
    ("byte", "value", "expected"),
    [
        (0, 0x00, "bad_version"),
        (0, 0xA4, "bad_version"),
        (2, 3, "bad_channel"),
        (4, 99, "bad_length"),
        (5, 9, "unknown_key"),
    ],
)
def test_a_header_field_that_is_not_allowed_has_its_own_reason(byte, value, expected):
    ground, space = ends()
    data = bytearray(ground.seal(b"x", Channel.PACKETS)[0])
    data[byte] = value
    assert reason(space, reseal(bytes(data))) == expected


def test_the_high_half_of_the_counter_is_authenticated():
    ground, space = ends()
    ground.counter.next = ground.counter.reserved = 1 << 32
    assert reason(space, ground.seal(b"x", Channel.PACKETS)[0]) == "bad_tag"


def test_the_link_goes_on_when_the_low_half_of_the_counter_wraps():
    ground, space = ends()
    ground.counter.next = ground.counter.reserved = (1 << 32) - 3
    space.window = ReplayWindow((1 << 32) - 4, 1)
    frames = [ground.seal(bytes([i]), Channel.PACKETS)[0] for i in range(6)]
    for i in (0, 4, 2, 3, 1, 5):
        assert space.open(frames[i]).payload == bytes([i])


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


@given(st.integers(1, 20), st.lists(st.booleans(), max_size=100))
def test_no_counter_is_used_twice_however_often_the_sender_dies(block, deaths):
    counter, saved, used = SendCounter(block), 0, []
    for dies in deaths:
        value, reserves = counter.take()
        if reserves:
            saved = counter.reserved
        used.append(value)
        if dies:
            counter = SendCounter(block, saved)
    assert len(set(used)) == len(used)
    assert max(used, default=0) < COUNTER_LIMIT


def test_the_tag_is_hmac_sha256_over_counter_header_and_payload():
    ground, _ = ends()
    ground.counter.next = ground.counter.reserved = 7
    data, _ = ground.seal(b"payload", Channel.PACKETS)
    key = KEYS.derive(CONFIG.spacecraft_id, Direction.UPLINK)[1]
    expected = hmac.new(key, bytes(7) + b"\x07" + data[:10] + b"payload", hashlib.sha256).digest()[:16]
    assert data[-18:-2] == expected
    assert binascii.crc_hqx(data, 0xFFFF) == 0
