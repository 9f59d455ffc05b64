"""Learners that see chips through an encoder; the conformance suite has what they share with all others."""

from __future__ import annotations

import numpy as np
import pytest
from learn_world import SIDE, FakeEncoder, quick, world

from flight.kernels.backend import NUMPY, Backend
from flight.learn import LEARNERS, StateError, load_state
from flight.learn.grid import Grid
from flight.learn.headed import MAX_PARAMETERS
from flight.learn.kdm import Classifier

EARTH = world()
SHAPE = (SIDE, SIDE, 3)
SEEING = sorted(name for name, cls in LEARNERS.items() if cls.takes_encoder)
BACKEND = Backend(NUMPY)


def seeing(name="swath", **encoder):
    return quick(name).use(BACKEND, FakeEncoder(SHAPE, **encoder))


def fitted(name="swath", **encoder):
    return seeing(name, **encoder).partial_fit(EARTH.chips, EARTH.bag).set_labels(EARTH.table)


def test_learners_on_raw_patches_refuse_an_encoder():
    assert sorted(set(LEARNERS) - set(SEEING)) == ["downconv", "qkm"]
    for name in ("downconv", "qkm"):
        with pytest.raises(ValueError, match=f"{name} learns from raw patches"):
            quick(name).use(BACKEND, FakeEncoder(SHAPE))


@pytest.mark.parametrize("name", SEEING)
def test_a_state_is_refused_with_another_encoder_and_with_none(name):
    state = fitted(name).state()
    assert load_state(state, encoder=FakeEncoder(SHAPE)).weights() == fitted(name).weights()
    for other in (None, FakeEncoder(SHAPE, seed=1)):
        with pytest.raises(StateError, match="features"):
            load_state(state, encoder=other)
    with pytest.raises(StateError, match="features"):
        load_state(quick(name).partial_fit(EARTH.chips, EARTH.bag).state(), encoder=FakeEncoder(SHAPE))


def test_another_encoder_cannot_be_used_once_there_are_chips():
    learner = seeing().use(BACKEND, FakeEncoder(SHAPE, seed=1)).partial_fit(EARTH.chips[:2], [0, 1])
    learner.use(BACKEND, FakeEncoder(SHAPE, seed=1))  # the same one, opened again
    for other, told in ((None, "no encoder"), (FakeEncoder(SHAPE), "encoder [0-9a-f]{16}$")):
        with pytest.raises(ValueError, match=f"begun with encoder .* cannot go on with {told}"):
            learner.use(BACKEND, other)


@pytest.mark.parametrize("name", SEEING)
def test_an_encoder_of_other_chips_is_refused_and_nothing_is_taken_in(name):
    learner = quick(name).use(BACKEND, FakeEncoder((32, 32, 3)))
    with pytest.raises(ValueError, match=r"it takes chips \(32, 32, 3\), and these are \(24, 24, 3\)"):
        learner.partial_fit(EARTH.chips, EARTH.bag)
    assert learner.n_chips_ == 0
    assert learner.chip_shape_ is None


@pytest.mark.parametrize("name", SEEING)
def test_an_encoder_that_fails_leaves_the_learner_as_it_was(name):
    learner = seeing(name).partial_fit(EARTH.chips[:40], EARTH.bag[:40])
    before = learner.state()

    def broken(chips):
        return np.full((len(chips), *learner.encoder.grid), np.nan, np.float32)

    grid = learner._embedding.features.grid
    grid._encoder, encoder = broken, grid._encoder
    with pytest.raises(ArithmeticError, match="not finite"):
        learner.partial_fit(EARTH.chips[40:], EARTH.bag[40:])
    assert learner.state() == before
    grid._encoder = encoder
    learner.partial_fit(EARTH.chips[40:], EARTH.bag[40:]).set_labels(EARTH.table)
    assert learner.weights() == fitted(name).weights()


def test_what_an_encoder_says_is_held_at_eight_bits_and_clipped():
    encoder = FakeEncoder(SHAPE)
    grid = Grid(encoder, SHAPE, (6, 6))
    said = encoder(EARTH.chips[:5]).repeat(2, axis=1).repeat(2, axis=2).reshape(5, 36, -1)
    held = np.stack([grid.cells(chip) for chip in EARTH.chips[:5]])
    assert np.abs(held - np.clip(said, encoder.low, encoder.top)).max() <= 0.51 * (2.5 / 255)
    encoder.top = np.full(6, -0.5, np.float32)
    low = Grid(encoder, SHAPE, (6, 6))
    assert low.cells(EARTH.chips[0]).max() == pytest.approx(-0.5, abs=1e-6)


