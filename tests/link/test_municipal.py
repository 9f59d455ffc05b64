"""Municipal products: what comes down is what was predicted, in a few bytes a municipality, or a clear refusal."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from benchmarks import tables
from benchmarks.regions import voronoi
from flight import kernels
from flight.config import LinkConfig
from flight.link.layout import map_order
from flight.link.municipal import MunicipalProduct, MunicipalSums, pack, read_header, unpack
from flight.link.pack import CodecError
from flight.link.region import FULL

CONFIG = LinkConfig()
REGION = voronoi(24, 20, 30, seed=2, sea=0.1).quantised()
ORDER = map_order(REGION)


def make(classes: int = 4, levels: int = 32, seed: int = 1, missing: float = 0.3) -> MunicipalProduct:
    rng = np.random.Generator(np.random.PCG64(seed))
    table = rng.dirichlet(np.full(classes, 0.4), len(REGION.codes)).astype(np.float32)
    table[rng.random(len(table)) < missing] = np.nan
    coverage = rng.choice([1.0, 0.3, 0.01], len(table)).astype(np.float32)
    return MunicipalProduct(REGION.region_id, 2, 3, bytes(range(8)), levels, table, coverage)


def content(product: MunicipalProduct) -> tuple[object, ...]:
    ids = (product.region_id, product.task_id, product.label_version, product.levels, product.model_digest)
    return (*ids, product.proportions.tobytes(), product.coverage.tobytes())


@given(st.builds(make, st.integers(2, 20), st.integers(2, 255), st.integers(0, 2**32), st.sampled_from([0, 0.3, 1])))
@settings(max_examples=30, deadline=None)
def test_the_ground_gets_the_rows_and_the_coverage_that_were_sent(product: MunicipalProduct) -> None:
    data = pack(product, ORDER)
    decoded = unpack(data, CONFIG, ORDER)
    assert content(decoded) == content(product.quantised())
    assert pack(decoded, ORDER) == data
    there = product.present
    error = np.abs(decoded.proportions[there] - product.proportions[there])
    assert not len(error) or error.max() < 1 / product.levels
    assert not there.any() or np.abs(decoded.coverage - product.coverage)[there].max() <= 1 / 32
    header = read_header(data, CONFIG)
    assert (header.rows, header.n_classes) == product.proportions.shape


@pytest.mark.skipif(not kernels.has_jit(), reason="numba is not installed")
def test_compiled_and_plain_kernels_make_the_same_bytes() -> None:
    assert pack(make(), ORDER, kernels.JIT) == pack(make(), ORDER, kernels.PYTHON)


def test_every_truncation_is_refused() -> None:
    data = pack(make(), ORDER)
    for n in range(len(data)):
        with pytest.raises(CodecError, match="municipal product: "):
            unpack(data[:n], CONFIG, ORDER)


def test_every_damaged_byte_is_refused_or_harmless() -> None:
    data = pack(make(), ORDER)
    expected, refused = content(unpack(data, CONFIG, ORDER)), 0
    for at in range(len(data)):
        for flip in (1, 16, 255):
            damaged = bytearray(data)
            damaged[at] ^= flip
            try:
                assert content(unpack(bytes(damaged), CONFIG, ORDER)) == expected
            except CodecError:
                refused += 1
    assert refused > 2.9 * len(data)


def test_a_product_along_another_map_is_refused() -> None:
    other = map_order(voronoi(24, 20, 30, seed=3, sea=0.1).quantised())
    with pytest.raises(CodecError, match="another map of region"):
        unpack(pack(make(), ORDER), CONFIG, other)
    with pytest.raises(CodecError, match="do not fit a map of 30 municipalities of region"):
        pack(replace(make(), region_id=99), ORDER)


def test_rows_of_neighbours_that_are_alike_take_less_than_two_bytes_each() -> None:
    region = voronoi(120, 120, 400, seed=4).quantised()
    order = map_order(region)
    table = tables.smooth(order.places, 5, seed=1)
    product = MunicipalProduct(1, 1, 1, bytes(8), 32, table, np.ones(len(table), np.float32))
    assert len(pack(product, order)) < 2 * len(table)


def test_means_are_weighted_by_shares_and_count_a_cell_once() -> None:
    rng = np.random.Generator(np.random.PCG64(5))
    cells = np.flatnonzero(REGION.bags[:, 0] >= 0)[:300]
    shares = rng.dirichlet([1.0, 1.0, 1.0], len(cells)).astype(np.float32)
    sums = MunicipalSums(REGION)
    sums.add(cells[:200], shares[:200])
    sums.add(cells[100:], np.concatenate([shares[100:200] * 0 + 1, shares[200:]]))  # the first look counts
    means, coverage = sums.means()
    for town in range(len(REGION.codes)):
        weight = ((REGION.bags == town) * REGION.weights.astype(np.float64)).sum(1) / FULL
        seen = weight[cells]
        assert coverage[town] == pytest.approx(seen.sum() / max(weight.sum(), 1e-9), abs=1e-6)
        if seen.sum():
            assert np.allclose(means[town], (seen @ shares) / seen.sum(), atol=1e-6)
        else:
            assert np.isnan(means[town]).all()
