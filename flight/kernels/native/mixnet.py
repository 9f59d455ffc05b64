"""The head of `flight.learn.mixnet`: loss and gradient for its weights, and what it says of the cells of a chip.

Cells of a chip lie side by side, feature by feature, in whole vectors: what is summed over features needs no sum across
lanes. Chips lie side by side in whole vectors too, padded with zeros, wherever one number a chip is meant.
"""

from __future__ import annotations

from typing import Any

from flight.kernels.native.gemm import gemm_add, gemm_start
from flight.kernels.native.language import carray, f4, helper
from flight.kernels.native.vector import LANES, at, load, load_narrow, splat, store, total, vexp, vfma, vlog, vmax

_FLOOR, _TINY = f4(1e-3), f4(1e-6)
_CLASSES = 4  # whose scores are summed at a time
_CHIPS = 4  # whose gradients are summed at a time


def objective(
    x: Any, cells: Any, context: Any, start: Any, matching: Any, target: Any, weight: Any, gradient: Any, floats: Any,
    n: int, n_cells: int, k: int, n_context: int, n_classes: int, n_bags: int, entropy: float, penalty: float,
) -> float:  # fmt: skip
    """The loss of `flight.learn.mixnet` at weights `x`, with `entropy` and `penalty`; its gradient to `gradient`.

    With m for n, and l for n_cells, to the next 16: `cells` (n, k, l) are kept in 16 bits (`vector.narrow`), `context`
    (n_context, m), `start` (n_classes, m), `matching` (n_bags, m), zeros where padded; `target` (n_bags, n_classes) and
    `weight` (n_bags,). If n_bags is 0, the loss is that of targets of each chip: `target` is (n, n_classes), others are
    not read. `x` and `gradient` are (k + 1 + n_context, n_classes). Scratch `floats` takes `scratch_of` numbers.
    """
    padded = whole(n)
    means, slopes = _forward(x, cells, context, start, floats, n, n_cells, k, n_context, n_classes)
    slope = carray(slopes, (n_classes, padded))
    for c in range(n_classes):
        for i in range(padded):
            slope[c, i] = f4(0.0)
    if n_bags > 0:
        line = at(floats, scratch_of(n, n_cells, k, n_context, n_classes) - 2 * whole(n_classes))
        value = _matched(means, matching, target, weight, slope, line, n_bags, n_classes, padded)
    else:
        value = _targets(means, target, slope, n, n_classes, padded)
    return value + _backward(x, cells, context, gradient, floats, n, n_cells, k, n_context, n_classes, entropy, penalty)


@helper
def _matched(
    means: Any, matching: Any, target: Any, weight: Any, slope: Any, line: Any, n_bags: int, n_classes: int, padded: int
) -> float:
    """`flight.learn.mixnet.Matched`, and its slopes."""
    pairs, p, w = carray(matching, (n_bags, padded)), carray(target, (n_bags, n_classes)), carray(weight, n_bags)
    both = carray(line, (2, whole(n_classes)))
    u, known = both[0], both[1]
    value = 0.0
    for b in range(n_bags):
        for c in range(whole(n_classes)):
            u[c], known[c] = f4(1.0), f4(1.0)
        part = 0.0
        for c in range(n_classes):
            u[c] = max(_sum_of_products(matching, b * padded, means, c * padded, padded), _FLOOR)
            known[c] = p[b, c] if p[b, c] > f4(0.0) else f4(1.0)
            part += float(u[c]) - float(p[b, c])
            step = w[b] * (f4(1.0) - p[b, c] / u[c])
            for i in range(padded):
                slope[c, i] += pairs[b, i] * step
        for v in range(0, 2 * whole(n_classes), LANES):
            store(line, v, vlog(load(line, v)))
        for c in range(n_classes):
            part += float(p[b, c]) * (float(known[c]) - float(u[c]))
        value += float(w[b]) * part
    return value


