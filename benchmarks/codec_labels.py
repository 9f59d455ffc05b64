"""Rows of the label codec."""

from __future__ import annotations

import argparse
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from benchmarks import compressors, regions, tables
from benchmarks.rows import Row, progress, rate
from flight import kernels
from flight.config import LinkConfig
from flight.link.classes import relate
from flight.link.labelset import LabelSet, errors, pack, unpack
from flight.link.layout import MapOrder, Places, map_order, places_in_order
from flight.link.region import Region

BIT_RATE_BPS, EFFICIENCY = 9600, 0.7
_LEVELS = 32
_LINK = LinkConfig(max_region_chips=1 << 24, max_municipalities=1 << 20, max_file_bytes=1 << 26)
_CHANGES = ("moved", "drawn anew", "moved in places")
_PLAIN_CELLS = 100_000  # tables above this are not decoded by plain Python here


def rows(args: argparse.Namespace) -> list[Row]:
    """Rows of every table of the command line, and of made ones."""
    found = []
    for path in args.data:
        try:
            region, of_file = regions.read(path).quantised(), tables.read(path)
        except (OSError, ValueError, KeyError) as error:
            found.append(Row(f"{path.stem} / tables", None, "B", why=str(error)))
            continue
        for name, table in of_file.items():
            found += _of_table(f"{path.stem} {name}", table, region, args.quick)
    if not args.data:
        found.append(Row("real borders / tables", None, "B", why="it needs tables: --data FILE ..."))
    return found + _made(args.quick)


