"""What stands around the cores of a campaign mission: a computer that can die, a desk on the ground, two saboteurs.

The saboteurs wrap a core and pass on what it says; at set times they add, or alter, messages.
"""

from __future__ import annotations

import heapq
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import msgpack
import numpy as np

from flight.config import LinkConfig
from flight.link import product
from flight.link.product import Product
from flight.step import NEVER, Core, Message, Output, Step
from sim.disk import DiskDeath, SimDisk
from sim.lockstep import Done, LocalNode, NodeDied, Sent

PRODUCT = "product-"
HEARD_FRAMES = 256  # that an attacker keeps to replay
RESOLUTION_S = 1e-6  # a clock that is off is read no finer: sums of its offset are not exact


class MortalNode(LocalNode):
    """A core that may die in the middle of a step, at a write to its disk. Its reports take long, and are left out."""

    _dead = False

    def _told(self, step: Step, core: Core) -> Done:
        return Done([self._name(output) for output in step.outputs], step.next_due, {})

    def begin(self, t: float, inputs: list[Sent]) -> None:
        """Take the step; a death is told by `finish`."""
        try:
            super().begin(t, inputs)
        except DiskDeath:
            self._dead = True

    def finish(self) -> Done:
        """The step that `begin` took; NodeDied if the process did not survive it."""
        if self._dead:
            self._dead = False
            self.kill()
            raise NodeDied(self.name)
        return super().finish()


class Board:
    """A computer around flight's core: its clock may be off by `skew_s`, and a slow disk keeps it busy."""

    def __init__(self, core: Core, disk: SimDisk, skew_s: float = 0.0) -> None:
        self.core = core
        self.disk = disk
        self.skew_s = skew_s
        self._busy_until_s = -NEVER
        self._held: list[Message] = []

    def step(self, t: float, inputs: Sequence[Message]) -> Step:
        """A step of the core at the time that it believes it is, unless the disk still keeps it busy."""
        self._held += inputs
        if t < self._busy_until_s:
            return Step([], self._busy_until_s)
        taken, self._held = self._held, []
        skew_s, waited_s = self.skew_s, self.disk.waited_s
        shifted = [Message(m.t + skew_s, m.source, m.seq, m.port, m.body) for m in taken]
        outputs, next_due = self.core.step(t + skew_s, shifted)
        late_s = self.disk.waited_s - waited_s
        self._busy_until_s = t + late_s if late_s else -NEVER
        sent = [Output(max(t, output.t - skew_s) + late_s, output.port, output.body) for output in outputs]
        if next_due <= t + skew_s:
            return Step(sent, t + late_s)
        return Step(sent, max(t + late_s, t + RESOLUTION_S, next_due - skew_s))

    def report(self) -> dict[str, Any]:
        """That of the core."""
        return self.core.report()


@dataclass
class Desk:
    """What came down to the ground, in memory: telemetry and files. Implements `ground.station.Archive`.

    `contradictions` are names of products that came with two different contents.
    """

    told: list[tuple[float, str, str, Mapping[str, Any]]] = field(default_factory=list)
    files: dict[str, bytes] = field(default_factory=dict)
    contradictions: list[str] = field(default_factory=list)

    def telemetry(self, t_s: float, kind: str, name: str, values: Mapping[str, Any]) -> None:
        """A packet."""
        self.told.append((t_s, kind, name, values))

    def file(self, t_s: float, name: str, data: bytes) -> None:
        """A file."""
        if name.startswith(PRODUCT) and self.files.get(name, data) != data:
            self.contradictions.append(name)
        self.files[name] = data

    def products(self, config: LinkConfig) -> list[Product]:
        """Every product file that came, decoded."""
        return [product.unpack(data, config) for name, data in self.files.items() if name.startswith(PRODUCT)]

    def flush(self) -> None:
        """Nothing waits."""

    def of(self, name: str) -> list[Mapping[str, Any]]:
        """The values of all telemetry of that name, what came more than once only once."""
        found: list[Mapping[str, Any]] = []
        for _, _, called, values in self.told:
            if called == name and values not in found:
                found.append(values)
        return found


@dataclass(frozen=True)
class Shot:
    """Something that a saboteur does at a time; `seed` of what is random about it."""

    at_s: float
    kind: str
    count: int
    seed: int


class _Saboteur(ABC):
    """A core behind which shots are fired: each makes (port, body) pairs that leave as if they were the core's."""

    def __init__(self, core: Core, shots: Sequence[Shot]) -> None:
        self.core = core
        self._shots = [(shot.at_s, i, shot) for i, shot in enumerate(shots)]
        heapq.heapify(self._shots)
        self._due_s = NEVER

    def step(self, t: float, inputs: Sequence[Message]) -> Step:
        """What the core says, with more behind it."""
        outputs, self._due_s = self.core.step(t, inputs)
        outputs = self.pass_on(t, inputs, outputs)
        while self._shots and self._shots[0][0] <= t:
            shot = heapq.heappop(self._shots)[2]
            outputs += [Output(t, port, body) for port, body in self.make(shot)]
        return Step(outputs, min(self._due_s, self._shots[0][0] if self._shots else NEVER))

    def report(self) -> dict[str, Any]:
        """That of the core."""
        return self.core.report()

    def pass_on(self, t: float, inputs: Sequence[Message], outputs: list[Output]) -> list[Output]:
        """The core's outputs, as they leave."""
        return outputs

    @abstractmethod
    def make(self, shot: Shot) -> list[tuple[str, bytes]]:
        """Messages of a shot."""


