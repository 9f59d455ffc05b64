"""Whether predicted proportions can be read as proportions, and how sure a prediction is of itself."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

N_BINS = 15


class Reliability(NamedTuple):
    """Bins of predicted proportions: mean prediction, mean truth, and number of predictions, each (n_bins,).

    The means are NaN in a bin without a prediction.
    """

    predicted: NDArray[np.float64]
    true: NDArray[np.float64]
    n: NDArray[np.int64]


class CalibrationSums:
    """Accumulates predicted and true proportions of one class, or of several pooled, in equal bins of prediction.

    Truth may be proportions of chips, or 0 and 1 for a label; then this is the expected calibration error of Naeini,
    Cooper and Hauskrecht (2015), class by class.
    """

    def __init__(self, n_bins: int = N_BINS) -> None:
        if not 1 <= n_bins <= 10000:
            raise ValueError(f"n_bins: {n_bins} is not from 1 to 10000")
        self._edges = np.linspace(0.0, 1.0, n_bins + 1)[1:-1]
        self._count = np.zeros(n_bins, np.int64)
        self._predicted, self._true = np.zeros(n_bins), np.zeros(n_bins)

    def update(self, predicted: object, true: object) -> CalibrationSums:
        """Add predictions and truth, arrays of one shape with values from 0 to 1."""
        p, t = (np.asarray(value, np.float64) for value in (predicted, true))
        if p.shape != t.shape:
            raise ValueError(f"predicted, true: shapes are {p.shape} and {t.shape}, expected the same")
        for name, value in (("predicted", p), ("true", t)):
            if not ((value >= -1e-6) & (value <= 1 + 1e-6)).all():
                raise ValueError(f"{name}: a value is not from 0 to 1")
        p, t = p.ravel(), t.ravel()
        at = np.searchsorted(self._edges, p)
        n = len(self._count)
        self._count += np.bincount(at, minlength=n)
        self._predicted += np.bincount(at, p, n)
        self._true += np.bincount(at, t, n)
        return self

    def ece(self) -> float:
        """Mean over predictions of |mean prediction - mean truth| in their bin; NaN before the first.

        It is 0 for a constant prediction of the mean: it tells whether predictions can be trusted, not whether they
        say anything.
        """
        total = int(self._count.sum())
        return float(np.abs(self._predicted - self._true).sum() / total) if total else math.nan

    def reliability(self) -> Reliability:
        """The bins."""
        some = self._count > 0
        predicted, true = (
            np.divide(part, self._count, out=np.full(part.shape, math.nan), where=some)
            for part in (self._predicted, self._true)
        )
        return Reliability(predicted, true, self._count.copy())


class Uncertainty(NamedTuple):
    """How a map of cells divides the uncertainty about the class of a pixel drawn from its chip.

    Entropies are in nats; ``entropy`` is ``doubt`` + ``mixture``, ``variance`` is ``variance_within`` +
    ``variance_between``.

    Attributes:
        entropy: (n,), of the chip's proportions; large for a mixed chip that is mapped with certainty, too.
        doubt: (n,), mean entropy of the cells: what stays open when the pixel's place is known.
        mixture: (n,), what knowing the place tells.
        variance: (n, n_classes), p (1 - p) of the chip's proportions.
        variance_within, variance_between: (n, n_classes), mean of the cells' p (1 - p); variance of their p.
    """

    entropy: NDArray[np.float64]
    doubt: NDArray[np.float64]
    mixture: NDArray[np.float64]
    variance: NDArray[np.float64]
    variance_within: NDArray[np.float64]
    variance_between: NDArray[np.float64]


def uncertainty(cell_map: object) -> Uncertainty:
    """`Uncertainty` of chips from the class proportions (n, rows, cols, n_classes) of their cells."""
    q = np.asarray(cell_map, np.float64)
    if q.ndim != 4:
        raise ValueError(f"cell_map: shape is {q.shape}, expected (n, rows, cols, n_classes)")
    p = q.mean(axis=(1, 2))
    entropy, doubt = predictive_entropy(p), predictive_entropy(q).mean(axis=(1, 2))
    return Uncertainty(
        entropy, doubt, entropy - doubt, p * (1 - p), (q * (1 - q)).mean(axis=(1, 2)), q.var(axis=(1, 2))
    )


def predictive_entropy(p: object) -> NDArray[np.float64]:
    """Entropy (...) in nats of distributions `p` (..., n_classes)."""
    shares = np.asarray(p, np.float64)
    logs = np.log(shares, out=np.zeros_like(shares), where=shares > 0)
    return np.asarray(-(shares * logs).sum(axis=-1))
