"""The rate groups of the payload: checkpoint, decoding, chips, training, predicting, in this order of urgency."""

from __future__ import annotations

from typing import TYPE_CHECKING

from flight.clock import wall_s
from flight.encoder_slot import PART
from flight.ingest import MAX_HEADER_BYTES, ChipQueue
from flight.integrity import MemoryFaultError
from flight.link.errors import LinkError, LinkFullError
from flight.link.municipal import MunicipalProduct
from flight.link.product import Product
from flight.modes import CHIPS_IN, FILES_IN, LEARNING
from flight.rates import RateGroup, Slice
from flight.step import NEVER
from flight.store import StoreError
from flight.telemetry import Retask

if TYPE_CHECKING:
    from flight.executive import Executive

PRODUCT_PRIORITY, QUICK_LOOK_PRIORITY = 120, 115
PRODUCT_RETRY_S = 30.0
PIECES = 8  # of a slice; between them memory is looked at, and the slice ends early if it is short


class PayloadGroup(RateGroup):
    """A rate group of an executive; what it needs of it stays there."""

    def __init__(self, flight: Executive) -> None:
        rates = flight.config.rates
        super().__init__(getattr(rates, f"{self.name}_s"), rates.deadline_s)
        self.flight = flight

    def how_many(self, cost_s: float, most: int) -> int:
        """How many pieces of work, of the `most` there are, fit a cycle; at least one, and fewer if memory is short."""
        executive = self.flight.config.executive
        budget_s = executive.cycle_s * self.flight.share / (PIECES if self.flight.memory.tight else 1)
        fitting = max(1, int(budget_s / cost_s)) if cost_s > 0 else most
        return min(most, fitting)


class Checkpoint(PayloadGroup):
    """Brings to the disk what has changed; what it holds is then acknowledged to the recorder."""

    name, activity = "checkpoint", "saving"

    def __init__(self, flight: Executive) -> None:
        super().__init__(flight)
        self.dirty_since_s = NEVER if flight.payload.safe else flight.t
        self.failed = False  # then chips wait in the recorder until one succeeds
        self.acknowledged = flight.payload.checkpoints.safe_number

    def due_s(self, t: float) -> float:
        """`checkpoint_s` after the first change, and not while the disk refuses writes."""
        return max(self.dirty_since_s + self.flight.config.executive.checkpoint_s, self.flight.write_s)

    def next_slice(self, t: float) -> Slice:
        """The whole checkpoint."""
        return Slice(self.flight.config.costs.checkpoint_s, self.write)

    def changed(self) -> None:
        """Something is to be saved, by and by."""
        self.dirty_since_s = min(self.dirty_since_s, self.flight.t)

    def at_once(self) -> None:
        """Something is to be saved now."""
        self.dirty_since_s = -NEVER

    def write(self) -> None:
        """Write the checkpoint now; an event tells if that failed.

        MemoryFaultError if the encoder that chips were seen through has changed by itself.
        """
        payload = self.flight.payload
        if self.flight.encoder_slot.damaged():
            raise MemoryFaultError(PART)
        payload.progress.next_number = self.flight.queue.first_number
        try:
            payload.checkpoint()
        except StoreError as error:
            self.failed = True
            self.flight.write_failed(error)
            self.dirty_since_s = self.flight.t
            return
        self.failed = False
        self.dirty_since_s = NEVER if payload.safe else self.flight.t
        self.acknowledged = payload.checkpoints.safe_number


class Decoding(PayloadGroup):
    """Decodes the region that has come up."""

    name, activity, modes = "decoding", "decoding", FILES_IN

    def due_s(self, t: float) -> float:
        """At once while there is more to decode."""
        return t if self.flight.payload.decoding else NEVER

    def next_slice(self, t: float) -> Slice:
        """As many cells as fit a cycle."""
        cost_s, payload = self.flight.config.costs.decode_cell_s, self.flight.payload
        n = self.how_many(cost_s, payload.to_decode)
        return Slice(n * cost_s, lambda: payload.decode_region(n))


class Chips(PayloadGroup):
    """Takes in chips that wait in the queue."""

    name, activity, modes = "chips", "ingesting", CHIPS_IN

    def __init__(self, flight: Executive) -> None:
        super().__init__(flight)
        self.queue = self._queue(flight.payload.progress.next_number)
        self.last_chip_s = flight.t
        self.ingested, self.ingest_wall_s = 0, 0.0  # by this process: how fast it is

    def due_s(self, t: float) -> float:
        """At once, if there are chips, borders to learn them by, a disk to keep them on, and no training overdue."""
        payload = self.flight.payload
        ready = len(self.queue) and payload.region is not None and not self.flight.checkpoint.failed
        if self.flight.training.overdue(t):
            return NEVER
        return t if ready and payload.has_room else NEVER

    def begin_at(self, number: int) -> None:
        """Forget what waits; chips from `number` on are asked for anew."""
        counters, self.queue = self.queue.counters, self._queue(number)
        self.queue.counters.update(counters)

    def _queue(self, number: int) -> ChipQueue:
        executive = self.flight.config.executive
        max_bytes = executive.max_chip_bytes + MAX_HEADER_BYTES
        return ChipQueue(executive.queue_chips, number, max_message_bytes=max_bytes)

    def next_slice(self, t: float) -> Slice:
        """As many chips as fit a cycle."""
        config = self.flight.config
        cost_s = config.costs.chip_s + (config.encoder.chip_s if self.flight.payload.encoder is not None else 0)
        n = self.how_many(cost_s, len(self.queue))
        return Slice(n * cost_s, lambda: self._take(n))

    def _take(self, n: int) -> None:
        started_s = wall_s()
        chips = self.queue.take(n)
        try:
            self.flight.payload.ingest(chips)
        except StoreError as error:
            self.flight.write_failed(error)
            self.flight.checkpoint.failed = True
        self.ingest_wall_s += wall_s() - started_s
        self.ingested += len(chips)
        self.flight.training.more_to_learn()
        self.flight.checkpoint.changed()


