"""What a patch of a region changes: which municipalities it affects, how many are new, and in which box of cells."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from flight import kernels

from . import coder
from .pack import CodecError
from .region import DEFAULT_LEVELS, MAX_LEVELS, MIN_LEVELS, Region
from .region_model import Window

MARGIN = 24  # cells around the changed ones that the model learns from
LEARNED = 40_000  # cells that it learns from at most, if the changed ones are fewer
HALF, RARELY = 1 << 15, 1 << 11  # probabilities, in 65536ths
_BOX_PAYS = 30  # cells that a box must save to be worth its bytes


@dataclass(frozen=True)
class Scope:
    """What a patch changes: affected labels, new municipalities, and a box of cells."""

    levels: int
    affected: tuple[int, ...]
    n_new: int
    box: Window | None


def code_scope(stream: coder.Coder, base: Region, scope: Scope | None, max_new: int) -> Scope:
    """Code what a patch changes; CodecError for what cannot be."""

    def number(value: int, low: int, high: int) -> int:
        """A number within two limits, as likely the one as the other."""
        found = low + int(coding.code_even(stream.state, stream.buffer, (high - low).bit_length(), value - low))
        if found > high:
            raise CodecError(f"region: {found} in a patch, where at most {high} makes sense")
        return found

    def small(value: int, low: int, high: int) -> int:
        """A number that is likely to be small: Elias gamma."""
        size = 0
        while size < 31 and coding.code_bit(
            stream.state, stream.buffer, HALF, int((value - low + 1) >> (size + 1) > 0)
        ):
            size += 1
        rest = int(coding.code_even(stream.state, stream.buffer, size, (value - low + 1) & ((1 << size) - 1)))
        found = low - 1 + (1 << size | rest)
        if not low <= found <= high:
            raise CodecError(f"region: {found} in a patch, where at most {high} makes sense")
        return found

    coding = kernels.load("coding", kernels.PYTHON)
    given = scope or Scope(DEFAULT_LEVELS, (0,), 0, None)
    n = len(base.codes)
    levels = DEFAULT_LEVELS
    if coding.code_bit(stream.state, stream.buffer, RARELY, int(given.levels != levels)):
        levels = number(given.levels, MIN_LEVELS, MAX_LEVELS)
    n_new = small(given.n_new, 0, max_new)
    with_nobody = coding.code_bit(stream.state, stream.buffer, HALF, int(given.affected[0] == 0))
    others = [label for label in given.affected if label > 0]
    n_others = small(len(others), 0, n)
    affected = [0] * with_nobody + [number(others[i] if scope else 1, 1, n) for i in range(n_others)]
    if not affected:
        raise CodecError("region: a patch that affects nothing")
    box = None
    if coding.code_bit(stream.state, stream.buffer, HALF, int(given.box is not None)):
        first, past, west, east = bounds_of(cells_of(base, tuple(affected), None))
        top, end, left, right = given.box or (first, first + 1, west, west + 1)
        size = small if with_nobody else number
        top, left = number(top, first, past - 1), number(left, west, east - 1)
        box = (top, top + size(end - top, 1, past - top), left, left + size(right - left, 1, east - left))
    stream.check()
    return Scope(levels, tuple(affected), n_new, box)


def cells_of(base: Region, affected: tuple[int, ...], box: Window | None) -> NDArray[np.bool_]:
    """Cells, bool (rows, cols), that a patch codes."""
    hit = np.zeros(len(base.codes) + 1, bool)
    hit[list(affected)] = True
    hit[0] = False
    changing = hit[base.bags + 1].any(1).reshape(base.rows, base.cols)
    if affected[0] == 0:
        changing |= _beside_nobody(base)
    if box is not None:
        top, end, left, right = box
        inside = np.zeros_like(changing)
        inside[top:end, left:right] = True
        changing &= inside
    return changing


def _beside_nobody(base: Region) -> NDArray[np.bool_]:
    """Cells, bool (rows, cols), that nobody owns, or that have such a cell around them."""
    empty = np.pad((base.bags[:, 0] < 0).reshape(base.rows, base.cols), 1, constant_values=False)
    found = np.zeros((base.rows, base.cols), bool)
    for y in range(3):
        for x in range(3):
            found |= empty[y : y + base.rows, x : x + base.cols]
    return found


def bounds_of(cells: NDArray[np.bool_]) -> Window:
    """The smallest window around some cells; an empty one at the origin if there are none."""
    rows, cols = np.flatnonzero(cells.any(1)), np.flatnonzero(cells.any(0))
    return (int(rows[0]), int(rows[-1]) + 1, int(cols[0]), int(cols[-1]) + 1) if len(rows) else (0, 0, 0, 1)


def area_of(window: Window) -> int:
    """Cells of a window."""
    return (window[1] - window[0]) * (window[3] - window[2])


def around(window: Window, where: Region) -> Window:
    """The window that is learned from: with a margin, which is narrower if the window is large."""
    top, end, left, right = window
    margin = MARGIN
    while margin > 1 and (end - top + 2 * margin) * (right - left + 2 * margin) > LEARNED:
        margin -= 1
    return (max(0, top - margin), min(where.rows, end + margin), max(0, left - margin), min(where.cols, right + margin))


def scopes(base: Region, new: Region, levels: int) -> Iterator[Scope]:
    """Ways to say what is affected: without a box, and with one if that leaves out cells."""
    changed = (base.bags != new.bags).any(1) | (base.weights != new.weights).any(1)
    n_old = len(base.codes)
    if not changed.any() and len(new.codes) == n_old:
        raise CodecError("region: nothing has changed")
    affected = _affected(base, changed)
    whole = Scope(levels, affected, len(new.codes) - n_old, None)
    boxed = replace(whole, box=bounds_of(changed.reshape(base.rows, base.cols)))
    n_whole, n_boxed = (int(cells_of(base, affected, scope.box).sum()) for scope in (whole, boxed))
    if n_boxed < n_whole:
        yield boxed
    if n_whole <= n_boxed + _BOX_PAYS:
        yield whole


def _affected(base: Region, changed: NDArray[np.bool_]) -> tuple[int, ...]:
    """Few labels that all changed cells have, or lie beside."""
    bags = base.bags[changed] + 1
    empty = bags[:, 0] == 0
    chosen = {0} if empty.any() else set()
    left = ~empty
    if 0 in chosen and left.any():
        left &= ~_beside_nobody(base).ravel()[changed]
    while left.any():
        labels, how_often = np.unique(bags[left][bags[left] > 0], return_counts=True)
        best = int(labels[how_often.argmax()])
        chosen.add(best)
        left &= ~(bags == best).any(1)
    return tuple(sorted(chosen)) or (1,)
