"""Two endpoints, their owners and the radio between them, on mission time: what the tests of the link play with."""

from __future__ import annotations

import heapq
import random
from dataclasses import dataclass, field

from flight.config import LinkConfig
from flight.link.endpoint import Endpoint
from flight.link.events import CommandReceived, FileReceived, LinkEvent
from flight.link.keys import KeyRing
from flight.link.telecommanding import Role
from flight.link.transfer import File

CONFIG = LinkConfig()
KEYS = KeyRing({1: bytes(range(32)), 2: bytes(range(32, 64))}, 1)


class Owner:
    """What stands around an endpoint: a disk, and a radio that is busy while it transmits."""

    def __init__(self, role: Role, config: LinkConfig) -> None:
        self.role, self.config = role, config
        self.endpoint = Endpoint(role, config, KEYS)
        self.disk = self.endpoint.save()
        self.files: dict[int, File] = {}
        self.accepted: list[int] = []
        self.executed: list[int] = []
        self.events: list[LinkEvent] = []
        self.busy_until = 0.0
        self.refuses = False

    def restart(self) -> None:
        """The process dies and comes back with what is on disk."""
        self.endpoint = Endpoint.restore(self.disk, self.role, self.config, KEYS)

    def receive(self, frame: bytes, t: float) -> list[LinkEvent]:
        events = self.endpoint.receive(frame, t)
        self.events += events
        for event in events:
            if isinstance(event, FileReceived) and self.refuses:
                self.endpoint.refuse(event.transfer_id, "not wanted")
            elif isinstance(event, FileReceived):
                self.files[event.transfer_id] = event.file
                self.endpoint.accept(event.transfer_id)
                self.accepted.append(event.transfer_id)
            elif isinstance(event, CommandReceived):
                self.executed.append(event.number)
                self.endpoint.acknowledge(event.number, "executed")
        if self.endpoint.needs_save:
            self.disk = self.endpoint.save()
        return events

    def poll(self, t: float) -> bytes | None:
        frame = self.endpoint.poll(t)
        if self.endpoint.needs_save:
            self.disk = self.endpoint.save()
        return frame

    def of(self, kind: type) -> list[LinkEvent]:
        return [event for event in self.events if isinstance(event, kind)]


@dataclass
class Radio:
    """What one direction does to frames."""

    loss: float = 0.0
    duplicate: float = 0.0
    jitter_s: float = 0.0
    delay_s: float = 0.005


@dataclass
class World:
    config: LinkConfig = CONFIG
    seed: int = 0
    up: Radio = field(default_factory=Radio)
    down: Radio = field(default_factory=Radio)

    def __post_init__(self) -> None:
        self.t = 0.0
        self.ground, self.space = Owner("ground", self.config), Owner("space", self.config)
        self.random = random.Random(self.seed)
        self.air: list[tuple[float, int, str, bytes]] = []
        self.serial = 0
        self.frames = {"ground": 0, "space": 0}
        self.bytes = {"ground": 0, "space": 0}

    def contact(self, on: bool) -> None:
        self.ground.endpoint.set_contact(on, self.t)
        if not on:
            self.air.clear()

    def transmit(self, owner: Owner) -> float:
        """Let one end transmit if it can; the time at which to look at it again."""
        if owner.busy_until > self.t:
            return owner.busy_until
        frame = owner.poll(self.t)
        if frame is None:
            due = owner.endpoint.next_due(self.t)
            assert due > self.t, "an endpoint asks to be polled at once and has nothing to send"
            return due
        self.frames[owner.role] += 1
        self.bytes[owner.role] += len(frame)
        owner.busy_until = self.t + owner.endpoint.frame_time_s(frame)
        radio, to = (self.up, "space") if owner.role == "ground" else (self.down, "ground")
        copies = 1 + (self.random.random() < radio.duplicate)
        for _ in range(copies):
            if self.random.random() >= radio.loss:
                arrival = owner.busy_until + radio.delay_s + self.random.random() * radio.jitter_s
                self.serial += 1
                heapq.heappush(self.air, (arrival, self.serial, to, frame))
        return owner.busy_until

    def run(self, seconds: float, idle_ends: bool = False) -> float:
        """Let the world go on; with `idle_ends`, until neither end has a file or packet left. Returns the time."""
        end = self.t + seconds
        while True:
            due = min(self.transmit(self.ground), self.transmit(self.space))
            arrival = self.air[0][0] if self.air else float("inf")
            if min(due, arrival) > end or (idle_ends and not self.air and self.idle()):
                if not idle_ends:
                    self.t = end
                return self.t
            self.t = max(self.t, min(due, arrival))
            while self.air and self.air[0][0] <= self.t:
                _, _, to, frame = heapq.heappop(self.air)
                (self.space if to == "space" else self.ground).receive(frame, self.t)

    def idle(self) -> bool:
        ends = (self.ground.endpoint, self.space.endpoint)
        return not any(end.progress() or end.queued_packets for end in ends)


def content(size: int, seed: int = 0) -> bytes:
    return random.Random(seed * 1000003 + size).randbytes(size)
