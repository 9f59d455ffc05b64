"""The label set: one version of a region's label table for one task, as it goes up.

Decoded proportions are counts / levels. `LabelSet.quantised` gives the ground the table that the satellite will have.

A file holds the whole table, or a *delta*: what has changed against a version that is on board, of the same task or of
another, whose classes it may merge or split. Rows are coded along a region's map, or in the order of its codes where
the map is not at hand. `flight.link.label_header` has the layout.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from flight import kernels
from flight.config import LinkConfig

from . import composition, label_header
from . import pack as wire
from .classes import Relation, relate
from .counts import MAX_LEVELS, MIN_LEVELS, dequantise, quantise
from .label_header import CHECK_BYTES, BaseId, Header
from .layout import MapOrder, Places, places_in_order
from .pack import CodecError


@dataclass(frozen=True, eq=False)
class LabelSet:
    """Label proportions of a region's municipalities in one task.

    Attributes:
        region_id, task_id, version: unsigned 32-bit integers; a later version of a task replaces an earlier one.
        classes: names of the classes, in the order of the columns.
        proportions: float32 (n_municipalities, n_classes), in the order of the region's codes; a NaN row is missing.
        levels: counts that a row is rounded to, 2 to 255; no proportion moves by 1/levels or more.
        activate: whether the satellite switches to this task when the label set is complete.
    """

    region_id: int
    task_id: int
    version: int
    classes: tuple[str, ...]
    proportions: NDArray[np.float32]
    levels: int
    activate: bool = True

    def __post_init__(self) -> None:
        if len(self.classes) < 2:
            raise CodecError(f"label set: {len(self.classes)} classes; at least 2 are needed")
        if self.proportions.ndim != 2 or self.proportions.shape[1] != len(self.classes) or not len(self.proportions):
            raise CodecError(
                f"label set: the table has shape {self.proportions.shape}, expected (municipalities, "
                f"{len(self.classes)}) with at least one municipality"
            )

    @property
    def missing(self) -> NDArray[np.bool_]:
        """bool (n_municipalities,), where there is no row."""
        return np.asarray(np.isnan(self.proportions).all(1))

    def quantised(self) -> LabelSet:
        """This label set as the satellite will have it; CodecError if a row is not a set of proportions."""
        return self.with_counts(self.counts, ~self.missing)

    @cached_property
    def counts(self) -> NDArray[np.uint8]:
        """uint8 (n_municipalities, n_classes), 0 in missing rows; CodecError if a row is not a set of proportions."""
        counts = np.zeros(self.proportions.shape, np.uint8)
        present = np.flatnonzero(~self.missing)
        try:
            counts[present] = quantise(self.proportions[present], self.levels)
        except CodecError as error:
            raise CodecError(f"label set, among the rows that are not missing: {error}") from None
        return counts

    def with_counts(self, counts: NDArray[np.uint8], present: NDArray[np.bool_]) -> LabelSet:
        """A label set like this one, with the proportions counts / levels."""
        table = np.full(counts.shape, np.nan, np.float32)
        table[present] = dequantise(counts[present], self.levels)
        return replace(self, proportions=table)

    @property
    def base_id(self) -> BaseId:
        """What names this label set where it is the base of a delta."""
        return BaseId(self.task_id, self.version, (self.crc & 0xFFFF).to_bytes(CHECK_BYTES, "big"))

    @cached_property
    def crc(self) -> int:
        """CRC-32 of what the satellite will have: names the content."""
        ids = (self.region_id, self.task_id, self.version, *self.proportions.shape, self.levels, int(self.activate))
        bitmap = np.packbits(self.missing).tobytes()
        return wire.crc(ids, wire.join_names(self.classes, "class"), bitmap, self.counts.tobytes())


def errors(label_set: LabelSet) -> tuple[float, float]:
    """Mean and greatest absolute error that rounding to counts makes, over all classes of rows that are not missing."""
    present = ~label_set.missing
    if not present.any():
        return 0.0, 0.0
    sent = label_set.quantised().proportions[present].astype(np.float64)
    error = np.abs(sent - label_set.proportions[present])
    return float(error.mean()), float(error.max())


def levels_for(max_error: float) -> int:
    """The fewest levels that keep every proportion within `max_error`: no error reaches 1/levels."""
    if not 1 / MAX_LEVELS <= max_error < 1:
        raise CodecError(f"greatest error is {max_error}, must be at least 1/{MAX_LEVELS} (0.0040) and below 1")
    return max(MIN_LEVELS, int(np.ceil(1 / max_error)))


def pack(
    label_set: LabelSet,
    order: MapOrder | None = None,
    base: LabelSet | None = None,
    relation: Relation | None = None,
    backend: str = kernels.PYTHON,
) -> bytes:
    """The label set as a file; CodecError if it cannot be one.

    With `order`, of the region *as it was decoded*, rows are coded along the map, which the satellite must have.
    With `base`, another table of the same region as the satellite has it, the file is a delta against it; the base may
    have fewer rows, if municipalities have joined the region behind them. `relation` says how its classes became these,
    and may be left out where all of them are still there.
    """
    rows, n_classes = label_set.proportions.shape
    base_id = None
    if base is not None:
        if base.region_id != label_set.region_id or len(base.proportions) > rows:
            raise CodecError(
                f"label set: {rows} rows of region {label_set.region_id} cannot be a delta against "
                f"{len(base.proportions)} rows of region {base.region_id}"
            )
        base_id = base.base_id
        if base.classes == label_set.classes:
            relation = None
        else:
            relation = relation or relate(base.classes, label_set.classes)
            relation.check(len(base.classes), n_classes)
    header = Header(
        label_set.region_id,
        label_set.task_id,
        label_set.version,
        rows,
        n_classes,
        label_set.levels,
        label_set.activate,
        label_set.classes if base is None or relation is not None else None,
        order.check if order is not None else None,
        base_id,
        relation,
    )
    out = wire.Writer(wire.LABEL_SET, wire.RANGE)
    label_header.write(out, header)
    before = _before(base, header)
    places = _places(header, order)
    out.raw(composition.encode(label_set.counts, ~label_set.missing, label_set.levels, places, before, backend))
    return out.finish(label_set.crc)


def read_header(data: bytes, config: LinkConfig) -> Header:
    """What a file says of itself; CodecError for anything but a label set, or for more than `config` allows."""
    return label_header.read(wire.Reader(wire.LABEL_SET, data, (wire.RANGE,)), config)


def unpack(
    data: bytes,
    config: LinkConfig,
    order: MapOrder | None = None,
    base: LabelSet | None = None,
    backend: str = kernels.PYTHON,
) -> LabelSet:
    """The label set in a file that the link brought; CodecError for anything else, or for more than `config` allows.

    `order` must be given if rows are coded along a map, and `base` if the file is a delta: see `read_header`.
    """
    reader = wire.Reader(wire.LABEL_SET, data, (wire.RANGE,))
    header = label_header.read(reader, config)
    if header.base is not None and (base is None or base.base_id != header.base):
        raise reader.error(f"is a delta against {header.base}, which is not at hand")
    if base is not None and header.base is not None:
        _check_fits(reader, header, base)
    places = _places(header, order)
    shape = (header.rows, header.n_classes)
    before = _before(base, header)
    counts, present = reader.decoded(composition.decode, reader.rest(), shape, header.levels, places, before, backend)
    classes = header.classes or (base.classes if base is not None else ())
    empty = np.full(shape, np.nan, np.float32)
    ids = (header.region_id, header.task_id, header.version)
    label_set = LabelSet(*ids, classes, empty, header.levels, header.activate).with_counts(counts, present)
    reader.finish(label_set.crc)
    return label_set


def _check_fits(reader: wire.Reader, header: Header, base: LabelSet) -> None:
    """CodecError unless a delta's shape is the base's, or what its relation makes of it."""
    rows, n_base = base.proportions.shape
    expected = len(header.relation.of_base) if header.relation is not None else header.n_classes
    if base.region_id != header.region_id or rows > header.rows or n_base != expected:
        raise reader.error(
            f"expects {header.rows} rows of {expected} classes of its base, which has {rows} of {n_base}"
        )


def _places(header: Header, order: MapOrder | None) -> Places:
    """What rows are coded along; CodecError unless `order` is what the header names."""
    if header.map_check is None:
        return places_in_order(header.rows)
    if order is None or order.region_id != header.region_id:
        raise CodecError(f"label set: is coded along the map of region {header.region_id}, which is not at hand")
    if order.check != header.map_check or len(order.places.order) != header.rows:
        raise CodecError(f"label set: is coded along another map of region {header.region_id} than the one at hand")
    return order.places


def _before(base: LabelSet | None, header: Header) -> composition.Base | None:
    """What a delta is compared with: the base in groups of classes, in counts that sum to the header's levels."""
    if base is None or header.base is None:
        return None
    every = tuple(range(header.n_classes))
    relation = header.relation or Relation(every, every)
    grouped = np.zeros((header.rows, relation.n_groups), np.int64)
    for k, group in enumerate(relation.of_base):
        grouped[: len(base.counts), group] += base.counts[:, k]
    present = np.zeros(header.rows, bool)
    present[: len(base.counts)] = ~base.missing
    counts = np.zeros(grouped.shape, np.uint8)
    counts[present] = quantise(grouped[present], header.levels)
    return composition.Base(counts, present, relation.of_class)
