"""The link: frames on the wire, and files over lossy passes."""

from __future__ import annotations

import argparse
import importlib
from types import ModuleType

from benchmarks.rows import Row

# Modules with `add_arguments(parser)` and `measure(options)`, which yields rows.
PARTS = ("link_frames", "link_files")


def _parts() -> list[ModuleType]:
    return [importlib.import_module(f"benchmarks.{name}") for name in PARTS]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of every part."""
    for part in _parts():
        part.add_arguments(parser)


def run(options: argparse.Namespace) -> list[Row]:
    """The rows of every part."""
    return [row for part in _parts() for row in part.measure(options)]
