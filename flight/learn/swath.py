"""The default learner: a head trained on municipalities through a reservoir that stands in for all of their chips."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from flight.learn import mixnet
from flight.learn.counter import splitmix64
from flight.learn.headed import Headed
from flight.learn.matching import match
from flight.learn.pool import Municipalities

MAX_MATCHED = 2048


class _Goal(NamedTuple):
    matching: NDArray[np.float32]  # (n_bags, n_chips)
    labels: NDArray[np.float32]  # (n_bags, n_classes)
    weight: NDArray[np.float32]  # (n_bags,)


class Swath(Headed):
    """A head on multi-scale statistics of cells, trained on the divergence of municipalities' labels and predictions.

    A municipality's prediction is not the mean over its few chips in the reservoir, but over all of the reservoir, with
    weights under which the reservoir's embeddings reproduce the mean embedding of all chips that the municipality ever
    had (`flight.learn.matching`). So every chip of the stream counts, though few are kept.

    A cell's scores depend on its statistics and, times a trained gain, on what the closed form of `Moments` says of its
    chip; in training, on what that says when fitted to other municipalities.

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

    name = "swath"
    leans = True

    def __init__(
        self,
        *,
        n_steps: int = 900,
        learning_rate: float = 0.01,
        cells_per_chip: int = 16,
        reservoir: int = 512,
        n_hidden: int = 96,
        dropout: float = 0.2,
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

    def _goal(self, known: Municipalities, means: NDArray[np.float64], metric: NDArray[np.float64]) -> _Goal:
        """Matching of up to 2,048 municipalities, of lowest hash if there are more, so that memory is bounded."""
        some = np.sort(np.argsort(splitmix64(known.index, self.seed))[:MAX_MATCHED])
        known = Municipalities(known.index[some], known.means[some], known.labels[some], known.weight[some])
        shares = self._shares(known)
        total = shares.sum(axis=1, keepdims=True)
        prior = np.where(total > 0, shares / np.maximum(total, 1e-9), 1.0 / len(means))
        matching = match(known.means, means, prior, metric)
        weight = known.weight / known.weight.sum()
        return _Goal(matching.astype(np.float32), known.labels.astype(np.float32), weight.astype(np.float32))

    def _loss_gradient(self, q: NDArray[np.floating], goal: Any) -> NDArray[np.floating]:
        return mixnet.matched_loss(q, *goal)[1]
