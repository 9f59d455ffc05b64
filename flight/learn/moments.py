"""The closed-form learner: municipality means of a fixed random embedding, and a ridge regression on them.

Everything it accumulates is an integer, so no order of chips can matter, not even to the last bit. It keeps no imagery:
a new task is a new solve.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from flight.learn import arithmetic, checks, ridge
from flight.learn.base import Learner, NotReadyError
from flight.learn.compiled import CompiledEmbedding
from flight.learn.embedding import Embedding
from flight.learn.features import CellFeatures, check_chip_shape, window_matrix
from flight.learn.sets import contained, distinct
from flight.learn.simplex import project
from flight.learn.state import StateError, take

_MEAN_UNIT = 1 << 16  # a chip's mean embedding is counted in 2^-16
_WEIGHT_UNIT = 1 << 12  # a share of a chip is counted in 2^-12
_CELL_UNIT = 1 << 8  # an embedding of a cell is counted in 2^-8 for the covariance
_CELL_LIMIT = (1 << 15) - 1
_LATTICE = 4  # the covariance sees 4 x 4 cells of every chip
_RIDGE = 1e-4
_BLOCK = 16
_SMOOTH_CELLS = 3
_MAP_SHIFTS = 3


class Moments(Learner):
    """Linear probability model on random ReLU features of cells, fitted to municipalities in closed form.

    Each chip adds its mean embedding to the sums of its municipalities (times its share in each), and the outer
    products of sixteen of its cells to a covariance, municipality or not. A solve is one training step:
    `flight.learn.ridge` on the labelled municipalities, in the metric of that covariance.

    A chip is predicted by the linear map at its mean embedding, stretched by `sharpness` about the mean label and
    projected to the simplex. A cell map averages linear scores over 3 x 3 cells, and shifts them towards a map whose
    mean is the chip's prediction.

    Memory: 8 (n_units + K + 1) bytes a municipality seen, 2.6 kB by default with three bands (K = 69).

    Args:
        n_units: random ReLUs.
        sharpness: a map fitted to means makes chips too alike; 1.2 was best on validation municipalities.
        seed: of the random embedding and of the folds.
        max_municipalities: municipality numbers are below this.
    """

    name = "moments"
    takes_encoder = True
    scratch = tuple(f"_embedding.{buffer}" for buffer in CompiledEmbedding.scratch)
    absorbed = ("_sums", "_second")

    def __init__(
        self, *, n_units: int = 256, sharpness: float = 1.2, seed: int = 0, max_municipalities: int = 65535
    ) -> None:
        super().__init__(seed=seed, max_municipalities=max_municipalities)
        self.n_units = n_units
        self.sharpness = sharpness

    _map: ridge.LinearMap | None = None

    @property
    def pending_steps(self) -> int:
        """1 if a solve is due, else 0."""
        return int(self._map is None and self.ready)

    @property
    def n_parameters(self) -> int:
        """Coefficients of the linear map and its intercept."""
        return (self._embedding.n_out + 1) * self.n_classes_ if self.chip_shape_ else 0

    @property
    def n_bytes(self) -> int:
        """Bytes of sums, covariance, embedding and solution."""
        if self.chip_shape_ is None:
            return 0
        kept = [self._index, self._sums, self._second, *(self._weight_arrays() if self._map else [])]
        return sum(a.nbytes for a in kept) + self._embedding.n_bytes

    def summarise(self, chips: object) -> NDArray[np.uint8]:
        """Each chip's mean embedding at 8 bits a value: uint8 (n, n_units + K)."""
        images = self._check_chips(chips)
        if self.chip_shape_ is None:
            raise NotReadyError("moments cannot summarise yet: no chips have been given: call partial_fit")
        result = np.empty((len(images), self._embedding.n_out), np.uint8)
        for i, chip in enumerate(images):
            result[i] = self._embedding.encode(self._embedding.summary(chip)[1])
        return result

    def predict_summaries(self, summaries: object) -> NDArray[np.float32]:
        """Class proportions (n, n_classes) of the chips that `summaries` (n, n_units + K) were made of."""
        codes = checks.check_uint8(summaries, "summaries", 2)
        self._finish()
        if codes.shape[1] != self._embedding.n_out:
            raise ValueError(f"summaries: shape is {codes.shape}, expected (n, {self._embedding.n_out})")
        return self._proportions(self._embedding.decode(codes)).astype(np.float32)

    def _begin(self, shape: tuple[int, ...]) -> None:
        chip_shape = check_chip_shape(shape)
        features = self._features(chip_shape)
        self.chip_shape_ = chip_shape
        self._arithmetic = arithmetic.of(self.backend)
        if self.backend.compiled:
            self._embedding: Embedding = CompiledEmbedding(features, self.n_units, self.seed, self.backend)
        else:
            self._embedding = Embedding(features, self.n_units, self.seed, self._arithmetic)
        n = self._embedding.n_out
        rows, cols = (np.linspace(0, side - 1, _LATTICE).astype(int) for side in (features.rows, features.cols))
        self._lattice = (rows[:, None] * features.cols + cols).ravel()
        self._smooth = tuple(window_matrix(side, _SMOOTH_CELLS) / _SMOOTH_CELLS for side in self._map_shape())
        self._index = np.empty(0, np.int64)  # municipalities seen, ascending
        self._sums = np.empty((0, n + 1), np.int64)  # of embeddings, and of weights in the last column
        self._second = np.zeros((n + 1, n + 1), np.int64)  # of [embedding, 1] of lattice cells, upper triangle

    def _features(self, shape: tuple[int, int, int]) -> CellFeatures:
        return CellFeatures(shape, encoder=self.encoder)

    def _absorb(
        self,
        chips: NDArray[np.uint8],
        bags: NDArray[np.int64],
        weights: NDArray[np.float64],
        numbers: NDArray[np.int64],
    ) -> None:
        taught = (bags >= 0).any(axis=1)  # a chip of no municipality teaches nothing, its spread neither
        if not taught.any():
            return
        chips, bags, weights = chips[taught], bags[taught], weights[taught]
        self._embedding.features.grid.codes(chips)  # whatever an encoder fails at, before anything is taken in
        self._open(distinct(bags[bags >= 0]))
        shares = np.rint(weights * _WEIGHT_UNIT).astype(np.int64)
        if isinstance(self._embedding, CompiledEmbedding):
            members = np.where((bags >= 0) & (shares > 0), np.searchsorted(self._index, bags), -1)
            self._embedding.absorb(chips, self._lattice, members, shares, self._sums, self._second)
        else:
            self._absorb_blocks(chips, bags, shares)
        self._restart()

    def _absorb_blocks(self, chips: NDArray[np.uint8], bags: NDArray[np.int64], shares: NDArray[np.int64]) -> None:
        for start in range(0, len(chips), _BLOCK):
            block = chips[start : start + _BLOCK]
            cells = np.ones((len(block) * len(self._lattice), self._embedding.n_out + 1))
            for i, chip in enumerate(block):
                phi, mean = self._embedding.cells(chip)
                self._add(mean, bags[start + i], shares[start + i])
                at = slice(i * len(self._lattice), (i + 1) * len(self._lattice))
                cells[at, :-1] = phi[self._lattice]
            np.rint(cells[:, :-1] * _CELL_UNIT, out=cells[:, :-1])
            np.clip(cells[:, :-1], -_CELL_LIMIT, _CELL_LIMIT, out=cells[:, :-1])
            self._second += np.triu(cells.T @ cells).astype(np.int64)  # exact: integers below 2^53

    def _open(self, municipalities: NDArray[np.int64]) -> None:
        """Make room for municipalities that were not seen before, keeping them in order."""
        new = municipalities[~contained(municipalities, self._index)]
        if len(new):
            at = np.searchsorted(self._index, new)
            self._index = np.insert(self._index, at, new)
            self._sums = np.insert(self._sums, at, 0, axis=0)

    def _add(self, mean: NDArray[np.float32], bag: NDArray[np.int64], share: NDArray[np.int64]) -> None:
        units = np.append(np.rint(mean * np.float32(_MEAN_UNIT)).astype(np.int64), _MEAN_UNIT)
        for municipality, part in zip(bag, share, strict=True):
            if municipality >= 0 and part > 0:
                self._sums[np.searchsorted(self._index, municipality)] += units * part

    def _labelled(self) -> NDArray[np.bool_]:
        """Which of the municipalities seen have a label and a chip."""
        assert self.labels_ is not None  # noqa: S101  # for the type checker: callers have checked
        known = np.zeros(len(self._index), np.bool_)
        inside = self._index < len(self.labels_)
        known[inside] = ~np.isnan(self.labels_[self._index[inside], 0])
        return known & (self._sums[:, -1] > 0)

    def _lacks(self) -> str:
        return super()._lacks() or ("" if self._labelled().any() else "no chip lies in a labelled municipality")

    def _restart(self) -> None:
        self._map = None

    def _train(self, steps: int) -> None:
        known = self._labelled()
        sums = self._sums[known].astype(np.float64)
        P = self.labels_[self._index[known]].astype(np.float64)  # type: ignore[index]  # _labelled has checked
        P /= self._arithmetic.row_sums(P)
        X, weight = sums[:, :-1] / sums[:, -1:], sums[:, -1]
        self._map = ridge.fit(X, P, weight, self._metric(), self._index[known], self.seed, self._arithmetic)

    def _metric(self) -> NDArray[np.float64]:
        """Covariance of the lattice cells' embeddings, plus a little of the identity."""
        count, mean, upper = float(self._second[-1, -1]), self._cell_mean(), self._second[:-1, :-1]
        second = (upper + np.triu(upper, 1).T) / (count * _CELL_UNIT**2)
        return second - np.outer(mean, mean) + _RIDGE * np.eye(len(mean))

    def _cell_mean(self) -> NDArray[np.float64]:
        """Mean embedding of the lattice cells."""
        return np.asarray(self._second[:-1, -1] / (float(self._second[-1, -1]) * _CELL_UNIT))

    def _proportions(self, mean: NDArray[np.floating]) -> NDArray[np.float64]:
        """Class proportions (n, n_classes) at mean embeddings (n, n_out), or one as (n_out,)."""
        return project(self._scores(mean))

    def _scores(self, x: NDArray[np.floating]) -> NDArray[np.float64]:
        m = self._solution()
        return np.asarray(m.p_mean + self.sharpness * self._arithmetic.product(np.atleast_2d(x) - m.x_mean, m.V))

    def _solution(self) -> ridge.LinearMap:
        if self._map is None:
            raise NotReadyError("moments has no solution: call train")
        return self._map

    def _predict_chip(self, chip: NDArray[np.uint8]) -> NDArray[np.float64]:
        return np.asarray(self._proportions(self._embedding.summary(chip)[1])[0])

    def _predict_cells(self, chip: NDArray[np.uint8]) -> NDArray[np.float64]:
        phi, mean = self._embedding.cells(chip)
        whole = self._proportions(mean)[0]
        rows, cols = self._smooth
        scores = self._scores(phi).reshape(*self._map_shape(), -1)
        scores = cols @ (rows @ scores.reshape(len(rows), -1)).reshape(scores.shape)
        for _ in range(_MAP_SHIFTS):
            scores = scores + (whole - project(scores).mean(axis=(0, 1)))
        return project(scores)

    def _map_shape(self) -> tuple[int, int]:
        return self._embedding.features.rows, self._embedding.features.cols

    def _weight_arrays(self) -> list[NDArray[Any]]:
        m = self._solution()
        return [m.x_mean, m.p_mean, m.V]

    def _feature_digest(self) -> str:
        return self._embedding.digest

    def _check_params(self) -> None:
        super()._check_params()
        self._check_range("n_units", 1, 2048)
        self._check_range("sharpness", 0.1, 10.0)

    def _arrays(self) -> dict[str, NDArray[Any]]:
        upper = np.concatenate([row[i:] for i, row in enumerate(self._second)])
        arrays: dict[str, NDArray[Any]] = {"index": self._index, "sums": self._sums, "second": upper}
        if self._map is not None:
            m = self._map
            arrays |= {"x_mean": m.x_mean, "p_mean": m.p_mean, "V": m.V, "penalty": np.array([m.penalty])}
        return arrays

    def _restore_arrays(self, arrays: dict[str, NDArray[Any]]) -> None:
        n = self._embedding.n_out
        self._index = take(arrays, "index", "int64", (None,))
        if len(self._index) and not (
            self._index[0] >= 0 and (np.diff(self._index) > 0).all() and self._index[-1] < self.max_municipalities
        ):
            raise StateError("state array index: municipalities are not ascending within max_municipalities")
        self._sums = take(arrays, "sums", "int64", (len(self._index), n + 1))
        upper = np.triu_indices(n + 1)
        self._second[upper] = take(arrays, "second", "int64", (len(upper[0]),))
        taught, rest = divmod(int(self._second[-1, -1]), len(self._lattice))
        if rest or not 0 <= taught <= self.n_chips_:
            raise StateError(f"state array second: counts {taught} chips, {self.n_chips_} were given")
        if "V" in arrays and self._lacks() == "":
            c = self.n_classes_
            means = take(arrays, "x_mean", "float64", (n,)), take(arrays, "p_mean", "float64", (c,))
            V, penalty = take(arrays, "V", "float64", (n, c)), take(arrays, "penalty", "float64", (1,))
            self._map = ridge.LinearMap(*means, V, float(penalty[0]))
