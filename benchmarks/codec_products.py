"""Rows of the product codec."""

from __future__ import annotations

import argparse

import numpy as np

from benchmarks import compressors, regions, tables
from benchmarks.rows import Row, progress, rate
from flight import kernels
from flight.config import LinkConfig
from flight.link import municipal
from flight.link.counts import quantise
from flight.link.layout import map_order
from flight.link.municipal import MunicipalProduct
from flight.link.product import Product, pack, quick_look, unpack
from flight.link.region import Region

_ERROR, _BLOCK = 0.05, 8


def rows(args: argparse.Namespace) -> list[Row]:
    """Rows of the synthetic Earth's chips, as a model that is wrong by 0.05 would predict them."""
    from sim.world import World

    side = 24 if args.quick else 64
    world = World(1, side, side, 12 if args.quick else 100)
    table = world.proportions(np.arange(side * side), world.tasks[0])
    table = np.maximum(table + np.random.Generator(np.random.PCG64(1)).normal(0, _ERROR, table.shape), 0)
    table = (table / table.sum(1, keepdims=True)).astype(np.float32)
    found = []
    for levels in (16, 64):
        progress(f"products of chips, {levels} levels")
        chips = Product(1, 1, 1, bytes(8), levels, np.arange(side * side, dtype=np.int32), table, side)
        found += _of_product(f"{side * side} chips, {table.shape[1]} classes, {levels} levels", chips)
    for path in args.data:
        try:
            region, of_file = regions.read(path).quantised(), tables.read(path)
        except (OSError, ValueError, KeyError) as error:
            found.append(Row(f"{path.stem} / municipal products", None, "B", why=str(error)))
            continue
        for name, labels in of_file.items():
            found += _of_municipalities(f"{path.stem} {name}", labels, region)
    return found


def _of_municipalities(name: str, labels: tables.Table, region: Region) -> list[Row]:
    """Rows of all municipalities, and of half of them, as a model that is wrong by 0.05 would predict them."""
    progress(f"municipal products of {name}")
    rng, order = np.random.Generator(np.random.PCG64(1)), map_order(region)
    shares = np.maximum(labels + rng.normal(0, _ERROR, labels.shape), 0)
    shares = (shares / shares.sum(1, keepdims=True)).astype(np.float32)
    coverage = np.where(rng.random(len(shares)) < 0.9, 1, rng.random(len(shares))).astype(np.float32)
    half = np.where(rng.random(len(shares))[:, None] < 0.5, shares, np.nan).astype(np.float32)
    backend = kernels.JIT if kernels.has_jit() else kernels.PYTHON
    found = []
    for what, levels, table in (("all", 16, shares), ("all", 32, shares), ("half", 32, half)):
        product = MunicipalProduct(region.region_id, 1, 1, bytes(8), levels, table, coverage)
        data, n = municipal.pack(product, order, backend), int(product.present.sum())
        title = f"{name} / municipal product, {what}, {n} municipalities, {levels} levels"
        found.append(Row(title, len(data) / n, "B/municipality", ("float16", 2.0 * table.shape[1])))
        error = np.abs(product.quantised().proportions - table)
        found.append(Row(f"{title}, error of a proportion, mean", float(np.nanmean(error)), ""))
    return found


def _of_product(name: str, chips: Product) -> list[Row]:
    n, data, look = len(chips.cells), pack(chips), pack(quick_look(chips, _BLOCK))
    error = np.abs(chips.quantised().proportions - chips.proportions)
    ours = len(data) / n
    found = [
        Row(f"{name} / product", ours, "B/chip", ("float16", 2.0 * chips.n_classes)),
        Row(f"{name} / error of a proportion, mean", float(error.mean()), ""),
        Row(f"{name} / quick-look of {_BLOCK} x {_BLOCK} blocks", float(len(look)), "B", ("product", float(len(data)))),
    ]
    counts = quantise(chips.proportions, chips.levels)
    rest = np.delete(counts, int(np.argmax(counts.sum(0, dtype=np.int64))), axis=1)
    layouts = [[rest.tobytes()], [column.tobytes() for column in rest.T]]
    for rival, compress in compressors.general().items():
        title = f"{name} / counts by {rival} in the best of its layouts"
        if isinstance(compress, str):
            found.append(Row(title, None, "B/chip", why=compress))
        else:
            found.append(Row(title, compressors.smallest(layouts, compress) / n, "B/chip", ("ours", ours)))
    found.append(rate(f"{name} / coding, python kernels", "chips/s", n, lambda: pack(chips), 1))
    if kernels.has_jit():
        unpack(data, LinkConfig(), kernels.JIT)  # compiles
        work = rate(f"{name} / decoding, jit kernels", "chips/s", n, lambda: unpack(data, LinkConfig(), kernels.JIT), 3)
        found.append(work)
    return found
