"""A mission: the plan flown by real processes in lockstep (or by the same cores in this process), and its record."""

from __future__ import annotations

import heapq
import math
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgpack
import numpy as np
from numpy.typing import NDArray

from flight.bundle import Bundle, pack
from flight.clock import ScaledClock, unix_s, wall_s
from flight.learn import Learner, load_state
from flight.link import product
from flight.link.keys import KeyRing
from flight.link.product import Product
from ground import archive
from ground.products import ProductArchive
from sim import flatsat, node
from sim.encoders import DeskEncoders
from sim.evaluate import Scorer
from sim.flatsat import Board
from sim.fleet import Fleet, InProcess, Processes
from sim.lockstep import Lockstep
from sim.modes import Housekeeping
from sim.plan import REGION_ID, Plan
from sim.record import Mark, Sample
from sim.watch import Watch

OWN_DIRECTORIES = ("flight", "ground", "logs", "spec")
SAMPLE_PERIOD_S = 120.0


@dataclass
class View:
    """What a progress display may show."""

    t_s: float = 0.0
    duration_s: float = 0.0
    passes_done: int = 0
    passes: int = 0
    in_contact: bool = False
    chips: int = 0
    chips_planned: int = 0
    uplink_bytes: int = 0
    downlink_bytes: int = 0
    frames_lost: int = 0
    mode: str = ""
    activity: str = ""
    task: str = ""
    mae_soft: float | None = None
    last_mark: str = ""


Observer = Callable[[View], None]


