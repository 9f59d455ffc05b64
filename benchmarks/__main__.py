"""``python -m benchmarks NAME [--quick] [--json]``: a table for people, or one object for machines."""

from __future__ import annotations

import argparse
import importlib
import json
import sys
from collections.abc import Sequence

from benchmarks import rows

NAMES = ("learners", "accuracy", "codec", "link", "faults")


def parser() -> argparse.ArgumentParser:
    """The command line: one subcommand a benchmark, and ``all``."""
    top = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    commands = top.add_subparsers(dest="name", required=True, metavar="NAME")
    for name in NAMES:
        module = importlib.import_module(f"benchmarks.{name}")
        command = commands.add_parser(name, help=(module.__doc__ or "").partition("\n")[0])
        _common(command)
        module.add_arguments(command)
    _common(commands.add_parser("all", help="every benchmark, with its defaults"))
    return top


def _common(command: argparse.ArgumentParser) -> None:
    command.add_argument("--quick", action="store_true", help="fewer repetitions on less data")
    command.add_argument("--json", action="store_true", help="one object a benchmark, on one line each")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run what the command line says; the exit code."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    top = parser()
    options = top.parse_args(given)
    for name in NAMES if options.name == "all" else (options.name,):
        chosen = [name, *given[1:]]
        module = importlib.import_module(f"benchmarks.{name}")
        found = module.run(top.parse_args(chosen))
        if options.json:
            print(json.dumps(rows.report(name, found, chosen), allow_nan=False))
        else:
            print(f"{name}\n{getattr(module, 'table', rows.table)(found)}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
