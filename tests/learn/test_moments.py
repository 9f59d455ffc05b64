"""The closed-form learner: exact sums, the ridge it promises, new tasks without imagery."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from learn_world import DATA, world

from flight.learn import Moments
from flight.learn.arithmetic import Arithmetic
from flight.learn.embedding import Embedding
from flight.learn.features import CellFeatures
from flight.learn.ridge import PENALTIES, fit

EARTH = world(n=48)


@settings(max_examples=15, deadline=None)
@given(order=st.permutations(range(48)), cuts=st.lists(st.integers(0, 48), max_size=4))
def test_no_order_of_chips_changes_a_bit_of_the_state(order, cuts):
    straight = Moments(n_units=16).partial_fit(EARTH.chips, EARTH.bag)
    shuffled = Moments(n_units=16)
    for part in np.array_split(np.array(order), sorted(cuts)):
        shuffled.partial_fit(EARTH.chips[part], EARTH.bag[part], number=part)
    assert shuffled.state() == straight.state()


def test_memory_grows_only_with_municipalities_seen():
    few, many = (Moments().partial_fit(EARTH.chips, EARTH.bag // divisor * 1000) for divisor in (8, 1))
    assert many.n_bytes - few.n_bytes == 7 * (8 * (256 + 69 + 1) + 8)


def test_more_chips_of_the_same_municipalities_take_no_memory():
    learner = Moments().partial_fit(EARTH.chips, EARTH.bag)
    before = learner.n_bytes
    learner.partial_fit(EARTH.chips, EARTH.bag)
    assert learner.n_bytes == before


def test_a_new_task_is_learnt_and_past_chips_predicted_without_their_imagery():
    learner = Moments().partial_fit(EARTH.chips, EARTH.bag).set_labels(EARTH.table)
    summaries = learner.summarise(EARTH.chips)
    bright = np.stack([EARTH.table[:, 2], 1 - EARTH.table[:, 2]], axis=1)
    learner.set_labels(bright, task_id=1)
    assert learner.train(10) == 1
    error = np.abs(learner.predict_summaries(summaries)[:, 0] - EARTH.proportions[:, 2])
    assert error.mean() < 0.1


def test_chips_outside_every_municipality_teach_nothing():
    with_them = Moments().partial_fit(EARTH.chips, EARTH.bag)
    without = Moments().partial_fit(EARTH.chips, EARTH.bag)
    with_them.partial_fit(world(n=12, seed=3).chips, np.full(12, -1))
    assert with_them.set_labels(EARTH.table).weights() == without.set_labels(EARTH.table).weights()


def test_a_cell_map_has_nearly_the_mean_of_the_chip_prediction():
    learner = Moments().partial_fit(EARTH.chips, EARTH.bag).set_labels(EARTH.table)
    difference = learner.predict_map(EARTH.chips).mean(axis=(1, 2)) - learner.predict(EARTH.chips)
    assert np.abs(difference).mean() < 0.03


def test_ridge_satisfies_the_normal_equations_of_its_objective():
    rng = np.random.Generator(np.random.PCG64(4))
    for n, d in ((12, 30), (60, 9)):  # more unknowns than municipalities, and fewer
        X, P = rng.standard_normal((n, d)), rng.dirichlet(np.ones(3), n)
        weight, root = rng.integers(1, 9, n).astype(float), rng.standard_normal((d, d))
        S = root @ root.T + np.eye(d)
        found = fit(X, P, weight, S, np.arange(n), 0, Arithmetic())
        w = (weight / weight.sum())[:, None]
        A, Y = X - (w * X).sum(axis=0), P - (w * P).sum(axis=0)
        direct = np.linalg.solve(A.T @ (w * A) + found.penalty * S, A.T @ (w * Y))
        np.testing.assert_allclose(found.V, direct, atol=1e-8)
        assert found.penalty in PENALTIES


def test_cross_validation_shrinks_noise_and_not_signal():
    rng = np.random.Generator(np.random.PCG64(5))
    X, index, weight = rng.standard_normal((60, 10)), np.arange(60), np.ones(60)
    signal = 0.5 + 0.05 * np.stack([X[:, 0], -X[:, 0]], axis=1)
    noise = rng.dirichlet(np.ones(2), 60)
    assert fit(X, signal, weight, np.eye(10), index, 0, Arithmetic()).penalty == PENALTIES[0]
    assert fit(X, noise, weight, np.eye(10), index, 0, Arithmetic()).penalty == PENALTIES[-1]


def test_the_code_of_a_mean_embedding_is_accurate_to_a_hundredth():
    embed = Embedding(CellFeatures((24, 24, 3)), 256, 0, Arithmetic())
    means = np.stack([embed.summary(chip)[1] for chip in EARTH.chips])
    decoded = embed.decode(np.stack([embed.encode(mean) for mean in means]))
    assert np.abs(decoded - means).mean() < 0.01


@pytest.mark.parametrize(
    ("file", "best_mae", "worst_r2"), [("eurosat_mosaic96_llp.npz", 0.11, 0.6), ("dubai_llp.npz", 0.055, 0.84)]
)
def test_accuracy_on_real_imagery_of_unseen_municipalities(file, best_mae, worst_r2):
    if not (DATA / file).exists():
        pytest.skip(f"{file} is not here")
    accuracy = pytest.importorskip("benchmarks.accuracy")
    imagery = pytest.importorskip("ground.datasets").open_imagery(DATA / file)
    task = imagery.tasks[0]
    learner, _ = accuracy.trained(imagery, accuracy.training_table(imagery, task), Moments())
    found = accuracy.score(imagery, task, np.flatnonzero(imagery.chip_split == 1), learner.predict, learner.predict_map)
    assert found["mae_soft"] < best_mae
    assert found["r2_soft"] > worst_r2
