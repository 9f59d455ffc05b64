"""Kernel of a map's second pass: what else each cell overlaps, and in which counts, in raster order.

The first pass is known for the whole map, this one for the cells before. Candidates are the municipalities of the eight
cells around, the one that is likely to have the largest share first; the share of each is coded as one decision a
count. Contexts hold which of the cells around are its own, and which belong to the cell's main municipality, and the
shares that both have in the cells before. Some are the same for a map mirrored at its diagonal.
"""

from __future__ import annotations

from flight.kernels import Bytes, Ints
from flight.kernels.buffers import SLOT_BITS
from flight.kernels.buffers.overlaps import (
    BY_MASK,
    BY_RATIO,
    COUNT,
    IS_PATCH,
    KEPT,
    LAST,
    LEVELS,
    MAX_CANDIDATES,
    MORE,
    N_CONTEXTS,
    N_SETS,
    NEAR,
    NEXT_COL,
    NEXT_ROW,
    PAD,
    SET_SIZE,
    STRIDE,
)
from flight.kernels.coding import BAD, MODE, OK, STATUS, code_adaptive, code_even, code_mixed
from flight.kernels.grid import hashed, nearby, share, size_class

LIMIT, RATE = 1023, 20


def overlaps(
    rc: Ints,
    buf: Bytes,
    labels: Ints,
    bags: Ints,
    shares: Bytes,
    goal_bags: Ints,
    goal_shares: Bytes,
    todo: Bytes,
    allowed: Bytes,
    progress: Ints,
    window: Ints,
    n_cells: int,
    counts: Ints,
    weights: Ints,
    tables: Ints,
    mirrored: Ints,
    slots: Ints,
    sets: Ints,
    scratch: Ints,
    candidates: Ints,
    masses: Ints,
    found: Ints,
) -> int:
    """Code the next `n_cells` cells of a window of a padded map; 1 if more are left, 0 if not.

    Args:
        labels: each cell's main municipality, numbered from 1; nobody is 0.
        bags, shares: four labels a cell and their counts, in no order; 0 where there are fewer. What is known already.
        goal_bags, goal_shares: what is encoded or learned; not read when decoding.
        todo: which cells are coded; the others are known.
        allowed: which labels a patch redistributes, if this is one; the shares of others are mostly kept.
        progress: row and column to go on at, how the map is padded (cells from row to row, and on every side), counts
            that a cell's shares sum to, the last label, and 1 for a patch.
        window: first row, end row, first column, end column.
        mirrored: the eight symmetries of each mask of neighbours, see `flight.link.region_model`.
    """
    stride = progress[STRIDE]
    pad = progress[PAD]
    row, col = progress[NEXT_ROW], progress[NEXT_COL]
    while row < window[1] and n_cells > 0 and rc[STATUS] == OK:
        n_cells -= 1
        at = (row + pad) * stride + col + pad
        if todo[at] == 1:
            code_cell(
                rc, buf, labels, bags, shares, goal_bags, goal_shares, allowed, at, stride, progress,
                counts, weights, tables, mirrored, slots, sets, scratch, candidates, masses, found,
            )  # fmt: skip
        col += 1
        if col == window[3]:
            col = window[2]
            row += 1
    progress[NEXT_ROW] = row
    progress[NEXT_COL] = col
    return 1 if row < window[1] and rc[STATUS] == OK else 0


