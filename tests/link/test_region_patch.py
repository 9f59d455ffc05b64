from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from benchmarks.regions import merged, noise, split, voronoi, without
from flight import kernels
from flight.config import LinkConfig
from flight.kernels import JIT, PYTHON
from flight.link.pack import CodecError
from flight.link.region import Region
from flight.link.region_codec import pack
from flight.link.region_patch import BaseError, PatchDecoder, follow, is_patch, only_adds, pack_patch

CONFIG = LinkConfig()
BASE = voronoi(24, 24, 9, seed=5, sea=0.2).quantised()


def applied(data: bytes, base: Region, n_cells: int = 1 << 20, backend: str = PYTHON) -> Region:
    decoder = PatchDecoder(data, base, CONFIG, backend)
    while decoder.advance(n_cells):
        pass
    return decoder.region


def same(one: Region, other: Region) -> bool:
    return one.digest == other.digest and np.array_equal(one.bags, other.bags) and one.codes == other.codes


def changed(base: Region, seed: int, what: str) -> Region | None:
    rng = np.random.Generator(np.random.PCG64(seed))
    n = len(base.codes)
    match what:
        case "split":
            return split(base, int(rng.integers(n)), seed)
        case "merge":
            return merged(base, int(rng.integers(n)), int(rng.integers(n)))
        case "border":  # two grids of the same municipalities, one drawn by other waves
            return replace(voronoi(base.rows, base.cols, n, seed=seed), codes=base.codes, region_id=base.region_id)
        case _:
            return replace(
                noise(base.rows, base.cols, n + 3, seed), region_id=base.region_id, codes=(*base.codes, *"abc")
            )


@given(st.integers(0, 10_000), st.sampled_from(["split", "merge", "border", "noise"]), st.sampled_from([2, 8, 13]))
@settings(max_examples=25, deadline=None)
def test_any_change_arrives_as_the_ground_has_it(seed: int, what: str, levels: int) -> None:
    base = voronoi(9, 8, 4, seed=seed, sea=0.2 if seed % 2 else 0.0).quantised(levels)
    new = changed(base, seed, what)
    if new is None or same(new.quantised(levels), base):
        return
    new = follow(base, new)
    assert same(applied(pack_patch(base, new, levels, PYTHON), base), new.quantised(levels))


def test_a_municipality_that_is_added_arrives_with_its_code() -> None:
    base = without(BASE, 4)
    new = follow(base, BASE)
    found = applied(pack_patch(base, new, backend=PYTHON), base.quantised())
    assert same(found, new.quantised()) and found.codes[-1] == BASE.codes[4] and found.codes[:-1] == base.codes


def test_a_split_takes_far_fewer_bytes_than_the_region() -> None:
    new = split(BASE, 5, seed=2)
    assert new is not None
    data = pack_patch(BASE, new, backend=PYTHON)
    assert is_patch(data) and not is_patch(pack(BASE)) and len(data) < len(pack(new)) / 4


def test_a_patch_of_another_version_is_refused_by_name() -> None:
    new = split(BASE, 5, seed=2)
    assert new is not None
    data = pack_patch(BASE, new, backend=PYTHON)
    with pytest.raises(BaseError, match=f"version {BASE.digest & 0xFFFF:04x}, on board is {new.digest & 0xFFFF:04x}"):
        PatchDecoder(data, new, CONFIG)
    with pytest.raises(BaseError, match="on board is none"):
        PatchDecoder(data, None, CONFIG)


def test_slices_of_any_size_decode_alike() -> None:
    new = split(BASE, 5, seed=2)
    assert new is not None
    data = pack_patch(BASE, new, backend=PYTHON)
    assert same(applied(data, BASE, 7), applied(data, BASE))


def test_a_change_that_is_none_is_refused() -> None:
    with pytest.raises(CodecError, match="nothing has changed"):
        pack_patch(BASE, BASE)


def test_another_grid_is_no_change() -> None:
    with pytest.raises(CodecError, match="is no change of"):
        follow(BASE, voronoi(10, 10, 9, seed=5))
    with pytest.raises(CodecError, match="not one that follows"):
        pack_patch(BASE, replace(BASE, codes=tuple(reversed(BASE.codes))))


def test_more_municipalities_than_allowed_are_refused() -> None:
    new = split(BASE, 5, seed=2)
    assert new is not None
    data = pack_patch(BASE, new, backend=PYTHON)
    with pytest.raises(CodecError):
        PatchDecoder(data, BASE, LinkConfig(max_municipalities=9))


def test_every_damaged_byte_and_every_truncation_is_refused_or_harmless() -> None:
    new = split(BASE, 5, seed=2)
    assert new is not None
    data = pack_patch(BASE, new, backend=PYTHON)
    hostile = [data[:n] for n in range(len(data))]
    hostile += [data[:at] + bytes([data[at] ^ flip]) + data[at + 1 :] for at in range(len(data)) for flip in (1, 128)]
    refused = 0
    for each in hostile:
        try:
            assert same(applied(each, BASE), new.quantised())
        except CodecError:
            refused += 1
    assert refused > 0.9 * len(hostile)


@pytest.mark.skipif(not kernels.has_jit(), reason="numba is not installed")
def test_compiled_kernels_write_the_same_patch() -> None:
    new = split(BASE, 3, seed=4)
    assert new is not None
    data = pack_patch(BASE, new, backend=JIT)
    assert data == pack_patch(BASE, new, backend=PYTHON) and same(applied(data, BASE, backend=JIT), new.quantised())


def test_statistics_are_kept_where_municipalities_are_only_added() -> None:
    base = without(BASE, 4)
    grown = split(BASE, 5, seed=2)
    assert grown is not None
    assert only_adds(base, follow(base, BASE))
    assert not only_adds(BASE, grown) and not only_adds(BASE, merged(BASE, 1, 2))
