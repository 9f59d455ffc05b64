"""A synthetic Earth is the same wherever, whenever and in whatever batches it is asked for, and its truth is true."""

from __future__ import annotations

import hashlib
import tracemalloc
from pathlib import Path

import numpy as np
import pytest

from flight.clock import cpu_s
from ground.datasets import open_imagery
from ground.imagery import TEST, TRAIN, VALIDATION, Task
from sim import landcover
from sim.evaluate import Scorer
from sim.municipalities import SAMPLES, Municipalities
from sim.noise import Field, hash2, subkey
from sim.plan import make_plan
from sim.scenario import load_scenario
from sim.world import World, describe
from sim.world_export import export, world_of

SOME = np.array([7, 1234, 8, 0, 2399, 500, 501, 77, 1235, 900])


@pytest.fixture(scope="module")
def world() -> World:
    return World(seed=3, rows=40, cols=60, n_municipalities=60)


def test_chips_are_the_same_bits_alone_in_batches_in_any_order_and_in_another_instance(world: World) -> None:
    together = world.chips(SOME, scene=2)
    again = World(seed=3, rows=40, cols=60, n_municipalities=60)
    for position in np.random.default_rng(0).permutation(len(SOME)):
        assert np.array_equal(again.chips(SOME[[position]], scene=2)[0], together[position])
    assert np.array_equal(world.labels(SOME[::-1], world.tasks[0]), again.labels(SOME, world.tasks[0])[::-1])


def test_bits_do_not_depend_on_the_machine() -> None:
    # Known values: a change of these changes every synthetic world, and every figure measured on one.
    assert subkey(1, "elevation", 7) == 16364995995435661554
    assert hash2(5, np.array([-1, 0]), np.array([3, 2])).tolist() == [3471306649, 397599838]
    world = World(seed=1, rows=20, cols=20, n_municipalities=20)
    parts = (world.chips(np.array([210])), world.base_labels(np.array([99])), world.bags, world.table(world.tasks[0]))
    assert hashlib.sha256(b"".join(part.tobytes() for part in parts)).hexdigest()[:16] == "1b7d4baa583f6a77"


def test_another_seed_is_another_earth(world: World) -> None:
    other = World(seed=4, rows=40, cols=60, n_municipalities=60)
    assert (other.labels(SOME, world.tasks[0]) != world.labels(SOME, world.tasks[0])).mean() > 0.3


def test_a_larger_region_contains_the_land_of_a_smaller_one(world: World) -> None:
    larger = World(seed=3, rows=200, cols=300, n_municipalities=300)
    index = world.cell[SOME, 0] * 300 + world.cell[SOME, 1]
    assert np.array_equal(larger.chips(index), world.chips(SOME))


def test_the_land_is_the_same_at_any_number_of_pixels(world: World) -> None:
    coarse = World(seed=3, rows=40, cols=60, n_municipalities=60, chip_px=32)
    # Pixel centres of 32 x 32 are the middle ones of each 3 x 3 pixels of 96 x 96.
    assert (coarse.base_labels(SOME) == world.base_labels(SOME)[:, 1::3, 1::3]).mean() > 0.999


def test_neighbouring_chips_join_without_a_seam(world: World) -> None:
    at = np.arange(20, 50)
    rows = np.full(30, 11)
    labels = world.base_labels(rows * 60 + at)
    along = (labels[:, :, 40] != labels[:, :, 41]).mean()
    across = (labels[:-1, :, -1] != labels[1:, :, 0]).mean()
    assert across < 1.5 * along + 0.01


@pytest.mark.parametrize("n_bands", [1, 3, 4, 13])
def test_a_camera_may_have_1_to_13_bands_and_more_bands_add_to_the_first(n_bands: int) -> None:
    world = World(seed=3, rows=10, cols=10, n_municipalities=10, n_bands=n_bands, chip_px=48)
    chips = world.chips(np.arange(4))
    assert chips.shape == (4, 48, 48, n_bands)
    assert chips.dtype == np.uint8
    assert (chips.reshape(-1, n_bands).std(axis=0) > 0).all()


