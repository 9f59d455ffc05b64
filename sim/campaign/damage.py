"""What faults make of a plan and of memory: passes that overlap, images and files that are none, flipped bits."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from flight.config import LinkConfig
from flight.link import labelset, layout, region_codec
from flight.link.errors import RejectedError
from flight.link.pack import CodecError
from flight.link.packet import FileKind
from flight.link.parcel import unpack_update
from flight.link.sequence import unpack_sequence
from flight.link.transfer import File
from ground.station import Order
from sim import orbit
from sim.campaign import short
from sim.campaign.faults import Fault
from sim.campaign.nodes import flip_bits
from sim.campaign.short import Held, Recipe
from sim.plan import Plan
from sim.record import PassRecord

BAD_FILE, LATE_FILE = "bad-file", "late-file"
CRC_AT = 2  # in every file (`flight.link.pack`)
MAX_DEPTH = 6


def flip_array(array: NDArray[Any], rng: np.random.Generator) -> None:
    """Flip a bit of an array where it is."""
    at = np.unravel_index(int(rng.integers(array.size)), array.shape)
    cell = bytearray(array[at].tobytes())
    cell[int(rng.integers(len(cell)))] ^= 1 << int(rng.integers(8))
    array[at] = np.frombuffer(bytes(cell), array.dtype)[0]


def arrays_of(value: Any, path: str = "", depth: int = 0) -> Iterator[tuple[str, NDArray[Any]]]:
    """The arrays that objects hold, in a fixed order, each with its path."""
    if isinstance(value, np.ndarray):
        yield path, value
    elif depth < MAX_DEPTH:
        if isinstance(value, (list, tuple)):
            held = dict(enumerate(value))
        else:
            held = value if isinstance(value, dict) else getattr(value, "__dict__", {})
        for name, each in held.items():
            yield from arrays_of(each, f"{path}.{name}" if path else str(name), depth + 1)


def with_overlap(contacts: list[PassRecord], fault: Fault) -> list[PassRecord]:
    """A pass of another station around one edge of a pass, as the schedule of contacts resolves it."""
    rng = np.random.default_rng([fault.seed, 0x0A])
    near = contacts[int(rng.integers(len(contacts) - 1))]
    edge_s = near.aos_s if rng.random() < 0.5 else near.los_s
    other = dataclasses.replace(near, aos_s=edge_s - fault.amount, los_s=edge_s + fault.amount, station="other")
    return orbit.contacts([*contacts, other])


def bad_images(imagery: Held, fault: Fault) -> dict[int, NDArray[np.uint8]]:
    """Images in place of those of some chips: black, white, lower, or with a band too many."""
    rng = np.random.default_rng([fault.seed, 0xBA])
    height, width, bands = imagery.images.shape[1:]
    makes = (
        lambda: np.zeros((height, width, bands), np.uint8),
        lambda: np.full((height, width, bands), 255, np.uint8),
        lambda: np.zeros((height // 2, width, bands), np.uint8),
        lambda: np.full((height, width, bands + 1), 7, np.uint8),
    )
    chips = rng.integers(0, short.N_CHIPS, int(fault.amount))
    return {int(chip): makes[int(rng.integers(len(makes)))]() for chip in chips}


def bad_files(plan: Plan, fault: Fault) -> list[Order]:
    """Files that arrive well and are none: random, cut, or with flipped bits."""
    rng = np.random.default_rng([fault.seed, 0xBF])
    good = [order.item for order in plan.orders if isinstance(order.item, File)]
    link = plan.scenario.flight_config().link
    found = []
    for i in range(int(fault.amount)):
        file = good[int(rng.integers(len(good)))]
        how = int(rng.integers(3))
        data = (
            rng.bytes(int(rng.integers(1, 300)))
            if how == 0
            else file.data[: int(rng.integers(1, len(file.data)))]
            if how == 1
            else flip_bits(file.data, rng, 1)
        )
        kind = FileKind(file.kind)
        if _still_one(kind, data, plan, link):  # the bit that was flipped is one of those that pad a stream
            data = data[:CRC_AT] + bytes([data[CRC_AT] ^ 1]) + data[CRC_AT + 1 :]
        found.append(Order(fault.at_s, File(f"{BAD_FILE}-{fault.seed % 1000}-{i}", kind, data)))
    return found


def _still_one(kind: FileKind, data: bytes, plan: Plan, link: LinkConfig) -> bool:
    decoders: dict[FileKind, Callable[[], object]] = {
        FileKind.REGION: lambda: region_codec.unpack(data, link),
        FileKind.LABEL_SET: lambda: labelset.unpack(data, link, layout.map_order(plan.region.quantised())),
        FileKind.SEQUENCE: lambda: unpack_sequence(data),
        FileKind.UPDATE: lambda: unpack_update(data, link.max_file_bytes),
    }
    try:
        decoders[kind]()
    except (CodecError, RejectedError):
        return False
    return True


def late_files(made: Recipe, plan: Plan, fault: Fault) -> list[Order]:
    """A label set that has been replaced by then, or is about to be, once more; nothing if the mission has none."""
    replaced = [each for each in made.tasks if any(other > each for other in made.tasks if other[0] == each[0])]
    names = {f"labels-{task}-{version}" for task, version in replaced}
    files = [order.item for order in plan.orders if isinstance(order.item, File) and order.item.name in names]
    return [Order(fault.at_s, dataclasses.replace(file, name=f"{LATE_FILE}-{fault.seed % 1000}")) for file in files]
