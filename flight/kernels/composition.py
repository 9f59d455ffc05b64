"""Kernels that code rows of counts with a given sum, each from rows that are coded already.

A row's counts are split off one class after the other, each by decisions of the form "is it at least t?". Several
experts give the distribution of a count: beta-binomial ones, which make a Dirichlet-multinomial row (Mosimann, "On the
compound multinomial distribution", Biometrika 49, 1962), around means that differ in where they come from and in how
far they are trusted; and one that learns from what was coded. Their probabilities are mixed as in
`flight.kernels.coding`.

A row may be compared with a *base*, which gives it in the same or in fewer columns, the *groups*: then it is first said
whether its groups are those of the base, and if not, what they are; then each group is shared out among its classes.
Without a base there is one group.

Means are in 65536ths, parameters of a beta-binomial in 256ths, weights of neighbours for the best mean in 16384ths.
"""

from __future__ import annotations

from flight.kernels import Bytes, Ints
from flight.kernels.buffers.composition import (
    BASED,
    CHANGED,
    CLASS_KINDS,
    CLASSES,
    GROUPS,
    LEVELS,
    MEAN_KINDS,
    NEIGHBOURS,
    NODES,
    PRESENT,
    ROW_KINDS,
    ROWS,
    RUNS,
    SETS,
    SLOTS,
    STRIDE,
)
from flight.kernels.coding import (
    CONFIDENCE_AT,
    DECODE,
    MODE,
    OK,
    ONE,
    REACH,
    STATUS,
    STRETCH_AT,
    code_adaptive,
    code_bit,
    code_even,
    moved,
)

LIMIT = 1000  # decisions after which an adaptive probability has its slowest pace
RATE = 5  # at which weights learn, in 65536ths of an error times an input

# How far a mean is trusted: a Dirichlet distribution's concentration.
LOOSE, TIGHT, ROUGH = 5, 30, 10  # around the best mean, twice, and around a rough one
NEARLY, EXACTLY, MOVED = 20, 100, 30  # around the base, twice, and around the base moved as its neighbours were
PRIOR = 200  # share of the mean that comes from all rows
FLOOR = 5  # least addition to a beta-binomial's parameter
PEAK, HIGHEST = 1 << 26, 1 << 38

# Everything but tables of rows: coder, its buffer, plan, adaptive probabilities, weights, tables of the coder, and
# space for the experts' parameters (2 x EXPERTS), their distributions (EXPERTS x (LEVELS + 2)), and inputs (INPUTS).
Model = tuple[Ints, Bytes, Ints, Ints, Ints, Ints, Ints, Ints, Ints]


def code_rows(
    model: Model,
    table: Ints,
    grouped: Ints,
    base: Ints,
    bounds: Ints,
    near: Ints,
    best: Ints,
    rough: Ints,
    row_kinds: Ints,
    sums: Ints,
    means: Ints,
) -> int:
    """Code all rows; the coder's status.

    `table` (rows x classes) and `grouped` (rows x groups) are read when encoding and filled when decoding; `base` (rows
    x groups) starts with -1 where there is none. Group g has the columns `bounds[g]` to `bounds[g + 1]` - 1. `near` are
    rows coded before, -1 at the end; `best` and `rough` two weights of each. `sums` (classes + groups) and `means`
    (4 x classes) are working space, the first one all 1.
    """
    rc, _, plan, _, _, _, _, _, _ = model
    classes = plan[CLASSES]
    groups = plan[GROUPS]
    n_near = plan[NEIGHBOURS]
    for r in range(plan[ROWS]):
        if rc[STATUS] != OK:
            break
        at = r * groups
        if plan[BASED] == 0:
            grouped[at] = plan[LEVELS]
        elif base[at] < 0:
            mean_of(grouped, groups, r, near, best, n_near, sums, classes, means, 0)
            mean_of(grouped, groups, r, near, rough, n_near, sums, classes, means, groups)
            share_out(model, grouped, groups, r, 0, groups - 1, plan[LEVELS], row_kinds[r], means)
        elif code_changed(model, grouped, base, r, near):
            mean_from_base(model, grouped, base, r, near, best, sums, classes, means)
            change(model, grouped, base, r, row_kinds[r], means)
        else:
            for g in range(groups):
                grouped[at + g] = base[at + g]
        for g in range(groups):
            sums[classes + g] += grouped[at + g]
        if classes > groups:
            mean_of(table, classes, r, near, best, n_near, sums, 0, means, 0)
            mean_of(table, classes, r, near, rough, n_near, sums, 0, means, classes)
        for g in range(groups):
            share_out(model, table, classes, r, bounds[g], bounds[g + 1] - 1, grouped[at + g], row_kinds[r], means)
        for k in range(classes):
            sums[k] += table[r * classes + k]
    return rc[STATUS]


