"""The flight executive: commands, chips, a slice of training, products, housekeeping, checkpoints, on one CPU.

A core of `flight.step` with ports "radio" (frames), "camera" (chips in, recorder requests out) and "board" (readings
in, what power is drawn for out). Work takes mission time: a job begins when the CPU is free and has its effect when it
ends. Whatever the ground is told has been done is on disk before the frame that says so is handed to the radio.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from flight import encoder_slot, housekeeping, mission_state, parameters
from flight.blackbox import Pulse, Unwatched
from flight.caps import MemoryWatch
from flight.commanding import Commanding
from flight.config import FlightConfig, LinkConfig
from flight.downlink import Downlink
from flight.encoder_slot import EncoderSlot
from flight.groups import Checkpoint, Chips, Decoding, Predicting, Scrubbing, Training
from flight.ingest import ChipQueue
from flight.integrity import DivergedError, MemoryFaultError
from flight.kernels.backend import NUMPY, Backend
from flight.link.definitions import U16, U32
from flight.link.dictionary import Telemetry
from flight.link.endpoint import Endpoint
from flight.link.keys import KeyRing
from flight.memory import Memory, give_back
from flight.modes import CHIPS_IN, SAFE, Modes
from flight.municipal_work import MunicipalRequest
from flight.onboard_time import OnBoardTime
from flight.orders import FACTORY, Orders
from flight.payload import Payload
from flight.power import Power
from flight.rates import Cpu, Job, Meter, RateGroup, measured
from flight.scrub import Scrub
from flight.step import NEVER, Message, Output, Step
from flight.store import Damage, Store, StoreError
from flight.summaries import ARCHIVE
from flight.telemetry import EventLog, Retask, short
from flight.updates import Updates
from flight.uplink import Uplink

WRITE_RETRY_S = 10.0  # so long after a failed write the next one is tried


class Executive:
    """The flight core. `store` holds its state; `on_ready` is called once everything is allocated.

    `backend` runs decoders and the learner; numpy if it is not given. `encoder_files` are those of the encoder that
    flight is started with; the first one is used that can be run. `start_files` are what a restart will read, to be
    scrubbed as code is.
    `rss_bytes` reads the resident memory; above the cap, `step` saves everything and raises MemoryError. `pulse` is
    told what goes on; `orders` say how the process before this one ended, and what is to be left out of what it left.
    """

    def __init__(
        self,
        config: FlightConfig,
        keys: KeyRing,
        store: Store,
        on_ready: Callable[[], object] = lambda: None,
        rss_bytes: Callable[[], int] | None = None,
        pulse: Pulse | None = None,
        orders: Orders | None = None,
        backend: Backend | None = None,
        encoder_files: Sequence[bytes] = (),
        start_files: Sequence[Path] = (),
    ) -> None:
        self.backend = backend or Backend(NUMPY)
        self.config = config
        self.start_config = config  # what `config` was before updates of parameters
        self.keys = keys
        self.store = store
        self.on_ready = on_ready
        self.pulse = pulse or Unwatched()
        self.orders = orders or Orders()
        self.start_files = tuple(start_files)
        self.log = EventLog()
        self.memory = Memory(rss_bytes or MemoryWatch().rss_bytes, config.caps.memory_bytes)
        self.t = 0.0
        self.up = False
        self.incarnation = 0
        self.time = OnBoardTime(config.clock.drift_ppm)
        self.modes = Modes(config.executive.start_mode)
        self.write_s = -NEVER  # no write is tried before
        self.uplink = Uplink(self)
        self.downlink = Downlink(self)
        self.power = Power(self)
        self.commanding = Commanding(self)
        self.scrub = Scrub(self)
        self.encoder_slot = EncoderSlot(self, encoder_files)

    def step(self, t: float, inputs: Sequence[Message]) -> Step:
        """Take frames, chips and readings, finish and begin jobs, report, transmit."""
        self.t = t
        if not self.up:
            self._boot()
        with measured("commands", self.inline["commands"], self.pulse):
            self._take(inputs)
            self.uplink.take_files()
            self.commanding.serve()
            self.power.serve()
        self.cpu.work(t)
        outputs = self._ask_recorder()
        with measured("housekeeping", self.inline["housekeeping"], self.pulse):
            outputs += self.downlink.serve()
            if self.endpoint.needs_save:
                self.save()
        outputs += self.power.tell()
        self.pulse.note(self.modes.mode, self.cpu.activity, self.incarnation, t)
        self.pulse.ping()
        return Step(outputs, self._next_due())

    def _take(self, inputs: Sequence[Message]) -> None:
        for message in inputs:
            if message.port == "radio":
                self.uplink.take_frame(message.body)
            elif message.port == "camera":
                self._take_chip(message.body)
            else:
                self.power.take(message.body)

    # Start and state

    def _boot(self) -> None:
        self.store.on_damage = self._on_damage
        self.store.sweep(known=(ARCHIVE,))
        self.orders.prepare(self.store)
        state = mission_state.read(self.store)
        if state is not None:  # first, so that events carry the right time
            self.time.offset_s, self.time.times_set = state["time"]
        slots = {parameters.SLOT: parameters.slot(self), encoder_slot.SLOT: self.encoder_slot.slot()}
        self.updates = Updates(slots, self.store, self.emit, self.backend.decoders)
        self.updates.start()
        if not self.updates.active(encoder_slot.SLOT):
            self.encoder_slot.start()
        self.payload = Payload(self.config, self.store, self.emit, self.backend, self.encoder_slot.current)
        if state is None:
            self.endpoint = Endpoint("space", self.config.link, self.keys, _unused_number(self.t, self.config.link))
            task_id = self.payload.learner.task_id
        else:
            task_id = mission_state.restore(self, state)
        if task_id:
            self.payload.resume_task(task_id)  # what was acknowledged counts, not what the checkpoint had
        if state is not None and state["municipal"] is not None:
            self.payload.products.towns.ask(MunicipalRequest(**state["municipal"]))
        self.incarnation = min(self.incarnation + 1, U16)
        self._make_groups()
        self.scrub.start()
        self._tell_of_the_start()
        self.save()
        self.up = True
        self.on_ready()

    def _tell_of_the_start(self) -> None:
        """Events: that the process is up, how the one before it ended, and what that has cost."""
        self.emit(
            "restarted",
            incarnation=self.incarnation,
            checkpoint_generation=self.payload.checkpoint_generation,
            cause=short(self.orders.cause),
            kernels=self.backend.name,
        )
        words, fallback = self.orders.last_words, self.orders.fallback
        if words is not None:
            told = {"mode": words.mode, "activity": words.activity, "crashes": words.crashes}
            self.emit("last-words", cause=short(words.cause), place=short(words.place), **told)
        if fallback:
            self.emit("fallback", level=fallback, reason=short(self.orders.cause))
        if self.orders.unusable:
            self.emit("start-fallback", reason=short(self.orders.unusable))
        if fallback == FACTORY:
            self.enter_mode(SAFE, f"crashed repeatedly: {self.orders.cause}")

    def _make_groups(self) -> None:
        rates = self.config.rates
        self.inline = {"commands": Meter(rates.commands_s), "housekeeping": Meter(rates.housekeeping_s)}
        self.checkpoint, self.chips = Checkpoint(self), Chips(self)
        self.training, self.predicting = Training(self), Predicting(self)
        groups = (self.checkpoint, Decoding(self), self.chips, self.training, self.predicting, Scrubbing(self))
        self.cpu = Cpu(groups, self.may_run, lambda: self.share, self._run_job, self.pulse)

    @property
    def meters(self) -> dict[str, Meter]:
        """What each rate group has measured, by its name."""
        return {**self.inline, **{group.name: group.meter for group in self.cpu.groups}}

    def save(self) -> bool:
        """Bring the link's state and what commands have changed to the disk; whether that worked."""
        if self.t < self.write_s:
            return False
        try:
            mission_state.write(self)
        except StoreError as error:
            self.endpoint.needs_save = True
            self.write_failed(error)
            return False
        return True

    def write_failed(self, error: StoreError) -> None:
        """Tell of a failed write, and try none for a while."""
        self.emit("write-failed", reason=short(error.strerror))
        self.write_s = self.t + WRITE_RETRY_S

    def emit(self, name: str, **values: Any) -> None:
        """Log an event by its name in the dictionary; it goes down in the next pass."""
        t_s = self.time.read(self.t)
        self.log.add(t_s, name, **values)
        self.pulse.event(t_s, name)

    def send(self, name: str, priority: int, **values: Any) -> None:
        """Send a telemetry packet by its name in the dictionary."""
        self.endpoint.send(Telemetry(name, {"t_s": self.time.read(self.t), **values}), priority)

    def _on_damage(self, damage: Damage) -> None:
        self.emit("record-damaged", record=short(damage.name), reason=short(damage.reason))

    # Modes and limits

    def set_mode(self, mode: str, direct: bool) -> None:
        """Change the mode as the ground wants it; RefusedError if that is not open. `direct`: not by the schedule."""
        self.modes.check(mode, direct, self.power.limits.holding_safe)
        if mode != self.modes.mode:
            self.enter_mode(mode, "telecommand" if direct else "schedule or sequence")

    def enter_mode(self, mode: str, cause: str) -> None:
        """Change the mode, for `cause`; work that it does not allow is dropped, and nothing of that has been done."""
        previous = self.modes.enter(mode, cause)
        if mode == SAFE:
            self.emit("safe-mode-entered", previous=previous, cause=short(cause))
            if self.commanding.runner.sequence is not None:
                self.commanding.abort_sequence("safe mode")
        else:
            self.emit("mode-changed", mode=mode, previous=previous, cause=short(cause))
        self.cpu.drop()
        self.endpoint.needs_save = True

    def may_run(self, group: RateGroup) -> bool:
        """Whether mode and limits let a group run now."""
        paused = group.heavy and self.power.limits.action in ("pause", "safe")
        return self.modes.mode in group.modes and not paused

    @property
    def share(self) -> float:
        """The share of the CPU that work may have now."""
        caps = self.config.caps
        return caps.cpu_share if self.power.limits.action == "none" else min(caps.cpu_share, caps.throttle_share)

    def use(self, config: FlightConfig) -> None:
        """Go on with another configuration, which differs only in what may change in flight."""
        self.config = config
        self.power.limits.replace(config.limits)
        if self.up:
            self.payload.config = config
            self.predicting.most_chips = config.executive.product_chips
            self.downlink.report_by(self.t + config.executive.housekeeping_s)

    # Chips and work

    def _take_chip(self, body: bytes) -> None:
        lost = self.queue.counters["lost"]
        if self.queue.offer(body):
            self.chips.last_chip_s = self.t
        if self.queue.counters["lost"] > lost:
            self.emit("chips-lost", chips=min(self.queue.counters["lost"] - lost, U32))

    def _ask_recorder(self) -> list[Output]:
        """Ask for chips; not without borders, by which alone they teach anything, and not if the mode is against it."""
        if self.payload.region is None or self.modes.mode not in CHIPS_IN:
            return []
        request = self.queue.request(self.acknowledged)
        return [] if request is None else [Output(self.t, "camera", request.pack())]

    def activate(self, change: Callable[[], object]) -> None:
        """Do something that may change labels or task, and time how long the new task takes to give predictions."""
        self.scrub.check()
        before = self.payload.task_id
        retask = Retask.begin(0, self.t)
        change()
        self.training.new_labels()
        if before and self.payload.task_id != before:
            self.emit("task-changed", task_id=self.payload.task_id)
            retask.task_id = self.payload.task_id
            self.predicting.retask = retask

    def renew_payload(self) -> None:
        """Take the payload anew from the disk, as a restart does; the recorder sends again what came after."""
        old, self.payload = (
            self.payload,
            Payload(self.config, self.store, self.emit, self.backend, self.encoder_slot.current),
        )
        if old.task_id:
            self.payload.resume_task(old.task_id)
        self.payload.products.towns.ask(old.products.towns.request)
        progress = self.payload.progress
        progress.predicted = min(progress.predicted, old.progress.predicted)
        progress.products = max(progress.products, old.progress.products)
        self.chips.begin_at(progress.next_number)
        self.cpu.job = None
        self.training.new_labels()
        self.checkpoint.changed()

    def after_new_statistics(self) -> None:
        """The payload has begun anew: what was under way is of no use, and the checkpoint neither."""
        self.cpu.drop()
        self.training.new_labels()
        self.checkpoint.at_once()

    def rewrite(self, name: str) -> bool:
        """Write a record anew from what it was made of; False if that is not at hand."""
        if name == "checkpoint":
            self.payload.checkpoints.doubt()
            self.checkpoint.at_once()
        return name == "checkpoint" or (name == "mission" and self.save())

    def _run_job(self, job: Job) -> None:
        """Run it, then look at memory: slices get short, then load is shed, then flight steps down to start anew."""
        try:
            job.run()
        except MemoryFaultError as fault:
            self.scrub.repair(fault.part)
        except DivergedError as fault:
            self.scrub.roll_back(fault.part)
        self.memory.look()
        if self.memory.to_shed:
            rss, chips = self.memory.rss_bytes(), self.queue.drop()
            give_back()
            self.emit("load-shed", rss_bytes=rss, chips=chips)
        rss, cap = self.memory.rss_bytes(), self.memory.cap_bytes
        if rss <= cap:
            return
        self.emit("cap-reached", cap="memory", reason=f"{rss >> 20} MiB resident, allowed are {cap >> 20}")
        self.checkpoint.write()
        self.downlink.send_events()
        self.save()
        raise MemoryError(f"{rss} bytes are resident, more than caps.memory_bytes = {cap}")

    def _next_due(self) -> float:
        due = min(self.cpu.next_due(self.t), self.uplink.due_s(), self.downlink.due_s(), self.power.due_s())
        if self.endpoint.needs_save:
            due = min(due, self.write_s)
        return max(min(due, max(self.commanding.due_s(), self.write_s)), self.t)

    # What others see

    @property
    def queue(self) -> ChipQueue:
        """Chips that wait to be taken in."""
        return self.chips.queue

    @property
    def acknowledged(self) -> int:
        """Chips below this number are in a checkpoint."""
        return self.checkpoint.acknowledged

    @property
    def job(self) -> Job | None:
        """What the CPU is doing; None if nothing."""
        return self.cpu.job

    def report(self) -> dict[str, Any]:
        """Counters and state, for whoever watches the simulation."""
        return housekeeping.report(self) if self.up else {}


def _unused_number(t: float, link: LinkConfig) -> int:
    """A first number for a link without saved state, above all that can have been used by mission time `t`."""
    frames = max(0.0, t) * link.downlink_bps / (8 * link.frame_bytes)
    return int(min(frames, 1 << 31))
