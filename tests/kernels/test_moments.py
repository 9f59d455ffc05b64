"""What chips add to the statistics of the closed form, by kernels: exact integers."""

import numpy as np
import pytest

from flight.kernels.backend import Backend, choose
from flight.learn import Moments, load_state
from flight.learn.compiled import CompiledEmbedding
from flight.learn.features import WIDE_WINDOWS_CELLS, CellFeatures

RNG = np.random.Generator(np.random.PCG64(2))
CHIPS = RNG.integers(0, 256, (12, 24, 24, 3)).astype(np.uint8)
LATTICE = np.arange(0, 32, 2)


def absorbed(jit: Backend, order: list[int]) -> tuple[CompiledEmbedding, np.ndarray, np.ndarray]:
    embedding = CompiledEmbedding(CellFeatures((24, 24, 3), WIDE_WINDOWS_CELLS, raw=False), 60, 1, jit)
    sums, second = np.zeros((3, embedding.n_out + 1), np.int64), np.zeros((embedding.n_out + 1,) * 2, np.int64)
    members = np.array([[i % 3, -1 if i % 2 else (i + 1) % 3] for i in range(12)])
    shares = np.array([[3000, 1096]] * 12)
    embedding.absorb(CHIPS[order], LATTICE, members[order], shares[order], sums, second)
    return embedding, sums, second


def test_sums_are_the_integers_that_the_mean_embeddings_round_to(jit: Backend) -> None:
    embedding, sums, _ = absorbed(jit, list(range(12)))
    expected = np.zeros_like(sums)
    for i, chip in enumerate(CHIPS):
        units = np.append(np.rint(embedding.summary(chip)[1].astype(np.float64) * 65536), 65536).astype(np.int64)
        expected[i % 3] += 3000 * units
        if i % 2 == 0:
            expected[(i + 1) % 3] += 1096 * units
    np.testing.assert_array_equal(sums, expected)


def test_the_covariance_is_the_exact_sum_of_products_of_codes(jit: Backend) -> None:
    embedding, _, second = absorbed(jit, list(range(12)))
    expected = np.zeros_like(second)
    for chip in CHIPS:
        codes = np.ones((16, embedding.n_out + 1), np.int64)
        codes[:, :-1] = np.rint(embedding.cells(chip)[0][LATTICE].astype(np.float64) * 256)
        expected += codes.T @ codes
    np.testing.assert_array_equal(second, np.triu(expected))


def test_no_order_of_chips_changes_a_bit(jit: Backend) -> None:
    straight, mixed = absorbed(jit, list(range(12))), absorbed(jit, [5, 3, 11, 0, 1, 2, 4, 10, 9, 8, 7, 6])
    np.testing.assert_array_equal(straight[1], mixed[1])
    np.testing.assert_array_equal(straight[2], mixed[2])


def test_a_closed_form_on_kernels_says_what_numpy_says_but_for_rounding(jit: Backend) -> None:
    table = RNG.dirichlet(np.ones(3), 4)
    found = [
        Moments().use(each).partial_fit(CHIPS, np.arange(12) // 3).set_labels(table).predict(CHIPS)
        for each in (jit, choose("numpy"))
    ]
    np.testing.assert_allclose(found[0], found[1], atol=2e-4)


def test_a_state_says_that_kernels_made_it_and_goes_on_with_them_alone(jit: Backend) -> None:
    learner = Moments().use(jit).partial_fit(CHIPS, np.arange(12) // 3).set_labels(np.full((4, 3), 1 / 3))
    state = learner.state()
    assert load_state(state, jit).weights() == learner.weights()
    with pytest.raises(ValueError, match="state was made by backend 'jit', this one is 'numpy'"):
        load_state(state, choose("numpy"))
