from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from benchmarks.regions import noise, read, voronoi
from flight import kernels
from flight.config import LinkConfig
from flight.kernels import JIT, PYTHON
from flight.link import pack as wire
from flight.link.pack import CodecError
from flight.link.region import Region, share_error
from flight.link.region_codec import Decoder, pack, pack_parts, unpack

CONFIG = LinkConfig()
DATA = Path(__file__).parents[2].parent / "shared" / "data"


def content(region: Region) -> tuple[object, ...]:
    return (region.region_id, region.rows, region.cols, region.codes, region.bags.tobytes(), region.weights.tobytes())


sides = st.integers(1, 8)
regions = st.builds(
    voronoi, sides, sides, st.integers(1, 9), st.integers(0, 999), sea=st.sampled_from([0, 0.3])
) | st.builds(noise, sides, sides, st.integers(1, 90), st.integers(0, 999))
SMALL = voronoi(14, 15, 9, seed=1, sea=0.2)


@given(regions, st.integers(1, 56))
@settings(max_examples=30, deadline=None)
def test_the_satellite_decodes_the_map_that_the_ground_says_it_will(region: Region, levels: int) -> None:
    data = pack(region, levels)
    decoded = unpack(data, CONFIG)
    assert content(decoded) == content(region.quantised(levels))
    assert pack(decoded, levels) == data


@given(regions)
@settings(max_examples=30, deadline=None)
def test_a_share_moves_by_less_than_the_levels_allow(region: Region) -> None:
    assert share_error(region, 8)[1] < 0.5 and share_error(region, 56)[1] < 2.5 / 56


def test_slices_of_any_size_decode_alike() -> None:
    decoder = Decoder(pack(SMALL), CONFIG, PYTHON)
    while decoder.advance(11):
        pass
    assert content(decoder.region) == content(SMALL.quantised())


@pytest.mark.skipif(not kernels.has_jit(), reason="numba is not installed")
def test_compiled_kernels_write_the_bytes_of_plain_python() -> None:
    for region in (SMALL, noise(12, 12, 40, seed=3)):
        data = pack(region, backend=JIT)
        assert data == pack(region, backend=PYTHON)
        assert content(unpack(data, CONFIG, JIT)) == content(unpack(data, CONFIG, PYTHON))


def test_every_truncation_is_refused() -> None:
    data = pack(SMALL)
    for n in range(len(data)):
        with pytest.raises(CodecError):
            unpack(data[:n], CONFIG)


def test_every_damaged_byte_is_refused_or_harmless() -> None:
    data = pack(SMALL)
    expected, refused = content(unpack(data, CONFIG)), 0
    for at in range(len(data)):
        damaged = bytearray(data)
        damaged[at] ^= (1, 8, 128, 255)[at % 4]
        try:
            assert content(unpack(bytes(damaged), CONFIG)) == expected
        except CodecError:
            refused += 1
    assert refused > 0.97 * len(data)


@given(st.binary(max_size=80))
@settings(max_examples=60, deadline=None)
def test_any_stream_behind_a_good_header_is_refused(stream: bytes) -> None:
    out = wire.Writer(wire.REGION, wire.RANGE)
    out.integer(9, 9, 8, 20, 20, 8)
    out.raw(stream)
    with pytest.raises(CodecError):
        unpack(out.finish(0), CONFIG)


def test_a_grid_above_the_limit_is_refused_before_it_is_decoded() -> None:
    with pytest.raises(CodecError, match="columns is 25, not between 1 and 20"):
        unpack(pack(voronoi(20, 25, 5, 1)), LinkConfig(max_region_chips=400))
    with pytest.raises(CodecError, match="number of municipalities is 12"):
        unpack(pack(voronoi(9, 9, 12, 1)), LinkConfig(max_municipalities=11))


def test_overlaps_are_looked_up_by_row_and_column() -> None:
    row, col = np.array([0, 13, 7]), np.array([0, 14, 3])
    bags, weights = SMALL.overlaps(row, col)
    assert np.array_equal(bags, SMALL.bags[row * 15 + col]) and weights.dtype == np.float32
    assert weights.sum(1).tolist() == pytest.approx([0, 1, 1])


@pytest.mark.parametrize(("row", "col"), [(-1, 0), (14, 0), (0, -1), (0, 15)])
def test_a_chip_outside_the_grid_is_refused_by_name(row: int, col: int) -> None:
    with pytest.raises(IndexError, match=f"row {row}, column {col} is outside the grid of 14 x 15"):
        SMALL.overlaps(np.array([3, row]), np.array([3, col]))


@pytest.mark.parametrize(
    ("bags", "weights"),
    [
        ([0, -1, -1, -1], [254, 0, 0, 0]),
        ([0, 0, -1, -1], [200, 55, 0, 0]),
        ([0, -1, 1, -1], [200, 0, 55, 0]),
        ([-1, -1, -1, -1], [255, 0, 0, 0]),
        ([2, -1, -1, -1], [255, 0, 0, 0]),
    ],
)
def test_a_cell_that_makes_no_sense_is_refused(bags: list[int], weights: list[int]) -> None:
    with pytest.raises(CodecError, match="municipalities"):
        Region(1, 1, 1, ("a", "b"), np.array([bags], np.int32), np.array([weights], np.uint8))


def test_codes_that_count_up_cost_far_less_than_a_byte_each() -> None:
    one, many = (
        Region(1, 1, 1, codes, np.array([[0, -1, -1, -1]], np.int32), np.array([[255, 0, 0, 0]], np.uint8))
        for codes in (("28001",), tuple(f"{28000 + i}" for i in range(1000)))
    )
    assert len(pack(many)) - len(pack(one)) < 150


@given(st.integers(0, 999))
@settings(max_examples=20, deadline=None)
def test_municipalities_in_any_order_keep_their_places(seed: int) -> None:
    order = np.random.Generator(np.random.PCG64(seed)).permutation(len(SMALL.codes))
    bags = np.append(order, -1)[SMALL.bags].astype(np.int32)
    codes = tuple(SMALL.codes[i] for i in np.argsort(order))
    shuffled = Region(SMALL.region_id, SMALL.rows, SMALL.cols, codes, bags, SMALL.weights)
    assert content(unpack(pack(shuffled), CONFIG)) == content(shuffled.quantised())


@pytest.mark.skipif(not (DATA / "spain_north.npz").exists(), reason="needs the reference borders")
@pytest.mark.skipif(not kernels.has_jit(), reason="numba is not installed")
def test_real_borders_take_less_than_two_thirds_of_a_bit_a_chip_and_with_shares_less_than_one_and_two_thirds() -> None:
    region = read(DATA / "spain_north.npz")
    chips = int((region.bags[:, 0] >= 0).sum())
    packed = pack_parts(region)
    assert content(unpack(packed.data, CONFIG)) == content(region.quantised())
    assert 8 * (packed.header_bytes + packed.membership_bytes) / chips < 0.66
    assert 8 * (len(packed.data) - packed.code_bytes) / chips < 1.67
