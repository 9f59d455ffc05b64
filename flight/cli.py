"""swath-flight: run the flight segment. argparse, and nothing heavier."""

from __future__ import annotations

import argparse
import json
import logging
import os
import sys
from pathlib import Path
from typing import Any

from flight import __version__, process


class _Help(argparse.HelpFormatter):
    """argparse's own, which asks `shutil` how wide the terminal is: three compressors and .3 MB in a flight process."""

    def __init__(self, prog: str) -> None:
        columns = os.environ.get("COLUMNS", "")
        if not columns.isdecimal():
            try:
                columns = str(os.get_terminal_size(sys.__stdout__.fileno()).columns)  # type: ignore[union-attr]
            except (AttributeError, ValueError, OSError):
                columns = ""
        super().__init__(prog, width=int(columns or 80) - 2)


class _Parser(argparse.ArgumentParser):
    def __init__(self, **options: Any) -> None:
        super().__init__(formatter_class=_Help, **options)


def parser() -> argparse.ArgumentParser:
    """The command line."""
    top = _Parser(prog="swath-flight", description="The flight segment of swath.")
    top.add_argument("--version", action="version", version=f"swath-flight {__version__}")
    commands = top.add_subparsers(dest="command", required=True, metavar="COMMAND")
    run = commands.add_parser("run", help="start the supervisor, and under it the flight process")
    core = commands.add_parser("core", help="run the flight process itself, without a supervisor")
    for command in (run, core):
        command.add_argument("--state", type=Path, required=True, help="directory that holds everything that survives")
        command.add_argument("--keys", type=Path, required=True, help="key file (swath-ground keys new)")
        command.add_argument("--config", type=Path, help="configuration (TOML); what it leaves out keeps its default")
        command.add_argument("--bundle", type=Path, help="flight bundle (swath-ground build): kernels, configuration")
        command.add_argument(
            "--fall-back", action="store_true",
            help="if configuration or bundle cannot be used, start with those of the last start",
        )  # fmt: skip
        command.add_argument(
            "--encoder",
            type=Path,
            action="append",
            help="encoder file (swath-ground encoder export), instead of the bundle's; repeated: other formats of it",
        )
        command.add_argument(
            "--radio", required=True, help="ZeroMQ endpoint of the radio, such as tcp://127.0.0.1:7001"
        )
        command.add_argument("--camera", required=True, help="ZeroMQ endpoint of the camera")
        command.add_argument(
            "--certificate", type=Path, help="own CurveZMQ certificate, *.key_secret (swath-ground keys curve)"
        )
        command.add_argument(
            "--peers", type=Path, help="who may come in: a public certificate, *.key, or a directory of them"
        )
        command.add_argument("--control", help="endpoint of a time master: steps in lockstep instead of the wall clock")
        command.add_argument("--epoch", type=float, help="start of mission time [Unix s]; default: when this starts")
        command.add_argument("--board", help="endpoint of power and thermal control; without, nobody is listened to")
        command.add_argument("--rate", type=float, default=1.0, help="mission seconds a wall second (default 1)")
    listen = commands.add_parser(
        "listen", help="be the satellite of missions that a desk flies (swath-sim run --flight)"
    )
    listen.add_argument("--at", default="tcp://0.0.0.0:7700", help="where desks reach this board (default %(default)s)")
    listen.add_argument("--keys", type=Path, required=True, help="the board's keys (swath-ground keys flatsat)")
    listen.add_argument("--state", type=Path, required=True, help="directory for the state of missions")
    listen.add_argument("--bundle", type=Path, help="flight bundle whose kernels missions fly with")
    doctor = commands.add_parser("doctor", help="look this board over: what is missing, and how to mend it")
    doctor.add_argument("--state", type=Path, help="the state directory, to look at it and its disk as well")
    doctor.add_argument("--keys", type=Path, help="the key file, to look at it as well")
    doctor.add_argument("--json", action="store_true", help="one JSON object")
    test = commands.add_parser("selftest", help="check kernels, codecs and store against known answers")
    test.add_argument("--bundle", type=Path, help="flight bundle whose kernels are tested; without, what is installed")
    test.add_argument("--keys", type=Path, help="key file: checks the bundle's seal too")
    test.add_argument("--encoder", type=Path, action="append", help="encoder file to test, instead of the bundle's")
    test.add_argument(
        "--kernels", default="auto", help="what is tested without a bundle: jit, numpy, or auto, the first there is"
    )
    test.add_argument("--json", action="store_true", help="one JSON object instead of a table")
    run.add_argument("--watchdog", type=Path, help="hardware watchdog to stroke, such as /dev/watchdog")
    status = commands.add_parser("status", help="say how flight is, and what its state directory holds")
    status.add_argument("--state", type=Path, required=True, help="the state directory")
    status.add_argument("--json", action="store_true", help="one JSON object instead of lines")
    commands.add_parser("unit", help="print a systemd unit, to be filled in by hand")
    install = commands.add_parser(
        "install-service", help="have systemd run flight: write its unit, enable and start it"
    )
    install.add_argument("--as", dest="user", help="account that flight runs as; default: the owner of --keys")
    install.add_argument(
        "--dry-run", action="store_true", help="print the unit, and what would be called; change nothing"
    )
    install.add_argument("--replace", action="store_true", help="put it in the place of another unit of that name")
    install.add_argument("--no-start", action="store_true", help="from the next start of the machine on, not now")
    install.add_argument(
        "service",
        nargs=argparse.REMAINDER,
        metavar="run|listen ...",
        help="what it runs, with its own options, as it would be typed after swath-flight",
    )
    commands.add_parser("uninstall-service", help="stop and disable flight's service and remove its unit")
    return top