@pytest.mark.parametrize(("side", "rows"), [(24, 3), (24, 2), (40, 5), (40, 4)])
def test_a_cell_has_the_embedding_of_the_place_that_its_middle_lies_in(side, rows):
    encoder = FakeEncoder((side, side, 3))
    encoder.grid = (rows, rows, 2)
    encoder.low, encoder.top = np.zeros(2, np.float32), np.ones(2, np.float32)
    cells = side // 4
    places = Grid(encoder, (side, side, 3), (cells, cells)).places.reshape(cells, cells)
    middle = ((np.arange(cells) + 0.5) * 4 / (side / rows)).astype(int)
    np.testing.assert_array_equal(places, middle[:, None] * rows + middle)


def test_a_chip_is_encoded_once_to_be_learnt_from_kept_and_archived():
    learner = seeing()
    for part in np.split(np.arange(96), 6):
        learner.partial_fit(EARTH.chips[part], EARTH.bag[part])
        learner.summarise(EARTH.chips[part])
    assert learner.encoder.calls == 96


@pytest.mark.parametrize("n_classes", [2, 5, 11, 20])
@pytest.mark.parametrize("width", [16, 64])
def test_parameters_and_records_stay_within_their_budgets(n_classes, width):
    shape = (96, 96, 3)
    learner = quick("swath").use(BACKEND, FakeEncoder(shape, width=width))
    learner.partial_fit(np.zeros((1, *shape), np.uint8), [0]).set_labels(np.full((1, n_classes), 1 / n_classes))
    assert learner.n_parameters <= MAX_PARAMETERS
    assert learner.summarise(np.zeros((1, *shape), np.uint8)).shape[1] <= 4096 + 512


@pytest.mark.parametrize("name", SEEING)
def test_a_new_task_is_solved_from_the_stored_state_without_any_chip(name):
    stored = fitted(name).state()
    other = EARTH.table[:, ::-1].copy()
    other[::3] = np.nan
    encoder = FakeEncoder(SHAPE)
    learner = load_state(stored, encoder=encoder).set_labels(other, task_id=2)
    direct = seeing(name).set_labels(other, task_id=2).partial_fit(EARTH.chips, EARTH.bag)
    assert learner.weights() == direct.weights()
    assert encoder.calls == 0


def test_a_kernel_density_matrix_learns_from_embeddings_and_the_rows_of_municipalities():
    grid = FakeEncoder(SHAPE)(EARTH.chips)
    points, rows = grid.reshape(-1, grid.shape[-1]), EARTH.table[EARTH.bag].repeat(9, axis=0)
    model = Classifier(n_classes=3, n_prototypes=64).partial_fit(points, rows)
    said = np.stack([model.predict_bag(chip.reshape(9, -1)) for chip in grid])
    mean = np.abs(EARTH.table.mean(axis=0) - EARTH.proportions).mean()
    assert np.abs(said - EARTH.proportions).mean() < 0.8 * mean


@pytest.mark.parametrize("name", SEEING)
def test_more_rows_of_labels_need_no_other_imagery(name):
    few, encoder = EARTH.table.copy(), FakeEncoder(SHAPE)
    few[4:] = np.nan
    learner = quick(name).use(BACKEND, encoder).partial_fit(EARTH.chips, EARTH.bag).set_labels(few)
    learner.train(learner.pending_steps)
    assert learner.set_labels(EARTH.table).weights() == fitted(name).weights()
    assert encoder.calls == 96


@pytest.mark.parametrize("name", SEEING)
def test_what_only_the_encoder_sees_is_learnt(name):
    chips = np.full((96, SIDE, SIDE, 3), 100, np.uint8)
    chips[:, 0, 0, 0] = 10 * (EARTH.bag % 2)  # to tell them apart, which no statistic of a cell does well
    rng = np.random.Generator(np.random.PCG64(3))

    class Seer(FakeEncoder):
        def __call__(self, chips):
            said = np.where(chips[:, :1, :1, :1] > 0, 1.0, -0.5).astype(np.float32)
            return np.tile(said, (1, *self.grid))

    table = np.where(np.arange(16)[:, None] % 2 == 0, [0.9, 0.1], [0.1, 0.9]) + 0.02 * rng.random((16, 1)) * [1, -1]
    learner = quick(name).use(BACKEND, Seer(SHAPE)).partial_fit(chips, EARTH.bag)
    learner.set_labels(np.clip(table, 0, 1).astype(np.float32))
    assert np.abs(learner.predict(chips) - table[EARTH.bag]).mean() < 0.1
