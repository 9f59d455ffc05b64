"""The matrix product, and what vectors are used for beside it: exp, log, sums of lanes, eigenvectors, Adam."""

import ctypes

import numpy as np
import pytest

from flight.kernels.backend import Backend
from flight.learn import descent, losses, networks

RNG = np.random.Generator(np.random.PCG64(3))


def multiply(jit: Backend, a: np.ndarray, b: np.ndarray, start: np.ndarray) -> np.ndarray:
    c = np.full((len(a), b.shape[1]), np.nan, np.float32)
    jit.gemm(a, b, start, c, *c.shape, a.shape[1], 1)
    return c


@pytest.mark.parametrize(
    ("m", "depth", "n"), [(576, 48, 96), (1, 1, 16), (5, 7, 48), (13, 100, 64), (12, 3, 80), (4, 0, 32), (0, 5, 32)]
)
def test_a_product_is_right_for_any_rows_and_any_whole_vectors_of_columns(
    jit: Backend, m: int, depth: int, n: int
) -> None:
    a, b, start = (RNG.standard_normal(shape, np.float32) for shape in ((m, depth), (depth, n), (n,)))
    expected = start + a.astype(np.float64) @ b.astype(np.float64)
    size = np.abs(start) + np.abs(a).astype(np.float64) @ np.abs(b)
    assert (np.abs(multiply(jit, a, b, start) - expected) <= 1e-6 * size).all()


def test_an_element_is_the_same_bits_in_whichever_tile_it_lies(jit: Backend) -> None:
    a, b, start = (RNG.standard_normal(shape, np.float32) for shape in ((17, 33), (33, 112), (112,)))
    whole = multiply(jit, a, b, start)
    for i in range(17):
        for j in range(0, 112, 16):
            alone = multiply(jit, a[i : i + 1], np.ascontiguousarray(b[:, j : j + 16]), start[j : j + 16].copy())
            np.testing.assert_array_equal(alone[0], whole[i, j : j + 16])


def test_an_element_is_the_sum_over_depth_in_order_one_rounding_a_step(jit: Backend) -> None:
    a, b, start = (RNG.standard_normal(shape, np.float32) for shape in ((6, 29), (29, 32), (32,)))
    expected = np.broadcast_to(start, (6, 32)).astype(np.float32)
    for k in range(29):  # a product of floats is exact in double; the sum is rounded once more, to the same float
        expected = (a[:, k : k + 1].astype(np.longdouble) * b[k] + expected).astype(np.float32)
    np.testing.assert_array_equal(multiply(jit, a, b, start), expected)


