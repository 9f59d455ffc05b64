"""Ridge regression from municipality means to label proportions, penalised in a given metric."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from flight.learn.arithmetic import Arithmetic
from flight.learn.counter import splitmix64

Matrix = NDArray[np.float64]
PENALTIES = 10.0 ** np.arange(-6.0, 0.25, 0.5)
FOLDS = 5


class LinearMap(NamedTuple):
    """p = p_mean + (x - x_mean) V, with the penalty that cross-validation chose."""

    x_mean: Matrix
    p_mean: Matrix
    V: Matrix
    penalty: float


def fit(
    X: Matrix, P: Matrix, weight: Matrix, S: Matrix, index: NDArray[np.int64], seed: int, arithmetic: Arithmetic
) -> LinearMap:
    """Minimise sum_b w_b |p_b - p_mean - (x_b - x_mean) V|^2 + penalty tr(V' S V).

    The penalty, in half decades from 1e-6 to 1, is the one that predicts held-out municipalities best in five folds.

    Args:
        X: (n, d) municipality means.
        P: (n, n_classes) their proportions.
        weight: (n,) their chip counts; normalised here.
        S: (d, d) symmetric and positive definite, the metric.
        index: (n,) municipality numbers, which with `seed` decide the folds.
        seed: seed of the folds.
        arithmetic: what to compute with.
    """
    whiten = arithmetic.whitening(S)
    Z = arithmetic.product(X, whiten)
    fold = fold_of(index, seed)
    error = np.zeros(len(PENALTIES))
    for k in range(int(fold.max()) + 1 if len(index) > 1 else 0):
        out = fold == k
        x_mean, p_mean, maps = _solve(Z[~out], P[~out], weight[~out], PENALTIES, arithmetic)
        centred, p, held_out = Z[out] - x_mean, P[out] - p_mean, weight[out]
        for j, V in enumerate(maps):
            residual = arithmetic.product(centred, V) - p
            error[j] += arithmetic.dot(held_out, arithmetic.row_sums(residual * residual)[:, 0])
    penalty = float(PENALTIES[np.argmin(error)])
    p_mean, (V,) = _solve(Z, P, weight, np.array([penalty]), arithmetic)[1:]
    return LinearMap(arithmetic.mean(X, arithmetic.normalised(weight)), p_mean, arithmetic.product(whiten, V), penalty)


def fold_of(index: NDArray[np.int64], seed: int) -> NDArray[np.int64]:
    """The fold (n,) of each municipality; 0 for all where there is only one."""
    return np.argsort(np.argsort(splitmix64(index, seed))) % max(1, min(FOLDS, len(index)))


def out_of_fold(
    X: Matrix, P: Matrix, weight: Matrix, S: Matrix, fold: NDArray[np.int64], penalty: float, arithmetic: Arithmetic
) -> list[LinearMap]:
    """For each fold, the regression of `fit` on the other folds (on all if there is but one), at a given penalty."""
    whiten = arithmetic.whitening(S)
    Z, maps = arithmetic.product(X, whiten), []
    for k in range(int(fold.max()) + 1):
        use = fold != k
        if not use.any():
            use = ~use
        p_mean, (V,) = _solve(Z[use], P[use], weight[use], np.array([penalty]), arithmetic)[1:]
        x_mean = arithmetic.mean(X[use], arithmetic.normalised(weight[use]))
        maps.append(LinearMap(x_mean, p_mean, arithmetic.product(whiten, V), penalty))
    return maps


def _solve(
    Z: Matrix, P: Matrix, weight: Matrix, penalties: Matrix, arithmetic: Arithmetic
) -> tuple[Matrix, Matrix, Matrix]:
    """Weighted means of Z and P, and the coefficients (n_penalties, d, c) of the centred problem."""
    share = arithmetic.normalised(weight)
    x_mean, p_mean = arithmetic.mean(Z, share), arithmetic.mean(P, share)
    root = np.sqrt(share)[:, None]
    return x_mean, p_mean, arithmetic.ridge((Z - x_mean) * root, (P - p_mean) * root, penalties)
