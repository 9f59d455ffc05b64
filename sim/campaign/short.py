"""A short mission: 48 chips of 32 x 32 pixels over ten municipalities, two tasks, four passes,
within half an hour of mission time.

The plan is written down, not computed from an orbit, so that it costs nothing: thousands of these are flown. A few
recipes differ in worlds, learners and orders; which one a mission has follows from its seed.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any

import msgpack
import numpy as np
from numpy.typing import NDArray

from flight.checkpoints import RECORD
from flight.config import ExecutiveConfig, LearnerConfig, LinkConfig
from flight.learn import LEARNERS, Learner
from flight.link import labelset, layout, region_codec
from flight.link.dictionary import Telecommand
from flight.link.labelset import LabelSet
from flight.link.packet import FileKind
from flight.link.parcel import Update, pack_update
from flight.link.region import Region
from flight.link.sequence import Sequence, SequenceStep, pack_sequence
from flight.link.transfer import File
from flight.store import Store
from ground.imagery import TRAIN
from ground.regions import region_from_imagery
from ground.station import Order, Tagged
from sim.campaign import encoder
from sim.overpass import Overpass
from sim.plan import REGION_ID, Plan, label_set
from sim.radio import RadioConfig
from sim.record import PassRecord
from sim.scenario import LabelOrder, Scenario, WorldSection
from sim.world import World

ROWS, COLS, MUNICIPALITIES, CHIP_PX = 6, 8, 10, 32
N_CHIPS = ROWS * COLS
PASSES_S = ((60.0, 180.0), (300.0, 420.0), (540.0, 660.0), (800.0, 1700.0))
OVERPASSES_S = (200.0, 450.0)
IMAGING_S = 12.0
END_S = PASSES_S[-1][1]
WORLDS = 3
WORLD_SEED = 100
ADJUST_BASE_S, ADJUST_RADIX = 0.001, 4  # `adjust-time` number i moves the clock by 4^i ms: the sum tells each count
LEARNERS_FLOWN = ("moments", "moments", "swath")
ENCODER_SHARE = 0.5  # of the missions
ECHO = 0x5157  # of the ping that ends every mission


@dataclass(frozen=True)
class Recipe:
    """What of a short mission differs from one to the next, apart from its faults."""

    seed: int
    world: int
    learner: str
    tasks: tuple[tuple[int, int], ...]  # task and version of each label upload
    set_task: int  # task that is commanded at last; 0: none
    encoder: bool = False  # whether chips are seen through one

    @property
    def last_labels(self) -> tuple[int, int]:
        """Task and version of the labels that the final model is for."""
        if not self.set_task:
            return self.tasks[-1]
        return max(each for each in self.tasks if each[0] == self.set_task)


def recipe(seed: int) -> Recipe:
    """The recipe of the mission of that seed."""
    rng = np.random.default_rng([seed, 0x5E])
    tasks, set_task = [(((1, 1), (1, 2)), 0), (((1, 1), (2, 1)), 0), (((1, 1), (2, 1), (1, 2)), 1)][rng.integers(3)]
    number, learner = int(rng.integers(WORLDS)), LEARNERS_FLOWN[int(rng.integers(len(LEARNERS_FLOWN)))]
    return Recipe(seed, number, learner, tasks, set_task, rng.random() < ENCODER_SHARE and encoder.can_fly())


class Held:
    """A world whose chips are computed once, as the overpasses see them; implements `ground.imagery.Imagery`.

    `altered` are images in place of some of them.
    """

    def __init__(self, world: World) -> None:
        self.world = world
        halves = np.array_split(np.arange(world.n_chips), len(OVERPASSES_S))
        self.images = np.concatenate([world.chips(half, scene) for scene, half in enumerate(halves)])
        self.altered: dict[int, NDArray[np.uint8]] = {}

    def __getattr__(self, name: str) -> Any:
        return getattr(self.world, name)

    def chips(self, index: NDArray[np.integer], scene: int = 0) -> list[NDArray[np.uint8]]:
        """The images of chips `index`, each of the one scene that has it."""
        return [self.altered.get(int(i), self.images[int(i)]) for i in index]

    def with_altered(self, altered: dict[int, NDArray[np.uint8]]) -> Held:
        """The same world, some chips of which are other images."""
        other = object.__new__(Held)
        other.world, other.images, other.altered = self.world, self.images, altered
        return other


@lru_cache(maxsize=WORLDS)
def world(number: int) -> Held:
    """The world of that number, with its chips."""
    return Held(World(WORLD_SEED + number, ROWS, COLS, MUNICIPALITIES, chip_px=CHIP_PX))


@lru_cache(maxsize=WORLDS)
def _region(number: int) -> tuple[Region, bytes]:
    earth = world(number)
    made = region_from_imagery(earth, REGION_ID, earth.bag_split == TRAIN)
    return made, region_codec.pack(made)


@lru_cache(maxsize=64)
def labels(number: int, task: int, version: int) -> LabelSet:
    """Label set `version` of a task over world `number`; version 1 has half of the rows."""
    earth = world(number)
    wanted = LabelOrder(0.0, task, version, 0.5 if version == 1 else 1.0)
    made = label_set(earth, earth.tasks[task - 1], wanted, number)
    return replace(made, activate=True)


@lru_cache(maxsize=64)
def _packed_labels(number: int, task: int, version: int) -> bytes:
    order = layout.map_order(_region(number)[0].quantised())
    return labelset.pack(labels(number, task, version), order)


def scenario(made: Recipe) -> Scenario:
    """The scenario of a recipe: a fast radio, quick settling, checkpoints every few seconds."""
    return Scenario(
        name="short",
        seed=WORLD_SEED + made.world,
        duration_h=END_S / 3600,
        world=WorldSection(ROWS, COLS, MUNICIPALITIES, CHIP_PX),
        radio=RadioConfig(uplink="sband-32k", downlink="sband-256k", loss="clean"),
        learner=LearnerConfig(made.learner),
        link=LinkConfig(max_municipalities=64, contact_timeout_s=20.0),
        executive=ExecutiveConfig(
            queue_chips=16,
            settle_s=4.0,
            checkpoint_s=3.0,
            product_chips=16,
            max_tasks=4,
            chip_shape=(CHIP_PX, CHIP_PX, 3),
        ),
        labels=(LabelOrder(),),
    )


def plan(made: Recipe) -> Plan:
    """The plan of a recipe, undisturbed."""
    wanted, earth = scenario(made), world(made.world)
    region, packed = _region(made.world)
    passes = [PassRecord(aos_s, los_s, "station", 45.0) for aos_s, los_s in PASSES_S]
    sent = [labels(made.world, *each) for each in made.tasks]
    orders = [Order(0.0, File("region", FileKind.REGION, packed)), *_label_orders(made), *_commands(made)]
    orders.sort(key=lambda order: order.at_s)
    overpasses = [_overpass(i, at_s) for i, at_s in enumerate(OVERPASSES_S)]
    made_plan = Plan(wanted, None, earth, region, None, passes, overpasses, orders, sent, 0, len(packed))
    made_plan.encoders = (encoder.file(CHIP_PX),) if made.encoder else ()
    return made_plan


def _overpass(number: int, at_s: float) -> Overpass:
    half = N_CHIPS // len(OVERPASSES_S)
    cells = np.arange(number * half, (number + 1) * half, dtype=np.int32)
    return Overpass(number, 0.0, 45.0, cells, at_s + np.linspace(0.0, IMAGING_S, half))


def _label_orders(made: Recipe) -> list[Order]:
    times_s = (0.0, 300.0, 540.0)
    found = [
        Order(at_s, File(f"labels-{task}-{version}", FileKind.LABEL_SET, _packed_labels(made.world, task, version)))
        for at_s, (task, version) in zip(times_s, made.tasks, strict=False)
    ]
    return found + ([Order(545.0, Telecommand("set-task", {"task_id": made.set_task}))] if made.set_task else [])


def adjust(number: int) -> Telecommand:
    """`adjust-time` number `number`: what it adds to the clock tells whether, and how often, it was executed."""
    return Telecommand("adjust-time", {"delta_s": ADJUST_BASE_S * ADJUST_RADIX**number})


DIRECT, TAGGED, STEPS = (0, 1, 2), (3, 4), (5, 6)  # numbers of the adjustments, by how they are sent
FORBIDDEN = 8  # the number of the one that attackers send
SEQUENCE_ID = 3


def adjustments(offset_s: float) -> list[int] | None:
    """How often each `adjust-time` was executed, as the clock's correction [s] says; None if it is no such sum."""
    units = offset_s / ADJUST_BASE_S
    whole, counts = round(units), []
    if abs(units - whole) > 1e-3 or whole < 0:
        return None
    for _ in range(FORBIDDEN + 1):
        whole, digit = divmod(whole, ADJUST_RADIX)
        counts.append(digit)
    return counts if whole == 0 else None


