"""The radio between ground and space: rate, delay, windows, queue and what goes wrong, frame by frame, on mission time.

Loss is bursty: a Gilbert-Elliott chain with a lossless and a lossy state makes one step a frame and direction, and
starts each contact in its stationary distribution. With mean loss P and mean burst length B [frames] it leaves the
lossy state with probability r = 1 / B and enters it with p = P r / (1 - P) (Gilbert 1960; Elliott 1963).
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any, Protocol

import numpy as np

from flight.step import NEVER, Message, Output, Step
from ground.capture import Captured
from sim.chance import Chance, Purpose
from sim.radio import Loss, RadioConfig
from sim.record import PassRecord

WAYS = {"ground": ("up", "space"), "space": ("down", "ground")}  # port: direction, port at the far end
CAUSES = ("no_contact", "queue_full", "cut_by_los", "pass_lost", "outage", "burst", "elevation", "independent")
KINDS = ("offered", "delivered", "damaged", "duplicated", "held_back")


class Recorder(Protocol):
    """Takes note of every frame and of what became of it."""

    def write(self, captured: Captured) -> None:
        """Take note of one frame."""
        ...

    def report(self) -> dict[str, Any]:
        """What has been written, and what was left out."""
        ...


class Tally:
    """Frames and bytes offered, delivered (damaged, twice or late among them), and lost by cause."""

    def __init__(self) -> None:
        self.counts = {name: [0, 0] for name in (*KINDS, *CAUSES)}

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
    loss: Loss
    tally: Tally
    busy_until_s: float = -np.inf
    contact: int = -1
    frame: int = -1
    in_burst: bool = False

    def enter(self, contact: int) -> None:
        """At AOS the transmitter starts afresh."""
        if contact != self.contact:
            self.contact, self.frame, self.busy_until_s = contact, -1, -np.inf

    def next_frame(self, chance: float) -> None:
        """Count a frame on the air, and let the chain make its step."""
        self.frame += 1
        leave = 1 / self.loss.burst_frames
        enter = self.loss.mean * leave / (1 - self.loss.mean)
        if self.frame == 0:
            self.in_burst = chance < self.loss.mean
        else:
            self.in_burst = chance >= leave if self.in_burst else chance < enter


class Channel:
    """The radio's core, with ports "ground" and "space"; a message's body is one frame.

    Args:
        config: rates, delays and losses.
        contacts: disjoint contacts in time order (`sim.orbit.contacts`); outside of them nothing arrives.
        seed: of all that is random. A frame's fate depends on the seed, its direction, the contact and its number
            within the contact, and on nothing else: not on how steps are sliced.
        recorder: is told of every frame.
    """

    def __init__(
        self, config: RadioConfig, contacts: Sequence[PassRecord], seed: int, recorder: Recorder | None = None
    ) -> None:
        check_contacts(config, contacts)
        self.config = config
        self.recorder = recorder
        self._chance = Chance(seed)
        self.contacts = [
            replace(c, lost=c.lost or n + 1 in config.lost_passes or self._loses_pass(n))
            for n, c in enumerate(contacts)
        ]
        self._aos_s = [contact.aos_s for contact in contacts]
        self._directions = {
            port: _Direction(name, number, to_port, rate_bps, config.loss_of(name), Tally())
            for number, ((port, (name, to_port)), rate_bps) in enumerate(
                zip(WAYS.items(), (config.up_bps, config.down_bps), strict=True)
            )
        }
        self._passes: dict[tuple[int, str], Tally] = {}

    def step(self, t: float, inputs: Sequence[Message]) -> Step:
        """Put each frame on the air; what arrives is an output at its time of arrival. The channel is never due."""
        outputs = []
        for message in inputs:
            d = self._directions[message.port]
            for captured in self._transmit(d, message.t, message.body):
                if captured.arrival_s is not None:
                    outputs.append(Output(max(t, captured.arrival_s), d.to_port, captured.data))
                if self.recorder is not None:
                    self.recorder.write(captured)
        return Step(outputs, NEVER)

    def report(self) -> dict[str, Any]:
        """Counts of frames and bytes in each direction, in all and for each pass, passes numbered from 1."""
        return {
            **{d.name: d.tally.report() for d in self._directions.values()},
            "passes": [
                {
                    "pass": n + 1,
                    "station": contact.station,
                    "lost": contact.lost,
                    **{name: self._passes[n, name].report() for name in ("up", "down") if (n, name) in self._passes},
                }
                for n, contact in enumerate(self.contacts)
            ],
            "capture": self.recorder.report() if self.recorder is not None else None,
        }

    def _loses_pass(self, contact: int) -> bool:
        return self._chance.uniform(Purpose.PASS_LOST, 0, contact) < self.config.pass_loss

    def _transmit(self, d: _Direction, t: float, frame: bytes) -> list[Captured]:
        """What becomes of a frame handed over at `t`: one entry, or two if it arrives twice."""
        number = bisect_right(self._aos_s, t) - 1
        tallies = [d.tally]
        if number < 0 or t >= self.contacts[number].los_s:
            cause: str | None = "no_contact"
        else:
            tallies.append(self._passes.setdefault((number, d.name), Tally()))
            d.enter(number)
            cause = self._put_on_air(d, t, frame)
        found = [Captured(t, d.name, frame, "lost", cause)] if cause else self._arrivals(d, t, frame)
        names = ["offered", cause] if cause else ["offered", "delivered"]
        names += ["damaged"] * (found[0].bits_flipped > 0) + ["held_back"] * found[0].held
        for name in [*names, *["duplicated"] * (len(found) - 1)]:
            for tally in tallies:
                tally.add(name, len(frame))
        return found

    def _put_on_air(self, d: _Direction, t: float, frame: bytes) -> str | None:
        """Occupy the transmitter with a frame; why the frame is lost, if it is."""
        config = self.config
        free_s = d.busy_until_s
        if config.half_duplex:
            other = next(o for o in self._directions.values() if o is not d)
            if other.contact == d.contact:
                free_s = max(free_s, other.busy_until_s + config.delay_s + config.turnaround_s)
        if free_s - t > config.max_backlog_s:
            return "queue_full"
        start_s = free_s if t <= free_s else t + config.turnaround_s
        d.busy_until_s = start_s + 8 * len(frame) / d.rate_bps
        d.next_frame(self._chance.uniform(Purpose.BURST, d.number, d.contact, d.frame + 1))
        return self._cause(d, start_s)

    def _cause(self, d: _Direction, start_s: float) -> str | None:
        """Why the frame that is on the air from `start_s` on is lost, if it is."""
        contact, config = self.contacts[d.contact], self.config
        if d.busy_until_s > contact.los_s:
            return "cut_by_los"
        if contact.lost:
            return "pass_lost"
        if any(outage.touches(d.name, start_s, d.busy_until_s) for outage in config.outages):
            return "outage"
        if d.in_burst:
            return "burst"
        if config.elevation_loss:
            at_deg, share = zip(*config.elevation_loss, strict=True)
            if self._happens(d, Purpose.ELEVATION, float(np.interp(contact.elevation_deg(start_s), at_deg, share))):
                return "elevation"
        return "independent" if self._happens(d, Purpose.INDEPENDENT, config.independent_loss) else None

    def _arrivals(self, d: _Direction, t: float, frame: bytes) -> list[Captured]:
        """The frame as it arrives: damaged, late or twice, if that is its fate."""
        config = self.config
        received, flipped = self._flip_bits(d, frame)
        arrival_s = d.busy_until_s + config.delay_s
        held = self._happens(d, Purpose.REORDER, config.reorder)
        if held:
            arrival_s += config.reorder_s * self._uniform(d, Purpose.REORDER_DELAY)
        fate = "damaged" if flipped else "passed"
        found = [Captured(t, d.name, received, fate, arrival_s=arrival_s, bits_flipped=flipped, held=held)]
        if self._happens(d, Purpose.DUPLICATE, config.duplicate):
            again_s = arrival_s + config.duplicate_s * self._uniform(d, Purpose.DUPLICATE_DELAY)
            found.append(replace(found[0], arrival_s=again_s, copy=True))
        return found

    def _flip_bits(self, d: _Direction, frame: bytes) -> tuple[bytes, int]:
        """The frame with each bit flipped at the bit error rate, and how many were."""
        rate = self.config.bit_error_rate
        if not rate:
            return frame, 0
        flips = self._chance.uniforms(8 * len(frame), Purpose.BIT_ERRORS, d.number, d.contact, d.frame) < rate
        data = np.frombuffer(frame, np.uint8) ^ np.packbits(flips)
        return data.tobytes(), int(flips.sum())

    def _happens(self, d: _Direction, purpose: Purpose, probability: float) -> bool:
        return probability > 0 and self._uniform(d, purpose) < probability

    def _uniform(self, d: _Direction, purpose: Purpose) -> float:
        """The random number of one decision about the frame on the air."""
        return self._chance.uniform(purpose, d.number, d.contact, d.frame)


def check_contacts(config: RadioConfig, contacts: Sequence[PassRecord]) -> None:
    """ValueError unless the contacts are disjoint, in order and as many as the configuration names."""
    ends = [edge for contact in contacts for edge in (contact.aos_s, contact.los_s)]
    if any(later < earlier for earlier, later in pairwise(ends)):
        raise ValueError("contacts overlap or are not in time order; make them disjoint with sim.orbit.contacts")
    if unknown := [n for n in config.lost_passes if n > len(contacts)]:
        raise ValueError(f"radio.lost_passes: there is no pass {unknown[0]}; the mission has {len(contacts)}")
    if config.elevation_loss and not all(len(contact.elevations_deg) > 1 for contact in contacts):
        raise ValueError("radio.elevation_loss: a contact comes without its elevations (sim.elevation)")