def code_cell(
    rc: Ints,
    buf: Bytes,
    labels: Ints,
    bags: Ints,
    shares: Bytes,
    goal_bags: Ints,
    goal_shares: Bytes,
    allowed: Bytes,
    at: int,
    stride: int,
    progress: Ints,
    counts: Ints,
    weights: Ints,
    tables: Ints,
    mirrored: Ints,
    slots: Ints,
    sets: Ints,
    scratch: Ints,
    candidates: Ints,
    masses: Ints,
    found: Ints,
) -> int:
    """Code what one cell overlaps besides its main municipality; 0."""
    levels = progress[LEVELS]
    coding = 1 if rc[MODE] != 0 else 0
    main = labels[at]
    here = 4 * at
    n = 0
    if main > 0:
        n = weigh(labels, bags, shares, at, stride, levels, candidates, masses)
    # What there is to give to candidates, how much is given, the largest given, and the slots in use.
    spare, given, largest, used, main_slot, kept = levels, 0, 0, 0, 0, 0
    main_count = 0
    if progress[IS_PATCH] == 1 and bags[here] > 0 and main > 0:
        spare = 0
        for i in range(here, here + 4):
            if bags[i] > 0 and allowed[bags[i]] == 1:
                spare += shares[i]
        open_mass = 0
        for i in range(n):
            if allowed[candidates[i]] == 1:
                open_mass += masses[i]
        open_mass = (open_mass + 2 * levels) // (3 * levels)
        if spare > 0 or allowed[main] == 0:
            keep = 0
            if coding == 1:
                keep = keeps(bags, shares, goal_bags, goal_shares, allowed, here, main, candidates, n)
            context = KEPT + (8 if spare == 0 else 0) + (open_mass if open_mass < 7 else 7)
            kept = code_adaptive(rc, buf, keep, counts, context, 255)
    if kept == 1:
        for i in range(here, here + 4):
            label = bags[i]
            if label > 0 and allowed[label] == 0:
                count = shares[i]
                if count > largest:
                    largest = count
                if label == main:
                    main_count = count
                bags[here + used] = label
                shares[here + used] = count
                used += 1
        if main_count == 0 and (used == 4 or spare == 0):
            rc[STATUS] = BAD
            return 0
    else:
        spare = levels
    main_slot = here + used
    first_free = used
    if main_count == 0:
        used += 1
    for i in range(here + first_free, here + 4):
        bags[i] = 0
        shares[i] = 0
    if main == 0:
        return 0
    if main_count == 0:
        bags[main_slot] = main
    last_open = -1
    if kept == 1:
        for i in range(n):
            if allowed[candidates[i]] == 1:
                last_open = i
    mass_main = mass_of(labels, bags, shares, at, stride, levels, main)
    total = mass_main + 1
    for i in range(n):
        total += masses[i]
    own = mask_of(labels, at, stride, main)
    for i in range(n):
        label = candidates[i]
        if used < 4 and (kept == 0 or allowed[label] == 1):
            if main_count > 0:
                cap = spare - given if spare - given < main_count else main_count
            else:
                cap = (spare - given) // 2
                if spare - given - largest < cap:
                    cap = spare - given - largest
            count = 0
            if main_count > 0 and i == last_open:
                count = spare - given
            elif cap > 0:
                true = share(goal_bags, goal_shares, at, label) if coding == 1 else 0
                count = code_count(
                    rc, buf, true, cap, labels, bags, shares, at, stride, levels, label, main, own,
                    masses[i], mass_main, total, i, given, counts, weights, tables, mirrored, slots, sets, scratch,
                )  # fmt: skip
            if count > 0:
                bags[here + used] = label
                shares[here + used] = count
                used += 1
                given += count
                if count > largest:
                    largest = count
    if kept == 1 and main_count > 0:
        if given != spare:
            rc[STATUS] = BAD
        return 0
    alone = 1 if own == 255 else 0
    going = 1 - kept
    while going == 1 and used < 4 and spare - given - largest > 0 and spare - given > 1:
        cap = (spare - given) // 2
        if spare - given - largest < cap:
            cap = spare - given - largest
        true, count = 0, 0
        if coding == 1:
            for i in range(here, here + 4):
                if goal_bags[i] > 0 and share(bags, shares, at, goal_bags[i]) == 0 and goal_bags[i] != main:
                    true = goal_bags[i]
                    count = goal_shares[i]
        context = MORE + alone + 2 * (n if n < 7 else 7) + (16 if given > 0 else 0)
        going = code_adaptive(rc, buf, 1 if true > 0 else 0, counts, context, 1023)
        if going == 1:
            if n < MAX_CANDIDATES:
                candidates[n] = main
            label = code_other(rc, buf, true, labels, at, stride, progress[LAST], candidates, n + 1, counts, found)
            if label == 0 or label == main or share(bags, shares, at, label) > 0:
                rc[STATUS] = BAD
                return 0
            got = 1
            while got < cap and code_adaptive(rc, buf, 1 if count > got else 0, counts, COUNT + got, 255) == 1:
                got += 1
            bags[here + used] = label
            shares[here + used] = got
            used += 1
            given += got
            if got > largest:
                largest = got
    shares[main_slot] = spare - given
    return 0


