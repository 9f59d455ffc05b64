"""What the payload knows: the region, the label sets, the learner, and the summaries of the chips that it has seen.

Everything here is a function of what was received; nothing knows of frames, sockets or time. What must survive is
written through `flight.store`: files when they arrive, the rest in checkpoints (`flight.payload_state`). What the model
predicts is made into products by `flight.products`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import numpy as np

from flight import payload_state
from flight.checkpoints import Checkpoints
from flight.config import FlightConfig
from flight.encoder.graph import EncoderError
from flight.errors import RefusedError
from flight.guard import Guard
from flight.ingest import Chip
from flight.integrity import DivergedError, MemoryFaultError
from flight.kernels.backend import NUMPY, Backend
from flight.label_store import LabelStore, fitted
from flight.learn import LEARNERS, Learner
from flight.learn.features import check_chip_shape
from flight.learn.grid import Encoder
from flight.link.labelset import LabelSet
from flight.link.pack import CodecError
from flight.link.parcel import Model
from flight.link.product import DIGEST_BYTES
from flight.link.region import Region
from flight.products import Products
from flight.progress import Progress
from flight.region_intake import Kept, RegionIntake
from flight.store import Store
from flight.summaries import Summaries
from flight.telemetry import Emit, short

_CHIPS_AT_ONCE = 16  # that a learner is given in one array, which bounds the copies
SHOWN_BYTES = 8  # of an encoder's digest, in telemetry


class Payload:
    """Region, labels, learner and archive of one flight process; `emit` logs an event by name and arguments.

    `backend` runs decoders and the learner; numpy if it is not given. The learner sees chips through `encoder`, or by
    the statistics of their cells.
    """

    def __init__(
        self,
        config: FlightConfig,
        store: Store,
        emit: Emit,
        backend: Backend | None = None,
        encoder: Encoder | None = None,
    ) -> None:
        self.backend = backend or Backend(NUMPY)
        self.encoder = encoder
        self.config = config
        self.store = store
        self.emit = emit
        self.kept: Kept | None = None
        self.intake: RegionIntake | None = None
        self.label_store = LabelStore(config, store, self.backend.decoders)
        self.labels: LabelSet | None = None
        self.learner: Learner = self._new_learner()
        self.summaries = Summaries(store.disk, config.executive.archive_bytes, emit)
        self.progress = Progress()
        self.products = Products(self)
        self.checkpoints = Checkpoints(store)
        self.held = False  # training has failed with these chips and labels
        self.guard = Guard()
        payload_state.restore(self)
        self._seal()

    @contextmanager
    def working(self, written: tuple[str, ...]) -> Iterator[None]:
        """Around work on the learner that writes in arrays of these paths, beside those in which all work does.

        MemoryFaultError if anything has changed by itself, before the work or, other than what that writes, meanwhile.
        """
        self.guard.check()
        yield
        self.guard.seal_after(self.learner.scratch + written, self.learner, self.labels)

    def _seal(self) -> None:
        self.guard.seal(self.learner, self.labels)

    # Region

    @property
    def region(self) -> Region | None:
        """The region in use."""
        return self.kept.region if self.kept is not None else None

    @property
    def region_crc(self) -> int:
        """The digest that names its version; 0 without one."""
        return self.kept.region.digest if self.kept is not None else 0

    def receive_region(self, data: bytes) -> None:
        """Decode a region file or a patch, put the region on disk and use it, all at once."""
        self.begin_region(data)
        while self.decoding:
            self.decode_region(1 << 20)
        self.take_region()

    def begin_region(self, data: bytes) -> None:
        """Begin to decode a region file or a patch; RefusedError if it is none, or one of another region."""
        try:
            self.intake = RegionIntake(data, self.kept, self.config.link, self.backend.decoders)
        except CodecError as error:
            raise RefusedError(str(error)) from error

    @property
    def decoding(self) -> bool:
        """Whether a region is on its way in and has more to be decoded."""
        return self.intake is not None and self.intake.more

    @property
    def to_decode(self) -> int:
        """About how many cells of it are left."""
        return self.intake.left if self.intake is not None else 0

    def decode_region(self, n_cells: int) -> None:
        """Decode `n_cells` more of the region on its way in."""
        if self.intake is not None:
            self.intake.advance(n_cells)

    def take_region(self) -> None:
        """Put the region that was decoded on disk and use it; RefusedError if it is none.

        One that only adds municipalities to the present one leaves statistics, labels and model as they are: chips seen
        before count as the map then was. Any other region starts all of them anew.
        """
        if self.intake is None:
            return
        try:
            kept = self.intake.result()
        except CodecError as error:
            self.intake = None
            raise RefusedError(str(error)) from error
        self.store.put("region", kept.dump(), twice=True)
        if self.kept is None or kept.region.digest != self.region_crc:
            self.label_store.forget_others(kept)
            grown = self.region_crc in kept.carries
            self.use_region(kept)
            if grown and self.labels is not None:
                self.resume_task(self.labels.task_id)
            elif not grown:
                self._start_anew()
        self.intake = None

    def _start_anew(self) -> None:
        self.labels = None
        self.products.towns.ask(None)
        self.learner = self._new_learner()
        self.learner.region_id = self.region.region_id if self.region is not None else 0
        self.products.begin_again()
        self.progress.model_digest = b""
        self.summaries.forget()
        self._seal()

    def use_region(self, kept: Kept) -> None:
        """Learn and predict by this region from now on."""
        self.kept, new = kept, kept.region
        self.guard.seal_region(new)
        self.learner.region_id = new.region_id
        self.emit("region-loaded", region_id=new.region_id, municipalities=len(new.codes), version=new.digest)

    # Labels and tasks

    @property
    def task_id(self) -> int:
        """The task being learned; 0 without one."""
        return self.labels.task_id if self.labels is not None else 0

    @property
    def label_version(self) -> int:
        """The version of its label set; 0 without one."""
        return self.labels.version if self.labels is not None else 0

    def receive_labels(self, data: bytes) -> LabelSet:
        """Put a label set on disk, and learn it now if it says so."""
        labels = self.label_store.decode(data, self.kept)
        usable = fitted(labels, self.kept)
        self.label_store.put(labels)
        if labels.activate or labels.task_id == self.task_id:
            self._use_labels(usable)
        return labels

    def set_task(self, task_id: int) -> None:
        """Learn the stored label set of task `task_id`; RefusedError if there is none."""
        self._use_labels(fitted(self.label_store.read(task_id), self.kept))

    def resume_task(self, task_id: int) -> None:
        """Go on with a task after a restart; if its label set cannot be used, say so and go on without one."""
        try:
            self.set_task(task_id)
        except RefusedError as error:
            self.emit("record-damaged", record=f"labels-{task_id}", reason=short(error))

    def _use_labels(self, labels: LabelSet) -> None:
        if labels.task_id != self.learner.task_id:
            self.products.begin_again()
            self.progress.model_digest = b""
            self.products.towns.ask(None)
        self.labels, self.held = labels, False
        self.learner.set_labels(labels.proportions, task_id=labels.task_id, version=labels.version)
        self._seal()
        rows = int((~labels.missing).sum())
        self.emit("labels-loaded", task_id=labels.task_id, label_version=labels.version, rows=rows)

    def _new_learner(self) -> Learner:
        make = LEARNERS[self.config.learner.name]
        learner = make(seed=self.config.learner.seed, max_municipalities=self.config.link.max_municipalities)
        return learner.use(self.backend, self.encoder)

    # Encoder

    @property
    def encoder_digest(self) -> str:
        """Of the encoder that chips are seen through, in hex; empty without one."""
        return "" if self.encoder is None else self.encoder.digest

    @property
    def chip_shape(self) -> tuple[int, ...] | None:
        """What every chip must have, once that is known."""
        return self.learner.chip_shape_ or self.config.executive.chip_shape or None

    def use_encoder(self, encoder: Encoder | None) -> None:
        """See chips through another encoder, or by their cells' statistics: all that was learned starts anew.

        Labels stay. Chips that were seen before cannot be predicted any more: an event says how many.
        """
        before, same = self.encoder_digest, self.encoder_digest == ("" if encoder is None else encoder.digest)
        self.encoder = encoder
        if same:
            self.learner.use(self.backend, encoder)
            self._seal()
            return
        chips, labels = len(self.summaries), self.labels
        self._start_anew()
        if labels is not None:
            self.resume_task(labels.task_id)
        self.tell_of_change(before, chips)

    def tell_of_change(self, before: str, chips: int) -> None:
        """Event: what was seen through another encoder, with this digest, is given up."""
        digests = [
            bytes.fromhex(each)[:SHOWN_BYTES].ljust(SHOWN_BYTES, b"\0") for each in (before, self.encoder_digest)
        ]
        self.emit("encoder-changed", previous=digests[0], digest=digests[1], chips=chips)

    def see_without(self, shape: tuple[int, ...]) -> None:
        """Go on without the encoder, since chips are of another shape than it takes."""
        if self.encoder is not None:
            taken, found = (" x ".join(map(str, each)) for each in (self.encoder.chip_shape, shape))
            self.emit("encoder-missing", reason=short(f"takes {taken}, chips are {found}"))
            self.encoder = None
            self.learner.use(self.backend)

    # Chips

    def ingest(self, chips: Sequence[Chip]) -> None:
        """Learn from `chips`, which follow those taken in before, and keep their summaries.

        StoreError if the summaries could not be written: everything was taken in, and they wait in memory.
        MemoryFaultError if what they would be added to has changed by itself, or their part of the map: nothing was.
        """
        where = self.region
        if where is None:
            raise RefusedError("no region on board")
        usable: list[Chip] = []
        known = self.chip_shape
        for chip in chips:
            shape = known or (usable[0].image.shape if usable else None)
            if self._usable(chip, where, shape):
                usable.append(chip)
        if usable:
            if self.encoder is not None and usable[0].image.shape != self.encoder.chip_shape:
                self.see_without(usable[0].image.shape)
            rows = np.array([chip.row for chip in usable], np.int64)
            cols = np.array([chip.col for chip in usable], np.int64)
            cells = rows * where.cols + cols
            self.guard.check_map(cells)
            bags, weights = where.overlaps(rows, cols)
            numbers = np.array([chip.number for chip in usable], np.int64)
            summaries = []
            try:
                with self.working(self.learner.absorbed):
                    for at in range(0, len(usable), _CHIPS_AT_ONCE):
                        some = slice(at, at + _CHIPS_AT_ONCE)
                        images = np.stack([chip.image for chip in usable[some]])
                        self.learner.partial_fit(images, bags[some], weights[some], number=numbers[some])
                        summaries.append(self.learner.summarise(images))
            except EncoderError as error:
                raise MemoryFaultError(f"encoder: {error}") from error
            self.held = False
        self.progress.chips += len(usable)
        self.progress.next_number = chips[-1].number + 1
        if usable and (made := [each for each in summaries if each is not None]):
            self.summaries.append(cells, np.concatenate(made))

    def _usable(self, chip: Chip, where: Region, shape: tuple[int, ...] | None) -> bool:
        """Whether a chip can be learned from; `shape` is that of the chips before it, None if it is the first."""
        reason = ""
        if chip.row >= where.rows or chip.col >= where.cols:
            reason = f"cell ({chip.row}, {chip.col}) is off the grid"
        elif shape is not None and chip.image.shape != shape:
            reason = f"shape {chip.image.shape} is not {shape}"
        elif shape is None:
            try:
                check_chip_shape(chip.image.shape)
            except ValueError as error:
                reason = str(error)
        if reason:
            self.progress.chips_refused += 1
            self.emit("chip-refused", chip=chip.number, reason=short(reason))
        return not reason

    @property
    def has_room(self) -> bool:
        """Whether the disk has room for more chips; its last `reserve_bytes` are for what must be kept."""
        try:
            return self.store.disk.free_bytes() >= self.config.executive.reserve_bytes
        except OSError:
            return False

    # Training and predicting

    @property
    def pending_steps(self) -> int:
        """Training steps that the learner still has to do; 0 without labels or chips, or if it has failed with them."""
        learns = self.labels is not None and self.progress.chips and not self.held
        return self.learner.pending_steps if learns else 0

    def train(self, max_steps: int) -> bool:
        """Train for up to `max_steps`; whether that has made a new model.

        MemoryFaultError if what it would train has changed by itself, or meanwhile what it trains on; DivergedError if
        training has come to nonsense. Then the learner is of no use any more.
        """
        with self.working(self.learner.trained):
            try:
                self.progress.steps += self.learner.train(max_steps)
            except (ArithmeticError, np.linalg.LinAlgError) as error:
                raise DivergedError(str(error)) from error
        if part := self.learner.diverged():
            raise DivergedError(part)
        if self.learner.pending_steps or not self.learner.ready:
            return False
        digest = bytes.fromhex(self.learner.weights_sha256)
        if digest == self.progress.model_digest:
            return False
        self.progress.model_digest = digest
        self.products.begin_again()
        version, name = self.label_version, digest[:DIGEST_BYTES]
        self.emit("model-ready", task_id=self.task_id, label_version=version, model_digest=name)
        return True

    @property
    def has_model(self) -> bool:
        """Whether a trained model of the present task, labels and chips is there."""
        trained = self.learner.ready and not self.learner.pending_steps
        return self.labels is not None and trained and bool(self.progress.model_digest)

    def model(self) -> Model:
        """The model; RefusedError if there is none now."""
        labels = self.labels
        if labels is None or not self.has_model:
            raise RefusedError("there is no model yet" if not self.pending_steps else "the model is being trained")
        self.guard.check()
        return Model(self.learner.name, labels.region_id, labels.task_id, labels.version, self.learner.weights())

    # Surviving

    def checkpoint(self) -> None:
        """Bring the learner and the archive to the disk; StoreError if that fails, and the last checkpoint stands.

        MemoryFaultError if the learner has changed by itself: that is never written.
        """
        self.guard.check()
        payload_state.write(self)

    @property
    def checkpoint_generation(self) -> int:
        """The number of the last checkpoint; 0 without."""
        return self.checkpoints.generation

    @property
    def safe(self) -> bool:
        """Whether both generations of the checkpoint hold the same chips."""
        return self.checkpoints.safe(self.progress.next_number)
