"""Densities and responsibilities on kernels, against numpy; novelty of chips on either."""

import numpy as np
import pytest

from flight.kernels.backend import Backend
from flight.learn.kdm import KDM, RBF, Cosine, Product
from flight.learn.novelty import Novelty

RNG = np.random.Generator(np.random.PCG64(2))


@pytest.mark.parametrize(("n", "m", "d"), [(1, 1, 1), (50, 64, 24), (7, 13, 3), (3, 9, 42)])
def test_densities_and_shares_are_those_of_numpy(jit: Backend, n: int, m: int, d: int) -> None:
    weights = RNG.random(m)
    weights[m // 2] = 0 if m > 1 else 1
    density = KDM.of(1e6 + RNG.standard_normal((m, d)), RBF(0.5), weights)
    x = 1e6 + 2 * RNG.standard_normal((n, d))
    np.testing.assert_allclose(density.log_density(x, jit), density.log_density(x), rtol=1e-12)
    found, expected = density.log_responsibilities(x, backend=jit), density.log_responsibilities(x)
    np.testing.assert_allclose(found, expected, rtol=1e-11, atol=1e-11)


def test_a_joint_density_is_conditioned_on_its_points_by_kernels(jit: Backend) -> None:
    kernel = Product(((RBF(0.7), 2), (Cosine(), 3)))
    joint = KDM.of(np.concatenate([RNG.standard_normal((9, 2)), RNG.random((9, 3))], axis=1), kernel)
    x = RNG.standard_normal((4, 2))
    np.testing.assert_allclose(
        joint.log_responsibilities(x, nearest=3, backend=jit), joint.log_responsibilities(x, nearest=3), atol=1e-12
    )


def test_the_narrowest_kernel_has_a_density_at_the_farthest_point(jit: Backend) -> None:
    density = KDM.of(np.zeros((2, 40)), RBF(1e-60))
    x = np.stack([np.zeros(40), np.full(40, 1e60)])
    np.testing.assert_allclose(density.log_density(x, jit), density.log_density(x), rtol=1e-12)


def test_novelty_scores_are_those_of_numpy(jit: Backend) -> None:
    chips = RNG.integers(0, 256, (48, 16, 16, 3)).astype(np.uint8)
    plain = Novelty(n_prototypes=8).partial_fit(chips, number=np.arange(48))
    compiled = Novelty.from_state(plain.state()).use(jit)
    np.testing.assert_allclose(compiled.score(chips), plain.score(chips), rtol=1e-9)
    np.testing.assert_array_equal(compiled.p_value(chips), plain.p_value(chips))
