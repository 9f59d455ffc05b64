"""Ridge regression from municipality means to label proportions, penalised in a given metric."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

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


class _Spectrum(NamedTuple):
    """A weighted, centred least-squares problem, diagonalised: V = basis (eigenvalues + penalty)^-1 target."""

    x_mean: Matrix
    p_mean: Matrix
    basis: Matrix
    eigenvalues: Matrix
    target: Matrix

    def solve(self, penalty: float) -> Matrix:
        return self.basis @ (self.target / (self.eigenvalues + penalty)[:, None])


def fit(X: Matrix, P: Matrix, weight: Matrix, S: Matrix, index: NDArray[np.int64], seed: int) -> LinearMap:
    """Minimise sum_b w_b |p_b - p_mean - (x_b - x_mean) V|^2 + penalty tr(V' S V).

    The penalty, in half decades from 1e-6 to 1, is the one that predicts held-out municipalities best in five folds.

    Args:
        X: (n, d) municipality means.
        P: (n, n_classes) their proportions.
        weight: (n,) their chip counts; normalised here.
        S: (d, d) symmetric and positive definite, the metric.
        index: (n,) municipality numbers, which with `seed` decide the folds.
        seed: seed of the folds.
    """
    whiten = np.linalg.inv(np.linalg.cholesky(S)).T
    Z = X @ whiten
    folds = min(FOLDS, len(Z))
    fold = np.argsort(np.argsort(splitmix64(index, seed))) % max(folds, 1)
    error = np.zeros(len(PENALTIES))
    for k in range(folds if folds > 1 else 0):
        out = fold == k
        part = _spectrum(Z[~out], P[~out], weight[~out])
        projected, p = (Z[out] - part.x_mean) @ part.basis, P[out] - part.p_mean
        for j, penalty in enumerate(PENALTIES):
            residual = projected @ (part.target / (part.eigenvalues + penalty)[:, None]) - p
            error[j] += weight[out] @ (residual * residual).sum(axis=1)
    penalty = float(PENALTIES[np.argmin(error)])
    whole = _spectrum(Z, P, weight)
    x_mean = weight @ X / weight.sum()
    return LinearMap(x_mean, whole.p_mean, whiten @ whole.solve(penalty), penalty)


def _spectrum(Z: Matrix, P: Matrix, weight: Matrix) -> _Spectrum:
    share = weight / weight.sum()
    x_mean, p_mean = share @ Z, share @ P
    root = np.sqrt(share)[:, None]
    A, Y = (Z - x_mean) * root, (P - p_mean) * root
    if len(A) <= A.shape[1]:
        values, Q = np.linalg.eigh(A @ A.T)
        return _Spectrum(x_mean, p_mean, A.T @ Q, np.maximum(values, 0.0), Q.T @ Y)
    values, Q = np.linalg.eigh(A.T @ A)
    return _Spectrum(x_mean, p_mean, Q, np.maximum(values, 0.0), Q.T @ (A.T @ Y))
