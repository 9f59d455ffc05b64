"""What `Hybrid` and `Swath` share: the statistics of `Moments`, a reservoir of records, and a head trained on it."""

from __future__ import annotations

import math
from abc import abstractmethod
from typing import Any, ClassVar, NamedTuple

import numpy as np
from numpy.typing import NDArray

from flight.learn import checks, context, kept, lbfgs, mixnet, ridge
from flight.learn.base import NotReadyError
from flight.learn.blocks import Rows, blocks
from flight.learn.compiled import CompiledInputs
from flight.learn.counter import splitmix64
from flight.learn.lattice import Lattice
from flight.learn.pool import Municipalities, PooledMoments
from flight.learn.records import Records
from flight.learn.reservoir import Reservoir
from flight.learn.state import StateError, take

MAX_PARAMETERS = 8000
MAX_RESERVOIR = 512
_MAX_PAIRS = 1 << 20  # of chips and municipalities in training: 8 MB for a number of each
_LEAN = 4.0  # what a difference of 1 in the closed form's proportions adds to a score
_LEAST_SHARE = 1e-3  # of a class in the prior
_SHARPNESS = 1.5  # a head fitted to means makes cells too alike
_MIN_VALUES = 8


class Design(NamedTuple):
    """How a head is made.

    Attributes:
        chips: how many are kept, for each that `reservoir` says; fewer are trained on where many municipalities count.
        kept: what of them.
        n_features: of a cell, at most.
        n_axes: of chips, at most.
        graded: whether axes along which chips differ less count less.
        context: units of score that the penalty takes a standard deviation along an axis of chips for.
        growing: whether that is for 1,024 chips, and grows with the root of their number, as a prior's weight does.
        sure: weight of the entropy of cells.
    """

    chips: int
    kept: type[kept.Whole]
    n_features: int
    n_axes: int
    graded: bool
    context: float
    growing: bool
    sure: float

    def weight(self, n_chips: int) -> float:
        """`context` for so many chips."""
        return self.context * (math.sqrt(n_chips / 1024.0) if self.growing else 1.0)


# Chosen on validation municipalities. An encoder's embedding tells kinds of chips apart along many axes, and as a cell
# is surely of one class, every chip that is kept then says where the classes part, be it labelled or not.
_PLAIN = Design(1, kept.Whole, 128, 100, False, 0.05, False, mixnet.ENTROPY)
_SEEING = Design(8, kept.Brief, 64, 200, True, 0.2, True, 0.1)


class Given(NamedTuple):
    """What training reads of the reservoir's chips, and how it is read."""

    inputs: mixnet.Inputs | CompiledInputs
    mean: NDArray[np.float64]  # (n_values,), of cells' embeddings
    rotation: NDArray[np.float64]  # (n_values, n_features); (embedding - mean) @ rotation are the head's features
    axes: context.Axes
    prior: NDArray[np.float64]  # (n_classes,), scores of the mean label
    loss: mixnet.ChipLoss


class Final(NamedTuple):
    """The head on embeddings and descriptions as they are: cells (n_values, c), bias (c,), chips (m, c)."""

    cells: NDArray[np.float32]
    bias: NDArray[np.float32]
    chips: NDArray[np.float32]


