"""Learners on kernels: near numpy, equal however they are interrupted and whatever the threads."""

import sys
from pathlib import Path

import numpy as np
import pytest

from flight.kernels.backend import Backend
from flight.learn import LEARNERS, Learner, load_state
from flight.learn.state import unpack

sys.path.append(str(Path(__file__).parents[1] / "learn"))
from learn_world import world

EARTH = world(n=48)
PARAMS = {"n_steps": 60, "reservoir": 40, "cells_per_chip": 9}
NETWORKS = ("downconv", "qkm")


def learner(name: str, backend: Backend | None, **params: object) -> Learner:
    made = LEARNERS[name](**PARAMS, **params)
    if backend is not None:
        made.use(backend)
    return made.partial_fit(EARTH.chips, EARTH.bag).set_labels(EARTH.table)


@pytest.mark.parametrize("loss", ["bag", "bag_kl", "chip"])
@pytest.mark.parametrize("name", NETWORKS)
def test_kernels_train_the_network_that_numpy_trains(jit: Backend, name: str, loss: str) -> None:
    plain, compiled = learner(name, None, loss=loss), learner(name, jit, loss=loss)
    np.testing.assert_allclose(compiled.predict(EARTH.chips), plain.predict(EARTH.chips), atol=2e-3)


@pytest.mark.parametrize("name", NETWORKS)
def test_kernels_predict_maps_and_summaries_as_numpy_does(jit: Backend, name: str) -> None:
    plain, compiled = learner(name, None), learner(name, jit)
    plain.predict(EARTH.chips[:1])
    compiled.predict(EARTH.chips[:1])
    compiled._folded = plain._folded  # type: ignore[attr-defined]
    np.testing.assert_allclose(compiled.predict(EARTH.chips), plain.predict(EARTH.chips), atol=1e-5)
    np.testing.assert_allclose(compiled.predict_map(EARTH.chips), plain.predict_map(EARTH.chips), atol=1e-4)
    summaries = compiled.summarise(EARTH.chips)
    np.testing.assert_allclose(compiled.predict_summaries(summaries), plain.predict_summaries(summaries), atol=1e-5)


@pytest.mark.parametrize("name", NETWORKS)
def test_a_kill_in_the_middle_of_training_changes_no_bit(jit: Backend, name: str) -> None:
    whole, stopped = learner(name, jit), learner(name, jit)
    stopped.train(23)
    again = load_state(stopped.state(), jit)
    assert again.weights() == whole.weights()
    np.testing.assert_array_equal(again.predict(EARTH.chips), whole.predict(EARTH.chips))


@pytest.mark.parametrize("name", NETWORKS)
def test_threads_change_no_bit_of_trained_weights(jit: Backend, name: str) -> None:
    assert learner(name, jit, threads=3).weights() == learner(name, jit).weights()


def test_the_state_says_which_backend_made_it(jit: Backend) -> None:
    assert unpack(learner("downconv", jit).state())[0]["backend"] == "jit"


@pytest.mark.parametrize("name", NETWORKS)
def test_a_prediction_does_not_depend_on_the_chips_beside_it(jit: Backend, name: str) -> None:
    trained = learner(name, jit)
    many = trained.predict(np.concatenate([EARTH.chips] * 2))
    np.testing.assert_array_equal(trained.predict(EARTH.chips[3:5]), many[3:5])
    assert trained.predict(EARTH.chips[:0]).shape == (0, 3)


def test_the_memory_that_kernels_work_in_is_counted(jit: Backend) -> None:
    trained = learner("downconv", jit)
    before = trained.n_bytes
    trained.train(1)
    hidden = 32 * 16 * 96 * 4  # 9 cells a chip are padded to 16
    assert before + hidden < trained.n_bytes < before + 4 * hidden


def test_more_threads_than_shards_are_refused(jit: Backend) -> None:
    with pytest.raises(ValueError, match="threads is 5, expected a number from 1 to 4"):
        LEARNERS["downconv"](threads=5).use(jit).partial_fit(EARTH.chips, EARTH.bag)
