"""Land cover: what grows, stands or flows at each point of the synthetic Earth, in a given year.

Ten base classes follow from smooth fields (elevation, soil, woodland, towns, rivers), on farmed land quantised by
parcels. The same point has the same class at any sampling, so a coarse sampling is a sample of the fine one.
"""

from __future__ import annotations

from fractions import Fraction
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from ground.imagery import Task
from sim.noise import Field, subkey
from sim.parcels import Parcels, parcels

BASE_CLASSES = (
    "conifer forest",
    "broadleaf forest",
    "heath",
    "cereals",
    "row crops",
    "orchards and vineyards",
    "pasture",
    "built-up",
    "water",
    "bare rock",
)
CONIFER, BROADLEAF, HEATH, CEREALS, ROW_CROPS, ORCHARD, PASTURE, BUILT, WATER, ROCK = range(10)

LAND_COVER = Task(1, "land cover", ("forest", "cropland", "grassland", "built-up", "water and rock"))
VEGETATION = Task(2, "vegetation", ("conifer", "broadleaf", "cereals", "row crops", "grass", "other"))
CLASS_OF = {  # the task's class of each base class
    LAND_COVER.task_id: np.array([0, 0, 2, 1, 1, 1, 2, 3, 4, 4], dtype=np.uint8),
    VEGETATION.task_id: np.array([0, 1, 5, 2, 3, 3, 4, 5, 5, 5], dtype=np.uint8),
}

_FIELDS = {
    "elevation": Field(((24, 3), (9, 3), (3, 1.2), (1, 0.4), (Fraction(1, 3), 0.12))),
    "soil": Field(((15, 3), (6, 2.5), (2, 1))),
    "wood": Field(((8, 3), (3, 2.2), (1, 1.6), (Fraction(1, 3), 1), (Fraction(1, 12), 0.5))),
    "town": Field(((13, 1.4), (4, 1.8), (2, 2), (1, 1.4), (Fraction(1, 2), 0.8), (Fraction(1, 8), 0.35))),
    "river": Field(((18, 3), (7, 2), (2, 0.7), (Fraction(1, 2), 0.15), (Fraction(1, 8), 0.03))),
    "detail": Field(((Fraction(1, 3), 1), (Fraction(1, 10), 1), (Fraction(1, 24), 0.7))),
}


class Land(NamedTuple):
    """Base class of each point, uint8 (n, samples, samples), and what it was made of."""

    base: NDArray[np.uint8]
    pattern: Parcels
    elevation: NDArray[np.float32]
    wood: NDArray[np.float32]
    detail: NDArray[np.float32]


def survey(seed: int, rows: NDArray[np.integer], cols: NDArray[np.integer], samples: int, year: int = 0) -> Land:
    """The land on chips (rows[i], cols[i]) in `year`, sampled at samples x samples points a chip.

    From one year to the next about a quarter of the arable parcels change crop, 3 % of farmland turns from arable to
    grass or back, and towns grow a little.
    """
    field = {name: f(subkey(seed, name), rows, cols, samples) for name, f in _FIELDS.items()}
    pattern = parcels(subkey(seed, "parcels"), rows, cols, field["elevation"])
    base = _farmland(field, pattern, year)
    _wildland(base, field, pattern)
    _settle(base, field, pattern, year)
    return Land(base, pattern, field["elevation"], field["wood"], field["detail"])


def _byte(h: NDArray[np.uint32], number: int) -> NDArray[np.float32]:
    """Byte 0 to 3 of a hash as a number in [-0.5, 0.5)."""
    return (h >> np.uint32(8 * number) & np.uint32(255)).astype(np.float32) * np.float32(1 / 256) - np.float32(0.5)


def _turn(h: NDArray[np.uint32], number: int, year: int, share: float) -> NDArray[np.float32]:
    """As `_byte`, but drawn anew each year in `share` of the parcels: each has its own time of change."""
    phase = (h >> np.uint32(8 * ((number + 1) % 4)) & np.uint32(255)).astype(np.int32)
    epoch = (phase + round(256 * share * year)) >> 8
    turned = (h >> np.uint32(8 * number)).astype(np.int32) + epoch * 97
    return (turned & 255).astype(np.float32) * np.float32(1 / 256) - np.float32(0.5)


def _farmland(field: dict[str, NDArray[np.float32]], pattern: Parcels, year: int) -> NDArray[np.uint8]:
    soil, elevation = field["soil"], field["elevation"]
    use = _turn(pattern.parcel, 0, year, 0.03) * np.float32(2.2)
    crop = _turn(pattern.parcel, 1, year, 0.25) * np.float32(3.0)
    base = np.where(crop + soil * np.float32(0.8) < 0.25, np.uint8(CEREALS), np.uint8(ROW_CROPS))
    base[_byte(pattern.block, 2) + use * np.float32(0.2) + soil * np.float32(0.25) > 0.62] = ORCHARD
    base[use + elevation * np.float32(0.55) - soil * np.float32(0.8) > 0.35] = PASTURE
    return base


def _wildland(base: NDArray[np.uint8], field: dict[str, NDArray[np.float32]], pattern: Parcels) -> None:
    elevation, wood, detail = field["elevation"], field["wood"], field["detail"]
    height = elevation + detail * np.float32(0.06)
    stand = _byte(pattern.parcel, 2)
    forest = wood + stand * np.float32(0.8) + height * np.float32(0.45) > 0.45
    needles = height + wood * np.float32(0.35) + stand * np.float32(0.9) - field["soil"] * np.float32(0.4) > 0.55
    base[forest] = np.where(needles, np.uint8(CONIFER), np.uint8(BROADLEAF))[forest]
    bare = height + detail * np.float32(0.12) - wood * np.float32(0.25)
    base[bare > 1.35] = HEATH
    base[bare > 1.75] = ROCK


def _settle(base: NDArray[np.uint8], field: dict[str, NDArray[np.float32]], pattern: Parcels, year: int) -> None:
    elevation, detail = field["elevation"], field["detail"]
    town = field["town"] - np.maximum(elevation, 0) * np.float32(0.5) + _byte(pattern.parcel, 3) * np.float32(0.5)
    base[town > 1.4 - 0.012 * year] = BUILT
    base[(np.abs(pattern.lane - 0.004) < 0.004) & (base != ROCK)] = BUILT
    river = np.abs(field["river"]) < np.maximum(np.float32(0.02) - elevation * np.float32(0.02), np.float32(0.004))
    base[river & (elevation < 1.3)] = WATER
    base[elevation + detail * np.float32(0.03) < -2.05] = WATER
