"""swath-flight: run the flight segment. argparse, and nothing heavier."""

from __future__ import annotations

import argparse
import logging
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from flight import __version__

if TYPE_CHECKING:
    from flight.config import FlightConfig
    from flight.curve import Curve
    from flight.edge import PortSpec
    from flight.kernels.backend import Backend
    from flight.link.keys import KeyRing


def parser() -> argparse.ArgumentParser:
    """The command line."""
    top = argparse.ArgumentParser(prog="swath-flight", description="The flight segment of swath.")
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
    test.add_argument("--kernels", default="auto", help="what is tested: aot, jit, numpy, or auto, the first there is")
    test.add_argument("--json", action="store_true", help="one JSON object instead of a table")
    status = commands.add_parser("status", help="say what a state directory holds")
    status.add_argument("--state", type=Path, required=True, help="the state directory")
    return top


def main(arguments: list[str] | None = None) -> int:
    """Run the command line; the exit code."""
    options = parser().parse_args(arguments)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(name)s %(levelname)s %(message)s")
    if options.command == "run":
        return _supervise(options, sys.argv[1:] if arguments is None else arguments)
    if options.command == "core":
        return _core(options)
    if options.command == "listen":
        return _listen(options)
    if options.command == "doctor":
        return _doctor(options)
    if options.command == "selftest":
        return _selftest(options)
    return _status(options.state)


def _supervise(options: argparse.Namespace, arguments: list[str]) -> int:
    from flight.clock import unix_s
    from flight.supervisor import Supervisor

    if options.control is None and options.epoch is None:  # mission time goes on when the flight process comes back
        arguments = [*arguments, "--epoch", repr(unix_s())]
    return Supervisor(["-m", "flight.cli", "core", *arguments[1:]]).run()


def _core(options: argparse.Namespace) -> int:
    from flight.bundle import BundleError
    from flight.caps import die_with_parent, limit_data, lower_priority
    from flight.clock import ScaledClock, unix_s
    from flight.config import ConfigError
    from flight.curve import CurveError
    from flight.edge import EdgeError
    from flight.executive import Executive
    from flight.kernels.backend import BackendError
    from flight.learn import LEARNERS
    from flight.link.keys import KeyFileError, KeyRing
    from flight.runner import run_clocked, run_stepped
    from flight.store import StateFormatError, Store
    from flight.supervisor import EXIT_CONFIG, EXIT_MEMORY

    if os.environ.get("SWATH_PARENT_PID"):
        die_with_parent()
    try:
        keys = KeyRing.load(options.keys)
        config, backend = _configured(options, keys)
        if config.learner.name not in LEARNERS:
            raise ConfigError(f"learner.name: {config.learner.name!r} is unknown; known are {', '.join(LEARNERS)}")
        store = Store(options.state)
        ports, curve = _ports(options)
    except (ConfigError, KeyFileError, CurveError, BundleError, BackendError, OSError) as error:
        print(f"swath-flight: {error}", file=sys.stderr)
        return EXIT_CONFIG
    lower_priority(config.caps.nice)
    cause = os.environ.get("SWATH_LAST_CAUSE", "")
    core = Executive(
        config, keys, store, cause, on_ready=lambda: limit_data(config.caps.headroom_bytes), backend=backend
    )
    try:
        if options.control and options.epoch is None:
            run_stepped(core, "flight", ports, options.control, curve)
        else:
            clock = ScaledClock(options.epoch if options.epoch is not None else unix_s(), options.rate)
            run_clocked(core, "flight", ports, clock, options.control, curve)
    except MemoryError:
        logging.getLogger("swath").error("memory cap reached")
        return EXIT_MEMORY
    except StateFormatError as error:
        print(f"swath-flight: {options.state}: {error}", file=sys.stderr)
        return EXIT_CONFIG
    except EdgeError as error:
        print(f"swath-flight: {error}", file=sys.stderr)
        return 1
    return 0


def _configured(options: argparse.Namespace, keys: KeyRing) -> tuple[FlightConfig, Backend]:
    """The configuration, and the kernels that it asks for; errors as they come, ConfigError for an unknown backend."""
    from flight import bundle as bundles
    from flight.config import ConfigError, FlightConfig, load, parse
    from flight.kernels.backend import CHOICES, choose

    bundle = bundles.load(options.bundle, keys) if options.bundle else None
    if options.config is not None:
        config = load(options.config)
    elif bundle is not None and bundles.CONFIG in bundle.files:
        config = parse(bundle.files[bundles.CONFIG], f"{options.bundle}: {bundles.CONFIG}")
    else:
        config = FlightConfig()
    name = config.executive.kernels
    if name not in CHOICES:
        raise ConfigError(f"executive.kernels: {name!r} is unknown; known are {', '.join(CHOICES)}")
    if bundle is not None:
        bundle.manifest.check_here()
        if name in ("auto", "aot"):
            return config, bundle.kernels()
    return config, choose(name, may_compile=not options.control)


def _selftest(options: argparse.Namespace) -> int:
    from flight import bundle as bundles
    from flight.kernels.backend import BackendError, choose
    from flight.link.keys import KeyFileError, KeyRing
    from flight.selftest import report, run
    from flight.supervisor import EXIT_CONFIG

    try:
        keys = KeyRing.load(options.keys) if options.keys else None
        backend = bundles.load(options.bundle, keys).kernels() if options.bundle else choose(options.kernels)
    except (bundles.BundleError, BackendError, KeyFileError, ValueError) as error:
        print(f"swath-flight: {error}", file=sys.stderr)
        return EXIT_CONFIG
    verdict = run(backend)
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


def _doctor(options: argparse.Namespace) -> int:
    import json
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


def _ports(options: argparse.Namespace) -> tuple[list[PortSpec], Curve | None]:
    """Radio and camera, and what protects the control socket.

    CurveError if other machines can reach any of them and nothing protects the way.
    """
    from flight.curve import Curve, CurveError
    from flight.edge import PortSpec
    from flight.hop import leaves_machine

    if bool(options.certificate) != bool(options.peers):
        raise CurveError("--certificate and --peers belong together: own secret certificate, and who may come in")
    curve = Curve.load(True, options.certificate, options.peers) if options.certificate else None
    protection: dict[str, Curve | None] = {}
    for name in ("radio", "camera", "control"):
        endpoint = getattr(options, name)
        if endpoint is None:
            continue
        if curve is None and leaves_machine(endpoint):
            raise CurveError(
                f"--{name} {endpoint} leaves this machine unprotected; give --certificate and --peers "
                "(swath-ground keys curve makes certificates)"
            )
        protection[name] = None if endpoint.startswith(("ipc:", "inproc:")) else curve
    found = [PortSpec(name, getattr(options, name), bind=False, curve=protection[name]) for name in ("radio", "camera")]
    return found, protection.get("control")


def _status(directory: Path) -> int:
    import msgpack

    from flight.store import Store

    if not directory.is_dir():
        print(f"swath-flight: {directory} is not a directory", file=sys.stderr)
        return 1
    store = Store(directory, lambda damage: print(f"damaged: {damage.name}: {damage.reason}"))
    if not store.names():
        print(f"{directory} holds no records: no flight process has used it as its --state yet")
    for name in store.names():
        data = store.get(name)
        print(f"{name:<12} {'unreadable' if data is None else f'{len(data):,} bytes'}")
        if name == "checkpoint" and data is not None:
            for key, value in msgpack.unpackb(data)["progress"].items():
                print(f"    {key} {value.hex() if isinstance(value, bytes) else value}")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