def code_changed(model: Model, grouped: Ints, base: Ints, r: int, near: Ints) -> int:
    """Code whether row `r` differs from the base, from how many of its nearest neighbours do."""
    rc, buf, plan, counts, _, _, _, _, _ = model
    groups = plan[GROUPS]
    seen = 0
    moved_rows = 0
    for e in range(r * plan[NEIGHBOURS], r * plan[NEIGHBOURS] + min(6, plan[NEIGHBOURS])):
        j = near[e] * groups
        if j < 0:
            break
        if base[j] >= 0:
            seen += 1
            for g in range(groups):
                if grouped[j + g] != base[j + g]:
                    moved_rows += 1
                    break
    flag = 0
    for g in range(groups):
        if grouped[r * groups + g] != base[r * groups + g]:
            flag = 1
            break
    slot = CHANGED + min(moved_rows, 4) * 3 + (0 if seen == 0 else 1 if seen < 4 else 2)
    return code_adaptive(rc, buf, flag, counts, slot, 1023)


def mean_of(
    table: Ints, columns: int, r: int, near: Ints, weight: Ints, n: int, sums: Ints, prior: int, mean: Ints, at: int
) -> int:
    """Fill `mean[at : at + columns]` with the weighted mean of row `r`'s neighbours, never 0, and its sum nearly 1.

    A little of it comes from all rows before, whose sums start at `sums[prior]`.
    """
    for k in range(columns):
        mean[at + k] = 0
    for e in range(r * n, r * n + n):
        j = near[e]
        if j < 0:
            break
        w = weight[e]
        if w != 0:
            for k in range(columns):
                mean[at + k] += w * table[j * columns + k]
    return normalise(columns, sums, prior, mean, at)


def mean_from_base(
    model: Model, grouped: Ints, base: Ints, r: int, near: Ints, weight: Ints, sums: Ints, prior: int, means: Ints
) -> int:
    """Fill `means` with means of row `r`'s groups: the base, its neighbours, and the base moved as these were."""
    plan = model[2]
    groups = plan[GROUPS]
    n = plan[NEIGHBOURS]
    for g in range(groups):
        means[g] = base[r * groups + g]
        means[2 * groups + g] = base[r * groups + g] << 14
    for e in range(r * n, r * n + n):
        j = near[e] * groups
        if j < 0:
            break
        if base[j] >= 0:
            for g in range(groups):
                means[2 * groups + g] += weight[e] * (grouped[j + g] - base[j + g])
    normalise(groups, sums, prior, means, 0)
    mean_of(grouped, groups, r, near, weight, n, sums, prior, means, groups)
    return normalise(groups, sums, prior, means, 2 * groups)


def normalise(columns: int, sums: Ints, prior: int, mean: Ints, at: int) -> int:
    """Make `mean[at : at + columns]` positive and sum to 1, nearly."""
    total = 0
    every = 0
    for k in range(columns):
        if mean[at + k] < 0:
            mean[at + k] = 0
        total += mean[at + k]
        every += sums[prior + k]
    if total == 0:
        total = 1
    for k in range(columns):
        mean[at + k] = (mean[at + k] * (ONE - PRIOR)) // total + (sums[prior + k] * PRIOR) // every + 1
    return OK


