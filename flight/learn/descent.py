"""What gradient learners share: Adam, and the whitening of patches."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.floating]
Product = Callable[[Array, Array], Array]
Eigen = Callable[[NDArray[np.float64]], tuple[NDArray[np.float64], NDArray[np.float64]]]
"""A symmetric matrix to its eigenvalues, ascending, and its eigenvectors, the columns of a matrix."""


class Whitening(NamedTuple):
    """x -> (x - mean) P: patches of unit variance, uncorrelated but for their faintest directions."""

    mean: Array
    P: Array

    def apply(self, x: Array, product: Product = np.matmul) -> Array:
        """Whitened patches of the shape of `x` (..., inputs)."""
        return np.asarray(product((x - self.mean).reshape(-1, len(self.mean)), self.P)).reshape(x.shape)


def whitening(chips: Iterable[NDArray[np.uint8]], eigen: Eigen = np.linalg.eigh) -> Whitening:
    """The whitening of patches / 255, one array (n_patches, inputs) a chip.

    Variances below 0.001 of the greatest are not raised. Pixels of a patch are so alike that gradient descent on them
    crawls. The affine map folds into a linear first layer.
    """
    n, total, second = 0, np.zeros(1), np.zeros((1, 1))
    for chip in chips:
        x = chip.astype(np.float64)
        n += len(x)
        total = total + x.sum(axis=0)
        second = second + x.T @ x  # exact: integers below 2^53
    mean = total / n
    values, Q = eigen((second / n - np.outer(mean, mean)) / 255.0**2)
    Q = Q * np.sign(Q[np.abs(Q).argmax(axis=0), np.arange(len(Q))])  # whoever solved, of one sign
    scale = np.sqrt(np.maximum(values, 0.0) + 1e-3 * values[-1] + 1e-6)
    return Whitening((mean / 255.0).astype(np.float32), np.ascontiguousarray(Q / scale, np.float32))


def adam(
    w: Iterable[Array], g: Iterable[Array], m: Iterable[Array], v: Iterable[Array], step: int, rate: float
) -> None:
    """One step of Adam (Kingma and Ba 2015, algorithm 1) in place; `step` counts from 1."""
    scale = rate * (1 - 0.999**step) ** 0.5 / (1 - 0.9**step)
    for wi, gi, mi, vi in zip(w, g, m, v, strict=True):
        mi += 0.1 * (gi - mi)
        vi += 0.001 * (gi * gi - vi)
        wi -= scale * mi / (np.sqrt(vi) + 1e-8)
