"""A mission of the campaign in one process: the sans-IO cores in stepped time, on disks that fail, with all its faults.

Cores are those that fly. What is simulated is around them: `sim.disk` under flight and station, a computer that dies
(`sim.campaign.nodes.MortalNode`) or whose clock jumps (`Board`), saboteurs on the radio and beside the camera.
"""

from __future__ import annotations

import dataclasses
import heapq
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from flight.executive import Executive
from flight.link.endpoint import Endpoint
from flight.step import Core
from flight.store import Store
from ground.station import Station, Window
from sim import node
from sim.camera import PORT, Camera
from sim.campaign import encoder, short
from sim.campaign.damage import (
    BAD_FILE,
    LATE_FILE,
    arrays_of,
    bad_files,
    bad_images,
    flip_array,
    late_files,
    with_overlap,
)
from sim.campaign.faults import FAULTS_UNTIL_S, Fault
from sim.campaign.keys import FOREIGN_KEYS, KEYS
from sim.campaign.nodes import Board, BrokenCamera, Desk, HostileRadio, MortalNode, Shot, flip_bits
from sim.campaign.recovery import Recovery
from sim.campaign.short import Held, Recipe
from sim.channel import Channel
from sim.disk import DiskDeath, SimDisk
from sim.lockstep import Lockstep, Node
from sim.plan import Plan
from sim.radio import Outage
from sim.record import PassRecord

MAX_ROUNDS = 200_000
WHOLE_DISK = 1 << 30


