"""Scenarios: what is flown, as a TOML file or one of the built-in ones, checked with the path of the bad field."""

from __future__ import annotations

import dataclasses
import inspect
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from importlib import resources
from pathlib import Path
from typing import Any, get_args, get_origin, get_type_hints

from flight import preflight
from flight.config import (
    LIMITS,
    CapsConfig,
    ClockConfig,
    ConfigError,
    CostConfig,
    EncoderConfig,
    ExecutiveConfig,
    FlightConfig,
    LearnerConfig,
    LimitConfig,
    LinkConfig,
    build,
    described,
    limited,
)
from ground.encoders.released import NAME as RELEASED
from ground.orders import CommandOrder, SequenceOrder, read_toml
from sim.orbit import STATIONS, Orbit, Station
from sim.power import PowerSection
from sim.radio import RadioConfig


@dataclass(frozen=True)
class WorldSection:
    """The synthetic Earth; unused with a data file."""

    rows: int = limited(75, 2, 4096, "rows of the chip grid")
    cols: int = limited(80, 2, 4096, "columns of the chip grid")
    municipalities: int = limited(90, 2, 65535, "municipalities")
    chip_px: int = limited(96, 16, 256, "pixels along a chip's side, a multiple of 4")


@dataclass(frozen=True)
class SiteSection:
    """Where the region lies; where it is not stated, in the middle of the imagery, if its file says where that is."""

    lat_deg: float = limited(42.0, -90, 90, "latitude of the region's centre")
    lon_deg: float = limited(-4.5, -180, 180, "longitude of the region's centre")


@dataclass(frozen=True)
class OrbitSection:
    """The orbit: two TLE lines, or a sun-synchronous one.

    Where nothing of it is stated and the default one never sees the region by day, one is taken that does.
    """

    tle: tuple[str, ...] = described((), "two lines; the other fields then count for nothing")
    altitude_km: float = limited(640.0, 200, 2000, "of the sun-synchronous orbit")
    ltan_h: float = limited(18.0, 0, 24, "local time of its ascending node")
    argument_of_latitude_deg: float = limited(60.0, -360, 360, "where on it the mission starts")


@dataclass(frozen=True)
class StationSection:
    """A ground station; by name alone if it is one of the built-in ones."""

    name: str
    lat_deg: float | None = limited(None, -90, 90, "latitude")
    lon_deg: float | None = limited(None, -180, 180, "longitude")
    min_elevation_deg: float = limited(10.0, 0, 90, "the station hears the satellite from here up")


@dataclass(frozen=True)
class CameraSection:
    """The camera, its recorder and its bus."""

    swath_km: float = limited(64.0, 1, 3000, "width of a strip, at nadir")
    max_off_nadir_deg: float = limited(25.0, 0, 60, "greatest roll of the boresight")
    min_sun_elevation_deg: float = limited(10.0, -90, 90, "imaging needs the Sun this high")
    revisit: bool = described(True, "image cells again that were imaged before, once all are done")
    recorder_mb: float = limited(1024.0, 1, 1e6, "capacity of the recorder")


@dataclass(frozen=True)
class LabelOrder:
    """An upload of labels: the training municipalities' rows of a task's table.

    `share` is how many of those rows; a later version should have more. An upload for a task that the imagery does not
    have is left out, and the report says so. With `file` the rows are those of a packed label set of your own, for the
    imagery's region.
    """

    at_h: float = limited(0.0, 0, 10000, "not before this mission hour")
    task: int = limited(1, 1, 1000, "number of the task, the imagery's first is 1")
    version: int = limited(1, 1, 65535, "version of the label set")
    share: float = limited(1.0, 0, 1, "share of the training municipalities")
    levels: int = limited(64, 2, 255, "counts that a row is rounded to")
    file: str = described(
        "", "label set to send as it is (`swath-ground labels pack`), beside the scenario; only `at_h` counts with it"
    )


@dataclass(frozen=True)
class UpdateOrder:
    """An update of what is on board: parameters, an encoder, or whatever else has a slot."""

    file: str = described("", "packed update (`swath-ground update pack`), beside the scenario")
    at_h: float = limited(0.0, 0, 10000, "not before this mission hour")


@dataclass(frozen=True)
class EncoderSection(EncoderConfig):
    """The encoder that chips are seen through, and what runs it on board. A later one goes up as an update."""

    files: tuple[str, ...] = described(
        (),
        "files of one encoder (`swath-ground encoder export`), beside the scenario, the first that can be run is used; "
        "`released`: the one that comes with swath; none: chips are seen by the statistics of their cells",
    )


@dataclass(frozen=True)
class FaultOrder:
    """Something that goes wrong: `kill-flight` is a SIGKILL to the flight process."""

    at_h: float = limited(0.0, 0, 10000, "at this mission hour")
    kind: str = described("kill-flight", "the only kind there is")


FAULTS = ("kill-flight",)


