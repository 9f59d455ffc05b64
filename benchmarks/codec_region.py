"""Rows of the region codec."""

from __future__ import annotations

import argparse
import statistics

import numpy as np

from benchmarks import compressors, layouts, regions
from benchmarks.rows import Row, progress, rate, summary
from flight import kernels
from flight.clock import wall_s
from flight.config import LinkConfig
from flight.link.pack import CodecError
from flight.link.region import Region, share_error
from flight.link.region_codec import Packed, first_appearance, pack_parts, settle_ties, unpack
from flight.link.region_patch import PatchDecoder, follow, pack_patch_parts

BIT_RATE_BPS, EFFICIENCY = 9600, 0.7
_LINK = LinkConfig(max_region_chips=1 << 24, max_municipalities=1 << 20, max_file_bytes=1 << 26)
_PLAIN_CELLS = 150_000  # maps above this are not decoded by plain Python here, and get ten changes


def rows(args: argparse.Namespace) -> list[Row]:
    """Rows of every map of the command line, and of made ones."""
    found = []
    for path in args.data:
        try:
            found += _of_map(path.stem, regions.read(path), args)
        except (OSError, ValueError, KeyError) as error:
            found.append(Row(path.stem, None, "B", why=str(error)))
    if not args.data:
        found.append(Row("real borders", None, "B", why="it needs a map: --data FILE ..."))
    for name, region in _made(args.quick):
        found += _of_map(name, region, args)
    return found


def _made(quick: bool) -> list[tuple[str, Region]]:
    """Maps from a seed: the synthetic Earth, a continent, disorder, and what is hard on the decoder."""
    from ground.regions import region_from_imagery
    from sim.world_export import world_of

    stripes = np.arange(64 * 64) % 64 // 2 * 2 + np.arange(64 * 64) // 64 % 2
    bags = np.full((64 * 64, 4), -1, np.int32)
    bags[:, 0] = stripes
    weights = np.zeros((64 * 64, 4), np.uint8)
    weights[:, 0] = 255
    made = [
        ("synthetic Earth", region_from_imagery(world_of(2_000 if quick else 20_000), 1)),
        ("noise", regions.noise(60, 60, 500, seed=1)),
        ("checks", Region(1, 64, 64, tuple(f"{i:03d}" for i in range(64)), bags, weights)),
    ]
    if not quick:
        made.append(("continent", regions.voronoi(1300, 1385, 45_000, seed=1, samples=5)))
    return made


def _of_map(name: str, region: Region, args: argparse.Namespace) -> list[Row]:
    progress(f"region: {name}")
    chips = int((region.bags[:, 0] >= 0).sum())
    packed, alone = pack_parts(region, args.levels), pack_parts(region, 1)
    ours, main = _map_bytes(packed), _map_bytes(alone)
    error = share_error(region, args.levels)
    found = [
        Row(f"{name} / map", float(ours), "B"),
        Row(f"{name} / map", 8 * ours / chips, "bit/chip"),
        Row(f"{name} / membership within it", 8 * (packed.header_bytes + packed.membership_bytes) / chips, "bit/chip"),
        Row(f"{name} / membership alone, one municipality a chip", 8 * main / chips, "bit/chip"),
        Row(f"{name} / codes and their order, beside the map", float(packed.code_bytes), "B"),
        Row(f"{name} / area given to the wrong municipality, mean", 100 * error[0], "%"),
        Row(f"{name} / airtime of the map", ours * 8 / BIT_RATE_BPS / EFFICIENCY, "s"),
    ]
    found += _rivals(name, region, args.levels, ours, packed)
    found += _speed(name, packed.data, region)
    return found + _changes(name, region, args)


def _map_bytes(packed: Packed) -> int:
    return len(packed.data) - packed.code_bytes


