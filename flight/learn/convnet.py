"""The network of `downconv`: patches, a hidden layer, softmax a cell, mean over cells; forward and backward.

A convolution of 4 x 4 with stride 4 is a matrix product on the cells' patches. Every function works in the precision of
its arguments: float32 in training, float64 where gradients are checked.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from flight.learn.descent import Whitening

Array = NDArray[np.floating]
Product = Callable[[Array, Array], Array]
_OCTETS = 256


class Weights(NamedTuple):
    """W1 (inputs, hidden), b1 (hidden,), W2 (hidden, classes), b2 (classes,); gradients have this form too."""

    W1: Array
    b1: Array
    W2: Array
    b2: Array


class Pass(NamedTuple):
    """What a forward pass leaves for the backward one: hidden units after ReLU and dropout, softmax of the cells."""

    hidden: Array
    cells: Array


def initial(n_inputs: int, n_hidden: int, n_classes: int, rng: np.random.Generator) -> Weights:
    """Hidden weights He-uniform (He et al. 2015), output weights Glorot-uniform (Glorot, Bengio 2010), zero biases."""
    he, glorot = (6.0 / n_inputs) ** 0.5, (6.0 / (n_hidden + n_classes)) ** 0.5
    W1 = (2.0 * rng.random((n_inputs, n_hidden)) - 1.0) * he
    W2 = (2.0 * rng.random((n_hidden, n_classes)) - 1.0) * glorot
    parts = (W1, np.zeros(n_hidden), W2, np.zeros(n_classes))
    return Weights(*(part.astype(np.float32) for part in parts))


def fold(w: Weights, white: Whitening, product: Product = np.matmul) -> Weights:
    """Weights that do to raw patches what `w` does to whitened ones."""
    W1 = product(white.P, w.W1)
    return w._replace(W1=W1, b1=w.b1 - product(white.mean[None], W1)[0])


def dropped(rate: float) -> int:
    """How many of 256 hidden units are dropped: dropout comes in 256ths."""
    return round(rate * _OCTETS)


def kept_scale(n_dropped: int) -> float:
    """What hidden units that are kept are multiplied by."""
    return _OCTETS / (_OCTETS - n_dropped)


def dropout(seed: int, n_chips: int, n_cells: int, n_hidden: int, n_dropped: int) -> Array:
    """Dropout factors (n_chips * n_cells, n_hidden): 0, or `kept_scale`, by an octet of a hash of place and `seed`.

    The hash is Wellons' lowbias32 of a counter, xor `seed`; sixteen hashes in a row give sixteen units four times.
    Cells are counted to the next multiple of 16, hidden units to the next of 32.
    """
    cells, hidden = -(-n_cells // 16) * 16, -(-n_hidden // 32) * 32
    x = np.arange(n_chips * cells * hidden // 4, dtype=np.uint32) ^ np.uint32(seed)
    for shift, factor in ((16, 0x7FEB352D), (15, 0x846CA68B)):
        x ^= x >> np.uint32(shift)
        x *= np.uint32(factor)
    x ^= x >> np.uint32(16)
    octets = x.astype("<u4").view(np.uint8).reshape(-1, 16, 4).swapaxes(1, 2).reshape(n_chips, cells, hidden)
    kept = octets[:, :n_cells, :n_hidden].reshape(-1, n_hidden) >= n_dropped
    return np.asarray(kept * np.float32(kept_scale(n_dropped)))


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
