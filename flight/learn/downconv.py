"""The reference gradient learner: a 4 x 4 convolution, a softmax a cell, a mean over cells; 5,189 parameters."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from flight.learn import convnet
from flight.learn.base import Learner, NotReadyError
from flight.learn.checks import check_uint8
from flight.learn.convnet import Weights, Whitening
from flight.learn.counter import generator
from flight.learn.features import CELL_PX, check_chip_shape, patches
from flight.learn.reservoir import Reservoir
from flight.learn.state import StateError, take

LOSSES = ("bag", "chip")
_CROP_FROM, _CROP_TO = (100, 100), 96
_SUMMARY_CELLS = 144
_STREAM_INITIAL, _STREAM_BATCH = 2, 3
_PARTS = Weights._fields


class _Members(NamedTuple):
    """The labelled (chip, municipality) pairs of the reservoir, ascending by municipality."""

    chip: NDArray[np.int64]
    bag: NDArray[np.int64]  # index into `target`
    weight: NDArray[np.float32]
    first: NDArray[np.int64]  # of each municipality's pairs
    target: NDArray[np.float32]  # (n_bags, n_classes)


class _Input(NamedTuple):
    """What training reads: the reservoir's patches and their whitening."""

    cells: NDArray[np.uint8]  # (n_chips, n_cells, inputs)
    white: Whitening


