"""What gradient learners on patches share: a reservoir of chips, batches from a counter, Adam, a final fold."""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Callable
from functools import partial
from typing import Any, ClassVar, Generic, NamedTuple, TypeVar

import numpy as np
from numpy.typing import NDArray

from flight.learn import descent, networks
from flight.learn.base import Learner, NotReadyError
from flight.learn.checks import check_uint8
from flight.learn.counter import generator
from flight.learn.descent import Product, Whitening
from flight.learn.features import CELL_PX, check_chip_shape
from flight.learn.losses import BAG_LOSSES, FLOOR, LOSSES, chip_loss
from flight.learn.networks import Network, Patches
from flight.learn.patches import PatchGrid
from flight.learn.reservoir import Reservoir
from flight.learn.state import StateError, take

_STREAM_INITIAL, _STREAM_BATCH = 2, 3
_PATCH_BITS = 16  # a chip has fewer patches than 2 to this
_BLOCK_CHIPS = 32  # predicted at a time
_UNIT = np.float32(1 / 255)

Array = NDArray[np.floating]
ChipGradient = Callable[[Array], Array]
"""Proportions of a batch's chips (n_chips, classes) to the gradient of its loss for them."""
W = TypeVar("W", bound="tuple[Array, ...]")


class _Members(NamedTuple):
    """The labelled (chip, municipality) pairs of the reservoir, ascending by municipality."""

    chip: NDArray[np.int64]
    bag: NDArray[np.int64]  # index into `target`
    weight: NDArray[np.float32]
    first: NDArray[np.int64]  # of each municipality's pairs
    target: NDArray[np.float32]  # (n_bags, n_classes)


