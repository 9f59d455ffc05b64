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

Matrix = NDArray[np.float64]
_SOFTNESS = 10.0
_BLOCK = 1024  # kept chips in work at a time
_SUM_WEIGHT = 10.0  # how hard weights are held to a sum of 1, in standard deviations of the embedding


def match(means: Matrix, kept: Matrix, prior: Matrix, metric: Matrix, arithmetic: Arithmetic) -> Matrix:
    """Weights (n_bags, n_kept) with which means of the kept chips stand for means over whole municipalities.

    Row b minimises ``|m_b - w kept|^2 + 10 |w - prior_b|^2`` in the inverse of `metric`, rows summing nearly to 1.
    The system solved has a row for each value of an embedding, however many chips are kept.

    Args:
        means: (n_bags, d), mean embedding of each municipality.
        kept: (n_kept, d), mean embedding of each kept chip.
        prior: (n_bags, n_kept), rows sum to 1: equal weights on a municipality's own chips.
        metric: (d, d), symmetric and positive definite: the covariance of cells.
    """
    whiten = arithmetic.whitening(metric)
    centre = arithmetic.mean(kept)
    R = np.full((len(kept), len(centre) + 1), _SUM_WEIGHT)
    for start in range(0, len(kept), _BLOCK):
        some = slice(start, start + _BLOCK)
        R[some, :-1] = arithmetic.product(kept[some] - centre, whiten)
    B = np.column_stack([arithmetic.product(means - centre, whiten), np.full(len(means), _SUM_WEIGHT)])
    gram = arithmetic.gram(R)
    gram[np.diag_indices(len(gram))] += _SOFTNESS
    lacking = B - arithmetic.product(prior, R)
    return prior + arithmetic.product(arithmetic.solve(gram, lacking.T).T, R.T)