@helper
def _targets(means: Any, target: Any, slope: Any, n: int, n_classes: int, padded: int) -> float:
    """`flight.learn.mixnet.Targets`, and its slopes."""
    mean, p = carray(means, (n_classes, padded)), carray(target, (n, n_classes))
    value = 0.0
    for i in range(n):
        for c in range(n_classes):
            off = mean[c, i] - p[i, c]
            value += float(off) * float(off)
            slope[c, i] = f4(2.0) * off / f4(n)
    return value / n


@helper
def whole(n: int) -> int:
    """`n` to the next multiple of 16."""
    return (n + LANES - 1) // LANES * LANES


@helper
def _classes(n_classes: int) -> int:
    return (n_classes + _CLASSES - 1) // _CLASSES * _CLASSES


@helper
def scratch_of(n: int, n_cells: int, k: int, n_context: int, n_classes: int) -> int:
    """Floats of scratch: weights, means, slopes, proportions and scores of cells, sums, two lines of classes."""
    columns = _classes(n_classes)
    chips = 2 * n_classes * whole(n) + (n + _CHIPS) * columns * whole(n_cells)
    return whole((k + 1 + n_context) * columns) + chips + k * n_classes * LANES + 2 * whole(n_classes)


@helper
def _sum_of_products(a: Any, i: int, b: Any, j: int, n: int) -> Any:
    """Of two rows of whole vectors, from a[i] and b[j] on."""
    even, odd = splat(f4(0.0)), splat(f4(0.0))
    v = 0
    while v + 2 * LANES <= n:
        even = vfma(load(a, i + v), load(b, j + v), even)
        odd = vfma(load(a, i + v + LANES), load(b, j + v + LANES), odd)
        v += 2 * LANES
    if v < n:
        even = vfma(load(a, i + v), load(b, j + v), even)
    return total(even + odd)


@helper
def _forward(
    x: Any, cells: Any, context: Any, start: Any, floats: Any, n: int, n_cells: int, k: int, n_context: int,
    n_classes: int,
) -> Any:  # fmt: skip
    """Proportions of cells and their means over chips; where the means are, and where their slopes go."""
    columns, padded, lanes = _classes(n_classes), whole(n), whole(n_cells)
    given, w = carray(x, (k + 1 + n_context, n_classes)), carray(floats, (k + 1 + n_context, columns))
    for j in range(k + 1 + n_context):
        for c in range(columns):
            w[j, c] = f4(given[j, c]) if c < n_classes else f4(0.0)
    means = at(floats, whole((k + 1 + n_context) * columns))
    d = at(means, n_classes * padded)
    q = at(d, n_classes * padded)
    base, mean, first = (
        carray(d, (n_classes, padded)),
        carray(means, (n_classes, padded)),
        carray(start, (n_classes, padded)),
    )
    for c in range(n_classes):
        for i in range(padded):
            base[c, i] = first[c, i] + w[k, c]
            mean[c, i] = f4(0.0)
    gemm_add(at(floats, (k + 1) * columns), 1, columns, context, padded, d, padded, n_classes, padded, n_context)
    for i in range(n):
        here = at(q, i * columns * lanes)
        for v in range(0, lanes, LANES):
            for c in range(0, columns, _CLASSES):
                _scores(at(cells, i * k * lanes + v), lanes, at(floats, c), columns, at(here, c * lanes + v), lanes, k)
            for c in range(n_classes):
                store(here, c * lanes + v, load(here, c * lanes + v) + splat(base[c, i]))
            _softmax(here, v, lanes, n_classes)
        for c in range(n_classes):
            mean[c, i] = _mean_of_lanes(here, c * lanes, n_cells)
    return means, d


