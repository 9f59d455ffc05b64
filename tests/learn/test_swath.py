"""The default learner: its budget, its gradients, and the reservoir that stands in for all chips."""

from __future__ import annotations

import numpy as np
import pytest
from learn_world import DATA, SIDE, quick, world

from flight.learn import Moments, Swath, context, lbfgs, load_state, mixnet, pool
from flight.learn.arithmetic import Arithmetic
from flight.learn.bfloat16 import narrow
from flight.learn.embedding import Embedding
from flight.learn.features import WIDE_WINDOWS_CELLS, CellFeatures
from flight.learn.headed import MAX_PARAMETERS
from flight.learn.matching import match
from flight.learn.records import Records
from flight.learn.resting import Resting
from flight.learn.ridge import fit, fold_of, out_of_fold

EARTH = world()


def started(bands=3, n_classes=3, side=SIDE):
    chips = np.zeros((1, side, side, bands), np.uint8)
    return Swath().partial_fit(chips, [0]).set_labels(np.full((1, n_classes), 1 / n_classes))


@pytest.mark.parametrize("bands", [1, 3, 13])
@pytest.mark.parametrize("n_classes", [2, 5, 11])
def test_trains_at_most_eight_thousand_parameters_a_task(bands, n_classes):
    assert started(bands, n_classes).n_parameters <= MAX_PARAMETERS


def test_twenty_classes_fit_the_budget_of_parameters():
    assert started(n_classes=20).n_parameters <= MAX_PARAMETERS


@pytest.mark.parametrize("bands", [1, 3, 13])
def test_a_full_reservoir_takes_at_most_six_megabytes(bands):
    learner = started(bands, side=96)
    assert learner.reservoir == 512
    assert 512 * learner._reservoir.n_bytes < 6e6


def test_a_municipality_at_rest_takes_at_most_400_bytes():
    table = started()._resting
    table.put(np.arange(1, 8), np.zeros((7, table.n_values), np.uint16), np.ones(7, np.int64))
    assert table.n_bytes <= 7 * 400


def test_a_resting_table_gives_back_what_was_put_in():
    rng = np.random.Generator(np.random.PCG64(1))
    codes = rng.integers(0, 4096, (5, 7)).astype(np.uint16)
    table = Resting(3, 7)
    table.put(np.array([3, 8, 9]), codes[:3], np.array([1, 2, 3]))
    table.put(np.array([1, 5]), codes[3:], np.array([4, 5]))
    np.testing.assert_array_equal(table.index, [1, 3, 5, 8, 9])
    index, found, weight = table.pull(np.array([2, 5, 8]))
    np.testing.assert_array_equal(index, [5, 8])
    np.testing.assert_array_equal(found, codes[[4, 1]])
    np.testing.assert_array_equal(weight, [5, 2])
    np.testing.assert_array_equal(table.values(np.ones(3, bool)), codes[[3, 0, 2]])


def test_municipalities_that_rest_and_stay_at_rest_change_no_bit(monkeypatch):
    straight = quick("swath").partial_fit(EARTH.chips, EARTH.bag).set_labels(EARTH.table)
    monkeypatch.setattr(pool, "MAX_OPEN", 4)
    resting = quick("swath").set_labels(EARTH.table)
    for part in np.split(np.arange(96), 16):  # one municipality after another
        resting.partial_fit(EARTH.chips[part], EARTH.bag[part])
        resting = load_state(resting.state())
    assert len(resting._index) == 4
    assert len(resting._resting.index) == 12
    assert resting.weights() == straight.weights()


def test_labels_of_municipalities_at_rest_are_enough_to_learn_from(monkeypatch):
    monkeypatch.setattr(pool, "MAX_OPEN", 4)
    table = EARTH.table.copy()
    table[4:] = np.nan
    learner = quick("swath").partial_fit(EARTH.chips, EARTH.bag).set_labels(table)
    assert learner.train(3) == 3
    restored = load_state(learner.state())
    assert restored.pending_steps == learner.pending_steps
    assert restored.weights() == learner.weights()


def test_a_municipality_that_is_woken_is_off_by_no_more_than_its_rounding(monkeypatch):
    straight = quick("swath").partial_fit(EARTH.chips, EARTH.bag).set_labels(EARTH.table)
    monkeypatch.setattr(pool, "MAX_OPEN", 4)
    woken = quick("swath").set_labels(EARTH.table)
    for start in range(6):  # every municipality again and again
        woken.partial_fit(EARTH.chips[start::6], EARTH.bag[start::6], number=np.arange(96)[start::6])
    exact, found = straight._municipalities(), woken._municipalities()
    np.testing.assert_array_equal(found.index, exact.index)
    np.testing.assert_allclose(found.weight, exact.weight)
    assert np.abs(found.means - exact.means).max() < 6 * 2**-10