@dataclass(frozen=True)
class Scenario:
    """A mission."""

    name: str = described("mission", "of a file: its own name")
    seed: int = limited(0, 0, 2**31 - 1, "seed of everything random")
    description: str = described("", "one line")
    epoch_utc: str = described("2025-06-21T00:00:00Z", "start of mission time")
    duration_h: float = limited(24.0, 0.01, 10000, "length of the mission")
    world: WorldSection = field(default_factory=WorldSection)
    site: SiteSection = field(default_factory=SiteSection)
    orbit: OrbitSection = field(default_factory=OrbitSection)
    stations: tuple[StationSection, ...] = (StationSection("Svalbard"),)
    camera: CameraSection = field(default_factory=CameraSection)
    radio: RadioConfig = field(default_factory=RadioConfig)
    link: LinkConfig = field(default_factory=LinkConfig)
    learner: LearnerConfig = field(default_factory=LearnerConfig)
    encoder: EncoderSection = field(default_factory=EncoderSection)
    costs: CostConfig = field(default_factory=CostConfig)
    executive: ExecutiveConfig = field(default_factory=ExecutiveConfig)
    caps: CapsConfig = field(default_factory=CapsConfig)
    clock: ClockConfig = field(default_factory=ClockConfig)
    power: PowerSection = field(default_factory=PowerSection)
    limits: tuple[LimitConfig, ...] = LIMITS
    labels: tuple[LabelOrder, ...] = (LabelOrder(),)
    commands: tuple[CommandOrder, ...] = ()
    sequences: tuple[SequenceOrder, ...] = ()
    updates: tuple[UpdateOrder, ...] = ()
    faults: tuple[FaultOrder, ...] = ()

    def __post_init__(self) -> None:
        preflight.check(self.flight_config())
        for i, fault in enumerate(self.faults):
            if fault.kind not in FAULTS:
                raise ConfigError(f"faults[{i}].kind: {fault.kind!r} is unknown; known are {', '.join(FAULTS)}")
        latest: dict[int, int] = {}
        for i, order in sorted(enumerate(self.labels), key=lambda item: item[1].at_h):
            if order.file:
                continue  # it has a version of its own
            if order.version <= latest.get(order.task, 0):
                raise ConfigError(
                    f"labels[{i}].version: task {order.task} has version {latest[order.task]} before; use a later one"
                )
            latest[order.task] = order.version
        for i, update in enumerate(self.updates):
            if not update.file:
                raise ConfigError(f"updates[{i}].file: is required")
        for i, command in enumerate(self.commands):
            command.telecommand(f"commands[{i}]")
        for i, sequence in enumerate(self.sequences):
            sequence.sequence(f"sequences[{i}]")
        self._within_the_mission()
        self.epoch()
        self.station_list()

    def _within_the_mission(self) -> None:
        """Nothing is ordered for a time at which the mission is over."""
        for name in ("labels", "commands", "sequences", "updates", "faults"):
            for i, order in enumerate(getattr(self, name)):
                for each in ("at_h", "execute_h"):
                    hour = getattr(order, each, None)
                    if hour is not None and hour >= self.duration_h:
                        raise ConfigError(
                            f"{name}[{i}].{each}: hour {hour:g} is not within the mission, which lasts "
                            f"{self.duration_h:g} h"
                        )

    def epoch(self) -> datetime:
        """Start of mission time, in UTC."""
        try:
            moment = datetime.fromisoformat(self.epoch_utc)
        except ValueError as error:
            raise ConfigError(f"epoch_utc: {self.epoch_utc!r} is not an ISO 8601 date and time") from error
        return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)

    @property
    def duration_s(self) -> float:
        """Length of the mission [s]."""
        return self.duration_h * 3600

    def build_orbit(self) -> Orbit:
        """The orbit; ConfigError or OrbitError if the elements are bad."""
        section = self.orbit
        if section.tle:
            if len(section.tle) != 2:
                raise ConfigError(f"orbit.tle: {len(section.tle)} lines, expected 2")
            return Orbit.from_tle(*section.tle, epoch_utc=self.epoch())
        return Orbit.sun_synchronous(
            section.altitude_km,
            section.ltan_h,
            self.epoch(),
            argument_of_latitude_deg=section.argument_of_latitude_deg,
        )

    def station_list(self) -> list[Station]:
        """The ground stations."""
        found = []
        for i, section in enumerate(self.stations):
            known = STATIONS.get(section.name)
            if section.lat_deg is not None and section.lon_deg is not None:
                place = Station(section.name, section.lat_deg, section.lon_deg)
            elif known is not None:
                place = known
            else:
                raise ConfigError(
                    f"stations[{i}]: {section.name!r} is not built in ({', '.join(STATIONS)}): give lat_deg and lon_deg"
                )
            found.append(replace(place, min_elevation_deg=section.min_elevation_deg))
        return found

    def flight_config(self) -> FlightConfig:
        """The configuration that flight is started with; link rates and seed are the scenario's."""
        radio = self.radio
        link = replace(self.link, uplink_bps=radio.up_bps, downlink_bps=radio.down_bps, turnaround_s=radio.turnaround_s)
        learner = replace(self.learner, seed=self.seed)
        encoder = EncoderConfig(**{f.name: getattr(self.encoder, f.name) for f in dataclasses.fields(EncoderConfig)})
        return FlightConfig(
            link, learner, encoder, self.costs, self.executive, self.caps, self.clock, limits=self.limits
        )


