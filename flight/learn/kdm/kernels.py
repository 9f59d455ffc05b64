"""Kernels of kernel density matrices: squares in log space, normalisers, moments, samples and gradients.

A kernel here has k(x, x) = 1, and M k(x, c)^2 is a density over x: a component of a kernel density matrix. Squares are
formed from differences of points divided by the width, never from norms, so that a narrow kernel far from the origin
loses no digits; and only their logarithms leave, so that nothing underflows.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass, replace
from typing import Self

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
LIMIT = 1e60  # coordinates beyond it could overflow when squared
SIGMA_LIMITS = (1e-60, 1e60)


class Kernel(ABC):
    """A kernel k on points of a space, by its square."""

    @abstractmethod
    def log_square(self, x: Array, c: Array) -> Array:
        """log k(x, c)^2 (n, m) of points x (n, d) and components c (m, d); -inf where the kernel is 0."""

    @abstractmethod
    def log_normaliser(self, dim: int) -> float:
        """log M in `dim` dimensions: M k(x, c)^2 integrates to 1 over x."""

    @abstractmethod
    def moments(self, c: Array) -> tuple[Array, Array]:
        """Mean and variance (m, d), coordinate by coordinate, of the density of each component."""

    @abstractmethod
    def draw(self, c: Array, rng: np.random.Generator) -> Array:
        """A sample (m, d) from the density of each component."""

    @abstractmethod
    def gradient(self, x: Array, c: Array, r: Array) -> tuple[Array, Array]:
        """sum_n r_ni grad log(M k(x_n, c_i)^2): for c (m, d), and summed over i for `log_scales` (k,)."""

    @property
    def log_scales(self) -> Array:
        """Logarithms of the widths, (k,); k is 0 for a kernel without one."""
        return np.empty(0)

    def with_log_scales(self, log_scales: Array) -> Kernel:
        """This kernel with other widths."""
        return self

    def check(self, points: object, name: str) -> Array:
        """`points` as float64 (n, d), or ValueError if they are none of this kernel's space."""
        x = np.asarray(points, np.float64)
        if x.ndim != 2 or not x.shape[1]:
            raise ValueError(f"{name}: shape is {x.shape}, expected (n, d)")
        bad = np.argwhere(~(np.abs(x) <= LIMIT))
        if len(bad):
            row, col = bad[0]
            raise ValueError(f"{name}[{row}, {col}]: {x[row, col]} is not within {LIMIT:g} of 0")
        return x


@dataclass(frozen=True)
class RBF(Kernel):
    """k(x, c) = exp(-|x - c|^2 / (2 sigma^2)); its square is a Gaussian of variance sigma^2 / 2 in each coordinate."""

    sigma: float

    def __post_init__(self) -> None:
        if not SIGMA_LIMITS[0] <= self.sigma <= SIGMA_LIMITS[1]:
            raise ValueError(f"sigma: {self.sigma} is not from {SIGMA_LIMITS[0]:g} to {SIGMA_LIMITS[1]:g}")

    def log_square(self, x: Array, c: Array) -> Array:
        """-|x - c|^2 / sigma^2."""
        apart = (x[:, None, :] - c) / self.sigma
        return np.asarray(-np.einsum("nmd,nmd->nm", apart, apart))

    def log_normaliser(self, dim: int) -> float:
        """M = (pi sigma^2)^(-d / 2)."""
        return -dim * (0.5 * math.log(math.pi) + math.log(self.sigma))

    def moments(self, c: Array) -> tuple[Array, Array]:
        """The component, and sigma^2 / 2."""
        return c, np.full_like(c, 0.5 * self.sigma**2)

    def draw(self, c: Array, rng: np.random.Generator) -> Array:
        """Gaussian about each component."""
        return np.asarray(c + self.sigma * math.sqrt(0.5) * rng.standard_normal(c.shape))

    def gradient(self, x: Array, c: Array, r: Array) -> tuple[Array, Array]:
        """2 r (x - c) / sigma^2 for c; r (2 |x - c|^2 / sigma^2 - d) for log sigma."""
        apart = (x[:, None, :] - c) / self.sigma
        d_c = 2.0 / self.sigma * np.einsum("nm,nmd->md", r, apart)
        spread = 2.0 * np.einsum("nm,nmd,nmd->", r, apart, apart) - x.shape[1] * r.sum()
        return d_c, np.array([spread])

    @property
    def log_scales(self) -> Array:
        """log sigma."""
        return np.array([math.log(self.sigma)])

    def with_log_scales(self, log_scales: Array) -> Self:
        """The kernel of width exp(log_scales[0])."""
        return replace(self, sigma=float(np.exp(log_scales[0])))


