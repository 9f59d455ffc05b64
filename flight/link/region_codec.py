"""A whole region as a file: a short header, then one stream of the range coder.

    envelope          6 bytes, see `flight.link.pack`; the CRC-32 is that of the decoded region (`Region.digest`)
    header            LEB128 integers: region id, rows, columns, municipalities, those that are the main one of a cell,
                      levels
    stream            each cell's main municipality, in raster order; what else it overlaps; the place of each
                      municipality in `codes`, unless they already are in the order in which they first appear; codes

The stream is decoded in slices, so that a satellite that has other things to do can take its time: about 0.1 ms a cell
in plain Python.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache

import numpy as np
from numpy.typing import NDArray

from flight import kernels
from flight.config import LinkConfig

from . import coder
from . import pack as wire
from .region import DEFAULT_LEVELS, MAX_LEVELS, MAX_SIDE, MIN_LEVELS, NOBODY, Region, in_order, weights_of
from .region_model import Map, MembershipPass, NamesPass, OverlapPass

DECISIONS_PER_CELL = 400  # more than any cell can need
_SLACK_BYTES = 4096


@dataclass(frozen=True)
class Packed:
    """A region as a file, and how many of its bytes say what."""

    data: bytes
    header_bytes: int
    membership_bytes: int
    overlap_bytes: int
    code_bytes: int


def pack(region: Region, levels: int = DEFAULT_LEVELS, backend: str | None = None) -> bytes:
    """The region as a file, its shares rounded to `levels` counts; CodecError if it cannot be one."""
    return pack_parts(region, levels, backend).data


def pack_parts(region: Region, levels: int = DEFAULT_LEVELS, backend: str | None = None) -> Packed:
    """`pack`, with the bytes of each part. `backend` of the kernels: the faster one for so large a map by default."""
    backend = backend or kernels.faster(region.rows * region.cols)
    sent = region.quantised(levels)
    names = wire.join_names(region.codes, "code")
    bags, counts = sent.counted(levels)
    bags = settle_ties(bags, counts, region.cols)
    order, n_main = first_appearance(bags, len(region.codes))
    label_of = np.zeros(len(order) + 1, np.int32)
    label_of[order] = np.arange(1, len(order) + 1)
    goal = Map(region.rows, region.cols, len(order), backend)
    goal.fill(label_of[bags], counts)

    out = wire.Writer(wire.REGION, wire.RANGE)
    out.integer(region.region_id, region.rows, region.cols, len(order), n_main, levels)
    stream = coder.encoder(10 * region.rows * region.cols + 2 * len(names) + _SLACK_BYTES, backend)
    at = [0]
    where = Map(region.rows, region.cols, len(order), backend)
    for stage in _stages(stream, where, goal, n_main, levels):
        stage(goal.size)
        at.append(-(-stream.bits // 8))
    listed = NamesPass(len(order), names, backend)
    listed.order(stream, order, hints(label_of[bags[:, 0]].reshape(region.rows, -1), n_main))
    listed.advance(stream, len(names))
    body = stream.finish()
    out.raw(body)
    data = out.finish(sent.digest)
    return Packed(data, len(data) - len(body), at[1], at[2] - at[1], len(body) - at[2])


def unpack(data: bytes, config: LinkConfig, backend: str | None = None) -> Region:
    """The region in a file; CodecError for anything else, or for more than `config` allows."""
    decoder = Decoder(data, config, backend)
    while decoder.advance(1 << 20):
        pass
    return decoder.region


class Decoder:
    """The region in a file that the link brought, a slice at a time.

    CodecError, from the start or from a slice, for anything but a region, or for more than `config` allows. `backend`
    of the kernels: the faster one for so large a map by default.

    Attributes:
        cells: how many cells there are to decode, in both passes.
        region: what was decoded, once `advance` has returned False.
    """

    region: Region

    def __init__(self, data: bytes, config: LinkConfig, backend: str | None = None) -> None:
        self._reader = reader = wire.Reader(wire.REGION, data, (wire.RANGE,))
        self._region_id = reader.integer("region id")
        self._rows = reader.integer("rows", 1, min(MAX_SIDE, config.max_region_chips))
        self._cols = reader.integer("columns", 1, min(MAX_SIDE, config.max_region_chips // self._rows))
        n = reader.integer("the number of municipalities", 1, config.max_municipalities)
        self._n_main = reader.integer("the number of main municipalities", 0, n)
        self._levels = reader.integer("levels", MIN_LEVELS, MAX_LEVELS)
        self.cells = 2 * self._rows * self._cols
        backend = backend or kernels.faster(self.cells)
        decisions = DECISIONS_PER_CELL * self._rows * self._cols + n * (8 * (wire.MAX_NAME_BYTES + 1) + 64)
        self._stream = coder.decoder(reader.rest(), decisions, backend)
        self._map = Map(self._rows, self._cols, n, backend)
        self._names = NamesPass(n, None, backend)
        self._order = np.arange(n)
        stages = _stages(self._stream, self._map, self._map, self._n_main, self._levels)
        self._stages = [*stages, self._take_order, self._take_names]

    def advance(self, n_cells: int) -> bool:
        """Decode `n_cells` more; whether there are more."""
        if not self._stages:
            return False
        if not self._stages[0](n_cells):
            self._stream.check()
            del self._stages[0]
        if not self._stages:
            self._finish()
        return bool(self._stages)

    def _take_order(self, _: int) -> bool:
        where = hints(self._map.inner(self._map.labels), self._n_main)
        self._order = self._names.order(self._stream, self._order, where)
        return False

    def _take_names(self, n_cells: int) -> bool:
        return self._names.advance(self._stream, n_cells)

    def _finish(self) -> None:
        self._stream.finish()
        n = len(self._order)
        if (np.sort(self._order) != np.arange(n)).any():
            raise self._reader.error("two municipalities have the same place")
        codes = wire.split_names(self._names.found(), n, "code")
        bags, counts = self._map.content()
        bags, counts = in_order(np.concatenate([[NOBODY], self._order]).astype(np.int32)[bags], counts)
        found = Region(self._region_id, self._rows, self._cols, codes, bags, weights_of(bags, counts))
        self._reader.finish(found.digest)
        self.region = found


def _stages(stream: coder.Coder, where: Map, goal: Map, n_main: int, levels: int) -> list[Callable[[int], bool]]:
    """The passes over a map, each called with a number of cells until it says that there are no more.

    The second, as large as the first, is made when that is over.
    """
    window = (0, where.rows, 0, where.cols)
    member = MembershipPass(where.backend)
    member.begin(window, 0, n_main, where.stride)

    @cache
    def over() -> OverlapPass:
        made = OverlapPass(where.backend)
        made.begin(window, levels, where.n_labels, where.stride, patch=False)
        return made

    return [
        lambda n_cells: member.advance(stream, where, goal, n_cells),
        lambda n_cells: over().advance(stream, where, goal, n_cells),
    ]


def settle_ties(bags: NDArray[np.int32], counts: NDArray[np.uint8], cols: int) -> NDArray[np.int32]:
    """`bags` (n, 4) with, of equal largest shares, that one first which the cells around have: it costs least."""
    tied = np.flatnonzero((counts[:, 0] == counts[:, 1]) & (counts[:, 0] > 0))
    bags = bags.copy()
    main = np.pad(bags[:, 0].reshape(-1, cols), 1, constant_values=NOBODY).ravel()
    stride = cols + 2
    undecided = np.zeros(len(main), bool)
    at = (tied // cols + 1) * stride + tied % cols + 1
    undecided[at] = True
    around = (
        (-1, 8),
        (-stride, 8),
        (-stride - 1, 3),
        (-stride + 1, 3),
        (1, 6),
        (stride, 6),
        (stride - 1, 2),
        (stride + 1, 2),
    )
    for cell, here in zip(tied.tolist(), at.tolist(), strict=True):
        equal = int((counts[cell] == counts[cell, 0]).sum())
        labels = bags[cell, :equal].tolist()
        votes = [
            sum(weight for step, weight in around if main[here + step] == label and not undecided[here + step])
            for label in labels
        ]
        best = votes.index(max(votes))
        bags[cell, 0], bags[cell, best] = labels[best], labels[0]
        main[here] = labels[best]
        undecided[here] = False
    return bags


def first_appearance(bags: NDArray[np.int32], n: int) -> tuple[NDArray[np.int64], int]:
    """Municipalities in the order in which they first are a cell's main one, then the others; how many the former."""
    main, first = np.unique(bags[:, 0], return_index=True)
    seen = main[np.argsort(first)]
    seen = seen[seen >= 0]
    rest = np.setdiff1d(np.arange(n), seen)
    return np.concatenate([seen, rest]).astype(np.int64), len(seen)


def hints(labels: NDArray[np.integer], n_main: int) -> NDArray[np.int64]:
    """For each label but the last ones, one that was there before it, beside its first cell; from 0, -1 for none."""
    flat = labels.ravel()
    present, first = np.unique(flat, return_index=True)
    padded = np.pad(labels, ((1, 0), (1, 0)))
    row, col = np.divmod(first, labels.shape[1])
    left, above = padded[row + 1, col], padded[row, col + 1]
    beside = np.where(left > 0, left, above).astype(np.int64)
    hint = np.arange(-1, n_main - 1)
    known = (present > 0) & (beside > 0) & (beside < present)
    hint[present[known] - 1] = beside[known] - 1
    return hint