def _commands(made: Recipe) -> list[Order]:
    """Commands of every kind: at once, for a time, in a sequence, of files; and an update of the parameter table."""
    rng = np.random.default_rng([made.seed, 0xC0])
    steps = tuple(SequenceStep(float(rng.uniform(1, 60)), adjust(number)) for number in STEPS)
    update = pack_update(Update("parameters", 1, b"[executive]\nhousekeeping_s = 30\n"))
    found = [
        *(Order(float(rng.uniform(0, 600)), adjust(number)) for number in DIRECT),
        *(_tagged(rng, number) for number in TAGGED),
        Order(300.0, File("sequence", FileKind.SEQUENCE, pack_sequence(Sequence(SEQUENCE_ID, steps)))),
        Order(301.0, Telecommand("start-sequence", {"sequence_id": SEQUENCE_ID})),
        Order(float(rng.uniform(0, 600)), File("update", FileKind.UPDATE, update)),
        Order(550.0, Telecommand("rotate-key", {"key_id": 2})),
        Order(800.0, Telecommand("ping", {"echo": ECHO})),
    ]
    if made.seed % 2:
        found.append(Order(800.0, Telecommand("get-event-log", {})))
    return found


def _tagged(rng: np.random.Generator, number: int) -> Order:
    at_s = float(rng.uniform(60, 600))
    return Order(at_s, Tagged(at_s + float(rng.uniform(5, 150)), "run", adjust(number)))