def share_out(
    model: Model, table: Ints, columns: int, r: int, first: int, last: int, total: int, row_kind: int, means: Ints
) -> int:
    """Code the counts of row `r` in columns `first` to `last`, which sum to `total`, around two means."""
    shape = model[6]
    at = r * columns
    left = total
    rest0 = 0
    rest1 = 0
    for k in range(first, last + 1):
        rest0 += means[k]
        rest1 += means[columns + k]
    for k in range(first, last):
        m0 = means[k]
        m1 = means[columns + k]
        value = 0
        if left > 0:
            trust(shape, 0, LOOSE, m0, rest0)
            trust(shape, 1, TIGHT, m0, rest0)
            trust(shape, 2, ROUGH, m1, rest1)
            kind = mean_kind(m0, rest0, left)
            centre = min(max((m0 * left + rest0 // 2) // rest0, 1), max(left - 1, 1))
            value = code_count(model, table[at + k], left, centre, 0, 3, min(k, CLASS_KINDS - 1), kind, row_kind)
        table[at + k] = value
        left -= value
        rest0 -= m0
        rest1 -= m1
    table[at + last] = left
    return OK


def change(model: Model, grouped: Ints, base: Ints, r: int, row_kind: int, means: Ints) -> int:
    """Code the groups of row `r`, which differ from the base, around three means."""
    plan = model[2]
    shape = model[6]
    groups = plan[GROUPS]
    at = r * groups
    left = plan[LEVELS]
    rest0 = 0
    rest1 = 0
    rest2 = 0
    for g in range(groups):
        rest0 += means[g]
        rest1 += means[groups + g]
        rest2 += means[2 * groups + g]
    ahead = 0  # of the base, in the groups so far
    same = 1
    for g in range(groups - 1):
        m0 = means[g]
        m1 = means[groups + g]
        m2 = means[2 * groups + g]
        value = 0
        if left > 0:
            trust(shape, 0, NEARLY, m0, rest0)
            trust(shape, 1, EXACTLY, m0, rest0)
            trust(shape, 2, ROUGH, m1, rest1)
            trust(shape, 3, MOVED, m2, rest2)
            kind = 7 if same == 1 else 3 + min(max(ahead, -3), 3)
            if base[at + g] == 0:
                kind += 8
            centre = min(base[at + g], left)
            value = code_count(model, grouped[at + g], left, centre, 1, 4, min(g, CLASS_KINDS - 1), kind, row_kind)
        grouped[at + g] = value
        left -= value
        ahead += value - base[at + g]
        if value != base[at + g]:
            same = 0
        rest0 -= m0
        rest1 -= m1
        rest2 -= m2
    grouped[at + groups - 1] = left
    return OK


def trust(shape: Ints, expert: int, concentration: int, mean: int, rest: int) -> int:
    """Set an expert's beta-binomial for a count whose mean is `mean` out of `rest`."""
    shape[2 * expert] = ((concentration * mean) >> 8) + FLOOR
    shape[2 * expert + 1] = ((concentration * (rest - mean)) >> 8) + FLOOR
    return OK


def mean_kind(mean: int, rest: int, n: int) -> int:
    """Which of 16 kinds a count is of, whose mean is `mean` / `rest` of `n`."""
    x = (mean * n * 16) // rest
    y = ((rest - mean) * n * 16) // rest
    if x < 13:
        return 0 if x < 1 else 1 if x < 3 else 2 if x < 7 else 3
    if y < 24:
        return 15 if y < 3 else 14 if y < 10 else 13
    if x < 48:
        return 4 if x < 26 else 5
    if y < 48:
        return 12
    return 6 + (mean * 6 - 1) // rest


def code_count(
    model: Model, value: int, n: int, centre: int, based: int, experts: int, kind: int, mean: int, row_kind: int
) -> int:
    """Code one count of 0 to `n`, with the experts whose parameters are set.

    First whether it is 0 and whether it is all (but not where it is `based`, and `centre` is its value in the base),
    then on which side of `centre` it is, then how far, in steps that grow.
    """
    plan = model[2]
    shape = model[6]
    pmf = model[7]
    inputs = model[8]
    size = plan[LEVELS] + 2
    for i in range(experts):
        beta_binomial(n, shape[2 * i], shape[2 * i + 1], pmf, i * size)
    slots = based * SLOTS + kind * NODES * MEAN_KINDS + mean
    sets = based * SETS * STRIDE + 1
    set0 = sets + kind * STRIDE
    set1 = sets + (NODES * CLASS_KINDS + mean) * STRIDE
    set2 = sets + (NODES * (CLASS_KINDS + MEAN_KINDS) + row_kind) * STRIDE
    lo = 0
    hi = n
    step = 2 * based
    side = 0
    width = 1
    longest = max(4, plan[LEVELS] // 16)
    while lo < hi:
        if step == 1 and n < 3:
            step = 2
        if step == 0:
            t = 1
        elif step == 1:
            t = hi
        elif step == 2:
            t = min(max(centre + 1, lo + 1), hi)
        else:
            if step > 6:
                width = min(longest, 2 * width)
            t = min(lo + width, hi) if side == 1 else max(hi - width + 1, lo + 1)
        for i in range(experts):
            top = pmf[i * size + hi + 1]
            whole = top - pmf[i * size + lo]
            inputs[i] = ((top - pmf[i * size + t]) * 4095 + whole // 2) // whole
        node = min(step, 11) + 12 * side
        at0 = set0 + node * CLASS_KINDS * STRIDE
        at1 = set1 + node * MEAN_KINDS * STRIDE
        at2 = set2 + node * ROW_KINDS * STRIDE
        bit = decide(model, 1 if value >= t else 0, experts, slots + node * MEAN_KINDS, at0, at1, at2)
        if bit != 0:
            lo = t
        else:
            hi = t - 1
        if step == 2:
            side = bit
        step += 1
    return lo


def beta_binomial(n: int, a: int, b: int, out: Ints, at: int) -> int:
    """Fill `out[at : at + n + 2]` with 0 and the cumulative weights of 0 to `n` successes, for parameters in 256ths."""
    start = (a * n) // (a + b)
    p = PEAK
    out[at + start + 1] = p
    for j in range(start, n):
        p = (p * (n - j) * (256 * j + a)) // ((j + 1) * (256 * (n - j - 1) + b))
        if p < 1:
            p = 1
        elif p > HIGHEST:
            p = HIGHEST
        out[at + j + 2] = p
    p = PEAK
    for j in range(start, 0, -1):
        p = (p * j * (256 * (n - j) + b)) // ((n - j + 1) * (256 * (j - 1) + a))
        if p < 1:
            p = 1
        elif p > HIGHEST:
            p = HIGHEST
        out[at + j] = p
    total = 0
    out[at] = 0
    for j in range(at + 1, at + n + 2):
        total += out[j]
        out[j] = total
    return OK


def held(x: int) -> int:
    """`x`, or the end of the logistic function's table that it is beyond."""
    if x > REACH:
        return REACH
    if x < -REACH:
        return -REACH
    return x


def decide(model: Model, bit: int, n: int, slot: int, set0: int, set1: int, set2: int) -> int:
    """Code one decision from `n` probabilities in 4096ths and the adaptive one at `slot`, and learn from it."""
    rc, buf, _, counts, weights, tables, _, _, inputs = model
    for i in range(n):
        inputs[i] = tables[STRETCH_AT + inputs[i]]
    state = counts[slot]
    inputs[n] = (tables[STRETCH_AT + (state >> 20)] * tables[CONFIDENCE_AT + (state & 1023)]) >> 8
    inputs[n + 1] = 76
    dot0 = 0
    dot1 = 0
    dot2 = 0
    for i in range(n + 2):
        x = inputs[i]
        dot0 += x * weights[set0 + i]
        dot1 += x * weights[set1 + i]
        dot2 += x * weights[set2 + i]
    dot0 = held(dot0 >> 16)
    dot1 = held(dot1 >> 16)
    dot2 = held(dot2 >> 16)
    bit = code_bit(rc, buf, tables[REACH + (dot0 + dot1 + dot2) // 3], bit)
    goal = ONE if bit != 0 else 0
    error0 = (goal - tables[REACH + dot0]) * RATE
    error1 = (goal - tables[REACH + dot1]) * RATE
    error2 = (goal - tables[REACH + dot2]) * RATE
    for i in range(n + 2):
        x = inputs[i]
        weights[set0 + i] += (x * error0 + 32768) >> 16
        weights[set1 + i] += (x * error1 + 32768) >> 16
        weights[set2 + i] += (x * error2 + 32768) >> 16
    counts[slot] = moved(state, bit, LIMIT)
    return bit


def code_order(model: Model, order: Ints, n: int) -> int:
    """Code a permutation of 0 to `n` - 1; when decoding, `order` starts as one."""
    rc, buf, _, _, _, _, _, _, _ = model
    for i in range(n - 1):
        bits = 0
        while (1 << bits) < n - i:
            bits += 1
        j = 0  # place among those that are left, which are in ascending order
        for k in range(i + 1, n):
            if order[k] < order[i]:
                j += 1
        j = min(code_even(rc, buf, bits, j), n - 1 - i)
        if rc[MODE] == DECODE:
            value = order[i + j]
            for k in range(i + j, i, -1):
                order[k] = order[k - 1]
            order[i] = value
    return rc[STATUS]


def code_present(model: Model, present: Ints, known: Ints, n: int) -> int:
    """Code for each of `n` rows whether it is there, from the rows before and from what is `known` (0 to 2) of it."""
    rc, buf, _, counts, _, _, _, _, _ = model
    past = 3
    for r in range(n):
        flag = code_adaptive(rc, buf, present[r], counts, PRESENT + known[r] * 4 + past, 1023)
        present[r] = flag
        past = (past * 2 + flag) & 3
    return rc[STATUS]


def code_runs(model: Model, runs: Ints, n: int) -> int:
    """Code `n` pairs of a gap and a length, below 2**32: each as that of the run before, or by its digits."""
    rc, buf, _, counts, _, _, _, _, _ = model
    for i in range(2 * n):
        if rc[STATUS] != OK:
            break
        at = RUNS + 96 * (i % 2)
        value = runs[i]
        if i >= 2 and code_adaptive(rc, buf, 1 if value == runs[i - 2] else 0, counts, at, 255) != 0:
            runs[i] = runs[i - 2]
            continue
        digits = 0
        while digits < 32 and code_adaptive(rc, buf, 1 if value >> digits else 0, counts, at + 1 + digits, 255) != 0:
            digits += 1
        found = 1 if digits else 0
        if digits > 1:
            found = 2 + code_adaptive(rc, buf, (value >> (digits - 2)) & 1, counts, at + 48 + digits, 255)
        if digits > 2:
            rest = digits - 2
            found = (found << rest) + code_even(rc, buf, rest, value & ((1 << rest) - 1))
        runs[i] = found
    return rc[STATUS]
