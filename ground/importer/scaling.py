"""Values of imagery to uint8: between two limits a band, given as numbers or as percentiles of what is there."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ground.gis import GisError

DEFAULT, AS_IT_IS = "P2:P98", "none"
_END = re.compile(r"([Pp]?)([+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?)")


@dataclass(frozen=True)
class Limit:
    """A value, or a percentile of the values."""

    value: float
    percentile: bool


def parse_scale(text: str) -> tuple[Limit, Limit] | None:
    """The limits in "P2:P98" or "0:3000"; None for "none", which takes uint8 as it is. GisError for anything else."""
    if text == AS_IT_IS:
        return None
    matches = [_END.fullmatch(part) for part in text.split(":")]
    if len(matches) != 2 or None in matches:
        raise GisError(f"--scale {text}: must be two percentiles such as P2:P98, two values such as 0:3000, or none")
    low, high = (Limit(float(match[2]), bool(match[1])) for match in matches if match is not None)
    for limit in (low, high):
        if limit.percentile and not 0 <= limit.value <= 100:
            raise GisError(f"--scale {text}: P{limit.value:g} is no percentile; they run from P0 to P100")
    if low.percentile == high.percentile and not low.value < high.value:
        raise GisError(f"--scale {text}: the first limit must be below the second")
    return low, high


class Scale:
    """Maps values of bands to 0..255, linearly between `low` and `high` (n_bands,); or takes uint8 as it is."""

    def __init__(self, low: NDArray[np.float64] | None = None, high: NDArray[np.float64] | None = None) -> None:
        self.low, self.high = low, high

    def facts(self) -> list[list[float]] | None:
        """Limits of each band, for people."""
        if self.low is None or self.high is None:
            return None
        return [[float(low), float(high)] for low, high in zip(self.low, self.high, strict=True)]

    def apply(self, values: NDArray[Any]) -> NDArray[np.uint8]:
        """Values (n_bands, ...) as uint8, rounded to the nearest; what is not finite becomes 0."""
        if self.low is None or self.high is None:
            return values.astype(np.uint8, copy=False)
        result = np.empty(values.shape, np.uint8)
        for band, low, high, out in zip(values, self.low, self.high, result, strict=True):
            scaled = (np.nan_to_num(band.astype(np.float32)) - np.float32(low)) * np.float32(255.0 / (high - low))
            out[...] = np.rint(np.clip(scaled, 0, 255))
        return result


def find_scale(limits: tuple[Limit, Limit] | None, samples: NDArray[Any], dtype: str) -> Scale:
    """The scale for bands of which `samples` (n_bands, n) are known values; GisError where they are all alike."""
    if limits is None:
        if dtype != "uint8":
            raise GisError(f"--scale none: the images hold {dtype}, and chips are uint8; give limits, such as P2:P98")
        return Scale()
    ends = []
    for limit in limits:
        values = np.full(len(samples), limit.value)
        if limit.percentile:
            values = np.percentile(samples, limit.value, axis=1).astype(np.float64)
        ends.append(values)
    low, high = ends
    flat = np.flatnonzero(~(high > low))
    if len(flat):
        k = int(flat[0])
        raise GisError(
            f"band {k + 1} of --bands runs from {low[k]:g} to {high[k]:g} between the limits of --scale: is it empty, "
            "or is nodata not declared (--nodata 0)? Give limits as values, such as --scale 0:3000"
        )
    return Scale(low, high)
