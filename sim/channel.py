"""The radio between ground and space: rate, delay, windows, queue and loss, frame by frame, on mission time.

Loss is bursty: a Gilbert-Elliott chain with a lossless and a lossy state makes one step a frame and direction, and
starts each contact in its stationary distribution. With mean loss P and mean burst length B [frames] it leaves the
lossy state with probability r = 1 / B and enters it with p = P r / (1 - P) (Gilbert 1960; Elliott 1963). The presets
are this project's own: no published parameters for a small satellite's uplink were found.
"""

from __future__ import annotations

import hashlib
from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np

from flight.config import limited
from flight.step import NEVER, Message, Output, Step
from sim.record import PassRecord

UPLINK_BPS = {"vhf-1k2": 1200.0, "uhf-9k6": 9600.0, "sband-32k": 32e3, "sband-64k": 64e3, "sband-256k": 256e3}
DOWNLINK_BPS = {"uhf-9k6": 9600.0, "uhf-19k2": 19200.0, "sband-256k": 256e3, "sband-1m": 1e6, "sband-2m": 2e6}


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
DIRECTIONS = {"ground": ("up", "space"), "space": ("down", "ground")}
CAUSES = ("no_contact", "queue_full", "cut_by_los", "pass_lost", "burst", "independent")


@dataclass(frozen=True)
class ChannelConfig:
    """What the radio is like; the same loss in both directions."""

    uplink_bps: float = limited(9600.0, 100, 1e8, "uplink rate [bit/s]")
    downlink_bps: float = limited(9600.0, 100, 1e9, "downlink rate [bit/s]")
    delay_s: float = limited(0.005, 0, 10, "one way, antenna to antenna")
    turnaround_s: float = limited(0.2, 0, 10, "a transmitter that was silent needs so long before its next frame")
    jitter_s: float = limited(0.0, 0, 10, "greatest extra delay, drawn for each frame; reorders frames")
    max_backlog_s: float = limited(2.0, 0, 600, "a frame is dropped if more than this waits to be transmitted")
    mean_loss: float = limited(0.02, 0, 0.9, "share of frames lost in bursts")
    mean_burst_frames: float = limited(4.0, 1, 1000, "mean length of a burst [frames]")
    independent_loss: float = limited(0.0, 0, 1, "further share of frames lost, each on its own")
    pass_loss: float = limited(0.0, 0, 1, "probability that a whole pass is lost")
    lost_passes: tuple[int, ...] = ()  # numbers of passes that are lost, the first is 0
    bit_error_rate: float = limited(0.0, 0, 0.5, "share of bits flipped in frames that arrive")
    charge_coding: bool = False  # uplink frames take 8/7 of their time: BCH(63,56), CCSDS 231.0-B

    def __post_init__(self) -> None:
        if self.mean_loss / (1 - self.mean_loss) > self.mean_burst_frames:
            raise ValueError(f"mean_burst_frames: {self.mean_burst_frames:g} is too short for loss {self.mean_loss:g}")

    @property
    def uplink_frames_bps(self) -> float:
        """The rate at which the uplink carries frames [bit/s]: what is left of `uplink_bps` after coding."""
        return self.uplink_bps * (7 / 8 if self.charge_coding else 1)

    @classmethod
    def preset(cls, uplink: str = "uhf-9k6", downlink: str = "uhf-9k6", loss: str = "nominal") -> ChannelConfig:
        """The configuration of three named presets; ValueError lists the names known."""
        for kind, name, known in (
            ("uplink", uplink, UPLINK_BPS),
            ("downlink", downlink, DOWNLINK_BPS),
            ("loss", loss, LOSS),
        ):
            if name not in known:
                raise ValueError(f"{kind}: unknown preset {name!r}; known are {', '.join(known)}")
        mean, burst = LOSS[loss]
        return cls(UPLINK_BPS[uplink], DOWNLINK_BPS[downlink], mean_loss=mean, mean_burst_frames=burst)


class Tally:
    """Frames and bytes offered, delivered, delivered with flipped bits, and lost by cause."""

    def __init__(self) -> None:
        self.counts = {name: [0, 0] for name in ("offered", "delivered", "corrupted", *CAUSES)}

    def add(self, name: str, size: int) -> None:
        """Count one frame of `size` bytes under `name`."""
        self.counts[name][0] += 1
        self.counts[name][1] += size

    def report(self) -> dict[str, Any]:
        """The counts as plain values; `lost` holds the causes that occurred."""
        values = {name: {"frames": frames, "bytes": size} for name, (frames, size) in self.counts.items()}
        lost = {cause: value for cause in CAUSES if (value := values.pop(cause))["frames"]}
        return {**values, "lost": lost}


@dataclass
class _Direction:
    """One direction of the radio: its transmitter, and the state of its chain in the present contact."""

    name: str
    number: int
    to_port: str
    rate_bps: float
    tally: Tally
    busy_until_s: float = -np.inf
    contact: int = -1
    frame: int = 0
    in_burst: bool = False


