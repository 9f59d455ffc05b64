"""The buffers that a region's map is coded in, and the passes over them: membership, overlaps, names, numbers.

Within the coder municipalities are labels: numbered from 1 in the order in which they first appear as a cell's main
one, row by row, so that a new one is never named; 0 is nobody.
"""

from __future__ import annotations

from functools import cache

import numpy as np
from numpy.typing import NDArray

from flight import kernels
from flight.kernels.buffers import membership as member
from flight.kernels.buffers import names as listed
from flight.kernels.buffers import overlaps as over

from . import coder
from .coder import Coder
from .pack import MAX_NAME_BYTES

PAD = 9  # cells of nobody around a map: as far as kernels look
OVERLAPS = 4
Window = tuple[int, int, int, int]
Labels = NDArray[np.int32]
Counts = NDArray[np.uint8]
_MEMBER_WEIGHT, _SHARE_WEIGHT = 13107, 9830  # of each input at first: 0.2 and 0.15
_MOSTLY = 31 << 27 | 30  # an adaptive probability of 31/32 that has seen 30 decisions


class Map:
    """A padded map of labels, their shares, and which cells are to be coded."""

    def __init__(self, rows: int, cols: int, n_labels: int, backend: str) -> None:
        self.rows, self.cols, self.n_labels, self.backend = rows, cols, n_labels, backend
        self.stride = cols + 2 * PAD
        size = (rows + 2 * PAD) * self.stride
        self.labels = kernels.words(size, backend)
        self.bags = kernels.words(OVERLAPS * size, backend)
        self.shares = kernels.octets(OVERLAPS * size, backend)
        self.todo = kernels.octets(b"\1" * size, backend)
        self.allowed = kernels.octets(b"\1" * (n_labels + 1), backend)
        self.area = kernels.integers(n_labels + 1, backend)
        self.born = kernels.integers(n_labels + 1, backend)

    @property
    def size(self) -> int:
        """Cells of the map."""
        return self.rows * self.cols

    def inner(self, buffer: object, depth: int = 1) -> NDArray[np.integer]:
        """The part of `labels`, `todo`, `bags` or `shares` that is the map: (rows, cols) or (rows, cols, depth)."""
        shape = (self.rows + 2 * PAD, self.stride) + ((depth,) if depth > 1 else ())
        return kernels.view(buffer).reshape(shape)[PAD:-PAD, PAD:-PAD]

    def fill(self, bags: Labels, shares: Counts) -> None:
        """Take labels (rows x cols, 4) and counts (rows x cols, 4), the main label of each cell first."""
        self.inner(self.labels)[:] = bags[:, 0].reshape(self.rows, self.cols)
        self.inner(self.bags, OVERLAPS)[:] = bags.reshape(self.rows, self.cols, OVERLAPS)
        self.inner(self.shares, OVERLAPS)[:] = shares.reshape(self.rows, self.cols, OVERLAPS)

    def content(self) -> tuple[Labels, Counts]:
        """Labels and counts, (rows x cols, 4) each, in no order."""
        bags, shares = self.inner(self.bags, OVERLAPS), self.inner(self.shares, OVERLAPS)
        return bags.reshape(-1, OVERLAPS).astype(np.int32), shares.reshape(-1, OVERLAPS).astype(np.uint8)

    def count(self, rows: slice, changed: NDArray[np.bool_] | None = None) -> None:
        """Begin the sizes of labels anew, with the cells of some rows that are known, or of all but the `changed`."""
        labels = self.inner(self.labels)
        known = labels[rows] if changed is None else labels[rows][~changed[rows]]
        kernels.view(self.area)[:] = np.bincount(known.ravel(), minlength=self.n_labels + 1)
        born = kernels.view(self.born)
        born[:] = 0
        present, first = np.unique(labels, return_index=True)
        born[present] = first // self.cols


class MembershipPass:
    """The main label of each cell; what it has learned stays for the next window."""

    def __init__(self, backend: str) -> None:
        self.kernel = kernels.load("membership", backend).membership
        self.counts = coder.adaptive(member.N_SLOTS, backend)
        self.weights = coder.mixer(member.N_WEIGHT_SETS, member.N_CONTEXTS, backend, _MEMBER_WEIGHT)
        self.tables = coder.tables(backend)
        self.space = [
            kernels.integers(size, backend)
            for size in (member.N_CONTEXTS, member.N_SETS, member.N_CONTEXTS + 1 + member.N_SETS, 16, 16)
        ]
        self.backend = backend

    def begin(self, window: Window, seen: int, last: int, stride: int) -> None:
        """Go over a window (first row, end row, first column, end column) in which labels after `seen` may begin."""
        self.window = kernels.integers(window, self.backend)
        self.progress = kernels.integers([seen, last, window[0], window[2], stride, PAD], self.backend)

    def advance(self, stream: Coder, where: Map, goal: Map, n_cells: int) -> bool:
        """Code `n_cells` more; whether there are more."""
        return bool(
            self.kernel(
                stream.state, stream.buffer, where.labels, goal.labels, where.todo, where.allowed, where.area,
                where.born, self.progress, self.window, n_cells, self.counts, self.weights, self.tables, *self.space,
            )
        )  # fmt: skip


