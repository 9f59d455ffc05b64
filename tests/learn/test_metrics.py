"""Scores against scikit-learn, and against the definitions."""

from __future__ import annotations

import math

import numpy as np
import pytest
from sklearn.metrics import f1_score, jaccard_score, mean_absolute_error, r2_score

from flight.learn.metrics import ScoreSums, resize_nearest, scores

RNG = np.random.Generator(np.random.PCG64(2))
N, C = 12, 4
LABELS = RNG.integers(0, C - 1, (N, 8, 8)).astype(np.uint8)  # the last class is never true
MAP = RNG.dirichlet(np.ones(C), (N, 4, 4))
SOFT = RNG.dirichlet(np.ones(C), N)
TRUTH = np.stack([(c == LABELS).mean(axis=(1, 2)) for c in range(C)], axis=1)


def test_scores_agree_with_scikit_learn():
    found = scores(SOFT, MAP, labels=LABELS)
    winners = MAP.argmax(axis=3)
    pixels = winners.repeat(2, axis=1).repeat(2, axis=2)
    shares = np.stack([(winners == c).mean(axis=(1, 2)) for c in range(C)], axis=1)
    assert found["mae_argmax"] == pytest.approx(mean_absolute_error(TRUTH, shares))
    assert found["mae_soft"] == pytest.approx(mean_absolute_error(TRUTH, SOFT))
    assert found["f1_micro"] == pytest.approx(f1_score(LABELS.ravel(), pixels.ravel(), average="micro"))
    assert found["iou"] == pytest.approx(jaccard_score(LABELS.ravel(), pixels.ravel(), average="macro"))
    assert found["chip_accuracy"] == pytest.approx((TRUTH.argmax(axis=1) == SOFT.argmax(axis=1)).mean())


def test_r2_pools_the_classes():
    truth = RNG.dirichlet(np.ones(C), N)
    expected = r2_score(truth, SOFT, multioutput="variance_weighted")
    assert scores(SOFT, proportions=truth)["r2_soft"] == pytest.approx(expected)


def test_figures_of_classes_agree_with_scikit_learn():
    sums = ScoreSums(C)
    for part in np.array_split(np.arange(N), 3):
        sums.update(SOFT[part], MAP[part], labels=LABELS[part])
    found = sums.per_class()
    winners = MAP.argmax(axis=3)
    pixels = winners.repeat(2, axis=1).repeat(2, axis=2).ravel()
    shares = np.stack([(winners == c).mean(axis=(1, 2)) for c in range(C)], axis=1)
    each = {"average": None, "labels": range(C)}
    np.testing.assert_allclose(found["mae_argmax"], mean_absolute_error(TRUTH, shares, multioutput="raw_values"))
    np.testing.assert_allclose(found["mae_soft"], mean_absolute_error(TRUTH, SOFT, multioutput="raw_values"))
    np.testing.assert_allclose(found["f1"], f1_score(LABELS.ravel(), pixels, **each))
    np.testing.assert_allclose(found["iou"], jaccard_score(LABELS.ravel(), pixels, **each))
    expected = r2_score(TRUTH[:, :-1], SOFT[:, :-1], multioutput="raw_values")
    np.testing.assert_allclose(found["r2_soft"][:-1], expected)
    assert math.isnan(found["r2_soft"][-1])  # the last class is never true: nothing varies


def test_a_class_in_neither_truth_nor_map_has_no_f1():
    sums = ScoreSums(C + 1).update(np.pad(SOFT, ((0, 0), (0, 1))), np.eye(C + 1)[LABELS], labels=LABELS)
    assert math.isnan(sums.per_class()["f1"][C])
    assert math.isnan(sums.per_class()["iou"][C])


def test_unknown_pixels_count_neither_for_nor_against():
    masked = LABELS.copy()
    masked[:, :4] = 255
    found = scores(SOFT, MAP, labels=masked)
    pixels = MAP.argmax(axis=3).repeat(2, axis=1).repeat(2, axis=2)[:, 4:]
    assert found["f1_micro"] == pytest.approx(f1_score(LABELS[:, 4:].ravel(), pixels.ravel(), average="micro"))
    half = np.stack([(LABELS[:, 4:] == c).mean(axis=(1, 2)) for c in range(C)], axis=1)
    assert found["mae_soft"] == pytest.approx(mean_absolute_error(half, SOFT))


def test_a_chip_without_a_known_pixel_is_left_out():
    masked = LABELS.copy()
    masked[0] = 255
    expected = scores(SOFT[1:], MAP[1:], labels=LABELS[1:])
    assert scores(SOFT, MAP, labels=masked) == pytest.approx(expected)


def test_batches_give_what_the_whole_gives():
    sums = ScoreSums(C)
    for part in np.array_split(np.arange(N), [1, 5, 6]):
        sums.update(SOFT[part], MAP[part], labels=LABELS[part])
    assert sums.n_chips == N
    assert sums.result() == pytest.approx(scores(SOFT, MAP, labels=LABELS))


def test_a_perfect_prediction_has_perfect_scores():
    exact = np.eye(C)[LABELS]
    assert scores(TRUTH, exact, labels=LABELS) == pytest.approx(
        {"mae_argmax": 0, "mae_soft": 0, "f1_micro": 1, "iou": 1, "r2_soft": 1, "chip_accuracy": 1, "ece": 0}
    )


def test_labels_smaller_than_the_map_are_resized_too():
    fine = np.eye(C)[LABELS]
    coarse = LABELS[:, ::2, ::2]
    expected = (coarse.repeat(2, axis=1).repeat(2, axis=2) == LABELS).mean()
    assert scores(TRUTH, fine, labels=coarse, proportions=TRUTH)["f1_micro"] == pytest.approx(expected)


def test_what_nothing_was_given_for_is_nan():
    found = scores(SOFT, proportions=TRUTH)
    assert math.isnan(found["f1_micro"])
    assert math.isnan(found["mae_argmax"])
    assert found["mae_soft"] == pytest.approx(mean_absolute_error(TRUTH, SOFT))
    assert all(math.isnan(value) for value in ScoreSums(C).result().values())


def test_resizing_takes_the_cell_that_a_pixel_centre_lies_in():
    cells = np.arange(6).reshape(1, 2, 3)
    found = resize_nearest(cells, 4, 5)[0]
    assert found[0].tolist() == [0, 0, 1, 2, 2]
    assert found[:, 0].tolist() == [0, 0, 3, 3]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"soft": SOFT[0], "labels": LABELS}, "soft"),
        ({"soft": SOFT, "labels": LABELS.astype(int)}, "labels"),
        ({"soft": SOFT, "labels": LABELS + np.uint8(3)}, "labels: a class"),
        ({"soft": SOFT, "cell_map": MAP[:3], "labels": LABELS}, "cell_map"),
        ({"soft": SOFT, "proportions": TRUTH[:3]}, "proportions"),
        ({"soft": SOFT}, "one of them is needed"),
    ],
)
def test_bad_arguments_are_named(arguments, message):
    with pytest.raises(ValueError, match=message):
        scores(**arguments)