def main(arguments: list[str] | None = None) -> int:
    """Run the command line; the exit code."""
    options = parser().parse_args(arguments)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(name)s %(levelname)s %(message)s")
    if options.command == "run":
        return process.supervise(options, sys.argv[1:] if arguments is None else arguments)
    if options.command == "core":
        return process.core(options)
    if options.command == "listen":
        return _listen(options)
    if options.command == "doctor":
        return _doctor(options)
    if options.command == "selftest":
        return _selftest(options)
    if options.command == "unit":
        from importlib import resources

        print(resources.files("flight").joinpath("swath-flight.service").read_text(encoding="utf-8"), end="")
        return 0
    if options.command in ("install-service", "uninstall-service"):
        return _service(options)
    return _status(options)


def _selftest(options: argparse.Namespace) -> int:
    from flight import bundle as bundles
    from flight.config import FlightConfig
    from flight.crashes import EXIT_CONFIG
    from flight.kernels.backend import AOT, AUTO, BackendError, choose
    from flight.link.keys import KeyFileError, KeyRing
    from flight.selftest import report, run

    try:
        if options.bundle and options.kernels not in (AUTO, AOT):
            raise BackendError(f"--bundle tests the kernels that it holds, and --kernels asks for {options.kernels!r}")
        keys = KeyRing.load(options.keys) if options.keys else None
        bundle = bundles.load(options.bundle, keys) if options.bundle else None
        backend = bundle.kernels() if bundle is not None else choose(options.kernels)
        encoders = process.encoders(options.encoder, FlightConfig(), bundle)
    except (bundles.BundleError, BackendError, KeyFileError, ValueError, OSError) as error:
        print(f"swath-flight: {error}", file=sys.stderr)
        return EXIT_CONFIG
    verdict = run(backend, encoders=encoders)
    print(report(verdict, options.json))
    return 0 if verdict.passed else 1


def _listen(options: argparse.Namespace) -> int:
    import signal

    import zmq

    from flight.curve import CurveError
    from flight.flatsat import FlatSat

    try:
        board = FlatSat(options.at, options.keys, options.state, options.bundle)
    except (CurveError, ValueError, OSError, zmq.ZMQError) as error:
        print(f"swath-flight: {error}", file=sys.stderr)
        return 2

    def stop(number: int, frame: object) -> None:
        board.stopping = True

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, stop)
    print(f"listening at {board.endpoint}", flush=True)
    board.serve()
    return 0


def _service(options: argparse.Namespace) -> int:
    from flight import service

    system = service.System()
    try:
        if options.command == "uninstall-service":
            print(service.uninstall(system))
            return 0
        if not options.service or options.service[0] not in ("run", "listen"):
            raise service.ServiceError(
                "say what it runs: swath-flight install-service run ..., or listen ..., with its options"
            )
        wanted = service.Service.of(parser().parse_args(options.service), options.user)
        if options.dry_run:
            print(wanted.unit())
            print("\n".join(f"# {line}" for line in service.commands(not options.no_start)))
            return 0
        print(service.install(wanted, system, replace=options.replace, start=not options.no_start))
    except (service.ServiceError, OSError) as error:
        print(f"swath-flight: {error}", file=sys.stderr)
        return 2
    return 0


def _doctor(options: argparse.Namespace) -> int:
    from dataclasses import asdict

    from flight.doctor import FAILED, examine

    findings = examine(options.state, options.keys)
    fit = all(finding.verdict != FAILED for finding in findings)
    if options.json:
        print(json.dumps({"fit": fit, "findings": [asdict(finding) for finding in findings]}))
    else:
        for finding in findings:
            print(f"{finding.verdict:<8} {finding.what}: {finding.found}")
            if finding.mend:
                print(f"{'':<9}to mend: {finding.mend}")
        print("fit to fly" if fit else "not fit to fly: mend what has failed")
    return 0 if fit else 1


def _status(options: argparse.Namespace) -> int:
    from flight import status

    if not options.state.is_dir():
        print(f"swath-flight: {options.state} is not a directory", file=sys.stderr)
        return 1
    found = status.read(options.state)
    if options.json:
        print(json.dumps(found, allow_nan=False))
    else:
        print("\n".join(status.lines(found)))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
