"""How much of each cell of a grid each polygon covers: exact areas, without clipping a polygon.

The method is that of anti-aliased font rasterisers (signed-area accumulation, R. Levien, font-rs, 2016; the idea is
older: FreeType and libart). Edges are cut where they cross grid lines, so that each piece lies in one cell. A piece
that runs down by dy at mean distance x from the left side of its cell covers dy (1 - x) of it, and dy of each cell to
the right, until an edge that runs up takes it away again:

        +-------+-------+        own cell:    dy (1 - x)
        |   |///|///////|  dy    each to the right:  dy
        +-------+-------+
          x

Sums along a row therefore give the covered share of every cell, to rounding.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

_TINY = 1e-9  # of a cell: rounding, not land
_POINTS, _PIECES = 1 << 18, 1 << 19  # vertices and pieces of edges at a time: well below 200 MB


@dataclass(frozen=True, eq=False)
class Coverage:
    """Covered shares, one entry a cell and polygon that meet, sorted by cell and then by polygon.

    Attributes:
        cell: int64 (n,), row x columns + column.
        polygon: int32 (n,).
        share: float64 (n,), of the cell's area.
    """

    cell: NDArray[np.int64]
    polygon: NDArray[np.int32]
    share: NDArray[np.float64]


def coverage(polygons: NDArray[Any], x0: float, y0: float, cell_m: float, rows: int, cols: int) -> Coverage:
    """Shares of cells that valid shapely (multi-)polygons (n,) cover, on a grid whose top left corner is (x0, y0).

    Rows run down, from y0 to lower y. Parts of polygons outside the grid count for nothing.
    """
    import shapely

    box = shapely.box(x0, y0 - rows * cell_m, x0 + cols * cell_m, y0)
    size = np.cumsum(shapely.get_num_coordinates(polygons))
    batches = np.split(np.arange(len(polygons)), np.flatnonzero(np.diff(size // _POINTS)) + 1)
    parts = []
    for batch in batches:
        shapes = polygons[batch]
        outside = ~shapely.covers(box, shapes)
        shapes[outside] = shapely.intersection(shapes[outside], box)
        polygon, cell, share = _covered(shapes, x0, y0, cell_m, rows, cols)
        kept = share > _TINY
        parts.append((cell[kept], batch[polygon[kept]].astype(np.int32), share[kept]))
    cell, owner, share = (np.concatenate(column) for column in zip(*parts, strict=True))
    order = np.lexsort((owner, cell))
    return Coverage(cell[order], owner[order], share[order])


def _covered(
    shapes: NDArray[Any], x0: float, y0: float, cell_m: float, rows: int, cols: int
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float64]]:
    """Polygon, cell and share of all cells that shapes inside the grid cover."""
    found: list[tuple[NDArray[np.int64], NDArray[np.float64], NDArray[np.float64]]] = []
    ring_owner, sign, points, start = _rings(shapes)
    xy = np.stack([(points[:, 0] - x0) / cell_m, (y0 - points[:, 1]) / cell_m])
    xy = np.clip(xy, 0, np.array([[cols], [rows]]))
    for edges in _batches(xy, start):
        ring = np.searchsorted(start, edges, side="right") - 1
        pieces = _pieces(xy[:, edges], xy[:, edges + 1], ring_owner[ring], sign[ring])
        found.append(_by_cell(*pieces, rows, cols))
    return _filled(found, rows, cols)


def _rings(
    polygons: NDArray[Any],
) -> tuple[NDArray[np.int64], NDArray[np.float64], NDArray[np.float64], NDArray[np.int64]]:
    """Owner and sign of each ring, all points (n, 2), and the first point of each ring.

    The sign makes what an exterior ring encloses positive, and what a hole encloses negative, whatever their direction.
    """
    import shapely

    parts, owner = shapely.get_parts(polygons, return_index=True)
    areal = shapely.get_type_id(parts) == shapely.GeometryType.POLYGON
    parts, owner = parts[areal], owner[areal]
    rings, of_part = shapely.get_rings(parts, return_index=True)
    points, of_ring = shapely.get_coordinates(rings, return_index=True)
    start = np.flatnonzero(np.diff(of_ring, prepend=-1))
    exterior = np.diff(of_part, prepend=-1) > 0
    near = points - points[start][of_ring]  # close to the origin, the products below do not cancel
    cross = near[:-1, 0] * near[1:, 1] - near[1:, 0] * near[:-1, 1]
    cross = np.append(np.where(np.diff(of_ring) == 0, cross, 0), np.zeros(min(1, len(points))))
    counterclockwise = np.add.reduceat(cross, start) > 0 if len(start) else np.zeros(0, np.bool_)
    return owner[of_part], np.where(counterclockwise == exterior, 1.0, -1.0), points, start


def _batches(xy: NDArray[np.float64], start: NDArray[np.int64]) -> Iterator[NDArray[np.int64]]:
    """Numbers of the first points of edges, in batches of a bounded number of pieces."""
    edges = np.delete(np.arange(max(0, xy.shape[1] - 1)), start[1:] - 1)
    crossed = np.abs(np.diff(np.floor(xy), axis=1)).sum(0)[edges] + 3
    batch = (np.cumsum(crossed) // _PIECES).astype(np.int64)
    yield from np.split(edges, np.flatnonzero(np.diff(batch)) + 1)


def _pieces(
    a: NDArray[np.float64], b: NDArray[np.float64], owner: NDArray[np.int64], sign: NDArray[np.float64]
) -> tuple[NDArray[np.int64], NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """Edges from `a` to `b` (2, n) cut at grid lines: owner, middle x, middle y and signed dy of each piece."""
    n = a.shape[1]
    cuts, of_edge = [np.zeros(n), np.ones(n)], [np.arange(n), np.arange(n)]
    for from_, to in zip(a, b, strict=True):
        low, high = np.minimum(from_, to), np.maximum(from_, to)
        first = np.floor(low) + 1
        count = np.maximum(np.ceil(high) - first, 0).astype(np.int64)
        edge = np.repeat(np.arange(n), count)
        line = first[edge] + np.arange(len(edge)) - np.repeat(np.cumsum(count) - count, count)
        cuts.append((line - from_[edge]) / (to - from_)[edge])
        of_edge.append(edge)
    t, edge = np.concatenate(cuts), np.concatenate(of_edge)
    order = np.lexsort((t, edge))
    t, edge = t[order], edge[order]
    within = edge[:-1] == edge[1:]
    t0, t1, edge = t[:-1][within], t[1:][within], edge[:-1][within]
    step = b - a
    middle = (t0 + t1) / 2
    x, y = a[0, edge] + middle * step[0, edge], a[1, edge] + middle * step[1, edge]
    return owner[edge], x, y, (t1 - t0) * step[1, edge] * sign[edge]


def _by_cell(
    owner: NDArray[np.int64],
    x: NDArray[np.float64],
    y: NDArray[np.float64],
    dy: NDArray[np.float64],
    rows: int,
    cols: int,
) -> tuple[NDArray[np.int64], NDArray[np.float64], NDArray[np.float64]]:
    """Key of (owner, row, column), sum of dy, and sum of dy (1 - x), for each cell that an edge passes through."""
    col, row = np.minimum(np.floor(x), cols - 1), np.minimum(np.floor(y), rows - 1)
    key = ((owner * rows) + row.astype(np.int64)) * cols + col.astype(np.int64)
    keys, where = np.unique(key, return_inverse=True)
    return keys, np.bincount(where, dy, len(keys)), np.bincount(where, dy * (1 - (x - col)), len(keys))


def _filled(
    found: list[tuple[NDArray[np.int64], NDArray[np.float64], NDArray[np.float64]]], rows: int, cols: int
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float64]]:
    """Owner, cell and share of every covered cell: those that edges pass through, and those between them in a row."""
    if not found:
        return np.zeros(0, np.int64), np.zeros(0, np.int64), np.zeros(0)
    keys, where = np.unique(np.concatenate([part[0] for part in found]), return_inverse=True)
    dy = np.bincount(where, np.concatenate([part[1] for part in found]), len(keys))
    own = np.bincount(where, np.concatenate([part[2] for part in found]), len(keys))
    line = keys // cols  # of one owner and row
    first = np.flatnonzero(np.diff(line, prepend=-1))
    running = np.cumsum(dy)
    before_line = np.repeat((running - dy)[first], np.diff(np.append(first, len(keys))))
    left_of = running - dy - before_line  # what edges to the left in this line leave covered
    share = left_of + own
    gap = np.append(np.where(np.diff(line) == 0, np.diff(keys) - 1, 0), 0)
    gap[np.abs(running - before_line) < _TINY] = 0
    inner = np.repeat(keys + 1, gap) + np.arange(int(gap.sum())) - np.repeat(np.cumsum(gap) - gap, gap)
    inner_share = np.repeat(running - before_line, gap)
    key = np.concatenate([keys, inner])
    return key // (rows * cols), key % (rows * cols), np.concatenate([share, inner_share])
