"""Arrays that start a cache line, so that a vector of sixteen floats lies within one.

numpy aligns to 16 bytes, and the C library puts every large array 16 bytes behind the start of a page: features and
their embedding took up to a tenth longer so.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

CACHE_LINE_BYTES = 64


def empty(shape: int | tuple[int, ...], dtype: DTypeLike = np.float32) -> NDArray[Any]:
    """As numpy's `empty`."""
    return _part(np.empty, shape, dtype)


def zeros(shape: int | tuple[int, ...], dtype: DTypeLike = np.float32) -> NDArray[Any]:
    """As numpy's `zeros`."""
    return _part(np.zeros, shape, dtype)


def _part(make: Any, shape: int | tuple[int, ...], dtype: DTypeLike) -> NDArray[Any]:
    kind = np.dtype(dtype)
    size = (shape if isinstance(shape, int) else math.prod(shape)) * kind.itemsize
    whole: NDArray[np.uint8] = make(size + CACHE_LINE_BYTES, np.uint8)
    first = -whole.ctypes.data % CACHE_LINE_BYTES
    return whole[first : first + size].view(kind).reshape(shape)
