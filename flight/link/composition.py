"""Tables of counts whose rows have a given sum, as streams of the range coder: what label sets and products hold.

A stream holds the order of the columns, the rows that are there, and their counts. Where and from what each row is
predicted follows from its place (`flight.link.layout`), how from `flight.kernels.composition`.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from flight import kernels
from flight.kernels import coding
from flight.kernels.buffers import composition as kernel

from . import coder
from .layout import NEIGHBOURS, Neighbours, Places, neighbours

_THREE = (0, *[coding.WEIGHT_ONE // 3] * 3, 0, 0, 0)  # weights at first: three experts, four with a base
_FOUR = (0, *[coding.WEIGHT_ONE // 4] * 4, 0, 0)
_WEIGHTS = np.repeat(np.array([_THREE, _FOUR], np.int64), kernel.SETS, axis=0)
_MOST_BYTES_A_COUNT = 4


@dataclass(frozen=True, eq=False)
class Base:
    """A table that another is compared with.

    Attributes:
        counts: uint8 (rows, groups), rows with the same sum as those to be coded.
        present: bool (rows,), whether it has the row.
        group: (classes,), the group of each class to be coded; every group has one or more.
    """

    counts: NDArray[np.uint8]
    present: NDArray[np.bool_]
    group: tuple[int, ...]

    def columns(self) -> tuple[list[int], list[int], list[int]]:
        """Classes in the order of coding, groups in that order, and where each group starts among the classes."""
        total = self.counts[self.present].sum(0, dtype=np.int64)
        groups = np.argsort(-total, kind="stable").tolist()
        members = [[k for k, group in enumerate(self.group) if group == g] for g in groups]
        bounds = np.cumsum([0, *(len(each) for each in members)]).tolist()
        return [k for each in members for k in each], groups, bounds


def encode(
    counts: NDArray[np.uint8],
    present: NDArray[np.bool_],
    levels: int,
    places: Places,
    base: Base | None = None,
    backend: str = kernels.PYTHON,
    rows_are_known: bool = False,
) -> bytes:
    """The stream of `counts` (rows, classes) that sum to `levels`; rows that are not `present` (rows,) are left out.

    Which ones those are is not in the stream if its reader knows it, as `rows_are_known` says.
    """
    room = 64 + len(counts) + _MOST_BYTES_A_COUNT * counts.size
    work = _Work(coder.encoder(room, backend), levels, counts.shape, base, backend)
    order = work.order(np.argsort(-counts[present].sum(0, dtype=np.int64), kind="stable"))
    if not rows_are_known:
        work.present(present, places, base)
    near = neighbours(places, present)
    work.rows(counts[near.rows][:, order].astype(np.int64), near, base)
    return work.stream.finish()


def decode(
    data: bytes,
    shape: tuple[int, int],
    levels: int,
    places: Places,
    base: Base | None = None,
    backend: str = kernels.PYTHON,
    known: NDArray[np.bool_] | None = None,
) -> tuple[NDArray[np.uint8], NDArray[np.bool_]]:
    """Counts uint8 `shape` = (rows, classes) and the rows that are present (rows,); CodecError for a damaged stream.

    `known` are the rows that are present, of a stream that does not say it.
    """
    most = 64 + shape[0] * (2 + 2 * shape[1] * (levels + 2))
    work = _Work(coder.decoder(data, most, backend), levels, shape, base, backend)
    order = work.order(np.arange(shape[1]))
    present = work.present(np.zeros(shape[0], bool), places, base) if known is None else known
    work.stream.check()
    near = neighbours(places, present)
    found = work.rows(np.zeros((len(near.rows), shape[1]), np.int64), near, base)
    work.stream.finish()
    counts = np.zeros(shape, np.uint8)
    counts[near.rows[:, None], order] = found
    return counts, present


class _Work:
    """One stream being coded either way, with what its model learns."""

    def __init__(
        self, stream: coder.Coder, levels: int, shape: tuple[int, ...], base: Base | None, backend: str
    ) -> None:
        self.stream = stream
        self._levels = levels
        self._classes = shape[1]
        self._backend = backend
        self._kernels = kernels.load("composition", backend)
        self._columns = base.columns() if base is not None else None
        groups = base.counts.shape[1] if base is not None else 1
        self._plan = kernels.integers([levels, 0, shape[1], groups, NEIGHBOURS, int(base is not None)], backend)
        self._model = (
            stream.state,
            stream.buffer,
            self._plan,
            coder.adaptive(kernel.COUNTS_SIZE, backend),
            self._integers(_WEIGHTS),
            coder.tables(backend),
            kernels.integers(2 * kernel.EXPERTS, backend),
            kernels.integers(kernel.EXPERTS * (levels + 2), backend),
            kernels.integers(kernel.INPUTS, backend),
        )

    def _integers(self, values: NDArray[np.integer]) -> kernels.Ints:
        return kernels.integers(np.ascontiguousarray(values, np.int64).tobytes(), self._backend)  # 8 bytes each

    def order(self, wanted: NDArray[np.int64]) -> list[int]:
        """Columns in the order of coding: that of a base, or one that is coded."""
        if self._columns is not None:
            return self._columns[0]
        order = self._integers(wanted)
        self._kernels.code_order(self._model, order, self._classes)
        return [int(k) for k in order]

    def present(self, present: NDArray[np.bool_], places: Places, base: Base | None) -> NDArray[np.bool_]:
        """Code which rows are there."""
        order = places.order
        known = 1 + base.present[order] if base is not None else np.zeros(len(order), np.int64)
        flags = self._integers(present[order].astype(np.int64))
        self._kernels.code_present(self._model, flags, self._integers(known), len(order))
        found = np.zeros(len(order), bool)
        found[order] = np.array(flags, bool)
        return found

    def runs(self, runs: NDArray[np.int64]) -> NDArray[np.int64]:
        """Code runs (n, 2)."""
        values = self._integers(runs)
        self._kernels.code_runs(self._model, values, len(runs))
        return np.array(values, np.int64).reshape(runs.shape)

    def rows(self, table: NDArray[np.int64], near: Neighbours, base: Base | None) -> NDArray[np.int64]:
        """Code counts (rows, classes), columns and rows in the order of coding."""
        self._plan[kernel.ROWS] = len(table)
        groups, bounds = [0], [0, self._classes]
        in_base = np.zeros((1, 1), np.int64)
        grouped = np.zeros((len(table), 1), np.int64)
        if base is not None and self._columns is not None:
            _, groups, bounds = self._columns
            in_base = np.where(base.present[near.rows, None], base.counts[near.rows][:, groups].astype(np.int64), -1)
            grouped = np.add.reduceat(table, bounds[:-1], axis=1)
        counts = self._integers(table)
        self._kernels.code_rows(
            self._model,
            counts,
            self._integers(grouped),
            self._integers(in_base),
            kernels.integers(bounds, self._backend),
            self._integers(near.near),
            self._integers(near.best),
            self._integers(near.rough),
            self._integers(near.kind),
            kernels.integers(self._classes + len(groups), self._backend, 1),
            kernels.integers(4 * self._classes, self._backend),
        )
        return np.array(counts, np.int64).reshape(table.shape)


def encode_runs(runs: NDArray[np.int64], backend: str = kernels.PYTHON) -> bytes:
    """The stream of `runs` (n, 2), gaps and lengths below 2**32."""
    work = _Work(coder.encoder(64 + 16 * len(runs), backend), 0, (0, 1), None, backend)
    work.runs(runs)
    return work.stream.finish()


def decode_runs(data: bytes, n: int, backend: str = kernels.PYTHON) -> NDArray[np.int64]:
    """`n` runs (n, 2) from their stream; CodecError for a damaged one."""
    work = _Work(coder.decoder(data, 160 * n, backend), 0, (0, 1), None, backend)
    runs = work.runs(np.zeros((n, 2), np.int64))
    work.stream.finish()
    return runs
