"""Estimators on kernel density matrices: what they learn, at once and from streams, in bounded memory."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.cluster import KMeans
from sklearn.neighbors import KernelDensity

from flight.learn.kdm import (
    KDM,
    RBF,
    Classifier,
    Cosine,
    DensityEstimator,
    NotFittedError,
    PrototypeStream,
    Regressor,
    ascend,
    grouped,
    spacing,
)  # fmt: skip


def rng(seed=3):
    return np.random.Generator(np.random.PCG64(seed))


def moons(n, seed=0):
    r = rng(seed)
    y = r.integers(0, 2, n)
    angle = r.random(n) * np.pi
    x = np.stack([np.cos(angle) * (1 - 2 * y) + y, np.sin(angle) * (1 - 2 * y) + 0.5 * y], axis=1)
    return x + 0.1 * r.standard_normal((n, 2)), y


def wave(n, seed=0, noise=0.1):
    x = rng(seed).uniform(-3, 3, (n, 1))
    return x, np.sin(x) + noise * rng(seed + 1).standard_normal((n, 1))


def test_with_a_prototype_a_point_it_is_kernel_density_estimation():
    x, other = moons(60)[0], moons(40, 1)[0]
    oracle = KernelDensity(bandwidth=0.2).fit(x)
    found = DensityEstimator(n_prototypes=60, sigma=0.2 * 2**0.5).fit(x)
    np.testing.assert_allclose(found.score_samples(other), oracle.score_samples(other), rtol=1e-9)


def test_few_prototypes_come_near_a_density_of_many():
    x, other = moons(2000)[0], moons(500, 1)[0]
    whole = KernelDensity(bandwidth=0.12).fit(x).score_samples(other).mean()
    few = DensityEstimator(n_prototypes=40).fit(x).refine(x, n_steps=100)
    assert few.score_samples(other).mean() > whole - 0.1


def test_refining_raises_the_likelihood_and_keeps_a_density():
    x = moons(400)[0]
    start = DensityEstimator(n_prototypes=12).fit(x)
    before = start.score_samples(x).mean()
    kdm = start.refine(x, n_steps=60).kdm_
    assert start.score_samples(x).mean() > before + 0.1
    assert kdm.weights.sum() == pytest.approx(1)


def test_refining_a_memory_of_all_points_is_refused():
    x = moons(20)[0]
    with pytest.raises(ValueError, match="20 points for 20 components"):
        DensityEstimator(n_prototypes=64).fit(x).refine(x)


def test_refining_a_joint_model_moves_points_and_classes():
    x, y = moons(300)
    model = Classifier(n_classes=2, n_prototypes=10).fit(x, y).kdm_
    rows = np.concatenate([x, np.eye(2)[y]], axis=1)
    after = ascend(model, rows, 60, 0.03)
    assert after.log_density(rows).mean() > model.log_density(rows).mean() + 0.1


@pytest.mark.parametrize("stream", [False, True], ids=["at once", "streamed"])
def test_a_classifier_separates_what_no_line_does(stream):
    (x, y), (other, truth) = moons(600), moons(300, 1)
    model = Classifier(n_classes=2, n_prototypes=40)
    for part in np.array_split(np.arange(600), 9) if stream else ():
        model.partial_fit(x[part], y[part])
    model = model if stream else model.fit(x, y)
    assert (model.predict(other) == truth).mean() > 0.97
    assert len(model.kdm_) <= 40
    np.testing.assert_allclose(model.predict_proba(other).sum(axis=1), 1)


def test_a_classifier_learns_from_distributions_too():
    x, y = moons(600)
    soft = 0.8 * np.eye(2)[y] + 0.1
    found = Classifier(n_classes=2, n_prototypes=40).fit(x, soft).predict_proba(x)
    assert 0.1 <= found.min() < 0.12
    assert 0.88 < found.max() <= 0.9


def test_a_bag_is_the_mean_of_its_points():
    x, y = moons(300)
    model = Classifier(n_classes=2, n_prototypes=30).fit(x, y)
    np.testing.assert_allclose(model.predict_bag(x[:50]), model.predict_proba(x[:50]).mean(axis=0), rtol=1e-9)


def test_a_memory_of_one_neighbour_is_the_nearest_neighbour_rule():
    (x, y), other = moons(200), moons(100, 1)[0]
    model = Classifier(n_classes=2, n_prototypes=200, sigma=0.5, nearest=1).fit(x, y)
    expected = y[np.square(other[:, None] - x).sum(axis=2).argmin(axis=1)]
    np.testing.assert_array_equal(model.predict(other), expected)


@pytest.mark.parametrize("stream", [False, True], ids=["at once", "streamed"])
def test_a_regressor_follows_a_curve_and_knows_its_noise(stream):
    (x, y), (other, truth) = wave(800), wave(400, 7)
    model = Regressor(n_prototypes=60)
    for part in np.array_split(np.arange(800), 11) if stream else ():
        model.partial_fit(x[part], y[part])
    mean, variance = (model if stream else model.fit(x, y)).predict_moments(other)
    assert np.sqrt(np.square(mean - truth).mean()) < 0.14
    assert 0.6 < np.square(mean - truth).mean() / variance.mean() < 1.5


def test_a_memory_estimates_the_noise_from_neighbours():
    x, y = wave(400, noise=0.2)
    model = Regressor(n_prototypes=400, sigma=0.3).fit(x, y)
    sigma_y = model.kdm_.kernel.parts[1][0].sigma
    assert sigma_y**2 / 2 == pytest.approx(0.04, rel=0.3)


def test_variance_of_far_targets_keeps_its_digits():
    x, y = wave(300)
    near = Regressor(n_prototypes=20).fit(x, y).predict_moments(x)[1]
    far = Regressor(n_prototypes=20).fit(x, y + 1e6).predict_moments(x)[1]
    np.testing.assert_allclose(far, near, rtol=1e-4)


def test_the_same_seed_gives_the_same_prototypes():
    x, y = moons(300)
    first, second = (Classifier(n_classes=2, n_prototypes=20, seed=4).fit(x, y).predict_proba(x) for _ in range(2))
    np.testing.assert_array_equal(first, second)


def test_grouping_costs_about_what_scikit_learn_pays():
    x = moons(500)[0]
    p = grouped(x, np.ones(500), 20, 0)
    oracle = KMeans(20, n_init=1, random_state=0).fit(x).inertia_
    assert p.scatter.sum() < 1.1 * oracle
    np.testing.assert_allclose(p.weights @ p.centres, x.sum(axis=0))


def test_grouping_fewer_places_than_prototypes_gives_the_places():
    x = np.repeat([[0.0, 1.0], [2.0, 3.0]], 10, axis=0)
    p = grouped(x, np.ones(20), 5, 0)
    assert sorted(p.centres.tolist()) == [[0.0, 1.0], [2.0, 3.0]]
    assert p.weights.tolist() == [10, 10]


@settings(max_examples=25, deadline=None)
@given(st.integers(2, 12), st.integers(1, 80), st.integers(0, 100))
def test_a_stream_keeps_total_weight_mean_and_scatter_in_bounded_prototypes(capacity, n, seed):
    x, w = rng(seed).standard_normal((n, 3)), rng(seed + 1).random(n) + 0.1
    stream = PrototypeStream(capacity)
    for part in np.array_split(np.arange(n), 5):
        stream.add(x[part], w[part])
    p = stream.prototypes
    mean = w @ x / w.sum()
    between = p.weights @ (p.centres - mean) ** 2
    assert len(p.weights) == min(n, capacity)
    assert p.weights.sum() == pytest.approx(w.sum())
    np.testing.assert_allclose(p.weights @ p.centres / w.sum(), mean, atol=1e-9)
    np.testing.assert_allclose(p.scatter.sum(axis=0) + between, w @ (x - mean) ** 2, atol=1e-9)


def test_a_stream_finds_clusters_whatever_their_order():
    places = np.array([[0.0, 0.0], [10.0, 0.0], [0.0, 10.0], [10.0, 10.0]])
    x = np.repeat(places, 50, axis=0) + 0.1 * rng().standard_normal((200, 2))
    for order in (np.arange(200), rng(1).permutation(200)):
        stream = PrototypeStream(4)
        stream.add(x[order], np.ones(200))
        assert sorted(np.rint(stream.prototypes.centres).tolist()) == sorted(places.tolist())
        assert stream.prototypes.weights.tolist() == [50] * 4


def test_each_merge_takes_the_pair_that_adds_least_scatter():
    stream = PrototypeStream(3)
    stream.add(np.array([[0.0], [5.0], [9.0], [9.5]]), np.ones(4))
    assert sorted(stream.prototypes.centres.ravel().tolist()) == [0.0, 5.0, 9.25]


def test_sigma_comes_from_distances_to_nearest_neighbours():
    assert spacing(np.array([[0.0], [1.0], [3.0], [3.0]])) == pytest.approx(np.sqrt((1 + 1 + 4) / 3))
    with pytest.raises(ValueError, match="all points coincide"):
        DensityEstimator().fit(np.ones((5, 2))).score_samples(np.ones((1, 2)))


@pytest.mark.parametrize(
    ("work", "message"),
    [
        (lambda: DensityEstimator(n_prototypes=1).fit([[1.0]]), "n_prototypes: 1"),
        (lambda: DensityEstimator().fit([[np.inf]]), r"x\[0, 0\]: inf"),
        (lambda: DensityEstimator().fit(np.empty((0, 2))), "no points"),
        (lambda: DensityEstimator().fit([[1.0], [2.0]], [1.0, 0.0]), "weight"),
        (lambda: Classifier(n_classes=2).fit([[1.0]], [2]), "a class is not from 0 to 1"),
        (lambda: Classifier(n_classes=2).fit([[1.0]], [[0.5, 0.6]]), "distributions"),
        (lambda: Classifier(n_classes=2).fit([[1.0]], [[0.5, 0.2, 0.3]]), r"y: float64 \(1, 3\)"),
        (lambda: Regressor().fit([[1.0]], [[1.0], [2.0]]), "2 rows, expected 1"),
        (lambda: DensityEstimator().partial_fit([[1.0]]).partial_fit([[1.0, 2.0]]), "as before"),
        (lambda: PrototypeStream(2000), "capacity"),
        (lambda: PrototypeStream(4).prototypes, "no point"),
        (lambda: ascend(KDM.of([[0.0]], RBF(1.0)), [[1.0]], 1, 0.1), "1 points for 1"),
    ],
)
def test_bad_arguments_are_named(work, message):
    with pytest.raises(ValueError, match=message):
        work()


def test_asking_before_fitting_says_so():
    with pytest.raises(NotFittedError, match="Classifier has seen no point"):
        Classifier(n_classes=2).predict([[1.0]])


def test_a_streamed_classifier_says_what_points_of_a_class_look_like():
    x, y = moons(600)
    model = Classifier(n_classes=2, n_prototypes=60, sigma=0.2).partial_fit(x, y)
    of_class = model.kdm_.condition(KDM.of([[0.0, 1.0]], Cosine()), 1)
    density = of_class.log_density(moons(300, 1)[0])
    assert density[moons(300, 1)[1] == 1].mean() > density[moons(300, 1)[1] == 0].mean() + 2
    assert (model.predict(of_class.sample(200, rng())) == 1).mean() > 0.97