class OverlapPass:
    """What else each cell overlaps, and shares; what it has learned stays for the next window."""

    def __init__(self, backend: str) -> None:
        self.kernel = kernels.load("overlaps", backend).overlaps
        self.counts = coder.adaptive(over.N_SLOTS, backend)
        for slot in range(over.KEPT, over.KEPT + 9):
            self.counts[slot] = _MOSTLY
        self.weights = coder.mixer(over.N_WEIGHT_SETS, over.N_CONTEXTS, backend, _SHARE_WEIGHT)
        self.tables = coder.tables(backend)
        self.mirrored = kernels.integers(_symmetries(), backend)
        self.space = [
            kernels.integers(size, backend)
            for size in (
                *(over.N_CONTEXTS, over.N_SETS, over.N_CONTEXTS + 1 + over.N_SETS),
                *(over.MAX_CANDIDATES, over.MAX_CANDIDATES, 16),
            )
        ]
        self.backend = backend

    def begin(self, window: Window, levels: int, last: int, stride: int, patch: bool) -> None:
        """Go over a window (first row, end row, first column, end column)."""
        self.window = kernels.integers(window, self.backend)
        self.progress = kernels.integers([window[0], window[2], stride, PAD, levels, last, int(patch)], self.backend)

    def advance(self, stream: Coder, where: Map, goal: Map, n_cells: int) -> bool:
        """Code `n_cells` more; whether there are more."""
        return bool(
            self.kernel(
                stream.state, stream.buffer, where.labels, where.bags, where.shares, goal.bags, goal.shares,
                where.todo, where.allowed, self.progress, self.window, n_cells, self.counts, self.weights,
                self.tables, self.mirrored, *self.space,
            )
        )  # fmt: skip


class NamesPass:
    """A list of names, each ended by a zero, and the places of municipalities in it.

    `count` names are coded after those that are `known`; `names` are the ones to be encoded.
    """

    def __init__(self, count: int, names: bytes | None, backend: str, known: bytes = b"") -> None:
        self.kernels = kernels.load("names", backend)
        self.count = count
        self.known = known
        room = len(names) if names is not None else count * (MAX_NAME_BYTES + 1)
        self.text = kernels.octets(len(known) + room, backend)
        self.goal = kernels.octets(known + (names or b"") + b"\0", backend)
        self.counts = coder.adaptive(listed.N_SLOTS, backend)
        self.weights = coder.mixer(listed.N_WEIGHT_SETS, listed.N_CONTEXTS, backend)
        self.tables = coder.tables(backend)
        self.space = [
            kernels.integers(size, backend) for size in (listed.N_CONTEXTS, 1, listed.N_CONTEXTS + 1 + listed.N_SETS)
        ]
        self.progress = kernels.integers([0, 0, 0, known.count(0), MAX_NAME_BYTES], backend)
        self.backend = backend
        if known:
            self.advance(coder.learner(backend), len(known))
        self.progress[listed.LEFT] = count

    def advance(self, stream: Coder, n_bytes: int) -> bool:
        """Code `n_bytes` more; whether there are more."""
        return bool(
            self.kernels.names(
                stream.state, stream.buffer, self.text, self.goal, self.progress, n_bytes, self.counts,
                self.weights, self.tables, *self.space,
            )
        )  # fmt: skip

    def found(self) -> bytes:
        """The names that were decoded."""
        return kernels.view(self.text)[len(self.known) : self.progress[listed.AT]].tobytes()

    def order(self, stream: Coder, places: NDArray[np.int64], hints: NDArray[np.int64]) -> NDArray[np.int64]:
        """Code `places` (n,), a permutation of 0 to n - 1, with the help of earlier ones at `hints` (n or fewer,)."""
        n = len(places)
        in_place = np.arange(n)
        plain = kernels.load("coding", self.backend)
        if plain.code_even(stream.state, stream.buffer, 1, int((places == in_place).all())):
            return in_place
        found = kernels.integers(n, self.backend)
        at = kernels.integers([*hints.tolist(), *range(len(hints) - 1, n - 1)], self.backend)
        goal = kernels.integers(places.tolist(), self.backend)
        bits = max(n - 1, 1).bit_length()
        self.kernels.numbers(stream.state, stream.buffer, found, goal, at, 0, n, bits, self.counts)
        return kernels.view(found).copy()


@cache
def _symmetries() -> list[int]:
    """What each mask of neighbours (see `flight.kernels.overlaps.mask_of`) becomes in each symmetry of the square."""
    at = [(0, -1), (-1, 0), (0, 1), (1, 0), (-1, -1), (-1, 1), (1, -1), (1, 1)]
    place = {cell: k for k, cell in enumerate(at)}
    moves = []
    for turn in range(8):
        move = []
        for dy, dx in at:
            y, x = (dx, dy) if turn & 1 else (dy, dx)  # the second symmetry mirrors at the diagonal
            y, x = -y if turn & 2 else y, -x if turn & 4 else x
            move.append(place[y, x])
        moves.append(move)
    return [sum((mask >> k & 1) << move[k] for k in range(8)) for move in moves for mask in range(256)]
