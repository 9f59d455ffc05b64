"""How a region's map is laid out for deflate: membership, then borders, each in terms of what the decoder already has.

* The first municipality of every cell is coded in raster order against the cell above: most cells have the same one
  and cost nothing but a longer run. Where it differs, it is that of the cell to the left, or above to the right, or the
  next municipality that has not been seen, or one that is named. Municipalities numbered in the order in which they
  first appear are never named.
* Further municipalities are nearly always among the eight cells around. Each is coded as its place among those
  candidates, together with its share in counts; the first one's share is what is left. Cells whose surroundings are
  uniform are kept apart, for they have nearly none.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from . import pack as wire

OVERLAPS = 4
NOBODY = -1
_LEFT, _ABOVE_RIGHT, _NEXT, _NAMED = range(4)
_LONGEST_GAP = 63  # a token of 4 x gap + event fits a byte; this gap, with event 0, is a run without an event
_BATCH = 65536  # cells at a time, where each takes much more memory than in the map
_AROUND = ((-1, 0), (0, -1), (0, 1), (1, 0), (-1, -1), (-1, 1), (1, -1), (1, 1))


def write_membership(out: wire.Writer, first: NDArray[np.int32]) -> None:
    """Append the first municipality of each cell (rows, cols), -1 where there is none."""
    padded = np.pad(first, ((1, 0), (1, 1)), constant_values=NOBODY)
    above, left, above_right = padded[:-1, 1:-1], padded[1:, :-2], padded[:-1, 2:]
    cells = np.flatnonzero(first != above)
    label = first.ravel()[cells]
    event = np.select(
        [label == left.ravel()[cells], label == above_right.ravel()[cells]], [_LEFT, _ABOVE_RIGHT], _NAMED
    )
    highest, named = NOBODY, []
    for i in np.flatnonzero(event == _NAMED):
        if label[i] == highest + 1:
            event[i] = _NEXT
        else:
            named.append(int(label[i]))
        highest = max(highest, int(label[i]))
    runs, gap = np.divmod(np.diff(cells, prepend=-1) - 1, _LONGEST_GAP)
    ends = np.cumsum(runs + 1)
    tokens = np.full(int(ends[-1]) if len(ends) else 0, 4 * _LONGEST_GAP, np.uint8)
    tokens[ends - 1] = 4 * gap + event
    out.integer(len(tokens), len(named))
    out.block(tokens.tobytes())
    out.block(_planes(np.array(named, np.int64) + 1))


def read_membership(reader: wire.Reader, rows: int, cols: int, n_codes: int) -> NDArray[np.int32]:
    """The inverse of `write_membership`."""
    n_tokens = reader.integer("the number of changes", 0, rows * cols)
    n_named = reader.integer("the number of named municipalities", 0, n_tokens)
    tokens = np.frombuffer(reader.block("the changes", n_tokens), np.uint8)
    named = _from_planes(reader.block("the named municipalities", 3 * n_named)) - 1
    gap, event = tokens >> 2, tokens & np.uint8(3)
    is_event = gap < _LONGEST_GAP
    cells = (np.cumsum(gap.astype(np.int64) + is_event) - 1)[is_event]
    event = event[is_event]
    if len(cells) and cells[-1] >= rows * cols:
        raise reader.error(f"changes reach cell {int(cells[-1])} of {rows * cols}")
    if int((event == _NAMED).sum()) != n_named or (named >= n_codes).any():
        raise reader.error(f"named municipalities do not fit: {n_named} of them, {n_codes} codes")
    label = np.full(len(event), NOBODY, np.int32)
    highest, names = NOBODY, iter(named.tolist())
    for i in np.flatnonzero(event >= _NEXT):
        label[i] = highest + 1 if event[i] == _NEXT else next(names)
        highest = max(highest, int(label[i]))
    if highest >= n_codes:
        raise reader.error(f"municipality {highest} appears, but there are {n_codes} codes")
    return _fill(rows, cols, cells, event, label)


def _fill(
    rows: int, cols: int, cells: NDArray[np.int64], event: NDArray[np.integer], label: NDArray[np.int32]
) -> NDArray[np.int32]:
    """Row by row: copy the row above, apply the events in it, and carry values to the right where they say so."""
    grid = np.full((rows + 1, cols + 2), NOBODY, np.int32)  # a border of nobody above, to the left and to the right
    bounds = np.searchsorted(cells, np.arange(rows + 1) * cols)
    column = np.arange(cols + 1)
    for r in range(rows):
        part = slice(bounds[r], bounds[r + 1])
        at, what = cells[part] - r * cols + 1, event[part]
        above, row = grid[r], grid[r + 1]
        row[:] = above
        row[at] = np.where(what == _ABOVE_RIGHT, above[at + 1], label[part])
        source = column.copy()
        source[at[what == _LEFT]] = 0
        row[:-1] = row[np.maximum.accumulate(source)]
    return np.ascontiguousarray(grid[1:, 1:-1])


def _planes(values: NDArray[np.int64]) -> bytes:
    """Integers below 2**24 as three planes of bytes."""
    return np.stack([values >> 16, values >> 8 & 255, values & 255]).astype(np.uint8).tobytes()


def _from_planes(data: bytes) -> NDArray[np.int64]:
    high, middle, low = np.frombuffer(data, np.uint8).reshape(3, -1).astype(np.int64)
    result: NDArray[np.int64] = high << 16 | middle << 8 | low
    return result


def _candidates(
    first: NDArray[np.int32], cells: NDArray[np.int32], taken: NDArray[np.int32]
) -> tuple[NDArray[np.int32], NDArray[np.int8]]:
    """Municipalities (n, 8) around `cells` and the place (n, 8) of each in its list of candidates.

    A municipality that repeats, or is among those `taken` (n, any) by the cell, is no candidate: both are -1.
    """
    cols = first.shape[1]
    padded = np.pad(first, 1, constant_values=NOBODY)
    row, col = cells // cols + 1, cells % cols + 1
    around = np.stack([padded[row + dr, col + dc] for dr, dc in _AROUND], axis=1)
    for i in range(len(_AROUND)):
        known = (around[:, :i] == around[:, i : i + 1]).any(1) | (taken == around[:, i : i + 1]).any(1)
        around[known, i] = NOBODY
    place = np.cumsum(around >= 0, axis=1, dtype=np.int8) - np.int8(1)
    place[around < 0] = NOBODY
    return around, place


def _near_borders(first: NDArray[np.int32]) -> Iterator[NDArray[np.int32]]:
    """Owned cells with another municipality next to them, corners included, then the other owned cells."""
    rows, cols = first.shape
    padded = np.pad(first, 1, mode="edge")
    near = np.zeros(first.shape, bool)
    for dr, dc in _AROUND:
        near |= padded[1 + dr : 1 + dr + rows, 1 + dc : 1 + dc + cols] != first
    owned = first >= 0
    for group in (near, ~near):
        yield np.flatnonzero(owned & group).astype(np.int32)


def write_borders(
    out: wire.Writer, first: NDArray[np.int32], bags: NDArray[np.int32], counts: NDArray[np.uint8], levels: int
) -> None:
    """Append the further municipalities of each cell and their counts, from arrays of (rows x cols, 4)."""
    for cells in _near_borders(first):
        for slot in range(1, OVERLAPS):
            there = bags[cells, slot] >= 0
            tokens = np.zeros(len(cells), np.uint8)
            cells = cells[there]
            label = bags[cells, slot]
            around, place = _candidates(first, cells, bags[cells, :slot])
            hit = around == label[:, None]
            by_name = ~hit.any(1)
            chosen = np.where(by_name, len(_AROUND), place[np.arange(len(cells)), hit.argmax(1)])
            tokens[there] = chosen.astype(np.int64) * (levels // (slot + 1)) + counts[cells, slot]
            out.block(tokens.tobytes())
            out.block(_planes(label[by_name].astype(np.int64)))


def read_borders(
    reader: wire.Reader, first: NDArray[np.int32], n_codes: int, levels: int
) -> tuple[NDArray[np.int32], NDArray[np.uint8]]:
    """The inverse of `write_borders`: municipalities and counts, both (rows x cols, 4)."""
    bags = np.full((first.size, OVERLAPS), NOBODY, np.int32)
    counts = np.zeros((first.size, OVERLAPS), np.uint8)
    bags[:, 0] = first.ravel()
    counts[bags[:, 0] >= 0, 0] = levels
    for cells in _near_borders(first):
        for slot in range(1, OVERLAPS):
            tokens = np.frombuffer(reader.block("the shares", len(cells)), np.uint8)
            there = tokens > 0
            cells = cells[there]
            chosen, count = np.divmod(tokens[there] - np.uint8(1), np.uint8(max(levels // (slot + 1), 1)))
            label = _labels(first, cells, bags, slot, chosen)
            by_name = chosen == len(_AROUND)
            label[by_name] = _from_planes(reader.block("the named overlaps", 3 * int(by_name.sum())))
            if (label < 0).any() or (label >= n_codes).any() or (counts[cells, 0] <= count).any():
                raise reader.error("a share belongs to no municipality, or is larger than what is left")
            bags[cells, slot], counts[cells, slot] = label, count + np.uint8(1)
            counts[cells, 0] -= counts[cells, slot]
    if (counts[:, 0] < counts[:, 1]).any():
        raise reader.error("shares are larger than the first municipality's")
    return bags, counts


def _labels(
    first: NDArray[np.int32], cells: NDArray[np.int32], bags: NDArray[np.int32], slot: int, chosen: NDArray[np.uint8]
) -> NDArray[np.int32]:
    """The candidate of each cell at the place that was `chosen`, -1 where there is none."""
    label = np.full(len(cells), NOBODY, np.int32)
    for start in range(0, len(cells), _BATCH):
        part = slice(start, start + _BATCH)
        around, place = _candidates(first, cells[part], bags[cells[part], :slot])
        hit = place == chosen[part, None]
        label[part] = np.where(hit.any(1), around[np.arange(len(around)), hit.argmax(1)], NOBODY)
    return label
