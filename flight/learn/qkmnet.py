"""The network of `qkm`: a patch conditions a joint kernel density matrix of patches and classes; forward and backward.

González, Ramos-Pollán and Gallego (2023), "Kernel Density Matrices for Probabilistic Deep Learning", inference with a
pure input: prototype j answers for patch x with r_j = w_j k(x, c_j)^2 / sum, k(x, c) = exp(-|x - c|^2 / (2 s^2)), and
class k has probability sum_j r_j T_jk, T_jk = y_jk^2 / |y_j|^2. As |x|^2 cancels,

    r = softmax_j(2 x.c_j / s^2 - |c_j|^2 / s^2 + log w_j),

so nothing here takes the logarithm of a kernel, or divides by a sum of kernels that may underflow. The mean over
patches commutes with T: a chip is a mixed state of its patches.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from flight.learn.descent import Whitening

Array = NDArray[np.floating]
Product = Callable[[Array, Array], Array]


class Weights(NamedTuple):
    """c_x (prototypes, inputs), c_y (prototypes, classes), log_w (prototypes,) up to a constant, log_s (1,)."""

    c_x: Array
    c_y: Array
    log_w: Array
    log_s: Array


class Pass(NamedTuple):
    """Responsibilities of patches (n_chips, n_patches, prototypes), their logits without log w, and their means."""

    r: Array
    near: Array
    mean: Array


def initial(prototypes: Array, n_classes: int, rng: np.random.Generator) -> Weights:
    """Prototypes as given, equal weights, s their mean distance, c_y uniform in [0, 1)."""
    n = len(prototypes)
    parts = (prototypes, rng.random((n, n_classes)), np.zeros(n), [math.log(mean_distance(prototypes))])
    return Weights(*(np.array(part, np.float32) for part in parts))


def mean_distance(points: Array) -> float:
    """Mean distance of pairs of `points` (n, d); 1 where they all coincide."""
    n = len(points)
    apart = sum(float(np.sqrt(np.square(points - point).sum(axis=1, dtype=np.float64)).sum()) for point in points)
    return apart / (n * (n - 1)) if apart > 0 else 1.0


def class_rows(w: Weights) -> Array:
    """T (prototypes, classes): the class distribution of each prototype."""
    square = w.c_y * w.c_y
    return np.asarray(square / square.sum(axis=1, keepdims=True))


def responsibilities(w: Weights, x: Array) -> tuple[Array, Array]:
    """r (n, prototypes) of patches x (n, inputs), and 2 x.c / s^2 - |c|^2 / s^2."""
    scale = np.exp(-2 * w.log_s)
    near = x @ (w.c_x.T * (2 * scale))
    near -= scale * np.square(w.c_x).sum(axis=1)
    r = near + w.log_w
    r -= r.max(axis=1, keepdims=True)
    np.exp(r, out=r)
    r /= r.sum(axis=1, keepdims=True)
    return r, near


def proportions(w: Weights, x: Array) -> Array:
    """Class proportions (n, classes) of patches x (n, inputs)."""
    return np.asarray(responsibilities(w, x)[0] @ class_rows(w))


def forward(w: Weights, x: Array) -> Pass:
    """What chips x (n_chips, n_patches, inputs) leave for the loss and for `backward`."""
    r, near = responsibilities(w, x.reshape(-1, x.shape[2]))
    r = r.reshape(*x.shape[:2], -1)
    return Pass(r, near.reshape(r.shape), r.mean(axis=1))


def backward(w: Weights, x: Array, done: Pass, d_chips: Array) -> Weights:
    """Gradient of a loss whose gradient for proportions of chips, ``done.mean @ class_rows(w)``, is `d_chips`."""
    T = class_rows(w)
    d_T = done.mean.T @ d_chips
    norm = np.square(w.c_y).sum(axis=1, keepdims=True)
    d_y = 2 * w.c_y / norm * (d_T - (T * d_T).sum(axis=1, keepdims=True))
    d_r = ((d_chips @ T.T) / x.shape[1])[:, None, :]
    d_logit = (done.r * (d_r - (done.r * d_r).sum(axis=2, keepdims=True))).reshape(-1, len(T))
    d_w = d_logit.sum(axis=0)
    scale = np.exp(-2 * w.log_s)
    d_x = 2 * scale * (d_logit.T @ x.reshape(-1, x.shape[2]) - d_w[:, None] * w.c_x)
    d_s = np.array([-2 * np.vdot(d_logit, done.near.reshape(d_logit.shape))], w.log_s.dtype)
    return Weights(d_x, d_y, d_w, d_s)


def fold(w: Weights, white: Whitening, product: Product = np.matmul) -> Weights:
    """Weights that do to raw patches what `w` does to whitened ones.

    The logits are affine in the patch, b + x A, and any affine map is that of prototypes c = s^2 A / 2 with weights
    exp(b + |c|^2 / s^2), whatever s is. Here s is the mean distance of these prototypes, as where training starts.
    """
    scale = np.asarray(math.exp(-2 * float(w.log_s[0])), w.log_s.dtype)
    A = np.ascontiguousarray(product(white.P, w.c_x.T * (2 * scale)).T)
    b = w.log_w - scale * np.square(w.c_x).sum(axis=1) - product(A, white.mean[:, None])[:, 0]
    s = 2 / mean_distance(A)
    c_x = A * np.asarray(s * s / 2, A.dtype)
    log_w = b + np.square(c_x).sum(axis=1) / np.asarray(s * s, A.dtype)
    top = float(log_w.max())
    log_w -= np.asarray(top + math.log(sum(math.exp(value - top) for value in log_w.tolist())), log_w.dtype)
    return Weights(c_x, w.c_y, log_w, np.array([math.log(s)], w.log_s.dtype))