class HostileRadio(_Saboteur):
    """Around the channel: frames that were heard come again, altered or not, beside invented ones; bits flip.

    `foreign` makes a valid frame with keys that nobody on board knows; `flips` are (begin, end, seed) of bit errors.
    """

    def __init__(
        self,
        core: Core,
        shots: Sequence[Shot],
        flips: Sequence[tuple[float, float, int]],
        foreign: Callable[[int], bytes],
    ) -> None:
        super().__init__(core, shots)
        self.flips = flips
        self.foreign = foreign
        self._heard: dict[str, deque[bytes]] = {
            "space": deque(maxlen=HEARD_FRAMES),
            "ground": deque(maxlen=HEARD_FRAMES),
        }
        self._passed = 0

    def pass_on(self, t: float, inputs: Sequence[Message], outputs: list[Output]) -> list[Output]:
        """Remember what is on the air, and flip bits of it while that lasts."""
        for output in outputs:
            self._heard[output.port].append(output.body)
        seeds = [seed for begin_s, end_s, seed in self.flips if begin_s <= t < end_s]
        return [self._flipped(output, seeds[0]) for output in outputs] if seeds else outputs

    def _flipped(self, output: Output, seed: int) -> Output:
        self._passed += 1
        rng = np.random.default_rng([seed, self._passed])
        if rng.random() > 0.3:
            return output
        return Output(output.t, output.port, flip_bits(output.body, rng, int(rng.integers(1, 9))))

    def make(self, shot: Shot) -> list[tuple[str, bytes]]:
        """Hostile frames to both ends, most of them to the spacecraft."""
        rng = np.random.default_rng([shot.seed, 0x405])
        found = []
        for _ in range(shot.count):
            port = "space" if rng.random() < 0.8 else "ground"
            found.append((port, self._frame(port, rng)))
        return found

    def _frame(self, port: str, rng: np.random.Generator) -> bytes:
        heard = self._heard[port]
        how = int(rng.integers(5))
        if how == 0 or (not heard and how != 4):
            return rng.bytes(int(rng.integers(0, 1100)))
        if how == 4:
            return self.foreign(int(rng.integers(1 << 31)))
        frame = heard[int(rng.integers(len(heard)))]
        if how == 1:
            return frame
        if how == 2:
            return flip_bits(frame, rng, int(rng.integers(1, 17)))
        return frame[: int(rng.integers(len(frame) + 1))]


class BrokenCamera(_Saboteur):
    """Around the camera: floods of messages that flight has not asked for, and such as are no chips."""

    def __init__(self, core: Core, shots: Sequence[Shot], port: str) -> None:
        super().__init__(core, shots)
        self.port = port
        self._heard: deque[bytes] = deque(maxlen=64)

    def pass_on(self, t: float, inputs: Sequence[Message], outputs: list[Output]) -> list[Output]:
        """Remember what was sent."""
        self._heard.extend(output.body for output in outputs)
        return outputs

    def make(self, shot: Shot) -> list[tuple[str, bytes]]:
        """Messages to flight."""
        rng = np.random.default_rng([shot.seed, 0xCA])
        make = self._flood if shot.kind == "chip-flood" else self._malformed
        return [(self.port, make(rng)) for _ in range(shot.count)]

    def _flood(self, rng: np.random.Generator) -> bytes:
        """A chip that was sent before, or one that is not taken yet."""
        if self._heard and rng.random() < 0.7:
            return self._heard[int(rng.integers(len(self._heard)))]
        return far_chip(int(rng.integers(1 << 20, 1 << 30)))

    def _malformed(self, rng: np.random.Generator) -> bytes:
        how = int(rng.integers(4))
        if how == 0 or not self._heard:
            return rng.bytes(int(rng.integers(0, 4000)))
        body = self._heard[int(rng.integers(len(self._heard)))]
        if how == 1:
            return body[: int(rng.integers(len(body)))]
        if how == 2:
            return nan_chip()
        return flip_header(body, rng)


def flip_bits(body: bytes, rng: np.random.Generator, n_bits: int) -> bytes:
    """`body` with up to `n_bits` of its bits flipped."""
    data = bytearray(body)
    for _ in range(n_bits if data else 0):
        data[int(rng.integers(len(data)))] ^= 1 << int(rng.integers(8))
    return bytes(data)


def flip_header(body: bytes, rng: np.random.Generator) -> bytes:
    """A chip message whose kind is no more what it was, so that it can be none."""
    return bytes([body[0] ^ int(rng.integers(1, 256)), *body[1:]])


def far_chip(number: int) -> bytes:
    """A small chip far from the one that is due."""
    return bytes(msgpack.packb(["chip", number, 0.0, 0, 0, 0, 16, 16, 3, bytes(16 * 16 * 3)]))


def nan_chip() -> bytes:
    """A chip of the next number that could be right, taken at no time at all."""
    return bytes(msgpack.packb(["chip", 1, float("nan"), 0, 0, 0, 96, 96, 3, bytes(96 * 96 * 3)]))
