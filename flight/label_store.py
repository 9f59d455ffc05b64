"""Label sets on board: one of each task, as it was decoded.

A delta cannot be decoded again once its base has been replaced, and decoding takes seconds on a small processor: so
records hold counts, not the files that the link brought. The store keeps a CRC of each record.
"""

from __future__ import annotations

from dataclasses import replace

import msgpack
import numpy as np

from flight.config import FlightConfig
from flight.errors import RefusedError
from flight.link import labelset
from flight.link.label_header import BaseId
from flight.link.labelset import LabelSet
from flight.link.layout import MapOrder, map_order
from flight.link.pack import CodecError
from flight.region_intake import Kept
from flight.store import Store

MAX_TASK_ID = 65535
_FORMAT = 1


class LabelStore:
    """The label sets in `store`; RefusedError for what is not there or does not fit."""

    def __init__(self, config: FlightConfig, store: Store, decoders: str) -> None:
        self.config = config
        self._decoders = decoders  # backend of the kernels that decode
        self.store = store
        self._order: tuple[int, MapOrder] | None = None  # digest of a region, and how tables are coded along its map

    def decode(self, data: bytes, where: Kept | None) -> LabelSet:
        """The label set in a file that the link brought; of a delta, what it makes of its base."""
        try:
            header = labelset.read_header(data, self.config.link)
            if where is None or header.region_id != where.region.region_id:
                raise RefusedError(f"labels of unknown region {header.region_id}")
            order = self.order_of(where) if header.map_check is not None else None
            base = self._base(header.base) if header.base is not None else None
            return labelset.unpack(data, self.config.link, order, base, self._decoders)
        except CodecError as error:
            raise RefusedError(str(error)) from error

    def order_of(self, where: Kept) -> MapOrder:
        """How tables of a region's municipalities are coded; made once for each region."""
        if self._order is None or self._order[0] != where.region.digest:
            self._order = where.region.digest, map_order(where.region)
        return self._order[1]

    def _base(self, wanted: BaseId) -> LabelSet:
        """The label set that a delta is against; RefusedError, with what is on board instead, if it is not here."""
        try:
            held = self.read(wanted.task_id)
        except RefusedError:
            raise RefusedError(f"delta against {wanted}: task {wanted.task_id} is not on board") from None
        if held.base_id != wanted:
            raise RefusedError(f"delta against {wanted}: on board is {held.base_id}")
        return held

    def put(self, labels: LabelSet) -> None:
        """Keep a label set in place of the one of its task.

        RefusedError if there are too many tasks, or if that one is of a later version, or of the same and has other
        rows: a file that comes late, or once more, takes nothing back.
        """
        known = self._names()
        self._check_version(labels)
        if f"labels-{labels.task_id}" not in known and len(known) >= self.config.executive.max_tasks:
            raise RefusedError(f"{len(known)} tasks are on board, which is the limit")
        self.store.put(f"labels-{labels.task_id}", _dump(labels), twice=True)

    def _check_version(self, labels: LabelSet) -> None:
        try:
            held = self.read(labels.task_id)
        except RefusedError:
            return
        if held.region_id != labels.region_id or (held.version, held.crc) == (labels.version, labels.crc):
            return
        if held.version > labels.version:
            raise RefusedError(f"version {labels.version} of task {labels.task_id}: {held.version} is on board")
        if held.version == labels.version:
            raise RefusedError(f"version {held.version} of task {held.task_id} is on board, with other content")

    def read(self, task_id: int) -> LabelSet:
        """The label set of a task."""
        return self._read(f"labels-{task_id}")

    def _read(self, name: str) -> LabelSet:
        data = self.store.get(name)
        if data is None:
            raise RefusedError(f"no label set of task {name.removeprefix('labels-')} on board")
        try:
            return _load(data)
        except CodecError as error:
            raise RefusedError(str(error)) from error

    def forget_others(self, where: Kept) -> None:
        """Make room for the label sets of a new region."""
        for name in self._names():
            try:
                fitted(self._read(name), where)
            except RefusedError:
                self.store.delete(name)

    def _names(self) -> list[str]:
        return [name for name in self.store.names() if name.startswith("labels-")]


def fitted(labels: LabelSet, where: Kept | None) -> LabelSet:
    """Labels of the region in use; municipalities that joined it since they were made have no row in them."""
    if not 1 <= labels.task_id <= MAX_TASK_ID:
        raise RefusedError(f"task id {labels.task_id} is not from 1 to {MAX_TASK_ID}")
    if where is None or labels.region_id != where.region.region_id:
        raise RefusedError(f"labels of unknown region {labels.region_id}")
    missing = len(where.region.codes) - len(labels.proportions)
    if missing < 0 or len(labels.proportions) < where.rows:
        raise RefusedError(f"{len(labels.proportions)} rows, region has {len(where.region.codes)}")
    rows = np.pad(labels.proportions, ((0, missing), (0, 0)), constant_values=np.nan)
    return replace(labels, proportions=rows)


def _dump(labels: LabelSet) -> bytes:
    """`labels`, whose proportions are counts / levels, as a record."""
    present = ~labels.missing
    return bytes(
        msgpack.packb(
            {
                "format": _FORMAT,
                "ids": [labels.region_id, labels.task_id, labels.version],
                "classes": list(labels.classes),
                "levels": labels.levels,
                "activate": labels.activate,
                "rows": len(present),
                "present": np.packbits(present).tobytes(),
                "counts": labels.counts[present].tobytes(),
            }
        )
    )


def _load(data: bytes) -> LabelSet:
    """The label set in a record; CodecError if it is none."""
    try:
        state = msgpack.unpackb(data)
        if state["format"] != _FORMAT:
            raise CodecError(f"record of a label set: format {state['format']!r}, this version reads {_FORMAT}")
        classes, rows = tuple(state["classes"]), state["rows"]
        present = np.unpackbits(np.frombuffer(state["present"], np.uint8), count=rows).astype(bool)
        counts = np.zeros((rows, len(classes)), np.uint8)
        counts[present] = np.frombuffer(state["counts"], np.uint8).reshape(-1, len(classes))
        empty = np.full(counts.shape, np.nan, np.float32)
        region_id, task_id, version = state["ids"]
        labels = LabelSet(region_id, task_id, version, classes, empty, state["levels"], state["activate"])
        return labels.with_counts(counts, present)
    except (ValueError, KeyError, TypeError, msgpack.UnpackException) as error:
        raise error if isinstance(error, CodecError) else CodecError(f"record of a label set: {error}") from error
