"""The default learner: a head solved on municipalities through a reservoir that stands in for all of their chips."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from flight.learn import mixnet
from flight.learn.blocks import Rows
from flight.learn.counter import splitmix64
from flight.learn.headed import Headed
from flight.learn.matching import match
from flight.learn.pool import Municipalities

MAX_MATCHED = 2048


class Swath(Headed):
    """A head on multi-scale statistics of cells, solved for the divergence of municipalities' labels and predictions.

    A municipality's prediction is not the mean over its few chips in the reservoir, but over all of the reservoir, with
    weights under which the reservoir's embeddings reproduce the mean embedding of all chips that the municipality ever
    had (`flight.learn.matching`). So every chip of the stream counts, though few are kept.

    A cell's scores depend on its own statistics, on those of its chip as a whole, and on what the closed form of
    `Moments` says of its chip; in training, on what that says when fitted to other municipalities.

    Args:
        n_steps: iterations of L-BFGS, at most; those after convergence cost nothing.
        penalty: of squared weights of the head.
        cells_per_chip: cells of each chip that training sees, a square number.
        reservoir: chips kept, up to 512, as records of some 4 kB; with an encoder eight times as many, of 2 kB.
        seed: of embedding, folds and reservoir.
        max_municipalities: municipality numbers are below this.
    """

    name = "swath"
    leans = True

    def __init__(
        self,
        *,
        n_steps: int = 60,
        penalty: float = 3e-5,
        cells_per_chip: int = 16,
        reservoir: int = 512,
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
        """Matching of up to 2,048 municipalities, of lowest hash if there are more, so that memory is bounded."""
        some = np.sort(np.argsort(splitmix64(known.index, self.seed))[:MAX_MATCHED])
        known = Municipalities(known.index[some], known.means[some], known.labels[some], known.weight[some])
        shares = self._shares(known)
        total = self._arithmetic.row_sums(shares)
        shares /= np.maximum(total, 1e-9)
        shares[total[:, 0] <= 0] = 1.0 / len(means)
        matching = match(known.means, means, shares, metric, self._arithmetic)
        weight = self._arithmetic.normalised(known.weight).astype(np.float32)
        return mixnet.Matched(matching, known.labels.astype(np.float32), weight)
