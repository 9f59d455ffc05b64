"""A region's map laid out well for compressors that know nothing of maps, and as polygons on the grid."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Labels = NDArray[np.int64]
_AROUND = ((-1, 0), (0, -1), (0, 1), (1, 0), (-1, -1), (-1, 1), (1, -1), (1, 1))


def membership(labels: Labels) -> list[list[bytes]]:
    """Layouts of labels (rows, cols), numbered from 1 by first appearance, with 0 for nobody.

    Labels as two planes of bytes; which neighbour a cell agrees with, by two orders of asking, as bytes or as runs,
    with the labels that no neighbour has behind them.
    """
    planes = [(labels >> 8).astype(np.uint8).tobytes(), (labels & 255).astype(np.uint8).tobytes()]
    padded = np.pad(labels, 2)
    rows, cols = labels.shape
    layouts = [planes]
    for order in (((0, -1), (-1, 0), (-1, 1), (-1, -1)), ((-1, 0), (0, -1), (-1, 1), (-1, -1))):
        code = np.full(labels.shape, 5, np.uint8)
        for k, (dy, dx) in reversed(list(enumerate(order))):
            code[padded[2 + dy : 2 + dy + rows, 2 + dx : 2 + dx + cols] == labels] = k
        _, first = np.unique(labels, return_index=True)
        flat = code.ravel()
        flat[first[labels.ravel()[first] > 0]] = 4
        named = labels.ravel()[flat == 5]
        escapes = [(named >> 8).astype(np.uint8).tobytes(), (named & 255).astype(np.uint8).tobytes()]
        starts = np.flatnonzero(np.append(True, flat[1:] != flat[:-1]))
        length = np.diff(starts, append=flat.size)
        layouts.append([flat.tobytes(), *escapes])
        layouts.append([flat[starts].tobytes(), _leb128(length), *escapes])
    return layouts


def overlaps(bags: Labels, counts: NDArray[np.uint8], labels: Labels, levels: int) -> list[list[bytes]]:
    """Layouts of further municipalities: for each, the place among the neighbours that has it, and its count.

    `bags` and `counts` (rows x cols, 4), main label first. Cells beside another label come first, then the others.
    """
    rows, cols = labels.shape
    padded = np.pad(labels, 1)
    around = np.stack([padded[1 + y : 1 + y + rows, 1 + x : 1 + x + cols].ravel() for y, x in _AROUND], axis=1)
    owned = labels.ravel() > 0
    near = (around != labels.ravel()[:, None]).any(1)
    joint: list[bytes] = []
    apart: list[bytes] = []
    for group in (owned & near, owned & ~near):
        cells = np.flatnonzero(group)
        for slot in range(1, 4):
            there = bags[cells, slot] > 0
            hit = around[cells] == bags[cells, slot][:, None]
            place = np.where(hit.any(1), hit.argmax(1), 8)
            token = np.where(there, 1 + place * (levels // 2) + counts[cells, slot] - 1, 0)
            named = bags[cells, slot][there & ~hit.any(1)]
            escapes = [(named >> 8).astype(np.uint8).tobytes(), (named & 255).astype(np.uint8).tobytes()]
            joint += [token.astype(np.uint8).tobytes(), *escapes]
            apart += [np.where(there, counts[cells, slot], 0).astype(np.uint8).tobytes()]
            apart += [place[there].astype(np.uint8).tobytes(), *escapes]
            cells = cells[there]
    return [joint, apart]


def outlines(labels: Labels) -> list[list[bytes]]:
    """Borders of labels (rows, cols) as polygons on the grid: arcs between junctions, as in TopoJSON.

    Each arc is its start, and per chip's side a turn: straight, left or right. Decoding them gives the labels' shapes;
    which label is which is left out, so sizes are a lower bound.
    """
    padded = np.pad(labels, 1)
    down = padded[1:, :-1] != padded[1:, 1:]  # side from node (y, x) to (y + 1, x)
    right = padded[:-1, 1:] != padded[1:, 1:]  # side from node (y, x) to (y, x + 1)
    rows = len(labels)
    sides: dict[tuple[int, int], list[int]] = {}
    for y, x in zip(*np.nonzero(down), strict=True):
        if y <= rows:
            sides.setdefault((int(y), int(x)), []).append(1)
            sides.setdefault((int(y) + 1, int(x)), []).append(3)
    for y, x in zip(*np.nonzero(right), strict=True):
        sides.setdefault((int(y), int(x)), []).append(0)
        sides.setdefault((int(y), int(x) + 1), []).append(2)
    junctions = {node for node, ways in sides.items() if len(ways) != 2}
    turns, starts = bytearray(), []
    for node in [*sorted(junctions), *sorted(set(sides) - set(junctions))]:
        while sides[node]:
            starts.append(node)
            heading = sides[node][0]
            at, before = node, heading
            turns.append(4 + heading)
            while True:
                sides[at].remove(heading)
                at = (at[0] + (heading == 1) - (heading == 3), at[1] + (heading == 0) - (heading == 2))
                sides[at].remove((heading + 2) % 4)
                if len(sides[at]) != 1 or at in junctions:
                    break
                before, heading = heading, sides[at][0]
                turns.append((heading - before) % 4)
    steps = np.diff(np.array(starts), axis=0, prepend=0).astype("<i2")
    return [[bytes(turns), steps[:, 0].tobytes(), steps[:, 1].tobytes()]]


def _leb128(values: NDArray[np.integer]) -> bytes:
    """Unsigned integers in 7-bit groups."""
    out = bytearray()
    for value in values.tolist():
        while value > 127:
            out.append(value & 127 | 128)
            value >>= 7
        out.append(value)
    return bytes(out)
