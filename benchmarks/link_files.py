"""File transfers over lossy passes: delivery, passes and airtime of two endpoints, in accelerated time.

Ground and space endpoints in one process, joined by the radio of `sim.channel`, on mission time. The campaign takes
passes away and kills either end; the airtime runs do neither. Everything depends on the seed alone.
"""

from __future__ import annotations

import argparse
import dataclasses
import heapq
import multiprocessing
from collections.abc import Iterator
from concurrent.futures import Executor, ProcessPoolExecutor
from dataclasses import dataclass, field

import numpy as np

from benchmarks.rows import Row, summary
from flight.config import LinkConfig
from flight.link.endpoint import Endpoint
from flight.link.events import FileDelivered, FileReceived
from flight.link.keys import KeyRing
from flight.link.packet import FileKind
from flight.link.telecommanding import Role
from flight.link.transfer import File
from flight.step import Message
from sim.channel import Channel
from sim.radio import RadioConfig
from sim.record import PassRecord

PASS_S, GAP_S, MAX_PASSES = 480.0, 5400.0, 12
RESTART_S = 20.0
# Mean loss of frames and the mean burst that goes with it, as the presets of the channel have them.
LOSSES = {0.0: 1.0, 0.01: 1.0, 0.05: 5.0, 0.10: 8.0, 0.20: 10.0}
SIZES = (20_000, 200_000)
PASS_LOSS = 0.2
KEYS = KeyRing({1: bytes(range(32)), 2: bytes(range(32, 64))}, 1)
LINK = LinkConfig(uplink_bps=9600.0, downlink_bps=1e6, turnaround_s=0.1)
NEVER = float("inf")


@dataclass(frozen=True)
class Case:
    """One transfer: `size` bytes up at mean frame `loss`, with or without lost passes and restarts."""

    size: int
    loss: float
    seed: int
    faults: bool
    link: LinkConfig = LINK


@dataclass(frozen=True)
class Result:
    """How it went: intact in space once, known on the ground, passes beyond need, seconds of airtime in view."""

    intact: bool
    known: bool
    extra_passes: int
    airtime_s: float
    resent: int


@dataclass
class End:
    """An endpoint with its disk and its radio; `down_until` while its process is dead."""

    role: Role
    endpoint: Endpoint
    link: LinkConfig
    disk: bytes = b""
    busy_until: float = 0.0
    down_until: float = 0.0
    received: list[bytes] = field(default_factory=list)
    knows_at: float = NEVER

    def save(self) -> None:
        """What the owner does before a frame leaves."""
        if self.endpoint.needs_save:
            self.disk = self.endpoint.save()

    def hear(self, frame: bytes, t: float) -> None:
        """Take a frame, and put a file that it completes on disk."""
        for event in self.endpoint.receive(frame, t):
            if isinstance(event, FileReceived):
                self.received.append(event.file.data)
                self.endpoint.accept(event.transfer_id)
            elif isinstance(event, FileDelivered):
                self.knows_at = t
        self.save()

    def restart(self, t: float, in_pass: bool) -> None:
        """Come back with what is on disk."""
        self.endpoint = Endpoint.restore(self.disk, self.role, self.link, KEYS)
        if in_pass and self.role == "ground":
            self.endpoint.set_contact(True, t)


