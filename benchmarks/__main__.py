"""``python -m benchmarks NAME``: a table for people, or with ``--json`` one object for machines."""

from __future__ import annotations

import argparse
import dataclasses
import importlib
import json
import sys
import traceback
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

from benchmarks import compare, plot, reports, rows
from benchmarks.machine import Machine, headline
from benchmarks.reports import ReportError
from benchmarks.rows import Row
from benchmarks.timing import ALL_CORES, STOPWATCHES, WALL, on_cores
from flight.clock import cpu_s, wall_s

TOGETHER = ("features", "moments", "kdm", "train", "infer", "boot", "mission")
BY_NAME = ("accuracy", "encoders", "codec", "link", "flight", "faults")


def parser() -> argparse.ArgumentParser:
    """The command line: a subcommand for each benchmark, ``all``, ``compare`` and ``plot``."""
    top = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    commands = top.add_subparsers(dest="name", required=True, metavar="NAME")
    for name in (*TOGETHER, *BY_NAME):
        module = importlib.import_module(f"benchmarks.{name}")
        command = commands.add_parser(name, help=(module.__doc__ or "").partition("\n")[0])
        _add_common(command, name in TOGETHER)
        module.add_arguments(command)
    _add_common(commands.add_parser("all", help=f"{', '.join(TOGETHER)}; not {', '.join(BY_NAME)}"), True)
    two = commands.add_parser("compare", help="two reports side by side")
    two.add_argument("a", type=Path, metavar="A.json")
    two.add_argument("b", type=Path, metavar="B.json")
    two.add_argument("--json", action="store_true", help="one object")
    picture = commands.add_parser("plot", help="a picture of a report that was measured elsewhere")
    picture.add_argument("report", type=Path, metavar="REPORT.json")
    picture.add_argument("picture", type=_picture, metavar="FILE.png|.svg")
    return top


def _add_common(command: argparse.ArgumentParser, speed: bool) -> None:
    """Options of every benchmark; with `speed`, those of the ones that time kernels too."""
    command.add_argument("--quick", action="store_true", help="fewer repetitions on less data")
    command.add_argument("--json", action="store_true", help="one object on one line")
    command.add_argument("--plot", type=_picture, metavar="FILE", help="write a picture too (.png or .svg)")
    command.add_argument(
        "--core", type=_core, default=frozenset({max(ALL_CORES)}), metavar="N|any", help="core to stay on  [the last]"
    )
    if speed:
        command.add_argument("--bundle", type=Path, metavar="FILE", help="flight bundle, with kernels for this machine")
        command.add_argument(
            "--time", choices=sorted(STOPWATCHES), default=WALL, help="cpu: on a machine that others use too  [wall]"
        )


def _picture(text: str) -> Path:
    path = Path(text)
    if path.suffix not in plot.FORMATS:
        raise argparse.ArgumentTypeError(f"{text}: a picture is a file {' or '.join(plot.FORMATS)}")
    return path


def _core(text: str) -> frozenset[int]:
    if text == "any":
        return ALL_CORES
    if not text.isdigit() or int(text) not in ALL_CORES:
        usable = ", ".join(map(str, sorted(ALL_CORES)))
        raise argparse.ArgumentTypeError(f"{text}: expected any, or one of the cores {usable}")
    return frozenset({int(text)})


def main(arguments: Sequence[str] | None = None) -> int:
    """Run what the command line says; the exit code: 0, 1 if one broke or under an emulator, 2 for bad files."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    top = parser()
    options = top.parse_args(given)
    try:
        if options.name == "compare":
            return _compare(options)
        if options.name == "plot":
            print(plot.draw(reports.read(options.report), options.picture))
            return 0
    except ReportError as error:
        print(f"benchmarks: {error}", file=sys.stderr)
        return 2
    return _measure(top, options, given)


def _compare(options: argparse.Namespace) -> int:
    a, b = reports.read(options.a), reports.read(options.b)
    if options.json:
        print(json.dumps(compare.report(a, b), allow_nan=False))
    else:
        print(compare.table(a, b, (str(options.a), str(options.b))))
    return 0


def _measure(top: argparse.ArgumentParser, options: argparse.Namespace, given: list[str]) -> int:
    names = TOGETHER if options.name == "all" else (options.name,)
    machine = Machine()
    emulated = machine.emulated
    found: dict[str, list[Row]] = {}
    failed: list[str] = []
    with on_cores(options.core):
        for name in names:
            module = importlib.import_module(f"benchmarks.{name}")
            start, start_cpu = wall_s(), cpu_s()
            if emulated:
                found[name] = [Row("speed", None, "", why=f"an emulator's speed is nobody's: {emulated}")]
            else:
                found[name] = _rows(module, top.parse_args([name, *given[1:]]), failed, alone=len(names) == 1)
            if len(names) > 1:
                print(f"{name}: {wall_s() - start:.1f} s, {cpu_s() - start_cpu:.1f} s of CPU here", file=sys.stderr)
    together = [
        dataclasses.replace(row, name=f"{name} / {row.name}") if len(names) > 1 else row
        for name, some in found.items()
        for row in some
    ]
    report = rows.report(options.name, together, given, machine)
    report["machine"]["cores_pinned"] = sorted(options.core)
    if options.json:
        print(json.dumps(report, allow_nan=False))
    else:
        _print_tables(found, report)
    if options.plot:
        print(plot.draw(report, options.plot), file=sys.stderr if options.json else sys.stdout)
    return 1 if emulated or failed else 0


def _rows(module: ModuleType, options: argparse.Namespace, failed: list[str], alone: bool) -> list[Row]:
    """The benchmark's rows. Among others, one that breaks is a row that says how, and does not take them along."""
    try:
        return list(module.run(options))
    except Exception as error:
        if alone:
            raise
        traceback.print_exc()
        failed.append(options.name)
        return [Row("failed", None, "", why=f"{type(error).__name__}: {error}")]


def _print_tables(found: dict[str, list[Row]], report: dict[str, Any]) -> None:
    print(headline(report["machine"]))
    for name, some in found.items():
        module = importlib.import_module(f"benchmarks.{name}")
        print(f"\n{name}\n{getattr(module, 'table', rows.table)(some)}")


if __name__ == "__main__":
    sys.exit(main())
