"""The network of `downconv`, forward and backward: patches, hidden units, softmax a cell, mean over cells.

The reference is `flight/learn/convnet.py`. The whitening of patches is folded into the first layer before each step, so
what is multiplied are patches less their mean; `unfold` takes the gradient back. The hidden layer is padded with zeros
to whole pairs of vectors and classes to an even number: `dims` holds inputs, padded hidden units, classes and hidden
units. The packed weights are W (inputs, padded hidden), b (padded hidden) and V (even classes, padded hidden), the
transposed output weights; the gradient is packed alike, with that of the output biases after it.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from flight.kernels.native.gemm import dot_rows, gemm_add, gemm_gate, gemm_relu
from flight.kernels.native.language import helper, inlined
from flight.kernels.native.patches import add_rows, clear, gather, padded
from flight.kernels.native.softmax import mean_of_cells, softmax, softmax_back
from flight.kernels.native.vector import LANES, at, drop, load, noise, splat, store, total

_BLOCK = 96  # cells whose patches and hidden units stay in the nearest cache
_PER_NOISE = 4  # vectors of dropout from one vector of hashes
_ZERO = np.float32(0)


@inlined
def _even(n: int) -> int:
    return n + (n & 1)


def convnet_fold(W1: Any, b1: Any, W2: Any, P: Any, whitened: int, dims: Any, packed: Any) -> None:
    """Pack the weights W1 (inputs, hidden), b1, W2 (hidden, classes), with P (inputs, inputs) in front if `whitened`.

    `packed` is 2 inputs x padded hidden longer than the packed weights: room to pad W1 in.
    """
    k, h, n_classes, n_hidden = dims[0], dims[1], dims[2], dims[3]
    size = (k + 1 + _even(n_classes)) * h
    clear(packed, 0, size + k * h)
    plain = at(packed, size) if whitened else packed
    for i in range(k):
        for j in range(n_hidden):
            plain[i * h + j] = W1[i * n_hidden + j]
    if whitened:
        gemm_add(P, k, 1, plain, h, packed, h, k, h, k)
    for j in range(n_hidden):
        packed[k * h + j] = b1[j]
        for c in range(n_classes):
            packed[(k + 1 + c) * h + j] = W2[j * n_classes + c]


def convnet_unfold(
    gradients: Any, n_shards: int, P: Any, dims: Any, W1: Any, b1: Any, W2: Any, b2: Any, scratch: Any
) -> None:
    """Write to W1, b1, W2 and b2 the gradient for them: the sum, in order, of packed gradients (n_shards, size).

    `scratch` has inputs x padded hidden floats.
    """
    k, h, n_classes, n_hidden = dims[0], dims[1], dims[2], dims[3]
    whole = (k + 1 + _even(n_classes)) * h
    size = whole + padded(n_classes)
    for shard in range(1, n_shards):
        for i in range(0, size, LANES):
            store(gradients, i, load(gradients, i) + load(gradients, shard * size + i))
    clear(scratch, 0, k * h)
    gemm_add(P, 1, k, gradients, h, scratch, h, k, h, k)
    for i in range(k):
        for j in range(n_hidden):
            W1[i * n_hidden + j] = scratch[i * h + j]
    for j in range(n_hidden):
        b1[j] = gradients[k * h + j]
        for c in range(n_classes):
            W2[j * n_classes + c] = gradients[(k + 1 + c) * h + j]
    for c in range(n_classes):
        b2[c] = gradients[whole + c]


def convnet_forward(
    chips: Any, which: Any, starts: Any, shape: Any, shift: Any, packed: Any, b2: Any, dims: Any, seed: int, below: int,
    scale: float, first: int, last: int, keep: int, hidden: Any, shares: Any, means: Any, x: Any,
) -> None:  # fmt: skip
    """Class proportions of chips `first` to `last` of a batch, and what `convnet_backward` needs.

    Args:
        chips: uint8, all chips; `which` (n,) are those of the batch.
        starts: bytes where each chip's cells start: (n, cells), or (cells,) for all if shape[4] is 0.
        shape: bytes of a chip, of its rows and of patches' rows; cells; distance of rows of `starts`.
        shift: (inputs + 16,), added to patches / 255.
        packed, b2, dims: weights, as above.
        seed, below, scale: a hidden unit is 0 where a byte of its hash is below `below`, else times `scale`.
        keep: whether hidden units of all chips are wanted, for the way back; if not, `hidden` is one block of 96 cells.
        hidden: (n, padded cells, padded hidden), written.
        shares: (n, even classes, padded cells), written: class shares of cells.
        means: (n, classes), written.
        x: scratch of 96 inputs + 32 floats.
    """
    k, h, n_classes = dims[0], dims[1], dims[2]
    n, classes = shape[3], _even(n_classes)
    row = padded(n)
    b, V = at(packed, k * h), at(packed, (k + 1) * h)
    for q in range(first, last):
        chip, own = at(chips, which[q] * shape[0]), at(starts, q * shape[4])
        cells, H = at(shares, q * classes * row), at(hidden, q * row * h if keep else 0)
        clear(cells, n_classes * row, classes * row)
        for i in range(0, row, _BLOCK):
            real, block = min(_BLOCK, n - i), min(_BLOCK, row - i)
            if keep:
                H = at(hidden, (q * row + i) * h)
            gather(chip, at(own, i), real, shape, shift, x)
            clear(x, real * k, block * k)
            gemm_relu(x, k, 1, packed, h, H, h, block, h, k, b)
            if below:
                _drop(H, block * h // LANES, seed, (q * row + i) * h // LANES, below, scale)
            for j in range(0, block, LANES):
                for c in range(n_classes):
                    score = dot_rows(at(H, j * h), h, at(V, c * h), h // LANES) + splat(b2[c])
                    store(cells, c * row + i + j, score)
            softmax(cells, row, n_classes, i, i + block)
        mean_of_cells(cells, row, n_classes, n, at(means, q * n_classes))


@helper
def _drop(H: Any, vectors: int, seed: int, first: int, below: int, scale: float) -> None:
    """Dropout in place on so many vectors of hidden units; `first` counts vectors from the start of the batch."""
    factor = splat(scale)
    for v in range(0, vectors, _PER_NOISE):
        bits = noise(seed, np.uint32((first + v) // _PER_NOISE * LANES))
        for octet in range(_PER_NOISE):
            at_ = (v + octet) * LANES
            store(H, at_, drop(bits, octet, below, load(H, at_)) * factor)


def convnet_backward(
    chips: Any, which: Any, starts: Any, shape: Any, shift: Any, packed: Any, dims: Any, scale: float, n_chips: int,
    n_shards: int, first: int, last: int, hidden: Any, shares: Any, d_means: Any, gradients: Any, x: Any,
) -> None:  # fmt: skip
    """Packed gradients of a loss whose gradient for proportions of chips is `d_means` (n_chips, classes).

    They are one (n_shards, size) for each of so many shards of the chips; shards `first` to `last` are written. The
    other arguments are those of `convnet_forward`, which has left `hidden` and `shares`; both are used up.
    """
    size = (dims[0] + 1 + _even(dims[2])) * dims[1] + padded(dims[2])
    factor = at(x, _BLOCK * dims[0] + LANES)
    factor[0] = scale
    for shard in range(first, last):
        gradient = at(gradients, shard * size)
        clear(gradient, 0, size)
        for q in range(n_chips * shard // n_shards, n_chips * (shard + 1) // n_shards):
            _chip_back(
                chips, which, starts, shape, shift, packed, dims, factor, q, hidden, shares, d_means, gradient, x
            )


@helper
def _chip_back(
    chips: Any, which: Any, starts: Any, shape: Any, shift: Any, packed: Any, dims: Any, factor: Any, q: int,
    hidden: Any, shares: Any, d_means: Any, gradient: Any, x: Any,
) -> None:  # fmt: skip
    """Add what chip `q` of the batch gives to a gradient."""
    k, h, n_classes = dims[0], dims[1], dims[2]
    n, classes = shape[3], _even(n_classes)
    row = padded(n)
    V = at(packed, (k + 1) * h)
    d_b, d_V = at(gradient, k * h), at(gradient, (k + 1) * h)
    d_b2 = at(d_V, classes * h)
    chip, own = at(chips, which[q] * shape[0]), at(starts, q * shape[4])
    cells = at(shares, q * classes * row)
    softmax_back(cells, row, n_classes, n, at(d_means, q * n_classes))
    _add_totals(cells, row, n_classes, d_b2)
    for i in range(0, n, _BLOCK):
        block = min(_BLOCK, n - i)
        H, d = at(hidden, (q * row + i) * h), at(cells, i)
        gemm_add(d, row, 1, H, h, d_V, h, classes, h, block)
        gemm_gate(d, 1, row, V, h, H, h, block, h, n_classes, factor)
        add_rows(H, block, h, d_b)
        gather(chip, at(own, i), block, shape, shift, x)
        gemm_add(x, 1, k, H, h, gradient, h, k, h, block)


@helper
def _add_totals(rows: Any, row: int, n_rows: int, sums: Any) -> None:
    """Add to `sums` (n_rows,) the totals of rows."""
    for c in range(n_rows):
        whole = splat(_ZERO)
        for i in range(0, row, LANES):
            whole = whole + load(rows, c * row + i)
        sums[c] += total(whole)