@dataclass
class SimulatedMission:
    """The mission of `recipe` with `faults`; `fly` runs it to its end."""

    recipe: Recipe
    faults: tuple[Fault, ...]
    restarts: int = 0
    deaths: dict[str, int] = field(default_factory=dict)
    recoveries: list[Recovery] = field(default_factory=list)
    trace: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.plan: Plan = short.plan(self.recipe)
        self.imagery: Held = self.plan.imagery  # type: ignore[assignment]
        self.disk, self.ground_disk = SimDisk(self.recipe.seed), SimDisk(self.recipe.seed + 1)
        self.desk = Desk()
        self.skew_s = 0.0
        self._cuts_power = False
        self._agenda: list[tuple[float, int, Callable[[], None]]] = []
        self._accepted = 0
        self.encoders = self.plan.encoders  # as they are on flight's disk
        self.first = 0  # chip with which statistics have begun anew, without the encoder
        self._prepare()
        config = self.plan.scenario.flight_config()
        # The memory of this process is not flight's: no cap on it.
        self.config = dataclasses.replace(config, caps=dataclasses.replace(config.caps, memory_bytes=1 << 36))
        self._nodes: dict[str, MortalNode] = {
            name: MortalNode(name, make)
            for name, make in (
                ("camera", self._camera),
                ("channel", self._channel),
                ("station", self._station),
                ("flight", self._flight),
            )
        }
        nodes: list[Node] = list(self._nodes.values())
        self.lockstep = Lockstep(nodes, node.WIRING, on_death=self._died)

    # What faults change before the mission begins.

    def _prepare(self) -> None:
        radio, altered = self.plan.scenario.radio, {}
        for fault in self.faults:
            if fault.kind == "lost-pass":
                radio = dataclasses.replace(radio, lost_passes=(*radio.lost_passes, int(fault.amount)))
            elif fault.kind == "cut-pass":
                outage = Outage(fault.at_s / 3600, fault.length_s)
                radio = dataclasses.replace(radio, outages=(*radio.outages, outage))
            elif fault.kind == "overlapping-pass":
                self.plan.contacts = with_overlap(self.plan.contacts, fault)
            elif fault.kind == "bad-image":
                altered |= bad_images(self.imagery, fault)
            elif fault.kind == BAD_FILE:
                self.plan.orders += bad_files(self.plan, fault)
            elif fault.kind == LATE_FILE:
                self.plan.orders += late_files(self.recipe, self.plan, fault)
        self.plan.orders.sort(key=lambda order: order.at_s)
        self.plan.scenario = dataclasses.replace(self.plan.scenario, radio=radio)
        self.imagery = self.plan.imagery = self.imagery.with_altered(altered)

    # The cores

    def _flight(self) -> Core:
        flight = Executive(self.config, KEYS, Store(self.disk), encoder_files=self.encoders)
        return Board(flight, self.disk, self.skew_s)

    def _station(self) -> Core:
        windows = [Window(each.aos_s, each.los_s) for each in self.plan.contacts]
        return Station(self.config.link, KEYS, windows, self.plan.orders, self.desk, Store(self.ground_disk))

    def _channel(self) -> Core:
        channel = Channel(self.plan.scenario.radio, self.plan.contacts, self.recipe.seed)
        flips = [(f.at_s, f.at_s + f.length_s, f.seed) for f in self.faults if f.kind == "flip-frames"]
        return HostileRadio(channel, self._shots("hostile-frames"), flips, self._foreign_frame)

    def _camera(self) -> Core:
        camera = Camera(self.imagery, self.plan.overpasses, recorder_bytes=1 << 30, batch_chips=8)
        return BrokenCamera(camera, self._shots("chip-flood", "malformed-chips"), PORT)

    def _shots(self, *kinds: str) -> list[Shot]:
        return [Shot(f.at_s, f.kind, int(f.amount), f.seed) for f in self.faults if f.kind in kinds]

    def _foreign_frame(self, number: int) -> bytes:
        """A frame as a station with other keys makes it, with a telecommand in it."""
        stranger = Endpoint("ground", self.config.link, FOREIGN_KEYS, number)
        stranger.set_contact(True, 0.0)
        stranger.send(short.adjust(short.FORBIDDEN))
        return stranger.poll(0.0) or b""

    # Flying

    def fly(self) -> None:
        """Run the mission until it has done everything, or its time is over."""
        for name in self._nodes:
            self._start(name)
        for fault in self.faults:
            action = getattr(self, "_" + fault.kind.replace("-", "_"), None)
            if action is not None:
                self._at(fault.at_s, lambda action=action, fault=fault: action(fault))
        self._at(FAULTS_UNTIL_S, self._calm)
        for _ in range(MAX_ROUNDS):
            due = min(self.lockstep.next_due(), short.END_S)
            if self._agenda and self._agenda[0][0] <= due:
                at_s, _, action = heapq.heappop(self._agenda)
                self.lockstep.run_until(at_s)
                action()
            elif due >= short.END_S:
                return
            else:
                self.lockstep.round()
                self._listen()
                if self.lockstep.t > short.PASSES_S[-1][0] and self.settled():
                    return

    def settled(self) -> bool:
        """Whether everything is sent, taken in, learned, predicted and received."""
        if not (self.lockstep.is_up("flight") and self.lockstep.is_up("station")):
            return False
        flight, station = self.flight, self.station
        payload = flight.payload
        return not (
            station.next_order < len(station.orders)
            or station.uploading is not None
            or station.endpoint.queued_packets
            or flight.acknowledged < short.N_CHIPS
            or flight.job
            or flight.log.unconfirmed
            or payload.pending_steps
            or payload.products.to_predict
            or flight.endpoint.progress()
            or station.endpoint.progress()
        )

    @property
    def flight(self) -> Executive:
        """Flight's core, which must be up."""
        board: Any = self._nodes["flight"].core
        executive: Executive = board.core
        return executive

    @property
    def station(self) -> Station:
        """The station's core, which must be up."""
        core: Any = self._nodes["station"].core
        station: Station = core
        return station

    @property
    def contacts(self) -> list[PassRecord]:
        """The passes as they were, the lost ones among them."""
        channel: Channel = self.core_of("channel")
        return channel.contacts

    def weights(self) -> str:
        """The digest of the last model; empty without one."""
        return self.flight.payload.progress.model_digest.hex() if self.lockstep.is_up("flight") else ""

    def core_of(self, name: str) -> Any:
        """The core of camera or channel, out of its saboteur's hands."""
        wrapped: Any = self._nodes[name].core
        return wrapped.core

    def _at(self, t: float, action: Callable[[], None]) -> None:
        heapq.heappush(self._agenda, (max(t, 0.0), len(self.trace) * 1000 + len(self._agenda), action))

    def _note(self, text: str) -> None:
        self.trace.append(f"T+{self.lockstep.t:.1f} s {text}")

    def _listen(self) -> None:
        """Note when the ground hears flight again."""
        if not self.lockstep.is_up("station"):
            self._accepted = 0
            return
        accepted = self.station.endpoint.counters.frames_accepted
        if accepted > self._accepted:
            for recovery in self.recoveries:
                if recovery.heard_s is None and recovery.ended_s <= self.lockstep.t:
                    recovery.heard_s = self.lockstep.t
        self._accepted = accepted

    def _interrupts(self, fault: Fault, length_s: float = 0.0) -> None:
        self.recoveries.append(Recovery(fault, self.lockstep.t + length_s))

    # Life and death

    def _start(self, name: str) -> None:
        try:
            self.lockstep.start(name)
        except DiskDeath:
            self._died(name)

    def _died(self, name: str) -> None:
        """A process died at a write, or was killed: let it come back."""
        self._nodes[name].kill()
        self.deaths[name] = self.deaths.get(name, 0) + 1
        disk = self.disk if name == "flight" else self.ground_disk
        if name == "flight" and self._cuts_power:
            disk.cut_power()
        else:
            disk.kill()
        self._note(f"{name} is dead")
        self._at(self.lockstep.t + self.plan.scenario.costs.restart_s, lambda: self._return(name))

    def _return(self, name: str) -> None:
        if not self.lockstep.is_up(name):
            self.restarts += 1
            self._start(name)
            self._note(f"{name} is back" if self.lockstep.is_up(name) else f"{name} died again")

    def _end(self, name: str) -> bool:
        """Kill a process now; False if it is dead already."""
        if not self.lockstep.is_up(name):
            return False
        self.lockstep.drop(name)
        self._died(name)
        return True

    def _kill_flight(self, fault: Fault) -> None:
        self._cuts_power = False
        self._interrupts(fault)
        self._end("flight")

    def _power_cut(self, fault: Fault) -> None:
        self._cuts_power = True
        self._interrupts(fault)
        self._end("flight")

    def _kill_ground(self, fault: Fault) -> None:
        self._interrupts(fault)
        self._end("station")

    def _kill_flight_at_write(self, fault: Fault) -> None:
        self._cuts_power = False
        self._interrupts(fault)
        self.disk.die_at = self.disk.steps + int(fault.amount)

    def _power_cut_at_write(self, fault: Fault) -> None:
        self._interrupts(fault)
        self._cuts_power = True
        self.disk.die_at = self.disk.steps + int(fault.amount)

    def _kill_ground_at_write(self, fault: Fault) -> None:
        self._interrupts(fault)
        self.ground_disk.die_at = self.ground_disk.steps + int(fault.amount)

    def _calm(self) -> None:
        """From here on nothing goes wrong."""
        self.disk.die_at = self.ground_disk.die_at = None
        self._note("nothing goes wrong from here on")

    # The disk

    def _disk_full(self, fault: Fault) -> None:
        rng = np.random.default_rng([fault.seed, 0xF0])
        self.disk.capacity_bytes = WHOLE_DISK - self.disk.free_bytes() + int(rng.integers(4096))
        self._mend(fault)

    def _disk_read_only(self, fault: Fault) -> None:
        self.disk.read_only = True
        self._mend(fault)

    def _disk_slow(self, fault: Fault) -> None:
        self.disk.slow_s = fault.amount
        self._mend(fault)

    def _mend(self, fault: Fault) -> None:
        self._interrupts(fault, fault.length_s)
        self._at(fault.at_s + fault.length_s, self._whole_disk)

    def _whole_disk(self) -> None:
        self.disk.capacity_bytes, self.disk.read_only, self.disk.slow_s = WHOLE_DISK, False, 0.0
        self._note("the disk works again")

    def _flip_file(self, fault: Fault) -> None:
        self._cuts_power = False
        self._interrupts(fault)
        self._end("flight")
        rng = np.random.default_rng([fault.seed, 0xF1])
        names = [name for name in self.disk.names() if self.disk.size(name)]
        if names:
            name = names[int(rng.integers(len(names)))]
            self.disk.flip(name, int(rng.integers(8 * self.disk.size(name))))
            self._note(f"a bit of {name} is flipped")

    def _corrupt_parameters(self, fault: Fault) -> None:
        self._cuts_power = False
        self._interrupts(fault)
        self._end("flight")
        rng = np.random.default_rng([fault.seed, 0xC0])
        for name in self.disk.names():
            if name.startswith("update-"):
                content = self.disk.read(name)
                self.disk.place(name, flip_bits(content, rng, 40) if rng.random() < 0.5 else rng.bytes(len(content)))
                self._note(f"{name} is corrupt")

    def _corrupt_encoder(self, fault: Fault) -> None:
        """From this restart on flight has no encoder, and begins anew with the chips that its checkpoint lacks."""
        self._cuts_power = False
        self._interrupts(fault)
        self._end("flight")
        if not self.encoders:
            return
        spoilt = encoder.spoilt(self.encoders[0], np.random.default_rng([fault.seed, 0xEC]))
        if self.encoders == self.plan.encoders:
            self.first = short.next_chip(Store(self.disk))
        self.encoders = (spoilt,)
        self._note(f"the encoder's file has {len(spoilt)} bytes and is none")

    @property
    def expected(self) -> short.Expected:
        """What it must end with."""
        made = dataclasses.replace(self.recipe, encoder=self.recipe.encoder and self.encoders == self.plan.encoders)
        return short.expected(made, self.imagery, self.first)

    def _flip_memory(self, fault: Fault) -> None:
        """A bit of the learner's state, of the label table or of the map is flipped, where flight holds it."""
        if not self.lockstep.is_up("flight"):
            return
        payload = self.flight.payload
        held = {"learner": payload.learner, "labels": payload.labels, "region": payload.region}
        arrays = [(path, array) for path, array in arrays_of(held) if array.size and array.flags.writeable]
        if not arrays:
            return
        rng = np.random.default_rng([fault.seed, 0xF3])
        path, array = arrays[int(rng.integers(len(arrays)))]
        flip_array(array, rng)
        self._note(f"a bit of {path} is flipped")

    def _clock_jump(self, fault: Fault) -> None:
        self._cuts_power = False
        self._interrupts(fault)
        self._end("flight")
        self.skew_s = max(self.skew_s + fault.amount, -self.lockstep.t)  # mission time begins at 0
