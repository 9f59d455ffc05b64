"""The link: frames on the wire, and files over lossy passes."""

from __future__ import annotations

import argparse
import importlib
from collections.abc import Sequence
from types import ModuleType

from benchmarks.rows import Row

# Modules benchmarks.link_* with `add_arguments(parser)` and `measure(options)`, which yields rows.
PARTS = ("frames", "files")


def _parts(names: Sequence[str] = PARTS) -> list[ModuleType]:
    return [importlib.import_module(f"benchmarks.link_{name}") for name in names]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of every part."""
    parser.add_argument("--part", nargs="+", choices=PARTS, default=PARTS, help="what is measured")
    for part in _parts():
        part.add_arguments(parser)


def run(options: argparse.Namespace) -> list[Row]:
    """The rows of the parts chosen."""
    return [row for part in _parts(options.part) for row in part.measure(options)]
