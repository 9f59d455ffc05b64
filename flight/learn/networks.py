"""Networks on compiled kernels: batches of patches, buffers, and threads that change no bit.

A batch's chips are in `SHARDS` shards, however many threads there are; each shard's gradient is a sum of its own, and
the shards' are added in order.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from typing import Any, Generic, NamedTuple, TypeVar

import numpy as np
from numpy.typing import NDArray

from flight.kernels import aligned
from flight.kernels.backend import Backend
from flight.learn import convnet, qkmnet

SHARDS = 4
_LANES, _BLOCK = 16, 96

Array = NDArray[np.floating]
F32 = NDArray[np.float32]
W = TypeVar("W", bound="tuple[Array, ...]")


class Patches(NamedTuple):
    """Patches of chips, as kernels take them.

    Attributes:
        chips: uint8, C-contiguous, all chips.
        which: int64 (n,), indices of the chips of this batch.
        starts: int64, bytes where patches start in a chip: (n, count) or, for all chips alike, (count,).
        row_bytes: of a chip's row of pixels.
        run_bytes: of one of a patch's four rows.
        mean: what is taken from patches / 255 (inputs,); None for nothing.
    """

    chips: NDArray[np.uint8]
    which: NDArray[np.int64]
    starts: NDArray[np.int64]
    row_bytes: int
    run_bytes: int
    mean: F32 | None = None

    @property
    def per_chip(self) -> int:
        """Patches of a chip."""
        return int(self.starts.shape[-1])

    def arguments(self) -> tuple[NDArray[Any], ...]:
        """Arrays that kernels take."""
        n_inputs, count = 4 * self.run_bytes, self.per_chip
        step = count if self.starts.ndim == 2 else 0
        shape = (math.prod(self.chips.shape[1:]), self.row_bytes, self.run_bytes, count, step)
        shift = np.zeros(n_inputs + _LANES, np.float32)
        if self.mean is not None:
            shift[:n_inputs] = -self.mean
        return self.chips, self.which, self.starts, np.array(shape, np.int64), shift


class Network(ABC, Generic[W]):
    """The kernels of one network, for weights of one shape, in buffers that last."""

    scratch = ("_packed", "_gradients", "_scratch", "_buffers", "_x")  # arrays that calls write over

    def __init__(self, backend: Backend, n_inputs: int, n_units: int, n_classes: int, threads: int) -> None:
        self.backend, self.n_inputs, self.n_classes, self.threads = backend, n_inputs, n_classes, threads
        self.width = _up(n_units, 2 * _LANES)
        self.dims = np.array([n_inputs, self.width, n_classes, n_units], np.int64)
        size = self._gradient_size()
        self._packed = aligned.zeros(size + 2 * n_inputs * self.width)
        self._gradients = aligned.zeros(SHARDS * size)
        self._scratch = aligned.zeros(n_inputs * self.width)
        self._buffers: dict[str, F32] = {}
        self._x = [aligned.zeros(_BLOCK * n_inputs + _LANES + self.width) for _ in range(threads)]

    @abstractmethod
    def gradient(self, w: W, patches: Patches, P: F32, loss: Callable[[F32], Array], seed: int) -> W:
        """Gradient for `w` on whitened patches, P (inputs, inputs) after the mean; `seed` is that of dropout."""

    @abstractmethod
    def predict(self, w: W, patches: Patches) -> F32:
        """Class proportions (n, classes) of chips."""

    @abstractmethod
    def predict_cells(self, w: W, patches: Patches) -> F32:
        """Class proportions (count, classes) of the patches of one chip."""

    @abstractmethod
    def _gradient_size(self) -> int:
        """Floats of a packed gradient."""

    @property
    def n_bytes(self) -> int:
        """Bytes of the buffers."""
        kept = [self._packed, self._gradients, self._scratch, *self._x, *self._buffers.values()]
        return sum(array.nbytes for array in kept)

    def _buffer(self, name: str, size: int) -> F32:
        if name not in self._buffers or self._buffers[name].size < size:
            self._buffers[name] = aligned.zeros(size)
        return self._buffers[name]

    def _spread(self, n: int, work: Callable[[int, int, int], object]) -> None:
        """Call `work(thread, first, last)` for parts of `n` chips or shards, one a thread, all but one elsewhere."""
        bounds = [n * part // self.threads for part in range(self.threads + 1)]
        others = [_pool(self.threads - 1).submit(work, t, bounds[t], bounds[t + 1]) for t in range(1, self.threads)]
        work(0, bounds[0], bounds[1])
        for other in others:
            other.result()


class Convnet(Network[convnet.Weights]):
    """`flight.learn.convnet` on kernels; `dropout` as there."""

    def __init__(
        self, backend: Backend, n_inputs: int, n_units: int, n_classes: int, threads: int, dropout: float = 0.0
    ) -> None:
        self.dropped = convnet.dropped(dropout)
        self._even = n_classes + n_classes % 2
        self._unused = np.zeros(1, np.float32)
        super().__init__(backend, n_inputs, n_units, n_classes, threads)

    def gradient(
        self, w: convnet.Weights, patches: Patches, P: F32, loss: Callable[[F32], Array], seed: int
    ) -> convnet.Weights:
        """As the base class has it."""
        k, n = self.backend, len(patches.which)
        given, scale = patches.arguments(), convnet.kept_scale(self.dropped)
        k.convnet_fold(w.W1, w.b1, w.W2, P, 1, self.dims, self._packed)
        means, hidden, shares = self._forward(w, given, n, patches.per_chip, True, seed, self.dropped)
        d = np.ascontiguousarray(loss(means), np.float32)
        self._spread(
            SHARDS,
            lambda t, first, last: k.convnet_backward(
                given, self._packed, self.dims, scale, n, SHARDS, first, last, hidden, shares, d, self._gradients,
                self._x[t],
            ),
        )  # fmt: skip
        g = convnet.Weights(*(np.empty_like(part) for part in w))
        k.convnet_unfold(self._gradients, SHARDS, P, self.dims, *g, self._scratch)
        return g

    def predict(self, w: convnet.Weights, patches: Patches) -> F32:
        """As the base class has it."""
        self.backend.convnet_fold(w.W1, w.b1, w.W2, self._unused, 0, self.dims, self._packed)
        return self._forward(w, patches.arguments(), len(patches.which), patches.per_chip, False, 0, 0)[0]

    def predict_cells(self, w: convnet.Weights, patches: Patches) -> F32:
        """As the base class has it."""
        self.backend.convnet_fold(w.W1, w.b1, w.W2, self._unused, 0, self.dims, self._packed)
        shares = self._forward(w, patches.arguments(), 1, patches.per_chip, False, 0, 0)[2]
        rows = shares[: self._even * _up(patches.per_chip, _LANES)].reshape(self._even, -1)
        return np.ascontiguousarray(rows[: self.n_classes, : patches.per_chip].T)

    def _forward(
        self, w: convnet.Weights, given: tuple[NDArray[Any], ...], n: int, count: int, keep: bool, seed: int, below: int
    ) -> tuple[F32, F32, F32]:
        """Proportions (n, classes), and the buffers of hidden units and of shares."""
        row = _up(count, _LANES)
        blocks = n * row if keep else self.threads * _BLOCK
        hidden, shares = self._buffer("hidden", blocks * self.width), self._buffer("shares", n * self._even * row)
        means = np.empty((n, self.n_classes), np.float32)
        scale = convnet.kept_scale(below)

        def part(t: int, first: int, last: int) -> None:
            units = hidden if keep else hidden[t * _BLOCK * self.width :]
            self.backend.convnet_forward(
                given, self._packed, w.b2, self.dims, seed, below, scale, first, last, int(keep), units, shares, means,
                self._x[t],
            )  # fmt: skip

        self._spread(n, part)
        return means, hidden, shares

    def _gradient_size(self) -> int:
        return (self.n_inputs + 1 + self._even) * self.width + _up(self.n_classes, _LANES)


class Qkmnet(Network[qkmnet.Weights]):
    """`flight.learn.qkmnet` on kernels."""

    _unused = np.zeros(1, np.float32)

    def gradient(
        self, w: qkmnet.Weights, patches: Patches, P: F32, loss: Callable[[F32], Array], seed: int
    ) -> qkmnet.Weights:
        """As the base class has it; there is no dropout."""
        k, n, given = self.backend, len(patches.which), patches.arguments()
        k.qkmnet_fold(*w, P, 1, self.dims, self._packed)
        means, shares, mean_shares = self._forward(given, n, patches.per_chip, True)
        d = np.ascontiguousarray(loss(means), np.float32)
        self._spread(
            SHARDS,
            lambda t, first, last: k.qkmnet_backward(
                given, self._packed, self.dims, n, SHARDS, first, last, shares, mean_shares, d, self._gradients,
                self._x[t],
            ),
        )  # fmt: skip
        g = qkmnet.Weights(*(np.empty_like(part) for part in w))
        k.qkmnet_unfold(self._gradients, SHARDS, w.c_x, w.c_y, w.log_s, P, self.dims, self._packed, *g, self._scratch)
        return g

    def predict(self, w: qkmnet.Weights, patches: Patches) -> F32:
        """As the base class has it."""
        self.backend.qkmnet_fold(*w, self._unused, 0, self.dims, self._packed)
        return self._forward(patches.arguments(), len(patches.which), patches.per_chip, False)[0]

    def predict_cells(self, w: qkmnet.Weights, patches: Patches) -> F32:
        """As the base class has it."""
        self.backend.qkmnet_fold(*w, self._unused, 0, self.dims, self._packed)
        shares = self._forward(patches.arguments(), 1, patches.per_chip, True)[1]
        rows = shares[: patches.per_chip * self.width].reshape(patches.per_chip, self.width)
        return np.asarray(rows[:, : len(w.log_w)] @ qkmnet.class_rows(w))

    def _forward(self, given: tuple[NDArray[Any], ...], n: int, count: int, keep: bool) -> tuple[F32, F32, F32]:
        """Proportions (n, classes), and the buffers of responsibilities and of their means."""
        rows = n * count if keep else self.threads * _BLOCK
        shares, mean_shares = self._buffer("shares", rows * self.width), self._buffer("mean_shares", n * self.width)
        means = np.empty((n, self.n_classes), np.float32)

        def part(t: int, first: int, last: int) -> None:
            own = shares if keep else shares[t * _BLOCK * self.width :]
            self.backend.qkmnet_forward(
                given, self._packed, self.dims, first, last, int(keep), own, mean_shares, means, self._x[t]
            )

        self._spread(n, part)
        return means, shares, mean_shares

    def _gradient_size(self) -> int:
        return (self.n_inputs + 1 + self.n_classes) * self.width


def adam(backend: Backend, w: W, g: W, m: W, v: W, step: int, rate: float) -> None:
    """`flight.learn.descent.adam` on kernels."""
    corrected = rate * math.sqrt(1 - 0.999**step) / (1 - 0.9**step)
    for wi, gi, mi, vi in zip(w, g, m, v, strict=True):
        backend.adam(wi, gi, mi, vi, wi.size, corrected)


def bag_gradient(backend: Backend, q: F32, shares: F32, target: F32, floor: float) -> F32:
    """Gradient (n_chips, classes) of a loss of municipalities: `flight.learn.losses` on kernels.

    It is `bag_loss`, or with `floor` above 0 `bag_kl_loss` with that floor.
    """
    d = np.empty_like(q)
    backend.bag_gradient(q, shares, np.ascontiguousarray(target), len(target), *q.shape, floor, d)
    return d


def product(backend: Backend, a: Array, b: Array) -> F32:
    """``a @ b`` of float32 matrices (m, depth) and (depth, n); whole sums in order, unlike BLAS."""
    (m, depth), n = a.shape, b.shape[1]
    padded, out = np.zeros((depth, _up(n, _LANES)), np.float32), np.empty((m, _up(n, _LANES)), np.float32)
    padded[:, :n] = b
    left, start = np.ascontiguousarray(a, np.float32), np.zeros(out.shape[1], np.float32)
    backend.gemm(left, padded, start, out, m, out.shape[1], depth, 1)
    return np.ascontiguousarray(out[:, :n])


def eigen(backend: Backend, a: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """`flight.learn.descent.Eigen` on kernels."""
    diagonal, rows = np.array(a, np.float64), np.empty_like(a)
    backend.eigen(diagonal, rows, len(a))
    values = diagonal.diagonal()
    order = np.argsort(values, kind="stable")
    return values[order], rows[order].T


def _up(n: int, to: int) -> int:
    return -(-n // to) * to


@cache
def _pool(n: int) -> ThreadPoolExecutor:
    return ThreadPoolExecutor(n, thread_name_prefix="kernels")
