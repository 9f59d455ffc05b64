"""The label set: one version of a region's label table for one task, as it goes up.

Decoded proportions are counts / levels. `LabelSet.quantised` gives the ground the table that the satellite will have.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from flight.config import LinkConfig

from . import pack as wire
from .counts import MAX_LEVELS, MIN_LEVELS, dequantise, quantise, read_counts, write_counts
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
        return self._from_counts(self._counts(), self.missing)

    def _counts(self) -> NDArray[np.uint8]:
        present = np.flatnonzero(~self.missing)
        try:
            return quantise(self.proportions[present], self.levels)
        except CodecError as error:
            raise CodecError(f"label set, among the rows that are not missing: {error}") from None

    def _from_counts(self, counts: NDArray[np.uint8], missing: NDArray[np.bool_]) -> LabelSet:
        table = np.full((len(missing), len(self.classes)), np.nan, np.float32)
        table[~missing] = dequantise(counts, self.levels)
        return replace(self, proportions=table)


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


def _fields(label_set: LabelSet) -> tuple[int, ...]:
    rows, classes = label_set.proportions.shape
    ids = (label_set.region_id, label_set.task_id, label_set.version)
    return (*ids, rows, classes, label_set.levels, int(label_set.activate))


def pack(label_set: LabelSet) -> bytes:
    """The label set as a file; CodecError if it cannot be one."""
    missing, counts = label_set.missing, label_set._counts()
    fields, names = _fields(label_set), wire.join_names(label_set.classes, "class")
    bitmap = np.packbits(missing).tobytes()
    out = wire.Writer(wire.LABEL_SET)
    out.integer(*fields, len(names), len(counts))
    out.block(names)
    out.block(bitmap if len(counts) < len(missing) else b"")
    table = write_counts(out, counts)
    return out.finish(wire.crc(fields, names, bitmap, table))


def unpack(data: bytes, config: LinkConfig) -> LabelSet:
    """The label set in a file that the link brought; CodecError for anything else, or for more than `config` allows."""
    reader = wire.Reader(wire.LABEL_SET, data)
    region_id, task_id, version = (reader.integer(f"{name} id") for name in ("region", "task", "version"))
    rows = reader.integer("the number of municipalities", 1, config.max_municipalities)
    classes = reader.integer("the number of classes", 2, config.max_classes)
    if rows * classes > config.max_label_cells:
        raise reader.error(f"{rows} x {classes} proportions are more than max_label_cells = {config.max_label_cells}")
    levels = reader.integer("levels", MIN_LEVELS, MAX_LEVELS)
    activate = reader.integer("activate", 0, 1)
    names_bytes = reader.integer("the length of the class names", 2 * classes, (wire.MAX_NAME_BYTES + 1) * classes)
    present = reader.integer("the number of rows", 0, rows)
    names = reader.block("the class names", names_bytes)
    size = (rows + 7) // 8
    bitmap = reader.block("the missing rows", size) if present < rows else bytes(size)
    missing = np.unpackbits(np.frombuffer(bitmap, np.uint8), count=rows).astype(bool)
    if rows - int(missing.sum()) != present:
        raise reader.error(f"{rows - int(missing.sum())} rows are marked as present, expected {present}")
    counts = read_counts(reader, present, classes, levels)
    fields = (region_id, task_id, version, rows, classes, levels, activate)
    reader.finish(wire.crc(fields, names, bitmap, counts.tobytes()))
    empty = np.full((rows, classes), np.nan, np.float32)
    class_names = wire.split_names(names, classes, "class")
    label_set = LabelSet(region_id, task_id, version, class_names, empty, levels, bool(activate))
    return label_set._from_counts(counts, missing)