class Headed(PooledMoments):
    """`PooledMoments`, with a head on embeddings of cells, trained on a reservoir; subclasses say to what end.

    Whenever chips or labels change, training starts again: the closed form, then up to `n_steps` iterations of L-BFGS
    on cells of every chip of the reservoir (`flight.learn.mixnet`). What is trained is linear, on fixed features: there
    is no learning rate, nothing is drawn, and labels of another task need but another solve.

    A cell's features are its embedding, turned to the 128 greatest axes of cells' covariance and divided by the fourth
    root of the variance along each: half way between the penalty of `flight.learn.ridge` and one on the embedding as it
    is. Its chip's are `flight.learn.context`, on up to 100 principal axes of the reservoir. With an encoder, `Design`
    has other numbers.
    """

    trained = ("_given.inputs.scratch",)
    leans: ClassVar[bool]  # whether the head leans on the closed form

    def __init__(
        self,
        *,
        n_steps: int,
        penalty: float,
        cells_per_chip: int,
        reservoir: int,
        seed: int,
        max_municipalities: int,
    ) -> None:
        super().__init__(seed=seed, max_municipalities=max_municipalities)
        self.n_steps = n_steps
        self.penalty = penalty
        self.cells_per_chip = cells_per_chip
        self.reservoir = reservoir

    _search: lbfgs.Search | None = None
    _final: Final | None = None
    _given: Given | None = None
    _drawn: NDArray[np.int64]  # rows of the reservoir that training sees
    _step: int = 0

    @property
    def pending_steps(self) -> int:
        """Iterations still to do; the first one solves the closed form as well."""
        return self.n_steps - self._step if self.ready else 0

    @property
    def n_parameters(self) -> int:
        """Weights of the head, and coefficients of the closed form if the head leans on it."""
        if self.chip_shape_ is None or not self.n_classes_:
            return 0
        a_class = (
            min(self._n_values, self._design.n_features) + 1 + self._n_axes + (self._n_values + 1 if self.leans else 0)
        )
        return a_class * self.n_classes_

    @property
    def _n_axes(self) -> int:
        return min(self._design.n_axes, MAX_PARAMETERS // self.n_classes_ // 4)

    @property
    def _design(self) -> Design:
        return _PLAIN if self.encoder is None else _SEEING

    @property
    def _n_values(self) -> int:
        """Values of an embedding that head and closed form use: the last ones, where all would be too many."""
        left = (MAX_PARAMETERS // self.n_classes_ - self._n_axes) // 2 - 1
        return min(self._embedding.n_out, max(_MIN_VALUES, left))

    @property
    def n_bytes(self) -> int:
        """Bytes of sums, covariance, embedding, reservoir, and what training holds."""
        if self.chip_shape_ is None:
            return 0
        kept: list[NDArray[Any]] = [*(self._final or ()), *(self._search or ())]
        kept += [*self._given.inputs.arrays, self._given.rotation, self._given.axes.basis] if self._given else []
        return super().n_bytes + self._reservoir.n_bytes + sum(a.nbytes for a in kept)

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
        phi = np.empty((len(self._records.lattice), self._embedding.n_out), np.float32)
        for i in range(len(codes)):
            lattice, mean = self._records.kept(codes[i : i + 1]), self._records.means(codes[i : i + 1])[0]
            result[i] = self._apply(self._embedding.embed(lattice.cells(0)[0], phi), mean, lattice).mean(axis=0)
        return result

    def _begin(self, shape: tuple[int, ...]) -> None:
        super()._begin(shape)
        self._records = Records(self._embedding)
        design = self._design
        self._kept = design.kept(self._records, round(self.cells_per_chip**0.5), self._arithmetic)
        self._reservoir = Reservoir(design.chips * self.reservoir, self.seed, (self._kept.n_bytes,))

    def _absorb(
        self,
        chips: NDArray[np.uint8],
        bags: NDArray[np.int64],
        weights: NDArray[np.float64],
        numbers: NDArray[np.int64],
    ) -> None:
        super()._absorb(chips, bags, weights, numbers)
        some = self._reservoir.wanted(numbers)
        self._reservoir.add(self._kept.of(self._encode(chips[some])), bags[some], weights[some], numbers[some])

    def _encode(self, chips: NDArray[np.uint8]) -> NDArray[np.uint8]:
        records = np.empty((len(chips), self._records.n_bytes), np.uint8)
        for i, chip in enumerate(chips):
            records[i] = self._records.encode(*self._embedding.summary(chip))
        return records

    def _restart(self) -> None:
        super()._restart()
        self._search, self._final, self._given, self._step = None, None, None, 0

    def _train(self, steps: int) -> None:
        given = self._prepare()

        def objective(x: lbfgs.Vector) -> tuple[float, lbfgs.Vector]:
            return given.inputs.objective(x, given.loss, self.penalty, self._design.sure)

        search = self._search or lbfgs.begin(objective, np.zeros(given.inputs.n_weights))
        for _ in range(steps):
            search = lbfgs.iterate(objective, search, self._arithmetic)
        self._search = search
        self._step += steps
        if self._step == self.n_steps:
            self._fold(search.x, given)

    def _fold(self, x: NDArray[np.float64], given: Given) -> None:
        """Fold centring, rotation and axes into the weights; training is over."""
        V, bias, U = given.inputs.unpack(x)
        product = self._arithmetic.product
        cells = product(given.rotation, V)
        chips = product(given.axes.basis, self._design.weight(given.inputs.n_chips) * U)
        bias = bias + given.prior - product(given.mean[None], cells)[0] - product(given.axes.centre[None], chips)[0]
        parts = ((_SHARPNESS * part).astype(np.float32) for part in (cells, bias, chips))
        self._final, self._given = Final(*parts), None

    def _prepare(self) -> Given:
        """Solve the closed form if that is due, and read the reservoir."""
        if self._given is None:
            known, metric = self._municipalities(), self._metric()
            if self._map is None:
                self._map = self._closed_form(known, metric)
            design, self._drawn = self._design, self._draw(len(known.index))
            every = len(self._drawn) == len(self._reservoir)  # and then a copy would take memory
            rows = self._reservoir.chips if every else self._reservoir.chips[self._drawn]
            means = self._kept.means(rows)
            loss = self._loss(known, means, metric)
            prior = self._arithmetic.logs(np.maximum(self._arithmetic.mean(known.labels, known.weight), _LEAST_SHARE))
            start = prior + self._held_out(known, means, metric) if self.leans else np.tile(prior, (len(means), 1))
            mean, rotation = self._features_of_cells(metric)
            axes, places = context.axes(self._kept.descriptions(rows), self._n_axes, self._arithmetic, design.graded)
            places *= np.float32(design.weight(len(rows)))
            inputs = self._embedding.inputs(*self._kept.cells(rows), mean, rotation, places, start.astype(np.float32))
            self._given = Given(inputs, mean, rotation, axes, prior, inputs.ready(loss))
        return self._given

    def _draw(self, n_bags: int) -> NDArray[np.int64]:
        """Which of the kept chips are trained on: those of lowest hash, ascending, and `reservoir` of them at least."""
        count = max(self.reservoir, _MAX_PAIRS // n_bags)
        return np.sort(np.argsort(splitmix64(self._reservoir.numbers, self.seed))[:count])

    def _closed_form(self, known: Municipalities, metric: NDArray[np.float64]) -> ridge.LinearMap:
        """The ridge regression of `flight.learn.ridge` on the last `_n_values` values; others have no weight."""
        n = self._n_values
        part = ridge.fit(
            known.means[:, -n:], known.labels, known.weight, metric[-n:, -n:], known.index, self.seed, self._arithmetic
        )
        return self._padded(part, known.means)

    def _padded(self, part: ridge.LinearMap, means: NDArray[np.float64]) -> ridge.LinearMap:
        more = means.shape[1] - len(part.V)
        return part._replace(x_mean=np.pad(part.x_mean, (more, 0)), V=np.pad(part.V, ((more, 0), (0, 0))))

    def _features_of_cells(self, metric: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Mean of cells' embeddings, and the rotation that makes the head's features of them."""
        n = self._n_values
        values, Q = self._arithmetic.greatest(metric[-n:, -n:], min(n, self._design.n_features))
        return self._cell_mean()[-n:], Q / np.sqrt(np.sqrt(values * values[-1]))

    def _held_out(self, known: Municipalities, means: Rows, metric: NDArray[np.float64]) -> NDArray[np.float64]:
        """What the closed form says of each kept chip when fitted without the fold of its first municipality.

        A head is to rely on the closed form as far as it can be relied on elsewhere, not where it was fitted.
        """
        n, penalty = self._n_values, self._solution().penalty
        fold = ridge.fold_of(known.index, self.seed)
        maps = ridge.out_of_fold(
            known.means[:, -n:], known.labels, known.weight, metric[-n:, -n:], fold, penalty, self._arithmetic
        )
        first = self._reservoir.bags[self._drawn, 0]
        at = np.minimum(np.searchsorted(known.index, first), len(known.index) - 1)
        of_chip = np.where(known.index[at] == first, fold[at], -1)
        lean = np.empty((len(means), self.n_classes_))
        for some in blocks(len(means)):
            x = means[some]
            lean[some] = self._lean(x)
            for k, m in enumerate(maps):
                lean[some] = np.where(of_chip[some, None] == k, self._lean(x[:, -n:], m), lean[some])
        return lean

    def _lean(self, means: NDArray[np.floating], given: ridge.LinearMap | None = None) -> NDArray[np.float64]:
        """What the closed form, or another map that is `given`, adds to scores (n, n_classes)."""
        m = given or self._solution()
        return np.asarray(_LEAN * self._arithmetic.product(np.atleast_2d(means) - m.x_mean, m.V))

    def _shares(self, known: Municipalities) -> NDArray[np.float64]:
        """How much of each kept chip lies in each labelled municipality: (n_bags, n_chips)."""
        bags, weights = self._reservoir.bags[self._drawn], self._reservoir.weights[self._drawn]
        at = np.minimum(np.searchsorted(known.index, bags), len(known.index) - 1)
        chip, k = np.nonzero((known.index[at] == bags) & (weights > 0))
        shares = np.zeros((len(known.index), len(bags)))
        np.add.at(shares, (at[chip, k], chip), weights[chip, k])
        return shares

    @abstractmethod
    def _loss(self, known: Municipalities, means: Rows, metric: NDArray[np.float64]) -> mixnet.ChipLoss:
        """The loss of proportions of the kept chips, whose embeddings are `means`."""

    def _apply(self, phi: NDArray[np.float32], mean: NDArray[np.floating], lattice: Lattice) -> NDArray[np.floating]:
        """Class proportions (n_cells, n_classes) of a chip's cells.

        Args:
            phi: (n_cells, n_out), embeddings of the cells.
            mean: (n_out,), of the whole chip.
            lattice: the cells that its record keeps.
        """
        if self._final is None:
            raise NotReadyError(f"{self.name} has no final weights: call train")
        final = self._final
        chip = final.bias + self._arithmetic.product(self._arithmetic.describe(lattice), final.chips)[0]
        if self.leans:
            chip = chip + _SHARPNESS * self._lean(mean)[0]
        return self._arithmetic.proportions(phi, final.cells, chip.astype(np.float32))

    def _predict_chip(self, chip: NDArray[np.uint8]) -> NDArray[np.float64]:
        return np.asarray(self._predict_cells(chip).mean(axis=(0, 1)))

    def _predict_cells(self, chip: NDArray[np.uint8]) -> NDArray[np.float64]:
        phi, mean = self._embedding.cells(chip)
        lattice = self._records.rounded(phi[:, self._embedding.n_units :])
        cells = self._apply(phi, mean, lattice)
        return cells.reshape(*self._map_shape(), -1).astype(np.float64)

    def _weight_arrays(self) -> list[NDArray[Any]]:
        return [*(super()._weight_arrays() if self.leans else []), *(self._final or ())]

    def _check_params(self) -> None:
        super()._check_params()
        self._check_range("n_steps", 1, 1000)
        self._check_range("penalty", 1e-9, 1.0)
        self._check_range("cells_per_chip", 1, 144)
        self._check_range("reservoir", 1, MAX_RESERVOIR)

    def _arrays(self) -> dict[str, NDArray[Any]]:
        arrays = super()._arrays() | self._reservoir.arrays() | {"step": np.array([self._step], np.int64)}
        if self._search is not None:
            arrays |= {f"search.{name}": a for name, a in zip(lbfgs.Search._fields, self._search, strict=True)}
        return arrays

    def _restore_arrays(self, arrays: dict[str, NDArray[Any]]) -> None:
        super()._restore_arrays(arrays)
        self._reservoir.restore(arrays, self.max_municipalities)
        self._step = int(take(arrays, "step", "int64", (1,))[0])
        started = "search.x" in arrays
        if not 0 <= self._step <= self.n_steps or started != (self._step > 0) or (started and self._map is None):
            raise StateError(f"state array step: {self._step} does not fit {self.n_steps} steps")
        if not started:
            return
        given = self._prepare()
        n, m = given.inputs.n_weights, min(lbfgs.MEMORY, len(arrays.get("search.steps", ())))
        shapes = ((n,), (1,), (n,), (m, n), (m, n), (1,))
        names = zip(lbfgs.Search._fields, shapes, strict=True)
        self._search = lbfgs.Search(*(take(arrays, f"search.{name}", "float64", shape) for name, shape in names))
        if self._step == self.n_steps:
            self._fold(self._search.x, given)
