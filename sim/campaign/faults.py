"""What goes wrong in a mission of the campaign: seeded draws of declarative faults.

A mission is a function of its seed alone. `draw` turns the seed into `Fault` records; each says what happens, when, and
how much, prints on one line, and is carried out by whoever runs the mission.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

FAULTS_UNTIL_S = 640.0  # from then on nothing goes wrong, so that every mission can end
MAX_FAULTS = 4
REAL_EVERY = 10  # of ten missions one flies with real processes, signals and files


@dataclass(frozen=True, order=True)
class Fault:
    """Something that goes wrong.

    Attributes:
        at_s: mission time [s]; of a kill at a write, when counting of the writes begins.
        kind: a name in `KINDS`.
        length_s: how long it lasts; 0 for what happens at once.
        amount: how much, in the unit of the kind: writes, bits, frames, chips, seconds.
        seed: of what else is random about it.
    """

    at_s: float
    kind: str
    length_s: float = 0.0
    amount: float = 0.0
    seed: int = 0

    def __str__(self) -> str:
        length = f" for {self.length_s:g} s" if self.length_s else ""
        amount = f", {KINDS[self.kind].unit} {self.amount:g}" if KINDS[self.kind].unit else ""
        return f"T+{self.at_s:.1f} s {self.kind}{length}{amount}"


@dataclass(frozen=True)
class Kind:
    """A kind of fault: what it is, what `amount` counts, and the draw of length and amount."""

    help: str
    unit: str = ""
    draw: Callable[[np.random.Generator], tuple[float, float]] = lambda rng: (0.0, 0.0)
    in_process: bool = True
    real: bool = False
    weight: float = 1.0


def _length(low: float, high: float) -> Callable[[np.random.Generator], tuple[float, float]]:
    return lambda rng: (round(float(rng.uniform(low, high)), 1), 0.0)


def _count(low: int, high: int) -> Callable[[np.random.Generator], tuple[float, float]]:
    return lambda rng: (0.0, float(rng.integers(low, high + 1)))


def _jump(rng: np.random.Generator) -> tuple[float, float]:
    return 0.0, round(float(rng.choice([-1.0, 1.0]) * 10.0 ** rng.uniform(-1.0, 4.0)), 2)


def _slow(rng: np.random.Generator) -> tuple[float, float]:
    return round(float(rng.uniform(20, 200)), 1), round(float(10 ** rng.uniform(-2.0, -0.3)), 3)


KINDS: dict[str, Kind] = {
    "kill-flight": Kind("kill -9 of the flight process between two steps", real=True, weight=2),
    "kill-flight-at-write": Kind("kill -9 of flight at the n-th change of its disk", "writes", _count(1, 60), weight=3),
    "kill-ground": Kind("kill -9 of the station between two steps", real=True),
    "kill-ground-at-write": Kind("kill -9 of the station at the n-th change of its disk", "writes", _count(1, 60)),
    "kill-supervisor": Kind("kill -9 of the supervisor; the system starts it again", in_process=False, real=True),
    "power-cut": Kind("power of the flight computer goes: writes that were not synced may be lost, or torn"),
    "power-cut-at-write": Kind("the same at the n-th change of its disk", "writes", _count(1, 60), weight=3),
    "flip-memory": Kind("bits of the model's state in memory are flipped", "bits", _count(1, 1), weight=2),
    "flip-file": Kind("a bit of a file on flight's disk is flipped while flight is down", real=True, weight=2),
    "flip-frames": Kind("bits of frames are flipped, both ways", "", _length(20, 120)),
    "disk-full": Kind("flight's disk is full", "", _length(10, 200)),
    "disk-read-only": Kind("flight's disk is read-only", "", _length(10, 200)),
    "disk-slow": Kind("every step of flight's disk takes long", "seconds a step", _slow),
    "clock-jump": Kind("flight restarts with a clock that has jumped", "seconds", _jump),
    "lost-pass": Kind("nothing of a pass arrives", "pass", _count(1, 3)),
    "cut-pass": Kind("the radio falls silent in the middle of a pass", "", _length(5, 80), real=True),
    "overlapping-pass": Kind(
        "another station's pass overlaps: contact begins early, ends late", "seconds", _count(5, 60)
    ),
    "hostile-frames": Kind("random, replayed, altered and foreign frames arrive, both ways", "frames", _count(1, 60)),
    "chip-flood": Kind("the camera sends what nobody asked for", "messages", _count(1, 400)),
    "malformed-chips": Kind("messages that are no chips: NaN, wrong lengths, random", "messages", _count(1, 40)),
    "bad-image": Kind("a chip is all black, all white, or of another shape", "chips", _count(1, 4)),
    "bad-file": Kind("files that are none, or corrupt, arrive with valid frames", "files", _count(1, 3)),
    "late-file": Kind("labels of a version that has been replaced, or is about to be, arrive once more"),
    "corrupt-parameters": Kind("the parameter table on disk is corrupt when flight starts"),
    "corrupt-encoder": Kind("the encoder's file is missing or corrupt from a restart of flight on", real=True),
    "corrupt-config": Kind("the configuration file is corrupt when flight starts", in_process=False, real=True),
}


def is_real(seed: int) -> bool:
    """Whether the mission of this seed flies with real processes."""
    return seed % REAL_EVERY == REAL_EVERY - 1


def draw(seed: int) -> tuple[Fault, ...]:
    """The faults of the mission of that seed, in the order of their times: 1 to `MAX_FAULTS`."""
    rng = np.random.default_rng([seed, 0xFA])
    real = is_real(seed)
    known = [name for name, kind in KINDS.items() if (kind.real if real else kind.in_process)]
    weights = np.array([KINDS[name].weight for name in known])
    names = rng.choice(known, size=int(rng.integers(1, MAX_FAULTS + 1)), p=weights / weights.sum())
    return tuple(sorted(_one(str(name), rng) for name in names))


def _one(name: str, rng: np.random.Generator) -> Fault:
    length_s, amount = KINDS[name].draw(rng)
    at_s = round(float(rng.uniform(0.0, FAULTS_UNTIL_S - length_s)), 1)
    return Fault(at_s, name, length_s, amount, int(rng.integers(1 << 31)))
