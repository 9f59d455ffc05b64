"""Bytes of regions, label tables and products: against general compressors, image codecs, polygons, and airtime."""

from __future__ import annotations

import argparse
from pathlib import Path

from benchmarks import codec_labels, codec_products, codec_region
from benchmarks.rows import Row

_PARTS = {"regions": codec_region.rows, "labels": codec_labels.rows, "products": codec_products.rows}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of this benchmark."""
    parser.add_argument(
        "--data", nargs="+", type=Path, default=[], metavar="FILE", help="maps and tables (.npz): see docs/codecs.md"
    )
    parser.add_argument("--only", choices=sorted(_PARTS), help="maps, label tables or products alone  [all]")
    parser.add_argument("--levels", type=int, default=8, help="counts that shares are rounded to  [8]")
    parser.add_argument("--changes", type=int, default=100, help="patches whose mean size is measured  [100]")


def run(args: argparse.Namespace) -> list[Row]:
    """Measure every map and every table, file by file, then made ones; and products."""
    return [row for name, rows in _PARTS.items() if args.only in (None, name) for row in rows(args)]
