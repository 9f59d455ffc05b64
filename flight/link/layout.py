"""In which order the rows of a table are coded, and from which rows before it each is predicted, and how.

Both follow from what the decoder has: a region's map, the cells of a product, or nothing but the order of the rows. So
neither an order nor a graph is sent. All steps are integer arithmetic (and square roots, which IEEE 754 rounds
correctly), so ground and satellite agree to the bit.

Rows are predicted by ordinary block kriging (Cressie, "Statistics for Spatial Data", 1993, sections 3.2 and 5.2) from
those that are near. The covariance of two areas depends on the distance of their centroids and on the spread of both
around them: c / (c + d), with d^2 the mean squared distance between a point of one and a point of the other.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from .region import Region

Ints = NDArray[np.int64]

NEIGHBOURS = 10  # rows that one is predicted from, at most
WEIGHT_ONE = 1 << 14
CELL = 16  # coordinates are in 16ths of a cell
_DEGREE = 10  # bordering areas that are looked at, those with the longest border
_RANGE = 8 * CELL
_ONE = 1 << 20
_NUGGET = _ONE // 50
_ROUGH_ONE = 1 << 34
_BATCH = 128  # rows at a time, where each takes much memory
_FAR = (1 << 27) - 1
_NONE = np.iinfo(np.int64).max


@dataclass(frozen=True)
class Places:
    """Where the rows of a table are.

    Attributes:
        order: (n,), rows in the order in which they are coded.
        row, col: (n,), centroids.
        spread: (n,), mean squared distance from the centroid, in squared units of `row` and `col`.
        kind: (n,), how large the area is: the binary digits of its number of cells, at most 7.
        links: (n, 10), areas that share a border, longest first, then -1.
    """

    order: Ints
    row: Ints
    col: Ints
    spread: Ints
    kind: Ints
    links: Ints


@dataclass(frozen=True)
class Neighbours:
    """What the rows that are there are predicted from. Positions are those in `rows`.

    Attributes:
        rows: (n,), rows in the order in which they are coded.
        near: (n, 10), positions of rows before, nearest first, then -1.
        best: (n, 10), weights for the best linear prediction, in 16384ths; some are negative.
        rough: (n, 10), weights that fall with the third power of the distance.
        kind: (n,), 0 to 63: size of the area and number of neighbours.
    """

    rows: Ints
    near: Ints
    best: Ints
    rough: Ints
    kind: Ints


@dataclass(frozen=True)
class MapOrder:
    """A region's map, as tables of its municipalities are coded along it: `check` is 2 bytes that name the map."""

    region_id: int
    check: bytes
    places: Places


def map_order(region: Region) -> MapOrder:
    """How tables of a region's municipalities are coded."""
    return MapOrder(region.region_id, (region.digest & 0xFFFF).to_bytes(2, "big"), places_of_region(region))


def places_in_order(n: int) -> Places:
    """Rows of which nothing is known but their order: like beads on a string."""
    at = np.arange(n, dtype=np.int64)
    links = np.full((n, _DEGREE), -1, np.int64)
    links[1:, 0], links[:-1, 1] = at[:-1], at[1:]
    even = np.ones(n, np.int64)
    return Places(at, at * CELL, 0 * at, even, even, links)