@dataclass(frozen=True, eq=False)
class Expected:
    """What an undisturbed mission ends with, computed without one: by the learner alone, from all chips at once."""

    weights_sha256: str
    chips: int
    refused: int


def expected(made: Recipe, imagery: Held, first: int = 0) -> Expected:
    """The end of the mission of `made` over `imagery`; of one that has begun anew with chip `first`."""
    if imagery.altered or first:
        return _expected(made, imagery, first)
    return _expected_of(replace(made, seed=0, tasks=(made.last_labels,), set_task=0))


@lru_cache(maxsize=64)
def _expected_of(made: Recipe) -> Expected:
    return _expected(made, world(made.world))


def _expected(made: Recipe, imagery: Held, first: int = 0) -> Expected:
    region, _ = _region(made.world)
    where = region_codec.unpack(region_codec.pack(region), scenario(made).flight_config().link)
    shape = imagery.images.shape[1:]
    whole = [i for i, image in enumerate(imagery.chips(np.arange(N_CHIPS))) if image.shape == shape and i >= first]
    config = scenario(made).flight_config()
    if not whole:
        return Expected("", 0, N_CHIPS - first)
    learner: Learner = LEARNERS[made.learner](seed=config.learner.seed, max_municipalities=64)
    learner.use(learner.backend, encoder.opened(CHIP_PX) if made.encoder else None).region_id = REGION_ID
    cell = imagery.cell[whole]
    bags, weights = where.overlaps(cell[:, 0], cell[:, 1])
    images = np.stack(imagery.chips(np.array(whole)))
    learner.partial_fit(images, bags, weights, number=np.array(whole))
    task, version = made.last_labels
    learner.set_labels(labels(made.world, task, version).quantised().proportions, task_id=task, version=version)
    learner.train(1 << 30)
    return Expected(learner.weights_sha256, len(whole), N_CHIPS - first - len(whole))


def next_chip(store: Store) -> int:
    """The first chip that the checkpoint in a store lacks."""
    saved = store.get(RECORD)
    return int(msgpack.unpackb(saved)["progress"]["next_number"]) if saved is not None else 0
