"""The conformance suite: what every learner in LEARNERS promises, without an encoder and with one."""

from __future__ import annotations

import inspect

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from learn_world import KINDS, SIDE, WITH_ENCODER, new, quick, restored, world

from flight.learn import LEARNERS, NotReadyError, StateError

pytestmark = pytest.mark.parametrize("name", KINDS)
EARTH = world()


def fitted(name, **params):
    return quick(name, **params).partial_fit(EARTH.chips, EARTH.bag).set_labels(EARTH.table)


def test_constructor_stores_its_arguments_and_does_nothing_else(name):
    parameters = inspect.signature(LEARNERS[name.removesuffix(WITH_ENCODER)]).parameters
    assert {"seed", "max_municipalities"} <= set(parameters)
    assert all(p.kind is p.KEYWORD_ONLY for p in parameters.values())
    learner = new(name, seed=7)
    assert learner.params() == {k: p.default for k, p in parameters.items()} | {"seed": 7}
    assert learner.n_bytes == 0


def test_predictions_lie_on_the_simplex(name):
    learner = fitted(name)
    for predicted in (learner.predict(EARTH.chips), learner.predict_map(EARTH.chips)):
        assert predicted.dtype == np.float32
        assert (predicted >= 0).all()
        np.testing.assert_allclose(predicted.sum(axis=-1), 1, atol=1e-5)
    assert learner.predict(EARTH.chips).shape == (96, 3)
    assert learner.predict_map(EARTH.chips).shape == (96, SIDE // 4, SIDE // 4, 3)


def test_learns_more_than_the_mean_label(name):
    learner = new(name).partial_fit(EARTH.chips, EARTH.bag).set_labels(EARTH.table)
    other = world(seed=1)
    error = np.abs(learner.predict(other.chips) - other.proportions).mean()
    assert error < 0.5 * np.abs(EARTH.table.mean(axis=0) - other.proportions).mean()


def test_weights_do_not_depend_on_the_order_of_chips_labels_and_slices(name):
    n = len(EARTH.chips)
    numbers = np.arange(n) + 1000
    straight = quick(name).partial_fit(EARTH.chips, EARTH.bag, number=numbers).set_labels(EARTH.table)
    mixed = quick(name).set_labels(np.full((4, 2), 0.5), task_id=3)
    order = np.random.Generator(np.random.PCG64(5)).permutation(n)
    for part in np.array_split(order, [1, 3, 40, 41, 70]):
        mixed.partial_fit(EARTH.chips[part], EARTH.bag[part], number=numbers[part])
        mixed.train(3)
        mixed.set_labels(np.roll(EARTH.table, 1, axis=1), version=1)
        mixed.train(1)
    mixed.set_labels(EARTH.table, version=2)
    while mixed.train(7):
        pass
    assert mixed.weights() == straight.weights()
    np.testing.assert_array_equal(mixed.predict(EARTH.chips), straight.predict(EARTH.chips))


def test_a_kill_in_the_middle_of_training_changes_no_bit(name):
    undisturbed, killed = fitted(name), fitted(name)
    while killed.pending_steps:
        killed.train(4)
        killed = restored(name, killed.state())
    assert killed.weights() == undisturbed.weights()
    assert killed.state() == undisturbed.state()


def test_a_restored_learner_goes_on_learning_as_if_nothing_had_happened(name):
    first, second = slice(0, 50), slice(50, 96)
    undisturbed = quick(name).partial_fit(EARTH.chips[first], EARTH.bag[first])
    killed = restored(name, undisturbed.state())
    for learner in (undisturbed, killed):
        learner.partial_fit(EARTH.chips[second], EARTH.bag[second]).set_labels(EARTH.table)
    assert killed.weights() == undisturbed.weights()


def test_a_learner_that_has_seen_nothing_can_be_stored(name):
    learner = quick(name)
    learner.region_id = 9
    again = restored(name, learner.state())
    assert again.region_id == 9
    assert again.params() == learner.params()
    assert again.chip_shape_ is None


def test_state_names_region_task_and_label_version(name):
    learner = quick(name).partial_fit(EARTH.chips, EARTH.bag)
    learner.set_labels(EARTH.table, task_id=4, version=17)
    learner.region_id = 6
    again = restored(name, learner.state())
    assert (again.region_id, again.task_id, again.version) == (6, 4, 17)
    assert again.n_chips_ == 96


def test_a_seed_changes_the_weights(name):
    assert fitted(name, seed=1).weights_sha256 != fitted(name, seed=2).weights_sha256


def test_the_same_labels_under_a_new_version_need_no_training(name):
    learner = fitted(name)
    learner.train(learner.pending_steps)
    learner.set_labels(EARTH.table, version=5)
    assert learner.pending_steps == 0
    assert learner.version == 5


def test_another_number_of_classes_is_another_head(name):
    learner = fitted(name)
    learner.predict(EARTH.chips[:1])
    two = np.stack([EARTH.table[:, 0], EARTH.table[:, 1:].sum(axis=1)], axis=1)
    learner.set_labels(two, task_id=1)
    assert learner.pending_steps > 0
    assert learner.predict(EARTH.chips[:2]).shape == (2, 2)
    fresh = quick(name).partial_fit(EARTH.chips, EARTH.bag).set_labels(two, task_id=1)
    assert learner.weights() == fresh.weights()


def test_prediction_finishes_pending_training(name):
    learner = fitted(name)
    assert learner.ready
    assert learner.pending_steps > 0
    learner.predict(EARTH.chips[:1])
    assert learner.pending_steps == 0
    assert learner.train(5) == 0


def test_training_does_no_more_steps_than_it_may(name):
    learner = fitted(name)
    pending = learner.pending_steps
    assert learner.train(0) == 0
    assert learner.train(1) == 1
    assert learner.pending_steps == pending - 1


def test_a_prediction_does_not_depend_on_its_company(name):
    learner = fitted(name)
    together = learner.predict(EARTH.chips)
    np.testing.assert_array_equal(learner.predict(EARTH.chips[3:4])[0], together[3])
    np.testing.assert_array_equal(learner.predict(EARTH.chips[::-1])[::-1], together)


def test_asking_too_early_says_what_is_missing(name):
    learner = quick(name)
    with pytest.raises(NotReadyError, match="set_labels"):
        learner.predict(EARTH.chips)
    learner.set_labels(EARTH.table)
    with pytest.raises(NotReadyError, match="partial_fit"):
        learner.predict(EARTH.chips)
    learner.partial_fit(EARTH.chips, np.full(96, -1))
    assert not learner.ready
    assert learner.pending_steps == 0
    with pytest.raises(NotReadyError, match="labelled municipality"):
        learner.weights()


def test_municipalities_without_a_row_are_not_learnt_from(name):
    table = EARTH.table.copy()
    table[1::2] = np.nan
    learner = quick(name).partial_fit(EARTH.chips, EARTH.bag).set_labels(table)
    assert np.isfinite(learner.predict(EARTH.chips)).all()
    short = quick(name).partial_fit(EARTH.chips, EARTH.bag).set_labels(table[:15])
    assert short.weights() == learner.weights()  # the sixteenth row was missing anyway


def test_one_labelled_municipality_is_enough_for_a_prediction(name):
    table = np.full_like(EARTH.table, np.nan)
    table[2] = [0.2, 0.3, 0.5]
    learner = quick(name).partial_fit(EARTH.chips, EARTH.bag).set_labels(table)
    assert np.isfinite(learner.predict(EARTH.chips)).all()


def test_overlaps_with_all_weight_on_one_municipality_equal_that_municipality(name):
    bags = np.stack([EARTH.bag, (EARTH.bag + 1) % 16, np.full(96, -1)], axis=1)
    weights = np.tile(np.array([1.0, 0.0, 0.0], np.float32), (96, 1))
    learner = quick(name).partial_fit(EARTH.chips, bags, weights).set_labels(EARTH.table)
    np.testing.assert_allclose(learner.predict(EARTH.chips), fitted(name).predict(EARTH.chips), atol=1e-6)


def test_overlap_weights_matter(name):
    bags = np.stack([EARTH.bag, (EARTH.bag + 1) % 16], axis=1)
    even = quick(name).partial_fit(EARTH.chips, bags).set_labels(EARTH.table)
    weights = np.tile(np.array([0.9, 0.1], np.float32), (96, 1))
    uneven = quick(name).partial_fit(EARTH.chips, bags, weights).set_labels(EARTH.table)
    assert even.weights() != uneven.weights()


@pytest.mark.parametrize("bands", [1, 4, 13])
def test_takes_one_to_thirteen_bands(name, bands):
    earth = world(n=24, bands=bands)
    shape = earth.chips.shape[1:]
    learner = quick(name, shape).partial_fit(earth.chips, earth.bag).set_labels(earth.table)
    assert learner.predict(earth.chips).shape == (24, 3)
    assert restored(name, learner.state(), shape).weights() == learner.weights()


def test_chips_need_not_be_square(name):
    learner = fitted_on(name, world(n=24).chips[:, :16])
    assert learner.predict_map(world(n=24).chips[:, :16]).shape == (24, 4, SIDE // 4, 3)


def fitted_on(name, chips):
    earth = world(n=24)
    return quick(name, chips.shape[1:]).partial_fit(chips, earth.bag).set_labels(earth.table)


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


def test_memory_is_reported_and_parameters_counted(name):
    learner = fitted(name)
    weights = learner.weights()
    assert learner.n_bytes >= len(weights)
    assert 0 < learner.n_parameters <= len(weights) // 4


def test_summaries_predict_nearly_what_the_imagery_does(name):
    learner = fitted(name)
    # A summary may keep every other cell of every other row: here these are as many of each kind of cell.
    chips = np.tile(EARTH.chips[:, : SIDE // 2, : SIDE // 2], (1, 2, 2, 1))
    summaries = learner.summarise(chips)
    if summaries is None:
        with pytest.raises(TypeError, match="no summaries"):
            learner.predict_summaries(np.zeros((1, 1), np.uint8))
        return
    assert summaries.dtype == np.uint8
    predicted = learner.predict(chips)
    difference = np.abs(learner.predict_summaries(summaries) - predicted).mean()
    assert difference < 0.25 * np.abs(predicted - np.roll(predicted, 6, axis=0)).mean()  # of another municipality


def test_every_corrupt_byte_of_a_state_is_noticed(name):
    data = quick(name).set_labels(EARTH.table).state()
    for at in range(len(data)):
        broken = data[:at] + bytes([data[at] ^ 0x40]) + data[at + 1 :]
        with pytest.raises(StateError):
            restored(name, broken)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_a_cut_state_is_refused(name, data):
    whole = STATES.setdefault(name, fitted(name).state())
    end = data.draw(st.integers(0, len(whole) - 1))
    with pytest.raises(StateError):
        restored(name, whole[:end])


STATES: dict[str, bytes] = {}
