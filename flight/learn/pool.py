"""The statistics of `Moments` in bounded memory: most municipalities at rest, a bounded number of them open."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from flight.learn.features import WIDE_WINDOWS_CELLS, CellFeatures, check_chip_shape
from flight.learn.moments import Moments
from flight.learn.resting import REST_BITS, Resting
from flight.learn.sets import contained
from flight.learn.state import StateError, take

MAX_OPEN = 4096
_MEAN_UNIT = 1 << 16  # as in `flight.learn.moments`
_REST_VALUES = 384 * 8 // REST_BITS  # in 384 bytes at rest; a municipality's number and weight take 16 more


@dataclass(frozen=True)
class Municipalities:
    """The labelled municipalities that have chips, ascending by number."""

    index: NDArray[np.int64]  # (n,)
    means: NDArray[np.float64]  # (n, n_out), embeddings as they are at rest
    labels: NDArray[np.float64]  # (n, n_classes)
    weight: NDArray[np.float64]  # (n,), sums to 1


class PooledMoments(Moments):
    """`Moments` whose closed form is solved from municipality means at 12 bits a value, as they are kept at rest.

    Up to 4,096 municipalities are open and summed exactly (2 kB each); of more, those rest whose latest chip number is
    lowest, at 400 bytes each. Only when one that rests is given another chip do its sums start from
    the rounded mean, off by up to 2^-10, and then the weights may depend on the order of chips.
    """

    sharpness = 1.2
    n_units = _REST_VALUES  # less the features of a cell, when chips have come

    def __init__(self, *, seed: int, max_municipalities: int) -> None:
        super(Moments, self).__init__(seed=seed, max_municipalities=max_municipalities)

    @property
    def n_bytes(self) -> int:
        """Bytes of sums, resting municipalities, covariance, embedding and closed form."""
        if self.chip_shape_ is None:
            return 0
        kept: list[NDArray[Any]] = [self._index, self._sums, self._latest, self._second]
        kept += [self._map.x_mean, self._map.p_mean, self._map.V] if self._map else []
        return sum(a.nbytes for a in kept) + self._embedding.n_bytes + self._resting.n_bytes

    def _begin(self, shape: tuple[int, ...]) -> None:
        self.n_units = _REST_VALUES - self._features(check_chip_shape(shape)).n_features
        super()._begin(shape)
        self._latest = np.empty(0, np.int64)  # of each open municipality, its greatest chip number
        self._resting = Resting(self._embedding.n_units, self._embedding.n_out)

    def _features(self, shape: tuple[int, int, int]) -> CellFeatures:
        """Statistics of four windows, without raw values: of a limited number of values, units are worth more."""
        return CellFeatures(shape, WIDE_WINDOWS_CELLS, raw=False, encoder=self.encoder)

    def _absorb(
        self,
        chips: NDArray[np.uint8],
        bags: NDArray[np.int64],
        weights: NDArray[np.float64],
        numbers: NDArray[np.int64],
    ) -> None:
        super()._absorb(chips, bags, weights, numbers)
        row, k = np.nonzero(bags >= 0)
        np.maximum.at(self._latest, np.searchsorted(self._index, bags[row, k]), numbers[row])
        self._close()

    def _open(self, municipalities: NDArray[np.int64]) -> None:
        new = municipalities[~contained(municipalities, self._index)]
        self._latest = np.insert(self._latest, np.searchsorted(self._index, new), -1)
        super()._open(municipalities)
        index, codes, weight = self._resting.pull(new)
        at = np.searchsorted(self._index, index)
        units = np.rint(self._resting.wake(codes) * _MEAN_UNIT).astype(np.int64)
        self._sums[at] = np.column_stack([units, np.full(len(index), _MEAN_UNIT)]) * weight[:, None]

    def _close(self) -> None:
        """Put municipalities to rest until at most `MAX_OPEN` are open."""
        excess = len(self._index) - MAX_OPEN
        if excess > 0:
            out = np.zeros(len(self._index), np.bool_)
            out[np.argsort(self._latest, kind="stable")[:excess]] = True
            codes, weight = self._resting.rest(_means(self._sums[out])), self._sums[out, -1] // _MEAN_UNIT
            self._resting.put(self._index[out], codes, weight)
            self._index, self._sums, self._latest = self._index[~out], self._sums[~out], self._latest[~out]

    def _lacks(self) -> str:
        if not (lacking := super()._lacks()) or self.labels_ is None or self.chip_shape_ is None:
            return lacking
        return "" if self._rested().any() else lacking

    def _rested(self) -> NDArray[np.bool_]:
        """Which of the municipalities at rest have a label."""
        assert self.labels_ is not None  # noqa: S101  # for the type checker: callers have checked
        inside = self._resting.index < len(self.labels_)
        inside[inside] = ~np.isnan(self.labels_[self._resting.index[inside], 0])
        return inside & (self._resting.weight > 0)

    def _municipalities(self) -> Municipalities:
        assert self.labels_ is not None  # noqa: S101  # for the type checker: callers have checked
        known, rested = self._labelled(), self._rested()
        codes = np.concatenate([self._resting.rest(_means(self._sums[known])), self._resting.values(rested)])
        weight = np.concatenate([self._sums[known, -1] // _MEAN_UNIT, self._resting.weight[rested]])
        index = np.concatenate([self._index[known], self._resting.index[rested]])
        order = np.argsort(index)
        index, weight = index[order], weight[order].astype(np.float64)
        labels = self.labels_[index].astype(np.float64)
        labels /= self._arithmetic.row_sums(labels)
        return Municipalities(index, self._resting.wake(codes[order]), labels, self._arithmetic.normalised(weight))

    def _arrays(self) -> dict[str, NDArray[Any]]:
        return super()._arrays() | self._resting.arrays() | {"latest": self._latest}

    def _restore_arrays(self, arrays: dict[str, NDArray[Any]]) -> None:
        self._resting.restore(arrays, self.max_municipalities)
        super()._restore_arrays(arrays)
        if contained(self._resting.index, self._index).any():
            raise StateError("state arrays index, rest_index: a municipality is both open and at rest")
        self._latest = take(arrays, "latest", "int64", (len(self._index),))


def _means(sums: NDArray[np.int64]) -> NDArray[np.float64]:
    """Mean embeddings (n, n_out) from rows of sums."""
    return np.asarray(sums[:, :-1] / np.maximum(sums[:, -1:], 1))
