"""The kernel reference learner: gradients against finite differences, the reference architecture, its fold."""

from __future__ import annotations

import numpy as np
import pytest
from learn_world import SIDE, world

from flight.learn import QKM, StateError, descent, losses, qkmnet
from flight.learn.patches import PatchGrid
from flight.learn.state import pack, unpack

EARTH = world(n=48)
RNG = np.random.Generator(np.random.PCG64(1))
SHARES = np.array([[0.5, 0.5, 0.0, 0.0], [0.0, 0.2, 0.3, 0.5]])
TARGET = RNG.dirichlet(np.ones(3), 4)


def weights(n_inputs=6, n=5, c=3):
    return qkmnet.Weights(*(RNG.standard_normal(s) for s in ((n, n_inputs), (n, c), (n,), (1,))))


@pytest.mark.parametrize(
    "loss",
    [
        lambda q: losses.bag_loss(q, SHARES, TARGET[:2]),
        lambda q: losses.bag_kl_loss(q, SHARES, TARGET[:2]),
        lambda q: losses.chip_loss(q, TARGET, np.array([0.5, 1.0, 1.5])),
    ],
    ids=["bag", "bag_kl", "chip"],
)
def test_gradients_agree_with_finite_differences(loss):
    w, x = weights(), RNG.random((4, 7, 6))

    def value():
        return loss(qkmnet.proportions(w, x.reshape(-1, 6)).reshape(4, 7, 3).mean(axis=1))[0]

    done = qkmnet.forward(w, x)
    found = qkmnet.backward(w, x, done, loss(done.mean @ qkmnet.class_rows(w))[1])
    for part, gradient in zip(w, found, strict=True):
        for at in np.ndindex(part.shape):
            kept = part[at]
            part[at] = kept + 1e-6
            up = value()
            part[at] = kept - 1e-6
            down = value()
            part[at] = kept
            assert gradient[at] == pytest.approx((up - down) / 2e-6, abs=1e-8)


def test_patches_are_answered_for_as_the_kernel_says():
    w, x = weights(), RNG.random((9, 6))
    square = np.exp(-np.square(x[:, None] - w.c_x).sum(axis=2) / np.exp(2 * w.log_s))
    r = np.exp(w.log_w) * square
    r /= r.sum(axis=1, keepdims=True)
    y = w.c_y / np.linalg.norm(w.c_y, axis=1, keepdims=True)
    np.testing.assert_allclose(qkmnet.proportions(w, x), r @ y**2, rtol=1e-12)


def test_has_the_3457_parameters_of_the_reference_architecture():
    chips = RNG.integers(0, 256, (2, 96, 96, 3)).astype(np.uint8)
    learner = QKM(n_steps=1).partial_fit(chips, [0, 1]).set_labels(np.eye(5)[:2])
    assert learner.n_parameters == 3457
    assert len(learner.weights()) == 4 * 3457


def test_a_chip_of_96_pixels_has_47_by_47_patches():
    grid = PatchGrid((96, 96, 3), 2)
    assert (grid.rows, grid.cols) == (47, 47)
    chip = RNG.integers(0, 256, (96, 96, 3)).astype(np.uint8)
    np.testing.assert_array_equal(grid.all(chip)[47 * 5 + 3], chip[10:14, 6:10].reshape(-1))
    np.testing.assert_array_equal(grid.some(chip[None], np.array([[238]]))[0, 0], chip[10:14, 6:10].reshape(-1))


def test_a_cell_is_the_mean_of_its_patches_by_the_pixels_they_share():
    grid = PatchGrid((16, 16, 1), 2)
    values = RNG.random((49, 1))
    v = values.reshape(7, 7)
    corner = (v[0, 0] + 0.5 * (v[0, 1] + v[1, 0]) + 0.25 * v[1, 1]) / 2.25
    assert grid.cells(values)[0, 0, 0] == pytest.approx(corner)
    assert grid.map_shape == (4, 4)
    across = PatchGrid((16, 16, 1), 4)
    np.testing.assert_array_equal(across.cells(values[:16]), values[:16].reshape(4, 4, 1))


