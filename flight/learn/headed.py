"""What `Hybrid` and `Swath` share: the statistics of `Moments`, a reservoir of records, and a head trained on it."""

from __future__ import annotations

import math
from abc import abstractmethod
from typing import Any, ClassVar, NamedTuple

import numpy as np
from numpy.typing import NDArray

from flight.learn import checks, matching, mixnet, ridge
from flight.learn.base import NotReadyError
from flight.learn.counter import generator
from flight.learn.descent import adam
from flight.learn.mixnet import Weights
from flight.learn.pool import Municipalities, PooledMoments
from flight.learn.records import Records, WideStatistics
from flight.learn.reservoir import Reservoir
from flight.learn.state import StateError, take

MAX_PARAMETERS = 8000
MAX_RESERVOIR = 512
_GAIN_SCALE = 2.5  # Adam moves every weight alike; the gain has further to go
_FIRST_GAIN = 0.8
_MIN_HIDDEN = 8
_LEAST = np.float32(1e-3)  # spread of a statistic that never changes
_STREAM_INITIAL, _STREAM_BATCH = 6, 7


class Given(NamedTuple):
    """What training reads of the reservoir's chips."""

    x: NDArray[np.float32]  # (n_chips, n_lattice, k), standardised over the reservoir
    centre: NDArray[np.float32]  # (k,)
    spread: NDArray[np.float32]  # (k,)
    lean: NDArray[np.float32]  # (n_chips, n_classes), the closed form fitted to other municipalities, about its mean
    goal: Any  # what the loss compares with


