"""One table of every limit and parameter of the flight segment, validated with the path of the bad field."""

from __future__ import annotations

import dataclasses
import tomllib
from dataclasses import dataclass, field
from pathlib import Path
from types import UnionType
from typing import Any, TypeVar, Union, get_args, get_origin, get_type_hints

T = TypeVar("T")


class ConfigError(ValueError):
    """A configuration that cannot be used; the message starts with the path of the bad field."""


def limited(default: Any, low: float, high: float, help: str) -> Any:
    """A number with a default and the range that it must lie in."""
    return field(default=default, metadata={"low": low, "high": high, "help": help})


def described(default: Any, help: str) -> Any:
    """A field with a default and a word on what it is."""
    return field(default=default, metadata={"help": help})


@dataclass(frozen=True)
class LinkConfig:
    """The link, as both ends must agree on it."""

    spacecraft_id: int = limited(42, 0, 1023, "spacecraft identifier, 10 bits")
    frame_bytes: int = limited(256, 160, 1024, "size of a downlink frame, greatest of an uplink frame")
    uplink_bps: float = limited(9600, 100, 1e8, "uplink rate [bit/s]")
    downlink_bps: float = limited(9600, 100, 1e9, "downlink rate [bit/s]")
    fill_downlink: bool = described(
        False, "transmit idle frames when there is nothing to send, to keep receivers locked"
    )
    contact_timeout_s: float = limited(30.0, 1, 600, "in contact for so long after the last valid frame")
    keepalive_s: float = limited(10.0, 0.5, 600, "the ground sends something at least so often during a pass")
    turnaround_s: float = limited(0.2, 0, 60, "a radio that was silent needs so long before it transmits")
    retry_s: float = limited(6.0, 0.5, 600, "an unanswered command, or file past ack_limit, is sent again, in view")
    ack_limit: int = limited(100, 1, 1000, "unanswered file PDUs before they go out every retry_s only")
    immediate_nak: bool = described(True, "gaps are reported before the end of the file, or only from then on")
    nak_delay_s: float = limited(0.5, 0, 600, "age of a gap when it is reported before the end of the file, in view")
    inactivity_s: float = limited(600.0, 10, 86400, "a file that nothing came of for so long in view may be given up")
    save_interval_s: float = limited(10.0, 0.1, 600, "file data that were received are saved so often, in view")
    ground_entity: int = limited(1, 0, 255, "CFDP entity id of the ground")
    space_entity: int = limited(2, 0, 255, "CFDP entity id of the spacecraft")
    counter_block: int = limited(1024, 1, 65536, "anti-replay counters reserved on disk at a time")
    max_file_bytes: int = limited(1 << 20, 1024, 1 << 26, "greatest file either way")
    max_open_transfers: int = limited(8, 1, 256, "files in transfer at once, each way")
    max_queued_packets: int = limited(256, 8, 65536, "telecommands or telemetry packets that wait for a frame")
    max_label_cells: int = limited(1 << 20, 16, 1 << 26, "greatest municipalities x classes of a label set")
    max_region_chips: int = limited(1 << 20, 16, 1 << 26, "greatest number of cells of a region's grid")
    max_municipalities: int = limited(16384, 1, 1 << 20, "greatest number of municipalities of a region")
    max_classes: int = limited(20, 2, 255, "greatest number of classes of a task")


@dataclass(frozen=True)
class LearnerConfig:
    """What is trained."""

    name: str = "swath"
    seed: int = limited(0, 0, 2**31 - 1, "seed of the learner")


@dataclass(frozen=True)
class EncoderConfig:
    """What runs the encoder that chips are seen through, if there is one, and what a file of one may come to."""

    runtime: str = described(
        "auto",
        "litert, onnxruntime, tflite, or the first of them that is on board and can run the file; none: no encoder",
    )
    max_bytes: int = limited(512 << 10, 1024, 1 << 26, "greatest file of an encoder")
    max_activation_bytes: int = limited(4 << 20, 1024, 1 << 30, "greatest activations at once, by the file's graph")
    max_macs: int = limited(500_000_000, 1000, 10**12, "products for one chip")
    chip_s: float = limited(0.002, 0, 60, "mission seconds that embedding one chip takes, in stepped time")


@dataclass(frozen=True)
class CostConfig:
    """Mission seconds that work on board takes, in stepped time; divided by the CPU share."""

    chip_s: float = limited(0.004, 0, 60, "taking in one chip")
    decode_cell_s: float = limited(0.00005, 0, 60, "decoding one cell of a region, in each of its two passes")
    train_step_s: float = limited(0.02, 0, 60, "one training step (a solve is one step)")
    predict_s: float = limited(0.0005, 0, 60, "predicting one chip from its stored summary")
    checkpoint_s: float = limited(0.2, 0, 60, "writing a checkpoint")
    restart_s: float = limited(20.0, 0, 3600, "from the death of the process to its return")