class Downconv(Learner):
    """`downconv`: conv 4 x 4 to 96 units with stride 4, ReLU, dropout 0.1, 1 x 1 to classes, softmax, mean over cells.

    It keeps the chips of lowest hash in a reservoir. Whenever reservoir or labels change, training starts again from
    the seeded initial weights, for `n_steps` steps of Adam whose batches come from a counter. It trains on whitened
    patches; the whitening folds into the first layer, so the network is the published one.

    The loss ``bag`` compares, for each municipality in the batch, the mean prediction over its chips there, weighted
    by overlap, with its label. The published loss ``chip`` regresses every chip to its municipalities' labels
    (averaged by overlap), squared errors weighted by class: 1 / (mean target of the class over the reservoir, at least
    0.02), scaled to a mean of 1.

    Chips of 100 x 100 pixels are cropped to their central 96 x 96; other sizes are taken as they are.

    Args:
        loss: ``bag`` or ``chip``.
        n_steps: training steps.
        learning_rate: of Adam, falling as a half cosine to a tenth of it over the `n_steps`.
        bags_per_batch: municipalities in a batch, drawn by their share of chips.
        chips_per_bag: chips of each in a batch; with the loss ``chip`` the batch has as many chips in all.
        cells_per_chip: cells drawn from each chip in training.
        reservoir: chips kept, up to 256.
        n_hidden: hidden units.
        dropout: share of hidden units dropped in training.
        seed: of reservoir, initial weights and batches.
        max_municipalities: municipality numbers are below this.
    """

    name = "downconv"

    def __init__(
        self,
        *,
        loss: str = "bag",
        n_steps: int = 2000,
        learning_rate: float = 0.02,
        bags_per_batch: int = 4,
        chips_per_bag: int = 8,
        cells_per_chip: int = 64,
        reservoir: int = 256,
        n_hidden: int = 96,
        dropout: float = 0.1,
        seed: int = 0,
        max_municipalities: int = 65535,
    ) -> None:
        super().__init__(seed=seed, max_municipalities=max_municipalities)
        self.loss = loss
        self.n_steps = n_steps
        self.learning_rate = learning_rate
        self.bags_per_batch = bags_per_batch
        self.chips_per_bag = chips_per_bag
        self.cells_per_chip = cells_per_chip
        self.reservoir = reservoir
        self.n_hidden = n_hidden
        self.dropout = dropout

    _weights: Weights | None = None  # in training, on whitened patches
    _folded: Weights | None = None  # final, on raw patches in [0, 1]
    _members_cache: _Members | None = None
    _input: _Input | None = None
    _step: int = 0

    @property
    def pending_steps(self) -> int:
        """Steps of Adam still to do."""
        return self.n_steps - self._step if self.ready else 0

    @property
    def n_parameters(self) -> int:
        """Weights and biases of both layers."""
        if self.chip_shape_ is None or not self.n_classes_:
            return 0
        n_inputs = CELL_PX * CELL_PX * self.chip_shape_[2]
        return (n_inputs + 1) * self.n_hidden + (self.n_hidden + 1) * self.n_classes_

    @property
    def n_bytes(self) -> int:
        """Bytes of the reservoir, of the weights and of Adam's moments."""
        if self.chip_shape_ is None:
            return 0
        training = self._input.cells.nbytes if self._input else 0
        return self._reservoir.n_bytes + training + 4 * sum(part.nbytes for part in self._weights or ())

    def _begin(self, shape: tuple[int, ...]) -> None:
        self.chip_shape_ = check_chip_shape(shape)
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
        self._weights, self._folded, self._members_cache, self._input, self._step = None, None, None, None, 0

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
        given = self._prepare()
        if self._weights is None:
            rng = generator(self.seed, _STREAM_INITIAL)
            self._weights = convnet.initial(given.cells.shape[2], self.n_hidden, self.n_classes_, rng)
            self._m = Weights(*(np.zeros_like(part) for part in self._weights))
            self._v = Weights(*(np.zeros_like(part) for part in self._weights))
        gradient = self._bag_gradient if self.loss == "bag" else self._chip_gradient
        for _ in range(steps):
            g = gradient(self._weights, given, generator(self.seed, _STREAM_BATCH, self._step))
            rate = self.learning_rate * (0.55 + 0.45 * math.cos(math.pi * self._step / self.n_steps))
            self._step += 1
            convnet.adam(self._weights, g, self._m, self._v, self._step, rate)
        if self._step == self.n_steps:
            self._folded, self._input = given.white.fold(self._weights), None

    def _prepare(self) -> _Input:
        if self._input is None:
            cells = np.stack([patches(self._crop(chip)) for chip in self._reservoir.chips])
            self._input = _Input(cells, convnet.whitening(cells))
        return self._input

    def _bag_gradient(self, w: Weights, given: _Input, rng: np.random.Generator) -> Weights:
        """Gradient of the bag loss on some chips of some municipalities."""
        members = self._members()
        n_bags = len(members.target)
        total = np.add.reduceat(members.weight, members.first)
        drawn = np.argsort(-np.log1p(-rng.random(n_bags)) / total, kind="stable")[: self.bags_per_batch]
        shuffled = np.lexsort((rng.random(len(members.chip)), members.bag))
        place = np.arange(len(shuffled)) - members.first[members.bag]
        use = shuffled[(place < self.chips_per_bag) & np.isin(members.bag, drawn)]
        bags, row = np.unique(members.bag[use], return_inverse=True)
        chips, col = np.unique(members.chip[use], return_inverse=True)
        shares = np.zeros((len(bags), len(chips)), np.float32)
        shares[row, col] = members.weight[use]
        shares /= shares.sum(axis=1, keepdims=True)
        x, keep = self._draw(given, chips, rng)
        done = convnet.forward(w, x, keep)
        d = convnet.bag_loss(done.cells.mean(axis=1), shares, members.target[bags])[1]
        return convnet.backward(w, x, done, d, keep)

    def _chip_gradient(self, w: Weights, given: _Input, rng: np.random.Generator) -> Weights:
        """Gradient of the published loss on some chips."""
        members, cells = self._members(), given.cells
        total = np.zeros((len(cells), 1), np.float32)
        target = np.zeros((len(cells), self.n_classes_), np.float32)
        np.add.at(total, members.chip, members.weight[:, None])
        np.add.at(target, members.chip, members.weight[:, None] * members.target[members.bag])
        labelled = np.flatnonzero(total[:, 0])
        target = target[labelled] / total[labelled]
        class_weight = 1.0 / np.maximum(target.mean(axis=0), 0.02)
        class_weight /= class_weight.mean()
        drawn = np.argsort(rng.random(len(labelled)), kind="stable")[: self.bags_per_batch * self.chips_per_bag]
        x, keep = self._draw(given, labelled[drawn], rng)
        done = convnet.forward(w, x, keep)
        d = convnet.chip_loss(done.cells.mean(axis=1), target[drawn], class_weight)[1]
        return convnet.backward(w, x, done, d, keep)

    def _draw(
        self, given: _Input, chips: NDArray[np.integer], rng: np.random.Generator
    ) -> tuple[NDArray[np.floating], NDArray[np.float32] | None]:
        """Some whitened cells of each chip (n, cells, inputs), and dropout factors for them."""
        cells = given.cells[chips]
        n, n_cells = cells.shape[:2]
        count = min(self.cells_per_chip, n_cells)
        at = np.sort(np.argsort(rng.random((n, n_cells), dtype=np.float32), axis=1, kind="stable")[:, :count], axis=1)
        x = given.white.apply(np.take_along_axis(cells, at[:, :, None], axis=1) * np.float32(1 / 255))
        if not self.dropout:
            return x, None
        kept = rng.random((n * count, self.n_hidden), dtype=np.float32) >= self.dropout
        return x, kept * np.float32(1 / (1 - self.dropout))

    def _crop(self, chip: NDArray[np.uint8]) -> NDArray[np.uint8]:
        if chip.shape[:2] != _CROP_FROM:
            return chip
        edge = (_CROP_FROM[0] - _CROP_TO) // 2
        return chip[edge:-edge, edge:-edge]

    def _predict_chip(self, chip: NDArray[np.uint8]) -> NDArray[np.floating]:
        return np.asarray(self._predict_cells(chip).mean(axis=(0, 1)))

    def _predict_cells(self, chip: NDArray[np.uint8]) -> NDArray[np.floating]:
        x = patches(self._crop(chip))[None] * np.float32(1 / 255)
        return convnet.forward(self._trained(), x).cells.reshape(*self._map_shape(), -1)

    def summarise(self, chips: object) -> NDArray[np.uint8]:
        """The patches of every other cell of every other row, (n, cells x 16 x n_bands); of a small chip, all."""
        images = self._check_chips(chips)
        return np.stack([patches(self._crop(chip))[self._lattice(chip.shape)].reshape(-1) for chip in images])

    def predict_summaries(self, summaries: object) -> NDArray[np.float32]:
        """Class proportions (n, n_classes) from what `summarise` returned: the mean over the cells kept."""
        if self.chip_shape_ is None:
            raise NotReadyError(f"{self.name} cannot predict yet: {self._lacks()}")
        n_inputs = CELL_PX * CELL_PX * self.chip_shape_[2]
        rows = check_uint8(summaries, "summaries", 2)
        expected = len(self._lattice(self.chip_shape_)) * n_inputs
        if rows.shape[1] != expected:
            raise ValueError(f"summaries: {rows.shape[1]} bytes a chip, expected {expected}")
        n_classes = self._finish()
        result = np.empty((len(rows), n_classes), np.float32)
        for i, row in enumerate(rows):
            x = row.reshape(1, -1, n_inputs) * np.float32(1 / 255)
            result[i] = convnet.forward(self._trained(), x).cells[0].mean(axis=0)
        return result

    def _lattice(self, shape: tuple[int, ...]) -> NDArray[np.int64]:
        """Indices of the cells that a summary keeps."""
        height, width = (_CROP_TO, _CROP_TO) if tuple(shape[:2]) == _CROP_FROM else shape[:2]
        rows, cols = height // CELL_PX, width // CELL_PX
        step = 1 if rows * cols <= _SUMMARY_CELLS else 2
        return np.arange(rows * cols).reshape(rows, cols)[::step, ::step].reshape(-1)

    def _trained(self) -> Weights:
        if self._folded is None:
            raise NotReadyError("downconv has no final weights: call train")
        return self._folded

    def _map_shape(self) -> tuple[int, int]:
        height, width, _ = self._reservoir.chips.shape[1:]
        height, width = (_CROP_TO, _CROP_TO) if (height, width) == _CROP_FROM else (height, width)
        return height // CELL_PX, width // CELL_PX

    def _weight_arrays(self) -> list[NDArray[Any]]:
        return list(self._trained())

    def _feature_digest(self) -> str:
        return "patch4"

    def _check_params(self) -> None:
        super()._check_params()
        if self.loss not in LOSSES:
            raise ValueError(f"Downconv: loss is {self.loss!r}, expected one of {', '.join(LOSSES)}")
        self._check_range("n_steps", 1, 1_000_000)
        self._check_range("learning_rate", 1e-8, 1.0)
        self._check_range("bags_per_batch", 1, 1024)
        self._check_range("chips_per_bag", 1, 1024)
        self._check_range("cells_per_chip", 1, 16384)
        self._check_range("reservoir", 1, 256)
        self._check_range("n_hidden", 1, 1024)
        self._check_range("dropout", 0.0, 0.9)

    def _arrays(self) -> dict[str, NDArray[Any]]:
        arrays = {**self._reservoir.arrays(), "step": np.array([self._step], np.int64)}
        if self._weights is not None:
            for kind, parts in (("w", self._weights), ("m", self._m), ("v", self._v)):
                arrays |= {f"{kind}.{part}": array for part, array in zip(_PARTS, parts, strict=True)}
        return arrays

    def _restore_arrays(self, arrays: dict[str, NDArray[Any]]) -> None:
        self._reservoir.restore(arrays, self.max_municipalities)
        self._step = int(take(arrays, "step", "int64", (1,))[0])
        started = "w.W1" in arrays
        if not 0 <= self._step <= self.n_steps or started != (self._step > 0):
            raise StateError(f"state array step: {self._step} does not fit {self.n_steps} steps")
        if started:
            n_inputs, h, c = CELL_PX * CELL_PX * self._reservoir.chips.shape[3], self.n_hidden, self.n_classes_
            shapes = ((n_inputs, h), (h,), (h, c), (c,))
            self._weights, self._m, self._v = (
                Weights(*(take(arrays, f"{kind}.{p}", "float32", s) for p, s in zip(_PARTS, shapes, strict=True)))
                for kind in "wmv"
            )
            if self._step == self.n_steps:
                self._folded = self._prepare().white.fold(self._weights)
                self._input = None
