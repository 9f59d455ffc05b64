"""Kernel density matrices: weights on the simplex and component vectors under a kernel.

González, Ramos-Pollán and Gallego (2023), "Kernel Density Matrices for Probabilistic Deep Learning"
(arXiv:2305.18204; Quantum Machine Intelligence 7:94, 2025). Derived here from its definitions:

* a KDM is the triple of components c_i, probabilities p_i and kernel k; its projection function is
  f(x) = sum_i p_i k(x, c_i)^2, and M f(x) a probability density (M: the kernel's normaliser);
* a joint KDM has a product kernel; a marginal keeps some of the parts, as the others integrate to 1;
* inference turns a KDM (p'_l, x'_l) of the evidence into one of the rest, with the joint's components there and
  weights p''_i = sum_l p'_l p_i k(x_i, x'_l)^2 / sum_j p_j k(x_j, x'_l)^2.

All in log space. However many points are asked for, no temporary array holds more than about `BLOCK_VALUES` numbers, or
those of one point and all components.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from flight.kernels.backend import NUMPY, Backend
from flight.learn.kdm import compiled
from flight.learn.kdm.kernels import RBF, Array, Kernel, Product

BLOCK_VALUES = 1 << 20
MAX_COMPONENTS = 1 << 16
IN_NUMPY = Backend(NUMPY)


class Gradient(NamedTuple):
    """For components (m, d), for unnormalised log-weights (m,), and for the kernel's `log_scales` (k,)."""

    components: Array
    log_weights: Array
    log_scales: Array


