"""Entry points of the kernels of decoders and encoders: those of `flight/kernels/`, which also run as plain Python."""

from __future__ import annotations

from typing import Any

from flight.kernels import bytewise, coding, composition
from flight.kernels import membership as member
from flight.kernels import names as listed
from flight.kernels import overlaps as over
from flight.kernels.native.language import carray, from_python, inlined

_content, _code_even = from_python(bytewise.content), from_python(coding.code_even)
_code_rows, _code_order = from_python(composition.code_rows), from_python(composition.code_order)
_code_present, _code_runs = from_python(composition.code_present), from_python(composition.code_runs)
_membership, _overlaps = from_python(member.membership), from_python(over.overlaps)
_names, _numbers = from_python(listed.names), from_python(listed.numbers)


@inlined
def _at(pointer: Any) -> Any:
    """An array of length 0: kernels are told how far to go, and what numba adds to a negative index folds away."""
    return carray(pointer, 0)


# fmt: off
def code_even(rc: Any, buf: Any, n_bits: int, value: int) -> Any:
    """See `flight.kernels.coding.code_even`."""
    return _code_even(_at(rc), _at(buf), n_bits, value)


def content(
    rc: Any, buf: Any, text: Any, first: int, last: int, counts: Any, weights: Any, tables: Any, slots: Any, sets: Any,
    scratch: Any,
) -> Any:
    """See `flight.kernels.bytewise.content`."""
    return _content(
        _at(rc), _at(buf), _at(text), first, last, _at(counts), _at(weights), _at(tables), _at(slots), _at(sets),
        _at(scratch),
    )


def code_rows(
    rc: Any, buf: Any, plan: Any, counts: Any, weights: Any, tables: Any, shape: Any, pmf: Any, inputs: Any, table: Any,
    grouped: Any, base: Any, bounds: Any, near: Any, best: Any, rough: Any, row_kinds: Any, sums: Any, means: Any,
) -> Any:
    """See `flight.kernels.composition.code_rows`."""
    return _code_rows(
        (_at(rc), _at(buf), _at(plan), _at(counts), _at(weights), _at(tables), _at(shape), _at(pmf), _at(inputs)),
        _at(table), _at(grouped), _at(base), _at(bounds), _at(near), _at(best), _at(rough), _at(row_kinds), _at(sums),
        _at(means),
    )


def code_order(
    rc: Any, buf: Any, plan: Any, counts: Any, weights: Any, tables: Any, shape: Any, pmf: Any, inputs: Any, order: Any,
    n: int,
) -> Any:
    """See `flight.kernels.composition.code_order`."""
    return _code_order(
        (_at(rc), _at(buf), _at(plan), _at(counts), _at(weights), _at(tables), _at(shape), _at(pmf), _at(inputs)),
        _at(order), n,
    )


def code_present(
    rc: Any, buf: Any, plan: Any, counts: Any, weights: Any, tables: Any, shape: Any, pmf: Any, inputs: Any,
    present: Any, known: Any, n: int,
) -> Any:
    """See `flight.kernels.composition.code_present`."""
    return _code_present(
        (_at(rc), _at(buf), _at(plan), _at(counts), _at(weights), _at(tables), _at(shape), _at(pmf), _at(inputs)),
        _at(present), _at(known), n,
    )


def code_runs(
    rc: Any, buf: Any, plan: Any, counts: Any, weights: Any, tables: Any, shape: Any, pmf: Any, inputs: Any, runs: Any,
    n: int,
) -> Any:
    """See `flight.kernels.composition.code_runs`."""
    return _code_runs(
        (_at(rc), _at(buf), _at(plan), _at(counts), _at(weights), _at(tables), _at(shape), _at(pmf), _at(inputs)),
        _at(runs), n,
    )


def membership(
    rc: Any, buf: Any, labels: Any, goal: Any, todo: Any, allowed: Any, area: Any, born: Any, progress: Any,
    window: Any, n_cells: int, counts: Any, weights: Any, tables: Any, slots: Any, sets: Any, scratch: Any,
    candidates: Any, found: Any,
) -> Any:
    """See `flight.kernels.membership.membership`."""
    return _membership(
        _at(rc), _at(buf), _at(labels), _at(goal), _at(todo), _at(allowed), _at(area), _at(born), _at(progress),
        _at(window), n_cells, _at(counts), _at(weights), _at(tables), _at(slots), _at(sets), _at(scratch),
        _at(candidates), _at(found),
    )


def overlaps(
    rc: Any, buf: Any, labels: Any, bags: Any, shares: Any, goal_bags: Any, goal_shares: Any, todo: Any, allowed: Any,
    progress: Any, window: Any, n_cells: int, counts: Any, weights: Any, tables: Any, mirrored: Any, slots: Any,
    sets: Any, scratch: Any, candidates: Any, masses: Any, found: Any,
) -> Any:
    """See `flight.kernels.overlaps.overlaps`."""
    return _overlaps(
        _at(rc), _at(buf), _at(labels), _at(bags), _at(shares), _at(goal_bags), _at(goal_shares), _at(todo),
        _at(allowed), _at(progress), _at(window), n_cells, _at(counts), _at(weights), _at(tables), _at(mirrored),
        _at(slots), _at(sets), _at(scratch), _at(candidates), _at(masses), _at(found),
    )


def names(
    rc: Any, buf: Any, text: Any, goal: Any, progress: Any, n_bytes: int, counts: Any, weights: Any, tables: Any,
    slots: Any, sets: Any, scratch: Any,
) -> Any:
    """See `flight.kernels.names.names`."""
    return _names(
        _at(rc), _at(buf), _at(text), _at(goal), _at(progress), n_bytes, _at(counts), _at(weights), _at(tables),
        _at(slots), _at(sets), _at(scratch),
    )


def numbers(
    rc: Any, buf: Any, values: Any, goal: Any, hints: Any, first: int, last: int, bits: int, counts: Any,
) -> Any:
    """See `flight.kernels.names.numbers`."""
    return _numbers(_at(rc), _at(buf), _at(values), _at(goal), _at(hints), first, last, bits, _at(counts))
