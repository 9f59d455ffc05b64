"""Label sets made into files for the uplink: whole or as a delta, whichever is smaller; and read back."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from flight import kernels
from flight.config import LinkConfig
from flight.link import label_header, labelset
from flight.link.classes import relate
from flight.link.labelset import LabelSet
from flight.link.layout import MapOrder, map_order
from flight.link.pack import CodecError
from flight.link.region import Region


@dataclass(frozen=True)
class PackedLabels:
    """A label set as a file, and how many bytes each way of packing it takes; a delta's are None without a base."""

    data: bytes
    whole_bytes: int
    delta_bytes: int | None

    @property
    def facts(self) -> dict[str, Any]:
        """How it was packed, as plain values."""
        if self.delta_bytes is None:
            return {"packed_as": "whole"}
        kind = "delta" if len(self.data) == self.delta_bytes < self.whole_bytes else "whole"
        return {"packed_as": kind, "whole_bytes": self.whole_bytes, "delta_bytes": self.delta_bytes}


def pack_smallest(
    label_set: LabelSet,
    region: Region | None = None,
    base: LabelSet | None = None,
    became: Sequence[tuple[str, str]] = (),
) -> PackedLabels:
    """`label_set` in the form that takes the fewest bytes; CodecError if flight would refuse it.

    `region` is the region as it was decoded. `base` is a label set that is on board, and `became` says which of its
    classes became which: pairs of names, where these differ.
    """
    order = map_order(region) if region is not None else None
    backend = kernels.faster(label_set.proportions.size)
    whole = data = labelset.pack(label_set, order, backend=backend)
    if base is not None:
        relation = relate(base.classes, label_set.classes, became)
        delta = labelset.pack(label_set, order, base, relation, backend)
        data = min(whole, delta, key=len)
    labelset.unpack(data, LinkConfig(), order, base, backend)
    return PackedLabels(data, len(whole), len(delta) if base is not None else None)


def read_labels(paths: Sequence[Path], region: Region | None = None) -> LabelSet:
    """The label set in the last of `paths`; those before it are what it is a delta against. CodecError names the file.

    `region` is needed where rows are coded along its map.
    """
    order: MapOrder | None = map_order(region) if region is not None else None
    found: LabelSet | None = None
    for path in paths:
        try:
            data = path.read_bytes()
            header = labelset.read_header(data, LinkConfig())
            _check_at_hand(header, found, order)
            found = labelset.unpack(data, LinkConfig(), order, found, kernels.faster(header.rows * header.n_classes))
        except CodecError as error:
            raise CodecError(f"{path}: {error}") from None
    if found is None:
        raise ValueError("no file of labels to read")
    return found


def renamings(became: Sequence[str]) -> list[tuple[str, str]]:
    """Pairs of an old and a new class from texts of the form OLD=NEW; CodecError for any other text."""
    pairs = [tuple(each.split("=")) for each in became]
    for text, pair in zip(became, pairs, strict=True):
        if len(pair) != 2:
            raise CodecError(f"{text}: give an old and a new class, as OLD=NEW")
    return [(old, new) for old, new in pairs]


def _check_at_hand(header: label_header.Header, base: LabelSet | None, order: MapOrder | None) -> None:
    """CodecError with what to do, if something is missing that a label set is coded against."""
    if header.map_check is not None and order is None:
        raise CodecError(f"is coded along the map of region {header.region_id}: give its file with --region")
    if header.base is not None and (base is None or base.base_id != header.base):
        raise CodecError(f"is a delta against {header.base}: give its file with --base")