def _made(quick: bool) -> list[Row]:
    """Rows of the synthetic Earth's table, of one of a continent, and of tables without any order in them."""
    from ground.regions import region_from_imagery
    from sim.world import World

    side = 40 if quick else 120
    world = World(1, side, side, side * side // 40)
    land = region_from_imagery(world, 1).quantised()
    found = [
        row
        for task in world.tasks
        for row in _of_table(f"synthetic Earth, {task.name}", world.table(task).astype(np.float32), land, quick)
    ]
    if not quick:
        continent = regions.voronoi(1300, 1385, 45_000, seed=1, samples=3).quantised()
        table = tables.smooth(map_order(continent).places, 5, seed=1)
        found += _of_table("45,000 municipalities, 5 classes", table, continent, quick)
    n = 300 if quick else 2_000
    found += _of_table("disorder: all rows as likely", tables.even(n, 5, seed=1), None, quick)
    return found + _of_table("disorder: one class a row", tables.one_class_each(n, 5, seed=1), None, quick)


def _of_table(name: str, table: NDArray[np.float32], region: Region | None, quick: bool) -> list[Row]:
    progress(f"label table: {name}")
    labels = tables.label_set(table, _LEVELS)
    order = map_order(region) if region is not None else None
    places = order.places if order is not None else places_in_order(len(table))
    backend = kernels.JIT if kernels.has_jit() else kernels.PYTHON
    data = pack(labels, order, backend=backend)
    ours, there = float(len(data)), int((~labels.missing).sum())
    mean, greatest = errors(labels)
    half = table.astype(np.float16)
    found = [
        Row(f"{name} / file", ours, "B", ("float16", float(half.nbytes))),
        Row(f"{name} / float16 against ours", half.nbytes / ours, "times"),
        Row(f"{name} / file", 8 * ours / there, "bit/row"),
        Row(f"{name} / error of a proportion, mean", mean, ""),
        Row(f"{name} / error of a proportion, greatest", greatest, ""),
        Row(f"{name} / airtime", ours * 8 / BIT_RATE_BPS / EFFICIENCY, "s"),
    ]
    found += _rivals(name, labels, places, ours)
    if order is not None:
        found.append(
            Row(f"{name} / file without a map", float(len(pack(labels, backend=backend))), "B", ("ours", ours))
        )
        found += _deltas(name, labels.quantised(), order, backend)
    return found + _speed(name, data, labels, order, 1 if quick else 5)


def _rivals(name: str, labels: LabelSet, places: Places, ours: float) -> list[Row]:
    """What general compressors make of the float16 table, and of the counts, in the best of many layouts."""
    found = []
    half = [[labels.proportions.astype(np.float16).tobytes()], [labels.proportions.astype(np.float16).T.tobytes()]]
    for what, layouts in (("float16", half), ("counts", _layouts(labels, places))):
        sizes = {}
        for rival, compress in compressors.general().items():
            title = f"{name} / {what} by {rival} in the best of its layouts"
            if isinstance(compress, str):
                found.append(Row(title, None, "B", why=compress))
                continue
            sizes[rival] = compressors.smallest(layouts, compress)
            found.append(Row(title, float(sizes[rival]), "B", ("ours", ours)))
        rival, smallest = compressors.best(sizes)
        found.append(Row(f"{name} / ours against {what} by {rival}", ours / smallest, "of it"))
    return found


def _layouts(labels: LabelSet, places: Places) -> list[list[bytes]]:
    """Counts row by row or class by class, with and without what the others imply, as they are or as differences.

    Rows in the order of the table and in that of the map, in which differences are of neighbours.
    """
    there = ~labels.missing
    found = []
    for order in (np.flatnonzero(there), places.order[there[places.order]]):
        counts = labels.counts[order]
        rest = np.delete(counts, int(np.argmax(counts.sum(0, dtype=np.int64))), axis=1)
        for table in (counts, rest):
            for values in (table, np.diff(table, axis=0, prepend=np.zeros((1, table.shape[1]), np.uint8))):
                found += [[values.tobytes()], [column.tobytes() for column in values.T]]
    return found


def _deltas(name: str, base: LabelSet, order: MapOrder, backend: str) -> list[Row]:
    """Files against a version on board: with changed rows, with classes merged, and with classes split again."""
    found = []
    for how in _CHANGES:
        later = tables.changed(base, order.places, how, seed=5)
        delta, again = (len(pack(later, order, other, backend=backend)) for other in (base, None))
        differ = int((later.counts != base.counts).any(1).sum())
        title = f"{name} / delta, a tenth of the rows {how} ({differ} differ)"
        found += [
            Row(title, float(delta), "B", ("whole", float(again))),
            Row(f"{title}: whole", again / delta, "times"),
        ]
    few = base.classes[:2]
    merged = np.concatenate([base.proportions[:, :2], base.proportions[:, 2:].sum(1, keepdims=True)], axis=1)
    coarse = replace(base, version=2, classes=(*few, "other"), proportions=merged).quantised()
    pairs = [(each, "other") for each in base.classes[2:]]
    ways = (
        ("merged", coarse, base, relate(base.classes, coarse.classes, pairs)),
        ("split", base, coarse, relate(coarse.classes, base.classes, [(new, old) for old, new in pairs])),
    )
    for what, later, before, relation in ways:
        sizes = [float(len(pack(later, order, *how, backend=backend))) for how in ((before, relation), (None, None))]
        found.append(Row(f"{name} / delta, classes {what}", sizes[0], "B", ("whole", sizes[1])))
    return found


def _speed(name: str, data: bytes, labels: LabelSet, order: MapOrder | None, repeats: int) -> list[Row]:
    n, found = len(labels.proportions), []
    for backend in kernels.BACKENDS:
        title = f"{name} / decoding, {backend} kernels"
        if backend == kernels.JIT and not kernels.has_jit():
            found.append(Row(title, None, "rows/s", why="numba is not installed"))
        elif backend == kernels.PYTHON and labels.proportions.size > _PLAIN_CELLS:
            found.append(Row(title, None, "rows/s", why="measured on smaller tables"))
        else:
            decoded = unpack(data, _LINK, order, backend=backend)  # and compiles
            if decoded.crc != labels.crc:
                raise ValueError(f"{name}: the file does not give the table that it was made from")
            times = 1 if backend == kernels.PYTHON else repeats
            found.append(rate(title, "rows/s", n, lambda b=backend: unpack(data, _LINK, order, backend=b), times))
    return found