def test_reservoir_is_chosen_by_number_and_bounded():
    learner = Swath(reservoir=20)
    learner.partial_fit(EARTH.chips, EARTH.bag, number=np.arange(96))
    reverse = Swath(reservoir=20).partial_fit(EARTH.chips[::-1], EARTH.bag[::-1], number=np.arange(96)[::-1])
    assert len(learner._reservoir) == 20
    np.testing.assert_array_equal(learner._reservoir.chips, reverse._reservoir.chips)


def test_a_municipality_without_a_kept_chip_is_learnt_from():
    learner = quick("swath", reservoir=8).partial_fit(EARTH.chips, EARTH.bag)
    absent = np.setdiff1d(EARTH.bag, learner._reservoir.bags)[0]
    other = EARTH.table.copy()
    other[absent] = np.roll(other[absent], 1)
    before = learner.set_labels(EARTH.table).predict(EARTH.chips)
    assert np.abs(learner.set_labels(other).predict(EARTH.chips) - before).max() > 1e-3


def test_a_new_task_is_learnt_and_past_chips_predicted_without_their_imagery():
    learner = Swath().partial_fit(EARTH.chips, EARTH.bag).set_labels(EARTH.table)
    records = learner.summarise(EARTH.chips)
    assert records.shape[1] < 4800
    bright = np.stack([EARTH.table[:, 2], 1 - EARTH.table[:, 2]], axis=1)
    learner.set_labels(bright, task_id=1)
    error = np.abs(learner.predict_summaries(records)[:, 0] - EARTH.proportions[:, 2])
    assert error.mean() < 0.1


def test_matched_weights_reproduce_municipalities_better_than_their_own_kept_chips():
    rng = np.random.Generator(np.random.PCG64(2))
    bag = np.arange(600) % 30
    chips = rng.standard_normal((30, 6))[bag] + rng.standard_normal((600, 6))
    kept = np.arange(600) % 7 == 0
    means = np.stack([chips[bag == b].mean(axis=0) for b in range(30)])
    own = (bag[kept] == np.arange(30)[:, None]).astype(float)
    prior = np.where(
        own.any(axis=1, keepdims=True), own / np.maximum(own.sum(axis=1, keepdims=True), 1), 1 / kept.sum()
    )
    weights = match(means, chips[kept], prior, np.eye(6) / 100, Arithmetic())
    unseen = np.sin(chips[:, 0]) + chips[:, 1]  # a function that matching was not told of
    truth = np.stack([unseen[bag == b].mean() for b in range(30)])
    assert np.abs(weights @ unseen[kept] - truth).mean() < 0.5 * np.abs(prior @ unseen[kept] - truth).mean()
    np.testing.assert_allclose(weights.sum(axis=1), 1, atol=1e-5)


def test_matching_with_nothing_to_mend_is_the_prior():
    rng = np.random.Generator(np.random.PCG64(3))
    kept, prior = rng.standard_normal((12, 4)), rng.dirichlet(np.ones(12), 3)
    np.testing.assert_allclose(match(prior @ kept, kept, prior, np.eye(4), Arithmetic()), prior, atol=1e-7)


def test_a_fold_is_predicted_by_the_ridge_regression_of_the_others():
    rng = np.random.Generator(np.random.PCG64(4))
    X, P, weight = rng.standard_normal((40, 5)), rng.dirichlet(np.ones(3), 40), rng.integers(1, 9, 40).astype(float)
    root = rng.standard_normal((5, 5))
    S, index = root @ root.T + np.eye(5), np.arange(40)
    fold = fold_of(index, 0)
    assert np.bincount(fold).tolist() == [8] * 5
    use = fold != 2
    alone = fit(X[use], P[use], weight[use], S, index[use], 0, Arithmetic())
    found = out_of_fold(X, P, weight, S, fold, alone.penalty, Arithmetic())[2]
    np.testing.assert_allclose(found.V, alone.V, atol=1e-9)
    np.testing.assert_allclose(found.p_mean, alone.p_mean)


