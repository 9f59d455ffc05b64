"""Estimators on kernel density matrices: density, classification, regression; at once, or from a stream."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from typing import Self

import numpy as np
from numpy.typing import NDArray

from flight.learn import descent
from flight.learn.kdm.kernels import RBF, Array, Cosine, Product
from flight.learn.kdm.matrix import BLOCK_VALUES, KDM
from flight.learn.kdm.prototypes import Prototypes, PrototypeStream, grouped, nearest, spacing

_LEAST = 1e-12
_MOST = 8192


class NotFittedError(RuntimeError):
    """Something was asked of an estimator that has seen no point yet."""


class _Estimator(ABC):
    """Prototypes of rows of points, all at once or from a stream; distances are measured in the first `dim_x_` columns.

    Attributes:
        n_prototypes, sigma, seed: as given.
        kdm_: the joint kernel density matrix; fitted when asked for.
    """

    def __init__(self, *, n_prototypes: int, sigma: float | None, seed: int) -> None:
        self.n_prototypes = n_prototypes
        self.sigma = sigma
        self.seed = seed

    dim_x_: int = 0
    _prototypes: Prototypes | None = None
    _stream: PrototypeStream | None = None
    _kdm: KDM | None = None

    @property
    def kdm_(self) -> KDM:
        """The kernel density matrix of everything seen; NotFittedError before."""
        if self._kdm is None:
            if self._prototypes is None:
                raise NotFittedError(f"{type(self).__name__} has seen no point: call fit or partial_fit")
            self._kdm = self._build(self._prototypes)
        return self._kdm

    @abstractmethod
    def _build(self, p: Prototypes) -> KDM:
        """The joint kernel density matrix of prototypes of the rows learnt from."""

    def _learn(self, rows: Array, dim_x: int, weight: object | None, stream: bool) -> None:
        if not 2 <= self.n_prototypes <= _MOST:
            raise ValueError(f"n_prototypes: {self.n_prototypes} is not from 2 to {_MOST}")
        w = np.ones(len(rows)) if weight is None else np.asarray(weight, np.float64)
        if w.shape != (len(rows),) or not (np.isfinite(w).all() and (w > 0).all()):
            raise ValueError(f"weight: expected {len(rows)} finite numbers above 0")
        if not len(rows):
            raise ValueError("x: no points")
        columns = slice(0, dim_x)
        if stream:
            if self._stream is None:
                self._stream = PrototypeStream(self.n_prototypes, columns)
            elif rows.shape[1] != self._stream.prototypes.centres.shape[1] or dim_x != self.dim_x_:
                raise ValueError(f"x, y: {rows.shape[1]} columns in all, expected as before")
            self._stream.add(rows, w)
            self._prototypes = self._stream.prototypes
        else:
            self._stream = None
            self._prototypes = grouped(rows, w, self.n_prototypes, self.seed, columns)
        self.dim_x_, self._kdm = dim_x, None

    def _kernel_x(self, p: Prototypes) -> RBF:
        """With `sigma`, or the width under which prototypes are likeliest given their nearest neighbours alone.

        -r^2 / sigma^2 - d log(sigma), summed over nearest distances r in d dimensions, is greatest there.
        """
        if self.sigma is not None:
            return RBF(self.sigma)
        return RBF(spacing(p.centres[:, : self.dim_x_]) * math.sqrt(2.0 / self.dim_x_))


class DensityEstimator(_Estimator):
    """A density from prototypes under an RBF kernel.

    With no more points than prototypes this is kernel density estimation with a Gaussian of standard deviation
    sigma / sqrt(2). Prototypes that stand for many points are further apart than these, and sigma's default grows with
    that; `refine` makes both fit.

    Args:
        n_prototypes: components, at most.
        sigma: width of the kernel; None for sqrt(2 / d) times the distance (root mean square) of nearest prototypes.
        seed: of the choice of prototypes.
    """

    def __init__(self, *, n_prototypes: int = 64, sigma: float | None = None, seed: int = 0) -> None:
        super().__init__(n_prototypes=n_prototypes, sigma=sigma, seed=seed)

    def fit(self, x: object, weight: object | None = None) -> Self:
        """Learn from points `x` (n, d) alone."""
        rows = RBF(1.0).check(x, "x")
        self._learn(rows, rows.shape[1], weight, stream=False)
        return self

    def partial_fit(self, x: object, weight: object | None = None) -> Self:
        """Learn from points `x` (n, d) as well."""
        rows = RBF(1.0).check(x, "x")
        self._learn(rows, rows.shape[1], weight, stream=True)
        return self

    def refine(self, x: object, *, n_steps: int = 200, rate: float = 0.05) -> Self:
        """Raise the likelihood of points `x` by `n_steps` of Adam on prototypes, weights and sigma together.

        There must be more points than prototypes, or the best density would be spikes. What `partial_fit` adds later
        starts again from prototypes.
        """
        self._kdm = ascend(self.kdm_, x, n_steps, rate)
        return self

    def score_samples(self, x: object) -> Array:
        """log density (n,) at points `x` (n, d)."""
        return self.kdm_.log_density(x)

    def sample(self, n: int, rng: np.random.Generator) -> Array:
        """`n` points (n, d) drawn from the density."""
        return self.kdm_.sample(n, rng)

    def _build(self, p: Prototypes) -> KDM:
        return KDM.of(p.centres, self._kernel_x(p), p.weights)


class Classifier(_Estimator):
    """Class probabilities by conditioning a joint KDM of points (RBF) and classes (cosine over the basis).

    Args:
        n_classes: classes; labels are 0 to n_classes - 1, or distributions over them.
        n_prototypes: components, at most.
        sigma: width of the points' kernel; None for sqrt(2 / d) times the distance of nearest prototypes.
        nearest: let only so many prototypes answer for a point; None for all.
        seed: of the choice of prototypes.
    """

    def __init__(
        self,
        *,
        n_classes: int,
        n_prototypes: int = 64,
        sigma: float | None = None,
        nearest: int | None = None,
        seed: int = 0,
    ) -> None:
        super().__init__(n_prototypes=n_prototypes, sigma=sigma, seed=seed)
        self.n_classes = n_classes
        self.nearest = nearest

    def fit(self, x: object, y: object, weight: object | None = None) -> Self:
        """Learn from points `x` (n, d) and labels `y` (n,) or (n, n_classes) alone."""
        return self._take(x, y, weight, stream=False)

    def partial_fit(self, x: object, y: object, weight: object | None = None) -> Self:
        """Learn from points `x` and labels `y` as well."""
        return self._take(x, y, weight, stream=True)

    def predict_proba(self, x: object) -> Array:
        """Class probabilities (n, n_classes) of points `x` (n, d)."""
        mean = self.kdm_.kernel.moments(self.kdm_.components)[0]
        return _conditional(self.kdm_, x, mean[:, self.dim_x_ :], self.nearest)

    def predict(self, x: object) -> NDArray[np.intp]:
        """The most probable class (n,) of points `x` (n, d)."""
        return np.asarray(self.predict_proba(x).argmax(axis=1))

    def predict_bag(self, x: object, weight: object | None = None) -> Array:
        """Class proportions (n_classes,) of the bag of points `x` (n, d): the evidence is a mixed KDM."""
        bag = KDM.of(x, RBF(1.0), weight)
        return self.kdm_.condition(bag, nearest=self.nearest).mean()

    def _take(self, x: object, y: object, weight: object | None, stream: bool) -> Self:
        points = RBF(1.0).check(x, "x")
        self._learn(np.concatenate([points, self._shares(y, len(points))], axis=1), points.shape[1], weight, stream)
        return self

    def _shares(self, y: object, n: int) -> Array:
        """Labels as distributions (n, n_classes)."""
        labels = np.asarray(y)
        if labels.shape == (n,) and labels.dtype.kind in "iu":
            if ((labels < 0) | (labels >= self.n_classes)).any():
                raise ValueError(f"y: a class is not from 0 to {self.n_classes - 1}")
            return np.asarray(np.eye(self.n_classes)[labels])
        if labels.shape != (n, self.n_classes):
            raise ValueError(f"y: {labels.dtype} {labels.shape}, expected ({n},) classes or ({n}, {self.n_classes})")
        shares = labels.astype(np.float64)
        if not ((shares >= 0).all() and np.allclose(shares.sum(axis=1), 1, atol=1e-4)):
            raise ValueError("y: rows must be distributions")
        return shares

    def _build(self, p: Prototypes) -> KDM:
        points, shares = p.centres[:, : self.dim_x_], np.maximum(p.centres[:, self.dim_x_ :], 0.0)
        kernel = Product(((self._kernel_x(p), self.dim_x_), (Cosine(), self.n_classes)))
        return KDM.of(np.concatenate([points, np.sqrt(shares)], axis=1), kernel, p.weights)


class Regressor(_Estimator):
    """Means and variances by conditioning a joint KDM of points and targets, both RBF.

    The targets' kernel has the variance of targets about their prototypes; where every point is a prototype of its
    own, half the mean squared difference between a target and that of the nearest point (Rice 1984).

    Args:
        n_prototypes: components, at most.
        sigma: width of the points' kernel; None for sqrt(2 / d) times the distance of nearest prototypes.
        nearest: let only so many prototypes answer for a point; None for all.
        seed: of the choice of prototypes.
    """

    def __init__(
        self, *, n_prototypes: int = 64, sigma: float | None = None, nearest: int | None = None, seed: int = 0
    ) -> None:
        super().__init__(n_prototypes=n_prototypes, sigma=sigma, seed=seed)
        self.nearest = nearest

    def fit(self, x: object, y: object, weight: object | None = None) -> Self:
        """Learn from points `x` (n, d) and targets `y` (n, t) alone."""
        return self._take(x, y, weight, stream=False)

    def partial_fit(self, x: object, y: object, weight: object | None = None) -> Self:
        """Learn from points `x` and targets `y` as well."""
        return self._take(x, y, weight, stream=True)

    def predict(self, x: object) -> Array:
        """Expected targets (n, t) at points `x` (n, d)."""
        return self.predict_moments(x)[0]

    def predict_moments(self, x: object) -> tuple[Array, Array]:
        """Expectation and variance (n, t) of the targets at points `x` (n, d)."""
        mean, variance = (part[:, self.dim_x_ :] for part in self.kdm_.kernel.moments(self.kdm_.components))
        middle = mean.mean(axis=0)
        mean = mean - middle
        values = np.concatenate([mean, mean**2], axis=1)
        first, second = np.split(_conditional(self.kdm_, x, values, self.nearest), 2, axis=1)
        return first + middle, variance[0] + np.maximum(second - first**2, 0.0)

    def _take(self, x: object, y: object, weight: object | None, stream: bool) -> Self:
        points, targets = RBF(1.0).check(x, "x"), RBF(1.0).check(y, "y")
        if len(targets) != len(points):
            raise ValueError(f"y: {len(targets)} rows, expected {len(points)}")
        self._learn(np.concatenate([points, targets], axis=1), points.shape[1], weight, stream)
        return self

    def _build(self, p: Prototypes) -> KDM:
        parts = (self._kernel_x(p), self.dim_x_), (RBF(self._sigma_y(p)), p.centres.shape[1] - self.dim_x_)
        return KDM.of(p.centres, Product(parts), p.weights)

    def _sigma_y(self, p: Prototypes) -> float:
        x, y = np.split(p.centres, [self.dim_x_], axis=1)
        variance = float(p.scatter[:, self.dim_x_ :].sum() / p.weights.sum() / y.shape[1])
        if not variance and len(x) > 1:
            apart = [np.square(y[i] - y[_other(x, i)]).mean() for i in range(len(x))]
            variance = 0.5 * float(np.average(apart, weights=p.weights))
        return math.sqrt(2.0 * max(variance, _LEAST))


def ascend(kdm: KDM, x: object, n_steps: int, rate: float) -> KDM:
    """`kdm` after `n_steps` of Adam up the mean log-density of points `x`; lengths are measured in the kernel's widths.

    Raises:
        ValueError: there are not more points than components.
    """
    points = kdm.kernel.check(x, "x")
    if len(points) <= len(kdm):
        raise ValueError(f"x: {len(points)} points for {len(kdm)} components: more are needed")
    unit = math.exp(float(kdm.kernel.log_scales.mean())) if len(kdm.kernel.log_scales) else 1.0
    w = [kdm.components / unit, kdm.log_weights.copy(), kdm.kernel.log_scales.copy()]
    m, v = ([np.zeros_like(part) for part in w] for _ in range(2))
    for step in range(1, n_steps + 1):
        d_c, d_w, d_s = kdm.gradient(points)
        g = [-d_c * (unit / len(points)), -d_w / len(points), -d_s / len(points)]
        descent.adam(w, g, m, v, step, rate)
        w[1] -= np.logaddexp.reduce(w[1])
        kdm = KDM(w[0] * unit, w[1].copy(), kdm.kernel.with_log_scales(w[2]))
    return kdm


def _conditional(kdm: KDM, x: object, values: Array, nearest_only: int | None) -> Array:
    """Means (n, c) of the components' `values` (m, c), each point's by responsibilities."""
    points = RBF(1.0).check(x, "x")
    result = np.empty((len(points), values.shape[1]))
    rows = max(1, BLOCK_VALUES // len(kdm))
    for start in range(0, len(points), rows):
        block = slice(start, start + rows)
        result[block] = np.exp(kdm.log_responsibilities(points[block], nearest=nearest_only)) @ values
    return result


def _other(x: Array, i: int) -> int:
    """Index of the point nearest to point i."""
    others = np.delete(np.arange(len(x)), i)
    return int(others[nearest(x[i : i + 1], x[others])[0][0]])