@dataclass(frozen=True, eq=False)
class KDM:
    """A kernel density matrix.

    Attributes:
        components: float64 (m, d).
        log_weights: float64 (m,), logarithms of probabilities that sum to 1; -inf is a component without weight.
        kernel: of the components' space.
    """

    components: Array
    log_weights: Array
    kernel: Kernel

    @classmethod
    def of(cls, points: object, kernel: Kernel, weights: object | None = None) -> KDM:
        """The mixed KDM of `points` (m, d), with `weights` (m,) that need not sum to 1; equal ones by default."""
        c = kernel.check(points, "points")
        if not 1 <= len(c) <= MAX_COMPONENTS:
            raise ValueError(f"points: {len(c)} of them, expected 1 to {MAX_COMPONENTS}")
        w = np.ones(len(c)) if weights is None else np.asarray(weights, np.float64)
        if w.shape != (len(c),) or not (np.isfinite(w).all() and (w >= 0).all() and w.any()):
            raise ValueError(f"weights: expected {len(c)} finite numbers, none negative and not all 0")
        w = w / w.max()
        return cls(c, _log(w / w.sum()), kernel)

    def __len__(self) -> int:
        return len(self.components)

    @property
    def dim(self) -> int:
        """Columns of a point."""
        return int(self.components.shape[1])

    @property
    def weights(self) -> Array:
        """Probabilities (m,) of the components."""
        return np.exp(self.log_weights)

    def log_density(self, x: object, backend: Backend = IN_NUMPY) -> Array:
        """log of the density (n,) at points `x` (n, d); -inf only where a cosine is exactly 0.

        `backend` computes where the kernel is an RBF; other kernels are computed in numpy.
        """
        points = self._points(x)
        if backend.compiled and isinstance(self.kernel, RBF):
            total = compiled.scores(backend, points, self.components, self.log_weights, self.kernel.sigma, False)[1]
            return total + self.kernel.log_normaliser(self.dim)
        result = np.empty(len(points))
        for rows in self._blocks(len(points)):
            result[rows] = _logsumexp(self.log_weights + self.kernel.log_square(points[rows], self.components))
        return result + self.kernel.log_normaliser(self.dim)

    def gradient(self, x: object) -> Gradient:
        """Gradient of the sum of `log_density` over points `x` (n, d) that have a density above 0."""
        points = self._points(x)
        d_c, d_w, d_s = np.zeros_like(self.components), np.zeros(len(self)), np.zeros(len(self.kernel.log_scales))
        for rows in self._blocks(len(points)):
            r = np.exp(self._responsibilities(self.kernel, points[rows], self.components, "x", rows.start))
            block_c, block_s = self.kernel.gradient(points[rows], self.components, r)
            d_c += block_c
            d_w += r.sum(axis=0) - len(r) * self.weights
            d_s += block_s
        return Gradient(d_c, d_w, d_s)

    def marginal(self, *parts: int) -> KDM:
        """The KDM of some parts of a joint one, in the order given."""
        kernel, columns = self._select(parts)
        return KDM(self.components[:, columns], self.log_weights, kernel)

    def log_responsibilities(
        self, x: object, *parts: int, nearest: int | None = None, backend: Backend = IN_NUMPY
    ) -> Array:
        """log of each component's share (n, m) in explaining `parts` (by default the first) of points `x` (n, d').

        Args:
            x: evidence, in the columns of `parts`.
            parts: parts of the joint KDM that are known.
            nearest: let only that many components answer, those of the greatest shares (a memory of examples).
            backend: computes where the kernel of the parts is an RBF; other kernels are computed in numpy.

        Raises:
            ValueError: a point has density 0 under every component.
        """
        kernel, columns = self._select(parts or (0,))
        known, points = self.components[:, columns], kernel.check(x, "x")
        if points.shape[1] != known.shape[1]:
            raise ValueError(f"x: {points.shape[1]} columns, expected {known.shape[1]}")
        if backend.compiled and isinstance(kernel, RBF):
            result = compiled.scores(backend, points, known, self.log_weights, kernel.sigma, True)[0]
        else:
            result = np.empty((len(points), len(self)))
            for rows in self._blocks(len(points)):
                result[rows] = self._responsibilities(kernel, points[rows], known, "x", rows.start)
        return result if nearest is None else _keep(result, nearest)

    def condition(self, evidence: KDM, *parts: int, nearest: int | None = None) -> KDM:
        """The KDM of the other parts, given one of `parts` (by default the first): pure, or mixed for a bag.

        The kernel of the evidence is not used: components of the joint KDM are compared with its points.
        """
        given = parts or (0,)
        rest = [part for part in range(self._n_parts()) if part not in given]
        if not rest:
            raise ValueError("parts: nothing is left to infer")
        log_weights = np.full(len(self), -np.inf)
        for rows in self._blocks(len(evidence)):
            r = self.log_responsibilities(evidence.components[rows], *given, nearest=nearest)
            block = _logsumexp((r + evidence.log_weights[rows, None]).T)
            log_weights = np.logaddexp(log_weights, block)
        kernel, columns = self._select(tuple(rest))
        return KDM(self.components[:, columns], log_weights - _logsumexp(log_weights[None])[0], kernel)

    def mean(self) -> Array:
        """Expectation (d,) of a point; of a cosine kernel over the basis, the probabilities of the classes."""
        return np.asarray(self.weights @ self.kernel.moments(self.components)[0])

    def variance(self) -> Array:
        """Variance (d,) of each coordinate: within components, and between them."""
        mean, variance = self.kernel.moments(self.components)
        return np.asarray(self.weights @ (variance + (mean - self.weights @ mean) ** 2))

    def sample(self, n: int, rng: np.random.Generator) -> Array:
        """`n` points (n, d) drawn from the density."""
        if not 0 <= n <= BLOCK_VALUES:
            raise ValueError(f"n: {n} is not from 0 to {BLOCK_VALUES}")
        w = self.weights
        return self.kernel.draw(self.components[rng.choice(len(self), n, p=w / w.sum())], rng)

    def _points(self, x: object) -> Array:
        points = self.kernel.check(x, "x")
        if points.shape[1] != self.dim:
            raise ValueError(f"x: {points.shape[1]} columns, expected {self.dim}")
        return points

    def _responsibilities(self, kernel: Kernel, x: Array, c: Array, name: str, first: int) -> Array:
        scores = self.log_weights + kernel.log_square(x, c)
        total = _logsumexp(scores)
        lost = np.flatnonzero(np.isneginf(total))
        if len(lost):
            raise ValueError(f"{name}[{first + lost[0]}]: density is 0, no component answers for it")
        return np.asarray(scores - total[:, None])

    def _blocks(self, n: int) -> Iterator[slice]:
        rows = max(1, BLOCK_VALUES // (len(self) * self.dim))
        return (slice(start, min(start + rows, n)) for start in range(0, n, rows))

    def _n_parts(self) -> int:
        return len(self.kernel.parts) if isinstance(self.kernel, Product) else 1

    def _select(self, parts: tuple[int, ...]) -> tuple[Kernel, NDArray[np.int64]]:
        """Kernel and columns of `parts`."""
        if len(set(parts)) != len(parts) or not parts:
            raise ValueError(f"parts: {parts}, expected different ones")
        if not isinstance(self.kernel, Product):
            if parts != (0,):
                raise ValueError(f"parts: {parts}, but the kernel is no product")
            return self.kernel, np.arange(self.dim)
        every = np.arange(self.dim)
        columns = np.concatenate([every[self.kernel.columns(part)] for part in parts])
        chosen = tuple(self.kernel.parts[part] for part in parts)
        return chosen[0][0] if len(chosen) == 1 else Product(chosen), columns


def _keep(scores: Array, nearest: int) -> Array:
    """Log shares (n, m) of the `nearest` greatest of each row alone; of equal ones the first."""
    if nearest < 1:
        raise ValueError(f"nearest: {nearest} is not positive")
    if nearest >= scores.shape[1]:
        return scores
    out = np.argsort(-scores, axis=1, kind="stable")[:, nearest:]
    kept = scores.copy()
    np.put_along_axis(kept, out, -np.inf, axis=1)
    return np.asarray(kept - _logsumexp(kept)[:, None])


def _log(x: Array) -> Array:
    return np.log(x, out=np.full(x.shape, -np.inf), where=x > 0)


def _logsumexp(scores: Array) -> Array:
    """log sum exp over the last axis (n, m) -> (n,); -inf for a row that is -inf throughout."""
    top = scores.max(axis=-1)
    finite = np.where(np.isneginf(top), 0.0, top)
    return np.asarray(_log(np.exp(scores - finite[..., None]).sum(axis=-1)) + finite)