def weigh(
    labels: Ints, bags: Ints, shares: Bytes, at: int, stride: int, levels: int, candidates: Ints, masses: Ints
) -> int:
    """The municipalities of the cells around, but for the cell's own, heaviest first; how many."""
    main = labels[at]
    n = 0
    for k in range(8):
        cell = at + neighbour(k, stride)
        weight = 6 - k // 2 if k < 4 else 2
        past = 1 if k < 2 or k == 4 or k == 5 else 0
        for i in range(4 * cell, 4 * cell + 4):
            label = bags[i] if past == 1 else labels[cell]
            if label > 0 and label != main:
                j = 0
                while j < n and candidates[j] != label:
                    j += 1
                if j == n and n < MAX_CANDIDATES - 1:
                    candidates[n] = label
                    masses[n] = 0
                    n += 1
                if j < n:
                    masses[j] += weight * (shares[i] if past == 1 else levels)
            if past == 0 or label <= 0:
                break
    for i in range(1, n):
        label = candidates[i]
        mass = masses[i]
        j = i
        while j > 0 and masses[j - 1] < mass:
            candidates[j] = candidates[j - 1]
            masses[j] = masses[j - 1]
            j -= 1
        candidates[j] = label
        masses[j] = mass
    return n


def neighbour(k: int, stride: int) -> int:
    """Where neighbour `k` of a cell is: left, above, right, below, and the corners row by row."""
    if k < 4:
        return -1 if k == 0 else (-stride if k == 1 else (1 if k == 2 else stride))
    return (-stride if k < 6 else stride) + (-1 if k % 2 == 0 else 1)


def mass_of(labels: Ints, bags: Ints, shares: Bytes, at: int, stride: int, levels: int, label: int) -> int:
    """What `weigh` would say of `label`."""
    mass = 0
    for k in range(8):
        cell = at + neighbour(k, stride)
        weight = 6 - k // 2 if k < 4 else 2
        if k < 2 or k == 4 or k == 5:
            mass += weight * share(bags, shares, cell, label)
        elif labels[cell] == label:
            mass += weight * levels
    return mass


def mask_of(labels: Ints, at: int, stride: int, label: int) -> int:
    """Which of the eight neighbours mainly belong to `label`."""
    return (
        (1 if labels[at - 1] == label else 0)
        | (2 if labels[at - stride] == label else 0)
        | (4 if labels[at + 1] == label else 0)
        | (8 if labels[at + stride] == label else 0)
        | (16 if labels[at - stride - 1] == label else 0)
        | (32 if labels[at - stride + 1] == label else 0)
        | (64 if labels[at + stride - 1] == label else 0)
        | (128 if labels[at + stride + 1] == label else 0)
    )