@pytest.fixture(scope="module")
def functions() -> ctypes._CFuncPtr:
    numba = pytest.importorskip("numba")
    from flight.kernels.native import vector
    from flight.kernels.native.language import OPTIONS

    def every(x, exp, log, sums, n):  # type: ignore[no-untyped-def]
        for i in range(0, n, vector.LANES):
            value = vector.load(x, i)
            vector.store(exp, i, vector.vexp(value))
            vector.store(log, i, vector.vlog(value))
            sums[2 * (i // vector.LANES)] = vector.total(value)
            sums[2 * (i // vector.LANES) + 1] = vector.highest(value)

    compiled = numba.cfunc(numba.types.void(*[vector.float_p] * 4, numba.types.int64), **OPTIONS)(every)
    call = ctypes.CFUNCTYPE(None, *[ctypes.c_void_p] * 4, ctypes.c_int64)(compiled.address)
    call.keep = compiled
    return call


def applied(functions: ctypes._CFuncPtr, x: np.ndarray) -> tuple[np.ndarray, ...]:
    x = x.astype(np.float32)
    out = np.empty_like(x), np.empty_like(x), np.empty(len(x) // 8, np.float32)
    functions(x.ctypes.data, *(array.ctypes.data for array in out), len(x))
    return x.astype(np.float64), *out


def test_exp_is_within_two_units_of_the_last_place(functions: ctypes._CFuncPtr) -> None:
    x, found, _, _ = applied(functions, np.linspace(-87, 88, 1 << 16))
    assert (np.abs(found - np.exp(x)) <= 2 * np.spacing(np.exp(x).astype(np.float32))).all()


def test_exp_ends_at_nothing_and_at_its_greatest_argument(functions: ctypes._CFuncPtr) -> None:
    _, found, _, _ = applied(functions, np.repeat([-87.1, -1e30, -np.inf, 100.0], 4))
    np.testing.assert_allclose(found, np.repeat([0, 0, 0, np.exp(88)], 4), rtol=1e-6)


def test_log_is_within_two_units_of_the_last_place(functions: ctypes._CFuncPtr) -> None:
    x, _, found, _ = applied(functions, np.exp(np.linspace(-87, 88, 1 << 16)))
    apart = np.abs(found - np.log(x))
    assert (apart <= np.maximum(2 * np.spacing(np.abs(np.log(x)).astype(np.float32)), 1e-9)).all()


def test_lanes_are_summed_by_neighbours(functions: ctypes._CFuncPtr) -> None:
    x = RNG.standard_normal(32).astype(np.float32)
    _, _, _, sums = applied(functions, x)
    pairs = x.reshape(2, 16)
    while pairs.shape[1] > 1:
        pairs = pairs[:, ::2] + pairs[:, 1::2]
    np.testing.assert_array_equal(sums, np.stack([pairs[:, 0], x.reshape(2, 16).max(axis=1)], axis=1).ravel())


@pytest.mark.parametrize("n", [1, 2, 16, 48])
def test_eigenvectors_take_a_matrix_apart(jit: Backend, n: int) -> None:
    half = RNG.standard_normal((n, n)) * np.geomspace(1, 1e-4, n)
    a = half @ half.T
    values, Q = networks.eigen(jit, a)
    np.testing.assert_allclose(values, np.linalg.eigvalsh(a), atol=1e-12 * np.trace(a))
    np.testing.assert_allclose(Q.T @ Q, np.eye(n), atol=1e-12)
    np.testing.assert_allclose(Q * values @ Q.T, a, atol=1e-12 * np.trace(a))


def test_a_matrix_of_zeros_has_eigenvectors_too(jit: Backend) -> None:
    values, Q = networks.eigen(jit, np.zeros((16, 16)))
    np.testing.assert_array_equal(values, 0)
    np.testing.assert_array_equal(Q, np.eye(16))


def test_adam_moves_weights_as_in_double_precision(jit: Backend) -> None:
    g = [RNG.standard_normal((7, 9), np.float32), RNG.standard_normal(3, np.float32)]
    w, m, v = ([RNG.random(part.shape, np.float32) for part in g] for _ in range(3))
    exact = [[part.astype(np.float64) for part in parts] for parts in (w, g, m, v)]
    for step in (1, 2, 3):
        networks.adam(jit, tuple(w), tuple(g), tuple(m), tuple(v), step, 0.01)
        descent.adam(*exact, step, 0.01)
    for found, expected in zip((w, m, v), (exact[0], exact[2], exact[3]), strict=True):
        for a, b in zip(found, expected, strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize(("floor", "loss"), [(0.0, losses.bag_loss), (losses.FLOOR, losses.bag_kl_loss)])
def test_gradients_of_municipalities_agree_with_double_precision(
    jit: Backend, floor: float, loss: losses.BagLoss
) -> None:
    q, target = RNG.dirichlet(np.ones(5), 8), RNG.dirichlet(np.ones(5), 3)
    shares = RNG.dirichlet(np.ones(8), 3)
    found = networks.bag_gradient(jit, *(a.astype(np.float32) for a in (q, shares, target)), floor=floor)
    expected = loss(q, shares, target)[1]
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-5 * np.abs(expected).max())
