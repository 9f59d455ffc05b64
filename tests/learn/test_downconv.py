"""The gradient learner: gradients against finite differences, the reference architecture, its reservoir."""

from __future__ import annotations

import numpy as np
import pytest
from learn_world import world

from flight.learn import Downconv, convnet, descent, losses
from flight.learn.convnet import Weights
from flight.learn.reservoir import Reservoir

EARTH = world(n=48)
RNG = np.random.Generator(np.random.PCG64(1))


def problem():
    w = Weights(*(RNG.standard_normal(s) for s in ((6, 5), (5,), (5, 3), (3,))))
    x = RNG.random((4, 7, 6))
    keep = (RNG.random((28, 5)) > 0.3) / 0.7
    return w, x, keep


SHARES = np.array([[0.5, 0.5, 0.0, 0.0], [0.0, 0.2, 0.3, 0.5]])
TARGET = RNG.dirichlet(np.ones(3), 4)
CLASS_WEIGHT = np.array([0.5, 1.0, 1.5])


@pytest.mark.parametrize(
    "loss",
    [
        lambda q: losses.bag_loss(q, SHARES, TARGET[:2]),
        lambda q: losses.bag_kl_loss(q, SHARES, TARGET[:2]),
        lambda q: losses.chip_loss(q, TARGET, CLASS_WEIGHT),
    ],
    ids=["bag", "bag_kl", "chip"],
)
def test_gradients_agree_with_finite_differences(loss):
    w, x, keep = problem()

    def value():
        return loss(convnet.forward(w, x, keep).cells.mean(axis=1))[0]

    done = convnet.forward(w, x, keep)
    found = convnet.backward(w, x, done, loss(done.cells.mean(axis=1))[1], keep)
    for part, gradient in zip(w, found, strict=True):
        for at in np.ndindex(part.shape):
            kept = part[at]
            part[at] = kept + 1e-6
            up = value()
            part[at] = kept - 1e-6
            down = value()
            part[at] = kept
            assert gradient[at] == pytest.approx((up - down) / 2e-6, abs=1e-8)


def test_has_the_5189_parameters_of_the_reference_architecture():
    chips = RNG.integers(0, 256, (2, 96, 96, 3)).astype(np.uint8)
    learner = Downconv(n_steps=1).partial_fit(chips, [0, 1]).set_labels(np.eye(5)[:2])
    assert learner.n_parameters == 5189
    assert len(learner.weights()) == 4 * 5189


def test_chips_of_100_pixels_are_cropped_to_their_central_96():
    chips = RNG.integers(0, 256, (4, 100, 100, 3)).astype(np.uint8)
    whole = Downconv(n_steps=3).partial_fit(chips, [0, 0, 1, 1]).set_labels(np.eye(2))
    inner = Downconv(n_steps=3).partial_fit(chips[:, 2:-2, 2:-2], [0, 0, 1, 1]).set_labels(np.eye(2))
    assert whole.predict_map(chips).shape == (4, 24, 24, 2)
    assert whole.weights() == inner.weights()
    np.testing.assert_array_equal(whole.predict(chips), inner.predict(chips[:, 2:-2, 2:-2]))


def test_folded_weights_do_to_raw_patches_what_trained_ones_do_to_whitened_ones():
    cells = RNG.integers(0, 256, (3, 20, 48)).astype(np.uint8)
    white = descent.whitening(cells)
    w = convnet.initial(48, 16, 3, RNG)
    x = cells / np.float32(255)
    np.testing.assert_allclose(
        convnet.forward(convnet.fold(w, white), x).cells, convnet.forward(w, white.apply(x)).cells, atol=1e-4
    )


def test_whitened_patches_are_uncorrelated():
    cells = RNG.integers(0, 256, (20, 50, 16)).astype(np.uint8)
    x = descent.whitening(cells).apply(cells / np.float32(255)).reshape(-1, 16)
    np.testing.assert_allclose(np.cov(x.T), np.eye(16), atol=0.01)


