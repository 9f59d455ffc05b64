"""The reference gradient learner: a 4 x 4 convolution, a softmax a cell, a mean over cells; 5,189 parameters."""

from __future__ import annotations

import numpy as np

from flight.learn import convnet
from flight.learn.convnet import Weights
from flight.learn.descent import Whitening
from flight.learn.features import CELL_PX
from flight.learn.networks import Convnet
from flight.learn.reservoir_learner import Array, ChipGradient, ReservoirLearner


class Downconv(ReservoirLearner[Weights]):
    """`downconv`: conv 4 x 4 to 96 units with stride 4, ReLU, dropout 0.1, 1 x 1 to classes, softmax, mean over cells.

    It trains on whitened patches; the whitening folds into the first layer, so the network is the published one.

    Args:
        loss: ``bag``, ``bag_kl`` or ``chip``.
        n_steps: training steps.
        learning_rate: of Adam, falling as a half cosine to a tenth of it over the `n_steps`.
        bags_per_batch: municipalities in a batch, drawn by their share of chips.
        chips_per_bag: chips of each in a batch; with the loss ``chip`` the batch has as many chips in all.
        cells_per_chip: cells drawn from each chip in training.
        reservoir: chips kept, up to 256.
        threads: that kernels run in, 1 to 4; they change no bit. numpy has its own.
        n_hidden: hidden units.
        dropout: share of hidden units dropped in training, to the nearest 256th.
        seed: of reservoir, initial weights and batches.
        max_municipalities: municipality numbers are below this.
    """

    name = "downconv"
    _stride_px = CELL_PX
    _parts = Weights

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
        threads: int = 1,
        n_hidden: int = 96,
        dropout: float = 0.1,
        seed: int = 0,
        max_municipalities: int = 65535,
    ) -> None:
        super().__init__(
            loss=loss,
            n_steps=n_steps,
            learning_rate=learning_rate,
            bags_per_batch=bags_per_batch,
            chips_per_bag=chips_per_bag,
            cells_per_chip=cells_per_chip,
            reservoir=reservoir,
            threads=threads,
            seed=seed,
            max_municipalities=max_municipalities,
        )
        self.n_hidden = n_hidden
        self.dropout = dropout

    def _shapes(self) -> tuple[tuple[int, ...], ...]:
        h, c = self.n_hidden, self.n_classes_
        return (self._grid.n_inputs, h), (h,), (h, c), (c,)

    def _initial(self, rng: np.random.Generator) -> Weights:
        return convnet.initial(self._grid.n_inputs, self.n_hidden, self.n_classes_, rng)

    def _gradient(self, w: Weights, x: Array, loss: ChipGradient, seed: int) -> Weights:
        dropped = convnet.dropped(self.dropout)
        keep = convnet.dropout(seed, x.shape[0], x.shape[1], self.n_hidden, dropped) if dropped else None
        done = convnet.forward(w, x, keep)
        return convnet.backward(w, x, done, loss(done.cells.mean(axis=1)), keep)

    def _fold(self, w: Weights, white: Whitening) -> Weights:
        return convnet.fold(w, white, self._product)

    def _new_network(self) -> Convnet:
        sizes = self._grid.n_inputs, self.n_hidden, self.n_classes_
        return Convnet(self.backend, *sizes, self.threads, self.dropout)

    def _proportions(self, w: Weights, x: Array) -> Array:
        return np.asarray(convnet.forward(w, x[None]).cells[0])

    def _check_params(self) -> None:
        super()._check_params()
        self._check_range("n_hidden", 1, 1024)
        self._check_range("dropout", 0.0, 0.9)
