"""Regions to measure codecs on: real borders, Voronoi cells of any number, disorder; and changes to them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from flight.link.counts import quantise
from flight.link.region import FULL, NOBODY, OVERLAPS, Region

_TILE = 16  # cells along the side of a tile whose municipalities are looked for together


def read(path: Path) -> Region:
    """The region in an archive of ``grid`` (rows, columns) and of triples ``chip``, ``municipality``, ``share``.

    A chip keeps its four largest municipalities, with shares that are made to sum to 1. ``codes`` are used if they are
    there; otherwise the number of the municipality is its code.
    """
    with np.load(path, allow_pickle=False) as file:
        rows, cols = file["grid"].tolist()
        chip, label, share = file["chip"].astype(np.int64), file["municipality"], file["share"].astype(np.float64)
        n = int(label.max()) + 1
        codes = tuple(file["codes"].tolist()) if "codes" in file else tuple(f"{i:05d}" for i in range(n))
    return of_triples(rows, cols, codes, chip, label, share)


def of_triples(
    rows: int,
    cols: int,
    codes: tuple[str, ...],
    chip: NDArray[np.int64],
    label: NDArray[np.integer],
    share: NDArray[np.float64],
) -> Region:
    """The region in which chip `chip` belongs to municipality `label` by `share`, all (n,); the four largest count."""
    order = np.lexsort((label, -share, chip))
    chip, label, share = chip[order], label[order], share[order]
    rank = np.arange(len(chip)) - np.searchsorted(chip, chip)
    keep = (rank < OVERLAPS) & (share > 0)
    bags = np.full((rows * cols, OVERLAPS), NOBODY, np.int32)
    part = np.zeros((rows * cols, OVERLAPS))
    bags[chip[keep], rank[keep]], part[chip[keep], rank[keep]] = label[keep], share[keep]
    return _region(rows, cols, codes, bags, part)


def _region(
    rows: int, cols: int, codes: tuple[str, ...], bags: NDArray[np.int32], part: NDArray[np.floating]
) -> Region:
    """A region of municipalities (rows x cols, 4) and their shares of any scale, in any order."""
    weights = np.zeros(bags.shape, np.uint8)
    owned = part.sum(1) > 0
    weights[owned] = quantise(part[owned], FULL)
    order = np.argsort(-weights.astype(np.int64), axis=1, kind="stable")
    weights, bags = np.take_along_axis(weights, order, 1), np.take_along_axis(bags, order, 1)
    bags[weights == 0] = NOBODY
    return Region(1, rows, cols, codes, bags, weights)


def voronoi(rows: int, cols: int, n: int, seed: int, samples: int = 4, sea: float = 0.0) -> Region:
    """The cells of `n` random points, warped by waves; shares from `samples` x `samples` points a chip.

    Of the grid, a part `sea` at a wavy coast belongs to nobody.
    """
    rng = np.random.Generator(np.random.PCG64(seed))
    seats = np.sort(rng.random((n, 2)) * (rows, cols), axis=0)
    seats[:, 1] = rng.permutation(seats[:, 1])
    waves = [(rng.normal(0, 0.35 / k), rng.random(2) * k / 9, rng.random() * 6.3) for k in (1, 2, 3, 5, 8, 13)]
    reach = 3 + 2.6 * np.sqrt(rows * cols / n)
    bags = np.full((rows * cols, OVERLAPS), NOBODY, np.int32)
    part = np.zeros((rows * cols, OVERLAPS), np.uint8)
    offset = (np.arange(samples) + 0.5) / samples
    for top in range(0, rows, _TILE):
        for left in range(0, cols, _TILE):
            height, width = min(_TILE, rows - top), min(_TILE, cols - left)
            y = (top + np.add.outer(np.arange(height), offset))[:, None, :, None]
            x = (left + np.add.outer(np.arange(width), offset))[None, :, None, :]
            shift = sum(a * np.sin(6.3 * (y * f + x * g) + p) for a, (f, g), p in waves)
            yy, xx = y + shift, x + shift * 0.7
            near = np.flatnonzero(
                (np.abs(seats[:, 0] - top - height / 2) < reach + _TILE)
                & (np.abs(seats[:, 1] - left - width / 2) < reach + _TILE)
            )
            near = near if len(near) else np.arange(n)
            distance = (yy[..., None] - seats[near, 0]) ** 2 + (xx[..., None] - seats[near, 1]) ** 2
            owner = near[distance.argmin(-1)].reshape(height * width, -1)
            if sea:
                dry = xx > sea * cols * (1 + 0.3 * np.sin(yy / 23))
                owner = np.where(dry.reshape(height * width, -1), owner, NOBODY)
            cells = (np.arange(top, top + height)[:, None] * cols + np.arange(left, left + width)).ravel()
            bags[cells], part[cells] = _tally(owner)
    codes = tuple(f"{i // 200 + 1:02d}{i % 200 + 1:03d}" if n <= 19_800 else f"{i:05d}" for i in range(n))
    return _region(rows, cols, codes, bags, part)


def _tally(owner: NDArray[np.integer]) -> tuple[NDArray[np.int32], NDArray[np.uint8]]:
    """The four most frequent labels in each row of `owner` (n, samples), and how often; nobody's do not count."""
    owner = np.sort(owner, axis=1)
    begins = np.ones(owner.shape, bool)
    begins[:, 1:] = owner[:, 1:] != owner[:, :-1]
    at = np.flatnonzero(begins)
    length = np.diff(at, append=owner.size)
    row, label = at // owner.shape[1], owner.ravel()[at]
    length = np.where(label < 0, 0, length)
    order = np.lexsort((label, -length, row))
    row, label, length = row[order], label[order], length[order]
    rank = np.arange(len(row)) - np.searchsorted(row, row)
    keep = (rank < OVERLAPS) & (length > 0)
    bags = np.full((len(owner), OVERLAPS), NOBODY, np.int32)
    part = np.zeros((len(owner), OVERLAPS), np.uint8)
    bags[row[keep], rank[keep]], part[row[keep], rank[keep]] = label[keep], length[keep]
    return bags, part