def test_constant_chips_do_not_break_the_whitening():
    chips = np.full((4, 16, 16, 3), 80, np.uint8)
    learner = Downconv(n_steps=5).partial_fit(chips, [0, 0, 1, 1]).set_labels(np.eye(2))
    assert np.isfinite(learner.predict(chips)).all()


def test_the_published_loss_learns_too():
    learner = Downconv(loss="chip", n_steps=300, reservoir=48).partial_fit(EARTH.chips, EARTH.bag)
    predicted = learner.set_labels(EARTH.table).predict(EARTH.chips)
    mean = EARTH.table.mean(axis=0)
    assert np.abs(predicted - EARTH.proportions).mean() < 0.8 * np.abs(mean - EARTH.proportions).mean()


def test_the_bag_loss_is_better_calibrated_than_the_published_one():
    bag, chip = (
        Downconv(loss=loss, n_steps=300, reservoir=48).partial_fit(EARTH.chips, EARTH.bag).set_labels(EARTH.table)
        for loss in ("bag", "chip")
    )
    bag_error, chip_error = (np.abs(m.predict(EARTH.chips) - EARTH.proportions).mean() for m in (bag, chip))
    assert bag_error < chip_error


def test_the_divergence_stays_finite_where_a_class_is_not_predicted_at_all():
    value, gradient = losses.bag_kl_loss(np.array([[1.0, 0.0]]), np.ones((1, 1)), np.array([[0.0, 1.0]]))
    assert value == pytest.approx(np.log(2 / losses.FLOOR))
    assert np.isfinite(gradient).all()


def test_the_divergence_of_an_exact_prediction_is_nearly_nothing():
    value, _ = losses.bag_kl_loss(TARGET[:2], np.eye(2), TARGET[:2])
    assert 0 <= value < 1e-4


def filled(order, capacity=10, cuts=3):
    kept = Reservoir(capacity, 0, EARTH.chips.shape[1:])
    for part in np.array_split(np.asarray(order), cuts):
        kept.add(EARTH.chips[part], EARTH.bag[part, None].astype(np.int64), np.ones((len(part), 1)), part)
    return kept


def test_the_reservoir_depends_on_the_set_of_chips_alone():
    first, second = filled(range(48)), filled(RNG.permutation(48), cuts=17)
    assert len(first) == 10
    for name, array in first.arrays().items():
        np.testing.assert_array_equal(array, second.arrays()[name])
    np.testing.assert_array_equal(first.chips, EARTH.chips[first.numbers])


def test_the_reservoir_takes_a_chip_once():
    kept = filled(range(8))
    again = kept.add(EARTH.chips[:8], EARTH.bag[:8, None].astype(np.int64), np.ones((8, 1)), np.arange(8))
    assert not again
    assert len(kept) == 8


def test_a_chip_that_the_reservoir_does_not_take_costs_no_training():
    learner = Downconv(n_steps=5, reservoir=4).partial_fit(EARTH.chips[:40], EARTH.bag[:40]).set_labels(EARTH.table)
    learner.train(5)
    hashed_out = [
        number
        for number in range(40, 48)
        if not Downconv(reservoir=4)
        .partial_fit(EARTH.chips[:40], EARTH.bag[:40])
        ._reservoir.add(EARTH.chips[:1], np.zeros((1, 1), np.int64), np.ones((1, 1)), np.array([number]))
    ]
    learner.partial_fit(EARTH.chips[hashed_out], EARTH.bag[hashed_out], number=hashed_out)
    assert hashed_out
    assert learner.pending_steps == 0


def test_chips_of_no_municipality_are_not_kept():
    learner = Downconv(reservoir=10).partial_fit(EARTH.chips, np.full(48, -1))
    assert len(learner._reservoir) == 0


def test_an_unknown_loss_is_refused():
    with pytest.raises(ValueError, match="expected one of bag, bag_kl, chip"):
        Downconv(loss="hinge").partial_fit(EARTH.chips, EARTH.bag)