@pytest.mark.parametrize("loss", ["matched", "target"])
def test_gradients_agree_with_differences(loss):
    rng = np.random.Generator(np.random.PCG64(6))
    given = mixnet.Inputs(
        narrow(rng.standard_normal((6, 7, 4))), rng.standard_normal((6, 2)), rng.standard_normal((6, 3))
    )
    matching, labels, goal = rng.dirichlet(np.ones(6), 4), rng.dirichlet(np.ones(3), 4), rng.dirichlet(np.ones(3), 6)

    def value(x):
        matched = mixnet.Matched(matching, labels, np.full(4, 0.25))
        return given.objective(x, matched if loss == "matched" else mixnet.Targets(goal), 0.01)

    x = rng.standard_normal(given.n_weights)
    gradient = value(x)[1]
    for i, step in enumerate(1e-6 * np.eye(len(x))):
        assert gradient[i] == pytest.approx((value(x + step)[0] - value(x - step)[0]) / 2e-6, abs=1e-7)


def test_the_search_finds_the_least_of_a_skewed_valley():
    def rosenbrock(x):
        a, b = 1 - x[0], x[1] - x[0] ** 2
        return a * a + 100 * b * b, np.array([-2 * a - 400 * b * x[0], 200 * b])

    search = lbfgs.begin(rosenbrock, np.array([-1.2, 1.0]))
    for _ in range(80):
        search = lbfgs.iterate(rosenbrock, search, Arithmetic())
    np.testing.assert_allclose(search.x, 1, atol=1e-3)
    assert search.over[0]


def test_chips_of_one_look_throughout_differ_in_means_alone():
    flat = np.repeat(np.arange(12, dtype=np.float32).reshape(4, 1, 3), 9, axis=1)
    found = context.describe(flat, context.correlated(flat.shape[2]))
    np.testing.assert_allclose(found[:, :3], flat[:, 0])
    assert (np.ptp(found[:, 3:], axis=0) == 0).all()


def test_descriptions_hold_the_correlations_of_cells():
    cells = np.random.Generator(np.random.PCG64(7)).standard_normal((5, 40, 3)).astype(np.float32)
    expected = [np.corrcoef(chip.T)[[0, 0, 1], [1, 2, 2]] for chip in cells]
    np.testing.assert_allclose(context.describe(cells, context.correlated(cells.shape[2]))[:, 6:], expected, atol=1e-5)


@pytest.mark.parametrize("n", [30, 300])
def test_along_each_axis_chips_have_unit_variance_and_no_correlation(n):
    rng = np.random.Generator(np.random.PCG64(8))
    x = (rng.standard_normal((n, 50)) @ rng.standard_normal((50, 50))).astype(np.float32)
    found, along = context.axes(x.copy(), 10, Arithmetic())
    np.testing.assert_allclose((x - found.centre) @ found.basis, along.T, atol=1e-3)
    np.testing.assert_allclose(along @ along.T / n, np.eye(10), atol=0.01)


def test_a_record_gives_back_statistics_and_mean():
    embedding = Embedding(CellFeatures((SIDE, SIDE, 3), WIDE_WINDOWS_CELLS, raw=False), 64, 0, Arithmetic())
    records = Records(embedding)
    cells, mean = embedding.summary(EARTH.chips[5])
    record = records.encode(cells, mean)[None]
    assert np.abs(records.kept(record).cells(0)[0] - cells[records.lattice]).max() < 0.02
    assert np.abs(records.means(record)[0] - mean).max() < 2e-4
    table = Resting(64, embedding.n_out)
    assert np.abs(table.wake(table.rest(mean[None].astype(float))) - mean).max() < 1.1e-3


def test_the_widest_window_of_a_tiny_chip_is_mirrored_as_often_as_it_takes():
    chip = np.full((16, 16, 1), 90, np.uint8)
    wide = CellFeatures((16, 16, 1), WIDE_WINDOWS_CELLS, raw=False)
    np.testing.assert_allclose(wide(chip)[:, 9], (90 - 100) / 50, atol=1e-6)


def test_beats_the_closed_form_on_real_imagery_of_unseen_municipalities():
    file = DATA / "eurosat_mosaic96_llp.npz"
    if not file.exists():
        pytest.skip(f"{file.name} is not here")
    accuracy = pytest.importorskip("benchmarks.accuracy")
    imagery = pytest.importorskip("ground.datasets").open_imagery(file)
    task = imagery.tasks[0]
    table, scored = accuracy.training_table(imagery, task), np.flatnonzero(imagery.chip_split == 1)
    error = {}
    for learner in (Swath(), Moments()):
        accuracy.trained(imagery, table, learner)
        predicted = learner.predict(imagery.chips(scored))
        error[learner.name] = np.nanmean(np.abs(predicted - imagery.proportions(scored, task)))
    assert error["swath"] < error["moments"]
    assert error["swath"] < 0.1