def built_in() -> list[str]:
    """The names of the built-in scenarios."""
    files = resources.files("sim").joinpath("scenarios").iterdir()
    return sorted(file.name.removesuffix(".toml") for file in files if file.name.endswith(".toml"))


def load_scenario(name: str) -> Scenario:
    """A built-in scenario by name, or one in a TOML file; ConfigError says where it is wrong."""
    path = Path(name)
    if name in built_in():
        path = Path(str(resources.files("sim").joinpath("scenarios", f"{name}.toml")))
        values = read_toml(path)
    elif path.suffix == ".toml":
        values = read_toml(path)
    else:
        raise ConfigError(f"{name}: neither a TOML file nor a built-in scenario ({', '.join(built_in())})")
    try:
        _read_sequences(values, path.parent)
        scenario = build(Scenario, {"name": path.stem, **values})
        _check_rates(scenario, values.get("link", {}))
    except ConfigError as error:
        raise ConfigError(f"{name}: {error}") from error
    labels = [replace(order, file=str(path.parent / order.file)) if order.file else order for order in scenario.labels]
    updates = [replace(order, file=str(path.parent / order.file)) for order in scenario.updates]
    files = [name if name == RELEASED else str(path.parent / name) for name in scenario.encoder.files]
    encoder = replace(scenario.encoder, files=tuple(files))
    return replace(scenario, labels=tuple(labels), updates=tuple(updates), encoder=encoder)


def _read_sequences(values: dict[str, Any], directory: Path) -> None:
    """Put the contents of the files that sequences name in their place; the scenario's own values count."""
    sequences = values.get("sequences", [])
    for i, sequence in enumerate(sequences if isinstance(sequences, list) else []):
        if isinstance(sequence, dict) and "file" in sequence:
            own = {key: value for key, value in sequence.items() if key != "file"}
            if not isinstance(sequence["file"], str) or "steps" in own:
                raise ConfigError(f"sequences[{i}].file: expected a file name, and no steps beside it")
            sequences[i] = {**read_toml(directory / sequence["file"]), **own}


def _check_rates(scenario: Scenario, link: dict[str, Any]) -> None:
    """The rates are the radio's: a link section may only repeat them."""
    radio = scenario.radio
    for way, bps, preset in (("uplink", radio.up_bps, radio.uplink), ("downlink", radio.down_bps, radio.downlink)):
        if link.get(f"{way}_bps", bps) != bps:
            raise ConfigError(
                f"link.{way}_bps: {link[f'{way}_bps']:g} contradicts radio.{way} = {preset!r}, which is {bps:g}; "
                f"choose another preset, or radio.{way}_bps, and leave this out"
            )


def reference() -> str:
    """Every field of a scenario file as a Markdown page: its default, its range, what it is."""
    lines = [
        "# Scenario files",
        "",
        "TOML. What a file leaves out keeps its default. Built in: `swath-sim scenarios`.",
        "",
    ]
    lines += _fields(Scenario, "Top level", "") + _sections(Scenario, "")
    return "\n".join(lines)


def _sections(section: type, path: str) -> list[str]:
    """The tables within a section, and those within them."""
    lines = []
    for each in dataclasses.fields(section):
        hint = get_type_hints(section)[each.name]
        one = get_args(hint)[0] if get_origin(hint) is tuple else hint
        if dataclasses.is_dataclass(one) and isinstance(one, type):
            title = f"[[{path}{each.name}]]" if one is not hint else f"[{path}{each.name}]"
            lines += _fields(one, f"`{title}`", inspect.cleandoc(one.__doc__ or ""))
            lines += _sections(one, f"{path}{each.name}.")
    return lines


def _fields(section: type, title: str, text: str) -> list[str]:
    """A section of the reference: one table."""
    lines = [f"## {title}", ""] + ([*text.splitlines(), ""] if text else [])
    lines += ["| field | default | range | meaning |", "| --- | --- | --- | --- |"]
    for each in dataclasses.fields(section):
        hint = get_type_hints(section)[each.name]
        if any(dataclasses.is_dataclass(part) for part in (hint, *get_args(hint))):
            continue  # it has a section of its own
        about = each.metadata
        span = f"{about['low']:g} to {about['high']:g}" if "low" in about else ""
        missing = each.default is dataclasses.MISSING
        default = "required" if missing and each.default_factory is dataclasses.MISSING else each.default
        default = each.default_factory() if missing and each.default_factory is not dataclasses.MISSING else default
        lines.append(f"| `{each.name}` | {_shown(default)} | {span} | {about.get('help', '')} |")
    return [*lines, ""]


def _shown(default: object) -> str:
    if default in (None, "", (), {}):
        return ""
    if isinstance(default, bool):
        return f"`{str(default).lower()}`"
    return str(default) if default == "required" else f"`{default}`"
