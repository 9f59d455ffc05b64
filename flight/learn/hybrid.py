"""The closed form as a teacher: a head trained on its predictions, shifted so that municipalities come out right."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from flight.learn import mixnet
from flight.learn.headed import Headed
from flight.learn.pool import Municipalities
from flight.learn.simplex import project


class Hybrid(Headed):
    """`Moments`, then a head of one hidden layer on cells, trained on pseudo-labels of the chips in a reservoir.

    A chip's pseudo-label is the closed form's prediction, plus what the label of its municipality exceeds the closed
    form's prediction for the whole municipality by (overlaps: averaged by share), projected to the simplex.

    Args:
        n_steps: training steps.
        learning_rate: of Adam, falling as a half cosine to a tenth of it over the `n_steps`.
        cells_per_chip: cells drawn from each chip in a step.
        reservoir: chips kept, up to 512, as records of some 4 kB.
        n_hidden: hidden units; fewer if parameters would exceed 8,000.
        dropout: share of hidden units dropped, chip by chip, in training.
        seed: of embedding, folds, reservoir, initial weights and batches.
        max_municipalities: municipality numbers are below this.
    """

    name = "hybrid"
    leans = False

    def __init__(
        self,
        *,
        n_steps: int = 600,
        learning_rate: float = 0.01,
        cells_per_chip: int = 16,
        reservoir: int = 256,
        n_hidden: int = 96,
        dropout: float = 0.0,
        seed: int = 0,
        max_municipalities: int = 65535,
    ) -> None:
        super().__init__(
            n_steps=n_steps,
            learning_rate=learning_rate,
            cells_per_chip=cells_per_chip,
            reservoir=reservoir,
            n_hidden=n_hidden,
            dropout=dropout,
            seed=seed,
            max_municipalities=max_municipalities,
        )

    def _goal(
        self, known: Municipalities, means: NDArray[np.float64], metric: NDArray[np.float64]
    ) -> NDArray[np.float32]:
        shares = self._shares(known)
        shift = known.labels - self._scores(known.means)
        total = np.maximum(shares.sum(axis=0), 1e-9)[:, None]
        return project(self._scores(means) + shares.T @ shift / total).astype(np.float32)

    def _loss_gradient(self, q: NDArray[np.floating], goal: Any) -> NDArray[np.floating]:
        return mixnet.target_loss(q, goal)[1]
