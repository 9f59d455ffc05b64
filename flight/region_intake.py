"""A region on its way in, decoded a slice at a time, and the region as it is kept on disk, decoded.

Decoding all of Spain takes plain Python a minute: that has to be sliced, and not to be done again at each start.
"""

from __future__ import annotations

import zlib
from dataclasses import dataclass

import msgpack
import numpy as np

from flight.config import LinkConfig
from flight.link.pack import CodecError
from flight.link.region import OVERLAPS, Region
from flight.link.region_codec import Decoder
from flight.link.region_patch import PatchDecoder, is_patch, only_adds

RECORD_FORMAT = 1
MAX_VERSIONS = 16  # of which statistics are carried on


@dataclass(frozen=True)
class Kept:
    """A region as it is kept on disk.

    `carries` holds the digests of the versions whose statistics are still good: the region's own, and those to which it
    only adds municipalities. `rows` is how many municipalities the first of them had.
    """

    region: Region
    carries: tuple[int, ...]
    rows: int

    def dump(self) -> bytes:
        """As a record on disk."""
        region = self.region
        return bytes(
            msgpack.packb(
                {
                    "format": RECORD_FORMAT,
                    "shape": [region.region_id, region.rows, region.cols],
                    "codes": region.codes,
                    "bags": zlib.compress(region.bags.astype("<i4", copy=False).tobytes(), 1),
                    "weights": zlib.compress(region.weights.tobytes(), 1),
                    "carries": self.carries,
                    "rows": self.rows,
                }
            )
        )

    @classmethod
    def load(cls, data: bytes, config: LinkConfig) -> Kept:
        """The inverse of `dump`; CodecError for anything else, or for more than `config` allows."""
        try:
            state = msgpack.unpackb(data)
            if state["format"] != RECORD_FORMAT:
                raise CodecError(f"region record of format {state['format']!r}, this version reads {RECORD_FORMAT}")
            region_id, rows, cols = state["shape"]
            if rows * cols > config.max_region_chips or len(state["codes"]) > config.max_municipalities:
                raise CodecError(f"region of {rows} x {cols} cells, {len(state['codes'])} municipalities: not allowed")
            bags = np.frombuffer(zlib.decompress(state["bags"]), "<i4").astype(np.int32).reshape(-1, OVERLAPS)
            weights = np.frombuffer(zlib.decompress(state["weights"]), np.uint8).reshape(-1, OVERLAPS)
            region = Region(region_id, rows, cols, tuple(state["codes"]), bags, weights.copy())
            return cls(region, tuple(state["carries"]), state["rows"])
        except (TypeError, KeyError, msgpack.UnpackException, zlib.error) as error:
            raise CodecError(f"region: not a record of one ({type(error).__name__})") from error


class RegionIntake:
    """The decoding of a region file or patch; CodecError if it cannot even begin.

    `more` says whether there is more to decode, and `left` about how many cells; `result` then gives the region, or
    raises what was wrong.
    """

    def __init__(self, data: bytes, present: Kept | None, config: LinkConfig, backend: str) -> None:
        self.present = present
        self.patch = is_patch(data)
        base = present.region if present is not None else None
        self._decoder = PatchDecoder(data, base, config, backend) if self.patch else Decoder(data, config, backend)
        self._error: CodecError | None = None
        self.more = True
        self.left = self._decoder.cells

    def advance(self, n_cells: int) -> None:
        """Decode `n_cells` more."""
        self.left = max(1, self.left - n_cells)
        try:
            self.more = self._decoder.advance(n_cells)
        except CodecError as error:
            self._error, self.more = error, False

    def result(self) -> Kept:
        """What was decoded; CodecError if it was no region."""
        if self._error is not None:
            raise self._error
        new, present = self._decoder.region, self.present
        if present is not None and (new.digest == present.region.digest):
            return present
        if present is not None and self.patch and only_adds(present.region, new):
            return Kept(new, (new.digest, *present.carries)[:MAX_VERSIONS], present.rows)
        return Kept(new, (new.digest,), len(new.codes))
