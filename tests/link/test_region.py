from __future__ import annotations

import zlib
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flight.config import LinkConfig
from flight.link import pack as wire
from flight.link.counts import quantise
from flight.link.region import CodecError, Region, pack, share_error, unpack

CONFIG = LinkConfig()
DATA = Path(__file__).parents[2].parent / "shared" / "data"


def voronoi(rows: int = 20, cols: int = 25, n: int = 12, seed: int = 1, holes: bool = True) -> Region:
    """Municipalities around random points, with shares from 4 x 4 samples a cell and, if asked for, sea in a corner."""
    rng = np.random.Generator(np.random.PCG64(seed))
    at = rng.random((n, 2)) * (rows, cols)
    y, x = np.meshgrid(np.arange(rows * 4) / 4, np.arange(cols * 4) / 4, indexing="ij")
    owner = ((y[..., None] - at[:, 0]) ** 2 + (x[..., None] - at[:, 1]) ** 2).argmin(-1)
    samples = owner.reshape(rows, 4, cols, 4).transpose(0, 2, 1, 3).reshape(rows * cols, 16)
    share = np.stack([(samples == i).sum(1) for i in range(n)], axis=1)
    order = np.argsort(-share, axis=1, kind="stable")[:, :4]
    order = np.pad(order, ((0, 0), (0, 4 - order.shape[1])))
    part = np.take_along_axis(share, order, axis=1)
    part[:, n:] = 0
    weights = quantise(part, 255)
    bags = np.where(weights > 0, order, -1).astype(np.int32)
    if holes:
        sea = (np.add.outer(np.arange(rows), np.arange(cols)) < 8).ravel()
        bags[sea], weights[sea] = -1, 0
    return Region(9, rows, cols, tuple(f"0{i:04d}" for i in range(n)), bags, weights)


def noise(rows: int, cols: int, n: int, seed: int) -> Region:
    """A region without any order in it: the layouts' worst case."""
    rng = np.random.Generator(np.random.PCG64(seed))
    bags = np.argsort(rng.random((rows * cols, max(n, 4))), axis=1)[:, :4].astype(np.int32)
    used = np.minimum(rng.integers(0, 5, rows * cols), n)
    bags[(np.arange(4) >= used[:, None]) | (bags >= n)] = -1
    bags = np.take_along_axis(bags, np.argsort(bags < 0, axis=1, kind="stable"), axis=1)
    owned = bags[:, 0] >= 0
    weights = np.zeros(bags.shape, np.uint8)
    weights[owned] = quantise(np.where(bags[owned] >= 0, rng.random((int(owned.sum()), 4)) + 0.05, 0), 255)
    return Region(1, rows, cols, tuple(f"código {i}" for i in range(n)), bags, weights)


def content(region: Region) -> tuple[object, ...]:
    return (region.region_id, region.rows, region.cols, region.codes, region.bags.tobytes(), region.weights.tobytes())


sides = st.integers(1, 12)
regions = st.builds(voronoi, sides, sides, st.integers(1, 9), st.integers(0, 999), st.booleans()) | st.builds(
    noise, sides, sides, st.integers(1, 300), st.integers(0, 999)
)


@given(regions, st.integers(2, 56))
@settings(max_examples=120, deadline=None)
def test_the_satellite_decodes_the_map_that_the_ground_says_it_will(region: Region, levels: int) -> None:
    data = pack(region, levels)
    decoded = unpack(data, CONFIG)
    assert content(decoded) == content(region.quantised(levels))
    assert pack(decoded, levels) == data


@given(regions)
@settings(max_examples=30, deadline=None)
def test_a_share_moves_by_less_than_the_levels_allow(region: Region) -> None:
    assert share_error(region, 8)[1] < 0.5 and share_error(region, 56)[1] < 2.5 / 56


def test_every_truncation_is_refused() -> None:
    data = pack(voronoi())
    for n in range(len(data)):
        with pytest.raises(CodecError):
            unpack(data[:n], CONFIG)


