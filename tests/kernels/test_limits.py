"""The kernels that measure the machine do what they are counted for."""

from __future__ import annotations

import numpy as np
import pytest

from flight.kernels.backend import choose


@pytest.fixture(scope="module")
def jit():
    pytest.importorskip("numba")
    return choose("jit")


@pytest.mark.parametrize("chains", [12, 6, 3])
def test_every_chain_makes_every_step(jit, chains):
    start = np.arange(12 * 16, dtype=np.float32).reshape(12, 16)
    values = start.copy()
    jit.fma_chains(values, 0.5, 1.0, chains, 7)
    expected = start.astype(np.float64)
    for _ in range(7):
        expected[:chains] = expected[:chains] * 0.5 + 1.0
    np.testing.assert_allclose(values, expected, rtol=1e-6)


def test_a_triad_reads_two_arrays_and_writes_a_third(jit):
    rng = np.random.Generator(np.random.Philox(1))
    b, c = rng.standard_normal((2, 1001), np.float32)
    a = np.full(1002, 7.0, np.float32)
    jit.triad(a, b, c, 0.25, 1001)
    np.testing.assert_allclose(a[:-1], b + 0.25 * c, rtol=1e-6, atol=1e-7)
    assert a[-1] == 7.0
