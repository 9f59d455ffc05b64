"""The network of `qkm`, forward and backward: patches, responsibilities of prototypes, their mean, class rows.

The reference is `flight/learn/qkmnet.py`. Logits of prototypes are affine in a patch: the whitening is folded into them
before each step, so what is multiplied are patches less their mean, and `unfold` takes the gradient back. `dims` holds
inputs, padded prototypes (a multiple of 32; those beyond have a logit of -1e30), classes and prototypes. The packed
weights are A (inputs, padded prototypes), the logits' offsets b (padded prototypes) and the class rows T (padded
prototypes, classes); the gradient is packed alike.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from flight.kernels.native.gemm import gemm_add, gemm_start
from flight.kernels.native.language import fma, helper
from flight.kernels.native.patches import add_rows, clear, gather
from flight.kernels.native.vector import LANES, at, first_of, highest, load, splat, store, total, vexp, vfma, vmax

_BLOCK = 96  # patches that stay in the nearest cache
_ZERO, _ONE, _TWO, _NEVER = np.float32(0), np.float32(1), np.float32(2), np.float32(-1e30)


@helper
def _scale(log_s: Any) -> Any:
    """1 / s^2."""
    return first_of(vexp(splat(-_TWO * log_s[0])))


def qkmnet_fold(c_x: Any, c_y: Any, log_w: Any, log_s: Any, P: Any, whitened: int, dims: Any, packed: Any) -> None:
    """Pack the weights c_x (prototypes, inputs), c_y (prototypes, classes), log_w and log_s (1,).

    With P (inputs, inputs) in front if `whitened`. `packed` is inputs x padded prototypes longer than the weights.
    """
    k, m, n_classes, n = dims[0], dims[1], dims[2], dims[3]
    size = (k + 1 + n_classes) * m
    clear(packed, 0, size + k * m)
    plain = at(packed, size) if whitened else packed
    b, T = at(packed, k * m), at(packed, (k + 1) * m)
    scale = _scale(log_s)
    for j in range(n):
        square, norm = _ZERO, _ZERO
        for i in range(k):
            plain[i * m + j] = c_x[j * k + i] * (_TWO * scale)
            square = fma(c_x[j * k + i], c_x[j * k + i], square)
        b[j] = log_w[j] - scale * square
        for c in range(n_classes):
            norm = fma(c_y[j * n_classes + c], c_y[j * n_classes + c], norm)
        for c in range(n_classes):
            T[j * n_classes + c] = c_y[j * n_classes + c] * c_y[j * n_classes + c] / norm
    for j in range(n, m):
        b[j] = _NEVER
    if whitened:
        gemm_add(P, k, 1, plain, m, packed, m, k, m, k)


def qkmnet_unfold(
    gradients: Any, n_shards: int, c_x: Any, c_y: Any, log_s: Any, P: Any, dims: Any, packed: Any, d_c_x: Any,
    d_c_y: Any, d_log_w: Any, d_log_s: Any, scratch: Any,
) -> None:  # fmt: skip
    """Write the gradient for the weights: of the sum, in order, of packed gradients (n_shards, size).

    `scratch` has inputs x padded prototypes floats. The derivative for log_s is -2 times the sum over patches and
    prototypes of (logit's gradient) x (logit without log w), which is linear in what the gradient already holds.
    """
    k, m, n_classes, n = dims[0], dims[1], dims[2], dims[3]
    size = (k + 1 + n_classes) * m
    for shard in range(1, n_shards):
        for i in range(0, size, LANES):
            store(gradients, i, load(gradients, i) + load(gradients, shard * size + i))
    d_b, d_T, T = at(gradients, k * m), at(gradients, (k + 1) * m), at(packed, (k + 1) * m)
    clear(scratch, 0, k * m)
    gemm_add(P, 1, k, gradients, m, scratch, m, k, m, k)
    scale = _scale(log_s)
    along = 0.0
    for j in range(n):
        square = 0.0
        for i in range(k):
            c = c_x[j * k + i]
            d_c_x[j * k + i] = _TWO * scale * fma(-d_b[j], c, scratch[i * m + j])
            along += np.float64(scratch[i * m + j]) * np.float64(_TWO * scale * c)
            square += np.float64(c) * np.float64(c)
        along -= np.float64(d_b[j]) * np.float64(scale) * square
        d_log_w[j] = d_b[j]
        norm, inner = _ZERO, _ZERO
        for c in range(n_classes):
            norm = fma(c_y[j * n_classes + c], c_y[j * n_classes + c], norm)
            inner = fma(T[j * n_classes + c], d_T[j * n_classes + c], inner)
        for c in range(n_classes):
            d_c_y[j * n_classes + c] = _TWO * c_y[j * n_classes + c] / norm * (d_T[j * n_classes + c] - inner)
    d_log_s[0] = np.float32(-2.0 * along)


def qkmnet_forward(
    chips: Any, which: Any, starts: Any, shape: Any, shift: Any, packed: Any, dims: Any, first: int, last: int,
    keep: int, shares: Any, mean_shares: Any, means: Any, x: Any,
) -> None:  # fmt: skip
    """Class proportions of chips `first` to `last` of a batch, and what `qkmnet_backward` needs.

    Args:
        chips: uint8, all chips; `which` (n,) are those of the batch.
        starts: bytes where each chip's patches start: (n, patches), or (patches,) for all if shape[4] is 0.
        shape: bytes of a chip, of its rows and of patches' rows; patches; distance of rows of `starts`.
        shift: (inputs + 16,), added to patches / 255.
        packed, dims: weights, as above.
        keep: whether responsibilities of all chips are wanted, for the way back; if not, `shares` is one block of 96.
        shares: (n, patches, padded prototypes), written: responsibilities.
        mean_shares: (n, padded prototypes), written.
        means: (n, classes), written.
        x: scratch of 96 inputs + 16 + padded prototypes floats.
    """
    k, m, n_classes, n = dims[0], dims[1], dims[2], shape[3]
    b, T = at(packed, k * m), at(packed, (k + 1) * m)
    unit = splat(_ONE / np.float32(n))
    for q in range(first, last):
        chip, own, mean = at(chips, which[q] * shape[0]), at(starts, q * shape[4]), at(mean_shares, q * m)
        clear(mean, 0, m)
        for i in range(0, n, _BLOCK):
            block, r = min(_BLOCK, n - i), at(shares, (q * n + i) * m if keep else 0)
            gather(chip, at(own, i), block, shape, shift, x)
            gemm_start(x, k, 1, packed, m, r, m, block, m, k, b)
            _softmax_rows(r, block, m)
            add_rows(r, block, m, mean)
        for j in range(0, m, LANES):
            store(mean, j, load(mean, j) * unit)
        for c in range(n_classes):
            whole = _ZERO
            for j in range(m):
                whole = fma(mean[j], T[j * n_classes + c], whole)
            means[q * n_classes + c] = whole


@helper
def _softmax_rows(rows: Any, n: int, m: int) -> None:
    """Scores (n, m) become shares, row by row."""
    for i in range(n):
        row = at(rows, i * m)
        top = load(row, 0)
        for j in range(LANES, m, LANES):
            top = vmax(top, load(row, j))
        top = splat(highest(top))
        whole = splat(_ZERO)
        for j in range(0, m, LANES):
            e = vexp(load(row, j) - top)
            store(row, j, e)
            whole = whole + e
        part = splat(_ONE / total(whole))
        for j in range(0, m, LANES):
            store(row, j, load(row, j) * part)


def qkmnet_backward(
    chips: Any, which: Any, starts: Any, shape: Any, shift: Any, packed: Any, dims: Any, n_chips: int, n_shards: int,
    first: int, last: int, shares: Any, mean_shares: Any, d_means: Any, gradients: Any, x: Any,
) -> None:  # fmt: skip
    """Packed gradients of a loss whose gradient for proportions of chips is `d_means` (n_chips, classes).

    They are one (n_shards, size) for each of so many shards of the chips; shards `first` to `last` are written. The
    other arguments are those of `qkmnet_forward`, which has left `shares` and `mean_shares`; `shares` is used up.
    """
    size = (dims[0] + 1 + dims[2]) * dims[1]
    for shard in range(first, last):
        gradient = at(gradients, shard * size)
        clear(gradient, 0, size)
        for q in range(n_chips * shard // n_shards, n_chips * (shard + 1) // n_shards):
            _chip_back(chips, which, starts, shape, shift, packed, dims, q, shares, mean_shares, d_means, gradient, x)


@helper
def _chip_back(
    chips: Any, which: Any, starts: Any, shape: Any, shift: Any, packed: Any, dims: Any, q: int, shares: Any,
    mean_shares: Any, d_means: Any, gradient: Any, x: Any,
) -> None:  # fmt: skip
    """Add what chip `q` of the batch gives to a gradient."""
    k, m, n_classes, n = dims[0], dims[1], dims[2], shape[3]
    T = at(packed, (k + 1) * m)
    d_b, d_T = at(gradient, k * m), at(gradient, (k + 1) * m)
    d_share = at(x, _BLOCK * k + LANES)
    chip, own, mean = at(chips, which[q] * shape[0]), at(starts, q * shape[4]), at(mean_shares, q * m)
    for j in range(m):
        d = _ZERO
        for c in range(n_classes):
            d = fma(T[j * n_classes + c], d_means[q * n_classes + c], d)
            d_T[j * n_classes + c] = fma(mean[j], d_means[q * n_classes + c], d_T[j * n_classes + c])
        d_share[j] = d / np.float32(n)
    for i in range(0, n, _BLOCK):
        block, r = min(_BLOCK, n - i), at(shares, (q * n + i) * m)
        _softmax_rows_back(r, block, m, d_share)
        add_rows(r, block, m, d_b)
        gather(chip, at(own, i), block, shape, shift, x)
        gemm_add(x, 1, k, r, m, gradient, m, k, m, block)


@helper
def _softmax_rows_back(rows: Any, n: int, m: int, d: Any) -> None:
    """Shares (n, m) become the gradient for the scores, of a loss with gradient `d` (m,) for the shares of each row."""
    for i in range(n):
        row = at(rows, i * m)
        inner = splat(_ZERO)
        for j in range(0, m, LANES):
            inner = vfma(load(row, j), load(d, j), inner)
        mean = splat(total(inner))
        for j in range(0, m, LANES):
            store(row, j, load(row, j) * (load(d, j) - mean))