@dataclass(frozen=True)
class ExecutiveConfig:
    """Rate groups and queues."""

    cycle_s: float = limited(1.0, 0.05, 60, "length of a work cycle while there is work [mission s]")
    housekeeping_s: float = limited(60.0, 1, 3600, "period of the housekeeping packet, in contact")
    checkpoint_s: float = limited(20.0, 1, 3600, "longest time between a change of state and its checkpoint")
    queue_chips: int = limited(128, 1, 4096, "chips that wait to be taken in; also the window asked of the recorder")
    max_chip_bytes: int = limited(1 << 16, 256, 1 << 22, "greatest chip: height x width x bands")
    chip_shape: tuple[int, ...] = described(
        (), "height, width and bands that every chip must have; empty: those of the first one, which must then be right"
    )
    settle_s: float = limited(10.0, 0, 3600, "training waits until no chip has come for so long, unless labels came")
    train_within_s: float = limited(
        600.0, 1, 86400, "but not for longer than this: then chips wait until a model is ready"
    )
    archive_bytes: int = limited(64 << 20, 0, 1 << 36, "disk for summaries of past chips, to predict them again")
    reserve_bytes: int = limited(16 << 20, 0, 1 << 36, "disk kept free for records: chips wait for more room than that")
    max_tasks: int = limited(8, 1, 64, "label sets of different tasks kept on board")
    kernels: str = described(
        "auto", "what runs decoders and learners: aot, jit, numpy, or the first that is on board (simulated: not jit)"
    )
    product_levels: int = limited(64, 2, 255, "counts that a downlinked proportion is rounded to")
    product_chips: int = limited(2048, 1, 65536, "chips in one product file")
    quick_look_chips: int = limited(8, 1, 64, "side of a quick-look's blocks [chips]; 1: no quick-looks")
    time_report_s: float = limited(60.0, 1, 3600, "period of the time report, in contact")
    schedule_entries: int = limited(32, 1, 256, "telecommands that wait for their time")
    late_s: float = limited(5.0, 0.1, 3600, "a telecommand executed so long after its time is not late")
    sequences: int = limited(8, 1, 64, "command sequences kept on board")
    scrub_s: float = limited(600.0, 1, 86400, "memory, records and code are compared with checksums once in so long")
    start_mode: str = described("train", "mode of the first start: safe, idle, acquire or train; later the last one")
    arm_s: float = limited(120.0, 1, 3600, "a critical telecommand is executed within so long after `arm`")


@dataclass(frozen=True)
class CapsConfig:
    """Hard caps on the flight process."""

    memory_bytes: int = limited(288 << 20, 32 << 20, 1 << 36, "resident memory that the process must stay under")
    headroom_bytes: int = limited(96 << 20, 1 << 20, 1 << 36, "data segment allowed beyond what start-up took")
    cpu_share: float = limited(1.0, 0.01, 1.0, "share of one core that the payload may use")
    throttle_share: float = limited(0.25, 0.01, 1.0, "share of it while a limit asks to throttle")
    nice: int = limited(5, 0, 19, "nice level")


@dataclass(frozen=True)
class RatesConfig:
    """Budgets of the rate groups: wall time that a run may take before it counts as an overrun."""

    commands_s: float = limited(0.1, 0.001, 60, "frames and telecommands of a step")
    housekeeping_s: float = limited(0.1, 0.001, 60, "telemetry and frames down, of a step")
    chips_s: float = limited(2.0, 0.001, 60, "a slice of chips")
    decoding_s: float = limited(2.0, 0.001, 60, "a slice of a region")
    training_s: float = limited(2.0, 0.001, 60, "a slice of training")
    predicting_s: float = limited(2.0, 0.001, 60, "a batch of predictions")
    checkpoint_s: float = limited(1.0, 0.001, 60, "a checkpoint")
    scrub_s: float = limited(0.1, 0.001, 60, "a slice of scrubbing")
    deadline_s: float = limited(10.0, 0.1, 3600, "a slice that begins so long after it was due is late [mission s]")


@dataclass(frozen=True)
class WatchdogConfig:
    """What the supervisor expects of the flight process, in wall time."""

    warn_s: float = limited(5.0, 0.1, 600, "a rate group that has not pinged for so long is told of")
    fatal_s: float = limited(30.0, 0.5, 3600, "then the process is ended and started again")
    crashes: int = limited(3, 1, 100, "so many crashes within `window_s`: the last good model; as many more: factory")
    window_s: float = limited(300.0, 1, 86400, "crashes before that are forgotten")
    standby: bool = described(False, "keep a second process ready: it takes over sooner, and costs its memory")


@dataclass(frozen=True)
class LimitConfig:
    """One limit on what the board reports."""

    name: str
    parameter: str = described("battery", "battery, temperature_degc or silence_s")
    low: float | None = limited(None, -1e6, 1e6, "out of limits below; either this or `high`")
    high: float | None = limited(None, -1e6, 1e6, "out of limits above")
    persistence: int = limited(3, 1, 1000, "readings in a row that trip it, or clear it")
    margin: float = limited(0.0, 0, 1e6, "it clears when the value is back by so much")
    action: str = described("throttle", "throttle, pause or safe")


