from __future__ import annotations

import zlib
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flight.config import LinkConfig
from flight.link import pack as wire
from flight.link.counts import dequantise, quantise
from flight.link.labelset import CodecError, LabelSet, errors, levels_for, pack, unpack

CONFIG = LinkConfig()


def make(rows: int = 30, classes: int = 5, levels: int = 32, seed: int = 1, missing: float = 0.1) -> LabelSet:
    rng = np.random.Generator(np.random.PCG64(seed))
    table = rng.dirichlet(np.full(classes, 0.4), rows).astype(np.float32)
    table[rng.random(rows) < missing] = np.nan
    return LabelSet(7, 2, 3, tuple(f"class {i}" for i in range(classes)), table, levels)


def content(label_set: LabelSet) -> tuple[object, ...]:
    ids = (label_set.region_id, label_set.task_id, label_set.version, label_set.levels, label_set.activate)
    return (*ids, label_set.classes, label_set.proportions.tobytes())


label_sets = st.builds(
    make,
    rows=st.integers(1, 60),
    classes=st.integers(2, 20),
    levels=st.integers(2, 255),
    seed=st.integers(0, 2**32),
    missing=st.sampled_from([0.0, 0.3, 1.0]),
)


@given(label_sets, st.booleans())
@settings(max_examples=60, deadline=None)
def test_the_satellite_decodes_what_the_ground_says_it_will(label_set: LabelSet, activate: bool) -> None:
    label_set = replace(label_set, activate=activate)
    assert content(unpack(pack(label_set), CONFIG)) == content(label_set.quantised())


@given(label_sets)
@settings(max_examples=30, deadline=None)
def test_packing_a_decoded_label_set_gives_the_same_bytes(label_set: LabelSet) -> None:
    data = pack(label_set)
    assert pack(unpack(data, CONFIG)) == data


@given(label_sets)
@settings(max_examples=30, deadline=None)
def test_no_proportion_moves_by_one_level(label_set: LabelSet) -> None:
    assert errors(label_set)[1] < 1 / label_set.levels + 1e-6


def test_every_truncation_is_refused() -> None:
    data = pack(make())
    for n in range(len(data)):
        with pytest.raises(CodecError):
            unpack(data[:n], CONFIG)


def test_every_damaged_byte_is_refused_or_harmless() -> None:
    data = pack(make())
    expected, refused = content(unpack(data, CONFIG)), 0
    for at in range(len(data)):
        for flip in (1, 16, 128, 255):
            damaged = bytearray(data)
            damaged[at] ^= flip
            try:
                assert content(unpack(bytes(damaged), CONFIG)) == expected
            except CodecError:
                refused += 1
    assert refused > 3.9 * len(data)


@given(st.binary(max_size=200))
@settings(max_examples=200, deadline=None)
def test_noise_behind_a_good_start_is_refused(noise: bytes) -> None:
    with pytest.raises(CodecError):
        unpack(pack(make())[:12] + noise, CONFIG)


def test_a_deflate_bomb_is_refused_without_being_inflated() -> None:
    bomb = wire.deflate(bytes(50_000_000))
    out = wire.Writer(wire.LABEL_SET)
    out.integer(7, 2, 3, 30, 2, 32, 1, 4, 30)
    out.block(b"a\0b\0")
    out.integer(0, len(bomb))
    with pytest.raises(CodecError, match="does not inflate to the 30 bytes announced"):
        unpack(out.finish(0) + bomb, CONFIG)


def test_a_table_above_the_limit_of_cells_is_refused_before_it_is_decoded() -> None:
    with pytest.raises(CodecError, match="max_label_cells"):
        unpack(pack(make(rows=30)), LinkConfig(max_label_cells=100))
    with pytest.raises(CodecError, match="number of municipalities is 30"):
        unpack(pack(make(rows=30)), LinkConfig(max_municipalities=29))
    with pytest.raises(CodecError, match="number of classes is 5"):
        unpack(pack(make(classes=5)), LinkConfig(max_classes=4))


def test_a_file_of_another_coder_says_which_format_it_has() -> None:
    data = bytearray(pack(make()))
    data[1] = 2
    with pytest.raises(CodecError, match="format 2 is not known"):
        unpack(bytes(data), CONFIG)


@pytest.mark.parametrize("row", [[0.5, np.nan], [-0.1, 1.1], [0.0, 0.0], [np.inf, 0.0]])
def test_a_row_that_is_not_on_the_simplex_is_not_packed(row: list[float]) -> None:
    with pytest.raises(CodecError, match="row 1 is not a set of proportions"):
        pack(LabelSet(1, 1, 1, ("a", "b"), np.array([[0.5, 0.5], row], np.float32), 32))


@pytest.mark.parametrize("classes", [("a", "a"), ("a", ""), ("a", "b\0"), ("a", "x" * 65), ("a", "\ud800")])
def test_class_names_that_do_not_travel_are_refused(classes: tuple[str, str]) -> None:
    with pytest.raises(CodecError, match="class"):
        pack(LabelSet(1, 1, 1, classes, np.full((1, 2), 0.5, np.float32), 32))


def test_ties_go_to_the_first_class() -> None:
    assert quantise(np.array([[0.5, 0.5]]), 3).tolist() == [[2, 1]]
    assert quantise(np.array([[1, 1, 1]]), 32).tolist() == [[11, 11, 10]]


@given(label_sets)
@settings(max_examples=30, deadline=None)
def test_quantising_what_was_quantised_changes_nothing(label_set: LabelSet) -> None:
    counts = quantise(label_set.proportions[~label_set.missing], label_set.levels)
    assert (counts.sum(1) == label_set.levels).all()
    assert np.array_equal(quantise(dequantise(counts, label_set.levels), label_set.levels), counts)


@pytest.mark.parametrize("max_error", [0.004, 0.01, 0.02, 0.1])
def test_levels_are_chosen_from_an_error_budget(max_error: float) -> None:
    assert errors(make(rows=500, levels=levels_for(max_error)))[1] <= max_error


def test_a_thousand_rows_take_less_than_a_third_of_float16() -> None:
    label_set = make(rows=1000, missing=0)
    half = zlib.compress(label_set.proportions.astype(np.float16).tobytes(), 9)
    assert len(pack(label_set)) * 3 < len(half)
