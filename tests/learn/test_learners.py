"""Every learner in LEARNERS keeps the promises of the conformance suite, without an encoder and with one."""

from __future__ import annotations

from functools import partial

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from learn_world import KINDS, QUICK, WITH_ENCODER, new, quick, restored

from flight.learn import LEARNERS, StateError
from flight.learn.conformance import EARTH, PROMISES, Subject

pytestmark = pytest.mark.parametrize("name", KINDS)


class Kind(Subject):
    """A learner as the tests know it, perhaps with an encoder."""

    def __init__(self, kind):
        name = kind.removesuffix(WITH_ENCODER)
        super().__init__(LEARNERS[name], **QUICK.get(name, {}))
        self.new, self.restored = partial(new, kind), partial(restored, kind)


@pytest.mark.parametrize("promise", PROMISES, ids=lambda promise: promise.__name__)
def test_keeps_the_promise_that(name, promise):
    promise(Kind(name))


def fitted(name, **params):
    return quick(name, **params).partial_fit(EARTH.chips, EARTH.bag).set_labels(EARTH.table)


def test_a_seed_changes_the_weights(name):
    assert fitted(name, seed=1).weights_sha256 != fitted(name, seed=2).weights_sha256


@pytest.mark.parametrize(
    ("chips", "error", "message"),
    [
        (EARTH.chips.astype(np.float32), TypeError, "chips: dtype is float32, expected uint8"),
        (EARTH.chips[0], ValueError, "chips: shape"),
        (EARTH.chips[:, :14], ValueError, "height is 14"),
        (EARTH.chips[:, :, :12], ValueError, "width is 12"),
        (EARTH.chips[:, :20], ValueError, "as before"),
        (np.zeros((1, 16, 16, 14), np.uint8), ValueError, "14 bands"),
    ],
)
def test_refuses_chips_it_cannot_take(name, chips, error, message):
    learner = quick(name).partial_fit(EARTH.chips[:1], [0])
    with pytest.raises(error, match=message):
        learner.partial_fit(chips, np.zeros(len(chips), int))
    assert learner.n_chips_ == 1


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"bag": [0.0, 1.0]}, TypeError, "bag: dtype"),
        ({"bag": [0]}, ValueError, "bag: shape"),
        ({"bag": [0, 70000]}, ValueError, r"bag\[1, 0\]: 70000"),
        ({"bag": [0, -2]}, ValueError, r"bag\[1, 0\]: -2"),
        ({"bag": [0, 1], "weight": [1.0, np.nan]}, ValueError, r"weight\[1, 0\]"),
        ({"bag": [0, 1], "weight": [1.0, 0.4]}, ValueError, r"weight\[1\]: sums to 0.4"),
        ({"bag": [0, 1], "weight": [[1.0]]}, ValueError, "weight: shape"),
        ({"bag": [0, 1], "number": [1.5, 2.5]}, TypeError, "number: dtype"),
        ({"bag": [0, 1], "number": [3, -1]}, ValueError, r"number\[1\]: -1"),
    ],
)
def test_refuses_bad_municipalities_weights_and_numbers(name, arguments, error, message):
    learner = quick(name)
    with pytest.raises(error, match=message):
        learner.partial_fit(EARTH.chips[:2], **arguments)
    assert learner.n_chips_ == 0


@pytest.mark.parametrize(
    ("table", "error", "message"),
    [
        (np.ones((2, 2), int), TypeError, "proportions: dtype"),
        (np.ones((3, 1)), ValueError, "proportions: shape"),
        (np.array([[0.5, 0.5], [0.5, np.nan]]), ValueError, r"proportions\[1\]: NaN in part"),
        (np.array([[0.5, 0.5], [1.5, -0.5]]), ValueError, r"proportions\[1, 1\]: -0.5"),
        (np.array([[0.5, 0.5], [0.5, 0.6]]), ValueError, r"proportions\[1\]: sums to 1.1"),
        (np.array([[np.inf, 0.5]]), ValueError, r"proportions\[0, 0\]: inf"),
        (np.full((70000, 2), 0.5), ValueError, "max_municipalities"),
    ],
)
def test_refuses_bad_label_tables_and_keeps_the_last_one(name, table, error, message):
    learner = quick(name).set_labels(EARTH.table)
    with pytest.raises(error, match=message):
        learner.set_labels(table)
    np.testing.assert_array_equal(learner.labels_, EARTH.table)


@pytest.mark.parametrize("argument", ["task_id", "version"])
def test_refuses_a_negative_task_or_version(name, argument):
    with pytest.raises(ValueError, match=f"{argument}: -1"):
        quick(name).set_labels(EARTH.table, **{argument: -1})


def test_a_bad_constructor_argument_is_named_at_first_use(name):
    with pytest.raises(ValueError, match="seed is -1"):
        quick(name, seed=-1).partial_fit(EARTH.chips, EARTH.bag)


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_a_cut_state_is_refused(name, data):
    whole = STATES.setdefault(name, fitted(name).state())
    for end in (0, len(whole) - 1, data.draw(st.integers(0, len(whole) - 1))):
        with pytest.raises(StateError):
            restored(name, whole[:end])


STATES: dict[str, bytes] = {}
