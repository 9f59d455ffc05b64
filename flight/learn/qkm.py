"""The kernel reference learner: 64 prototype patches, an RBF kernel, a class distribution each; 3,457 parameters."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from flight.learn import qkmnet
from flight.learn.descent import Whitening
from flight.learn.networks import Qkmnet
from flight.learn.qkmnet import Weights
from flight.learn.reservoir_learner import Array, ChipGradient, ReservoirLearner
from flight.learn.state import StateError


class QKM(ReservoirLearner[Weights]):
    """`qkm`: 4 x 4 patches with stride 2, RBF kernel with 64 prototypes, their class distributions, mean over patches.

    Prototypes start as patches drawn from the reservoir, the kernel's width as their mean distance. Training works on
    whitened patches; as the logits of the prototypes are affine in a patch, the whitening folds into prototypes and
    weights, so the network is the published one.

    A cell of a map is the mean of the patches that overlap it, by the pixels that they share. (Micro-F1 on validation
    municipalities is .03 above that of the published map, where each of 47 x 47 patches stands for itself.)

    Args:
        loss: ``bag``, ``bag_kl`` or ``chip``.
        n_steps: training steps.
        learning_rate: of Adam, falling as a half cosine to a tenth of it over the `n_steps`.
        bags_per_batch: municipalities in a batch, drawn by their share of chips.
        chips_per_bag: chips of each in a batch; with the loss ``chip`` the batch has as many chips in all.
        cells_per_chip: patches drawn from each chip in training.
        reservoir: chips kept, up to 256.
        threads: that kernels run in, 1 to 4; they change no bit. numpy has its own.
        n_prototypes: prototypes.
        seed: of reservoir, initial weights and batches.
        max_municipalities: municipality numbers are below this.
    """

    name = "qkm"
    _stride_px = 2
    _parts = Weights

    def __init__(
        self,
        *,
        loss: str = "bag",
        n_steps: int = 2000,
        learning_rate: float = 0.01,
        bags_per_batch: int = 4,
        chips_per_bag: int = 8,
        cells_per_chip: int = 64,
        reservoir: int = 256,
        threads: int = 1,
        n_prototypes: int = 64,
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
        self.n_prototypes = n_prototypes

    def _shapes(self) -> tuple[tuple[int, ...], ...]:
        n = self.n_prototypes
        return (n, self._grid.n_inputs), (n, self.n_classes_), (n,), (1,)

    def _initial(self, rng: np.random.Generator) -> Weights:
        chips = rng.integers(0, len(self._reservoir), self.n_prototypes)
        at = rng.integers(0, len(self._grid), (self.n_prototypes, 1))
        drawn = self._grid.some(self._reservoir.chips[chips], at)[:, 0] * np.float32(1 / 255)
        return qkmnet.initial(self._whitening().apply(drawn, self._product), self.n_classes_, rng)

    def _restore_arrays(self, arrays: dict[str, NDArray[Any]]) -> None:
        c_y = arrays.get("w.c_y")
        if c_y is not None and not np.square(c_y).any(axis=-1).all():
            raise StateError("state array w.c_y: a row is 0, so it names no class")
        super()._restore_arrays(arrays)

    def _gradient(self, w: Weights, x: Array, loss: ChipGradient, seed: int) -> Weights:
        done = qkmnet.forward(w, x)
        return qkmnet.backward(w, x, done, loss(done.mean @ qkmnet.class_rows(w)))

    def _fold(self, w: Weights, white: Whitening) -> Weights:
        return qkmnet.fold(w, white, self._product)

    def _new_network(self) -> Qkmnet:
        return Qkmnet(self.backend, self._grid.n_inputs, self.n_prototypes, self.n_classes_, self.threads)

    def _proportions(self, w: Weights, x: Array) -> Array:
        return qkmnet.proportions(w, x)

    def _check_params(self) -> None:
        super()._check_params()
        self._check_range("n_prototypes", 2, 1024)