class Run:
    """One transfer in mission time."""

    def __init__(self, case: Case) -> None:
        self.case = case
        rng = np.random.Generator(
            np.random.PCG64(np.random.SeedSequence([case.size, round(case.loss * 100), case.seed]))
        )
        self.data = rng.bytes(case.size)
        passes = [
            PassRecord(n * GAP_S, n * GAP_S + PASS_S, "station", 45.0, case.faults and rng.random() < PASS_LOSS)
            for n in range(MAX_PASSES)
        ]
        radio = RadioConfig(
            uplink_bps=LINK.uplink_bps,
            downlink_bps=LINK.downlink_bps,
            turnaround_s=LINK.turnaround_s,
            mean_loss=case.loss,
            mean_burst_frames=LOSSES[case.loss],
        )
        self.channel = Channel(radio, passes, case.seed)
        self.passes = self.channel.contacts
        roles: tuple[Role, Role] = ("ground", "space")
        self.ends = {role: End(role, Endpoint(role, case.link, KEYS), case.link) for role in roles}
        self.kills = self._kills(rng) if case.faults else []
        self.air: list[tuple[float, int, str, bytes]] = []
        self.serial = 0
        self.down_s = 0.0

    def _kills(self, rng: np.random.Generator) -> list[tuple[float, Role]]:
        """In every pass, each end dies once with even odds, at any moment of the time that the file takes there."""
        busy_s = min(PASS_S, 1.5 * self.case.size * 8 / LINK.uplink_bps)
        sides: tuple[Role, Role] = ("ground", "space")
        found = [(p.aos_s + rng.random() * busy_s, side) for p in self.passes for side in sides if rng.random() < 0.5]
        return sorted(found)

    def go(self) -> Result:
        """Fly passes until the ground knows."""
        ground = self.ends["ground"]
        ground.endpoint.submit(File("file", FileKind.LABEL_SET, self.data))
        ground.save()
        self.ends["space"].save()
        for number, contact in enumerate(self.passes):
            self._fly(contact)
            if ground.knows_at < NEVER:
                return self._result(number)
        return self._result(MAX_PASSES)

    def _result(self, number: int) -> Result:
        ground, space = self.ends["ground"], self.ends["space"]
        lost = sum(contact.lost for contact in self.passes[: number + 1])
        intact = bool(space.received) and all(data == self.data for data in space.received)
        airtime_s = ground.knows_at - self.passes[0].aos_s + self.down_s
        resent = ground.endpoint.counters.segments_resent
        return Result(intact, ground.knows_at < NEVER, number - lost, airtime_s, resent)

    def _fly(self, contact: PassRecord) -> None:
        ground, t = self.ends["ground"], contact.aos_s
        if ground.down_until <= t:
            ground.endpoint.set_contact(True, t)
        while t < contact.los_s and (ground.knows_at == NEVER or ground.down_until > t):
            t = self._events(t)
            due = min(self._transmit(end, t) for end in self.ends.values())
            coming = min(self.air[0][0] if self.air else NEVER, self.kills[0][0] if self.kills else NEVER)
            t = max(t, min(due, coming, contact.los_s))
        self.air.clear()
        ground.endpoint.set_contact(False, contact.los_s)

    def _events(self, t: float) -> float:
        """Kills, returns and arrivals that are due at `t`."""
        while self.kills and self.kills[0][0] <= t:
            _, role = self.kills.pop(0)
            self.ends[role].down_until = t + RESTART_S
        for end in self.ends.values():
            if 0 < end.down_until <= t:
                end.down_until = 0.0
                end.restart(t, True)
        while self.air and self.air[0][0] <= t:
            _, _, role, frame = heapq.heappop(self.air)
            if not self.ends[role].down_until:
                self.ends[role].hear(frame, t)
        return t

    def _transmit(self, end: End, t: float) -> float:
        """Let one end transmit if it can; when to look at it again."""
        if end.down_until:
            return end.down_until
        if end.busy_until > t:
            return end.busy_until
        frame = end.endpoint.poll(t)
        end.save()
        if frame is None:
            return end.endpoint.next_due(t)
        end.busy_until = t + end.endpoint.frame_time_s(frame)
        if end.role == "space":
            self.down_s += end.endpoint.frame_time_s(frame)
        self.serial += 1
        for output in self.channel.step(t, [Message(t, end.role, self.serial, end.role, frame)]).outputs:
            heapq.heappush(self.air, (output.t, self.serial, output.port, output.body))
        return end.busy_until


def fly(case: Case) -> Result:
    """Run one case."""
    return Run(case).go()


def ideal_s(size: int, loss: float) -> float:
    """Airtime of a file's bytes in full frames, each sent as often as it takes on average to arrive [s]."""
    frames = size / Endpoint("ground", LINK, KEYS).file_bytes_a_frame
    return frames * 8 * LINK.frame_bytes / LINK.uplink_bps / (1 - loss)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of this part."""
    parser.add_argument("--seeds", type=int, help="transfers for each size and loss (100; 5 with --quick)")
    parser.add_argument("--jobs", type=int, default=1, help="processes that fly them")


def measure(options: argparse.Namespace) -> Iterator[Row]:
    """Delivery and passes with faults, then airtime without, by size and loss."""
    seeds = options.seeds or (5 if options.quick else 100)
    with ProcessPoolExecutor(options.jobs, multiprocessing.get_context("spawn")) as pool:
        for size in SIZES:
            for loss in LOSSES:
                yield from _campaign(list(pool.map(fly, _cases(size, loss, seeds, True), chunksize=5)), size, loss)
        deferred = dataclasses.replace(LINK, immediate_nak=False)
        for size in SIZES:
            for loss in LOSSES:
                yield _airtime(pool, _cases(size, loss, seeds, False), "")
        for loss in LOSSES:
            yield _airtime(pool, _cases(SIZES[0], loss, seeds, False, deferred), ", deferred NAK")


def _cases(size: int, loss: float, seeds: int, faults: bool, link: LinkConfig = LINK) -> list[Case]:
    return [Case(size, loss, seed, faults, link) for seed in range(seeds)]


def _campaign(results: list[Result], size: int, loss: float) -> Iterator[Row]:
    name, n = f"{size // 1000} kB, {loss:.0%} loss, lost passes, restarts", len(results)
    done = sum(result.intact and result.known for result in results)
    yield Row(f"{name}: intact and sender knows", 100 * done / n, "%", n=n)
    extra = [result.extra_passes for result in results]
    yield Row(f"{name}: most passes beyond need and lost ones", max(extra), "passes", n=n)


def _airtime(pool: Executor, cases: list[Case], what: str) -> Row:
    size, loss = cases[0].size, cases[0].loss
    airtimes_s = [result.airtime_s for result in pool.map(fly, cases, chunksize=5)]
    name = f"{size // 1000} kB, {loss:.0%} loss{what}: airtime"
    if NEVER in airtimes_s:
        return Row(name, None, "s", n=len(cases), why=f"{airtimes_s.count(NEVER)} transfers were not finished")
    return summary(name, airtimes_s, "s", ("ideal", ideal_s(size, loss)))
