"""A change to a region that is on board, as a patch: municipalities added, split or merged, a border moved.

    envelope          6 bytes, see `flight.link.pack`; the CRC-32 is that of the region that results (`Region.digest`)
    base              2 bytes: the lower half of the base's digest, which names the version that is changed
    stream            levels; number of new municipalities; the affected labels; whether there is a box, and where;
                      then the cells of the box, or of the whole map, that have an affected label, or lie beside
                      nobody's if that is affected: main municipality, then shares; codes of the new municipalities

Labels are indices plus 1, and 0 is nobody. Municipalities keep their index, also one that has no cell any more, and new
ones come after the last. Cells are coded as `flight.link.region_codec` does it, by a model that has first learned from
the map around them, which both sides have.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from flight import kernels
from flight.config import LinkConfig

from . import coder
from . import pack as wire
from .pack import CodecError
from .region import DEFAULT_LEVELS, NOBODY, Region, in_order, weights_of
from .region_codec import DECISIONS_PER_CELL
from .region_model import Map, MembershipPass, NamesPass, OverlapPass
from .region_scope import LEARNED, Scope, area_of, around, bounds_of, cells_of, code_scope, scopes

_BASE_BYTES = 2
_SLACK_BYTES = 4096
_NAMES_LEARNED = 200  # codes of the base that the model of new ones learns from


class BaseError(CodecError):
    """A patch of another region than the one that is here."""


def is_patch(data: bytes) -> bool:
    """Whether a region file holds a patch."""
    return data[:1] == wire.REGION and data[1:2] == bytes([wire.PATCH])


def follow(base: Region, new: Region) -> Region:
    """`new` with the municipalities of `base` at the indices that they have there, and further ones behind them.

    Municipalities are the same if their codes are. Further ones come in the order in which they first are a cell's main
    one. CodecError unless both are of the same grid.
    """
    if (base.rows, base.cols, base.region_id) != (new.rows, new.cols, new.region_id):
        raise CodecError(
            f"region {new.region_id} of {new.rows} x {new.cols} cells is no change of "
            f"region {base.region_id} of {base.rows} x {base.cols}"
        )
    index = {code: i for i, code in enumerate(base.codes)}
    main, first = np.unique(new.bags[:, 0], return_index=True)
    seen = [*main[np.argsort(first)].tolist(), *range(len(new.codes))]
    for code in (new.codes[i] for i in seen if i >= 0):
        index.setdefault(code, len(index))
    place = np.array([*(index[code] for code in new.codes), NOBODY], np.int32)
    return replace(new, codes=tuple(index), bags=place[new.bags])


@dataclass(frozen=True)
class PackedPatch:
    """A patch as a file, and how many of its bytes hold the codes of new municipalities."""

    data: bytes
    code_bytes: int


def pack_patch(base: Region, new: Region, levels: int = DEFAULT_LEVELS, backend: str | None = None) -> bytes:
    """The change from `base` to `new` as a file, both as they are with shares in `levels` counts.

    `new` keeps the codes of `base` and may append further ones: see `follow`. CodecError if it does not, or if nothing
    has changed.
    """
    return pack_patch_parts(base, new, levels, backend).data


def pack_patch_parts(
    base: Region, new: Region, levels: int = DEFAULT_LEVELS, backend: str | None = None
) -> PackedPatch:
    """`pack_patch`, with the bytes of the codes."""
    base, new = base.quantised(levels), new.quantised(levels)
    if new.codes[: len(base.codes)] != base.codes or (base.rows, base.cols) != (new.rows, new.cols):
        raise CodecError("the new region is not one that follows its base: other codes, or another grid")
    backend = backend or kernels.faster(LEARNED)
    tried = (_pack(base, new, scope, backend) for scope in scopes(base, new, levels))
    return min(tried, key=lambda packed: len(packed.data))


def _pack(base: Region, new: Region, scope: Scope, backend: str) -> PackedPatch:
    out = wire.Writer(wire.REGION, wire.PATCH)
    out.raw((base.digest & 0xFFFF).to_bytes(_BASE_BYTES, "big"))
    codes = new.codes[len(base.codes) :]
    names = wire.join_names(codes, "code") if codes else b""
    stream = coder.encoder(10 * base.rows * base.cols + 2 * len(names) + _SLACK_BYTES, backend)
    n_labels = len(new.codes)
    old_bags, old_counts = base.counted(scope.levels)
    bags, counts = new.counted(scope.levels)
    bags = _settled(old_bags + np.int32(1), bags + np.int32(1), counts, len(base.codes))
    where = _padded(old_bags + np.int32(1), old_counts, base, n_labels, backend)
    goal = _padded(bags, counts, base, n_labels, backend)
    listed = NamesPass(len(codes), names, backend, _last_names(base))
    code_scope(stream, base, scope, scope.n_new)
    before_codes = 0
    for stage in _stages(stream, where, goal, base, scope, listed):
        before_codes = stream.bits
        while stage(1 << 20):
            pass
    code_bytes = round((stream.bits - before_codes) / 8)
    out.raw(stream.finish())
    return PackedPatch(out.finish(new.digest), code_bytes)


class PatchDecoder:
    """The region that a patch makes of `base`, a slice at a time; as `flight.link.region_codec.Decoder`.

    BaseError if it is a patch of another region than `base`, or there is none.
    """

    region: Region

    def __init__(self, data: bytes, base: Region | None, config: LinkConfig, backend: str | None = None) -> None:
        self._reader = reader = wire.Reader(wire.REGION, data, (wire.PATCH,))
        named = int.from_bytes(reader.raw("the base", _BASE_BYTES), "big")
        if base is None or base.digest & 0xFFFF != named:
            found = "none" if base is None else f"{base.digest & 0xFFFF:04x}"
            raise BaseError(f"region: a patch of version {named:04x}, on board is {found}")
        self._base = base
        backend = backend or kernels.faster(LEARNED)
        size = base.rows * base.cols
        room = config.max_municipalities - len(base.codes)
        decisions = DECISIONS_PER_CELL * size + 64 * len(base.codes) + room * 8 * (wire.MAX_NAME_BYTES + 1)
        self._stream = coder.decoder(reader.rest(), decisions, backend)
        self._scope = scope = code_scope(self._stream, base, None, room)
        bags, counts = base.counted(scope.levels)
        self._map = _padded(bags + np.int32(1), counts, base, len(base.codes) + scope.n_new, backend)
        self._names = NamesPass(scope.n_new, None, backend, _last_names(base))
        self._stages = _stages(self._stream, self._map, self._map, base, scope, self._names)
        self._stage = next(self._stages)
        window = bounds_of(cells_of(base, scope.affected, scope.box))
        self.cells = 2 * (area_of(window) + area_of(around(window, base)))

    def advance(self, n_cells: int) -> bool:
        """Decode `n_cells` more; whether there are more."""
        if self._stage(n_cells):
            return True
        self._stream.check()
        following = next(self._stages, None)
        if following is None:
            self._finish()
            return False
        self._stage = following
        return True

    def _finish(self) -> None:
        self._stream.finish()
        base = self._base
        added = wire.split_names(self._names.found(), self._scope.n_new, "code")
        codes = base.codes + added
        wire.join_names(codes, "code")
        bags, counts = self._map.content()
        bags, counts = in_order((bags - 1).astype(np.int32), counts)
        found = Region(base.region_id, base.rows, base.cols, codes, bags, weights_of(bags, counts))
        self._reader.finish(found.digest)
        self.region = found


def only_adds(base: Region, new: Region) -> bool:
    """Whether `new` only has further municipalities, beside those of `base`: whose cells may lose shares to them.

    In each cell that had an owner, the largest of the shares of old municipalities still belongs to the same one.
    """
    old = np.where(new.bags < len(base.codes), new.weights, 0)
    old[new.bags < 0] = 0
    best = np.take_along_axis(new.bags, old.argmax(1)[:, None], axis=1)[:, 0]
    owned = base.bags[:, 0] >= 0
    return bool(((best == base.bags[:, 0]) & (old.max(1) > 0))[owned].all())


def _last_names(base: Region) -> bytes:
    """Codes of which those of new municipalities are likely to be a continuation."""
    return wire.join_names(base.codes[-_NAMES_LEARNED:], "code")


def _settled(
    base: NDArray[np.int32], bags: NDArray[np.int32], counts: NDArray[np.uint8], n_old: int
) -> NDArray[np.int32]:
    """`bags` (n, 4) with, of equal largest shares, first that which was so before, or else that of a new label."""
    largest = counts == counts[:, :1]
    wanted = np.where(bags == base[:, :1], 2, np.where(bags > n_old, 1, 0))
    best = np.where(largest, wanted, -1).argmax(1)
    bags, cell = bags.copy(), np.arange(len(bags))
    bags[cell, 0], bags[cell, best] = bags[cell, best], bags[cell, 0]
    return bags


def _padded(bags: NDArray[np.int32], counts: NDArray[np.uint8], like: Region, n_labels: int, backend: str) -> Map:
    filled = Map(like.rows, like.cols, n_labels, backend)
    filled.fill(bags, counts)
    return filled


def _stages(
    stream: coder.Coder, where: Map, goal: Map, base: Region, scope: Scope, listed: NamesPass
) -> Iterator[Callable[[int], bool]]:
    """Learn from the surroundings, then code what changes; each stage is called until it says that there is no more."""
    changing = cells_of(base, scope.affected, scope.box)
    window = bounds_of(changing)
    near = around(window, base)
    n_old = len(base.codes)
    known = coder.learner(where.backend)
    before = Map(where.rows, where.cols, where.n_labels, where.backend)
    before.inner(before.labels)[:] = where.inner(where.labels)

    member, over = MembershipPass(where.backend), OverlapPass(where.backend)
    where.count(slice(0, near[0]))
    member.begin(near, 0, n_old, where.stride)
    yield lambda n_cells: member.advance(known, where, before, n_cells)
    before.fill(*where.content())
    over.begin(near, scope.levels, n_old, where.stride, patch=False)
    yield lambda n_cells: over.advance(known, where, before, n_cells)

    where.count(slice(None), changing)
    where.inner(where.todo)[:] = changing
    allowed = kernels.view(where.allowed)
    allowed[: n_old + 1] = 0
    allowed[list(scope.affected)] = 1
    member.begin(window, n_old, n_old + scope.n_new, where.stride)
    yield lambda n_cells: member.advance(stream, where, goal, n_cells)
    over.begin(window, scope.levels, n_old + scope.n_new, where.stride, patch=True)
    yield lambda n_cells: over.advance(stream, where, goal, n_cells)
    yield lambda n_bytes: listed.advance(stream, n_bytes)