def test_an_overpass_changes_the_pixels_and_not_the_labels(world: World) -> None:
    first, second = (world.chips(SOME, scene=s).astype(int) for s in (0, 1))
    assert np.abs(first - second).mean() > 3
    clear = ~(world.clouds(SOME, 0) | world.clouds(SOME, 1))[..., None] & np.ones(3, bool)
    assert np.corrcoef(first[clear], second[clear])[0, 1] > 0.5


def test_clouds_are_white_where_the_mask_says_so_and_cover_little() -> None:
    world = World(seed=3, rows=40, cols=60, n_municipalities=60, chip_px=16)
    shares = []
    for scene in range(12):
        index = np.arange(scene, world.n_chips, 7)
        mask, chips = world.clouds(index, scene), world.chips(index, scene)
        shares.append(mask.mean())
        if mask.any():
            assert chips[mask].mean() > 1.5 * chips[~mask].mean()
    assert max(shares) > 0.005
    assert np.mean(shares) < 0.15


def test_overlaps_sum_to_one_and_come_largest_first(world: World) -> None:
    assert world.bags.shape == world.weights.shape == (2400, 4)
    assert np.allclose(world.weights.sum(axis=1), 1, atol=1e-6)
    assert (np.diff(world.weights, axis=1) <= 0).all()
    assert ((world.bags >= 0) == (world.weights > 0)).all()
    assert 0.1 < (world.bags[:, 1] >= 0).mean() < 0.6


def test_a_point_belongs_to_the_nearest_of_all_seats() -> None:
    towns = Municipalities(seed=9, rows=70, cols=50, n=150)
    rows, cols = np.divmod(np.arange(0, 3500, 3), 50)
    y, x = (p.ravel() for p in towns.rubber(rows, cols, 4))
    dy, dx = y[:, None] - towns.seats[:, 0], x[:, None] - towns.seats[:, 1]
    assert np.array_equal(towns.at(rows, cols, 4).ravel(), (dy * dy + dx * dx).argmin(axis=1))


def test_overlaps_agree_with_counting_points_of_a_finer_sample(world: World) -> None:
    index = np.flatnonzero(world.bags[:, 2] >= 0)[:40]
    points = world._municipalities.at(*world.cell[index].T, samples=5 * SAMPLES).reshape(len(index), -1)
    for i, row in zip(index, points, strict=True):
        for bag, weight in zip(world.bags[i], world.weights[i], strict=True):
            if bag >= 0:
                assert abs((row == bag).mean() - weight) < 0.05


def test_overlaps_of_some_chips_are_rows_of_the_overlaps_of_all(world: World) -> None:
    bags, weights = world.overlaps(SOME)
    assert np.array_equal(bags, world.bags[SOME])
    assert np.array_equal(weights, world.weights[SOME])


def test_codes_are_five_digits_unique_and_keep_their_leading_zero(world: World) -> None:
    assert world.codes[0] == "01001"
    assert len(set(world.codes)) == 60
    assert all(len(code) == 5 and code.isdigit() for code in world.codes)
    assert list(world.codes) == sorted(world.codes)


def test_municipalities_differ_in_size_as_real_ones_do() -> None:
    towns = Municipalities(seed=1, rows=100, cols=100, n=200)
    rows, cols = np.divmod(np.arange(10_000), 100)
    size = np.bincount(towns.at(rows, cols, 2).ravel(), minlength=200) / 4
    spread = np.log(np.maximum(size, 0.25)).std()  # 0.8 in the north of Spain, 1.05 in all of Spain
    assert 0.6 < spread < 1.4


def test_the_split_is_seventy_ten_twenty_by_municipality(world: World) -> None:
    assert np.bincount(world.bag_split).tolist() == [42, 6, 12]
    assert (TRAIN, VALIDATION, TEST) == (0, 1, 2)
    assert np.array_equal(world.chip_split, world.bag_split[world.bags[:, 0]])


def test_proportions_are_the_counts_of_the_labels(world: World) -> None:
    for task in world.tasks:
        labels = world.labels(SOME, task).reshape(len(SOME), -1)
        counted = np.array([np.bincount(row, minlength=len(task.class_names)) for row in labels]) / 96**2
        assert np.allclose(world.proportions(SOME, task), counted, atol=1e-6)


