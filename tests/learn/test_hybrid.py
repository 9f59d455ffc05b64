"""The head that the closed form teaches."""

from __future__ import annotations

import numpy as np
from learn_world import quick, world

from flight.learn import Hybrid

EARTH = world()


def prepared(table=EARTH.table):
    learner = Hybrid().partial_fit(EARTH.chips, EARTH.bag).set_labels(table)
    learner.train(1)
    means = learner._records.means(learner._reservoir.chips)
    return learner, learner._pseudo_labels(learner._municipalities(), means)


def test_pseudo_labels_lie_on_the_simplex_and_come_near_the_truth():
    _, goal = prepared()
    np.testing.assert_allclose(goal.sum(axis=1), 1, atol=1e-5)
    assert (goal >= 0).all()
    own_label = np.abs(EARTH.table[EARTH.bag] - EARTH.proportions).mean()
    assert np.abs(goal - EARTH.proportions).mean() < 0.8 * own_label


def test_pseudo_labels_average_to_the_labels_of_municipalities():
    learner, goal = prepared()
    shares = learner._shares(learner._municipalities())
    means = shares @ goal / shares.sum(axis=1, keepdims=True)
    assert np.abs(means - EARTH.table).mean() < 0.02


def test_a_chip_in_no_labelled_municipality_is_taught_by_the_closed_form_alone():
    table = EARTH.table.copy()
    table[3] = np.nan
    learner, goal = prepared(table)
    means = learner._records.means(learner._reservoir.chips)
    np.testing.assert_allclose(goal[EARTH.bag == 3], learner._proportions(means)[EARTH.bag == 3], atol=1e-6)


def test_its_predictions_need_the_head_alone():
    learner = quick("hybrid").partial_fit(EARTH.chips, EARTH.bag).set_labels(EARTH.table)
    learner.train(learner.pending_steps)
    learner._map = learner._map._replace(V=learner._map.V * 0)
    other = quick("hybrid").partial_fit(EARTH.chips, EARTH.bag).set_labels(EARTH.table)
    np.testing.assert_array_equal(learner.predict(EARTH.chips), other.predict(EARTH.chips))
