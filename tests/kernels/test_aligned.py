"""Where arrays of kernels start."""

import numpy as np
import pytest

from flight.kernels import aligned
from flight.kernels.backend import Backend
from flight.learn.compiled import CompiledEmbedding
from flight.learn.features import CellFeatures


@pytest.mark.parametrize("shape", [7, (5, 3)])
@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.int32, np.uint8])
def test_an_aligned_array_starts_a_cache_line_and_holds_what_was_asked_for(shape: object, dtype: type) -> None:
    for make, plain in ((aligned.empty, np.empty), (aligned.zeros, np.zeros)):
        found, expected = make(shape, dtype), plain(shape, dtype)  # type: ignore[operator]
        assert (found.shape, found.dtype, found.nbytes) == (expected.shape, expected.dtype, expected.nbytes)
        assert found.ctypes.data % aligned.CACHE_LINE_BYTES == 0
        assert found.flags.c_contiguous and found.flags.writeable
    assert not aligned.zeros(shape, dtype).any()  # type: ignore[arg-type]


def test_what_an_embedding_multiplies_starts_a_cache_line(jit: Backend) -> None:
    made = CompiledEmbedding(CellFeatures((16, 16, 3)), 40, 0, jit)
    arrays = [each for name, each in vars(made).items() if name in ("_weights", "_offset", "_work", "_floats")]
    assert len(arrays) == 4
    assert all(each.ctypes.data % aligned.CACHE_LINE_BYTES == 0 for each in arrays)
