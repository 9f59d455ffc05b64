"""Bytes of regions on the uplink: against general compressors, image codecs, polygons, and budgets of airtime."""

from __future__ import annotations

import argparse
from pathlib import Path

from benchmarks import codec_region
from benchmarks.rows import Row


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of this benchmark."""
    parser.add_argument(
        "--data", nargs="+", type=Path, default=[], metavar="FILE", help="maps (.npz): see docs/codecs.md"
    )
    parser.add_argument("--levels", type=int, default=8, help="counts that shares are rounded to  [8]")
    parser.add_argument("--changes", type=int, default=100, help="patches whose mean size is measured  [100]")


def run(args: argparse.Namespace) -> list[Row]:
    """Measure every map, file by file, then made ones."""
    return codec_region.rows(args)
