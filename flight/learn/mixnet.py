"""The head of `Hybrid` and `Swath`: a softmax a cell, of scores linear in fixed features of the cell and of its chip.

A cell's scores are ``features V + context U + bias + lean``: features of the cell, what its chip is like as a whole,
and what the closed form says of its chip. V, U and the bias are trained; a chip's proportions are the mean over cells.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from flight.learn.bfloat16 import widen
from flight.learn.blocks import blocks

Array = NDArray[np.floating]
ENTROPY = 0.05  # of the mean entropy of cells, in nats: a cell is of few classes, mostly of one
FLOOR = 1e-3
_TINY = np.float32(1e-6)


class Inputs(NamedTuple):
    """What is known of the chips that a head is trained on.

    Attributes:
        cells: (n_chips, n_cells, n_features), centred, as `flight.learn.bfloat16` has them.
        context: (n_chips, n_context), centred.
        start: (n_chips, classes), scores that do not depend on trained weights.
    """

    cells: NDArray[np.uint16]
    context: NDArray[np.float32]
    start: NDArray[np.float32]

    def unpack(self, x: Array) -> tuple[Array, Array, Array]:
        """V (n_features, classes), bias (classes,), U (n_context, classes) of a vector of weights."""
        k = self.cells.shape[2]
        w = x.reshape(k + 1 + self.context.shape[1], self.start.shape[1])
        return w[:k], w[k], w[k + 1 :]

    @property
    def n_chips(self) -> int:
        """Chips that are known."""
        return len(self.start)

    @property
    def n_weights(self) -> int:
        """Length of a vector of weights."""
        return int((self.cells.shape[2] + 1 + self.context.shape[1]) * self.start.shape[1])

    @property
    def arrays(self) -> tuple[NDArray[Any], ...]:
        """Everything that takes memory."""
        return tuple(self)

    def ready(self, loss: ChipLoss) -> ChipLoss:
        """`loss` as `objective` takes it."""
        return loss

    def objective(
        self, x: NDArray[np.float64], loss: ChipLoss, penalty: float, sure: float = ENTROPY
    ) -> tuple[float, NDArray[np.float64]]:
        """Loss, `sure` times the cells' mean entropy and `penalty` times squared weights; the gradient for `x`."""
        V, bias, U = self.unpack(x.astype(self.context.dtype))
        n, n_cells = self.cells.shape[:2]
        base = self.start + self.context @ U + bias
        q = np.empty((n, n_cells, base.shape[1]), base.dtype)
        for some in blocks(n):
            q[some] = softmax(self._flat(some) @ V + base[some].repeat(n_cells, axis=0)).reshape(q[some].shape)
        value, d_chips = loss(q.mean(axis=1))
        dV, chips, mess = 2 * penalty * V, np.empty_like(base), 0.0
        for some in blocks(n):
            d_scores, entropy = _slopes(q[some], (d_chips[some] / n_cells).astype(q.dtype), sure / (n * n_cells))
            dV += self._flat(some).T @ d_scores.reshape(-1, d_scores.shape[2])
            chips[some] = d_scores.sum(axis=1)
            mess += float(entropy.sum())
        gradient = np.concatenate([dV, chips.sum(axis=0)[None], self.context.T @ chips + 2 * penalty * U])
        value += sure * mess / (n * n_cells) + penalty * float((V * V).sum() + (U * U).sum())
        return value, gradient.astype(np.float64).ravel()

    def _flat(self, some: slice) -> NDArray[np.float32]:
        """Cells (m, n_features) of some chips."""
        return widen(self.cells[some]).reshape(-1, self.cells.shape[2])


def _slopes(q: Array, d_cells: Array, share: float) -> tuple[Array, Array]:
    """Slopes for the scores of cells with proportions q (n, n_cells, classes), and the cells' entropies.

    `d_cells` (n, classes) are the slopes for the proportions of each cell of a chip; `share` is what an entropy counts.
    """
    logs = np.log(np.maximum(q, _TINY))
    entropy = -(q * logs).sum(axis=2, keepdims=True)
    along = np.einsum("nic,nc->ni", q, d_cells)[..., None]
    return q * (d_cells[:, None] - along - share * (logs + entropy)), entropy


def softmax(scores: Array) -> Array:
    """Shares of the last axis, in place."""
    scores -= scores.max(axis=-1, keepdims=True)
    np.exp(scores, out=scores)
    scores /= scores.sum(axis=-1, keepdims=True)
    return scores


class Matched(NamedTuple):
    """Weighted divergence of municipalities' labels from their matched predictions, in nats.

    ``sum_b weight_b sum_c p_bc (log p_bc - log u_bc)``, where u = matching q may leave the simplex a little, so that
    ``- p + u`` is added (the generalised divergence) and u is held above `FLOOR`.

    Attributes:
        matching: (n_bags, n_chips), as `flight.learn.matching.match` makes it.
        target: (n_bags, classes), labels.
        weight: (n_bags,), sums to 1.
    """

    matching: NDArray[np.float32]
    target: NDArray[np.float32]
    weight: NDArray[np.float32]

    def __call__(self, q: Array) -> tuple[float, Array]:
        """The loss of predictions q (n_chips, classes), and its gradient for them."""
        u, weight = np.maximum(self.matching @ q, FLOOR), self.weight[:, None]
        known = np.where(self.target > 0, self.target, 1)
        value = float((weight * (self.target * (np.log(known) - np.log(u)) - self.target + u)).sum())
        return value, self.matching.T @ (weight * (1 - self.target / u))


class Targets(NamedTuple):
    """Mean over chips of the squared distance to each chip's own target (n_chips, classes)."""

    target: NDArray[np.float32]

    def __call__(self, q: Array) -> tuple[float, Array]:
        """The loss of predictions q (n_chips, classes), and its gradient for them."""
        d = q - self.target
        return float((d * d).sum() / len(q)), 2 * d / len(q)


ChipLoss = Matched | Targets
