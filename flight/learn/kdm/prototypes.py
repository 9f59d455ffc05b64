"""Few weighted prototypes for many points: all at once, or from a stream that never keeps more than so many."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from flight.learn.counter import generator
from flight.learn.kdm.kernels import Array
from flight.learn.kdm.matrix import BLOCK_VALUES

MAX_PROTOTYPES = 1024
_STREAM = 11
_MAX_ROUNDS = 50


class Prototypes(NamedTuple):
    """Weighted means of groups of points.

    Attributes:
        centres: float64 (m, d).
        weights: float64 (m,), total weight of each group.
        scatter: float64 (m, d), weighted sum of squared distances to the centre, coordinate by coordinate.
    """

    centres: Array
    weights: Array
    scatter: Array


def grouped(x: Array, weights: Array, n: int, seed: int, columns: slice = slice(None)) -> Prototypes:
    """`n` prototypes of points `x` (m, d), or the points themselves if there are no more than that.

    Lloyd's k-means on `columns`, from the k-means++ start of Arthur and Vassilvitskii (2007), at most 50 rounds.
    """
    if len(x) <= n:
        return Prototypes(x.copy(), weights.copy(), np.zeros_like(x))
    rng = generator(seed, _STREAM)
    seen = x[:, columns]
    centres = _spread_out(seen, weights, n, rng)
    group = np.full(len(x), -1)
    for _ in range(_MAX_ROUNDS):
        found = nearest(seen, centres)[0]
        if np.array_equal(found, group):
            break
        group = found
        mass = np.bincount(group, weights, n).astype(np.float64)
        total = np.stack([np.bincount(group, weights * column, n) for column in seen.T], axis=1)
        kept = mass > 0
        centres[kept] = total[kept] / mass[kept, None]
    return _gather(x, weights, group, n)


def _spread_out(x: Array, weights: Array, n: int, rng: np.random.Generator) -> Array:
    """Starts drawn one after another, with probability proportional to weight times squared distance to the last."""
    cost = np.full(len(x), np.inf)
    share = weights / weights.sum()
    chosen = []
    for _ in range(n):
        chosen.append(int(rng.choice(len(x), p=share)))
        cost = np.minimum(cost, np.square(x - x[chosen[-1]]).sum(axis=1))
        total = (weights * cost).sum()
        share = weights * cost / total if total > 0 else weights / weights.sum()
    return x[chosen]


def _gather(x: Array, weights: Array, group: NDArray[np.integer], n: int) -> Prototypes:
    """Means, weights and scatter of the groups that have any weight."""
    mass = np.bincount(group, weights, n).astype(np.float64)
    kept = np.flatnonzero(mass > 0)
    centres = np.zeros((n, x.shape[1]))
    scatter = np.zeros_like(centres)
    for column in range(x.shape[1]):
        centres[kept, column] = np.bincount(group, weights * x[:, column], n)[kept] / mass[kept]
        apart = (x[:, column] - centres[group, column]) ** 2
        scatter[:, column] = np.bincount(group, weights * apart, n)
    return Prototypes(centres[kept], mass[kept], scatter[kept])


def nearest(x: Array, centres: Array) -> tuple[NDArray[np.intp], Array]:
    """Index of each point's nearest centre (of equals the first), and the squared distance (n,)."""
    at = np.empty(len(x), np.intp)
    square = np.empty(len(x))
    rows = max(1, BLOCK_VALUES // max(1, centres.size))
    for start in range(0, len(x), rows):
        block = slice(start, start + rows)
        apart = x[block, None, :] - centres
        cost = np.einsum("nmd,nmd->nm", apart, apart)
        at[block] = cost.argmin(axis=1)
        square[block] = cost[np.arange(len(cost)), at[block]]
    return at, square


def spacing(x: Array) -> float:
    """Root mean square distance of points (m, d) to their nearest other place; ValueError if there is no other."""
    places = np.unique(x, axis=0)
    if len(places) < 2:
        raise ValueError("sigma: all points coincide, so it cannot come from their distances; give it")
    total = 0.0
    for i, place in enumerate(places):
        apart = np.square(places - place).sum(axis=1)
        apart[i] = np.inf
        total += float(apart.min())
    return float(np.sqrt(total / len(places)))


class PrototypeStream:
    """At most `capacity` prototypes of all the points that were ever added.

    A point is a prototype of its own while there is room. Beyond that, the two whose union adds least scatter are
    merged, by Ward's (1963) cost w_i w_j / (w_i + w_j) |c_i - c_j|^2, until there is room again. Merging keeps total
    weight, mean and total scatter of everything seen. Which groups form depends on the order of the stream.

    Args:
        capacity: prototypes kept, 2 to 1024.
        columns: columns that distances are measured in; the others are averaged along.
    """

    def __init__(self, capacity: int, columns: slice = slice(None)) -> None:
        if not 2 <= capacity <= MAX_PROTOTYPES:
            raise ValueError(f"capacity: {capacity} is not from 2 to {MAX_PROTOTYPES}")
        self.capacity, self.columns = capacity, columns
        self._kept: Prototypes | None = None

    @property
    def prototypes(self) -> Prototypes:
        """What is kept now; ValueError before the first point."""
        if self._kept is None:
            raise ValueError("prototypes: no point has been added")
        return self._kept

    def add(self, x: Array, weights: Array) -> None:
        """Add points `x` (n, d) with `weights` (n,) above 0."""
        for start in range(0, len(x), self.capacity):
            rows = slice(start, start + self.capacity)
            new = Prototypes(x[rows].copy(), weights[rows].copy(), np.zeros_like(x[rows]))
            joined = new if self._kept is None else Prototypes(*map(np.concatenate, zip(self._kept, new, strict=True)))
            self._kept = self._merged(joined)

    def _merged(self, p: Prototypes) -> Prototypes:
        """`p` with its cheapest pairs united until no more than `capacity` are left; it is used up."""
        n = len(p.weights)
        cost = np.stack([self._cost(p, i) for i in range(n)]) if n > self.capacity else np.empty((0, 0))
        best = cost.argmin(axis=1) if len(cost) else np.empty(0, np.intp)
        alive = np.ones(n, np.bool_)
        for _ in range(n - self.capacity):
            least = cost[np.arange(n), best]
            i = int(least.argmin())
            j = int(best[i])
            i, j = min(i, j), max(i, j)
            _unite(p, i, j)
            alive[j] = False
            cost[j], cost[:, j] = np.inf, np.inf
            row = np.where(alive, self._cost(p, i), np.inf)
            cost[i], cost[:, i] = row, row
            stale = (best == i) | (best == j)
            best[stale] = cost[stale].argmin(axis=1)
            closer = row < cost[np.arange(n), best]
            best[closer] = i
            best[i] = row.argmin()
        return Prototypes(*(part[alive] for part in p))

    def _cost(self, p: Prototypes, i: int) -> Array:
        """Scatter (n,) that uniting prototype i with each would add; infinite for itself."""
        apart = np.square(p.centres[:, self.columns] - p.centres[i, self.columns]).sum(axis=1)
        cost = apart * (p.weights * p.weights[i] / (p.weights + p.weights[i]))
        cost[i] = np.inf
        return np.asarray(cost)


def _unite(p: Prototypes, i: int, j: int) -> None:
    """Make prototype i the union of i and j."""
    total = p.weights[i] + p.weights[j]
    apart = p.centres[j] - p.centres[i]
    p.scatter[i] += p.scatter[j] + p.weights[i] * p.weights[j] / total * apart**2
    p.centres[i] += p.weights[j] / total * apart
    p.weights[i] = total