def test_folded_weights_do_to_raw_patches_what_trained_ones_do_to_whitened_ones():
    cells = RNG.integers(0, 256, (3, 40, 48)).astype(np.uint8)
    white, x = descent.whitening(cells), cells[0] / np.float32(255)
    w = qkmnet.initial(white.apply(cells[1][:16] / np.float32(255)), 3, RNG)
    w = w._replace(log_w=RNG.standard_normal(16).astype(np.float32), log_s=w.log_s - np.float32(1.5))
    folded = qkmnet.fold(w, white)
    np.testing.assert_allclose(qkmnet.proportions(folded, x), qkmnet.proportions(w, white.apply(x)), atol=1e-4)
    assert np.exp(folded.log_w).sum() == pytest.approx(1, rel=1e-5)
    assert np.exp(folded.log_s[0]) == pytest.approx(qkmnet.mean_distance(folded.c_x), rel=1e-5)


def test_the_kernel_starts_as_wide_as_prototypes_are_apart():
    points = RNG.random((7, 4))
    apart = np.linalg.norm(points[:, None] - points, axis=2)
    assert qkmnet.mean_distance(points) == pytest.approx(apart[~np.eye(7, dtype=bool)].mean())


def test_constant_chips_break_nothing():
    chips = np.full((4, 16, 16, 3), 80, np.uint8)
    learner = QKM(n_steps=5).partial_fit(chips, [0, 0, 1, 1]).set_labels(np.eye(2))
    assert np.isfinite(learner.predict(chips)).all()


@pytest.mark.parametrize("loss", ["bag", "bag_kl", "chip"])
def test_every_loss_learns(loss):
    learner = QKM(loss=loss, n_steps=400, reservoir=48, learning_rate=0.05).partial_fit(EARTH.chips, EARTH.bag)
    predicted = learner.set_labels(EARTH.table).predict(EARTH.chips)
    mean = EARTH.table.mean(axis=0)
    assert np.abs(predicted - EARTH.proportions).mean() < 0.6 * np.abs(mean - EARTH.proportions).mean()


def test_prototypes_start_as_patches_that_were_seen():
    learner = QKM(n_steps=1, learning_rate=1e-8).partial_fit(EARTH.chips, EARTH.bag).set_labels(EARTH.table)
    learner.train(1)
    grid = PatchGrid((SIDE, SIDE, 3), 2)
    every = np.concatenate([grid.all(chip) for chip in EARTH.chips]) * np.float32(1 / 255)
    every = descent.whitening(grid.all(chip) for chip in EARTH.chips).apply(every)
    for prototype in learner._weights.c_x[:8]:
        assert np.abs(every - prototype).max(axis=1).min() < 1e-4


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda h, a: a.update(step=np.array([99])), "does not fit"),
        (lambda h, a: a.pop("m.c_y"), "lacks array m.c_y"),
        (lambda h, a: a.update({"w.log_s": np.zeros(2, np.float32)}), "w.log_s"),
        (lambda h, a: a.update({"w.c_y": np.zeros((8, 3), np.float32)}), "w.c_y: a row is 0"),
        (lambda h, a: a.pop("labels"), "no label set"),
    ],
)
def test_a_state_that_does_not_fit_together_is_refused(change, message):
    learner = QKM(n_steps=5, n_prototypes=8).partial_fit(EARTH.chips, EARTH.bag).set_labels(EARTH.table)
    learner.train(2)
    header, arrays = unpack(learner.state())
    change(header, arrays)
    with pytest.raises(StateError, match=message):
        QKM.from_state(pack(header, arrays))


def test_an_unknown_loss_is_refused():
    with pytest.raises(ValueError, match="QKM: loss is 'hinge', expected one of bag, bag_kl, chip"):
        QKM(loss="hinge").partial_fit(EARTH.chips, EARTH.bag)
