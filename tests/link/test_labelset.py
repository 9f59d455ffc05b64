from __future__ import annotations

import zlib
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flight import kernels
from flight.config import LinkConfig
from flight.link import pack as wire
from flight.link.classes import Relation, relate
from flight.link.counts import dequantise, quantise
from flight.link.label_names import pack_names
from flight.link.labelset import CodecError, LabelSet, errors, levels_for, pack, read_header, unpack
from flight.link.layout import MapOrder, map_order
from flight.link.region import Region

CONFIG = LinkConfig()


def make(rows: int = 30, classes: int = 5, levels: int = 32, seed: int = 1, missing: float = 0.1) -> LabelSet:
    rng = np.random.Generator(np.random.PCG64(seed))
    table = rng.dirichlet(np.full(classes, 0.4), rows).astype(np.float32)
    table[rng.random(rows) < missing] = np.nan
    return LabelSet(7, 2, 3, tuple(f"class {i}" for i in range(classes)), table, levels)


def make_map(n: int, seed: int = 1, region_id: int = 7) -> MapOrder:
    """A map of `n` municipalities at random places, of which some have no chip of their own, and some none at all."""
    rng = np.random.Generator(np.random.PCG64(seed))
    side = max(2, int(np.sqrt(4 * n)))
    bags = rng.integers(-1, max(1, n - n // 5), (side * side, 4)).astype(np.int32)
    bags[:, 2:] = -1
    bags[bags[:, 0] < 0, 1] = -1
    bags[bags[:, 0] == bags[:, 1], 1] = -1
    owned = bags >= 0
    weights = np.where(owned[:, :1], np.where(owned[:, 1:2], [200, 55, 0, 0], [255, 0, 0, 0]), 0).astype(np.uint8)
    return map_order(Region(region_id, side, side, tuple(f"M{i}" for i in range(n)), bags, weights))


def content(label_set: LabelSet) -> tuple[object, ...]:
    ids = (label_set.region_id, label_set.task_id, label_set.version, label_set.levels, label_set.activate)
    return (*ids, label_set.classes, label_set.proportions.tobytes())


label_sets = st.builds(
    make,
    rows=st.integers(1, 40),
    classes=st.integers(2, 14),
    levels=st.integers(2, 255),
    seed=st.integers(0, 2**32),
    missing=st.sampled_from([0.0, 0.3, 1.0]),
)


@st.composite
def adversarial(draw: st.DrawFn) -> LabelSet:
    """Rows as unlike each other as can be, and as unlike what any model expects."""
    classes, levels = draw(st.integers(2, 6)), draw(st.integers(2, 255))
    rows = draw(st.lists(st.lists(st.integers(0, 3), min_size=classes, max_size=classes), min_size=1, max_size=20))
    table = np.array([row if any(row) else np.full(classes, np.nan) for row in rows], np.float32)
    table[np.nan_to_num(table).sum(1) > 0] /= table[np.nan_to_num(table).sum(1) > 0].sum(1, keepdims=True)
    return LabelSet(7, 2, 3, tuple(f"class {i}" for i in range(classes)), table, levels)


@given(label_sets | adversarial(), st.booleans(), st.booleans())
@settings(max_examples=50, deadline=None)
def test_the_satellite_decodes_what_the_ground_says_it_will(label_set: LabelSet, activate: bool, along: bool) -> None:
    label_set = replace(label_set, activate=activate)
    order = make_map(len(label_set.proportions)) if along else None
    assert content(unpack(pack(label_set, order), CONFIG, order)) == content(label_set.quantised())


@given(label_sets)
@settings(max_examples=20, deadline=None)
def test_packing_a_decoded_label_set_gives_the_same_bytes(label_set: LabelSet) -> None:
    data = pack(label_set)
    assert pack(unpack(data, CONFIG)) == data


@given(label_sets)
@settings(max_examples=30, deadline=None)
def test_no_proportion_moves_by_one_level(label_set: LabelSet) -> None:
    assert errors(label_set)[1] < 1 / label_set.levels + 1e-6


@given(label_sets, st.integers(0, 2**32), st.floats(0, 1), st.integers(2, 255))
@settings(max_examples=40, deadline=None)
def test_a_delta_makes_of_its_base_what_an_absolute_table_is(
    base: LabelSet, seed: int, changed: float, levels: int
) -> None:
    rng = np.random.Generator(np.random.PCG64(seed))
    other = make(len(base.proportions), len(base.classes), levels, seed, 0.2).proportions
    table = np.where(rng.random((len(other), 1)) < changed, other, base.quantised().proportions)
    later = replace(base, version=9, proportions=table, levels=levels)
    order = make_map(len(table))
    data = pack(later, order, base)
    assert content(unpack(data, CONFIG, order, base.quantised())) == content(later.quantised())


@given(label_sets, st.data())
@settings(max_examples=40, deadline=None)
def test_classes_can_be_merged_and_split_against_an_earlier_version(base: LabelSet, data: st.DataObject) -> None:
    groups = data.draw(st.integers(1, len(base.classes)))
    of_base = data.draw(st.lists(st.integers(0, groups - 1), min_size=len(base.classes), max_size=len(base.classes)))
    extra = data.draw(st.lists(st.integers(0, groups - 1), min_size=2 - min(groups, 2), max_size=5))
    relation = Relation(tuple(of_base), (*range(groups), *extra))
    names = tuple(f"new {i}" for i in range(len(relation.of_class)))
    later = replace(make(len(base.proportions), len(names), 40, 5), classes=names, task_id=4)
    packed = pack(later, None, base, relation)
    assert content(unpack(packed, CONFIG, None, base.quantised())) == content(later.quantised())


def smooth(rows: int, classes: int, seed: int = 3) -> LabelSet:
    rng = np.random.Generator(np.random.PCG64(seed))
    walk = rng.normal(0, 0.7, (rows, classes))
    for i in range(1, rows):
        walk[i] += 0.9 * walk[i - 1]
    table = np.exp(walk - walk.max(1, keepdims=True))
    names = tuple(f"class {i}" for i in range(classes))
    return LabelSet(7, 2, 3, names, (table / table.sum(1, keepdims=True)).astype(np.float32), 32)


def test_a_table_of_merged_or_split_classes_costs_less_against_the_earlier_one() -> None:
    fine = smooth(400, 8).quantised()
    pairs = [(name, name) for name in fine.classes[:3]] + [(name, "rest") for name in fine.classes[3:]]
    merged_table = np.concatenate([fine.proportions[:, :3], fine.proportions[:, 3:].sum(1, keepdims=True)], axis=1)
    coarse = replace(fine, version=4, classes=(*fine.classes[:3], "rest"), proportions=merged_table).quantised()
    down = relate(fine.classes, coarse.classes, pairs)
    up = relate(coarse.classes, fine.classes, [(new, old) for old, new in pairs])
    assert len(pack(coarse, None, fine, down)) < 0.2 * len(pack(coarse))
    assert len(pack(fine, None, coarse, up)) < 0.75 * len(pack(fine))


def test_a_delta_of_one_row_in_ten_takes_less_than_a_fifth() -> None:
    base = smooth(1000, 5).quantised()
    table = base.proportions.copy()
    table[::10] = np.roll(table[::10], 1, axis=1) * 0.2 + table[::10] * 0.8
    later = replace(base, version=4, proportions=table)
    assert 5 * len(pack(later, None, base)) < len(pack(later))


def test_a_delta_without_its_base_says_what_it_wants() -> None:
    base = make().quantised()
    later = replace(base, version=4)
    data = pack(later, None, base)
    header = read_header(data, CONFIG)
    assert header.base is not None and header.base == base.base_id and header.classes is None
    for other in (None, replace(base, version=2), replace(base, levels=33), replace(base, activate=False)):
        with pytest.raises(CodecError, match=r"is a delta against version 3 of task 2 .* not at hand"):
            unpack(data, CONFIG, None, other)


def test_a_delta_is_only_against_a_table_of_the_same_region() -> None:
    with pytest.raises(CodecError, match="20 rows of region 7 cannot be a delta against 30 rows of region 7"):
        pack(make(rows=20), None, make())
    with pytest.raises(CodecError, match="say what became of class class 4"):
        pack(make(classes=4), None, make(classes=5))


def test_a_delta_covers_municipalities_that_have_joined_the_region_behind_the_others() -> None:
    base = make(rows=25).quantised()
    later = replace(make(rows=31, seed=4), version=4)
    assert content(unpack(pack(later, None, base), CONFIG, None, base)) == content(later.quantised())


def test_what_became_of_classes_is_told_by_name() -> None:
    assert relate(("a", "b", "c"), ("a", "x"), [("b", "x"), ("c", "x")]) == Relation((0, 1, 1), (0, 1))
    assert relate(("a", "x"), ("b", "a", "c"), [("x", "b"), ("x", "c")]) == Relation((1, 0), (0, 1, 0))
    assert relate(("a",), ("a", "new")) == Relation((0,), (0, 1))
    with pytest.raises(CodecError, match="'b' cannot have become 'x'"):
        relate(("a",), ("a", "x"), [("b", "x")])


def test_a_table_along_a_map_is_refused_without_it_and_with_another() -> None:
    label_set, order = make(), make_map(30)
    data = pack(label_set, order)
    for other in (None, make_map(30, region_id=8)):
        with pytest.raises(CodecError, match="along the map of region 7, which is not at hand"):
            unpack(data, CONFIG, other)
    for other in (make_map(30, seed=2), make_map(31)):
        with pytest.raises(CodecError, match="along another map of region 7"):
            unpack(data, CONFIG, other)


def test_every_truncation_is_refused() -> None:
    for data, base in ((pack(make()), None), (pack(make(seed=5), None, make().quantised()), make().quantised())):
        for n in range(len(data)):
            with pytest.raises(CodecError):
                unpack(data[:n], CONFIG, None, base)


def test_every_damaged_byte_is_refused_or_harmless() -> None:
    data = pack(make())
    expected, refused = content(unpack(data, CONFIG)), 0
    for at in range(len(data)):
        for flip in (1, 128, 255):
            damaged = bytearray(data)
            damaged[at] ^= flip
            try:
                assert content(unpack(bytes(damaged), CONFIG)) == expected
            except CodecError:
                refused += 1
    assert refused > 2.9 * len(data)


@given(st.binary(max_size=200), st.integers(8, 80), st.booleans())
@settings(max_examples=150, deadline=None)
def test_noise_behind_a_good_start_is_refused(noise: bytes, start: int, delta: bool) -> None:
    base = make().quantised()
    relation = Relation((0, 0, 1, 2, 3), (0, 1, 1, 2, 3, 3))
    data = pack(make(classes=6), None, base, relation) if delta else pack(make())
    with pytest.raises(CodecError):
        unpack(data[:start] + noise, CONFIG, None, base)


def test_few_bytes_cannot_make_flight_work_longer_than_its_limits_allow() -> None:
    out = wire.Writer(wire.LABEL_SET, wire.RANGE)
    out.integer(7, 2, 3, CONFIG.max_municipalities, 2, 255, 1)
    out.raw(pack_names(("a", "b")))
    with pytest.raises(CodecError, match="ends too early"):
        unpack(out.finish(0) + b"\x55", CONFIG)


def test_a_table_above_the_limit_of_cells_is_refused_before_it_is_decoded() -> None:
    with pytest.raises(CodecError, match="max_label_cells"):
        unpack(pack(make(rows=30)), LinkConfig(max_label_cells=100))
    with pytest.raises(CodecError, match="number of municipalities is 30"):
        unpack(pack(make(rows=30)), LinkConfig(max_municipalities=29))
    with pytest.raises(CodecError, match="number of classes is 5"):
        unpack(pack(make(classes=5)), LinkConfig(max_classes=4))


def test_a_file_of_another_coder_says_which_format_it_has() -> None:
    data = bytearray(pack(make()))
    data[1] = 9
    with pytest.raises(CodecError, match="format 9 is not known"):
        unpack(bytes(data), CONFIG)


@pytest.mark.parametrize("row", [[0.5, np.nan], [-0.1, 1.1], [0.0, 0.0], [np.inf, 0.0]])
def test_a_row_that_is_not_on_the_simplex_is_not_packed(row: list[float]) -> None:
    with pytest.raises(CodecError, match="row 1 is not a set of proportions"):
        pack(LabelSet(1, 1, 1, ("a", "b"), np.array([[0.5, 0.5], row], np.float32), 32))


@pytest.mark.parametrize("classes", [("a", "a"), ("a", ""), ("a", "b\0"), ("a", "x" * 65), ("a", "\ud800")])
def test_class_names_that_do_not_travel_are_refused(classes: tuple[str, str]) -> None:
    with pytest.raises(CodecError, match="class"):
        pack(LabelSet(1, 1, 1, classes, np.full((1, 2), 0.5, np.float32), 32))


@given(st.lists(st.text(min_size=1, max_size=12).filter(lambda name: "\0" not in name), min_size=2, unique=True))
@settings(max_examples=60, deadline=None)
def test_class_names_of_any_script_come_back(names: list[str]) -> None:
    names = [name for name in names if len(name.encode("utf-8", "replace")) <= 64 and name.isprintable()][:20]
    label_set = replace(make(classes=max(2, len(names))), classes=(*names, "Aß 7", "b-_z")[: max(2, len(names))])
    try:
        data = pack(label_set)
    except CodecError:
        assert len(set(label_set.classes)) < len(label_set.classes)
    else:
        assert unpack(data, CONFIG).classes == label_set.classes


def test_five_short_class_names_take_few_bytes() -> None:
    assert len(pack_names(("forest", "crops", "grass", "shrub", "built-up"))) == 22


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


def test_a_thousand_unrelated_rows_take_less_than_a_third_of_float16() -> None:
    label_set = make(rows=1000, missing=0)
    half = zlib.compress(label_set.proportions.astype(np.float16).tobytes(), 9)
    assert len(pack(label_set)) * 3 < len(half)


@pytest.mark.skipif(not kernels.has_jit(), reason="numba is not installed")
def test_compiled_and_plain_kernels_write_the_same_bytes_and_read_the_same_tables() -> None:
    order = make_map(60)
    for seed, classes, levels in ((1, 5, 32), (2, 13, 255), (3, 2, 2)):
        label_set, base = (make(60, classes, levels, seed + i).quantised() for i in (0, 50))
        for arguments in ((order,), (order, base)):
            data = pack(label_set, *arguments)
            assert pack(label_set, *arguments, backend=kernels.JIT) == data
            compiled = unpack(data, CONFIG, *arguments, backend=kernels.JIT)
            assert content(compiled) == content(label_set) == content(unpack(data, CONFIG, *arguments))
