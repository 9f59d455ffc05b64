"""The closed form as a teacher: a head trained on its predictions, shifted so that municipalities come out right."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from flight.learn import mixnet
from flight.learn.blocks import Rows, blocks
from flight.learn.headed import Headed
from flight.learn.pool import Municipalities
from flight.learn.simplex import project


class Hybrid(Headed):
    """`Moments`, then the head of `Swath`, trained on pseudo-labels of the chips in a reservoir.

    A chip's pseudo-label is the closed form's prediction, plus what the label of its municipality exceeds the closed
    form's prediction for the whole municipality by (overlaps: averaged by share), projected to the simplex.

    Args:
        n_steps: iterations of L-BFGS, at most; those after convergence cost nothing.
        penalty: of squared weights of the head.
        cells_per_chip: cells of each chip that training sees, a square number.
        reservoir: chips kept, up to 512, as records of some 4 kB; with an encoder eight times as many, of 2 kB.
        seed: of embedding, folds and reservoir.
        max_municipalities: municipality numbers are below this.
    """

    name = "hybrid"
    leans = False

    def __init__(
        self,
        *,
        n_steps: int = 60,
        penalty: float = 3e-5,
        cells_per_chip: int = 16,
        reservoir: int = 256,
        seed: int = 0,
        max_municipalities: int = 65535,
    ) -> None:
        super().__init__(
            n_steps=n_steps,
            penalty=penalty,
            cells_per_chip=cells_per_chip,
            reservoir=reservoir,
            seed=seed,
            max_municipalities=max_municipalities,
        )

    def _loss(self, known: Municipalities, means: Rows, metric: NDArray[np.float64]) -> mixnet.ChipLoss:
        return mixnet.Targets(self._pseudo_labels(known, means))

    def _pseudo_labels(self, known: Municipalities, means: Rows) -> NDArray[np.float32]:
        shares = self._shares(known)
        shift = known.labels - self._scores(known.means)
        total = np.maximum(self._arithmetic.row_sums(shares.T), 1e-9)
        own = np.concatenate([self._scores(means[some]) for some in blocks(len(means))])
        return project(own + self._arithmetic.product(shares.T, shift) / total).astype(np.float32)
