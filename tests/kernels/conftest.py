"""Kernels compiled by numba, once for all tests of them."""

import pytest

from flight.kernels.backend import JIT, Backend, choose


@pytest.fixture(scope="session")
def jit() -> Backend:
    pytest.importorskip("numba")
    return choose(JIT)
