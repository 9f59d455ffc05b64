"""Numbers kept in 16 bits."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from flight.learn.bfloat16 import narrow, widen

FLOATS = st.floats(-(2.0**100), 2.0**100, width=32)


@given(st.lists(FLOATS, min_size=1, max_size=20))
def test_the_nearest_number_is_kept(values):
    x = np.array(values, np.float32)
    codes = narrow(x)
    found = widen(codes)
    neighbours = [widen((codes.astype(np.int64) + step).astype(np.uint16)) for step in (-1, 1)]
    for other in neighbours:
        same_sign = np.signbit(other) == np.signbit(found)
        assert (np.abs(found - x)[same_sign] <= np.abs(other - x)[same_sign]).all()
    np.testing.assert_allclose(found, x, rtol=2.0**-8, atol=1e-38)


def test_what_fits_is_exact_and_of_two_as_near_the_even_one_is_kept():
    assert widen(narrow(np.array([0.0, 1.0, -2.5, 3.140625]))).tolist() == [0.0, 1.0, -2.5, 3.140625]
    step = 2.0**-7
    assert widen(narrow(np.array([1 + step / 2, 1 + 3 * step / 2]))).tolist() == [1.0, 1 + 2 * step]
