"""Starting flight from its command line: the supervisor, and the flight process under it.

Imports stand in the functions: the supervisor is to stay small, and options can be wrong before anything is loaded.
"""

from __future__ import annotations

import argparse
import logging
import os
import sys
import traceback
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from flight.bundle import Bundle
    from flight.config import FlightConfig
    from flight.curve import Curve
    from flight.edge import PortSpec
    from flight.kernels.backend import Backend
    from flight.last_start import Start
    from flight.link.keys import KeyRing


def supervise(options: argparse.Namespace, arguments: list[str]) -> int:
    """Run the supervisor with the options of `swath-flight run`, which `arguments` are; the exit code."""
    from flight.crashes import EXIT_CONFIG
    from flight.link.keys import KeyRing
    from flight.supervisor import Supervisor
    from flight.watch import Watchdogs

    try:
        config = _given(options, KeyRing.load(options.keys)).config
        watchdogs = Watchdogs(options.watchdog)
    except (ValueError, OSError) as error:  # of keys, bundle or configuration; each says what and where
        print(f"swath-flight: {error}", file=sys.stderr)
        return EXIT_CONFIG
    supervisor = Supervisor([], options.state, config.watchdog, watchdogs)
    if options.control is None and options.epoch is None:  # mission time goes on when either process comes back
        arguments = [*arguments, "--epoch", repr(supervisor.mission_epoch())]
    supervisor.command = ["-m", "flight.cli", "core", *arguments[1:]]
    return supervisor.run()


def core(options: argparse.Namespace) -> int:
    """Run the flight process with the options of `swath-flight core`; the exit code."""
    from flight.caps import die_with_parent, give_back_at_once, limit_data, lower_priority, without_openssl

    give_back_at_once()
    without_openssl()
    from dataclasses import replace

    from flight import last_words, preflight
    from flight.blackbox import BlackBox
    from flight.bundle import BundleError
    from flight.clock import ScaledClock, unix_s
    from flight.config import ConfigError
    from flight.crashes import DIRECTORY, EXIT_CONFIG, EXIT_CRASH, EXIT_MEMORY, EXIT_UNREACHABLE
    from flight.curve import CurveError
    from flight.edge import EdgeError
    from flight.executive import Executive
    from flight.kernels.backend import BackendError
    from flight.link.keys import KeyFileError, KeyRing
    from flight.orders import Orders
    from flight.runner import run_clocked, run_stepped
    from flight.store import StateFormatError, Store

    if os.environ.get("SWATH_PARENT_PID"):
        die_with_parent()
    try:
        keys = KeyRing.load(options.keys)
        given = _given(options, keys, preflight.check)
        config, bundle = given.config, given.bundle
        backend = _kernels(config, bundle, may_compile=not options.control)
        files = encoders(options.encoder, config, bundle, options.fall_back)
        given.bundle = bundle = None  # its other files; the kernels stay
        store = Store(options.state)
        ports, curve = _ports(options)
    except (ConfigError, KeyFileError, CurveError, BundleError, BackendError, OSError) as error:
        print(f"swath-flight: {error}", file=sys.stderr)
        return EXIT_CONFIG
    lower_priority(config.caps.nice)
    stepped = bool(options.control) and options.epoch is None
    box = BlackBox.inherited(watched=not stepped)
    own = options.state / DIRECTORY
    orders = replace(Orders.received(own), unusable=given.unusable)

    def ready() -> None:
        given.keep(store)
        limit_data(config.caps.headroom_bytes)
        last_words.mark_told(own)

    read_again = [path for path in (options.config, options.bundle, *(options.encoder or ())) if path is not None]
    executive = Executive(
        config,
        keys,
        store,
        on_ready=ready,
        pulse=box,
        orders=orders,
        backend=backend,
        encoder_files=files,
        start_files=read_again,
    )
    with last_words.stack_file(own) as stack:
        try:
            if options.control and options.epoch is None:
                run_stepped(executive, "flight", ports, options.control, curve)
            else:
                clock = ScaledClock(options.epoch if options.epoch is not None else unix_s(), options.rate)
                awake = box.ping if box is not None else lambda: None
                run_clocked(executive, "flight", ports, clock, options.control, curve, awake)
        except StateFormatError as error:
            print(f"swath-flight: {options.state}: {error}", file=sys.stderr)
            return EXIT_CONFIG
        except EdgeError as error:
            print(f"swath-flight: {error}", file=sys.stderr)
            return EXIT_UNREACHABLE
        except Exception as error:  # whatever it was, its place is worth more than its end
            traceback.print_exc(file=stack)
            logging.getLogger("swath").exception("flight ends")
            return EXIT_MEMORY if isinstance(error, MemoryError) else EXIT_CRASH
    return 0


