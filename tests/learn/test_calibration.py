"""Calibration against scikit-learn and arithmetic; uncertainty against its identities."""

from __future__ import annotations

import math

import numpy as np
import pytest
from sklearn.calibration import calibration_curve

from flight.learn.calibration import CalibrationSums, predictive_entropy, uncertainty
from flight.learn.metrics import ScoreSums

RNG = np.random.Generator(np.random.PCG64(6))


def test_bins_agree_with_scikit_learn():
    p = RNG.random(500)
    y = (RNG.random(500) < p**2).astype(int)
    found = CalibrationSums(10).update(p, y).reliability()
    true, predicted = calibration_curve(y, p, n_bins=10, strategy="uniform")
    np.testing.assert_allclose(found.true[found.n > 0], true)
    np.testing.assert_allclose(found.predicted[found.n > 0], predicted)


def test_the_error_is_the_gap_between_prediction_and_truth():
    sums = CalibrationSums(10).update([0.25, 0.25, 0.75, 0.75], [0.2, 0.4, 0.5, 0.5])
    assert sums.ece() == pytest.approx((2 * 0.05 + 2 * 0.25) / 4)


def test_exact_proportions_and_constant_means_are_both_calibrated():
    truth = RNG.dirichlet(np.ones(4), 200)
    assert CalibrationSums().update(truth, truth).ece() == pytest.approx(0)
    mean = np.tile(truth.mean(axis=0), (200, 1))
    assert CalibrationSums(1000).update(mean, truth).ece() == pytest.approx(0, abs=1e-12)


def test_predictions_drawn_too_close_to_the_mean_are_badly_calibrated():
    truth = RNG.dirichlet(np.ones(4), 500)
    shrunk = 0.5 * truth + 0.125
    sharp = CalibrationSums().update(shrunk, truth).ece()
    assert sharp > 0.05
    assert ScoreSums(4).update(shrunk, proportions=truth).result()["ece"] == pytest.approx(sharp)


def test_batches_give_what_the_whole_gives():
    p, t = RNG.random(60), RNG.random(60)
    sums = CalibrationSums()
    for part in np.array_split(np.arange(60), 7):
        sums.update(p[part], t[part])
    assert sums.ece() == pytest.approx(CalibrationSums().update(p, t).ece())


def test_nothing_given_is_nan():
    assert math.isnan(CalibrationSums().ece())
    assert np.isnan(CalibrationSums().reliability().true).all()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (([0.5], [0.5, 0.5]), "shapes"),
        (([1.5], [0.5]), "predicted: a value"),
        (([0.5], [math.nan]), "true: a value"),
    ],
)
def test_bad_proportions_are_named(arguments, message):
    with pytest.raises(ValueError, match=message):
        CalibrationSums().update(*arguments)


def test_entropy_of_distributions():
    found = predictive_entropy([[1.0, 0.0], [0.5, 0.5], [0.1, 0.9]])
    np.testing.assert_allclose(found, [0, math.log(2), -0.1 * math.log(0.1) - 0.9 * math.log(0.9)])


def test_a_mixed_chip_mapped_with_certainty_has_entropy_and_no_doubt():
    sure = np.eye(2)[np.arange(16) % 2].reshape(1, 4, 4, 2)
    found = uncertainty(sure)
    assert found.entropy[0] == pytest.approx(math.log(2))
    assert found.doubt[0] == 0
    assert found.variance_within[0].tolist() == [0, 0]


def test_a_chip_whose_cells_are_all_undecided_is_all_doubt():
    found = uncertainty(np.full((1, 4, 4, 2), 0.5))
    assert found.mixture[0] == pytest.approx(0)
    assert found.doubt[0] == pytest.approx(math.log(2))
    np.testing.assert_allclose(found.variance_between, 0)


def test_variance_within_and_between_cells_make_the_whole():
    found = uncertainty(RNG.dirichlet(np.ones(5), (6, 3, 4)))
    np.testing.assert_allclose(found.variance_within + found.variance_between, found.variance)
    assert (found.mixture > 0).all()


def test_a_map_of_the_wrong_shape_is_refused():
    with pytest.raises(ValueError, match="cell_map"):
        uncertainty(np.ones((3, 4)))
