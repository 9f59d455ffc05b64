"""Kernel of a map's first pass: which municipality each cell mainly belongs to, in raster order.

A cell's municipality is found by asking of one candidate after the other: that to the left, above, above to the right,
above to the left, and others that the row above has further on; then whether nobody owns it, or a new one begins here,
or it is one that is near, or any other. Contexts say which of the cells before it agree, where runs end, and how large
the municipalities already are.
"""

from __future__ import annotations

from flight.kernels import Bytes, Ints
from flight.kernels.buffers import SLOT_BITS
from flight.kernels.buffers.membership import (
    BY_RUN,
    EMPTY,
    LAST,
    N_CONTEXTS,
    N_SETS,
    NEAR,
    NEW,
    NEXT_COL,
    NEXT_ROW,
    NOBODY,
    PAD,
    SEEN,
    SET_SIZE,
    STRIDE,
)
from flight.kernels.coding import BAD, LEARN, MODE, OK, STATUS, code_adaptive, code_even, code_mixed
from flight.kernels.grid import edge, hashed, nearby, size_class

LIMIT, RATE = 255, 20
LOOK = 32  # cells along the row above in which candidates are looked for
MAX_CANDIDATES = 10


def membership(
    rc: Ints,
    buf: Bytes,
    labels: Ints,
    goal: Ints,
    todo: Bytes,
    allowed: Bytes,
    area: Ints,
    born: Ints,
    progress: Ints,
    window: Ints,
    n_cells: int,
    counts: Ints,
    weights: Ints,
    tables: Ints,
    slots: Ints,
    sets: Ints,
    scratch: Ints,
    candidates: Ints,
    found: Ints,
) -> int:
    """Code the next `n_cells` cells of a window of a padded map; 1 if more are left, 0 if not.

    Args:
        labels: the map, as far as it is known; municipalities are numbered from 1, nobody is 0.
        goal: the map to be encoded or learned; not read when decoding.
        todo: which cells are coded; the others are known.
        allowed: which candidates are asked about, besides the label that `labels` has for a cell.
        area, born: cells and first row of each label so far.
        progress: labels that have begun, the last to begin, row and column to go on at, and how the map is padded:
            cells from row to row, and cells on every side.
        window: first row, end row, first column, end column.
    """
    stride = progress[STRIDE]
    pad = progress[PAD]
    row, col = progress[NEXT_ROW], progress[NEXT_COL]
    while row < window[1] and n_cells > 0 and rc[STATUS] == OK:
        n_cells -= 1
        at = (row + pad) * stride + col + pad
        if todo[at] == 1:
            true = goal[at] if rc[MODE] != 0 else 0
            starts = 1 if true == progress[SEEN] + 1 else 0
            if rc[MODE] == LEARN:
                starts = 1 if true > 0 and area[true] == 0 else 0
            label = code_label(
                rc, buf, true, starts, labels, at, row, stride, allowed, area, born, progress,
                counts, weights, tables, slots, sets, scratch, candidates, found,
            )  # fmt: skip
            labels[at] = label
            if area[label] == 0:
                born[label] = row
            area[label] += 1
        col += 1
        if col == window[3]:
            col = window[2]
            row += 1
    progress[NEXT_ROW] = row
    progress[NEXT_COL] = col
    return 1 if row < window[1] and rc[STATUS] == OK else 0


