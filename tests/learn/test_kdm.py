"""Kernel density matrices against numerical integration, finite differences, scikit-learn and the definitions."""

from __future__ import annotations

import tracemalloc

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.neighbors import KernelDensity

from flight.learn import qkmnet
from flight.learn.kdm import KDM, RBF, Cosine, Product
from flight.learn.kdm.matrix import BLOCK_VALUES


def rng(seed=3):
    return np.random.Generator(np.random.PCG64(seed))


R = rng()
POINTS = R.standard_normal((7, 2))
WEIGHTS = R.random(7)
PAIR = Product(((RBF(0.6), 1), (RBF(0.9), 1)))
MIXED = Product(((RBF(0.6), 2), (Cosine(), 3)))


def joint():
    classes = np.sqrt(rng(4).dirichlet(np.ones(3), 7))
    return KDM.of(np.concatenate([POINTS, classes], axis=1), MIXED, WEIGHTS)


def grid(side=8.0, n=400):
    axis = (np.arange(n) + 0.5) / n * 2 * side - side
    return np.stack(np.meshgrid(axis, axis, indexing="ij"), axis=2).reshape(-1, 2), (2 * side / n) ** 2


@pytest.mark.parametrize("sigma", [0.3, 1.7])
def test_an_rbf_density_integrates_to_one(sigma):
    x, area = grid(12.0, 600)
    assert np.exp(KDM.of(POINTS, RBF(sigma), WEIGHTS).log_density(x)).sum() * area == pytest.approx(1, abs=1e-6)


def test_a_product_density_integrates_to_one():
    x, area = grid()
    assert np.exp(KDM.of(POINTS, PAIR, WEIGHTS).log_density(x)).sum() * area == pytest.approx(1, abs=1e-6)


def test_a_joint_density_of_points_and_classes_integrates_and_sums_to_one():
    x, area = grid(n=200)
    total = sum(
        np.exp(joint().log_density(np.concatenate([x, np.tile(e, (len(x), 1))], axis=1))).sum() * area
        for e in np.eye(3)
    )
    assert total == pytest.approx(1, abs=1e-6)


def test_cosine_densities_integrate_to_one_over_circle_and_sphere():
    angle = (np.arange(1000) + 0.5) / 1000 * 2 * np.pi
    circle = np.stack([np.cos(angle), np.sin(angle)], axis=1)
    found = np.exp(KDM.of(POINTS, Cosine("sphere"), WEIGHTS).log_density(circle))
    assert found.sum() * 2 * np.pi / 1000 == pytest.approx(1, abs=1e-9)
    height = (np.arange(400) + 0.5) / 200 - 1  # equal heights have equal areas (Archimedes)
    around, up = np.meshgrid(angle[::5], height, indexing="ij")
    flat = np.sqrt(1 - up**2)
    sphere = np.stack([flat * np.cos(around), flat * np.sin(around), up], axis=2).reshape(-1, 3)
    found = np.exp(KDM.of(rng().standard_normal((4, 3)), Cosine("sphere")).log_density(sphere))
    assert found.mean() * 4 * np.pi == pytest.approx(1, abs=1e-5)


def test_a_narrow_kernel_far_away_has_the_exact_log_density():
    single = KDM.of([[0.0, 0.0]], RBF(1e-3))
    expected = -(1e3**2) / 1e-6 - np.log(np.pi * 1e-6)
    assert single.log_density([[1e3, 0.0]])[0] == pytest.approx(expected, rel=1e-12)
    pair = KDM.of([[0.0], [1e3]], RBF(1e-3), [0.25, 0.75])
    near = pair.log_density([[0.0], [1e3 + 1e-3]])
    single_peak = -0.5 * np.log(np.pi * 1e-6)
    np.testing.assert_allclose(near, [np.log(0.25) + single_peak, np.log(0.75) + single_peak - 1], rtol=1e-6)


@settings(max_examples=50, deadline=None)
@given(st.floats(1e-3, 1e3), st.floats(-1e3, 1e3), st.floats(-1e3, 1e3))
def test_log_densities_are_finite_at_any_width_and_distance(sigma, x, c):
    found = KDM.of([[c, 1.0], [1.0, c]], RBF(sigma)).log_density([[x, -x]])
    assert np.isfinite(found).all()


