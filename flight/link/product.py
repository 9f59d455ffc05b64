"""The product: predicted class proportions of chips, as they come down.

Cells travel as runs of consecutive ones, in grid order; proportions as counts. A chip takes a few bytes.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from flight.config import LinkConfig

from . import pack as wire
from .counts import MAX_LEVELS, MIN_LEVELS, dequantise, quantise, read_counts, write_counts
from .pack import CodecError

DIGEST_BYTES = 8
MAX_CHIPS = 65536


@dataclass(frozen=True, eq=False)
class Product:
    """Predictions of one model for some chips of a region.

    Attributes:
        region_id, task_id, label_version: unsigned 32-bit integers: what the model was trained for.
        model_digest: 8 bytes that name the weights.
        levels: counts that a row is rounded to, 2 to 255.
        cells: int32 (n_chips,), grid row x columns + column, strictly ascending; 1 to 65,536 chips.
        proportions: float32 (n_chips, n_classes).
    """

    region_id: int
    task_id: int
    label_version: int
    model_digest: bytes
    levels: int
    cells: NDArray[np.int32]
    proportions: NDArray[np.float32]

    def __post_init__(self) -> None:
        if len(self.model_digest) != DIGEST_BYTES:
            raise CodecError(f"product: the model digest has {len(self.model_digest)} bytes, expected {DIGEST_BYTES}")
        if self.cells.ndim != 1 or not 1 <= len(self.cells) <= MAX_CHIPS:
            raise CodecError(f"product: cells have shape {self.cells.shape}, expected (1 to {MAX_CHIPS},)")
        if self.proportions.shape[:1] != self.cells.shape or self.proportions.ndim != 2 or self.n_classes < 2:
            raise CodecError(
                f"product: proportions have shape {self.proportions.shape}, expected ({len(self.cells)}, 2 or more)"
            )
        if self.cells[0] < 0 or (np.diff(self.cells) <= 0).any():
            raise CodecError("product: cells must be strictly ascending and not negative")

    @property
    def n_classes(self) -> int:
        """Number of classes."""
        return int(self.proportions.shape[1])

    def quantised(self) -> Product:
        """This product as the ground will have it."""
        return replace(self, proportions=dequantise(quantise(self.proportions, self.levels), self.levels))


def pack(product: Product) -> bytes:
    """The product as a file; CodecError if a row is not a set of proportions."""
    counts = quantise(product.proportions, product.levels)
    fields = _fields(product)
    breaks = np.flatnonzero(np.diff(product.cells) > 1) + 1
    first = product.cells[np.r_[0, breaks]].astype(np.int64)
    length = np.diff(np.r_[0, breaks, len(product.cells)])
    gap = np.diff(first, prepend=0) - np.r_[0, length[:-1]]
    out = wire.Writer(wire.PRODUCT)
    out.integer(*fields, len(first))
    out.raw(product.model_digest)
    out.block(np.stack([gap, length]).astype("<u4").view(np.uint8).reshape(2, -1, 4).transpose(0, 2, 1).tobytes())
    table = write_counts(out, counts)
    return out.finish(wire.crc(fields, product.model_digest, product.cells.astype("<i4").tobytes(), table))


def unpack(data: bytes, config: LinkConfig) -> Product:
    """The product in a file that the link brought; CodecError for anything else, or for more than `config` allows."""
    reader = wire.Reader(wire.PRODUCT, data)
    region_id, task_id, version = (reader.integer(f"{name} id") for name in ("region", "task", "label version"))
    levels = reader.integer("levels", MIN_LEVELS, MAX_LEVELS)
    chips = reader.integer("the number of chips", 1, min(MAX_CHIPS, config.max_region_chips))
    classes = reader.integer("the number of classes", 2, config.max_classes)
    runs = reader.integer("the number of runs", 1, chips)
    digest = reader.raw("the model digest", DIGEST_BYTES)
    cells = _cells(reader, runs, chips, config.max_region_chips)
    counts = read_counts(reader, chips, classes, levels)
    product = Product(region_id, task_id, version, digest, levels, cells, dequantise(counts, levels))
    reader.finish(wire.crc(_fields(product), digest, cells.astype("<i4").tobytes(), counts.tobytes()))
    return product


def _fields(product: Product) -> tuple[int, ...]:
    ids = (product.region_id, product.task_id, product.label_version)
    return (*ids, product.levels, len(product.cells), product.n_classes)


def _cells(reader: wire.Reader, runs: int, chips: int, n_cells: int) -> NDArray[np.int32]:
    """Cells (chips,) from runs, each a gap to the end of the run before and a length, sent as planes of bytes."""
    planes = np.frombuffer(reader.block("the runs", runs * 8), np.uint8).reshape(2, 4, runs)
    gap, length = np.ascontiguousarray(planes.transpose(0, 2, 1)).view("<u4")[..., 0].astype(np.int64)
    if (length < 1).any() or int(length.sum()) != chips or (gap[1:] < 1).any():
        raise reader.error(f"runs of {int(length.sum())} chips do not make {chips}")
    end = np.cumsum(gap + length)
    if end[-1] > n_cells:
        raise reader.error(f"cell {int(end[-1]) - 1} lies outside every grid of {n_cells} cells")
    ordinal = np.arange(chips) - np.repeat(np.cumsum(length) - length, length)
    cells: NDArray[np.int64] = np.repeat(end - length, length) + ordinal
    return cells.astype(np.int32)
