"""Linear algebra by kernels, against LAPACK and against what defines it."""

import numpy as np
import pytest

from flight.kernels.backend import Backend
from flight.learn import lbfgs
from flight.learn.arithmetic import Arithmetic, CompiledArithmetic

BY_LAPACK = Arithmetic()
PENALTIES = 10.0 ** np.arange(-6.0, 0.25, 0.5)


def rng(seed: int) -> np.random.Generator:
    return np.random.Generator(np.random.PCG64(seed))


def covariance(n: int, seed: int = 0, span: float = 6.0) -> np.ndarray:
    x = rng(seed).standard_normal((3 * n, n)) * np.exp(-span * np.arange(n) / n)
    return x.T @ x / len(x) + 1e-6 * np.eye(n)


@pytest.fixture(scope="module")
def kernels(jit: Backend) -> CompiledArithmetic:
    return CompiledArithmetic(jit)


@pytest.mark.parametrize(("m", "n", "depth"), [(1, 1, 1), (7, 5, 3), (33, 41, 66), (4, 130, 9)])
def test_products_agree(kernels: CompiledArithmetic, m: int, n: int, depth: int) -> None:
    A, B = rng(m).standard_normal((m, depth)), rng(n).standard_normal((depth, n))
    np.testing.assert_allclose(kernels.product(A, B), A @ B, rtol=1e-12, atol=1e-12)
    np.testing.assert_allclose(kernels.product(A.astype(np.float32), B), A.astype(np.float32) @ B, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(kernels.gram(A), A.T @ A, rtol=1e-12, atol=1e-12)
    assert kernels.dot(A[0], B[:, 0]) == pytest.approx(A[0] @ B[:, 0])


@pytest.mark.parametrize("n", [1, 2, 9, 70, 257])
def test_whitening_turns_a_covariance_into_the_identity(kernels: CompiledArithmetic, n: int) -> None:
    S = covariance(n)
    W = kernels.whitening(S)
    np.testing.assert_allclose(W.T @ S @ W, np.eye(n), atol=1e-10)
    np.testing.assert_array_equal(W, np.triu(W))


@pytest.mark.parametrize(("n", "m"), [(1, 1), (10, 3), (130, 40)])
def test_systems_are_solved(kernels: CompiledArithmetic, n: int, m: int) -> None:
    A, X = covariance(n), rng(1).standard_normal((n, m))
    np.testing.assert_allclose(kernels.solve(A, A @ X), X, rtol=1e-6, atol=1e-6)


def test_a_matrix_that_is_not_positive_definite_is_refused(kernels: CompiledArithmetic) -> None:
    with pytest.raises(np.linalg.LinAlgError, match="2 rows is not positive definite"):
        kernels.solve(np.array([[1.0, 2.0], [2.0, 1.0]]), np.eye(2))


@pytest.mark.parametrize(("n", "d"), [(12, 30), (30, 30), (90, 30), (1, 4), (5, 1)])
def test_ridge_regressions_satisfy_their_normal_equations(kernels: CompiledArithmetic, n: int, d: int) -> None:
    A, Y = rng(n).standard_normal((n, d)), rng(d).standard_normal((n, 3))
    found = kernels.ridge(A, Y, PENALTIES)
    assert found.shape == (len(PENALTIES), d, 3)
    for penalty, V in zip(PENALTIES, found, strict=True):
        np.testing.assert_allclose(A.T @ (A @ V - Y) + penalty * V, 0, atol=1e-8)
    np.testing.assert_allclose(found, BY_LAPACK.ridge(A, Y, PENALTIES), rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize(("n", "count"), [(1, 1), (2, 2), (9, 4), (128, 128), (300, 100)])
def test_greatest_eigenvalues_and_their_vectors(kernels: CompiledArithmetic, n: int, count: int) -> None:
    S = covariance(n, seed=n)
    values, Q = kernels.greatest(S, count)
    np.testing.assert_allclose(values, BY_LAPACK.greatest(S, count)[0], rtol=1e-9, atol=1e-14)
    np.testing.assert_allclose(S @ Q, Q * values, atol=1e-12)
    np.testing.assert_allclose(Q.T @ Q, np.eye(count), atol=1e-11)


@pytest.mark.parametrize(
    "S",
    [np.zeros((20, 20)), np.eye(20), np.kron(np.eye(6), np.ones((5, 5))), np.diag(np.arange(12.0)), 1e-30 * np.eye(9)],
    ids=["zero", "identity", "repeated", "diagonal", "tiny"],
)
def test_eigenvectors_of_repeated_eigenvalues_are_orthogonal(kernels: CompiledArithmetic, S: np.ndarray) -> None:
    values, Q = kernels.greatest(S, len(S))
    np.testing.assert_allclose(values, np.linalg.eigvalsh(S), atol=1e-12)
    np.testing.assert_allclose(S @ Q, Q * values, atol=1e-12)
    np.testing.assert_allclose(Q.T @ Q, np.eye(len(S)), atol=1e-11)


@pytest.mark.parametrize("n", [1, 4, 69])
def test_orthogonal_factors_have_the_signs_of_lapack(kernels: CompiledArithmetic, n: int) -> None:
    A = rng(n).standard_normal((n, n))
    np.testing.assert_allclose(kernels.orthonormal(A), np.linalg.qr(A)[0], atol=1e-12)


def test_logarithms_agree(kernels: CompiledArithmetic) -> None:
    x = np.array([1e-30, 1e-3, 0.3, 1.0, 2.0, 1e20])
    np.testing.assert_allclose(kernels.logs(x), np.log(x), rtol=3e-7, atol=1e-7)


def test_a_search_on_kernels_finds_the_minimum(kernels: CompiledArithmetic) -> None:
    S, goal = covariance(40, span=3.0), rng(3).standard_normal(40)

    def objective(x: np.ndarray) -> tuple[float, np.ndarray]:
        return float(0.5 * (x - goal) @ S @ (x - goal)), S @ (x - goal)

    search = both = lbfgs.begin(objective, np.zeros(40))
    for _ in range(200):
        np.testing.assert_allclose(kernels.direction(search), BY_LAPACK.direction(search), rtol=1e-9, atol=1e-12)
        search = lbfgs.iterate(objective, search, kernels)
    assert search.value[0] < 1e-4 * both.value[0]