def test_agrees_with_scikit_learn_where_sigma_is_its_bandwidth_times_the_root_of_two():
    x = rng(9).standard_normal((50, 2)) * 2
    oracle = KernelDensity(kernel="gaussian", bandwidth=0.4).fit(POINTS, sample_weight=WEIGHTS)
    found = KDM.of(POINTS, RBF(0.4 * 2**0.5), WEIGHTS).log_density(x)
    np.testing.assert_allclose(found, oracle.score_samples(x), rtol=1e-9)


@pytest.mark.parametrize(
    "kdm",
    [KDM.of(POINTS, RBF(0.7), WEIGHTS), KDM.of(POINTS, Cosine("sphere"), WEIGHTS), joint()],
    ids=["rbf", "cosine", "product"],
)
def test_gradients_agree_with_central_differences(kdm):
    x = rng(5).standard_normal((6, kdm.dim)) + 0.1
    logits, scales = kdm.log_weights.copy(), kdm.kernel.log_scales.copy()
    parts = [kdm.components.copy(), logits, scales]

    def value():
        log_weights = logits - np.logaddexp.reduce(logits)
        return KDM(parts[0], log_weights, kdm.kernel.with_log_scales(scales)).log_density(x).sum()

    for part, gradient in zip(parts, kdm.gradient(x), strict=True):
        for at in np.ndindex(part.shape):
            kept = part[at]
            part[at] = kept + 1e-6
            up = value()
            part[at] = kept - 1e-6
            down = value()
            part[at] = kept
            assert gradient[at] == pytest.approx((up - down) / 2e-6, rel=1e-6, abs=1e-7)


def test_a_marginal_is_the_joint_density_integrated():
    kdm = KDM.of(POINTS, PAIR, WEIGHTS)
    y = (np.arange(4000) + 0.5) / 200 - 10
    for x in (-0.7, 0.2, 1.5):
        both = np.stack([np.full_like(y, x), y], axis=1)
        integral = np.exp(kdm.log_density(both)).sum() / 200
        assert np.exp(kdm.marginal(0).log_density([[x]]))[0] == pytest.approx(integral, rel=1e-9)


def test_conditioning_on_a_point_is_bayes_rule():
    kdm = KDM.of(POINTS, PAIR, WEIGHTS)
    y = np.linspace(-2, 2, 9)
    given_x = kdm.condition(KDM.of([[0.3]], RBF(1.0)))
    both = np.stack([np.full_like(y, 0.3), y], axis=1)
    expected = kdm.log_density(both) - kdm.marginal(0).log_density([[0.3]])
    np.testing.assert_allclose(given_x.log_density(y[:, None]), expected, rtol=1e-9)


def test_conditioning_on_a_bag_is_the_mean_over_its_points():
    kdm, bag, share = joint(), rng(6).standard_normal((5, 2)), np.array([0.1, 0.2, 0.3, 0.15, 0.25])
    mixed = kdm.condition(KDM.of(bag, RBF(1.0), share)).mean()
    single = np.stack([kdm.condition(KDM.of(bag[i : i + 1], RBF(1.0))).mean() for i in range(5)])
    np.testing.assert_allclose(mixed, share @ single, rtol=1e-12)
    assert mixed.sum() == pytest.approx(1)


def test_a_joint_model_can_be_asked_the_other_way_round():
    kdm = joint()
    of_class = kdm.condition(KDM.of([[0.0, 1.0, 0.0]], Cosine()), 1)
    x = rng(7).standard_normal((4, 2))
    both = np.concatenate([x, np.tile([0.0, 1.0, 0.0], (4, 1))], axis=1)
    expected = kdm.log_density(both) - kdm.marginal(1).log_density([[0.0, 1.0, 0.0]])
    np.testing.assert_allclose(of_class.log_density(x), expected, rtol=1e-9)


def test_several_parts_can_be_known_at_once():
    three = Product(((RBF(0.6), 1), (Cosine(), 2), (RBF(0.9), 1)))
    components = np.concatenate([POINTS[:, :1], np.abs(POINTS) + 0.1, POINTS[:, 1:]], axis=1)
    kdm = KDM.of(components, three, WEIGHTS)
    known = np.array([[1.0, 0.0, 0.4]])
    rest = kdm.condition(KDM.of(known, RBF(1.0)), 1, 2)
    expected = kdm.log_density([[0.2, 1.0, 0.0, 0.4]]) - kdm.marginal(1, 2).log_density(known)
    np.testing.assert_allclose(rest.log_density([[0.2]]), expected, rtol=1e-9)


