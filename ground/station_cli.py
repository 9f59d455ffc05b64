"""``swath-ground station``: a station as a process, with its spool and its capture."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Annotated, Any

import typer

from flight.clock import ScaledClock, unix_s
from flight.config import ConfigError, FlightConfig, load
from flight.curve import Curve, CurveError
from flight.edge import PortSpec
from flight.hop import leaves_machine
from flight.link.keys import KeyRing
from flight.runner import run_clocked
from flight.step import NEVER, Core
from flight.store import Store
from ground.archive import StationArchive
from ground.capture import CaptureWriter, Tap
from ground.console import told
from ground.files import write_bytes
from ground.orders import read_toml
from ground.spool import Spool, SpoolError, put, uplink_kind
from ground.station import Station, Window

RADIO, EPOCH, SPOOL, STATE = "radio", "epoch", "spool", "state"
ALWAYS = (Window(-1.0, NEVER),)


@dataclass(frozen=True)
class StationOptions:
    """What a station is started with; `directory` holds all that survives, and what comes down."""

    directory: Path
    keys: Path
    config: Path | None = None
    passes: Path | None = None
    spool: Path | None = None
    capture: Path | None = None
    capture_bytes: int = 1 << 26


def read_passes(path: Path, epoch_unix_s: float) -> list[Window]:
    """Passes from TOML, ``[[passes]]`` with `aos` and `los` as dates and times with an offset, in mission time."""
    found: list[Window] = []
    for i, each in enumerate(read_toml(path).get("passes", [])):
        times = [each.get(name) if isinstance(each, dict) else None for name in ("aos", "los")]
        if not all(isinstance(time, datetime) and time.tzinfo is not None for time in times):
            raise ConfigError(f"{path}: passes[{i}]: needs aos and los, such as 2025-06-21T04:10:00Z")
        aos_s, los_s = (time.timestamp() - epoch_unix_s for time in times if isinstance(time, datetime))
        if aos_s >= los_s or (found and aos_s < found[-1].los_s):
            raise ConfigError(f"{path}: passes[{i}]: passes must be in order, and not overlap")
        found.append(Window(aos_s, los_s))
    return found


def mission_epoch(directory: Path, given: float | None, now_s: float) -> float:
    """Unix time at which mission time is 0: as given, as at the station's first start, or now."""
    path = directory / EPOCH
    if given is None and path.exists():
        try:
            return float(path.read_text(encoding="ascii"))
        except ValueError:
            raise ConfigError(f"{path}: is not a time; give --epoch") from None
    epoch_unix_s = now_s if given is None else given
    directory.mkdir(parents=True, exist_ok=True)
    write_bytes(path, f"{epoch_unix_s!r}\n".encode())
    return epoch_unix_s


def build_station(options: StationOptions, epoch_unix_s: float) -> Core:
    """The station's core, behind a tap if there is a capture."""
    config = load(options.config).link if options.config is not None else FlightConfig().link
    windows = read_passes(options.passes, epoch_unix_s) if options.passes is not None else ALWAYS
    spool = Spool(options.spool or options.directory / SPOOL, config.max_file_bytes)
    archive, store = StationArchive(options.directory), Store(options.directory / STATE)
    core = Station(config, KeyRing.load(options.keys), windows, (), archive, store, spool)
    if options.capture is None:
        return core
    return Tap(core, RADIO, CaptureWriter(options.capture, epoch_unix_s, options.capture_bytes))


def radio_port(endpoint: str, bind: bool, certificate: Path | None, peer: Path | None) -> PortSpec:
    """The port of the radio; CurveError if other machines can reach it and nothing protects the way."""
    if bool(certificate) != bool(peer):
        raise CurveError("--certificate and --peer belong together: own secret certificate, and the other end's public")
    curve = Curve.load(False, certificate, peer) if certificate is not None and peer is not None else None
    if curve is None and leaves_machine(endpoint):
        raise CurveError(f"--radio {endpoint} leaves this machine unprotected; give --certificate and --peer")
    return PortSpec(RADIO, endpoint, bind, None if endpoint.startswith(("ipc:", "inproc:")) else curve)


def station(
    directory: Annotated[Path, typer.Option("--state", help="Directory for its state and what comes down.")],
    keys: Annotated[Path, typer.Option(help="Key file, the spacecraft's too (swath-ground keys new).")],
    radio: Annotated[str, typer.Option(help="ZeroMQ endpoint of the radio, such as ipc:///run/radio.")],
    bind: Annotated[bool, typer.Option("--bind", help="Listen there, for a bench without a radio between.")] = False,
    config: Annotated[Path | None, typer.Option(help="The spacecraft's configuration (TOML); link is used.")] = None,
    passes: Annotated[
        Path | None, typer.Option(help="Passes (TOML): \\[\\[passes]], aos, los.  \\[always in contact]")
    ] = None,
    spool: Annotated[Path | None, typer.Option(help="Directory that orders come through.  [STATE/spool]")] = None,
    capture: Annotated[Path | None, typer.Option(help="Write every frame, both ways, to this pcapng file.")] = None,
    capture_mb: Annotated[int, typer.Option(min=1, max=1 << 16, help="Where a capture ends.")] = 64,
    certificate: Annotated[Path | None, typer.Option(help="Own CurveZMQ certificate, *.key_secret.")] = None,
    peer: Annotated[Path | None, typer.Option(help="Public certificate of the other end, *.key.")] = None,
    epoch: Annotated[float | None, typer.Option(help="Start of mission time [Unix s].  \\[first start]")] = None,
    rate: Annotated[float, typer.Option(min=0.01, help="Mission seconds a wall second.")] = 1.0,
) -> None:
    """Run a ground station until it is interrupted; `swath-ground command ... --spool` and `spool` give it orders."""
    with told():
        epoch_unix_s = mission_epoch(directory, epoch, unix_s())
        port = radio_port(radio, bind, certificate, peer)
        options = StationOptions(directory, keys, config, passes, spool, capture, capture_mb << 20)
        core = build_station(options, epoch_unix_s)
        typer.echo(f"station: radio at {radio}, orders through {spool or directory / SPOOL}", err=True)
        try:
            run_clocked(core, "station", [port], ScaledClock(epoch_unix_s, rate))
        except KeyboardInterrupt:
            typer.echo("station: interrupted", err=True)
        finally:
            close(core)


def close(core: Any) -> None:
    """Bring what a core that `build_station` made holds to the disk."""
    station_core = core.core if isinstance(core, Tap) else core
    station_core.archive.flush()
    if isinstance(core, Tap):
        core.writer.close()


def spool_files(
    files: Annotated[list[Path], typer.Argument(help="Packed files: region, patch, labels, sequence, update.")],
    directory: Annotated[Path, typer.Option("--spool", help="The spool of a running station.", file_okay=False)],
) -> None:
    """Give packed files to a running station, which sends them one after the other."""
    with told():
        for path in files:
            data = path.read_bytes()
            try:
                uplink_kind(data)
                typer.echo(f"{put(directory, path.name, data)}: waits for the station")
            except SpoolError as error:
                raise ConfigError(f"{path}: {error}") from None
