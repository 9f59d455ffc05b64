"""Before numpy is imported: one BLAS thread, as on board, since the last bit of a product depends on their number."""

import os

import pytest
from hypothesis import settings

from flight.caps import one_blas_thread

os.environ.update(one_blas_thread(dict(os.environ)))
settings.register_profile("swath", deadline=None)  # how long an example takes is the machine's affair
settings.load_profile("swath")


@pytest.fixture(scope="session")
def library(tmp_path_factory):
    """The shared object of all kernels for this machine."""
    pytest.importorskip("numba")
    from ground.build import bundle, targets

    path = tmp_path_factory.mktemp("kernels") / "kernels.so"
    path.write_bytes(bundle.library(targets.target("host")))
    return path
