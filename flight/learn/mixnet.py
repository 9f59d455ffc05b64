"""The head of `Hybrid` and `Swath`: a hidden layer and a softmax a cell, which may lean on the chip as a whole.

A cell's scores are ReLU(z W1 + b1) W2 + b2 + gain * lean, where z are the cell's statistics and `lean` is what the
closed form says of its chip. The gain is trained with the rest.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.floating]
FLOOR = 1e-3


class Weights(NamedTuple):
    """W1 (inputs, hidden), b1 (hidden,), W2 (hidden, classes), b2 (classes,), gain (1,); gradients have this form."""

    W1: Array
    b1: Array
    W2: Array
    b2: Array
    gain: Array


class Pass(NamedTuple):
    """What a forward pass leaves for the backward one: hidden units after ReLU and dropout, softmax of the cells."""

    hidden: Array
    cells: Array


def initial(n_inputs: int, n_hidden: int, n_classes: int, gain: float, rng: np.random.Generator) -> Weights:
    """Hidden weights He-uniform (He et al. 2015), output weights half of Glorot-uniform (2010), zero biases."""
    he, glorot = (6.0 / n_inputs) ** 0.5, 0.5 * (6.0 / (n_hidden + n_classes)) ** 0.5
    W1 = (2.0 * rng.random((n_inputs, n_hidden)) - 1.0) * he
    W2 = (2.0 * rng.random((n_hidden, n_classes)) - 1.0) * glorot
    parts = (W1, np.zeros(n_hidden), W2, np.zeros(n_classes), np.array([gain]))
    return Weights(*(part.astype(np.float32) for part in parts))


def forward(w: Weights, x: Array, lean: Array, keep: Array | None = None) -> Pass:
    """Statistics x (n_chips, n_cells, inputs) to class proportions of cells (n_chips, n_cells, classes).

    Args:
        w: weights.
        x: standardised statistics of cells.
        lean: (n_chips, classes), what the closed form says of each chip, about the mean label.
        keep: dropout factors (n_chips, 1, hidden), 0 or 1 / (1 - rate); None when predicting.
    """
    n, n_cells, _ = x.shape
    hidden = (x.reshape(n * n_cells, -1) @ w.W1).reshape(n, n_cells, -1)
    hidden += w.b1
    np.maximum(hidden, 0, out=hidden)
    if keep is not None:
        hidden *= keep
    scores = hidden @ w.W2
    scores += w.b2
    scores += (w.gain * lean)[:, None]
    scores -= scores.max(axis=2, keepdims=True)
    np.exp(scores, out=scores)
    scores /= scores.sum(axis=2, keepdims=True)
    return Pass(hidden, scores)


def backward(w: Weights, x: Array, lean: Array, done: Pass, d_chips: Array, keep: Array | None = None) -> Weights:
    """Gradient of a loss whose gradient for proportions of chips (means over cells) is `d_chips` (n_chips, classes)."""
    q = done.cells
    d_cells = (d_chips / q.shape[1])[:, None]
    d_scores = q * (d_cells - (q * d_cells).sum(axis=2, keepdims=True))
    d_gain = (d_scores.sum(axis=1) * lean).sum().reshape(1)
    rows = d_scores.reshape(-1, q.shape[2])
    hidden = done.hidden.reshape(len(rows), -1)
    d_hidden = rows @ w.W2.T
    if keep is not None:
        d_hidden = (d_hidden.reshape(done.hidden.shape) * keep).reshape(hidden.shape)
    d_hidden *= hidden > 0
    flat = x.reshape(len(rows), -1)
    return Weights(flat.T @ d_hidden, d_hidden.sum(axis=0), hidden.T @ rows, rows.sum(axis=0), d_gain)


def matched_loss(q: Array, matching: Array, target: Array, weight: Array) -> tuple[float, Array]:
    """Weighted divergence of municipalities' labels from their matched predictions, in nats, and its gradient.

    ``sum_b weight_b sum_c p_bc (log p_bc - log u_bc)``, where u = matching q may leave the simplex a little, so that
    ``- p + u`` is added (the generalised divergence) and u is held above `FLOOR`.

    Args:
        q: (n_chips, classes), predictions.
        matching: (n_bags, n_chips), as `flight.learn.matching.match` makes it.
        target: (n_bags, classes), labels.
        weight: (n_bags,), sums to 1.
    """
    u = np.maximum(matching @ q, FLOOR)
    known = np.where(target > 0, target, 1)
    value = float((weight[:, None] * (target * (np.log(known) - np.log(u)) - target + u)).sum())
    return value, matching.T @ (weight[:, None] * (1 - target / u))


def target_loss(q: Array, target: Array) -> tuple[float, Array]:
    """Mean over chips of the squared distance to each chip's own target (n_chips, classes), and its gradient."""
    d = q - target
    return float((d * d).sum() / len(q)), 2 * d / len(q)