LIMITS = (
    LimitConfig("battery-low", "battery", low=0.40, margin=0.05, action="throttle"),
    LimitConfig("battery-lower", "battery", low=0.30, margin=0.05, action="pause"),
    LimitConfig("battery-critical", "battery", low=0.20, margin=0.10, action="safe"),
    LimitConfig("warm", "temperature_degc", high=60.0, margin=5.0, action="throttle"),
    LimitConfig("hot", "temperature_degc", high=70.0, margin=10.0, action="pause"),
    LimitConfig("too-hot", "temperature_degc", high=80.0, margin=20.0, action="safe"),
    LimitConfig("board-silent", "silence_s", high=300.0, persistence=1, action="pause"),
)


@dataclass(frozen=True)
class ClockConfig:
    """The on-board oscillator, where it is simulated."""

    drift_ppm: float = limited(
        0.0, -1000, 1000, "microseconds that it gains a second; 0 on hardware, which has its own"
    )


@dataclass(frozen=True)
class FlightConfig:
    """Everything that the flight process is told at start."""

    link: LinkConfig = field(default_factory=LinkConfig)
    learner: LearnerConfig = field(default_factory=LearnerConfig)
    encoder: EncoderConfig = field(default_factory=EncoderConfig)
    costs: CostConfig = field(default_factory=CostConfig)
    executive: ExecutiveConfig = field(default_factory=ExecutiveConfig)
    caps: CapsConfig = field(default_factory=CapsConfig)
    clock: ClockConfig = field(default_factory=ClockConfig)
    rates: RatesConfig = field(default_factory=RatesConfig)
    watchdog: WatchdogConfig = field(default_factory=WatchdogConfig)
    limits: tuple[LimitConfig, ...] = LIMITS


def build(cls: type[T], values: Any, path: str = "") -> T:
    """An instance of dataclass `cls` from plain `values`; ConfigError names the path of what does not fit."""
    where = path or cls.__name__
    if not isinstance(values, dict):
        raise ConfigError(f"{where}: expected a table, found {type(values).__name__}")
    hints = get_type_hints(cls)
    known = {f.name: f for f in dataclasses.fields(cls)}  # type: ignore[arg-type]
    result: dict[str, Any] = {}
    for key, value in values.items():
        here = f"{path}.{key}" if path else str(key)
        if key not in known:
            raise ConfigError(f"{here}: unknown field; known are {', '.join(sorted(known))}")
        result[key] = _value(hints[key], value, here, dict(known[key].metadata))
    missing = [
        name
        for name, f in known.items()
        if name not in values and f.default is dataclasses.MISSING and f.default_factory is dataclasses.MISSING
    ]
    if missing:
        raise ConfigError(f"{where}: missing {', '.join(missing)}")
    return cls(**result)


def _value(hint: Any, value: Any, path: str, limits: dict[str, Any]) -> Any:
    """`value` checked against a type hint: a dataclass, number, text, tuple[X, ...], dict or X | None."""
    if dataclasses.is_dataclass(hint) and isinstance(hint, type):
        return build(hint, value, path)
    if get_origin(hint) is tuple:
        if not isinstance(value, (list, tuple)):
            raise ConfigError(f"{path}: expected a list, found {value!r}")
        return tuple(_value(get_args(hint)[0], item, f"{path}[{i}]", limits) for i, item in enumerate(value))
    if get_origin(hint) is dict:
        if not isinstance(value, dict):
            raise ConfigError(f"{path}: expected a table, found {value!r}")
        return dict(value)
    if get_origin(hint) in (Union, UnionType):
        return None if value is None else _value(get_args(hint)[0], value, path, limits)
    if hint is float and isinstance(value, int) and not isinstance(value, bool):
        value = float(value)
    if hint in (int, float, str, bool) and (not isinstance(value, hint) or (hint is int and isinstance(value, bool))):
        raise ConfigError(f"{path}: expected {hint.__name__}, found {value!r}")
    if "low" in limits and isinstance(value, (int, float)) and not limits["low"] <= value <= limits["high"]:
        raise ConfigError(f"{path}: {value!r} is not between {limits['low']:g} and {limits['high']:g}")
    return value


def load(path: Path) -> FlightConfig:
    """The configuration in a TOML file; what it leaves out keeps its default."""
    try:
        return parse(path.read_bytes(), str(path))
    except OSError as error:
        raise ConfigError(f"{path}: {error.strerror}") from error


def parse(data: bytes, where: str) -> FlightConfig:
    """The configuration in the bytes of a TOML file, which is called `where` if it cannot be read."""
    try:
        values = tomllib.loads(data.decode("utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"{where}: {error}") from error
    return build(FlightConfig, values)


def dump(config: Any) -> dict[str, Any]:
    """The configuration as plain values, as `build` takes them."""
    return dataclasses.asdict(config)
