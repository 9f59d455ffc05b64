"""How unlike everything seen before a chip is, from its statistics; no labels, and honest about what it cannot see."""

from __future__ import annotations

from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from flight.kernels.backend import NUMPY, Backend
from flight.learn import checks, state
from flight.learn.counter import splitmix64
from flight.learn.features import CellFeatures, check_chip_shape
from flight.learn.kdm import KDM, DensityEstimator, NotFittedError
from flight.learn.state import StateError, take

_FEWEST = 32
_HELD_EVERY = 4
_FAINTEST = 1e-4


class Novelty:
    """A density of chip statistics: mean and spread over a chip's cells of levels, deviations and gradients.

    It keeps the statistics of the chips whose numbers have the lowest hashes; what it says is a function of the set of
    chips, not of their order. Every fourth of the kept chips is held out to tell how surprising a usual chip is; the
    others, standardised by their covariance, make the prototypes of a kernel density matrix.

    What it sees: another sensor (area under the ROC curve .99 between 10 m Sentinel-2 and 3 m aerial chips, either
    way), another place (.95 for tiles of the same camera that were held back). What it does not see reliably: a class
    that was never there. Of five land-cover groups, held back one at a time, the area was .62 to .90, and at a p-value
    of .05 between 1 and 49 chips of a hundred were flagged: a chip of a new class may look like mixtures of old ones.
    A low score is no evidence that a chip's classes are known, nor that a prediction for it is right.

    Args:
        capacity: chips whose statistics are kept, 64 to 8192; 176 bytes each with three bands.
        n_prototypes: components of the density.
        seed: of the hashes and of the prototypes.
    """

    def __init__(self, *, capacity: int = 1024, n_prototypes: int = 64, seed: int = 0) -> None:
        self.capacity = capacity
        self.n_prototypes = n_prototypes
        self.seed = seed

    chip_shape_: tuple[int, int, int] | None = None
    backend: Backend = Backend(NUMPY)
    _numbers: NDArray[np.int64]  # by ascending hash
    _rows: NDArray[np.float32]
    _fitted: tuple[KDM, NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]] | None = None

    def use(self, backend: Backend) -> Self:
        """Compute densities with `backend` (`flight.kernels.backend.choose`) instead of numpy, to nearly the same."""
        self.backend = backend
        return self

    def partial_fit(self, chips: object, *, number: object) -> Self:
        """Take in uint8 chips (n, height, width, n_bands) that are usual, each with its number (n,)."""
        images = self._check(chips)
        numbers = checks.check_numbers(number, len(images))
        if self.chip_shape_ is None:
            self._begin(images.shape[1:])
        new = np.sort(np.unique(numbers, return_index=True)[1])
        new = new[~np.isin(numbers[new], self._numbers)]
        offered = np.concatenate([self._numbers, numbers[new]])
        kept = np.argsort(splitmix64(offered, self.seed))[: self.capacity]
        own = kept < len(self._numbers)
        if not own.all():
            rows = np.empty((len(kept), self._rows.shape[1]), np.float32)
            rows[own] = self._rows[kept[own]]
            rows[~own] = self._statistics(images[new[kept[~own] - len(self._numbers)]])
            self._numbers, self._rows, self._fitted = offered[kept], rows, None
        return self

    def score(self, chips: object) -> NDArray[np.float64]:
        """Surprise (n,) of chips: -log density of their standardised statistics, nats; greater is stranger."""
        images = self._check(chips)
        kdm, mean, P, _ = self._fit()
        return -kdm.log_density((self._statistics(images) - mean) @ P, self.backend)

    def p_value(self, chips: object) -> NDArray[np.float64]:
        """Share (n,) of usual chips that are at least as surprising (Vovk et al. 2005, conformal p-value).

        If a chip is drawn like those seen, its p-value is at most a with probability at most a: a bound on false
        alarms, and on nothing else.
        """
        scores = self.score(chips)
        held = self._fit()[3]
        return np.asarray((1 + len(held) - np.searchsorted(held, scores, side="left")) / (1 + len(held)))

    def state(self) -> bytes:
        """Everything, so that `from_state` goes on as if nothing had happened."""
        self._check_params()
        params = {"capacity": self.capacity, "n_prototypes": self.n_prototypes, "seed": self.seed}
        header = {"novelty": params, "chip_shape": list(self.chip_shape_ or ())}
        kept: dict[str, NDArray[Any]] = {"numbers": self._numbers, "rows": self._rows} if self.chip_shape_ else {}
        return state.pack(header, kept)

    @classmethod
    def from_state(cls, data: bytes) -> Self:
        """The object whose `state()` was `data`; StateError if it is none."""
        header, arrays = state.unpack(data)
        params, shape = header.get("novelty"), header.get("chip_shape")
        names = {"capacity", "n_prototypes", "seed"}
        if not isinstance(params, dict) or set(params) != names or not all(type(v) is int for v in params.values()):
            raise StateError(f"state is no novelty: params are {params!r}")
        if not isinstance(shape, list) or not all(type(side) is int for side in shape):
            raise StateError(f"state header: chip_shape is {shape!r}")
        made = cls(**params)
        try:
            made._check_params()
            if shape:
                made._begin(tuple(shape))
                made._restore(arrays)
        except ValueError as error:
            raise StateError(f"state does not fit: {error}") from error
        return made

    def _restore(self, arrays: dict[str, NDArray[Any]]) -> None:
        numbers = take(arrays, "numbers", "int64", (None,))
        self._rows = take(arrays, "rows", "float32", (len(numbers), self._rows.shape[1]))
        hashes = splitmix64(numbers, self.seed)
        if len(numbers) > self.capacity or (numbers < 0).any() or not (hashes[1:] > hashes[:-1]).all():
            raise StateError(f"state array numbers: expected up to {self.capacity}, by ascending hash")
        self._numbers = numbers

    def _begin(self, shape: tuple[int, ...]) -> None:
        self.chip_shape_ = check_chip_shape(shape, "chip_shape")
        self._features = CellFeatures(self.chip_shape_)
        self._numbers = np.empty(0, np.int64)
        self._rows = np.empty((0, 2 * (self._features.n_features - self._features.n_raw)), np.float32)

    def _statistics(self, chips: NDArray[np.uint8]) -> NDArray[np.float32]:
        rows = np.empty((len(chips), self._rows.shape[1]), np.float32)
        for row, chip in zip(rows, chips, strict=True):
            cells = self._features(chip)[:, self._features.n_raw :].astype(np.float64)
            row[:] = np.concatenate([cells.mean(axis=0), cells.std(axis=0)])
        return rows

    def _fit(self) -> tuple[KDM, NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
        """Density, mean, whitening matrix, and ascending scores of the chips that were held out."""
        if self.chip_shape_ is None or len(self._numbers) < _FEWEST:
            seen = 0 if self.chip_shape_ is None else len(self._numbers)
            raise NotFittedError(f"novelty has seen {seen} chips, it needs {_FEWEST}: call partial_fit")
        if self._fitted is None:
            held = np.arange(len(self._rows)) % _HELD_EVERY == 0
            own = self._rows[~held].astype(np.float64)
            mean = own.mean(axis=0)
            values, Q = np.linalg.eigh((own - mean).T @ (own - mean) / len(own))
            P = Q / np.sqrt(np.maximum(values, 0.0) + _FAINTEST * values[-1] + 1e-9)
            model = DensityEstimator(n_prototypes=self.n_prototypes, seed=self.seed)
            kdm = model.fit((own - mean) @ P).kdm_
            scores = -kdm.log_density((self._rows[held] - mean) @ P, self.backend)
            self._fitted = kdm, mean, P, np.sort(scores)
        return self._fitted

    def _check(self, chips: object) -> NDArray[np.uint8]:
        self._check_params()
        images = checks.check_uint8(chips, "chips", 4)
        shape = check_chip_shape(images.shape[1:])
        if self.chip_shape_ not in (None, shape):
            raise ValueError(f"chips: a chip is {shape}, expected {self.chip_shape_} as before")
        return images

    def _check_params(self) -> None:
        for name, low, high in (("capacity", 64, 8192), ("n_prototypes", 2, 1024), ("seed", 0, 2**31 - 1)):
            if not low <= getattr(self, name) <= high:
                raise ValueError(f"Novelty: {name} is {getattr(self, name)}, expected {low} to {high}")
