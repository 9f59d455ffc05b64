"""The flight executive: commands, chips, a slice of training, products, housekeeping, checkpoints, on one CPU.

A core of `flight.step` with ports "radio" (frames) and "camera" (chips in, recorder requests out). Work takes mission
time: a job begins when the CPU is free and has its effect when it ends. Whatever the ground is told has been done is
on disk before the frame that says so is handed to the radio.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import msgpack

from flight import housekeeping, parameters
from flight.caps import MemoryWatch
from flight.clock import wall_s
from flight.commanding import Commanding
from flight.config import FlightConfig, LinkConfig
from flight.errors import RefusedError
from flight.ingest import ChipQueue
from flight.integrity import DivergedError, MemoryFaultError
from flight.kernels.backend import NUMPY, Backend
from flight.link import events as link_events
from flight.link.definitions import U16, U32
from flight.link.dictionary import Telemetry
from flight.link.endpoint import Endpoint
from flight.link.errors import LinkError, LinkFullError, RejectedError, StateError
from flight.link.events import LinkEvent
from flight.link.keys import KeyRing
from flight.link.packet import FileKind
from flight.link.product import Product
from flight.municipal_work import MunicipalRequest
from flight.onboard_time import OnBoardTime
from flight.payload import ARCHIVE, Payload
from flight.scrub import Scrub
from flight.step import NEVER, Message, Output, Step
from flight.store import Damage, StateFormatError, Store, StoreError, read_state
from flight.telemetry import EventLog, Retask, short
from flight.updates import Updates

MISSION_FORMAT = 2
PRODUCT_PRIORITY, QUICK_LOOK_PRIORITY = 120, 115
HOUSEKEEPING_PRIORITY, EVENT_PRIORITY, TIME_PRIORITY = 20, 30, 5
REJECTION_PERIOD_S = 10.0  # refused frames are told of in sums, at most so often
PRODUCT_RETRY_S = 30.0
WRITE_RETRY_S = 10.0  # so long after a failed write the next one is tried


@dataclass
class Job:
    """Work on the CPU: it has its effect at `until`."""

    mode: str
    until: float
    run: Callable[[], None]


class Executive:
    """The flight core. `store` holds its state; `on_ready` is called once everything is allocated.

    `backend` runs decoders and the learner; numpy if it is not given.
    `rss_bytes` reads the resident memory; above the cap, `step` saves everything and raises MemoryError.
    """

    def __init__(
        self,
        config: FlightConfig,
        keys: KeyRing,
        store: Store,
        cause: str = "",
        on_ready: Callable[[], object] = lambda: None,
        rss_bytes: Callable[[], int] | None = None,
        backend: Backend | None = None,
    ) -> None:
        self.backend = backend or Backend(NUMPY)
        self.config = config
        self.start_config = config  # what `config` was before updates of parameters
        self.keys = keys
        self.store = store
        self.cause = cause
        self.on_ready = on_ready
        self.log = EventLog()
        self.rss_bytes = rss_bytes or MemoryWatch().rss_bytes
        self.t = 0.0
        self.up = False
        self.incarnation = 0
        self.time = OnBoardTime(config.clock.drift_ppm)
        self.job: Job | None = None
        self.fresh_labels = False
        self.last_chip_s = 0.0
        self.dirty_since_s = NEVER
        self.acknowledged = 0
        self.retask: Retask | None = None
        self.rejected: Counter[tuple[str, str]] = Counter()
        self.ingested, self.ingest_wall_s = 0, 0.0  # by this process: how fast it is
        self.files: deque[link_events.FileReceived] = deque()  # whole, and not on disk yet
        self._write_s = -NEVER  # no write is tried before
        self._checkpoint_failed = self._in_contact = False
        self._product_chips = config.executive.product_chips
        self._radio_free_s = self._housekeeping_s = self._rejections_s = self._product_s = self._time_report_s = 0.0
        self.commanding = Commanding(self)
        self.scrub = Scrub(self)

    def step(self, t: float, inputs: Sequence[Message]) -> Step:
        """Take frames and chips, finish and begin jobs, report, transmit."""
        self.t = t
        if not self.up:
            self._boot()
        for message in inputs:
            if message.port == "radio":
                self._take_frame(message.body)
            else:
                self._take_chip(message.body)
        self._take_files()
        self.commanding.serve()
        self._work()
        outputs = self._ask_recorder()
        in_contact = self.endpoint.in_contact(t)
        if in_contact and not self._in_contact:
            self.log.begin_contact(t)
        self._in_contact = in_contact
        if in_contact:
            self._tell()
            outputs += self._transmit()
        if self.endpoint.needs_save:
            self.save()
        return Step(outputs, self._next_due())

    # Start and state

    def _boot(self) -> None:
        self.store.on_damage = self._on_damage
        self.store.sweep(known=(ARCHIVE,))
        saved = self.store.get("mission")
        state = read_state(saved, "mission", MISSION_FORMAT) if saved is not None else None
        if state is not None:  # first, so that events carry the right time
            self.time.offset_s, self.time.times_set = state["time"]
        slots = {parameters.SLOT: parameters.slot(self)}
        self.updates = Updates(slots, self.store, self.emit, self.backend.decoders)
        self.updates.start()
        self.payload = Payload(self.config, self.store, self.emit, self.backend)
        if state is None:
            self.endpoint = Endpoint("space", self.config.link, self.keys, _unused_number(self.t, self.config.link))
            task_id = self.payload.learner.task_id
        else:
            task_id = self._restore(state)
        if task_id:
            self.payload.resume_task(task_id)  # what was acknowledged counts, not what the checkpoint had
        if state is not None and state["municipal"] is not None:
            self.payload.towns.ask(MunicipalRequest(**state["municipal"]))
        self.incarnation = min(self.incarnation + 1, U16)
        self.acknowledged = self.payload.checkpoints.safe_number
        if not self.payload.safe:
            self._changed()
        self.queue = ChipQueue(self.config.executive.queue_chips, self.payload.progress.next_number)
        self.fresh_labels = self.payload.pending_steps > 0
        self.last_chip_s = self.t
        self.scrub.start()
        self.emit(
            "restarted",
            incarnation=self.incarnation,
            checkpoint_generation=self.payload.checkpoint_generation,
            cause=short(self.cause),
            kernels=self.backend.name,
        )
        self.save()
        self.up = True
        self.on_ready()

    def _restore(self, state: dict[str, Any]) -> int:
        """Take in what `save` wrote; the task that was active."""
        try:
            self.endpoint = Endpoint.restore(state["endpoint"], "space", self.config.link, self.keys)
            self.log.restore(state["events"])
            self.commanding.restore(state["commanding"])
        except (StateError, RejectedError) as error:
            raise StateFormatError(f"mission: {error}") from error
        self.incarnation = state["incarnation"]
        progress = self.payload.progress
        progress.predicted = min(progress.predicted, state["predicted"])  # a telecommand may have set it back
        progress.products = max(progress.products, state["products"])  # no number twice
        return int(state["task_id"])

    def save(self) -> bool:
        """Bring the link's state and what commands have changed to the disk; whether that worked."""
        if self.t < self._write_s:
            return False
        towns = self.payload.towns.request
        state = {
            "format": MISSION_FORMAT,
            "endpoint": self.endpoint.save(),
            "task_id": self.payload.task_id,
            "incarnation": self.incarnation,
            "time": [self.time.offset_s, self.time.times_set],
            "events": self.log.save(),
            "commanding": self.commanding.save(),
            "predicted": self.payload.progress.predicted,
            "products": self.payload.progress.products,
            "municipal": vars(towns) if towns is not None else None,
        }
        try:
            self.store.put("mission", msgpack.packb(state), twice=True)
        except StoreError as error:
            self.endpoint.needs_save = True
            self._write_failed(error)
            return False
        return True

    def _write_failed(self, error: StoreError) -> None:
        self.emit("write-failed", reason=short(error.strerror))
        self._write_s = self.t + WRITE_RETRY_S

    def emit(self, name: str, **values: Any) -> None:
        """Log an event by its name in the dictionary; it goes down in the next pass."""
        self.log.add(self.time.read(self.t), name, **values)

    def send(self, name: str, priority: int, **values: Any) -> None:
        """Send a telemetry packet by its name in the dictionary."""
        self.endpoint.send(Telemetry(name, {"t_s": self.time.read(self.t), **values}), priority)

    def _on_damage(self, damage: Damage) -> None:
        self.emit("record-damaged", record=short(damage.name), reason=short(damage.reason))

    # The link

    def _take_frame(self, frame: bytes) -> None:
        for event in self.endpoint.receive(frame, self.t):
            self.take_event(event)

    def _take_chip(self, body: bytes) -> None:
        lost = self.queue.counters["lost"]
        if self.queue.offer(body):
            self.last_chip_s = self.t
        if self.queue.counters["lost"] > lost:
            self.emit("chips-lost", chips=min(self.queue.counters["lost"] - lost, U32))

    def take_event(self, event: LinkEvent) -> None:
        """Act on what the link tells."""
        match event:
            case link_events.CommandReceived():
                self.commanding.take(event)
            case link_events.FileReceived():
                self.files.append(event)
            case link_events.FrameRejected():
                self.rejected["frames", event.reason] += 1
            case link_events.PacketRejected():
                self.rejected["packets", event.reason] += 1
            case link_events.KeyChanged():
                self.emit("key-changed", key_id=event.key_id)
            case link_events.FileRefused() | link_events.FileFailed():
                self.emit("file-refused", transfer_id=event.transfer_id, reason=short(event.reason))

    def use(self, config: FlightConfig) -> None:
        """Go on with another configuration, which differs only in what may change in flight."""
        self.config = config
        self._product_chips = config.executive.product_chips
        if self.up:
            self.payload.config = config
            self._housekeeping_s = min(self._housekeeping_s, self.t + config.executive.housekeeping_s)

    def _take_files(self) -> None:
        """Put the files that have arrived on disk, in their order; what could not be written is tried again."""
        while self.files and self.t >= self._write_s and not self.payload.decoding:
            try:
                if self._file(self.files[0]):
                    self.files.popleft()
            except StoreError as error:
                self._write_failed(error)

    def _file(self, event: link_events.FileReceived) -> bool:
        """Take in a file; False if that goes on, as decoding a region does."""
        try:
            if event.file.kind is FileKind.REGION:
                if self.payload.intake is None:
                    self.payload.begin_region(event.file.data)
                    return False
                self.payload.take_region()
            elif event.file.kind is FileKind.UPDATE:
                self.updates.receive(event.file.data)
            elif event.file.kind is FileKind.LABEL_SET:
                self.activate(lambda: self.payload.receive_labels(event.file.data))
            elif event.file.kind is FileKind.SEQUENCE:
                self.commanding.receive_sequence(event.file.data)
            else:
                raise RefusedError(f"files of kind {event.file.kind.name} have no use here")
        except RefusedError as error:
            self.endpoint.refuse(event.transfer_id, short(error))
            self.emit("file-refused", transfer_id=event.transfer_id, reason=short(error))
        else:
            self.endpoint.accept(event.transfer_id)
        return True

    def activate(self, change: Callable[[], object]) -> None:
        """Do something that may change labels or task, and time how long the new task takes to give predictions."""
        self.scrub.check()
        before = self.payload.task_id
        retask = Retask.begin(0, self.t)
        change()
        self.fresh_labels = self.payload.pending_steps > 0
        if before and self.payload.task_id != before:
            self.emit("task-changed", task_id=self.payload.task_id)
            retask.task_id = self.payload.task_id
            self.retask = retask

    def report_now(self) -> None:
        """Send housekeeping at the next opportunity."""
        self._housekeeping_s = self.t

    def _tell(self) -> None:
        """Hand housekeeping and events to the link."""
        if self.t >= self._housekeeping_s:
            self.endpoint.send(Telemetry("housekeeping", housekeeping.housekeeping(self)), HOUSEKEEPING_PRIORITY)
            self._housekeeping_s = self.t + self.config.executive.housekeeping_s
        if self.rejected and self.t >= self._rejections_s:
            for (what, reason), count in self.rejected.items():
                self.emit(f"{what}-rejected", cause=reason, **{what: count})
            self.rejected.clear()
            self._rejections_s = self.t + REJECTION_PERIOD_S
        self._send_events()

    def _send_events(self) -> None:
        room = self.config.link.max_queued_packets // 2 - self.endpoint.queued_packets
        for event in self.log.take(room, self.t):
            self.endpoint.send(event, EVENT_PRIORITY)

    def _transmit(self) -> list[Output]:
        """One frame, if the radio is free; if what it would promise cannot reach the disk, one of telemetry alone."""
        if self.t < self._radio_free_s:
            return []
        saved = not self.endpoint.needs_save or self.save()
        frame = self.endpoint.poll(self.t, telemetry_only=not saved)
        if frame is None or (saved and self.endpoint.needs_save and not self.save()):
            return []
        self._radio_free_s = self.t + self.endpoint.frame_time_s(frame)
        self._correlate()
        return [Output(self.t, "radio", frame)]

    def _correlate(self) -> None:
        """Tell the ground, in a frame to come, at which on-board time this one has begun to leave."""
        if self.t >= self._time_report_s:
            frame, now_s = self.endpoint.frame_sent, self.time.read(self.t)
            self.send("time-report", TIME_PRIORITY, frame=frame, frame_s=now_s, times_set=self.time.times_set)
            self._time_report_s = self.t + self.config.executive.time_report_s

    def _ask_recorder(self) -> list[Output]:
        if self.payload.region is None:  # without borders a chip teaches nothing: it waits in the recorder
            return []
        request = self.queue.request(self.acknowledged)
        return [] if request is None else [Output(self.t, "camera", request.pack())]

    # Work

    def _work(self) -> None:
        while True:
            if self.job is not None:
                if self.job.until > self.t:
                    return
                job, self.job = self.job, None
                self._run(job)
                self._check_memory()
            self.job = self._next_job()
            if self.job is None:
                return

    def _run(self, job: Job) -> None:
        try:
            job.run()
        except MemoryFaultError as fault:
            self.scrub.repair(fault.part)
        except DivergedError as fault:
            self.scrub.roll_back(fault.part)

    def renew_payload(self) -> None:
        """Take the payload anew from the disk, as a restart does; the recorder sends again what came after."""
        old, counters = self.payload, self.queue.counters
        self.payload = Payload(self.config, self.store, self.emit)
        if old.task_id:
            self.payload.resume_task(old.task_id)
        self.payload.towns.ask(old.towns.request)
        progress = self.payload.progress
        progress.predicted = min(progress.predicted, old.progress.predicted)
        progress.products = max(progress.products, old.progress.products)
        self.queue = ChipQueue(self.config.executive.queue_chips, progress.next_number)
        self.queue.counters.update(counters)
        self.job = None
        self.fresh_labels = self.payload.pending_steps > 0
        self._changed()

    def rewrite(self, name: str) -> bool:
        """Write a record anew from what it was made of; False if that is not at hand."""
        if name == "checkpoint":
            self.payload.checkpoints.doubt()
            self.dirty_since_s = -NEVER
        return name == "checkpoint" or (name == "mission" and self.save())

    def _next_job(self) -> Job | None:
        if self.t >= self._checkpoint_due():
            return self._new_job("idle", self.config.costs.checkpoint_s, self._checkpoint)
        costs, cycle_s = self.config.costs, self.config.executive.cycle_s * self.config.caps.cpu_share
        if self.payload.decoding:
            n = min(self.payload.to_decode, _how_many(cycle_s, costs.decode_cell_s))
            return self._new_job("decoding", n * costs.decode_cell_s, lambda: self.payload.decode_region(n))
        if (
            len(self.queue)
            and self.payload.region is not None
            and not self._checkpoint_failed
            and self.payload.has_room
        ):
            n = min(len(self.queue), _how_many(cycle_s, costs.chip_s))
            return self._new_job("ingesting", n * costs.chip_s, lambda: self._ingest(n))
        if self.t >= self._training_due():
            n = min(self.payload.pending_steps, _how_many(cycle_s, costs.train_step_s))
            return self._new_job("training", n * costs.train_step_s, lambda: self._train(n))
        if self.t >= self._predicting_due():
            n = min(self.payload.to_predict, self._product_chips)
            return self._new_job("predicting", n * costs.predict_s, lambda: self._predict(n))
        if self.t >= self.scrub.due_s():
            self.scrub.run()
        return None

    def _takes_chips(self) -> bool:
        """Whether there are borders to learn chips by, and a disk to keep them on."""
        return self.payload.region is not None and not self._checkpoint_failed and self.payload.has_room

    def _new_job(self, mode: str, cost_s: float, run: Callable[[], None]) -> Job:
        return Job(mode, self.t + cost_s / self.config.caps.cpu_share, run)

    def _checkpoint_due(self) -> float:
        return max(self.dirty_since_s + self.config.executive.checkpoint_s, self._write_s)

    def _training_due(self) -> float:
        if not self.payload.pending_steps:
            return NEVER
        return self.t if self.fresh_labels else self.last_chip_s + self.config.executive.settle_s

    def _predicting_due(self) -> float:
        return self._product_s if self.payload.to_predict else NEVER

    def _ingest(self, n: int) -> None:
        started_s = wall_s()
        try:
            self.payload.ingest(self.queue.take(n))
        except StoreError as error:
            self._write_failed(error)
            self._checkpoint_failed = True
        self.ingest_wall_s += wall_s() - started_s
        self.ingested += n
        self._changed()

    def _train(self, n: int) -> None:
        new_model = self.payload.train(n)
        self._changed()
        if not self.payload.pending_steps:
            self.fresh_labels = False
        if new_model:
            self.dirty_since_s = -NEVER  # a model is worth a checkpoint of its own

    def _predict(self, n: int) -> None:
        start = self.payload.progress.predicted
        made = self.payload.predict(n)
        if made is None:
            return
        of_chips = isinstance(made, Product) and made.block == 1
        try:
            self.endpoint.submit(self.payload.packed(made), PRODUCT_PRIORITY if of_chips else QUICK_LOOK_PRIORITY)
        except LinkFullError:
            self.payload.take_back(made, start)
            self._product_s = self.t + PRODUCT_RETRY_S
            return
        except LinkError:  # larger than a file may be
            self.payload.take_back(made, start, too_large=True)
            if of_chips:
                self._product_chips = max(1, n // 2)
            return
        self._changed()
        if self.retask is not None and not self.retask.done and self.retask.task_id == made.task_id:
            self.retask.end(self.t)

    def _changed(self) -> None:
        self.dirty_since_s = min(self.dirty_since_s, self.t)

    def _checkpoint(self) -> None:
        self.payload.progress.next_number = self.queue.first_number
        try:
            self.payload.checkpoint()
        except StoreError as error:
            self._write_failed(error)
            self._checkpoint_failed = True  # chips wait in the recorder until one succeeds
            self.dirty_since_s = self.t
            return
        self._checkpoint_failed = False
        self.dirty_since_s = NEVER if self.payload.safe else self.t
        self.acknowledged = self.payload.checkpoints.safe_number

    def _check_memory(self) -> None:
        """Step down in good order above the memory cap: the supervisor starts a fresh process, which goes on."""
        rss, cap = self.rss_bytes(), self.config.caps.memory_bytes
        if rss <= cap:
            return
        self.emit("cap-reached", cap="memory", reason=f"{rss >> 20} MiB resident, allowed are {cap >> 20}")
        self._checkpoint()
        self._send_events()
        self.save()
        raise MemoryError(f"{rss} bytes are resident, more than caps.memory_bytes = {cap}")

    def _next_due(self) -> float:
        due = self.job.until if self.job is not None else NEVER
        if self.job is None:
            due = min(self._checkpoint_due(), self._training_due(), self._predicting_due(), self.scrub.due_s())
        if (self.files and not self.payload.decoding) or self.endpoint.needs_save:
            due = min(due, self._write_s)
        due = min(due, max(self.commanding.due_s(), self._write_s))
        if self.endpoint.in_contact(self.t):
            radio_s = max(self.endpoint.next_due(self.t), self._radio_free_s)
            due = min(due, max(radio_s, self._write_s) if self.endpoint.needs_save else radio_s)
            due = min(due, self._housekeeping_s, self.log.repeat_s)
        return max(due, self.t)

    # What others see

    @property
    def mode(self) -> str:
        """What the executive is doing, in the dictionary's words."""
        return self.job.mode if self.job is not None else "idle"

    def report(self) -> dict[str, Any]:
        """Counters and state, for whoever watches the simulation."""
        return housekeeping.report(self) if self.up else {}


def _unused_number(t: float, link: LinkConfig) -> int:
    """A first number for a link without saved state, above all that can have been used by mission time `t`."""
    frames = max(0.0, t) * link.downlink_bps / (8 * link.frame_bytes)
    return int(min(frames, 1 << 31))


def _how_many(budget_s: float, cost_s: float) -> int:
    """How many pieces of work fit a cycle; at least one."""
    return max(1, int(budget_s / cost_s)) if cost_s > 0 else 1 << 30
