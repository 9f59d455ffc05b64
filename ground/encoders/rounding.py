"""How weights are rounded to integers, so that a layer's sums change least on the calibration chips.

Weights of one output are rounded one after another, and the error of each is made good by those that are not rounded
yet, as the inputs' second moments allow (GPTQ: Frantar et al. 2022, arXiv 2210.17323, algorithm 1). Before that, the
channels between two layers are brought to the same reach, which changes nothing in floats and leaves each channel all
of its 8 bits (after Nagel et al. 2019, arXiv 1906.04721, section 4.1, with all of the range on the activations' side).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ground.encoders.frozen import Conv

_SAMPLES, _SEED = 20_000, 0  # places of a layer that are looked at
_DAMPING = 0.01  # of the mean second moment
_REACH = 0.9999  # share of a channel's values that its reach is taken from
Doubles = NDArray[np.float64]


def along_in(values: Doubles, conv: Conv) -> Doubles:
    """A value for each channel in, shaped to go with the kernel."""
    return values[:, None] if conv.groups == 1 else np.repeat(values, conv.channels_out // conv.groups)


def reaches(activations: Doubles) -> Doubles:
    """How far each channel (the last axis) of activations reaches."""
    reach: Doubles = np.quantile(activations, _REACH, axis=(0, 1, 2))
    return reach


def rounded(kernel: Doubles, scales: Doubles, levels: int, moments: Doubles | None) -> Doubles:
    """The integers that stand for a kernel, within `levels` either side of 0.

    `moments` (taps, taps) are the second moments of what the kernel sees, in the order of its first three axes; None
    where each is rounded by itself.
    """
    flat = kernel.reshape(-1, kernel.shape[3])
    if moments is None:
        return np.clip(np.rint(kernel / scales), -levels, levels)
    order = np.argsort(-np.diag(moments), kind="stable")
    damped = moments[np.ix_(order, order)] + (_DAMPING * np.mean(np.diag(moments)) + 1e-12) * np.eye(len(order))
    upper = np.linalg.cholesky(np.linalg.inv(damped)).T
    left, found = flat[order].copy(), np.empty_like(flat)
    for i, tap in enumerate(order):
        found[tap] = np.clip(np.rint(left[i] / scales), -levels, levels)
        error = (left[i] - found[tap] * scales) / upper[i, i]
        left[i + 1 :] -= np.outer(upper[i, i + 1 :], error)
    return found.reshape(kernel.shape)


def second_moments(x: Doubles, conv: Conv) -> Doubles | None:
    """Second moments of what a kernel sees in activations (n, rows, cols, channels); None for a depthwise one."""
    if conv.groups > 1:
        return None
    size, step = conv.kernel.shape[0], conv.stride
    pad = size // 2
    shape = (len(x), -(-x.shape[1] // step), -(-x.shape[2] // step))
    count = int(np.prod(shape))
    chosen = np.random.Generator(np.random.PCG64(_SEED)).choice(count, min(count, _SAMPLES), replace=False)
    n, row, col = np.unravel_index(chosen, shape)
    padded = np.pad(x, ((0, 0), (pad, pad), (pad, pad), (0, 0)))
    seen = [padded[n, step * row + i, step * col + j] for i in range(size) for j in range(size)]
    taps = np.concatenate(seen, axis=1)
    return taps.T @ taps / len(taps)
