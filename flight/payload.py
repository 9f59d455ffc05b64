"""What the payload knows: the region, the label sets, the learner, and the summaries of the chips that it has seen.

Everything here is a function of what was received; nothing knows of frames, sockets or time. What must survive is
written through `flight.store`: files when they arrive, the rest in checkpoints.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial

import numpy as np
from numpy.typing import NDArray

from flight.archive import Archive
from flight.checkpoints import Checkpoints
from flight.config import FlightConfig
from flight.errors import RefusedError
from flight.ingest import Chip
from flight.integrity import DivergedError, MemoryFaultError, Seal
from flight.kernels.backend import NUMPY, Backend
from flight.label_store import LabelStore, fitted
from flight.learn import LEARNERS, Learner, StateError, load_state
from flight.learn.features import check_chip_shape
from flight.link import municipal, product
from flight.link.labelset import LabelSet
from flight.link.municipal import MunicipalProduct
from flight.link.pack import CodecError
from flight.link.packet import FileKind
from flight.link.parcel import Model
from flight.link.product import DIGEST_BYTES, MAX_BLOCK, BlockSums, Product
from flight.link.region import OVERLAPS, Region
from flight.link.transfer import File
from flight.municipal_work import MunicipalWork
from flight.region_intake import Kept, RegionIntake
from flight.store import Store
from flight.telemetry import short

ARCHIVE = "archive.bin"
# What training only reads: chips seen so far, and labels.
STILL = ("learner._sums", "learner._second", "learner._reservoir", "learner.labels_", "learner._embedding._W", "table")
_CELL = struct.Struct("<I")
Emit = Callable[..., None]


@dataclass
class Progress:
    """Figures over the mission that a checkpoint keeps."""

    chips: int = 0  # taken in
    chips_refused: int = 0
    next_number: int = 0  # first chip number that is not taken in yet
    steps: int = 0  # training steps
    predicted: int = 0  # archived chips that the current model has predicted
    model_digest: bytes = b""
    overview: bool = False  # whether the current model's quick-look is made, or not needed
    products: int = 0


@dataclass
class Look:
    """A quick-look in the making: archived chips `at` to `end` are still to be predicted."""

    sums: BlockSums
    end: int
    at: int = 0


class Payload:
    """Region, labels, learner and archive of one flight process; `emit` logs an event by name and arguments.

    `backend` runs decoders and the learner; numpy if it is not given.
    """

    def __init__(self, config: FlightConfig, store: Store, emit: Emit, backend: Backend | None = None) -> None:
        self.backend = backend or Backend(NUMPY)
        self.config = config
        self.store = store
        self.emit = emit
        self.kept: Kept | None = None
        self.intake: RegionIntake | None = None
        self._label_store = LabelStore(config, store, self.backend.decoders)
        self.labels: LabelSet | None = None
        self.learner: Learner = self._new_learner()
        self.archive: Archive | None = None
        self._look: Look | None = None
        self._look_block = config.executive.quick_look_chips
        self.towns = MunicipalWork()
        self.progress = Progress()
        self.checkpoints = Checkpoints(store)
        self.held = False  # training has failed with these chips and labels
        self.seals = {"learner": Seal(), "region": Seal()}
        self._restore()
        self._seal()

    # Memory

    def broken(self) -> str:
        """What in memory is not as it was left: a part of the learner or of the labels; empty if nothing."""
        return self.seals["learner"].broken()

    def sweep(self, slices: int) -> str:
        """As `broken`, of the next of so many slices of the region."""
        return self.seals["region"].sweep(self.seals["region"].n_bytes // slices)

    def _check(self) -> None:
        if part := self.broken():
            raise MemoryFaultError(part)

    def _seal(self) -> None:
        table = None if self.labels is None else self.labels.proportions
        self.seals["learner"].renew(learner=self.learner, table=table)

    # Files and tasks

    @property
    def task_id(self) -> int:
        """The task being learned; 0 without one."""
        return self.labels.task_id if self.labels is not None else 0

    @property
    def label_version(self) -> int:
        """The version of its label set; 0 without one."""
        return self.labels.version if self.labels is not None else 0

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
            self._label_store.forget_others(kept)
            grown = self.region_crc in kept.carries
            self._use_region(kept)
            if grown and self.labels is not None:
                self.resume_task(self.labels.task_id)
            elif not grown:
                self._start_anew()
        self.intake = None

    def _start_anew(self) -> None:
        self.labels = None
        self.towns.ask(None)
        self.learner = self._new_learner()
        self.learner.region_id = self.region.region_id if self.region is not None else 0
        self.predict_again()
        self.progress.model_digest = b""
        self.archive = None
        self._seal()
        with suppress(OSError):  # one that stays is written over
            self.store.disk.remove(ARCHIVE)

    @property
    def region(self) -> Region | None:
        """The region in use."""
        return self.kept.region if self.kept is not None else None

    @property
    def region_crc(self) -> int:
        """The digest that names its version; 0 without one."""
        return self.kept.region.digest if self.kept is not None else 0

    def _use_region(self, kept: Kept) -> None:
        self.kept, new = kept, kept.region
        self.seals["region"].renew(bags=new.bags, weights=new.weights, codes=new.codes)
        self.learner.region_id = new.region_id
        self.emit("region-loaded", region_id=new.region_id, municipalities=len(new.codes), version=new.digest)

    def receive_labels(self, data: bytes) -> LabelSet:
        """Put a label set on disk, and learn it now if it says so."""
        labels = self._label_store.decode(data, self.kept)
        usable = fitted(labels, self.kept)
        self._label_store.put(labels)
        if labels.activate or labels.task_id == self.task_id:
            self._use_labels(usable)
        return labels

    def set_task(self, task_id: int) -> None:
        """Learn the stored label set of task `task_id`; RefusedError if there is none."""
        self._use_labels(fitted(self._label_store.read(task_id), self.kept))

    def resume_task(self, task_id: int) -> None:
        """Go on with a task after a restart; if its label set cannot be used, say so and go on without one."""
        try:
            self.set_task(task_id)
        except RefusedError as error:
            self.emit("record-damaged", record=f"labels-{task_id}", reason=short(error))

    def _use_labels(self, labels: LabelSet) -> None:
        if labels.task_id != self.learner.task_id:
            self.predict_again()
            self.progress.model_digest = b""
            self.towns.ask(None)
        self.labels, self.held = labels, False
        self.learner.set_labels(labels.proportions, task_id=labels.task_id, version=labels.version)
        self._seal()
        rows = int((~labels.missing).sum())
        self.emit("labels-loaded", task_id=labels.task_id, label_version=labels.version, rows=rows)

    def _new_learner(self) -> Learner:
        make = LEARNERS[self.config.learner.name]
        learner = make(seed=self.config.learner.seed, max_municipalities=self.config.link.max_municipalities)
        return learner.use(self.backend)

    # Chips

    def ingest(self, chips: Sequence[Chip]) -> None:
        """Learn from `chips`, which follow those taken in before, and keep their summaries.

        StoreError if the summaries could not be written: everything was taken in, and they wait in memory.
        MemoryFaultError if what they would be added to has changed by itself, or their part of the map: nothing was.
        """
        where = self.region
        if where is None:
            raise RefusedError("no region on board")
        self._check()
        usable: list[Chip] = []
        known = self.learner.chip_shape_ or self.config.executive.chip_shape
        for chip in chips:
            shape = known or (usable[0].image.shape if usable else None)
            if self._usable(chip, where, shape):
                usable.append(chip)
        if usable:
            images = np.stack([chip.image for chip in usable])
            rows = np.array([chip.row for chip in usable], np.int64)
            cols = np.array([chip.col for chip in usable], np.int64)
            self._check_map(rows * where.cols + cols)
            bags, weights = where.overlaps(rows, cols)
            numbers = np.array([chip.number for chip in usable], np.int64)
            self.learner.partial_fit(images, bags, weights, number=numbers)
            summaries = self.learner.summarise(images)
            self.held = False
            self._seal()
        self.progress.chips += len(usable)
        self.progress.next_number = chips[-1].number + 1
        if usable and summaries is not None:
            self._archive(rows * where.cols + cols, summaries)

    def _check_map(self, cells: NDArray[np.int64]) -> None:
        for path, row_bytes in (("bags", 4 * OVERLAPS), ("weights", OVERLAPS)):
            if part := self.seals["region"].touched(path, cells, row_bytes):
                raise MemoryFaultError(f"region.{part}")

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

    def _archive(self, cells: NDArray[np.int64], summaries: NDArray[np.uint8]) -> None:
        if self.archive is None:
            self.archive = self._open_archive(summaries.shape[1], 0)
        refused = self.archive.refused
        for cell, summary in zip(cells, summaries, strict=True):
            self.archive.append(_CELL.pack(cell) + summary.tobytes())
        if self.archive.refused and not refused:
            self.emit("archive-full", chips=self.archive.n_records)
        self.archive.write()

    def _open_archive(self, summary_bytes: int, n_records: int) -> Archive:
        record_bytes = _CELL.size + summary_bytes
        capacity = self.config.executive.archive_bytes // (record_bytes + 4)
        return Archive(self.store.disk, ARCHIVE, record_bytes, capacity, n_records)

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
        self._check()
        try:
            self.progress.steps += self.learner.train(max_steps)
        except (ArithmeticError, np.linalg.LinAlgError) as error:
            raise DivergedError(str(error)) from error
        if part := self.seals["learner"].broken(STILL):
            raise MemoryFaultError(part)
        if part := self.learner.diverged():
            raise DivergedError(part)
        self._seal()
        if self.learner.pending_steps or not self.learner.ready:
            return False
        digest = bytes.fromhex(self.learner.weights_sha256)
        if digest == self.progress.model_digest:
            return False
        self.progress.model_digest = digest
        self.predict_again()
        version, name = self.label_version, digest[:DIGEST_BYTES]
        self.emit("model-ready", task_id=self.task_id, label_version=version, model_digest=name)
        return True

    @property
    def to_predict(self) -> int:
        """Archived chips that the current model has not predicted yet; 0 while there is none.

        While a municipal product is asked for, chips that it still needs; at least 1.
        """
        if self.archive is None or not self.has_model:
            return 0
        chips = max(0, self.archive.n_records - self.progress.predicted)
        return self.towns.left(self.archive.n_records) or chips

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
        self._check()
        return Model(self.learner.name, labels.region_id, labels.task_id, labels.version, self.learner.weights())

    def predict_again(self) -> None:
        """Let everything be predicted and sent down again."""
        self.progress.predicted, self.progress.overview, self._look = 0, False, None
        self.towns.restart()
        self._look_block = self.config.executive.quick_look_chips

    def predict(self, n_chips: int) -> Product | MunicipalProduct | None:
        """Predict the next `n_chips`, and make a product; None without a model, or if none can be read.

        A municipal product that is asked for comes first. Where the chips need several products, a quick-look of all of
        them comes before them. Both are None until they are complete. MemoryFaultError if the model has changed by
        itself.
        """
        self._check()
        try:
            return self._next_product(n_chips)
        finally:
            self._seal()

    def _next_product(self, n_chips: int) -> Product | MunicipalProduct | None:
        if self.archive is None or self.region is None or not self.to_predict:
            return None
        if self.towns.left(self.archive.n_records):
            return self._total_further(self.region, self.archive, n_chips)
        several = self.to_predict > self.config.executive.product_chips and self._look_block > 1
        if not self.progress.overview and (several or self._look is not None):
            return self._look_further(self.region, self.archive, n_chips)
        self.progress.overview, self._look = True, None
        start = self.progress.predicted
        self.progress.predicted = min(start + n_chips, self.archive.n_records)
        found = self._predicted(self.archive, start, self.progress.predicted)
        return self._product(self.region, *found, self.region.cols, 1) if found is not None else None

    def _look_further(self, where: Region, archive: Archive, n_chips: int) -> Product | None:
        """Go on with the quick-look; the product when it is complete."""
        look = self._look or Look(BlockSums(self._look_block, where.cols), archive.n_records)
        self._look = look
        start, look.at = look.at, min(look.at + n_chips, look.end)
        found = self._predicted(archive, start, look.at) if start < look.at else None
        if found is not None:
            look.sums.add(*found)
        if look.at < look.end:
            return None
        self.progress.overview = True
        return self._product(where, *look.sums.means(), look.sums.cols, look.sums.block) if look.sums.chips else None

    def _total_further(self, where: Region, archive: Archive, n_chips: int) -> MunicipalProduct | None:
        """Go on with the municipal product; the product when it is complete."""
        done = self.towns.go_on(where, archive.n_records, n_chips, partial(self._predicted, archive))
        if done is None or done[1].empty or self.labels is None:
            return None
        means, coverage = done[1].means()
        if done[0].unlabelled:
            labelled = ~self.labels.missing
            means[labelled], coverage[labelled] = np.nan, 0
        self.progress.products += 1
        digest = self.progress.model_digest[:DIGEST_BYTES]
        ids = (where.region_id, self.task_id, self.label_version)
        return MunicipalProduct(*ids, digest, done[0].levels, means, coverage)

    def packed(self, made: Product | MunicipalProduct) -> File:
        """A product as the file that goes down."""
        name = f"{made.task_id}-{made.label_version}-{self.progress.products}"
        backend = self.backend.decoders
        if isinstance(made, Product):
            return File(f"product-{name}", FileKind.PRODUCT, product.pack(made, backend))
        if self.kept is None:
            raise RefusedError("no region on board")
        data = municipal.pack(made, self._label_store.order_of(self.kept), backend)
        return File(f"municipal-{name}", FileKind.MUNICIPAL_PRODUCT, data)

    def take_back(self, made: Product | MunicipalProduct, start: int, too_large: bool = False) -> None:
        """Let a product be made again that could not be sent; `start` is what was predicted before it.

        A quick-look that is too large for a file is made of blocks twice the size, if there are such; a municipal
        product of half as many levels.
        """
        if isinstance(made, MunicipalProduct):
            self.towns.take_back(too_large)
        elif made.block == 1:
            self.progress.predicted = start
        elif not too_large:
            self.progress.overview = False
        elif 2 * made.block <= MAX_BLOCK:
            self.progress.overview, self._look, self._look_block = False, None, 2 * made.block

    def _predicted(
        self, archive: Archive, start: int, end: int
    ) -> tuple[NDArray[np.int32], NDArray[np.float32]] | None:
        """Cells in ascending order and their proportions, of archived chips `start` to `end` that can be read."""
        records = archive.read(start, end)
        whole = [record for record in records if record is not None]
        if len(whole) < len(records):
            self.emit("archive-damaged", chips=len(records) - len(whole))
        if not whole:
            return None
        table = np.frombuffer(b"".join(whole), np.uint8).reshape(len(whole), -1)
        cells = np.ascontiguousarray(table[:, : _CELL.size]).view("<u4")[:, 0].astype(np.int32)
        _, latest = np.unique(cells[::-1], return_index=True)  # of two looks at a cell, the later one counts
        latest = len(cells) - 1 - latest
        return cells[latest], self.learner.predict_summaries(np.ascontiguousarray(table[latest, _CELL.size :]))

    def _product(
        self, where: Region, cells: NDArray[np.int32], proportions: NDArray[np.float32], cols: int, block: int
    ) -> Product:
        self.progress.products += 1
        levels = self.config.executive.product_levels
        digest = self.progress.model_digest[:DIGEST_BYTES]
        ids = (where.region_id, self.task_id, self.label_version)
        return Product(*ids, digest, levels, cells, proportions, cols, block)

    # Surviving

    def checkpoint(self) -> None:
        """Bring the learner and the archive to the disk; StoreError if that fails, and the last checkpoint stands.

        MemoryFaultError if the learner has changed by itself: that is never written.
        """
        self._check()
        if self.archive is not None:
            self.archive.sync()
        self.checkpoints.write(
            {
                "region_crc": self.region_crc,
                "progress": vars(self.progress),
                "archive": [self.archive.record_bytes, self.archive.n_records] if self.archive is not None else None,
                "learner": self.learner.state(),
            }
        )

    @property
    def checkpoint_generation(self) -> int:
        """The number of the last checkpoint; 0 without."""
        return self.checkpoints.generation

    @property
    def safe(self) -> bool:
        """Whether both generations of the checkpoint hold the same chips."""
        return self.checkpoints.safe(self.progress.next_number)

    def _restore(self) -> None:
        data = self.store.get("region")
        if data is not None:
            try:
                self._use_region(Kept.load(data, self.config.link))
            except CodecError as error:
                self.emit("record-damaged", record="region", reason=short(error))
        state = self.checkpoints.read()
        if state is None:
            return
        learner = self._restored_learner(state["learner"])
        if learner is None or state["region_crc"] not in (self.kept.carries if self.kept is not None else (0,)):
            # The region was replaced and the process died before the next checkpoint, or another learner is
            # configured: statistics start anew.
            self.progress.next_number = state["progress"]["next_number"]
            return
        self.progress, self.learner = Progress(**state["progress"]), learner
        if state["archive"] is not None:
            record_bytes, n_records = state["archive"]
            self.archive = self._open_archive(record_bytes - _CELL.size, n_records)
            if self.archive.missing:
                self.emit("archive-damaged", chips=self.archive.missing)
                self.progress.predicted = min(self.progress.predicted, self.archive.n_records)

    def _restored_learner(self, data: bytes) -> Learner | None:
        """The learner in a checkpoint; None, with an event, if it is not the one that is configured."""
        try:
            learner = load_state(data, self.backend)
        except StateError as error:
            self.emit("record-damaged", record="checkpoint", reason=short(error))
            return None
        wanted = self.learner
        same = [(each.name, each.seed, each.max_municipalities) for each in (learner, wanted)]
        if same[0] != same[1]:
            reason = f"learner {learner.name}, configured is {wanted.name}"
            self.emit("record-damaged", record="checkpoint", reason=short(reason))
            return None
        return learner