def _given(
    options: argparse.Namespace, keys: KeyRing, check: Callable[[FlightConfig], None] = lambda config: None
) -> Start:
    """The configuration and the bundle to start with; ConfigError or BundleError if they cannot be used."""
    from flight import last_start

    given = last_start.read(options.config, options.bundle, keys, options.state if options.fall_back else None, check)
    if given.unusable:
        print(f"swath-flight: {given.unusable}; starting as the last time", file=sys.stderr)
    return given


def _kernels(config: FlightConfig, bundle: Bundle | None, may_compile: bool) -> Backend:
    """The kernels that a configuration asks for; ConfigError for an unknown backend, others as they come."""
    from flight.config import ConfigError
    from flight.kernels.backend import CHOICES, choose

    name = config.executive.kernels
    if name not in CHOICES:
        raise ConfigError(f"executive.kernels: {name!r} is unknown; known are {', '.join(CHOICES)}")
    if bundle is not None:
        bundle.manifest.check_here()
        if name in ("auto", "aot"):
            return bundle.kernels()
    return choose(name, may_compile=may_compile)


def encoders(
    paths: list[Path] | None, config: FlightConfig, bundle: Bundle | None, or_without: bool = False
) -> tuple[bytes, ...]:
    """The files of the encoder that is given, else those of the bundle; OSError if one cannot be read.

    With `or_without`, one that cannot be read counts as one that cannot be used: flight does without.
    """
    if not paths:
        return bundle.encoders if bundle is not None else ()
    most = config.encoder.max_bytes + 1  # a longer one is refused by its size
    found = list[bytes]()
    for path in paths:
        try:
            with path.open("rb") as file:
                found.append(file.read(most))
        except OSError as error:
            if not or_without:
                raise
            print(f"swath-flight: {path}: {error.strerror}; flying without", file=sys.stderr)
            found.append(b"")
    return tuple(found)


def _ports(options: argparse.Namespace) -> tuple[list[PortSpec], Curve | None]:
    """Radio, camera and board, and what protects the control socket.

    CurveError if other machines can reach any of them and nothing protects the way.
    """
    from flight.curve import Curve, CurveError
    from flight.edge import PortSpec
    from flight.hop import leaves_machine

    if bool(options.certificate) != bool(options.peers):
        raise CurveError("--certificate and --peers belong together: own secret certificate, and who may come in")
    curve = Curve.load(True, options.certificate, options.peers) if options.certificate else None
    protection: dict[str, Curve | None] = {}
    for name in ("radio", "camera", "board", "control"):
        endpoint = getattr(options, name)
        if endpoint is None:
            continue
        if curve is None and leaves_machine(endpoint):
            raise CurveError(
                f"--{name} {endpoint} leaves this machine unprotected; give --certificate and --peers "
                "(swath-ground keys curve makes certificates)"
            )
        protection[name] = None if endpoint.startswith(("ipc:", "inproc:")) else curve
    names = [name for name in ("radio", "camera", "board") if name in protection]
    found = [PortSpec(name, getattr(options, name), bind=False, curve=protection[name]) for name in names]
    return found, protection.get("control")