class Channel:
    """The radio's core, with ports "ground" and "space"; a message's body is one frame.

    Args:
        config: rates, delays and losses.
        contacts: disjoint contacts in time order (`sim.orbit.contacts`); outside of them nothing arrives.
        seed: of all losses. A frame's fate depends on the seed, its direction, the contact and its number within
            the contact, and on nothing else: not on how steps are sliced.
    """

    def __init__(self, config: ChannelConfig, contacts: Sequence[PassRecord], seed: int) -> None:
        ends = [edge for contact in contacts for edge in (contact.aos_s, contact.los_s)]
        if any(later < earlier for earlier, later in pairwise(ends)):
            raise ValueError("contacts overlap or are not in time order; make them disjoint with sim.orbit.contacts")
        self.config = config
        self.seed = seed
        self._key = int.from_bytes(hashlib.sha256(f"channel {seed} frames".encode()).digest()[:16], "little")
        lost = frozenset(config.lost_passes)
        self.contacts = [
            replace(c, lost=c.lost or n in lost or self._uniform("pass", n) < config.pass_loss)
            for n, c in enumerate(contacts)
        ]
        self._aos_s = [contact.aos_s for contact in contacts]
        self._directions = {
            port: _Direction(name, number, to_port, rate_bps, Tally())
            for number, ((port, (name, to_port)), rate_bps) in enumerate(
                zip(DIRECTIONS.items(), (config.uplink_frames_bps, config.downlink_bps), strict=True)
            )
        }
        self._passes: dict[tuple[int, str], Tally] = {}

    def step(self, t: float, inputs: Sequence[Message]) -> Step:
        """Put each frame on the air; what arrives is an output at its time of arrival. The channel is never due."""
        outputs = []
        for message in inputs:
            arrival = self._transmit(self._directions[message.port], message.t, message.body)
            if arrival is not None:
                outputs.append(Output(max(t, arrival[0]), self._directions[message.port].to_port, arrival[1]))
        return Step(outputs, NEVER)

    def report(self) -> dict[str, Any]:
        """Counts of frames and bytes in each direction, in all and for each pass in which a frame was offered."""
        return {
            **{d.name: d.tally.report() for d in self._directions.values()},
            "passes": [
                {
                    "pass": n,
                    "station": contact.station,
                    "lost": contact.lost,
                    **{name: self._passes[n, name].report() for name in ("up", "down") if (n, name) in self._passes},
                }
                for n, contact in enumerate(self.contacts)
            ],
        }

    def _transmit(self, d: _Direction, t: float, frame: bytes) -> tuple[float, bytes] | None:
        """Arrival time and body of a frame handed over at `t`; None if it is lost."""
        tallies = [d.tally]

        def count(name: str) -> None:
            for tally in tallies:
                tally.add(name, len(frame))

        number = bisect_right(self._aos_s, t) - 1
        if number < 0 or t >= self.contacts[number].los_s:
            count("offered")
            count("no_contact")
            return None
        tallies.append(self._passes.setdefault((number, d.name), Tally()))
        count("offered")
        if number != d.contact:  # AOS: the transmitter starts afresh
            d.contact, d.frame, d.busy_until_s = number, 0, -np.inf
        if d.busy_until_s - t > self.config.max_backlog_s:
            count("queue_full")
            return None
        start_s = d.busy_until_s if t <= d.busy_until_s else t + self.config.turnaround_s
        d.busy_until_s = start_s + 8 * len(frame) / d.rate_bps
        rng = self._generator(d, number)
        cause = self._cause(d, number, rng)
        if cause is not None:
            count(cause)
            return None
        received = self._flip_bits(frame, rng)
        count("delivered")
        if received != frame:
            count("corrupted")
        jitter_s = self.config.jitter_s * rng.random() if self.config.jitter_s else 0.0
        return d.busy_until_s + self.config.delay_s + jitter_s, received

    def _cause(self, d: _Direction, number: int, rng: np.random.Generator) -> str | None:
        """Why the frame now on the air is lost, if it is; steps the chain."""
        in_burst, alone = rng.random(2)
        leave = 1 / self.config.mean_burst_frames
        enter = self.config.mean_loss * leave / (1 - self.config.mean_loss)
        if d.frame == 0:
            d.in_burst = bool(in_burst < self.config.mean_loss)
        else:
            d.in_burst = bool(in_burst >= leave) if d.in_burst else bool(in_burst < enter)
        d.frame += 1
        if d.busy_until_s > self.contacts[number].los_s:
            return "cut_by_los"
        if self.contacts[number].lost:
            return "pass_lost"
        if d.in_burst:
            return "burst"
        return "independent" if alone < self.config.independent_loss else None

    def _flip_bits(self, frame: bytes, rng: np.random.Generator) -> bytes:
        """The frame with each bit flipped at the bit error rate."""
        if not self.config.bit_error_rate:
            return frame
        bits = np.unpackbits(np.frombuffer(frame, np.uint8))
        return np.packbits(bits ^ (rng.random(bits.size) < self.config.bit_error_rate)).tobytes()

    def _generator(self, d: _Direction, number: int) -> np.random.Generator:
        """The random numbers of one frame: Philox at a counter that names direction, contact and frame."""
        return np.random.Generator(np.random.Philox(key=self._key, counter=[0, d.frame, number, d.number]))

    def _uniform(self, what: str, number: int) -> float:
        """A number in 0..1 that depends on the seed and its arguments alone."""
        digest = hashlib.sha256(f"channel {self.seed} {what} {number}".encode()).digest()
        return int.from_bytes(digest[:7], "little") / 2**56