def noise(rows: int, cols: int, n: int, seed: int) -> Region:
    """A region without any order in it: the worst case of a layout."""
    rng = np.random.Generator(np.random.PCG64(seed))
    bags = rng.integers(0, n, (rows * cols, OVERLAPS)).astype(np.int32)
    part = rng.random(bags.shape) + 0.05
    for i in range(1, OVERLAPS):
        part[(bags[:, :i] == bags[:, i : i + 1]).any(1), i] = 0
    part[np.arange(OVERLAPS) >= rng.integers(0, OVERLAPS + 1, rows * cols)[:, None]] = 0
    return _region(rows, cols, tuple(f"código {i}" for i in range(n)), bags, part)


def split(region: Region, parent: int, seed: int, code: str = "new") -> Region | None:
    """`region` with what of `parent` lies beyond a wavy line through its middle as a new municipality.

    None if that would leave either without a cell of its own.
    """
    rng = np.random.Generator(np.random.PCG64(seed))
    cells = np.flatnonzero((region.bags == parent).any(1))
    y, x = np.divmod(cells, region.cols)
    angle = rng.uniform(0, 2 * np.pi)
    down, across = np.cos(angle), np.sin(angle)
    own = region.bags[cells, 0] == parent
    if own.sum() < 2:
        return None
    offset = (np.arange(8) + 0.5) / 8 - 0.5
    yy, xx = y[:, None, None] + offset[:, None], x[:, None, None] + offset
    along = yy * across - xx * down
    waves = sum(0.4 / k * np.sin(along * k / 2 + rng.uniform(0, 6.3)) for k in range(1, 7))
    middle = np.median((y * down + x * across)[own])
    beyond = (yy * down + xx * across + waves > middle).mean((1, 2))
    bags, weights = region.bags.copy(), region.weights.astype(np.int64)
    new = len(region.codes)
    for cell, part in zip(cells.tolist(), beyond.tolist(), strict=True):
        slot = int(np.flatnonzero(bags[cell] == parent)[0])
        given = round(weights[cell, slot] * part)
        if given == weights[cell, slot]:
            bags[cell, slot] = new
        elif given and bags[cell, -1] == NOBODY:
            free = int(np.flatnonzero(bags[cell] == NOBODY)[0])
            bags[cell, free], weights[cell, free] = new, given
            weights[cell, slot] -= given
    made = _region(region.rows, region.cols, (*region.codes, code), bags, weights)
    both = (made.bags[:, 0] == new).any() and (made.bags[:, 0] == parent).any()
    return replace(made, region_id=region.region_id) if both else None


def without(region: Region, municipality: int) -> Region:
    """`region` before `municipality` had joined it: its cells belong to nobody, and its shares to its neighbours."""
    bags, weights = region.bags.copy(), region.weights.astype(np.int64)
    weights[bags == municipality] = 0
    bags[weights == 0] = NOBODY
    bags[bags > municipality] -= 1
    codes = region.codes[:municipality] + region.codes[municipality + 1 :]
    return replace(_region(region.rows, region.cols, codes, bags, weights), region_id=region.region_id)


def merged(region: Region, one: int, other: int) -> Region:
    """`region` with all of municipality `other` as part of `one`; the code of `other` stays, without a cell."""
    bags, weights = region.bags.copy(), region.weights.astype(np.int64)
    both = np.flatnonzero((bags == one).any(1) & (bags == other).any(1))
    for cell in both.tolist():
        a, b = int(np.flatnonzero(bags[cell] == one)[0]), int(np.flatnonzero(bags[cell] == other)[0])
        weights[cell, a] += weights[cell, b]
        weights[cell, b] = 0
    bags[bags == other] = one
    bags[weights == 0] = NOBODY
    return replace(_region(region.rows, region.cols, region.codes, bags, weights), region_id=region.region_id)