@pytest.mark.parametrize(
    "kdm",
    [
        KDM.of(POINTS, RBF(0.7), WEIGHTS),
        KDM.of(POINTS, Cosine("sphere"), WEIGHTS),
        KDM.of(np.abs(POINTS), Cosine(), WEIGHTS),
        joint(),
    ],
    ids=["rbf", "sphere", "basis", "product"],
)
def test_samples_have_the_mean_and_variance_that_are_claimed(kdm):
    drawn = kdm.sample(40000, rng(8))
    np.testing.assert_allclose(drawn.mean(axis=0), kdm.mean(), atol=0.02)
    np.testing.assert_allclose(drawn.var(axis=0), kdm.variance(), atol=0.02)


def test_samples_repeat_with_their_generator():
    np.testing.assert_array_equal(joint().sample(9, rng(1)), joint().sample(9, rng(1)))


def test_a_chip_under_qkm_is_a_joint_matrix_conditioned_on_the_mixed_state_of_its_patches():
    w = qkmnet.Weights(*(rng(2).standard_normal(s) for s in ((6, 4), (6, 3), (6,), (1,))))
    patches = rng(11).random((1, 9, 4))
    sigma = float(np.exp(w.log_s[0]))
    kernel = Product(((RBF(sigma), 4), (Cosine(), 3)))
    matrix = KDM.of(np.concatenate([w.c_x, w.c_y], axis=1), kernel, np.exp(w.log_w))
    expected = matrix.condition(KDM.of(patches[0], RBF(sigma))).mean()
    found = qkmnet.forward(w, patches).mean[0] @ qkmnet.class_rows(w)
    np.testing.assert_allclose(found, expected, rtol=1e-9)


def test_a_memory_lets_the_nearest_components_answer_alone():
    kdm = joint()
    x = POINTS[:2] + 0.01
    every = kdm.log_responsibilities(x)
    two = np.exp(kdm.log_responsibilities(x, nearest=2))
    assert ((two > 0).sum(axis=1) == 2).all()
    np.testing.assert_allclose(two.sum(axis=1), 1)
    np.testing.assert_array_equal(two.argmax(axis=1), every.argmax(axis=1))
    np.testing.assert_array_equal(kdm.log_responsibilities(x, nearest=99), every)


def test_memory_stays_bounded_however_many_points_are_asked_for():
    kdm = KDM.of(rng().standard_normal((500, 4)), RBF(1.0))
    x = rng().standard_normal((20000, 4))
    tracemalloc.start()
    kdm.log_density(x)
    kdm.gradient(x)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 5 * 8 * BLOCK_VALUES  # in one piece it would take 320 MB


def test_evidence_that_cannot_be_is_refused():
    sure = KDM.of([[0.0, 1.0, 0.0]], Product(((RBF(1.0), 1), (Cosine(), 2))))
    with pytest.raises(ValueError, match=r"x\[0\]: density is 0"):
        sure.condition(KDM.of([[0.0, 1.0]], Cosine()), 1)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: RBF(0.0), "sigma"),
        (lambda: Cosine("ring"), "basis or sphere"),
        (lambda: Product(()), "parts"),
        (lambda: KDM.of([1.0], RBF(1.0)), "points: shape"),
        (lambda: KDM.of([[1.0], [np.nan]], RBF(1.0)), r"points\[1, 0\]: nan"),
        (lambda: KDM.of([[1e70]], RBF(1.0)), r"points\[0, 0\]: 1e\+70"),
        (lambda: KDM.of([[0.0, 0.0]], Cosine()), r"points\[0\]: a zero vector"),
        (lambda: KDM.of([[1.0]], RBF(1.0), [-1.0]), "weights"),
        (lambda: KDM.of(np.empty((0, 1)), RBF(1.0)), "0 of them"),
        (lambda: KDM.of(POINTS, Product(((RBF(1.0), 3),))), "2 columns, expected 3"),
        (lambda: KDM.of(POINTS, RBF(1.0)).log_density([[1.0]]), "1 columns, expected 2"),
        (lambda: KDM.of(POINTS, RBF(1.0)).condition(KDM.of(POINTS, RBF(1.0))), "nothing is left"),
        (lambda: KDM.of(POINTS, RBF(1.0)).marginal(1), "no product"),
        (lambda: joint().marginal(2), "part: 2"),
        (lambda: joint().marginal(0, 0), "different"),
        (lambda: joint().log_responsibilities(POINTS, nearest=0), "nearest: 0"),
        (lambda: joint().sample(-1, rng()), "n: -1"),
    ],
)
def test_bad_arguments_are_named(make, message):
    with pytest.raises(ValueError, match=message):
        make()
