"""Before numpy is imported: one BLAS thread, as on board, since the last bit of a product depends on their number."""

import os
import sys

import pytest
from hypothesis import settings

from flight.caps import one_blas_thread

os.environ.update(one_blas_thread(dict(os.environ)))
settings.register_profile("swath", deadline=None)  # how long an example takes is the machine's affair
settings.load_profile("swath")


def pytest_sessionfinish():
    """Save what `make coverage` has measured here: pytest-xdist kills a worker that takes ten seconds to end."""
    measured = sys.modules.get("coverage")
    if measured is not None and (running := measured.Coverage.current()) is not None:
        running.save()


@pytest.fixture(scope="session")
def library(tmp_path_factory):
    """The shared object of all kernels for this machine."""
    pytest.importorskip("numba")
    from ground.build import bundle, targets

    path = tmp_path_factory.mktemp("kernels") / "kernels.so"
    path.write_bytes(bundle.library(targets.target("host")))
    return path
