"""The product: predicted class proportions of chips, as they come down.

Cells travel as runs of consecutive ones, in grid order; proportions as counts, each chip's predicted from the chips
around it (`flight.link.composition`). A *quick-look* holds means over blocks of chips: it shows a whole region in
about 1/64 of the bytes, before the chips themselves come.

After the envelope (`flight.link.pack`) come, as integers unless they are said to be bytes: region, task and label
version id, levels, side of a block, columns of the grid, cells, classes, runs; 8 bytes of the model's digest; the
length of the runs' stream, and its bytes; to the end, the stream of counts.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from flight import kernels
from flight.config import LinkConfig

from . import composition
from . import pack as wire
from .counts import MAX_LEVELS, MIN_LEVELS, dequantise, quantise
from .layout import Places, places_in_order, places_of_cells
from .pack import CodecError

DIGEST_BYTES = 8
MAX_CHIPS = 65536
MAX_BLOCK = 64


@dataclass(frozen=True, eq=False)
class Product:
    """Predictions of one model for some chips of a region.

    Attributes:
        region_id, task_id, label_version: unsigned 32-bit integers: what the model was trained for.
        model_digest: 8 bytes that name the weights.
        levels: counts that a row is rounded to, 2 to 255.
        cells: int32 (n_chips,), grid row x columns + column, strictly ascending; 1 to 65,536 chips.
        proportions: float32 (n_chips, n_classes).
        cols: columns of the grid, or 0 if they are not known: then a chip is predicted from those before it.
        block: chips along the side of a cell: 1, or more in a quick-look, whose grid is that of blocks.
    """

    region_id: int
    task_id: int
    label_version: int
    model_digest: bytes
    levels: int
    cells: NDArray[np.int32]
    proportions: NDArray[np.float32]
    cols: int = 0
    block: int = 1

    def __post_init__(self) -> None:
        if len(self.model_digest) != DIGEST_BYTES:
            raise CodecError(f"product: the model digest has {len(self.model_digest)} bytes, expected {DIGEST_BYTES}")
        if self.cells.ndim != 1 or not 1 <= len(self.cells) <= MAX_CHIPS:
            raise CodecError(f"product: cells have shape {self.cells.shape}, expected (1 to {MAX_CHIPS},)")
        if self.proportions.shape[:1] != self.cells.shape or self.proportions.ndim != 2 or self.n_classes < 2:
            raise CodecError(
                f"product: proportions have shape {self.proportions.shape}, expected ({len(self.cells)}, 2 or more)"
            )
        if not 1 <= self.block <= MAX_BLOCK or self.cols < 0:
            raise CodecError(f"product: blocks of {self.block} in {self.cols} columns; 1 to {MAX_BLOCK}, 0 or more")
        if self.cells[0] < 0 or (np.diff(self.cells) <= 0).any():
            raise CodecError("product: cells must be strictly ascending and not negative")

    @property
    def n_classes(self) -> int:
        """Number of classes."""
        return int(self.proportions.shape[1])

    def quantised(self) -> Product:
        """This product as the ground will have it."""
        return replace(self, proportions=dequantise(quantise(self.proportions, self.levels), self.levels))


def quick_look(product: Product, block: int) -> Product:
    """Means of a product of chips over blocks of `block` x `block` cells; its columns must be known."""
    if product.block != 1 or not product.cols:
        raise CodecError("product: a quick-look is made of chips in a grid whose columns are known")
    sums = BlockSums(block, product.cols)
    sums.add(product.cells, product.proportions)
    cells, proportions = sums.means()
    return replace(product, cells=cells, proportions=proportions, cols=sums.cols, block=block)


class BlockSums:
    """Sums of proportions over blocks of `block` x `block` cells of a grid of `grid_cols` columns, chip by chip."""

    def __init__(self, block: int, grid_cols: int) -> None:
        self.block = block
        self.cols = -(-grid_cols // block)
        self.chips = 0
        self._grid_cols = grid_cols
        self._sums: dict[int, NDArray[np.float64]] = {}

    def add(self, cells: NDArray[np.integer], proportions: NDArray[np.floating]) -> None:
        """Take in proportions (n, n_classes) of cells (n,)."""
        row, col = np.divmod(cells.astype(np.int64), self._grid_cols)
        blocks, index = np.unique(row // self.block * self.cols + col // self.block, return_inverse=True)
        sums = np.zeros((len(blocks), proportions.shape[1]))
        np.add.at(sums, index, proportions)
        for block, total in zip(blocks.tolist(), sums, strict=True):
            self._sums[block] = self._sums.get(block, 0.0) + total
        self.chips += len(cells)

    def means(self) -> tuple[NDArray[np.int32], NDArray[np.float32]]:
        """Blocks (n,) in ascending order that have a chip, and the mean proportions (n, n_classes) of their chips."""
        blocks = sorted(self._sums)
        table = np.array([self._sums[block] for block in blocks])
        return np.array(blocks, np.int32), (table / table.sum(1, keepdims=True)).astype(np.float32)


def pack(product: Product, backend: str = kernels.PYTHON) -> bytes:
    """The product as a file; CodecError if a row is not a set of proportions."""
    counts = quantise(product.proportions, product.levels)
    breaks = np.flatnonzero(np.diff(product.cells) > 1) + 1
    first = product.cells[np.r_[0, breaks]].astype(np.int64)
    length = np.diff(np.r_[0, breaks, len(product.cells)])
    gap = np.diff(first, prepend=0) - np.r_[0, length[:-1]]
    runs = composition.encode_runs(np.stack([gap, length], axis=1), backend)
    out = wire.Writer(wire.PRODUCT, wire.RANGE)
    out.integer(*_fields(product), len(first))
    out.raw(product.model_digest)
    out.integer(len(runs))
    out.raw(runs)
    every = np.ones(len(counts), bool)
    out.raw(composition.encode(counts, every, product.levels, _places(product.cells, product.cols), backend=backend))
    return out.finish(_crc(product, counts))


def unpack(data: bytes, config: LinkConfig, backend: str = kernels.PYTHON) -> Product:
    """The product in a file that the link brought; CodecError for anything else, or for more than `config` allows."""
    reader = wire.Reader(wire.PRODUCT, data, (wire.RANGE,))
    region_id, task_id, version = (reader.integer(f"{name} id") for name in ("region", "task", "label version"))
    levels = reader.integer("levels", MIN_LEVELS, MAX_LEVELS)
    block = reader.integer("the side of a block", 1, MAX_BLOCK)
    cols = reader.integer("the columns of the grid", 0, config.max_region_chips)
    chips = reader.integer("the number of chips", 1, min(MAX_CHIPS, config.max_region_chips))
    classes = reader.integer("the number of classes", 2, config.max_classes)
    runs = reader.integer("the number of runs", 1, chips)
    digest = reader.raw("the model digest", DIGEST_BYTES)
    size = reader.integer("the length of the runs", 0, 16 * runs + 64)
    stream = reader.raw("the runs", size)
    cells = _cells(
        reader, reader.decoded(composition.decode_runs, stream, runs, backend), chips, config.max_region_chips
    )
    shape, places = (chips, classes), _places(cells, cols)
    counts, present = reader.decoded(composition.decode, reader.rest(), shape, levels, places, None, backend)
    if not present.all():
        raise reader.error(f"chip {int(np.argmin(present))} has no proportions")
    proportions = dequantise(counts, levels)
    product = Product(region_id, task_id, version, digest, levels, cells, proportions, cols, block)
    reader.finish(_crc(product, counts))
    return product


def _fields(product: Product) -> tuple[int, ...]:
    ids = (product.region_id, product.task_id, product.label_version)
    return (*ids, product.levels, product.block, product.cols, len(product.cells), product.n_classes)


def _crc(product: Product, counts: NDArray[np.uint8]) -> int:
    return wire.crc(_fields(product), product.model_digest, product.cells.astype("<i4").tobytes(), counts.tobytes())


def _places(cells: NDArray[np.int32], cols: int) -> Places:
    return places_of_cells(cells, cols) if cols else places_in_order(len(cells))


def _cells(reader: wire.Reader, runs: NDArray[np.int64], chips: int, n_cells: int) -> NDArray[np.int32]:
    """Cells (chips,) from runs (n, 2), each a gap to the end of the run before and a length."""
    gap, length = runs[:, 0], runs[:, 1]
    if (length < 1).any() or int(length.sum()) != chips or (gap[1:] < 1).any():
        raise reader.error(f"runs of {int(length.sum())} chips do not make {chips}")
    end = np.cumsum(gap + length)
    if end[-1] > n_cells:
        raise reader.error(f"cell {int(end[-1]) - 1} lies outside every grid of {n_cells} cells")
    ordinal = np.arange(chips) - np.repeat(np.cumsum(length) - length, length)
    cells: NDArray[np.int64] = np.repeat(end - length, length) + ordinal
    return cells.astype(np.int32)
