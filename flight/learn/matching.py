"""What stands in for chips that were not kept: municipality means expressed through the reservoir.

A mean over all chips of a municipality is known for the embedding alone. For any other function of chips, such as a
network's prediction, it is estimated from the kept chips: their weighted mean, with weights under which the kept chips'
embeddings reproduce the municipality's known mean. In survey sampling this is calibration: Deville and Särndal,
"Calibration estimators in survey sampling" (1992), with a quadratic distance and a soft constraint.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from flight.learn.arithmetic import Arithmetic
from flight.learn.blocks import Rows, blocks

Matrix = NDArray[np.float64]
_SOFTNESS = 10.0


def match(means: Matrix, kept: Rows, prior: Matrix, metric: Matrix, arithmetic: Arithmetic) -> NDArray[np.float32]:
    """Weights (n_bags, n_kept) with which means of the kept chips stand for means over whole municipalities.

    Row b minimises ``|m_b - w kept|^2`` in the inverse of `metric`, plus ``10 |w - prior_b|^2``. With K the kept
    embeddings less their mean, ``w = prior_b + (m_b - prior_b kept) (K' K + 10 metric)^-1 K'``: the system solved has a
    row for each value of an embedding, however many chips are kept, and rows still sum to 1.

    Args:
        means: (n_bags, d), mean embedding of each municipality.
        kept: (n_kept, d), mean embedding of each kept chip.
        prior: (n_bags, n_kept), rows sum to 1: equal weights on a municipality's own chips.
        metric: (d, d), symmetric and positive definite: the covariance of cells.
    """
    centre = arithmetic.mean(kept)
    gram, lacking = _SOFTNESS * metric, means - centre
    for some in blocks(len(kept)):
        K = kept[some] - centre
        gram += arithmetic.gram(K)
        lacking -= arithmetic.product(prior[:, some], K)
    pull = arithmetic.solve(gram, lacking.T).T
    weights = np.empty(prior.shape, np.float32)
    for some in blocks(len(kept)):
        weights[:, some] = prior[:, some] + arithmetic.product(pull, (kept[some] - centre).T)
    return weights