class ReservoirLearner(Learner, Generic[W]):
    """Keeps the chips of lowest hash in a reservoir, and trains on patches of them whenever it or the labels change.

    Training starts from seeded initial weights, for `n_steps` steps of Adam whose batches come from a counter. It works
    on whitened patches; when it ends, the whitening folds into the weights, which then take patches in [0, 1]. A chip
    of 100 x 100 pixels is cropped to its central 96 x 96.

    The losses ``bag`` (squared) and ``bag_kl`` (Kullback-Leibler) compare, for each municipality in the batch, the mean
    prediction over its chips there, weighted by overlap, with its label. The published loss ``chip`` regresses every
    chip to its municipalities' labels (averaged by overlap), squared errors weighted by class: 1 / (mean target of the
    class over the reservoir, at least 0.02), scaled to a mean of 1.

    A subclass names its weights (a NamedTuple) and the stride of its patches, and says how weights start, what their
    gradient is, how they fold, and what they make of patches: in numpy, and which `Network` of kernels does the same.
    """

    scratch = tuple(f"_network_cache.{buffer}" for buffer in Network.scratch)
    absorbed = ("_reservoir",)
    trained = ("_weights", "_m", "_v")
    _stride_px: ClassVar[int]
    _parts: ClassVar[type[Any]]

    def __init__(
        self,
        *,
        loss: str,
        n_steps: int,
        learning_rate: float,
        bags_per_batch: int,
        chips_per_bag: int,
        cells_per_chip: int,
        reservoir: int,
        threads: int,
        seed: int,
        max_municipalities: int,
    ) -> None:
        super().__init__(seed=seed, max_municipalities=max_municipalities)
        self.loss = loss
        self.n_steps = n_steps
        self.learning_rate = learning_rate
        self.bags_per_batch = bags_per_batch
        self.chips_per_bag = chips_per_bag
        self.cells_per_chip = cells_per_chip
        self.reservoir = reservoir
        self.threads = threads

    _weights: W | None = None  # in training, on whitened patches
    _folded: W | None = None  # final, on raw patches in [0, 1]
    _members_cache: _Members | None = None
    _white: Whitening | None = None
    _network_cache: Network[W] | None = None
    _step: int = 0

    @abstractmethod
    def _shapes(self) -> tuple[tuple[int, ...], ...]:
        """Shapes of the weights for the present chips and classes."""

    @abstractmethod
    def _initial(self, rng: np.random.Generator) -> W:
        """The weights that training starts from."""

    @abstractmethod
    def _gradient(self, w: W, x: Array, loss: ChipGradient, seed: int) -> W:
        """Gradient for weights `w` on whitened patches `x` (n_chips, n_patches, inputs); `seed` is of dropout."""

    @abstractmethod
    def _fold(self, w: W, white: Whitening) -> W:
        """Weights that do to raw patches what `w` does to whitened ones, with products by `_product`."""

    @abstractmethod
    def _new_network(self) -> Network[W]:
        """The kernels for the present chips and classes."""

    @abstractmethod
    def _proportions(self, w: W, x: Array) -> Array:
        """Class proportions (n_patches, n_classes) of raw patches `x` in [0, 1] under folded weights."""

    @property
    def pending_steps(self) -> int:
        """Steps of Adam still to do."""
        return self.n_steps - self._step if self.ready else 0

    @property
    def n_parameters(self) -> int:
        """Numbers that training changes."""
        if self.chip_shape_ is None or not self.n_classes_:
            return 0
        return sum(math.prod(shape) for shape in self._shapes())

    @property
    def n_bytes(self) -> int:
        """Bytes of the reservoir, of the weights, of Adam's moments, and of what kernels work in."""
        if self.chip_shape_ is None:
            return 0
        kept = self._reservoir.n_bytes + 4 * sum(part.nbytes for part in self._weights or ())
        return kept + (self._network_cache.n_bytes if self._network_cache is not None else 0)

    def _begin(self, shape: tuple[int, ...]) -> None:
        self.chip_shape_ = check_chip_shape(shape)
        self._grid = PatchGrid(self.chip_shape_, self._stride_px)
        self._reservoir = Reservoir(self.reservoir, self.seed, self.chip_shape_)

    def _absorb(
        self,
        chips: NDArray[np.uint8],
        bags: NDArray[np.int64],
        weights: NDArray[np.float64],
        numbers: NDArray[np.int64],
    ) -> None:
        some = (bags >= 0).any(axis=1)
        if self._reservoir.add(chips[some], bags[some], weights[some], numbers[some]):
            self._restart()

    def _restart(self) -> None:
        self._weights, self._folded, self._members_cache, self._white, self._step = None, None, None, None, 0
        self._network_cache = None

    def _lacks(self) -> str:
        return super()._lacks() or ("" if len(self._members().target) else "no kept chip is in a labelled municipality")

    def _members(self) -> _Members:
        if self._members_cache is None:
            self._members_cache = self._pair()
        return self._members_cache

    def _pair(self) -> _Members:
        kept, labels = self._reservoir, self.labels_
        assert labels is not None  # noqa: S101  # for the type checker: callers have checked
        inside = (kept.bags >= 0) & (kept.bags < len(labels)) & (kept.weights > 0)
        inside[inside] = ~np.isnan(labels[kept.bags[inside], 0])
        chip, k = np.nonzero(inside)
        order = np.lexsort((chip, kept.bags[chip, k]))
        chip, k = chip[order], k[order]
        bags, first, index = np.unique(kept.bags[chip, k], return_index=True, return_inverse=True)
        target = labels[bags] / labels[bags].sum(axis=1, keepdims=True)
        return _Members(chip, index.astype(np.int64), kept.weights[chip, k], first.astype(np.int64), target)

    def _train(self, steps: int) -> None:
        white = self._whitening()
        if self._weights is None:
            self._weights = self._initial(generator(self.seed, _STREAM_INITIAL))
            self._m = self._parts(*(np.zeros_like(part) for part in self._weights))
            self._v = self._parts(*(np.zeros_like(part) for part in self._weights))
        batch = self._chip_batch if self.loss == "chip" else self._bag_batch
        for _ in range(steps):
            rng = generator(self.seed, _STREAM_BATCH, self._step)
            chips, loss = batch(rng)
            at, seed = self._draw(len(chips), rng), int(rng.integers(1 << 32))
            rate = self.learning_rate * (0.55 + 0.45 * math.cos(math.pi * self._step / self.n_steps))
            self._step += 1
            if self.backend.compiled:
                patches = self._grid.batch(self._reservoir.chips, chips, at, white.mean)
                g = self._network().gradient(self._weights, patches, white.P, loss, seed)
                networks.adam(self.backend, self._weights, g, self._m, self._v, self._step, rate)
            else:
                x = self._grid.some(self._reservoir.chips[chips], at) * _UNIT
                g = self._gradient(self._weights, white.apply(x), loss, seed)
                descent.adam(self._weights, g, self._m, self._v, self._step, rate)
        if self._step == self.n_steps:
            self._folded = self._fold(self._weights, white)

    def _whitening(self) -> Whitening:
        if self._white is None:
            patches = (self._grid.all(chip) for chip in self._reservoir.chips)
            solve = partial(networks.eigen, self.backend) if self.backend.compiled else np.linalg.eigh
            self._white = descent.whitening(patches, solve)
        return self._white

    @property
    def _product(self) -> Product:
        return partial(networks.product, self.backend) if self.backend.compiled else np.matmul

    def _network(self) -> Network[W]:
        if self._network_cache is None:
            self._network_cache = self._new_network()
        return self._network_cache

    def _bag_batch(self, rng: np.random.Generator) -> tuple[NDArray[np.integer], ChipGradient]:
        """Some chips of some municipalities, and the loss of their means."""
        members = self._members()
        total = np.add.reduceat(members.weight, members.first)
        drawn = np.argsort(-np.log1p(-rng.random(len(total))) / total, kind="stable")[: self.bags_per_batch]
        shuffled = np.lexsort((rng.random(len(members.chip)), members.bag))
        place = np.arange(len(shuffled)) - members.first[members.bag]
        taken = np.zeros(len(total), np.bool_)
        taken[drawn] = True
        use = shuffled[(place < self.chips_per_bag) & taken[members.bag]]
        bags, row = np.unique(members.bag[use], return_inverse=True)
        chips, col = np.unique(members.chip[use], return_inverse=True)
        shares = np.zeros((len(bags), len(chips)), np.float32)
        shares[row, col] = members.weight[use]
        shares /= shares.sum(axis=1, keepdims=True)
        target = members.target[bags]
        if self.backend.compiled:
            floor = FLOOR if self.loss == "bag_kl" else 0.0
            return chips, partial(networks.bag_gradient, self.backend, shares=shares, target=target, floor=floor)
        loss = BAG_LOSSES[self.loss]
        return chips, lambda q: loss(q, shares, target)[1]

    def _chip_batch(self, rng: np.random.Generator) -> tuple[NDArray[np.integer], ChipGradient]:
        """Some chips, and the published loss of each."""
        members, n = self._members(), len(self._reservoir)
        total = np.zeros((n, 1), np.float32)
        target = np.zeros((n, self.n_classes_), np.float32)
        np.add.at(total, members.chip, members.weight[:, None])
        np.add.at(target, members.chip, members.weight[:, None] * members.target[members.bag])
        labelled = np.flatnonzero(total[:, 0])
        target = target[labelled] / total[labelled]
        class_weight = 1.0 / np.maximum(target.mean(axis=0), 0.02)
        class_weight /= class_weight.mean()
        drawn = np.argsort(rng.random(len(labelled)), kind="stable")[: self.bags_per_batch * self.chips_per_bag]
        return labelled[drawn], lambda q: chip_loss(q, target[drawn], class_weight)[1]

    def _draw(self, n_chips: int, rng: np.random.Generator) -> NDArray[np.int64] | None:
        """Which patches (n_chips, count) of each chip are trained on, ascending; None for all."""
        n = len(self._grid)
        if self.cells_per_chip >= n:
            return None
        keys = rng.integers(1 << 40, size=(n_chips, n)) << _PATCH_BITS | np.arange(n)  # all different
        keys.partition(self.cells_per_chip, axis=1)
        return np.sort(keys[:, : self.cells_per_chip] & (1 << _PATCH_BITS) - 1, axis=1)

    def _predict_chips(self, images: NDArray[np.uint8], n_classes: int) -> NDArray[np.float32]:
        if not self.backend.compiled:
            return super()._predict_chips(images, n_classes)
        chips = np.ascontiguousarray(images)
        return self._predict_patches(self._grid.batch(chips, np.arange(len(chips))), n_classes)

    def _predict_patches(self, patches: Patches, n_classes: int) -> NDArray[np.float32]:
        """Class proportions (n, n_classes), some chips at a time."""
        result = np.empty((len(patches.which), n_classes), np.float32)
        for start in range(0, len(result), _BLOCK_CHIPS):
            block = slice(start, start + _BLOCK_CHIPS)
            some = patches._replace(which=patches.which[block])
            result[block] = self._network().predict(self._trained(), some)
        return result

    def _predict_chip(self, chip: NDArray[np.uint8]) -> Array:
        return np.asarray(self._proportions(self._trained(), self._grid.all(chip) * _UNIT).mean(axis=0))

    def _predict_cells(self, chip: NDArray[np.uint8]) -> Array:
        if self.backend.compiled:
            patches = self._grid.batch(np.ascontiguousarray(chip)[None], np.zeros(1, np.int64))
            return self._grid.cells(self._network().predict_cells(self._trained(), patches))
        return self._grid.cells(self._proportions(self._trained(), self._grid.all(chip) * _UNIT))

    def summarise(self, chips: object) -> NDArray[np.uint8]:
        """The patches of every other cell of every other row, (n, patches x 16 x n_bands): a quarter of the chip."""
        images = self._check_chips(chips)
        grid = PatchGrid(images.shape[1:], self._stride_px)
        at = np.tile(grid.lattice, (len(images), 1))
        return grid.some(images, at).reshape(len(images), grid.n_inputs * len(grid.lattice))

    def predict_summaries(self, summaries: object) -> NDArray[np.float32]:
        """Class proportions (n, n_classes) from what `summarise` returned: the mean over a quarter of the pixels."""
        if self.chip_shape_ is None:
            raise NotReadyError(f"{self.name} cannot predict yet: {self._lacks()}")
        rows = check_uint8(summaries, "summaries", 2)
        expected = len(self._grid.lattice) * self._grid.n_inputs
        if rows.shape[1] != expected:
            raise ValueError(f"summaries: {rows.shape[1]} bytes a chip, expected {expected}")
        result = np.empty((len(rows), self._finish()), np.float32)
        if self.backend.compiled:
            starts, run = np.arange(len(self._grid.lattice)) * self._grid.n_inputs, self._grid.n_inputs // CELL_PX
            stored = Patches(np.ascontiguousarray(rows), np.arange(len(rows)), starts, run, run)
            return self._predict_patches(stored, result.shape[1])
        for i, row in enumerate(rows):
            x = row.reshape(-1, self._grid.n_inputs) * _UNIT
            result[i] = self._proportions(self._trained(), x).mean(axis=0)
        return result

    def _trained(self) -> W:
        if self._folded is None:
            raise NotReadyError(f"{self.name} has no final weights: call train")
        return self._folded

    def _map_shape(self) -> tuple[int, int]:
        return self._grid.map_shape

    def _weight_arrays(self) -> list[NDArray[Any]]:
        return list(self._trained())

    def _feature_digest(self) -> str:
        return "patch4" if self._stride_px == CELL_PX else f"patch4/{self._stride_px}"

    def _check_params(self) -> None:
        super()._check_params()
        if self.loss not in LOSSES:
            raise ValueError(f"{type(self).__name__}: loss is {self.loss!r}, expected one of {', '.join(LOSSES)}")
        self._check_range("n_steps", 1, 1_000_000)
        self._check_range("learning_rate", 1e-8, 1.0)
        self._check_range("bags_per_batch", 1, 1024)
        self._check_range("chips_per_bag", 1, 1024)
        self._check_range("cells_per_chip", 1, 16384)
        self._check_range("reservoir", 1, 256)
        self._check_range("threads", 1, networks.SHARDS)

    def _arrays(self) -> dict[str, NDArray[Any]]:
        arrays = {**self._reservoir.arrays(), "step": np.array([self._step], np.int64)}
        if self._weights is not None:
            for kind, parts in (("w", self._weights), ("m", self._m), ("v", self._v)):
                arrays |= {f"{kind}.{part}": array for part, array in zip(self._parts._fields, parts, strict=True)}
        return arrays

    def _restore_arrays(self, arrays: dict[str, NDArray[Any]]) -> None:
        self._reservoir.restore(arrays, self.max_municipalities)
        self._step = int(take(arrays, "step", "int64", (1,))[0])
        names = self._parts._fields
        started = f"w.{names[0]}" in arrays
        if not 0 <= self._step <= self.n_steps or started != (self._step > 0):
            raise StateError(f"state array step: {self._step} does not fit {self.n_steps} steps")
        if started:
            if lacking := self._lacks():
                raise StateError(f"state has weights, but {lacking}")
            shapes = list(zip(names, self._shapes(), strict=True))
            self._weights, self._m, self._v = (
                self._parts(*(take(arrays, f"{kind}.{p}", "float32", s) for p, s in shapes)) for kind in "wmv"
            )
            if self._step == self.n_steps:
                self._folded = self._fold(self._weights, self._whitening())