@helper
def _scores(cells: Any, lanes: int, w: Any, columns: int, out: Any, out_row: int, k: int) -> None:
    """Scores of four classes of sixteen cells, from `k` features."""
    s0, s1, s2, s3 = splat(f4(0.0)), splat(f4(0.0)), splat(f4(0.0)), splat(f4(0.0))
    of = carray(w, k * columns)
    for j in range(k):
        z, row = load_narrow(cells, j * lanes), j * columns
        s0, s1 = vfma(splat(of[row]), z, s0), vfma(splat(of[row + 1]), z, s1)
        s2, s3 = vfma(splat(of[row + 2]), z, s2), vfma(splat(of[row + 3]), z, s3)
    store(out, 0, s0)
    store(out, out_row, s1)
    store(out, 2 * out_row, s2)
    store(out, 3 * out_row, s3)


@helper
def _softmax(s: Any, v: int, lanes: int, n_classes: int) -> None:
    """Shares of the classes of sixteen cells, whose scores of class c are at ``s[c * lanes + v]``, in place."""
    most = load(s, v)
    for c in range(1, n_classes):
        most = vmax(most, load(s, c * lanes + v))
    whole_of = splat(f4(0.0))
    for c in range(n_classes):
        e = vexp(load(s, c * lanes + v) - most)
        store(s, c * lanes + v, e)
        whole_of = whole_of + e
    for c in range(n_classes):
        store(s, c * lanes + v, load(s, c * lanes + v) / whole_of)


@helper
def _mean_of_lanes(q: Any, first: int, n_cells: int) -> Any:
    """Mean over a chip's cells; lanes beyond them are passed over."""
    sums = splat(f4(0.0))
    v = 0
    while v + LANES <= n_cells:
        sums = sums + load(q, first + v)
        v += LANES
    rest = f4(0.0)
    some = carray(q, first + n_cells)
    for i in range(first + v, first + n_cells):
        rest += some[i]
    return (total(sums) + rest) / f4(n_cells)


@helper
def _backward(
    x: Any, cells: Any, context: Any, gradient: Any, floats: Any, n: int, n_cells: int, k: int, n_context: int,
    n_classes: int, entropy: float, penalty: float,
) -> float:  # fmt: skip
    """Entropy and penalty; the gradient of all, from the slopes that the loss has left for the chips' means."""
    columns, padded, lanes = _classes(n_classes), whole(n), whole(n_cells)
    means = at(floats, whole((k + 1 + n_context) * columns))
    d = at(means, n_classes * padded)
    q = at(d, n_classes * padded)
    ds = at(q, n * columns * lanes)
    sums = at(ds, _CHIPS * columns * lanes)
    by_chip = carray(means, (n_classes, padded))
    lanes_of = carray(sums, k * n_classes * LANES)
    for j in range(k * n_classes * LANES):
        lanes_of[j] = f4(0.0)
    share = f4(entropy / (n * n_cells))
    mess = 0.0
    for first in range(0, n, _CHIPS):
        count = min(_CHIPS, n - first)
        for i in range(first, first + count):
            here = at(ds, (i - first) * columns * lanes)
            mess += _slopes(at(q, i * columns * lanes), here, d, i, n_cells, n_classes, padded, share)
            for c in range(n_classes):
                by_chip[c, i] = _mean_of_lanes(here, c * lanes, n_cells) * f4(n_cells)
        if count == _CHIPS:
            _sum_four(at(cells, first * k * lanes), ds, sums, k, columns, n_classes, lanes)
        else:
            for i in range(count):
                _sum_one(at(cells, (first + i) * k * lanes), at(ds, i * columns * lanes), sums, k, n_classes, lanes)
    given, out = carray(x, (k + 1 + n_context, n_classes)), carray(gradient, (k + 1 + n_context, n_classes))
    squares = 0.0
    for j in range(k + 1 + n_context):
        for c in range(n_classes):
            if j < k:
                slope_of = total(load(sums, (j * n_classes + c) * LANES))
            elif j == k:
                slope_of = f4(0.0)
                for i in range(n):
                    slope_of += by_chip[c, i]
            else:
                slope_of = _sum_of_products(context, (j - k - 1) * padded, means, c * padded, padded)
            held = 0.0 if j == k else given[j, c]
            squares += held * held
            out[j, c] = float(slope_of) + 2.0 * penalty * held
    return entropy * (mess / (n * n_cells)) + penalty * squares


