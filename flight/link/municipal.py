"""The municipal product: predicted class proportions of municipalities, a few bytes each.

A municipality's row is the mean of its chips' predictions, weighted by each chip's share in it, and comes as counts,
predicted from the municipalities around it along the region's map (`flight.link.composition`), as label tables are.
Beside it comes *coverage*: the share of its chips' area that was imaged and predicted, in 16ths.

After the envelope (`flight.link.pack`) come, as integers unless they are said to be bytes: region, task and label
version id, levels, municipalities, classes; 2 bytes that name the map; 8 bytes of the model's digest; the length of the
stream of counts, and its bytes; to the end, the stream of coverage.
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
from .label_header import CHECK_BYTES
from .layout import MapOrder
from .pack import CodecError
from .product import DIGEST_BYTES
from .region import FULL, Region

COVERAGE_LEVELS = 16


@dataclass(frozen=True, eq=False)
class MunicipalProduct:
    """Predictions of one model for municipalities of a region.

    Attributes:
        region_id, task_id, label_version: unsigned 32-bit integers: what the model was trained for.
        model_digest: 8 bytes that name the weights.
        levels: counts that a row is rounded to, 2 to 255; no proportion moves by 1/levels or more.
        proportions: float32 (n_municipalities, n_classes), in the order of the region's codes; a NaN row is left out.
        coverage: float32 (n_municipalities,), share of the area that is predicted, 0 to 1; 0 in rows left out.
    """

    region_id: int
    task_id: int
    label_version: int
    model_digest: bytes
    levels: int
    proportions: NDArray[np.float32]
    coverage: NDArray[np.float32]

    def __post_init__(self) -> None:
        shape = self.proportions.shape
        if len(self.model_digest) != DIGEST_BYTES:
            raise CodecError(
                f"municipal product: the model digest has {len(self.model_digest)} bytes, expected {DIGEST_BYTES}"
            )
        if len(shape) != 2 or not shape[0] or shape[1] < 2 or self.coverage.shape != shape[:1]:
            raise CodecError(
                f"municipal product: proportions have shape {shape} and coverage {self.coverage.shape}, expected "
                "(municipalities, 2 or more) and (municipalities,)"
            )

    @property
    def present(self) -> NDArray[np.bool_]:
        """bool (n_municipalities,), which have a row."""
        return np.asarray(~np.isnan(self.proportions).all(1))

    def quantised(self) -> MunicipalProduct:
        """This product as the ground will have it."""
        return _with_counts(self, *_counts(self), self.present)


class MunicipalSums:
    """Sums of chips' predictions by municipality; of a cell that is added more than once, the first time counts."""

    def __init__(self, region: Region) -> None:
        self._region = region
        self._seen = np.zeros(region.rows * region.cols, bool)
        self._sums: NDArray[np.float64] | None = None
        self._weight = np.zeros(len(region.codes))

    @property
    def empty(self) -> bool:
        """Whether nothing was added."""
        return self._sums is None

    def add(self, cells: NDArray[np.integer], proportions: NDArray[np.floating]) -> None:
        """Take in proportions (n, n_classes) of cells (n,), each there once."""
        new = ~self._seen[cells]
        self._seen[cells] = True
        if self._sums is None:
            self._sums = np.zeros((len(self._weight), proportions.shape[1]))
        for bags, weights in zip(self._region.bags[cells[new]].T, self._region.weights[cells[new]].T, strict=True):
            inside = bags >= 0
            share = weights[inside] / FULL
            np.add.at(self._sums, bags[inside], proportions[new][inside] * share[:, None])
            np.add.at(self._weight, bags[inside], share)

    def means(self) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Mean proportions (n_municipalities, n_classes), NaN where no chip was added, and coverage; `add` goes first.

        Coverage (n_municipalities,) is the share of each municipality's area in the region that was added.
        """
        if self._sums is None:
            raise ValueError("no prediction was added")
        whole = np.zeros(len(self._weight))
        for bags, weights in zip(self._region.bags.T, self._region.weights.T, strict=True):
            inside = bags >= 0
            whole += np.bincount(bags[inside], weights[inside] / FULL, len(whole))
        known = self._weight > 0
        means = np.full(self._sums.shape, np.nan, np.float32)
        means[known] = self._sums[known] / self._sums[known].sum(1, keepdims=True)
        coverage = np.divide(self._weight, whole, out=np.zeros(len(whole)), where=known)
        return means, np.minimum(coverage, 1).astype(np.float32)


@dataclass(frozen=True)
class Header:
    """A municipal product without its table: ids, sizes, and 2 bytes that name the map that it is coded along."""

    region_id: int
    task_id: int
    label_version: int
    levels: int
    rows: int
    n_classes: int
    map_check: bytes


def pack(product: MunicipalProduct, order: MapOrder, backend: str = kernels.PYTHON) -> bytes:
    """The product as a file, coded along the map of the region on board; CodecError if it cannot be one."""
    if order.region_id != product.region_id or len(order.places.order) != len(product.proportions):
        raise CodecError(
            f"municipal product: {len(product.proportions)} rows of region {product.region_id} do not fit a map of "
            f"{len(order.places.order)} municipalities of region {order.region_id}"
        )
    counts, covered = _counts(product)
    out = wire.Writer(wire.MUNICIPAL, wire.RANGE)
    out.integer(*_fields(product))
    out.raw(order.check + product.model_digest)
    stream = composition.encode(counts, product.present, product.levels, order.places, backend=backend)
    out.integer(len(stream))
    out.raw(stream)
    out.raw(
        composition.encode(
            covered, product.present, COVERAGE_LEVELS, order.places, backend=backend, rows_are_known=True
        )
    )
    return out.finish(_crc(product, counts, covered))


def read_header(data: bytes, config: LinkConfig) -> Header:
    """What a file says of itself; CodecError for anything else, or for more than `config` allows."""
    return _read_header(wire.Reader(wire.MUNICIPAL, data, (wire.RANGE,)), config)


def unpack(data: bytes, config: LinkConfig, order: MapOrder, backend: str = kernels.PYTHON) -> MunicipalProduct:
    """The product in a file that the link brought; CodecError for anything else, or one along another map."""
    reader = wire.Reader(wire.MUNICIPAL, data, (wire.RANGE,))
    header = _read_header(reader, config)
    known = (header.region_id, header.map_check, header.rows)
    if known != (order.region_id, order.check, len(order.places.order)):
        raise reader.error(f"is coded along another map of region {header.region_id} than the one at hand")
    digest = reader.raw("the model digest", DIGEST_BYTES)
    stream = reader.raw("the counts", reader.integer("the length of the counts", 0, len(data)))
    shape = (header.rows, header.n_classes)
    counts, present = reader.decoded(composition.decode, stream, shape, header.levels, order.places, None, backend)
    two = (header.rows, 2)
    covered, _ = reader.decoded(
        composition.decode, reader.rest(), two, COVERAGE_LEVELS, order.places, None, backend, present
    )
    ids = (header.region_id, header.task_id, header.label_version)
    empty = MunicipalProduct(
        *ids, digest, header.levels, np.zeros(shape, np.float32), np.zeros(header.rows, np.float32)
    )
    product = _with_counts(empty, counts, covered, present)
    reader.finish(_crc(product, counts, covered))
    return product


def _read_header(reader: wire.Reader, config: LinkConfig) -> Header:
    region_id, task_id, version = (reader.integer(f"{name} id") for name in ("region", "task", "label version"))
    levels = reader.integer("levels", MIN_LEVELS, MAX_LEVELS)
    rows = reader.integer("the number of municipalities", 1, config.max_municipalities)
    n_classes = reader.integer("the number of classes", 2, config.max_classes)
    if rows * n_classes > config.max_label_cells:
        raise reader.error(f"{rows} x {n_classes} proportions are more than max_label_cells = {config.max_label_cells}")
    return Header(region_id, task_id, version, levels, rows, n_classes, reader.raw("the check of the map", CHECK_BYTES))


def _counts(product: MunicipalProduct) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Counts (n, n_classes) and covered 16ths (n, 2), 0 in rows left out; CodecError if a row is no proportions."""
    present = np.flatnonzero(product.present)
    counts = np.zeros(product.proportions.shape, np.uint8)
    covered = np.zeros((len(counts), 2), np.uint8)
    try:
        counts[present] = quantise(product.proportions[present], product.levels)
        share = product.coverage[present]
        covered[present] = quantise(np.stack([share, 1 - share], axis=1), COVERAGE_LEVELS)
    except CodecError as error:
        raise CodecError(f"municipal product, among the rows that it has: {error}") from None
    return counts, covered


def _with_counts(
    product: MunicipalProduct, counts: NDArray[np.uint8], covered: NDArray[np.uint8], present: NDArray[np.bool_]
) -> MunicipalProduct:
    table = np.full(counts.shape, np.nan, np.float32)
    table[present] = dequantise(counts[present], product.levels)
    return replace(product, proportions=table, coverage=dequantise(covered[:, 0], COVERAGE_LEVELS))


def _fields(product: MunicipalProduct) -> tuple[int, ...]:
    ids = (product.region_id, product.task_id, product.label_version)
    return (*ids, product.levels, *product.proportions.shape)


def _crc(product: MunicipalProduct, counts: NDArray[np.uint8], covered: NDArray[np.uint8]) -> int:
    bitmap = np.packbits(product.present).tobytes()
    return wire.crc(_fields(product), product.model_digest, bitmap, counts.tobytes(), covered.tobytes())
