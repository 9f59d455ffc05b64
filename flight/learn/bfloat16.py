"""Numbers in 16 bits: the upper half of a float32, as processors for machine learning have it; exact in float32."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def narrow(x: NDArray[np.floating]) -> NDArray[np.uint16]:
    """The nearest to finite `x`, the even one of two; off by at most 2^-8 of `x`."""
    bits = np.ascontiguousarray(x, np.float32).view(np.uint32)
    return np.asarray((bits + np.uint32(0x7FFF) + ((bits >> np.uint32(16)) & np.uint32(1))) >> np.uint32(16), np.uint16)


def widen(codes: NDArray[np.uint16]) -> NDArray[np.float32]:
    """The numbers that `narrow` made `codes` of."""
    return (codes.astype(np.uint32) << np.uint32(16)).view(np.float32)