def _rivals(name: str, region: Region, levels: int, ours: int, packed: Packed) -> list[Row]:
    """What others make of the same map, each row against ours."""
    bags, counts = region.quantised(levels).counted(levels)
    bags = settle_ties(bags, counts, region.cols)
    order, _ = first_appearance(bags, len(region.codes))
    label_of = np.zeros(len(order) + 1, np.int64)
    label_of[order] = np.arange(1, len(order) + 1)
    labelled = label_of[bags]
    labels = labelled[:, 0].reshape(region.rows, region.cols)
    main = packed.header_bytes + packed.membership_bytes
    members = layouts.membership(labels)
    shares = layouts.overlaps(labelled, counts, labels, levels)
    found, sizes = [], {}
    for rival, compress in compressors.general().items():
        title = f"{name} / map by {rival} in the best of its layouts"
        if isinstance(compress, str):
            found.append(Row(title, None, "B", why=compress))
            continue
        sizes[rival] = compressors.smallest(members, compress) + compressors.smallest(shares, compress)
        found.append(Row(title, float(sizes[rival]), "B", ("ours", float(ours))))
    for rival, size in compressors.images().items():
        title = f"{name} / membership by {rival}"
        if isinstance(size, str):
            found.append(Row(title, None, "B", why=size))
        elif labels.max() > 0xFFFF:
            found.append(Row(title, None, "B", why="more labels than an image has values"))
        else:
            found.append(Row(title, float(size(labels.astype(np.uint16))), "B", ("ours", float(main))))
    xz = compressors.general()["xz-9e"]
    if not isinstance(xz, str):
        outlines = compressors.smallest(layouts.outlines(labels), xz)
        found.append(
            Row(f"{name} / membership as outlines of chips by xz-9e", float(outlines), "B", ("ours", float(main)))
        )
    why = "maps hold shares of chips, not the polygons that they come from"
    found.append(Row(f"{name} / polygons at equal error of shares", None, "B", why=why))
    rival, smallest = compressors.best(sizes)
    return [*found, Row(f"{name} / {rival} against ours", smallest / ours, "times")]


def _speed(name: str, data: bytes, region: Region) -> list[Row]:
    n = region.rows * region.cols
    found = []
    for backend in kernels.BACKENDS:
        title = f"{name} / decoding, {backend} kernels"
        if backend == kernels.JIT and not kernels.has_jit():
            found.append(Row(title, None, "cells/s", why="numba is not installed"))
        elif backend == kernels.PYTHON and n > _PLAIN_CELLS:
            found.append(Row(title, None, "cells/s", why="measured on smaller maps"))
        else:
            if backend == kernels.JIT:
                unpack(data, _LINK, backend)  # compiles
            found.append(rate(title, "cells/s", n, lambda b=backend: unpack(data, _LINK, b), 1))
    return found


def _changes(name: str, region: Region, args: argparse.Namespace) -> list[Row]:
    """Mean size of patches, each of which is decoded and compared."""
    small = region.rows * region.cols <= _PLAIN_CELLS and not args.quick
    n = args.changes if small else min(args.changes, 10)
    backend = kernels.JIT if kernels.has_jit() else kernels.PYTHON
    base = region.quantised(args.levels)
    rng = np.random.Generator(np.random.PCG64(1))
    found, all_sizes = [], []
    for what, change in (("split", _split), ("added within others", _added)):
        sizes: list[float] = []
        codes: list[float] = []
        decoding: list[float] = []
        for _ in range(4 * n):
            if len(sizes) == n or region.bags.max() < 0:
                break
            pair = change(base, int(rng.integers(len(base.codes))), int(rng.integers(1 << 30)))
            if pair is None:
                continue
            try:
                before, after = pair[0].quantised(args.levels), follow(*pair)
                patch = pack_patch_parts(before, after, args.levels, backend)
            except CodecError:
                continue
            start = wall_s()
            decoder = PatchDecoder(patch.data, before, _LINK, backend)
            while decoder.advance(1 << 20):
                pass
            decoding.append(wall_s() - start)
            if decoder.region.digest != after.quantised(args.levels).digest:
                raise CodecError(f"{name}: a patch does not give the region that it was made from")
            sizes.append(float(len(patch.data)))
            codes.append(float(patch.code_bytes))
        if not sizes:
            found.append(Row(f"{name} / patch, municipality {what}", None, "B", why="no municipality is large enough"))
            continue
        maps = [size - code for size, code in zip(sizes, codes, strict=True)]
        found.append(summary(f"{name} / patch, municipality {what}", maps, "B"))
        found.append(summary(f"{name} / code of the new municipality, beside the patch", codes, "B"))
        found.append(Row(f"{name} / decoding such a patch", 1000 * statistics.median(decoding), "ms", n=len(decoding)))
        all_sizes += maps
    return found + ([summary(f"{name} / patch, both kinds", all_sizes, "B")] if all_sizes else [])


def _split(base: Region, municipality: int, seed: int) -> tuple[Region, Region] | None:
    made = regions.split(base, municipality, seed, code=f"{10_000 + seed % 9_999:05d}")
    return (base, made) if made is not None and len(set(made.codes)) == len(made.codes) else None


def _added(base: Region, municipality: int, seed: int) -> tuple[Region, Region] | None:
    whole = (base.bags[:, 0] == municipality).any()
    return (regions.without(base, municipality), base) if whole and len(base.codes) > 1 else None