def code_label(
    rc: Ints,
    buf: Bytes,
    true: int,
    starts: int,
    labels: Ints,
    at: int,
    row: int,
    stride: int,
    allowed: Bytes,
    area: Ints,
    born: Ints,
    progress: Ints,
    counts: Ints,
    weights: Ints,
    tables: Ints,
    slots: Ints,
    sets: Ints,
    scratch: Ints,
    candidates: Ints,
    found: Ints,
) -> int:
    """Code the label of one cell; `true` and `starts`, whether it begins here, are not read when decoding."""
    old = labels[at]
    up = at - stride
    w, n, nw, ne = labels[at - 1], labels[up], labels[up - 1], labels[up + 1]
    ww, nww, nee, neee = labels[at - 2], labels[up - 2], labels[up + 2], labels[up + 3]
    top = up - stride
    nn, nnw, nne, nnww, nnee = labels[top], labels[top - 1], labels[top + 1], labels[top - 2], labels[top + 2]
    empty_ok = 1 if allowed[0] == 1 or old == 0 else 0
    asked = 0
    if (
        empty_ok == 1
        and w == 0 and n == 0 and nw == 0 and ne == 0 and ww == 0 and nww == 0 and nee == 0 and neee == 0
        and nn == 0 and nnw == 0 and nne == 0 and nnee == 0
    ):  # fmt: skip
        if code_adaptive(rc, buf, 1 if true == 0 else 0, counts, EMPTY + (1 if labels[at - 3] == 0 else 0), 1023) == 1:
            return 0
        asked = 1
    # Candidates, each once: around the cell, and what the row above goes on to, and has been before.
    run_right, after, then = 0, -1, -1
    d = 1
    while d <= LOOK and then < 0:
        label = labels[up + d]
        if after < 0 and label != n:
            after = label
            run_right = d
        elif after >= 0 and label != after:
            then = label
        d += 1
    before = -1
    d = 1
    while d < LOOK and before < 0:
        if labels[up - d] != n and labels[up - d] != w:
            before = labels[up - d]
        d += 1
    candidates[0] = w
    n_candidates = 1
    for i in range(9):
        if i < 3:
            label = n if i == 0 else (ne if i == 1 else nw)
        elif i < 6:
            label = after if i == 3 else (nee if i == 4 else nn)
        else:
            label = then if i == 6 else (before if i == 7 else ww)
        fresh = 1 if label >= 0 else 0
        for j in range(n_candidates):
            if candidates[j] == label:
                fresh = 0
        if fresh == 1:
            candidates[n_candidates] = label
            n_candidates += 1
    # What the contexts are made of: which cells agree, where runs end, sizes.
    near = (
        (1 if w == n else 0) | (2 if n == ne else 0) | (4 if n == nw else 0)
        | (8 if w == nw else 0) | (16 if w == ne else 0) | (32 if nw == ne else 0)
    )  # fmt: skip
    far = (
        (1 if ww == w else 0) | (2 if nn == n else 0) | (4 if nee == ne else 0) | (8 if nww == nw else 0)
        | (16 if nne == ne else 0) | (32 if nnw == nw else 0) | (64 if nn == w else 0) | (128 if nne == n else 0)
        | (256 if nnw == n else 0) | (512 if ww == nww else 0) | (1024 if nww == w else 0)
    )  # fmt: skip
    farther = (
        (1 if labels[top - stride] == nn else 0) | (2 if nnee == nee else 0) | (4 if neee == nee else 0)
        | (8 if nnww == nww else 0) | (16 if labels[at - 3] == ww else 0) | (32 if nnee == nne else 0)
        | (64 if nnww == nnw else 0)
    )  # fmt: skip
    ends = (edge(labels, up, w) + 9) * 32 + edge(labels, top, w) + 9
    run_w = 1
    while run_w < 4 and labels[at - 1 - run_w] == w:
        run_w += 1
    run_up = 1
    while run_up < 4 and labels[at - (run_up + 1) * stride] == n:
        run_up += 1
    run_left = 1
    while run_left < 9 and labels[up - run_left] == n:
        run_left += 1
    runs = run_left * 32 + (run_right if run_right < 15 else 15)
    sizes = size_class(area[w]) * 32 + size_class(area[n])
    by_run = (run_w - 1) * 4 + (run_right if run_right < 3 else 3)

    has_empty = asked
    n_asked = 0
    for i in range(n_candidates):
        label = candidates[i]
        if label == 0:
            has_empty = 1
        if (i > 0 or asked == 0) and (allowed[label] == 1 or label == old) and not (label == 0 and asked == 1):
            candidates[n_asked] = label
            n_asked += 1
            rank = i if i < 6 else 6
            like = (
                (1 if label == n else 0) | (2 if label == ne else 0) | (4 if label == nw else 0)
                | (8 if label == after else 0) | (16 if label == nn else 0) | (32 if label == nee else 0)
                | (64 if label == 0 else 0)
            )  # fmt: skip
            base = (rank * 128 + like) * 64 + near
            age = row - born[label]
            if area[label] == 0:
                age = 0
            slots[0] = hashed(base, far, 0)
            slots[1] = hashed(base, far, farther + 1) + (1 << SLOT_BITS)
            slots[2] = hashed(base, ends, 300) + (2 << SLOT_BITS)
            slots[3] = hashed(base, sizes, 400) + (3 << SLOT_BITS)
            slots[4] = hashed(base, runs, 500 + run_up) + (4 << SLOT_BITS)
            slots[5] = hashed(base, size_class(area[label]), 600 + (age if age < 31 else 31)) + (5 << SLOT_BITS)
            sets[0] = (rank * 64 + near) * SET_SIZE
            sets[1] = (BY_RUN + rank * 16 + by_run) * SET_SIZE
            bit = code_mixed(
                rc, buf, 1 if label == true else 0, counts, slots, N_CONTEXTS, LIMIT,
                weights, sets, N_SETS, RATE, tables, scratch,
            )  # fmt: skip
            if bit == 1:
                return label
    if empty_ok == 1 and has_empty == 0 and code_adaptive(rc, buf, 1 if true == 0 else 0, counts, NOBODY, 255) == 1:
        return 0
    if progress[SEEN] < progress[LAST] and code_adaptive(rc, buf, starts, counts, NEW, 255) == 1:
        if rc[MODE] == LEARN:
            return true
        progress[SEEN] += 1
        return progress[SEEN]
    n_found = nearby(labels, at, stride, 1, candidates, n_asked, found)
    for i in range(n_found):
        if code_adaptive(rc, buf, 1 if found[i] == true else 0, counts, NEAR + i, 255) == 1:
            return found[i]
    label = code_even(rc, buf, size_class(progress[LAST]), true)
    if label > progress[LAST]:
        rc[STATUS] = BAD
        return 0
    return label