@helper
def _slopes(q: Any, ds: Any, d: Any, i: int, n_cells: int, n_classes: int, padded: int, share: Any) -> float:
    """Slopes for the scores of a chip's cells, 0 beyond them; the sum of the cells' entropies."""
    lanes = whole(n_cells)
    of_chip, out = carray(d, (n_classes, padded)), carray(ds, (n_classes, lanes))
    mess = 0.0
    for v in range(0, lanes, LANES):
        along, negative = splat(f4(0.0)), splat(f4(0.0))
        for c in range(n_classes):
            part = load(q, c * lanes + v)
            along = vfma(part, splat(of_chip[c, i] / f4(n_cells)), along)
            negative = vfma(part, vlog(vmax(part, splat(_TINY))), negative)
        store(ds, v, negative)
        for j in range(v, min(n_cells, v + LANES)):
            mess -= float(out[0, j])
        for c in range(n_classes):
            part = load(q, c * lanes + v)
            pull = splat(of_chip[c, i] / f4(n_cells)) - along
            push = (vlog(vmax(part, splat(_TINY))) - negative) * splat(share)
            store(ds, c * lanes + v, part * (pull - push))
    for c in range(n_classes):
        for j in range(n_cells, lanes):
            out[c, j] = f4(0.0)
    return mess


@helper
def _sum_four(cells: Any, ds: Any, sums: Any, k: int, columns: int, n_classes: int, lanes: int) -> None:
    """Add to the sums of lanes, of each feature and class, the products of cells and slopes of four chips."""
    chip, slopes = k * lanes, columns * lanes
    for j in range(k):
        for v in range(0, lanes, LANES):
            z = at(cells, j * lanes + v)
            z0, z1 = load_narrow(z, 0), load_narrow(z, chip)
            z2, z3 = load_narrow(z, 2 * chip), load_narrow(z, 3 * chip)
            for c in range(n_classes):
                s, here = at(ds, c * lanes + v), (j * n_classes + c) * LANES
                kept = vfma(z1, load(s, slopes), vfma(z0, load(s, 0), load(sums, here)))
                store(sums, here, vfma(z3, load(s, 3 * slopes), vfma(z2, load(s, 2 * slopes), kept)))


@helper
def _sum_one(cells: Any, ds: Any, sums: Any, k: int, n_classes: int, lanes: int) -> None:
    """The same of one chip."""
    for j in range(k):
        for v in range(0, lanes, LANES):
            z = load_narrow(cells, j * lanes + v)
            for c in range(n_classes):
                here = (j * n_classes + c) * LANES
                store(sums, here, vfma(z, load(ds, c * lanes + v), load(sums, here)))


def shares(phi: Any, phi_row: int, weights: Any, chip: Any, q: Any, work: Any, n: int, k: int, n_classes: int) -> None:
    """Class proportions `q` (n, n_classes) of cells: shares of ``phi weights + chip``, a row of `phi` after another.

    `phi` has `k` values a row, `phi_row` apart. With c for n_classes to the next 16, `weights` is (k, c), zeros where
    padded, `chip` (c,), and `work` (n to the next 16, c) of scratch, then (n_classes, 16).
    """
    columns, out = whole(n_classes), carray(q, (n, n_classes))
    gemm_start(phi, phi_row, 1, weights, columns, work, columns, n, columns, k, chip)
    scores, lines = carray(work, (whole(n), columns)), at(work, whole(n) * columns)
    line = carray(lines, (n_classes, LANES))
    for v in range(0, n, LANES):
        for c in range(n_classes):
            for j in range(LANES):
                line[c, j] = scores[v + j, c] if v + j < n else f4(0.0)
        _softmax(lines, 0, LANES, n_classes)
        for j in range(v, min(n, v + LANES)):
            for c in range(n_classes):
                out[j, c] = line[c, j - v]