class Mission:
    """Flies `plan` in `directory`, which is cleared of an earlier mission's files.

    `bundle` holds the kernels of flight, if its configuration may want some that were compiled ahead of time; it is
    sealed anew, with the mission's keys. It is for processes, not for one process.
    """

    def __init__(
        self,
        plan: Plan,
        directory: Path,
        *,
        in_process: bool = False,
        tcp: bool = False,
        board: Board | None = None,
        rate: float | None = None,
        bundle: Bundle | None = None,
        observer: Observer = lambda view: None,
    ) -> None:
        self.plan = plan
        self.directory = directory
        self.in_process = in_process
        self.tcp = tcp
        self.board = board
        self.fleet: Fleet
        self.rate = rate
        self.bundle = bundle
        self.observer = observer
        self.samples: list[Sample] = []
        self.marks: list[Mark] = []
        self.scorers = {task.task_id: Scorer(plan, task) for task in self._tasks()}
        self.encoders = DeskEncoders(plan.encoders, plan.orders)
        self.models: dict[int, Learner] = {}  # the last model of each task
        self.products: dict[int, Product] = {}  # by the number that flight gave it
        self.housekeeping = Housekeeping(self._mark)
        self.timings: dict[str, float] = {}
        self.restarts = 0
        self._seen: dict[str, Any] = {"products": 0, "delivered": 0, "weights": "", "task": 0, "chips": 0}
        self._on_board: float | None = None
        self._on_ground: float | None = None
        self._last_sample_s = -math.inf
        self._agenda: list[tuple[float, int, Callable[[], None]]] = []
        self.lockstep: Lockstep | Watch

    def _tasks(self) -> list[Any]:
        return [self.plan.task(task_id) for task_id in dict.fromkeys(sent.task_id for sent in self.plan.sent)]

    def fly(self) -> None:
        """Run the whole mission; LockstepError if it cannot go on."""
        started_s = wall_s()
        self._prepare()
        with tempfile.TemporaryDirectory(prefix="swath-") as sockets:
            if self.rate is not None:
                self._fly_by_clock(Path(sockets), self.rate)
            else:
                if self.in_process:
                    self.fleet = InProcess(self.plan, self.directory)
                else:
                    self.fleet = Processes(self.plan, self.directory, Path(sockets), tcp=self.tcp, board=self.board)
                with _closing(self.fleet):
                    self._fly(self.fleet)
        self.timings["mission_s"] = wall_s() - started_s

    def _prepare(self) -> None:
        for name in OWN_DIRECTORIES:
            shutil.rmtree(self.directory / name, ignore_errors=True)
        (self.directory / node.CAPTURE).unlink(missing_ok=True)
        (self.directory / "spec").mkdir(parents=True)
        keys = KeyRing.generate(os.urandom) if self.board is None else KeyRing.load(self.board.keys / flatsat.KEYS)
        node.write_spec(self.plan, self.directory / "spec", keys)
        if self.bundle is not None:
            (self.directory / "spec" / node.BUNDLE).write_bytes(pack(self.bundle.manifest, self.bundle.files, keys))

    def _fly(self, fleet: Fleet) -> None:
        self.lockstep = lockstep = Lockstep(fleet.nodes, node.WIRING, on_death=lambda name: self._died(name, "died"))
        for name in (*node.kinds(self.plan.scenario), "flight"):
            lockstep.start(name)
        for fault in self.plan.scenario.faults:
            self._at(fault.at_h * 3600, lambda: self._kill(fleet, lockstep))
        end_s = self.plan.scenario.duration_s
        while True:
            due = min(lockstep.next_due(), end_s)
            if self._agenda and self._agenda[0][0] <= due:
                at_s, _, action = heapq.heappop(self._agenda)
                lockstep.run_until(at_s)
                action()
            elif due >= end_s:
                break
            else:
                lockstep.round()
                self._observe()
        lockstep.run_until(end_s)
        self._observe(force=True)

    def _fly_by_clock(self, sockets: Path, rate: float) -> None:
        clock = ScaledClock(unix_s(), rate)
        epoch = (clock.epoch_unix_s, rate)
        self.fleet = fleet = Processes(self.plan, self.directory, sockets, epoch, self.tcp, self.board)
        self.lockstep = watch = Watch(fleet, clock)
        faults = sorted(fault.at_h * 3600 for fault in self.plan.scenario.faults)
        with _closing(fleet):
            while watch.t < self.plan.scenario.duration_s:
                if returned := watch.poll():
                    self.restarts += 1
                    self._mark(watch.t, "restart", f"{returned} is back")
                if faults and watch.t >= faults[0]:
                    self._mark(faults.pop(0), "fault", "flight killed (SIGKILL)")
                    watch.kill("flight")
                if watch.complete:
                    self._observe()
            self._observe(force=True)

    def _at(self, t: float, action: Callable[[], None]) -> None:
        heapq.heappush(self._agenda, (t, len(self._agenda), action))

    def _kill(self, fleet: Fleet, lockstep: Lockstep) -> None:
        if lockstep.is_up("flight"):
            fleet.kill_flight(lockstep)
            lockstep.drop("flight")
            self._died("flight", "killed (SIGKILL)")

    def _died(self, name: str, how: str) -> None:
        """Put a dead node's return on the agenda."""
        lockstep = self.lockstep
        self._mark(lockstep.t, "fault", f"{name} {how}")
        if isinstance(lockstep, Lockstep):
            self._at(lockstep.t + self.plan.scenario.costs.restart_s, lambda: self._rejoin(name, lockstep))

    def _rejoin(self, name: str, lockstep: Lockstep) -> None:
        self.restarts += 1
        lockstep.start(name)
        self._mark(lockstep.t, "restart", f"{name} is back")

    def _mark(self, t: float, kind: str, text: str) -> None:
        self.marks.append(Mark(t, kind, text))

    # Watching

    def _observe(self, force: bool = False) -> None:
        """Look at the reports after a round; sample when something has changed, and now and then."""
        flight, station = self.lockstep.report("flight"), self.lockstep.report("station")
        t = self.lockstep.t
        self.housekeeping.look(t, flight if self.lockstep.is_up("flight") else None, self._board())
        changed = self._look_at_ground(station, t) | self._look_at_board(flight, t)
        if changed or force or (t - self._last_sample_s >= SAMPLE_PERIOD_S and self._busy(flight)):
            self._sample(t, flight)
        self.observer(self._view(t, flight))

    def _board(self) -> dict[str, Any] | None:
        return self.lockstep.report("board") if self.plan.scenario.power.enabled else None

    def _busy(self, flight: dict[str, Any]) -> bool:
        chips = flight.get("chips", 0)
        moved = chips != self._seen["chips"] or self._contact(self.lockstep.t)
        self._seen["chips"] = chips
        return bool(moved)

    def _contact(self, t: float) -> bool:
        return any(contact.aos_s <= t < contact.los_s for contact in self.plan.contacts)

    def _look_at_ground(self, station: dict[str, Any], t: float) -> bool:
        for name, at_s in station["delivered"][self._seen["delivered"] :]:
            if name.startswith("labels"):
                self._mark(at_s, "label", f"{name} delivered")
            elif name.startswith("update-"):
                self._mark(at_s, "update", f"{name} delivered")
        self._seen["delivered"] = len(station["delivered"])
        new = station["products"][self._seen["products"] :]
        self._seen["products"] = len(station["products"])
        link = self.plan.scenario.flight_config().link
        for name in new:
            data = (self.directory / "ground" / archive.RECEIVED / name).read_bytes()
            self.products[archive.product_number(name)] = product.unpack(data, link)
        if new:
            self._on_ground = self._received(self._seen["task"])
        return bool(new)

    def grid(self, task_id: int) -> NDArray[np.float32]:
        """Predictions of a task as received so far (rows, cols, n_classes), NaN where there are none."""
        imagery = self.plan.imagery
        received = ProductArchive(REGION_ID, imagery.rows, imagery.cols)
        received.define(task_id, self.plan.task(task_id).class_names)
        for _, each in sorted(self.products.items()):
            if each.task_id == task_id:
                received.add(each)
        return received.grid(task_id)

    def _received(self, task_id: int) -> float | None:
        if not any(each.task_id == task_id for each in self.products.values()):
            return None
        return self.scorers[task_id].received_mae(self.grid(task_id))

    def _look_at_board(self, flight: dict[str, Any], t: float) -> bool:
        if flight["task_id"] != self._seen["task"]:
            if self._seen["task"]:
                self._mark(t, "task", f"task {flight['task_id']}: {self.plan.task(flight['task_id']).name}")
            self._seen["task"] = flight["task_id"]
            self._on_board, self._on_ground = None, self._received(flight["task_id"])
        if not flight["weights_sha256"] or flight["weights_sha256"] == self._seen["weights"]:
            return False
        learner = self._learner(flight["weights_sha256"])
        if learner is None:  # the checkpoint of this model is still to come
            return False
        self._seen["weights"] = flight["weights_sha256"]
        self.models[learner.task_id] = learner
        self._on_board = self.scorers[learner.task_id].soft_mae(learner)
        return True

    def _learner(self, weights_sha256: str) -> Learner | None:
        """The learner in the last checkpoint, if it holds the model with these weights."""
        saved = self.fleet.record("checkpoint")
        if saved is None:
            return None
        state = msgpack.unpackb(saved)
        if state["progress"]["model_digest"].hex() != weights_sha256:
            return None
        if not self.encoders.knows(state["encoder"]):
            return None
        learner: Learner = load_state(state["learner"], encoder=self.encoders.get(state["encoder"]))
        return learner if not learner.pending_steps else None

    def _sample(self, t: float, flight: dict[str, Any]) -> None:
        channel = self.lockstep.report("channel")
        self._last_sample_s = t
        self.samples.append(
            Sample(
                t_s=t,
                chips_ingested=flight["chips"],
                uplink_bytes=channel["up"]["offered"]["bytes"],
                downlink_bytes=channel["down"]["offered"]["bytes"],
                task_id=flight["task_id"],
                label_version=flight["label_version"],
                mae_soft_on_board=self._on_board,
                mae_soft_on_ground=self._on_ground,
            )
        )

    def _view(self, t: float, flight: dict[str, Any]) -> View:
        channel, contacts = self.lockstep.report("channel"), self.plan.contacts
        return View(
            t_s=t,
            duration_s=self.plan.scenario.duration_s,
            passes_done=sum(contact.los_s <= t for contact in contacts),
            passes=len(contacts),
            in_contact=self._contact(t),
            chips=flight["chips"],
            chips_planned=self.lockstep.report("camera")["chips_planned"],
            uplink_bytes=channel["up"]["offered"]["bytes"],
            downlink_bytes=channel["down"]["offered"]["bytes"],
            frames_lost=lost_frames(channel),
            mode=flight["mode"] if self.lockstep.is_up("flight") else "down",
            activity=flight["activity"],
            task=self.plan.task(flight["task_id"]).name if flight["task_id"] else "",
            mae_soft=self._on_board,
            last_mark=self.marks[-1].text if self.marks else "",
        )

    def export(self) -> None:
        """Write what came down as Parquet, beside the files themselves."""
        archive.export(
            self.directory / "ground",
            self.plan.scenario.flight_config().link,
            self.plan.region.quantised(),
            {task.task_id: task.class_names for task in self._tasks()},
        )

    def shortfalls(self) -> list[str]:
        """What keeps the mission from being complete; empty if it is."""
        flight, station = self.lockstep.report("flight"), self.lockstep.report("station")
        camera = self.lockstep.report("camera")
        found = []
        if not self.lockstep.is_up("flight"):
            found.append("flight is down at the end")
        if station["orders_left"] or station["failed"]:
            found.append(f"{station['orders_left']} orders are left, and failed: {station['failed'] or 'none'}")
        if flight["chips"] + camera["chips_lost"] + flight["chips_refused"] < camera["chips_planned"]:
            found.append(f"flight has taken in {flight['chips']} of {camera['chips_planned']} chips")
        if self.encoders.problem:
            found.append(f"models that see through an encoder could not be scored: {self.encoders.problem}")
        for sent in {s.task_id: s for s in self.plan.sent}.values():
            if sent.task_id not in self.models:
                found.append(f"task {sent.task_id} never had a model")
            if self._received(sent.task_id) is None:
                found.append(f"no prediction of task {sent.task_id} has come down")
        return found


@contextmanager
def _closing(fleet: Fleet) -> Iterator[None]:
    """Close the fleet in the end; at once if the mission did not get there."""
    try:
        yield
    except BaseException:
        fleet.close(at_once=True)
        raise
    fleet.close()


def lost_frames(channel: dict[str, Any]) -> int:
    """Frames lost on the radio, both ways."""
    return sum(cause["frames"] for way in ("up", "down") for cause in channel[way]["lost"].values())