def keeps(
    bags: Ints,
    shares: Bytes,
    goal_bags: Ints,
    goal_shares: Bytes,
    allowed: Bytes,
    here: int,
    main: int,
    candidates: Ints,
    n: int,
) -> int:
    """Whether a cell changes by sharing out anew, among candidates, what the patch redistributes, and nothing else."""
    before, after = 0, 0
    for i in range(here, here + 4):
        if bags[i] > 0 and allowed[bags[i]] == 0:
            before += 1
    for i in range(here, here + 4):
        label = goal_bags[i]
        if label > 0 and allowed[label] == 0:
            after += 1
            if share(bags, shares, here // 4, label) != goal_shares[i]:
                return 0
        elif label > 0 and label != main:
            known = 0
            for j in range(n):
                if candidates[j] == label:
                    known = 1
            if known == 0:
                return 0
    return 1 if before == after else 0


def code_count(
    rc: Ints,
    buf: Bytes,
    true: int,
    cap: int,
    labels: Ints,
    bags: Ints,
    shares: Bytes,
    at: int,
    stride: int,
    levels: int,
    label: int,
    main: int,
    own: int,
    mass: int,
    mass_main: int,
    total: int,
    rank: int,
    given: int,
    counts: Ints,
    weights: Ints,
    tables: Ints,
    mirrored: Ints,
    slots: Ints,
    sets: Ints,
    scratch: Ints,
) -> int:
    """Code the count of candidate `label`, from 0 to `cap`."""
    mask = mask_of(labels, at, stride, label)
    left = share(bags, shares, at - 1, label) * 8 // levels
    up = share(bags, shares, at - stride, label) * 8 // levels
    corner = share(bags, shares, at - stride - 1, label) * 8 // levels
    left2 = left * 16 + share(bags, shares, at - 2, label) * 8 // levels
    up2 = up * 16 + share(bags, shares, at - 2 * stride, label) * 8 // levels
    beyond = 0
    for k in range(4):
        cell = at + 2 * neighbour(k, stride)
        if labels[cell] == label:
            beyond |= 1 << k
        elif labels[cell] == main:
            beyond |= 16 << k
    around = 0
    for dy in range(-2, 3):
        for cell in range(at + dy * stride - 2, at + dy * stride + 3):
            if labels[cell] == label:
                around += 1
    ratio = mass * 64 // (mass + mass_main + 1)
    rest = (total - mass - mass_main) * 16 // total
    turned, turned_own, more, less = mask, own, left, up
    if left < up or (left == up and mirrored[256 + mask] < mask):
        turned, turned_own, more, less = mirrored[256 + mask], mirrored[256 + own], up, left
    shape = 0
    for k in range(8):
        turn = mirrored[256 * k + mask] * 256 + mirrored[256 * k + own]
        if turn > shape:
            shape = turn
    ahead = (turned & 0xCC) * 256 + (turned_own & 0xCC)
    first = rank if rank < 3 else 3
    some = 1 if given > 0 else 0
    count = 0
    while count < cap:
        step = count * 8 // levels
        base = (((first * 64 + count) * 2 + (1 if cap < levels // 2 else 0)) * 2 + some) * 512
        slots[0] = hashed(base + ratio // 2, rest, 0)
        slots[1] = hashed(base + ratio // 4, around, 100) + (1 << SLOT_BITS)
        slots[2] = hashed(base + mask, beyond, 200) + (2 << SLOT_BITS)
        slots[3] = hashed(base + mask, up2, 300) + (3 << SLOT_BITS)
        slots[4] = hashed(base + mask, left2, 400) + (4 << SLOT_BITS)
        slots[5] = hashed(base, shape, 500) + (5 << SLOT_BITS)
        slots[6] = hashed(base + more * 16 + less, ahead, 600) + (6 << SLOT_BITS)
        slots[7] = hashed(base + more * 16 + less, (corner << 2) | (turned >> 2 & 3), 700) + (7 << SLOT_BITS)
        sets[0] = ((first * 8 + (step if step < 7 else 7)) * 2 + some) * SET_SIZE
        sets[1] = (BY_RATIO + ratio // 2) * SET_SIZE
        sets[2] = (BY_MASK + mask) * SET_SIZE
        bit = code_mixed(
            rc, buf, 1 if true > count else 0, counts, slots, N_CONTEXTS, LIMIT,
            weights, sets, N_SETS, RATE, tables, scratch,
        )  # fmt: skip
        if bit == 0:
            break
        count += 1
    return count


def code_other(
    rc: Ints,
    buf: Bytes,
    true: int,
    labels: Ints,
    at: int,
    stride: int,
    last: int,
    known: Ints,
    n_known: int,
    counts: Ints,
    found: Ints,
) -> int:
    """Code a label that is not `known`: one that is near, or any; 0 if there is no such label."""
    n_found = nearby(labels, at, stride, 0, known, n_known, found)
    for i in range(n_found):
        if code_adaptive(rc, buf, 1 if found[i] == true else 0, counts, NEAR + i, 255) == 1:
            return found[i]
    label = code_even(rc, buf, size_class(last), true)
    return label if label <= last else 0
