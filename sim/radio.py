"""What the radio between ground and space is like: the scenario's ``[radio]``, and the presets that it may name.

The loss presets are this project's own: no published Gilbert-Elliott parameters for a small satellite's uplink were
found.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import NamedTuple

from flight.config import ConfigError, described, limited

UPLINK_BPS = {"vhf-1k2": 1200.0, "uhf-9k6": 9600.0, "sband-32k": 32e3, "sband-64k": 64e3, "sband-256k": 256e3}
DOWNLINK_BPS = {"uhf-9k6": 9600.0, "uhf-19k2": 19200.0, "sband-256k": 256e3, "sband-1m": 1e6, "sband-2m": 2e6}
CODING_RATE = 7 / 8  # BCH(63,56) of a CLTU, CCSDS 231.0-B: 7 of 8 octets are the frame's
DIRECTIONS = ("up", "down")
MB = 1_000_000


class Loss(NamedTuple):
    """Mean share of frames lost, and mean length of a run of lost frames."""

    mean: float
    burst_frames: float


LOSS = {
    "none": Loss(0.0, 1),
    "clean": Loss(0.01, 1),
    "nominal": Loss(0.02, 4),
    "poor": Loss(0.05, 5),
    "interference": Loss(0.10, 8),
    "hostile": Loss(0.20, 10),
}
_LOSS_HELP = ", ".join(f"{k} {v.mean:.0%} in runs of {v.burst_frames:g}" for k, v in LOSS.items())


@dataclass(frozen=True)
class Outage:
    """A window in which nothing passes; a frame that it touches is lost."""

    at_h: float = limited(0.0, 0, 10000, "begins at this mission hour")
    length_s: float = limited(60.0, 0, 1e7, "its length [s]")
    direction: str = described("both", "up, down or both")

    def touches(self, direction: str, start_s: float, end_s: float) -> bool:
        """Whether a frame of that direction on the air from `start_s` to `end_s` [mission s] falls into it."""
        begin_s = self.at_h * 3600
        return self.direction in (direction, "both") and start_s < begin_s + self.length_s and end_s > begin_s


@dataclass(frozen=True)
class RadioConfig:
    """The radio: rates and losses by preset, or by number in place of the preset's. Loss is counted in frames.

    Every impairment draws its own random numbers: to switch one on or off leaves what the others do as it was.
    """

    uplink: str = described("uhf-9k6", ", ".join(UPLINK_BPS))
    uplink_bps: float | None = limited(None, 120, 1e8, "uplink rate in place of the preset's [bit/s]")
    downlink: str = described("uhf-9k6", ", ".join(DOWNLINK_BPS))
    downlink_bps: float | None = limited(None, 100, 1e9, "downlink rate in place of the preset's [bit/s]")
    charge_coding: bool = described(False, "uplink frames take 8/7 of their time: BCH(63,56) of CLTUs, CCSDS 231.0-B")
    half_duplex: bool = described(False, "one frequency: a transmitter waits for the other way to fall silent")
    delay_s: float = limited(0.005, 0, 10, "one way, antenna to antenna [s]")
    turnaround_s: float = limited(
        0.2, 0, 10, "what a transmitter needs before its first frame after a silence, or after the other way [s]"
    )
    max_backlog_s: float = limited(2.0, 0, 600, "a frame is dropped if more than this waits to be transmitted [s]")
    loss: str = described("nominal", f"loss in bursts: {_LOSS_HELP}")
    mean_loss: float | None = limited(None, 0, 0.9, "share of frames lost in bursts, in place of the preset's")
    mean_burst_frames: float | None = limited(
        None, 1, 1000, "mean length of a burst, in place of the preset's [frames]"
    )
    downlink_loss: str = described("", "preset of the downlink alone, if it is another one")
    independent_loss: float = limited(0.0, 0, 1, "further share of frames lost, each on its own")
    elevation_loss: tuple[tuple[float, ...], ...] = described(
        (), "points `[elevation in degrees, further share of frames lost]`; linear between them, level beyond"
    )
    bit_error_rate: float = limited(0.0, 0, 0.5, "share of bits flipped in frames that arrive, which arrive damaged")
    duplicate: float = limited(0.0, 0, 1, "share of frames that arrive twice")
    duplicate_s: float = limited(1.0, 0, 600, "the second copy comes at most so much later [s]")
    reorder: float = limited(0.0, 0, 1, "share of frames that are held back, so that later ones overtake them")
    reorder_s: float = limited(1.0, 0, 600, "they are held at most so long [s]")
    pass_loss: float = limited(0.0, 0, 1, "probability that a whole pass is lost")
    lost_passes: tuple[int, ...] = limited((), 1, 1e6, "numbers of passes that are lost; the first is 1")
    outages: tuple[Outage, ...] = ()
    capture_mb: float = limited(0.0, 0, 10000, "write every frame to `radio.pcapng`, at most so much [MB]; 0: do not")

    def __post_init__(self) -> None:
        _known("radio.uplink", self.uplink, UPLINK_BPS)
        _known("radio.downlink", self.downlink, DOWNLINK_BPS)
        _known("radio.loss", self.loss, LOSS)
        _known("radio.downlink_loss", self.downlink_loss or self.loss, LOSS)
        for loss in (self.loss_of("up"), self.loss_of("down")):
            if loss.mean / (1 - loss.mean) > loss.burst_frames:
                raise ConfigError(
                    f"radio.mean_burst_frames: {loss.burst_frames:g} is too short for a mean loss of {loss.mean:g}"
                )
        for i, outage in enumerate(self.outages):
            _known(f"radio.outages[{i}].direction", outage.direction, (*DIRECTIONS, "both"))
        _check_points(self.elevation_loss)

    @property
    def up_bps(self) -> float:
        """The rate at which the uplink carries frames [bit/s]: what coding leaves of the rate on the air."""
        rate_bps = UPLINK_BPS[self.uplink] if self.uplink_bps is None else self.uplink_bps
        return rate_bps * (CODING_RATE if self.charge_coding else 1)

    @property
    def down_bps(self) -> float:
        """The rate at which the downlink carries frames [bit/s]."""
        return DOWNLINK_BPS[self.downlink] if self.downlink_bps is None else self.downlink_bps

    def loss_of(self, direction: str) -> Loss:
        """The loss in bursts of one direction."""
        if direction == "down" and self.downlink_loss:
            return LOSS[self.downlink_loss]
        mean, burst = LOSS[self.loss]
        return Loss(
            mean if self.mean_loss is None else self.mean_loss,
            burst if self.mean_burst_frames is None else self.mean_burst_frames,
        )

    def __str__(self) -> str:
        up = self.uplink if self.uplink_bps is None else f"{self.uplink_bps:,.0f} bit/s"
        down = self.downlink if self.downlink_bps is None else f"{self.downlink_bps:,.0f} bit/s"
        loss = self.loss if self.mean_loss is None else f"{self.mean_loss:.1%}"
        also = f" ({self.downlink_loss} down)" if self.downlink_loss else ""
        return f"{up} up, {down} down, {loss} loss{also}"


def _known(path: str, name: str, known: dict[str, object] | tuple[str, ...] | dict[str, float]) -> None:
    if name not in known:
        raise ConfigError(f"{path}: {name!r} is unknown; known are {', '.join(known)}")


def _check_points(points: tuple[tuple[float, ...], ...]) -> None:
    """ConfigError unless `points` are (elevation, share) pairs in the order of elevation."""
    for i, point in enumerate(points):
        if len(point) != 2 or not 0 <= point[0] <= 90 or not 0 <= point[1] <= 1:
            raise ConfigError(f"radio.elevation_loss[{i}]: {list(point)} is not [0 to 90 degrees, share of 0 to 1]")
    for i, (before, after) in enumerate(pairwise(points), 1):
        if after[0] <= before[0]:
            raise ConfigError(f"radio.elevation_loss[{i}]: {after[0]:g} degrees is not above the {before[0]:g} before")