class Training(PayloadGroup):
    """Trains, when labels are new or no more chips come, and in any case before long."""

    name, activity, modes, heavy = "training", "training", LEARNING, True

    def __init__(self, flight: Executive) -> None:
        super().__init__(flight)
        self.fresh_labels = False
        self._since_s = NEVER  # from when on there has been something that the model lacks
        self.new_labels()

    def new_labels(self) -> None:
        """Labels are new, or the payload is: train at once if there are chips."""
        self.fresh_labels = self.flight.payload.pending_steps > 0
        self.more_to_learn()

    def more_to_learn(self) -> None:
        """There may be something that the model lacks."""
        pending = self.flight.payload.pending_steps > 0
        self._since_s = min(self._since_s, self.flight.t) if pending else NEVER

    def due_s(self, t: float) -> float:
        """At once with new labels; else when no chip has come for `settle_s`, or what came waits for too long."""
        if not self.flight.payload.pending_steps:
            return NEVER
        executive = self.flight.config.executive
        calm_s = self.flight.chips.last_chip_s + executive.settle_s
        return t if self.fresh_labels else min(calm_s, self._since_s + executive.train_within_s)

    def overdue(self, t: float) -> bool:
        """Whether chips have to wait, as each of them would set training back to its start."""
        waited = t >= self._since_s + self.flight.config.executive.train_within_s
        return waited and self.flight.payload.pending_steps > 0 and self.flight.may_run(self)

    def next_slice(self, t: float) -> Slice:
        """As many steps as fit a cycle."""
        cost_s = self.flight.config.costs.train_step_s
        n = self.how_many(cost_s, self.flight.payload.pending_steps)
        return Slice(n * cost_s, lambda: self._train(n))

    def _train(self, n: int) -> None:
        payload, piece = self.flight.payload, -(-n // PIECES)
        new_model = False
        for start in range(0, n, piece):
            new_model = payload.train(min(piece, n - start)) or new_model
            if self.flight.memory.look():
                break
        self.flight.checkpoint.changed()
        if not payload.pending_steps:
            self.fresh_labels = False
            self.more_to_learn()
        if new_model:
            self.flight.checkpoint.at_once()  # a model is worth a checkpoint of its own


class Predicting(PayloadGroup):
    """Makes products of what the model predicts, and hands them to the link."""

    name, activity, modes, heavy = "predicting", "predicting", LEARNING, True

    def __init__(self, flight: Executive) -> None:
        super().__init__(flight)
        self.most_chips = flight.config.executive.product_chips
        self.retask: Retask | None = None
        self._not_before_s = 0.0

    def due_s(self, t: float) -> float:
        """At once, if there is something to predict; later, if the link had no room."""
        return self._not_before_s if self.flight.payload.products.to_predict else NEVER

    def next_slice(self, t: float) -> Slice:
        """A product's worth of chips."""
        n = min(self.flight.payload.products.to_predict, self.most_chips)
        return Slice(n * self.flight.config.costs.predict_s, lambda: self._predict(n))

    def _predict(self, n: int) -> None:
        payload = self.flight.payload
        start = payload.progress.predicted
        made = payload.products.predict(n)
        if made is None or not self._submit(made, start, n):
            return
        self.flight.checkpoint.changed()
        if self.retask is not None and not self.retask.done and self.retask.task_id == made.task_id:
            self.retask.end(self.flight.t)

    def _submit(self, made: Product | MunicipalProduct, start: int, n: int) -> bool:
        """Hand a product to the link; whether it took it."""
        payload = self.flight.payload
        of_chips = isinstance(made, Product) and made.block == 1
        try:
            self.flight.endpoint.submit(
                payload.products.packed(made), PRODUCT_PRIORITY if of_chips else QUICK_LOOK_PRIORITY
            )
        except LinkFullError:
            payload.products.take_back(made, start)
            self._not_before_s = self.flight.t + PRODUCT_RETRY_S
            return False
        except LinkError:  # larger than a file may be
            payload.products.take_back(made, start, too_large=True)
            if of_chips:
                self.most_chips = max(1, n // 2)
            return False
        return True


class Scrubbing(PayloadGroup):
    """Compares memory, records and code with their checksums, a slice at a time."""

    name = "scrub"

    def due_s(self, t: float) -> float:
        """So often that all is looked at within `scrub_s`."""
        return self.flight.scrub.due_s()

    def next_slice(self, t: float) -> Slice:
        """One slice, too short to be counted."""
        return Slice(0.0, self.flight.scrub.run)