def test_municipality_truth_agrees_with_all_pixels_of_its_chips(world: World) -> None:
    task = world.tasks[0]
    truth = world.municipality_proportions(task)
    index = np.arange(world.n_chips)
    coarse = World(seed=3, rows=40, cols=60, n_municipalities=60, chip_px=24)
    labels = coarse.labels(index, task)
    where = world._municipalities.at(*world.cell.T.astype(np.int64), samples=24)
    for bag in range(60):
        found = np.bincount(labels[where == bag], minlength=5) / (where == bag).sum()
        assert np.abs(found - truth[bag]).max() < 0.03


def test_tables_are_near_the_truth_on_the_simplex_and_not_equal_to_it(world: World) -> None:
    for task in world.tasks:
        table, truth = world.table(task), world.municipality_proportions(task)
        known = ~np.isnan(table).any(axis=1)
        assert known.sum() == 59  # one row of 60 is missing
        assert (table[known] >= 0).all()
        assert np.allclose(table[known].sum(axis=1), 1, atol=1e-5)
        error = np.abs(table - truth)[known].mean()
        assert 0.002 < error < 0.03
        assert np.array_equal(table, world.table(task), equal_nan=True)


def test_a_table_without_noise_of_the_year_of_the_imagery_is_the_truth() -> None:
    world = World(seed=3, rows=20, cols=30, n_municipalities=15, table_year=0, table_noise=0, missing=0)
    assert np.allclose(world.table(world.tasks[0]), world.municipality_proportions(world.tasks[0]), atol=1e-6)


def test_the_land_changes_slowly_from_year_to_year() -> None:
    rows, cols = np.divmod(np.arange(400), 20)
    now, before = (landcover.survey(3, rows, cols, 8, year).base for year in (0, -2))
    changed = {task: (landcover.CLASS_OF[task][now] != landcover.CLASS_OF[task][before]).mean() for task in (1, 2)}
    assert 0.001 < changed[1] < 0.06
    assert changed[1] < changed[2] < 0.3


def test_a_base_class_has_one_class_in_each_task_and_tasks_cut_across_each_other(world: World) -> None:
    base = world.base_labels(SOME)
    first, second = world.tasks
    assert len(first.class_names) != len(second.class_names)
    assert len(landcover.BASE_CLASSES) >= 8
    for task in world.tasks:
        labels = world.labels(SOME, task)
        for number in np.unique(base):
            assert len(np.unique(labels[base == number])) == 1
        assert set(landcover.CLASS_OF[task.task_id].tolist()) == set(range(len(task.class_names)))


def test_municipalities_differ_more_than_chance_and_land_varies_within_them() -> None:
    world = World(seed=3, rows=40, cols=60, n_municipalities=60, chip_px=16)
    task = world.tasks[0]
    truth = world.proportions(np.arange(world.n_chips), task)
    own = world.municipality_proportions(task)[world.bags[:, 0]]
    between, within = np.abs(truth - truth.mean(axis=0)).mean(), np.abs(truth - own).mean()
    assert between > 1.2 * within
    assert within > 0.05


def test_a_region_of_four_million_chips_costs_seconds_and_megabytes() -> None:
    started = cpu_s()
    tracemalloc.start()
    world = World(seed=1, rows=2000, cols=2000, n_municipalities=8000)
    chips = world.chips(np.array([0, 3_999_999, 2_000_000]))
    bags, weights = world.overlaps(np.arange(1_000_000, 1_000_200))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert chips.std() > 0
    assert (bags[:, 0] >= 0).all()
    assert np.allclose(weights.sum(axis=1), 1)
    assert peak < 64 << 20
    assert cpu_s() - started < 5


def test_memory_does_not_grow_with_the_number_of_chips_asked_for_beyond_the_chips_themselves(world: World) -> None:
    peaks = []
    for n in (64, 256):
        tracemalloc.start()
        world.chips(np.arange(n))
        peaks.append(tracemalloc.get_traced_memory()[1] - n * 96 * 96 * 3)
        tracemalloc.stop()
    assert peaks[1] < 1.2 * peaks[0] < 64 << 20


