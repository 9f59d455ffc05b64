"""What a packed label set says of itself before its table: ids, sizes, what it is coded along, and against what.

After the envelope (`flight.link.pack`) come, as integers unless they are said to be bytes:

    region, task and version id, municipalities, classes, levels
    flags: 1 activate, 2 coded along the region's map, 4 delta, 8 other classes than those of the base
    2 bytes that name the map, if coded along it
    base task and version id, and 2 bytes that name its content, in a delta
    classes of the base, group of each of them, group of each class, if these are other classes
    bytes of the class names (`flight.link.label_names`), unless they are those of the base
    bytes to the end: the stream (`flight.link.composition`)
"""

from __future__ import annotations

from dataclasses import dataclass

from flight.config import LinkConfig

from . import pack as wire
from .classes import Relation
from .counts import MAX_LEVELS, MIN_LEVELS
from .label_names import pack_names, read_names

_ACTIVATE, _ALONG_MAP, _DELTA, _OTHER_CLASSES = 1, 2, 4, 8
CHECK_BYTES = 2


@dataclass(frozen=True)
class BaseId:
    """Which label set a delta is against: its task and version id, and 2 bytes that name its content."""

    task_id: int
    version: int
    check: bytes

    def __str__(self) -> str:
        return f"version {self.version} of task {self.task_id} (check {self.check.hex()})"


@dataclass(frozen=True)
class Header:
    """A label set without its table.

    Attributes:
        region_id, task_id, version, levels, activate: as in `flight.link.labelset.LabelSet`.
        rows, n_classes: the table's shape.
        classes: names of the classes; None if they are those of the base.
        map_check: 2 bytes that name the map that rows are coded along; None if they are coded in order.
        base: what this is a delta against, or None.
        relation: how the base's classes became these; None if they are the same, or there is no base.
    """

    region_id: int
    task_id: int
    version: int
    rows: int
    n_classes: int
    levels: int
    activate: bool
    classes: tuple[str, ...] | None
    map_check: bytes | None = None
    base: BaseId | None = None
    relation: Relation | None = None


def write(out: wire.Writer, header: Header) -> None:
    """Append a header."""
    flags = _ACTIVATE * header.activate + _ALONG_MAP * (header.map_check is not None)
    flags += _DELTA * (header.base is not None) + _OTHER_CLASSES * (header.relation is not None)
    out.integer(header.region_id, header.task_id, header.version, header.rows, header.n_classes, header.levels, flags)
    out.raw(header.map_check or b"")
    if header.base is not None:
        out.integer(header.base.task_id, header.base.version)
        out.raw(header.base.check)
    if header.relation is not None:
        out.integer(len(header.relation.of_base), *header.relation.of_base, *header.relation.of_class)
    if header.classes is not None:
        out.raw(pack_names(header.classes))


def read(reader: wire.Reader, config: LinkConfig) -> Header:
    """The inverse of `write`; CodecError for what cannot be, or for more than `config` allows."""
    region_id, task_id, version = (reader.integer(f"{name} id") for name in ("region", "task", "version"))
    rows = reader.integer("the number of municipalities", 1, config.max_municipalities)
    n_classes = reader.integer("the number of classes", 2, config.max_classes)
    if rows * n_classes > config.max_label_cells:
        raise reader.error(f"{rows} x {n_classes} proportions are more than max_label_cells = {config.max_label_cells}")
    levels = reader.integer("levels", MIN_LEVELS, MAX_LEVELS)
    flags = reader.integer("the flags", 0, 15)
    if flags & _OTHER_CLASSES and not flags & _DELTA:
        raise reader.error("has other classes than a base that it has not")
    map_check = reader.raw("the check of the map", CHECK_BYTES) if flags & _ALONG_MAP else None
    base, relation, classes = None, None, None
    if flags & _DELTA:
        task, number = reader.integer("base task id"), reader.integer("base version id")
        base = BaseId(task, number, reader.raw("the check of the base", CHECK_BYTES))
    if flags & _OTHER_CLASSES:
        n_base = reader.integer("the number of classes of the base", 2, config.max_classes)
        groups = [reader.integer("the group of a class", 0, n_classes - 1) for _ in range(n_base + n_classes)]
        relation = Relation(tuple(groups[:n_base]), tuple(groups[n_base:]))
        relation.check(n_base, n_classes)
    if base is None or relation is not None:
        classes = read_names(reader, n_classes)
    activate = bool(flags & _ACTIVATE)
    return Header(region_id, task_id, version, rows, n_classes, levels, activate, classes, map_check, base, relation)
