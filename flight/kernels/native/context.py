"""What the default learner reads of its records: descriptions of chips (`flight.learn.context`), features of cells."""

from __future__ import annotations

import math
from typing import Any

from flight.kernels.native.gemm import gemm_relu, gemm_start
from flight.kernels.native.language import carray, f4, helper
from flight.kernels.native.vector import LANES, at, load, narrow, splat, store, total, vfma, vlog

_LEAST_VARIANCE = f4(1e-4)


@helper
def _sum(p: Any, i: int, n: int) -> Any:
    sums = splat(f4(0.0))
    for v in range(0, n, LANES):
        sums = sums + load(p, i + v)
    return total(sums)


@helper
def _products(p: Any, i: int, j: int, n: int) -> Any:
    sums = splat(f4(0.0))
    for v in range(0, n, LANES):
        sums = vfma(load(p, i + v), load(p, j + v), sums)
    return total(sums)


def describe(
    records: Any, scale: Any, low: Any, some: Any, descriptions: Any, work: Any,
    n: int, record_bytes: int, n_cells: int, k: int, n_some: int,
) -> None:  # fmt: skip
    """Write means, logarithms of deviations and correlations of chips' statistics to `descriptions` (n, m).

    The first n_cells * k bytes of a row of `records` (n, record_bytes) are codes of statistics: times `scale` (k,),
    plus `low` (k,). Correlations are of the `n_some` statistics `some`, ascending. `work` takes
    ``(k + 1) * (n_cells to the next 16)`` and k to the next 16.
    """
    codes, out = carray(records, (n, record_bytes)), carray(descriptions, (n, 2 * k + n_some * (n_some - 1) // 2))
    for i in range(n):
        _describe(codes[i], scale, low, some, out[i], work, n_cells, k, n_some)


@helper
def _describe(codes: Any, scale: Any, low: Any, some: Any, out: Any, work: Any, n: int, k: int, n_some: int) -> None:
    padded = (n + LANES - 1) // LANES * LANES
    unit, least, chosen = carray(scale, k), carray(low, k), carray(some, n_some)
    lines, logs = carray(work, (k, padded)), at(work, k * padded)
    deviations = carray(logs, (k + LANES - 1) // LANES * LANES)
    for j in range((k + LANES - 1) // LANES * LANES):
        deviations[j] = f4(1.0)
    for j in range(k):
        line = lines[j]
        for i in range(n):
            line[i] = f4(codes[i * k + j]) * unit[j] + least[j]
        for i in range(n, padded):
            line[i] = f4(0.0)
        out[j] = _sum(work, j * padded, padded) / f4(n)
        for i in range(n):
            line[i] -= out[j]
        variance = _products(work, j * padded, j * padded, padded) / f4(n)
        deviations[j] = f4(math.sqrt(max(variance, _LEAST_VARIANCE)))
        for i in range(n):
            line[i] /= deviations[j]
    for j in range(0, k, LANES):
        store(logs, j, vlog(load(logs, j)))
    here = 2 * k
    for j in range(k):
        out[k + j] = deviations[j]
    for a in range(n_some):
        for b in range(a + 1, n_some):
            out[here] = _products(work, chosen[a] * padded, chosen[b] * padded, padded) / f4(n)
            here += 1


def project_cells(
    records: Any, scale: Any, low: Any, places: Any, weights: Any, offset: Any, turn: Any, start: Any, cells: Any,
    work: Any, n: int, record_bytes: int, n_places: int, k: int, n_units: int, padded: int, n_values: int, width: int,
) -> None:  # fmt: skip
    """Write the head's features of some cells of chips to `cells` (n, width, l), l for n_places to the next 16.

    They are ``start + embedding turn``, kept in 16 bits (`vector.narrow`): of the cells `places` (n_places,) that
    `records` keep (as for `describe`), the last `n_values` values of the embedding
    (`flight.kernels.native.features.embed`). With w for width to the next 16, `turn` is (n_values, w), `start` (w,),
    and `work` takes ``n_places * (k + padded + n_units + k + w)``.
    """
    lanes, columns, n_out = (n_places + LANES - 1) // LANES * LANES, (width + LANES - 1) // LANES * LANES, n_units + k
    codes, unit, least = carray(records, (n, record_bytes)), carray(scale, k), carray(low, k)
    place, out = carray(places, n_places), carray(cells, (n, width, lanes))
    relu, phi, turned = (
        at(work, n_places * k),
        at(work, n_places * (k + padded)),
        at(work, n_places * (k + padded + n_out)),
    )
    z, units = carray(work, (n_places, k)), carray(relu, (n_places, padded))
    values, features = carray(phi, (n_places, n_out)), carray(turned, (n_places, columns))
    for i in range(n):
        for c in range(n_places):
            for j in range(k):
                z[c, j] = f4(codes[i, place[c] * k + j]) * unit[j] + least[j]
        gemm_relu(work, k, 1, weights, padded, relu, padded, n_places, padded, k, offset)
        for c in range(n_places):
            for j in range(n_units):
                values[c, j] = units[c, j]
            for j in range(k):
                values[c, n_units + j] = z[c, j]
        gemm_start(
            at(phi, n_out - n_values), n_out, 1, turn, columns, turned, columns, n_places, columns, n_values, start
        )
        for j in range(width):
            for c in range(n_places):
                out[i, j, c] = narrow(features[c, j])
            for c in range(n_places, lanes):
                out[i, j, c] = 0