def test_every_damaged_byte_is_refused_or_harmless() -> None:
    data = pack(voronoi())
    expected, refused = content(unpack(data, CONFIG)), 0
    for at in range(len(data)):
        for flip in (1, 8, 128, 255):
            damaged = bytearray(data)
            damaged[at] ^= flip
            try:
                assert content(unpack(bytes(damaged), CONFIG)) == expected
            except CodecError:
                refused += 1
    assert refused > 3.9 * len(data)


def test_a_deflate_bomb_is_refused_without_being_inflated() -> None:
    bomb = wire.deflate(bytes(50_000_000))
    out = wire.Writer(wire.REGION)
    out.integer(9, 10, 10, 1, 8, 2)
    out.block(b"\0")
    out.block(b"1\0")
    out.integer(100, 0, len(bomb))
    with pytest.raises(CodecError, match="does not inflate to the 100 bytes announced"):
        unpack(out.finish(0) + bomb, CONFIG)


def test_a_grid_above_the_limit_is_refused_before_it_is_decoded() -> None:
    with pytest.raises(CodecError, match="columns is 25, not between 1 and 20"):
        unpack(pack(voronoi(20, 25)), LinkConfig(max_region_chips=400))
    with pytest.raises(CodecError, match="number of municipalities is 12"):
        unpack(pack(voronoi(n=12)), LinkConfig(max_municipalities=11))


def test_overlaps_are_looked_up_by_row_and_column() -> None:
    region = voronoi()
    row, col = np.array([0, 19, 7]), np.array([0, 24, 3])
    bags, weights = region.overlaps(row, col)
    assert np.array_equal(bags, region.bags[row * 25 + col]) and weights.dtype == np.float32
    assert weights.sum(1).tolist() == pytest.approx([0, 1, 1])


@pytest.mark.parametrize(("row", "col"), [(-1, 0), (20, 0), (0, -1), (0, 25)])
def test_a_chip_outside_the_grid_is_refused_by_name(row: int, col: int) -> None:
    with pytest.raises(IndexError, match=f"row {row}, column {col} is outside the grid of 20 x 25"):
        voronoi().overlaps(np.array([3, row]), np.array([3, col]))


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


def test_codes_that_share_a_beginning_cost_about_a_byte_each() -> None:
    one, many = (
        Region(1, 1, 1, codes, np.array([[0, -1, -1, -1]], np.int32), np.array([[255, 0, 0, 0]], np.uint8))
        for codes in (("28001",), tuple(f"{28000 + i}" for i in range(1000)))
    )
    assert len(pack(many)) - len(pack(one)) < 1000


@pytest.mark.skipif(not (DATA / "spain_north.npz").exists(), reason="needs the reference borders")
def test_real_borders_take_a_quarter_of_plain_zlib() -> None:
    with np.load(DATA / "spain_north.npz", allow_pickle=False) as file:
        rows, cols = file["grid"].tolist()
        chip, municipality, share = file["chip"], file["municipality"], file["share"].astype(np.float64)
        n = len(file["area_km2"])
    order = np.lexsort((-share, chip))
    chip, municipality, share = chip[order], municipality[order], share[order]
    rank = np.arange(len(chip)) - np.searchsorted(chip, chip)
    keep = rank < 4
    bags, part = np.full((rows * cols, 4), -1, np.int32), np.zeros((rows * cols, 4))
    bags[chip[keep], rank[keep]], part[chip[keep], rank[keep]] = municipality[keep], share[keep]
    weights = np.zeros(bags.shape, np.uint8)
    weights[bags[:, 0] >= 0] = quantise(part[bags[:, 0] >= 0], 255)
    bags[weights == 0] = -1
    region = Region(1, rows, cols, tuple(f"{i:05d}" for i in range(n)), bags, weights)
    sent = region.quantised()
    plain = len(zlib.compress(sent.bags.tobytes() + sent.weights.tobytes(), 9))
    data = pack(region)
    assert content(unpack(data, CONFIG)) == content(sent)
    assert len(data) < 0.28 * plain