def places_of_cells(cells: NDArray[np.integer], cols: int) -> Places:
    """Cells of a grid of `cols` columns, in ascending order, each one row of a table."""
    cell = cells.astype(np.int64)
    row, col = cell // cols, cell % cols
    links = np.full((len(cell), _DEGREE), -1, np.int64)
    steps = ((-1, 0), (0, -1), (0, 1), (1, 0), (-1, -1), (-1, 1), (1, -1), (1, 1))
    for i, (down, right) in enumerate(steps):
        at = np.searchsorted(cell, cell + down * cols + right)
        there = np.minimum(at, len(cell) - 1)
        same = (cell[there] == cell + down * cols + right) & (col + right >= 0) & (col + right < cols)
        links[same, i] = there[same]
    even = np.ones(len(cell), np.int64)
    order = np.arange(len(cell), dtype=np.int64)
    return Places(order, row * CELL, col * CELL, even * (CELL * CELL // 6), even, links)


def places_of_region(region: Region) -> Places:
    """A region's municipalities: in the order in which they first appear in its map; those without a chip last."""
    n, size = len(region.codes), len(region.bags)
    cell = np.arange(size, dtype=np.int64)
    row, col = cell // region.cols * CELL, cell % region.cols * CELL
    first = np.full(n, 5 * size, np.int64)
    area, sums = np.zeros(n, np.int64), np.zeros((2, n), np.int64)
    for i in reversed(range(region.bags.shape[1])):  # owning a cell's greatest part comes before any other part
        at = np.flatnonzero(region.bags[:, i] >= 0)[::-1]
        bag, weight = region.bags[at, i], region.weights[at, i].astype(np.int64)
        first[bag] = at + i * size
        np.add.at(area, bag, weight)
        np.add.at(sums[0], bag, weight * row[at])
        np.add.at(sums[1], bag, weight * col[at])
    area = np.maximum(area, 1)
    centre = sums // area
    square = np.zeros(n, np.int64)
    for i in range(region.bags.shape[1]):
        at = np.flatnonzero(region.bags[:, i] >= 0)
        bag, weight = region.bags[at, i], region.weights[at, i].astype(np.int64)
        away = (row[at] - centre[0, bag]) ** 2 + (col[at] - centre[1, bag]) ** 2
        np.add.at(square, bag, weight * np.minimum(away, _FAR))
    spread = square // area + CELL * CELL // 6
    kind = np.minimum(np.frexp((area // 255).astype(np.float64))[1], 7).astype(np.int64)
    order = np.lexsort((np.arange(n), first))
    return Places(order, centre[0], centre[1], spread, kind, _links(region, n))


def _links(region: Region, n: int) -> Ints:
    """(n, 10), areas that border on each of `n`, those with the longest border, between cells and through them."""
    bags, weights = region.bags.astype(np.int64), region.weights
    owner = bags[:, 0].reshape(region.rows, region.cols)
    pairs, lengths = [], []
    for one, other in ((owner[:, :-1], owner[:, 1:]), (owner[:-1], owner[1:])):
        across = (one != other) & (one >= 0) & (other >= 0)
        pairs.append(one[across] * n + other[across])
        lengths.append(np.full(len(pairs[-1]), 128, np.int64))
    for i in range(bags.shape[1]):
        for j in range(i + 1, bags.shape[1]):
            shared = bags[:, j] >= 0
            pairs.append(bags[shared, i] * n + bags[shared, j])
            lengths.append(np.minimum(weights[shared, i], weights[shared, j]).astype(np.int64))
    pair, length = np.concatenate(pairs), np.concatenate(lengths)
    both = np.concatenate([pair, pair % n * n + pair // n])
    found, index = np.unique(both, return_inverse=True)
    total = np.zeros(len(found), np.int64)
    np.add.at(total, index, np.concatenate([length, length]))
    one, other = found // n, found % n
    by_length = np.lexsort((other, -total, one))
    one, other, total = one[by_length], other[by_length], total[by_length]
    rank = np.arange(len(one)) - np.searchsorted(one, one)
    links = np.full((n, _DEGREE), -1, np.int64)
    kept = rank < _DEGREE
    links[one[kept], rank[kept]] = other[kept]
    return links


def neighbours(places: Places, present: NDArray[np.bool_]) -> Neighbours:
    """Order and neighbours of the rows that are `present` (n,)."""
    rows = places.order[present[places.order]]
    position = np.full(len(present), -1, np.int64)
    position[rows] = np.arange(len(rows))
    shape = (len(rows), NEIGHBOURS)
    near, best, rough = np.full(shape, -1, np.int64), np.zeros(shape, np.int64), np.zeros(shape, np.int64)
    for start in range(0, len(rows), _BATCH):
        part = slice(start, start + _BATCH)
        there = _nearest(places, rows[part], position)
        near[part] = np.where(there >= 0, position[there], -1)
        best[part] = _kriging(places, rows[part], there)
        away = _root(_between(places, rows[part, None], there)) + CELL
        rough[part] = np.where(there >= 0, np.maximum(_ROUGH_ONE // away**3, 1), 0)
    kind = places.kind[rows] * 8 + np.minimum((near >= 0).sum(1), 5)
    return Neighbours(rows, near, best, rough, kind)


def _nearest(places: Places, rows: Ints, position: Ints) -> Ints:
    """(n, 10), rows coded before each of `rows`: those that border on it, then those that border on these; then -1."""
    one = places.links[rows]
    two = np.where(one[:, :, None] >= 0, places.links[one], -1).reshape(len(rows), -1)
    found = np.concatenate([one, two], axis=1)
    far = np.concatenate([np.zeros_like(one), np.ones_like(two)], axis=1)
    usable = (found >= 0) & (position[found] >= 0) & (position[found] < position[rows][:, None])
    found = np.where(usable, found, -1)
    key = np.sort(np.where(found >= 0, found * 2 + far, -1), axis=1)  # of the same row twice, the one that borders
    found = np.where(key[:, 1:] >> 1 == key[:, :-1] >> 1, -1, key[:, 1:])
    found = np.concatenate([key[:, :1], found], axis=1)
    apart = _distance(places, rows[:, None], found >> 1)
    rank = np.where(found >= 0, ((found & 1) << 62) | (apart << 32) | (found >> 1), _NONE)
    rank = np.sort(rank, axis=1)[:, :NEIGHBOURS]
    return np.where(rank < _NONE, rank & 0xFFFFFFFF, -1)


def _distance(places: Places, one: Ints, other: Ints) -> Ints:
    """Root of the mean squared distance between points of `one` and points of `other`."""
    return _root(_between(places, one, other) + places.spread[one] + places.spread[other])


def _between(places: Places, one: Ints, other: Ints) -> Ints:
    """Squared distance of centroids."""
    return (places.row[one] - places.row[other]) ** 2 + (places.col[one] - places.col[other]) ** 2


def _root(square: Ints) -> Ints:
    return np.sqrt(square.astype(np.float64)).astype(np.int64)


def _kriging(places: Places, rows: Ints, there: Ints) -> Ints:
    """(n, 10), weights that predict `rows` from `there` (n, 10) best, in 16384ths; 0 where there is none.

    Solves K w = k + m 1 by elimination in fixed point, m such that the weights sum to 1.
    """
    n, m = there.shape
    known = (there >= 0).T
    at = np.where(known, there.T, 0)
    K = np.zeros((m, m, n), np.int64)
    b = np.zeros((m, 2, n), np.int64)
    for i in range(m):
        for j in range(i, m):
            both = known[i] & known[j]
            K[i, j] = np.where(both, (_ONE * _RANGE) // (_RANGE + _distance(places, at[i], at[j])), 0)
        K[i, i] = np.where(known[i], K[i, i] + _NUGGET, _ONE)
        b[i, 0] = np.where(known[i], (_ONE * _RANGE) // (_RANGE + _distance(places, rows, at[i])), 0)
        b[i, 1] = np.where(known[i], _ONE, 0)
    for i in range(m):
        inverse = (1 << 40) // np.maximum(K[i, i], _NUGGET // 2)
        for j in range(i + 1, m):
            factor = (K[i, j] * inverse) >> 20
            K[j, j:] -= (factor * K[i, j:]) >> 20
            b[j] -= (factor * b[i]) >> 20
        K[i, i] = inverse
    for i in reversed(range(m)):
        for j in range(i + 1, m):
            b[i] -= (K[i, j] * b[j]) >> 20
        b[i] = (b[i] * K[i, i]) >> 20
    total = b.sum(0)
    lack = ((_ONE - total[0]) << 20) // np.maximum(total[1], 1)
    weight = (b[:, 0] + ((lack * b[:, 1]) >> 20)) >> 6
    weight = np.where(known, np.clip(weight, -2 * WEIGHT_ONE, 2 * WEIGHT_ONE), 0)
    return np.ascontiguousarray(weight.T)