def test_describe_gives_shares_that_sum_to_one(world: World) -> None:
    figures = describe(world)
    assert figures["chips"] == 2400
    for shares in (figures["base_class_shares"], *figures["class_shares"].values()):
        assert sum(shares.values()) == pytest.approx(1)
        assert min(shares.values()) >= 0
    assert 0 < figures["border_chip_share"] < 1


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ({"rows": 0}, "grid is 0 x 80"),
        ({"n_municipalities": 3}, "n_municipalities is 3"),
        ({"n_municipalities": 100_000}, "must be from 10 to 1500"),
        ({"chip_px": 30}, "multiple of 4"),
        ({"n_bands": 14}, "n_bands is 14"),
        ({"seed": -1}, "seed is -1"),
        ({"missing": 1.5}, "missing 1.5"),
        ({"table_year": 100}, "table_year is 100"),
    ],
)
def test_a_world_that_cannot_be_is_refused_with_the_reason(arguments: dict[str, int], told: str) -> None:
    with pytest.raises(ValueError, match=told):
        World(**arguments)  # type: ignore[arg-type]


def test_what_does_not_exist_is_refused(world: World) -> None:
    with pytest.raises(IndexError, match="0 to 2399"):
        world.chips(np.array([2400]))
    with pytest.raises(IndexError, match="0 to 2399"):
        world.labels(np.array([-1]), world.tasks[0])
    with pytest.raises(ValueError, match="task 9"):
        world.labels(SOME, Task(9, "soil", ("a", "b")))


def test_an_exported_world_reads_back_as_the_same_imagery(tmp_path: Path) -> None:
    world = world_of(150, seed=5, chip_px=32)
    told: list[tuple[int, int]] = []
    assert export(world, tmp_path / "earth.npz", 150, scene=1, progress=lambda *done: told.append(done)) == 150
    file = open_imagery(tmp_path / "earth.npz")
    index = np.arange(150)
    assert np.array_equal(file.chips(index), world.chips(index, scene=1))
    assert np.array_equal(file.bags, world.bags[:150])
    assert (file.rows, file.cols, file.codes, file.tasks) == (world.rows, world.cols, world.codes, world.tasks)
    for task in world.tasks:
        assert np.array_equal(file.labels(index, task), world.labels(index, task))
        assert np.allclose(file.table(task), world.table(task), equal_nan=True, atol=1e-6)
    assert told[-1] == (450, 450)
    assert told == sorted(told)


@pytest.mark.filterwarnings("error")
def test_imagery_with_a_table_and_no_truth_is_flown_without_a_score(tmp_path: Path) -> None:
    export(world_of(150, seed=5, chip_px=32), tmp_path / "earth.npz", 150)
    with np.load(tmp_path / "earth.npz") as file:
        arrays = {
            name: np.full_like(file[name], 255) if name.startswith("labels") else file[name] for name in file.files
        }
    np.savez(tmp_path / "untold.npz", **arrays)
    (tmp_path / "mine.toml").touch()
    plan = make_plan(load_scenario(str(tmp_path / "mine.toml")), tmp_path / "untold.npz")
    scorer = Scorer(plan, plan.imagery.tasks[0])
    shape = (plan.imagery.rows, plan.imagery.cols, len(plan.imagery.tasks[0].class_names))
    received = scorer.received_mae(np.full(shape, 1 / shape[2], np.float32))
    assert received is not None and np.isnan(received)
    assert np.isnan(scorer.baselines()["training mean"]["mae_soft"])


def test_an_export_of_more_chips_than_there_are_is_refused_and_writes_nothing(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="from 1 to 156"):
        export(world_of(150), tmp_path / "earth.npz", 151 + 10)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("n_chips", [40, 41, 99, 6000])
def test_a_world_of_so_many_chips_has_at_most_a_row_more(n_chips: int) -> None:
    world = world_of(n_chips)
    assert n_chips <= world.n_chips < n_chips + world.rows


def test_a_field_has_mean_zero_and_standard_deviation_one() -> None:
    rows, cols = np.divmod(np.arange(40_000), 200)
    values = Field(((7, 2), (2, 1)))(5, rows, cols, 1)
    assert abs(values.mean()) < 0.15
    assert abs(values.std() - 1) < 0.1
