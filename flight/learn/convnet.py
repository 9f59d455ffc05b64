"""The network of `downconv`: patches, a hidden layer, softmax a cell, mean over cells; forward, losses and backward.

A convolution of 4 x 4 with stride 4 is a matrix product on the cells' patches. Every function works in the precision of
its arguments: float32 in training, float64 where gradients are checked.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.floating]


class Weights(NamedTuple):
    """W1 (inputs, hidden), b1 (hidden,), W2 (hidden, classes), b2 (classes,); gradients have this form too."""

    W1: Array
    b1: Array
    W2: Array
    b2: Array


class Whitening(NamedTuple):
    """x -> (x - mean) P: patches of unit variance, uncorrelated but for their faintest directions."""

    mean: Array
    P: Array

    def apply(self, x: Array) -> Array:
        """Whitened patches of the shape of `x` (..., inputs)."""
        return np.asarray((x - self.mean).reshape(-1, len(self.mean)) @ self.P).reshape(x.shape)

    def fold(self, w: Weights) -> Weights:
        """Weights that do to raw patches what `w` does to whitened ones."""
        W1 = self.P @ w.W1
        return w._replace(W1=W1, b1=w.b1 - self.mean @ W1)


class Pass(NamedTuple):
    """What a forward pass leaves for the backward one: hidden units after ReLU and dropout, softmax of the cells."""

    hidden: Array
    cells: Array


def whitening(cells: NDArray[np.uint8]) -> Whitening:
    """The whitening of patches (n_chips, n_cells, inputs) / 255; variances below 0.001 of the greatest are not raised.

    Pixels of a patch are so alike that gradient descent on them crawls. The affine map folds into the first layer.
    """
    n = cells.shape[0] * cells.shape[1]
    total, second = np.zeros(cells.shape[2]), np.zeros((cells.shape[2], cells.shape[2]))
    for chip in cells:
        x = chip.astype(np.float64)
        total += x.sum(axis=0)
        second += x.T @ x  # exact: integers below 2^53
    mean = total / n
    values, Q = np.linalg.eigh((second / n - np.outer(mean, mean)) / 255.0**2)
    scale = np.sqrt(np.maximum(values, 0.0) + 1e-3 * values[-1] + 1e-6)
    return Whitening((mean / 255.0).astype(np.float32), (Q / scale).astype(np.float32))


def initial(n_inputs: int, n_hidden: int, n_classes: int, rng: np.random.Generator) -> Weights:
    """Hidden weights He-uniform (He et al. 2015), output weights Glorot-uniform (Glorot, Bengio 2010), zero biases."""
    he, glorot = (6.0 / n_inputs) ** 0.5, (6.0 / (n_hidden + n_classes)) ** 0.5
    W1 = (2.0 * rng.random((n_inputs, n_hidden)) - 1.0) * he
    W2 = (2.0 * rng.random((n_hidden, n_classes)) - 1.0) * glorot
    parts = (W1, np.zeros(n_hidden), W2, np.zeros(n_classes))
    return Weights(*(part.astype(np.float32) for part in parts))


def forward(w: Weights, x: Array, keep: Array | None = None) -> Pass:
    """Cells x (n_chips, n_cells, inputs) to class proportions of cells (n_chips, n_cells, classes).

    Args:
        w: weights.
        x: patches in [0, 1].
        keep: dropout factors (n_chips * n_cells, hidden), 0 or 1 / (1 - rate); None when predicting.
    """
    hidden = x.reshape(-1, x.shape[-1]) @ w.W1
    hidden += w.b1
    np.maximum(hidden, 0, out=hidden)
    if keep is not None:
        hidden *= keep
    scores = hidden @ w.W2
    scores += w.b2
    scores -= scores.max(axis=1, keepdims=True)
    np.exp(scores, out=scores)
    scores /= scores.sum(axis=1, keepdims=True)
    return Pass(hidden, scores.reshape(*x.shape[:2], -1))


def backward(w: Weights, x: Array, done: Pass, d_chips: Array, keep: Array | None = None) -> Weights:
    """Gradient of a loss whose gradient for proportions of chips (means over cells) is `d_chips` (n_chips, classes)."""
    q = done.cells
    d_cells = (d_chips / q.shape[1])[:, None, :]
    d_scores = (q * (d_cells - (q * d_cells).sum(axis=2, keepdims=True))).reshape(-1, q.shape[2])
    d_hidden = d_scores @ w.W2.T
    if keep is not None:
        d_hidden *= keep
    d_hidden *= done.hidden > 0
    flat = x.reshape(-1, x.shape[-1])
    return Weights(flat.T @ d_hidden, d_hidden.sum(axis=0), done.hidden.T @ d_scores, d_scores.sum(axis=0))


def chip_loss(q: Array, target: Array, class_weight: Array) -> tuple[float, Array]:
    """The published loss and its gradient: each chip (n, classes) against its own target, squared, class-weighted."""
    d = q - target
    return float((class_weight * d * d).sum() / len(q)), 2 * class_weight * d / len(q)


def bag_loss(q: Array, shares: Array, target: Array) -> tuple[float, Array]:
    """The bag loss and its gradient: means over municipalities against their proportions, squared.

    Args:
        q: (n_chips, classes), predictions.
        shares: (n_bags, n_chips), each row sums to 1 over the batch's chips of that municipality.
        target: (n_bags, classes), proportions of the municipalities.
    """
    d = shares @ q - target
    return float((d * d).sum() / len(target)), shares.T @ (2 * d / len(target))


def adam(w: Weights, g: Weights, m: Weights, v: Weights, step: int, rate: float) -> None:
    """One step of Adam (Kingma and Ba 2015, algorithm 1) in place; `step` counts from 1."""
    scale = rate * (1 - 0.999**step) ** 0.5 / (1 - 0.9**step)
    for wi, gi, mi, vi in zip(w, g, m, v, strict=True):
        mi += 0.1 * (gi - mi)
        vi += 0.001 * (gi * gi - vi)
        wi -= scale * mi / (np.sqrt(vi) + 1e-8)
