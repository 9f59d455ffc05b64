"""What stands in for chips that were not kept: municipality means expressed through the reservoir, and a closed form.

A mean over all chips of a municipality is known for the embedding alone. For any other function of chips, such as a
network's prediction, it is estimated from the kept chips: their weighted mean, with weights under which the kept chips'
embeddings reproduce the municipality's known mean. In survey sampling this is calibration: Deville and Särndal,
"Calibration estimators in survey sampling" (1992), with a quadratic distance and a soft constraint.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from flight.learn.counter import splitmix64
from flight.learn.ridge import FOLDS, LinearMap

Matrix = NDArray[np.float64]
_SOFTNESS = 10.0
_SUM_WEIGHT = 10.0  # how hard weights are held to a sum of 1, in standard deviations of the embedding


def match(means: Matrix, kept: Matrix, prior: Matrix, metric: Matrix) -> Matrix:
    """Weights (n_bags, n_kept) with which means of the kept chips stand for means over whole municipalities.

    Row b minimises ``|m_b - w kept|^2 + 10 |w - prior_b|^2`` in the inverse of `metric`, rows summing nearly to 1.

    Args:
        means: (n_bags, d), mean embedding of each municipality.
        kept: (n_kept, d), mean embedding of each kept chip.
        prior: (n_bags, n_kept), rows sum to 1: equal weights on a municipality's own chips.
        metric: (d, d), symmetric and positive definite: the covariance of cells.
    """
    whiten = np.linalg.inv(np.linalg.cholesky(metric)).T
    centre = kept.mean(axis=0)
    R = np.column_stack([(kept - centre) @ whiten, np.full(len(kept), _SUM_WEIGHT)])
    B = np.column_stack([(means - centre) @ whiten, np.full(len(means), _SUM_WEIGHT)])
    gram = R @ R.T
    gram[np.diag_indices(len(R))] += _SOFTNESS
    return np.asarray(prior + np.linalg.solve(gram, R @ (B - prior @ R).T).T)


def fold_of(index: NDArray[np.int64], seed: int) -> NDArray[np.int64]:
    """The fold (n,) of each municipality; 0 for all where there is only one."""
    return np.argsort(np.argsort(splitmix64(index, seed))) % max(1, min(FOLDS, len(index)))


def out_of_fold(
    X: Matrix, P: Matrix, weight: Matrix, metric: Matrix, fold: NDArray[np.int64], penalty: float
) -> list[LinearMap]:
    """For each fold, the ridge regression of `flight.learn.ridge` on the other folds, at a given penalty."""
    whiten = np.linalg.inv(np.linalg.cholesky(metric)).T
    Z = X @ whiten
    maps = []
    for k in range(int(fold.max()) + 1):
        use = fold != k
        if not use.any():
            use = ~use
        share = weight[use] / weight[use].sum()
        z_mean, p_mean = share @ Z[use], share @ P[use]
        root = np.sqrt(share)[:, None]
        A, Y = (Z[use] - z_mean) * root, (P[use] - p_mean) * root
        V = np.linalg.solve(A.T @ A + penalty * np.eye(A.shape[1]), A.T @ Y)
        maps.append(LinearMap(share @ X[use], p_mean, whiten @ V, penalty))
    return maps