@dataclass(frozen=True)
class Cosine(Kernel):
    """k(x, c) = x.c / (|x| |c|).

    Over the ``basis``, x is one of the d unit vectors e_j (a class), and k(e_j, c)^2 = c_j^2 / |c|^2 sums to 1: a
    component sqrt(p) is the distribution p. Over the ``sphere``, x is a direction, and k^2 a density per unit of area.
    """

    over: str = "basis"

    def __post_init__(self) -> None:
        if self.over not in ("basis", "sphere"):
            raise ValueError(f"over: {self.over!r}, expected basis or sphere")

    def log_square(self, x: Array, c: Array) -> Array:
        """2 log |cos|; -inf for orthogonal vectors."""
        cosine = np.abs(_unit(x) @ _unit(c).T)
        return np.asarray(2.0 * np.log(cosine, out=np.full(cosine.shape, -np.inf), where=cosine > 0))

    def log_normaliser(self, dim: int) -> float:
        """0 over the basis; over the sphere log(d / area), as cos^2 is 1 / d on average."""
        if self.over == "basis":
            return 0.0
        return math.log(dim) + math.lgamma(0.5 * dim) - math.log(2.0) - 0.5 * dim * math.log(math.pi)

    def moments(self, c: Array) -> tuple[Array, Array]:
        """Basis: p and p (1 - p). Sphere: 0 (u and -u are alike) and (1 + 2 u^2) / (d + 2)."""
        square = _unit(c) ** 2
        if self.over == "basis":
            return square, square * (1.0 - square)
        return np.zeros_like(c), (1.0 + 2.0 * square) / (c.shape[1] + 2)

    def draw(self, c: Array, rng: np.random.Generator) -> Array:
        """Unit vectors: of the basis with probability p; on the sphere, the squared cosine to c is Beta(3/2, ...)."""
        unit = _unit(c)
        n, dim = unit.shape
        if self.over == "basis":
            at = (np.cumsum(unit**2, axis=1) < rng.random((n, 1))).sum(axis=1)
            return np.asarray(np.eye(dim)[np.minimum(at, dim - 1)])
        sign = np.where(rng.random(n) < 0.5, -1.0, 1.0)[:, None]
        if dim == 1:
            return sign * unit
        square = rng.beta(1.5, 0.5 * (dim - 1), (n, 1))
        across = rng.standard_normal(unit.shape)
        across = _unit(across - (across * unit).sum(axis=1, keepdims=True) * unit)
        return np.asarray(sign * np.sqrt(square) * unit + np.sqrt(1.0 - square) * across)

    def gradient(self, x: Array, c: Array, r: Array) -> tuple[Array, Array]:
        """2 r (x / x.c - c / |c|^2) for c; where x.c is 0, so is r, and the point has no say."""
        dot = x @ c.T
        share = np.divide(r, dot, out=np.zeros_like(dot), where=dot != 0)
        own = r.sum(axis=0)[:, None] * c / np.square(c).sum(axis=1, keepdims=True)
        return 2.0 * (share.T @ x - own), np.empty(0)

    def check(self, points: object, name: str) -> Array:
        """As of any kernel, and no zero vector."""
        x = super().check(points, name)
        zero = np.flatnonzero(~x.any(axis=1))
        if len(zero):
            raise ValueError(f"{name}[{zero[0]}]: a zero vector has no direction")
        return x


@dataclass(frozen=True)
class Product(Kernel):
    """k(x, c) = product over parts of k_p(x_p, c_p): the kernel of a joint distribution.

    Attributes:
        parts: (kernel, number of columns) of each part, in the order of the columns.
    """

    parts: tuple[tuple[Kernel, int], ...]

    def __post_init__(self) -> None:
        if not self.parts or any(width < 1 or isinstance(kernel, Product) for kernel, width in self.parts):
            raise ValueError("parts: expected one or more (kernel that is no product, columns)")

    def columns(self, part: int) -> slice:
        """The columns of `part`."""
        if not 0 <= part < len(self.parts):
            raise ValueError(f"part: {part} is not from 0 to {len(self.parts) - 1}")
        start = sum(width for _, width in self.parts[:part])
        return slice(start, start + self.parts[part][1])

    def log_square(self, x: Array, c: Array) -> Array:
        """Sum over the parts."""
        return np.asarray(np.sum([k.log_square(x[:, at], c[:, at]) for k, at in self._each()], axis=0))

    def log_normaliser(self, dim: int) -> float:
        """Sum over the parts; their columns say the dimensions."""
        return sum(kernel.log_normaliser(width) for kernel, width in self.parts)

    def moments(self, c: Array) -> tuple[Array, Array]:
        """Of the parts, side by side."""
        mean, variance = zip(*(k.moments(c[:, at]) for k, at in self._each()), strict=True)
        return np.concatenate(mean, axis=1), np.concatenate(variance, axis=1)

    def draw(self, c: Array, rng: np.random.Generator) -> Array:
        """Of the parts, side by side: within a component they are independent."""
        return np.concatenate([k.draw(c[:, at], rng) for k, at in self._each()], axis=1)

    def gradient(self, x: Array, c: Array, r: Array) -> tuple[Array, Array]:
        """Of the parts, side by side."""
        d_c, d_s = zip(*(k.gradient(x[:, at], c[:, at], r) for k, at in self._each()), strict=True)
        return np.concatenate(d_c, axis=1), np.concatenate(d_s)

    @property
    def log_scales(self) -> Array:
        """Of the parts, one after another."""
        return np.concatenate([kernel.log_scales for kernel, _ in self.parts])

    def with_log_scales(self, log_scales: Array) -> Self:
        """With each part's own."""
        parts, at = [], 0
        for kernel, width in self.parts:
            end = at + len(kernel.log_scales)
            parts.append((kernel.with_log_scales(log_scales[at:end]), width))
            at = end
        return replace(self, parts=tuple(parts))

    def check(self, points: object, name: str) -> Array:
        """As each part checks its columns."""
        x = super().check(points, name)
        width = sum(width for _, width in self.parts)
        if x.shape[1] != width:
            raise ValueError(f"{name}: {x.shape[1]} columns, expected {width}")
        for kernel, at in self._each():
            kernel.check(x[:, at], f"{name}[:, {at.start}:{at.stop}]")
        return x

    def _each(self) -> list[tuple[Kernel, slice]]:
        return [(kernel, self.columns(part)) for part, (kernel, _) in enumerate(self.parts)]


def _unit(x: Array) -> Array:
    """Rows of length 1; scaled first, so that squares neither overflow nor vanish."""
    x = x / np.abs(x).max(axis=1, keepdims=True)
    return np.asarray(x / np.sqrt(np.square(x).sum(axis=1, keepdims=True)))