class Headed(PooledMoments):
    """`PooledMoments`, with a head on statistics of cells, trained on a reservoir; subclasses say to what end.

    Whenever chips or labels change, training starts again: the closed form, then `n_steps` steps of Adam whose
    batches come from a counter. A step sees every chip of the reservoir, `cells_per_chip` of its cells.
    """

    leans: ClassVar[bool]  # whether the head leans on the closed form

    def __init__(
        self,
        *,
        n_steps: int,
        learning_rate: float,
        cells_per_chip: int,
        reservoir: int,
        n_hidden: int,
        dropout: float,
        seed: int,
        max_municipalities: int,
    ) -> None:
        super().__init__(seed=seed, max_municipalities=max_municipalities)
        self.n_steps = n_steps
        self.learning_rate = learning_rate
        self.cells_per_chip = cells_per_chip
        self.reservoir = reservoir
        self.n_hidden = n_hidden
        self.dropout = dropout

    _head: Weights | None = None  # in training, on standardised statistics
    _final: Weights | None = None  # on statistics as they are
    _given: Given | None = None
    _step: int = 0

    @property
    def pending_steps(self) -> int:
        """Steps of Adam still to do; the first one solves the closed form as well."""
        return self.n_steps - self._step if self.ready else 0

    @property
    def n_parameters(self) -> int:
        """Weights of the head, and coefficients of the closed form if the head leans on it."""
        if self.chip_shape_ is None or not self.n_classes_:
            return 0
        k, c = self._statistics.n_statistics, self.n_classes_
        head = (k + 1) * self._n_hidden + (self._n_hidden + 1) * c
        return head + (super().n_parameters + 1 if self.leans else 0)

    @property
    def _n_hidden(self) -> int:
        """Hidden units: fewer than asked for where parameters would be too many."""
        k, c = self._statistics.n_statistics, self.n_classes_
        left = MAX_PARAMETERS - (super().n_parameters + 1 if self.leans else 0)
        fit = (left - c) // (k + 1 + c)
        return max(_MIN_HIDDEN, min(self.n_hidden, fit))

    @property
    def n_bytes(self) -> int:
        """Bytes of sums, covariance, embedding, reservoir, and what training holds."""
        if self.chip_shape_ is None:
            return 0
        kept: list[NDArray[Any]] = [*(self._final or ())]
        kept += [*self._head, *self._m, *self._v] if self._head else []
        training = self._given.x.nbytes if self._given else 0
        return super().n_bytes + self._reservoir.n_bytes + sum(a.nbytes for a in kept) + training

    def summarise(self, chips: object) -> NDArray[np.uint8]:
        """The records (n, s) of chips: statistics on a lattice of cells and the mean embedding; some 4 kB each."""
        images = self._check_chips(chips)
        if self.chip_shape_ is None:
            raise NotReadyError(f"{self.name} cannot summarise yet: no chips have been given: call partial_fit")
        return self._encode(images)

    def predict_summaries(self, summaries: object) -> NDArray[np.float32]:
        """Class proportions (n, n_classes) of the chips that `summaries` were made of, from their lattices."""
        codes = checks.check_uint8(summaries, "summaries", 2)
        n_classes = self._finish()
        if codes.shape[1] != self._records.n_bytes:
            raise ValueError(f"summaries: shape is {codes.shape}, expected (n, {self._records.n_bytes})")
        result = np.empty((len(codes), n_classes), np.float32)
        for i in range(len(codes)):
            row = codes[i : i + 1]
            result[i] = self._apply(self._records.cells(row), self._records.means(row))[0].mean(axis=0)
        return result

    def _begin(self, shape: tuple[int, ...]) -> None:
        super()._begin(shape)
        assert self.chip_shape_ is not None  # noqa: S101  # for the type checker: just set
        self._statistics = WideStatistics(self.chip_shape_)
        self._records = Records(self._statistics, self._embedding)
        self._reservoir = Reservoir(self.reservoir, self.seed, (self._records.n_bytes,))  # type: ignore[arg-type]

    def _absorb(
        self,
        chips: NDArray[np.uint8],
        bags: NDArray[np.int64],
        weights: NDArray[np.float64],
        numbers: NDArray[np.int64],
    ) -> None:
        super()._absorb(chips, bags, weights, numbers)
        self._reservoir.add(self._encode(chips), bags, weights, numbers)

    def _encode(self, chips: NDArray[np.uint8]) -> NDArray[np.uint8]:
        records = np.empty((len(chips), self._records.n_bytes), np.uint8)
        for i, chip in enumerate(chips):
            mean = self._embedding.mean(self._embedding.cells(chip))
            records[i] = self._records.encode(self._statistics(chip), mean)
        return records

    def _restart(self) -> None:
        super()._restart()
        self._head, self._final, self._given, self._step = None, None, None, 0

    def _train(self, steps: int) -> None:
        given = self._prepare()
        head = self._head or self._begin_head(given)
        for _ in range(steps):
            g = self._gradient(head, given, generator(self.seed, _STREAM_BATCH, self._step))
            rate = self.learning_rate * (0.55 + 0.45 * math.cos(math.pi * self._step / self.n_steps))
            self._step += 1
            adam(head, g, self._m, self._v, self._step, rate)
            np.maximum(head.gain, 0, out=head.gain)
        if self._step == self.n_steps:
            self._fold(head, given)

    def _begin_head(self, given: Given) -> Weights:
        gain = _FIRST_GAIN if self.leans else 0.0
        rng = generator(self.seed, _STREAM_INITIAL)
        self._head = mixnet.initial(given.x.shape[2], self._n_hidden, self.n_classes_, gain, rng)
        self._m, self._v = (Weights(*(np.zeros_like(part) for part in self._head)) for _ in range(2))
        return self._head

    def _gradient(self, head: Weights, given: Given, rng: np.random.Generator) -> Weights:
        """Gradient of the loss on some cells of every kept chip."""
        n, n_cells, _ = given.x.shape
        x = given.x[np.arange(n)[:, None], rng.integers(0, n_cells, (n, self.cells_per_chip))]
        keep = (rng.random((n, 1, head.b1.size), dtype=np.float32) >= self.dropout) / np.float32(1 - self.dropout)
        done = mixnet.forward(head, x, given.lean, keep)
        d = self._loss_gradient(done.cells.mean(axis=1), given.goal)
        return mixnet.backward(head, x, given.lean, done, d.astype(np.float32), keep)

    def _fold(self, head: Weights, given: Given) -> None:
        """Fold the standardisation into the first layer; training is over."""
        W1 = head.W1 / given.spread[:, None]
        self._final, self._given = head._replace(W1=W1, b1=head.b1 - given.centre @ W1), None

    def _prepare(self) -> Given:
        """Solve the closed form if that is due, and read the reservoir."""
        if self._given is None:
            known = self._municipalities()
            metric = self._metric()
            if self._map is None:
                self._map = ridge.fit(known.means, known.labels, known.weight, metric, known.index, self.seed)
            x = self._records.cells(self._reservoir.chips)
            centre = x.mean(axis=(0, 1))
            x -= centre
            spread = np.sqrt(np.einsum("ijk,ijk->k", x, x) / (x.shape[0] * x.shape[1])).astype(np.float32) + _LEAST
            x /= spread
            means = self._records.means(self._reservoir.chips)
            self._given = Given(
                x, centre, spread, self._held_out(known, means, metric), self._goal(known, means, metric)
            )
        return self._given

    def _held_out(
        self, known: Municipalities, means: NDArray[np.float64], metric: NDArray[np.float64]
    ) -> NDArray[np.float32]:
        """What the closed form says of each kept chip when fitted without the fold of its first municipality.

        A head is to rely on the closed form as far as it can be relied on elsewhere, not where it was fitted.
        """
        if not self.leans:
            return np.zeros((len(means), self.n_classes_), np.float32)
        fold = matching.fold_of(known.index, self.seed)
        maps = matching.out_of_fold(known.means, known.labels, known.weight, metric, fold, self._solution().penalty)
        lean = self._lean(means)
        first = self._reservoir.bags[:, 0]
        at = np.minimum(np.searchsorted(known.index, first), len(known.index) - 1)
        of_chip = np.where(known.index[at] == first, fold[at], -1)
        for k, m in enumerate(maps):
            lean[of_chip == k] = (means[of_chip == k] - m.x_mean) @ m.V
        return (lean * _GAIN_SCALE).astype(np.float32)

    def _lean(self, means: NDArray[np.floating]) -> NDArray[np.float64]:
        m = self._solution()
        return np.asarray((means - m.x_mean) @ m.V)

    def _shares(self, known: Municipalities) -> NDArray[np.float64]:
        """How much of each kept chip lies in each labelled municipality: (n_bags, n_chips)."""
        bags, weights = self._reservoir.bags, self._reservoir.weights
        at = np.minimum(np.searchsorted(known.index, bags), len(known.index) - 1)
        chip, k = np.nonzero((known.index[at] == bags) & (weights > 0))
        shares = np.zeros((len(known.index), len(bags)))
        np.add.at(shares, (at[chip, k], chip), weights[chip, k])
        return shares

    @abstractmethod
    def _goal(self, known: Municipalities, means: NDArray[np.float64], metric: NDArray[np.float64]) -> Any:
        """What `_loss_gradient` compares predictions with; `means` are the kept chips' embeddings."""

    @abstractmethod
    def _loss_gradient(self, q: NDArray[np.floating], goal: Any) -> NDArray[np.floating]:
        """Gradient of the loss for proportions q (n_chips, n_classes) of the kept chips."""

    def _apply(self, cells: NDArray[np.float32], means: NDArray[np.floating]) -> NDArray[np.floating]:
        """Class proportions (n, n_cells, n_classes) of cells with statistics `cells`, of chips with `means`."""
        if self._final is None:
            raise NotReadyError(f"{self.name} has no final weights: call train")
        lean = (self._lean(means) * _GAIN_SCALE).astype(np.float32)
        return mixnet.forward(self._final, cells, lean).cells

    def _predict_chip(self, chip: NDArray[np.uint8]) -> NDArray[np.float64]:
        return np.asarray(self._predict_cells(chip).mean(axis=(0, 1)))

    def _predict_cells(self, chip: NDArray[np.uint8]) -> NDArray[np.float64]:
        mean: NDArray[np.floating] = self._embedding.mean(self._embedding.cells(chip))
        cells = self._apply(self._statistics(chip)[None], mean[None])
        return cells.reshape(*self._map_shape(), -1).astype(np.float64)

    def _weight_arrays(self) -> list[NDArray[Any]]:
        return [*(super()._weight_arrays() if self.leans else []), *(self._final or ())]

    def _check_params(self) -> None:
        super()._check_params()
        self._check_range("n_steps", 1, 1_000_000)
        self._check_range("learning_rate", 1e-8, 1.0)
        self._check_range("cells_per_chip", 1, 1024)
        self._check_range("reservoir", 1, MAX_RESERVOIR)
        self._check_range("n_hidden", 1, 1024)
        self._check_range("dropout", 0.0, 0.9)

    def _arrays(self) -> dict[str, NDArray[Any]]:
        arrays = super()._arrays() | self._reservoir.arrays() | {"step": np.array([self._step], np.int64)}
        if self._head is not None:
            for kind, parts in (("w", self._head), ("m", self._m), ("v", self._v)):
                arrays |= {f"{kind}.{name}": a for name, a in zip(Weights._fields, parts, strict=True)}
        return arrays

    def _restore_arrays(self, arrays: dict[str, NDArray[Any]]) -> None:
        super()._restore_arrays(arrays)
        self._reservoir.restore(arrays, self.max_municipalities)
        self._step = int(take(arrays, "step", "int64", (1,))[0])
        started = "w.W1" in arrays
        if not 0 <= self._step <= self.n_steps or started != (self._step > 0) or (started and self._map is None):
            raise StateError(f"state array step: {self._step} does not fit {self.n_steps} steps")
        if not started:
            return
        k, h, c = self._statistics.n_statistics, self._n_hidden, self.n_classes_
        shapes = tuple(zip(Weights._fields, ((k, h), (h,), (h, c), (c,), (1,)), strict=True))
        self._head, self._m, self._v = (
            Weights(*(take(arrays, f"{kind}.{name}", "float32", shape) for name, shape in shapes)) for kind in "wmv"
        )
        if self._step == self.n_steps:
            self._fold(self._head, self._prepare())
