"""Municipalities at rest: mean embeddings at 12 bits a value, for those that have had no chip for a while."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from flight.learn.sets import contained
from flight.learn.state import StateError, take

REST_BITS = 12
_UNIT = 1 << 9  # a value at rest is counted in 2^-9
_FEATURE_OFFSET = 4.0


def offsets(n_units: int, n_values: int) -> NDArray[np.float64]:
    """What makes a mean embedding positive: its units are, its features lie about zero."""
    return np.repeat([0.0, _FEATURE_OFFSET], [n_units, n_values - n_units])


class Resting:
    """A table of municipalities, ascending by number.

    Attributes:
        index: int64 (n,), their numbers.
        codes: uint8 (n, row_bytes), their mean embeddings as codes of 12 bits, two in three bytes.
        weight: int64 (n,), how much of chips they have.
    """

    def __init__(self, n_units: int, n_values: int) -> None:
        self.n_values = n_values
        self._offset = offsets(n_units, n_values)
        self.index = np.empty(0, np.int64)
        self.codes = np.empty((0, 3 * (-(-n_values // 2))), np.uint8)
        self.weight = np.empty(0, np.int64)

    @property
    def n_bytes(self) -> int:
        """Bytes of the table."""
        return self.index.nbytes + self.codes.nbytes + self.weight.nbytes

    def rest(self, means: NDArray[np.float64]) -> NDArray[np.uint16]:
        """Codes (n, n_values) of mean embeddings."""
        return np.asarray(np.clip(np.rint((means + self._offset) * _UNIT), 0, (1 << REST_BITS) - 1), np.uint16)

    def wake(self, codes: NDArray[np.uint16]) -> NDArray[np.float64]:
        """The mean embeddings (n, n_values) that `codes` stand for."""
        return np.asarray(codes / _UNIT - self._offset)

    def put(self, index: NDArray[np.int64], codes: NDArray[np.uint16], weight: NDArray[np.int64]) -> None:
        """Add municipalities that are not in the table; `codes` (n, n_values) are below 4096."""
        at = np.searchsorted(self.index, index)
        self.index = np.insert(self.index, at, index)
        self.codes = np.insert(self.codes, at, _packed(codes), axis=0)
        self.weight = np.insert(self.weight, at, weight)

    def pull(self, index: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.uint16], NDArray[np.int64]]:
        """Remove those of `index`, ascending, that are in the table; returns their numbers, codes and weights."""
        out = contained(self.index, index)
        found = self.index[out], self.values(out), self.weight[out]
        self.index, self.codes, self.weight = self.index[~out], self.codes[~out], self.weight[~out]
        return found

    def values(self, rows: NDArray[np.bool_]) -> NDArray[np.uint16]:
        """Codes (n, n_values) of some rows."""
        low, middle, high = (self.codes[rows][:, i::3].astype(np.uint16) for i in range(3))
        pairs = np.stack([low | (middle & 15) << 8, middle >> 4 | high << 4], axis=2)
        return np.asarray(pairs.reshape(len(pairs), self.codes.shape[1] // 3 * 2)[:, : self.n_values])

    def arrays(self) -> dict[str, NDArray[Any]]:
        """What `restore` needs."""
        return {"rest_index": self.index, "rest_codes": self.codes, "rest_weight": self.weight}

    def restore(self, arrays: dict[str, NDArray[Any]], max_municipalities: int) -> None:
        """Take from `arrays`, with checks, what `arrays()` put there."""
        index = take(arrays, "rest_index", "int64", (None,))
        if len(index) and not (index[0] >= 0 and (np.diff(index) > 0).all() and index[-1] < max_municipalities):
            raise StateError("state array rest_index: municipalities are not ascending within max_municipalities")
        self.codes = take(arrays, "rest_codes", "uint8", (len(index), self.codes.shape[1]))
        self.weight = take(arrays, "rest_weight", "int64", (len(index),))
        self.index = index


def _packed(codes: NDArray[np.uint16]) -> NDArray[np.uint8]:
    even = np.pad(codes, ((0, 0), (0, codes.shape[1] % 2)))
    first, second = even[:, ::2], even[:, 1::2]
    packed = np.stack([first & 255, first >> 8 | (second & 15) << 4, second >> 4], axis=2)
    return packed.reshape(len(codes), 3 * first.shape[1]).astype(np.uint8)
