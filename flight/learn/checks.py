"""Checks of what learners are given; every error names the argument, the place and what was expected."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

MAX_OVERLAPS = 8
MAX_CLASSES = 255
SUM_TOLERANCE = 0.01


def _array(value: object, name: str, kind: str, dtype: Any) -> NDArray[Any]:
    array = np.asarray(value)
    if array.dtype.kind not in kind:
        raise TypeError(f"{name}: dtype is {array.dtype}, expected {np.dtype(dtype).name}")
    return array


def check_uint8(value: object, name: str, ndim: int) -> NDArray[np.uint8]:
    """`value` as a uint8 array of `ndim` axes; no other dtype is converted."""
    array = np.asarray(value)
    if array.dtype != np.uint8:
        raise TypeError(f"{name}: dtype is {array.dtype}, expected uint8")
    if array.ndim != ndim:
        raise ValueError(f"{name}: shape is {array.shape}, expected {ndim} axes")
    return array


def check_bags(bag: object, n: int, max_municipalities: int) -> NDArray[np.int64]:
    """Municipalities (n, k) of each chip, padded with -1."""
    array = _array(bag, "bag", "iu", np.int32)
    if array.ndim == 1:
        array = array[:, None]
    if array.ndim != 2 or len(array) != n or not 1 <= array.shape[1] <= MAX_OVERLAPS:
        raise ValueError(f"bag: shape is {array.shape}, expected ({n},) or ({n}, k) with k from 1 to {MAX_OVERLAPS}")
    bad = (array < -1) | (array >= max_municipalities)
    if bad.any():
        row, k = np.argwhere(bad)[0]
        raise ValueError(
            f"bag[{row}, {k}]: {array[row, k]} is neither -1 nor below max_municipalities={max_municipalities}"
        )
    return array.astype(np.int64)


def check_weights(weight: object, bag: NDArray[np.int64]) -> NDArray[np.float64]:
    """Overlap weights of the shape of `bag`: 0 where padded, each row with a municipality sums to 1."""
    valid = bag >= 0
    count = np.maximum(valid.sum(axis=1, keepdims=True), 1)
    if weight is None:
        return np.where(valid, 1.0 / count, 0.0)
    array = _array(weight, "weight", "f", np.float32)
    if array.ndim == 1:
        array = array[:, None]
    if array.shape != bag.shape:
        raise ValueError(f"weight: shape is {array.shape}, expected that of bag, {bag.shape}")
    array = np.where(valid, array, 0.0).astype(np.float64)
    bad = ~np.isfinite(array) | (array < 0)
    if bad.any():
        row, k = np.argwhere(bad)[0]
        raise ValueError(f"weight[{row}, {k}]: {array[row, k]} is not a finite share of a chip")
    total = array.sum(axis=1)
    off = valid.any(axis=1) & (np.abs(total - 1.0) > SUM_TOLERANCE)
    if off.any():
        row = int(np.argmax(off))
        raise ValueError(f"weight[{row}]: sums to {total[row]:.4g} over its municipalities, expected 1")
    return array


def check_numbers(number: object, n: int) -> NDArray[np.int64]:
    """Chip numbers (n,), not negative."""
    array = _array(number, "number", "iu", np.int64)
    if array.shape != (n,):
        raise ValueError(f"number: shape is {array.shape}, expected ({n},)")
    if n and int(array.min()) < 0:
        raise ValueError(f"number[{int(array.argmin())}]: {array.min()} is negative")
    return array.astype(np.int64)


def check_proportions(proportions: object, max_municipalities: int) -> NDArray[np.float32]:
    """A label table (n_municipalities, n_classes): rows on the simplex, or NaN throughout where missing."""
    array = _array(proportions, "proportions", "f", np.float32)
    if array.ndim != 2 or not 2 <= array.shape[1] <= MAX_CLASSES:
        raise ValueError(
            f"proportions: shape is {array.shape}, expected (n_municipalities, n_classes), 2 to {MAX_CLASSES} classes"
        )
    if len(array) > max_municipalities:
        raise ValueError(f"proportions: {len(array)} rows, more than max_municipalities={max_municipalities}")
    missing = np.isnan(array)
    part = missing.any(axis=1) & ~missing.all(axis=1)
    if part.any():
        raise ValueError(
            f"proportions[{int(np.argmax(part))}]: NaN in part of the row; a missing row is NaN throughout"
        )
    bad = np.isinf(array) | (array < 0)
    if bad.any():
        row, c = np.argwhere(bad)[0]
        raise ValueError(f"proportions[{row}, {c}]: {array[row, c]} is not a proportion")
    total = array.sum(axis=1, dtype=np.float64)
    off = ~missing.all(axis=1) & ~(np.abs(total - 1.0) <= SUM_TOLERANCE)
    if off.any():
        row = int(np.argmax(off))
        raise ValueError(f"proportions[{row}]: sums to {total[row]:.4g}, expected 1")
    return array.astype(np.float32)
