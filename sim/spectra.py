"""What the land looks like from above: reflectance of the base classes through the season, and their texture.

Reflectances are typical values in Sentinel-2's bands (red, green, blue and near infrared first), by endmember. A class
is a ramp of endmembers; where on the ramp a point lies follows from its parcel and from the season, so the classes
overlap: a ripe cereal, a dry pasture and a ploughed field can look alike.
"""

from __future__ import annotations

from fractions import Fraction
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from sim.landcover import BASE_CLASSES, BUILT, Land
from sim.noise import Field, mix, subkey, white

BANDS = ("B4", "B3", "B2", "B8", "B11", "B12", "B5", "B6", "B7", "B8A", "B1", "B9", "B10")
LEVELS = 16
# Reflectance [%] that 255 counts stand for: 8-bit products are stretched band by band.
FULL_SCALE = np.array([27, 27, 27, 60, 50, 40, 32, 50, 60, 60, 27, 30, 3], dtype=np.float32)
_ENDMEMBERS = {  # reflectance [%] in BANDS
    "needles": (2.6, 3.8, 2.4, 20, 9.0, 4.2, 5.0, 14, 18, 21, 2.0, 8, 0.2),
    "leaves": (2.9, 5.2, 2.6, 34, 15, 7.0, 8.0, 25, 32, 36, 2.1, 12, 0.2),
    "autumn": (6.5, 6.0, 3.4, 25, 18, 10, 10, 19, 23, 26, 2.6, 10, 0.2),
    "scrub": (6.2, 6.4, 4.2, 19, 20, 12, 9.5, 15, 18, 20, 3.2, 8, 0.2),
    "green crop": (3.6, 7.2, 3.2, 42, 17, 8.0, 10, 32, 40, 44, 2.6, 14, 0.2),
    "straw": (16, 13.2, 8.2, 30, 32, 24, 20, 25, 28, 31, 6.2, 12, 0.3),
    "soil": (11.5, 9.2, 6.6, 19, 29, 24, 14, 16, 18, 20, 5.2, 9, 0.3),
    "pale soil": (18.5, 15.5, 11.5, 27, 36, 31, 21, 23, 25, 28, 8.5, 12, 0.3),
    "grass": (4.8, 8.0, 3.9, 35, 22, 12, 11, 27, 33, 36, 3.0, 12, 0.2),
    "dry grass": (11.2, 10.8, 6.4, 27, 29, 19, 15, 22, 25, 28, 4.8, 11, 0.3),
    "asphalt": (8.8, 8.6, 8.4, 11, 14, 13, 9.5, 10, 11, 12, 8.2, 6, 0.3),
    "garden": (5.8, 7.6, 5.2, 27, 18, 10, 10, 21, 25, 28, 4.8, 10, 0.2),
    "tile": (15, 11, 9.0, 22, 26, 22, 16, 18, 20, 22, 8.0, 8, 0.3),
    "concrete": (20, 19.5, 18.5, 25, 27, 25, 21, 22, 23, 25, 17, 9, 0.4),
    "clear water": (1.6, 2.8, 3.6, 0.9, 0.5, 0.3, 1.4, 1.1, 1.0, 0.9, 4.2, 0.4, 0.1),
    "silt": (5.4, 6.6, 5.2, 2.2, 0.8, 0.5, 4.5, 2.8, 2.4, 2.0, 5.0, 0.8, 0.1),
    "rock": (13.5, 12.8, 11.2, 20, 24, 21, 15, 16, 18, 19, 10, 8, 0.3),
    "scree": (16.5, 15.6, 13.8, 26, 30, 27, 20.5, 22, 23, 25, 14, 10, 0.4),
}


class _Look(NamedTuple):
    """How a base class looks: its ramp, where on it a point lies (0 to 1), and how its brightness varies."""

    ramp: tuple[str, ...]
    start: float  # place on the ramp at the middle of levels and season
    season: float  # shift from the first to the last day of the season
    levels: float  # shift from the lowest to the highest level
    by_parcel: float  # 1: the level is the parcel's; 0: it varies smoothly
    parcel: float  # brightness: half range between parcels
    coarse: float  # brightness: standard deviation at 80 m, 30 m and 10 m
    middle: float
    fine: float
    edge: float  # brightness at a parcel's edge: below 0 for hedges, above for tracks


_LOOKS = (
    _Look(("needles", "needles", "leaves", "scrub"), 0.35, 0.0, 0.8, 0.35, 0.20, 0.08, 0.14, 0.14, 0.0),
    _Look(("needles", "leaves", "leaves", "autumn"), 0.50, 0.25, 0.8, 0.35, 0.18, 0.09, 0.14, 0.12, 0.0),
    _Look(("leaves", "scrub", "dry grass", "soil"), 0.45, 0.15, 0.8, 0.4, 0.10, 0.10, 0.12, 0.08, 0.0),
    _Look(("green crop", "dry grass", "straw", "soil"), 0.45, 0.70, 1.0, 1.0, 0.22, 0.07, 0.04, 0.05, 0.15),
    _Look(("pale soil", "soil", "green crop", "leaves"), 0.50, 0.60, 1.0, 1.0, 0.24, 0.07, 0.04, 0.05, 0.15),
    _Look(("pale soil", "dry grass", "scrub", "leaves"), 0.50, 0.15, 1.0, 0.9, 0.18, 0.07, 0.10, 0.15, 0.10),
    _Look(
        ("leaves", "green crop", "grass", "dry grass", "straw"), 0.45, 0.35, 0.9, 0.75, 0.16, 0.09, 0.06, 0.06, -0.30
    ),
    _Look(("asphalt", "garden", "tile", "concrete"), 0.42, 0.0, 1.0, 1.0, 0.10, 0.06, 0.10, 0.14, -0.15),
    _Look(("clear water", "clear water", "silt"), 0.45, 0.1, 0.5, 0.0, 0.0, 0.03, 0.03, 0.05, 0.0),
    _Look(("scrub", "rock", "rock", "scree"), 0.50, 0.0, 0.8, 0.3, 0.06, 0.07, 0.12, 0.12, 0.0),
)
_COLUMN = {name: np.array([getattr(look, name) for look in _LOOKS], dtype=np.float32) for name in _Look._fields[4:]}
_MIDDLE = Field(((Fraction(1, 32), 1),))
_SMALLEST = np.float32(0.15)  # no texture makes a point darker than this share of its class


def reflectance(season: float, n_bands: int) -> NDArray[np.float32]:
    """Reflectance [%] of each class and level at `season` (0 first day, 1 last day): (classes * LEVELS, n_bands)."""
    table = np.empty((len(BASE_CLASSES), LEVELS, n_bands))
    level = np.arange(LEVELS) / (LEVELS - 1) - 0.5
    for row, look in zip(table, _LOOKS, strict=True):
        ramp = np.array([_ENDMEMBERS[name][:n_bands] for name in look.ramp])
        at = np.clip(look.start + look.season * (season - 0.5) + look.levels * level, 0, 1) * (len(ramp) - 1)
        low = np.minimum(np.floor(at), len(ramp) - 2).astype(int)
        part = (at - low)[:, None]
        row[:] = ramp[low] * (1 - part) + ramp[low + 1] * part
    return table.reshape(-1, n_bands).astype(np.float32)


def appearance(
    seed: int, land: Land, rows: NDArray[np.integer], cols: NDArray[np.integer]
) -> tuple[NDArray[np.intp], NDArray[np.float32]]:
    """Row of `reflectance` and relative brightness of each point of `land`: two arrays (n, samples, samples).

    Both belong to the place: overpasses see the same fields, stands and roofs.
    """
    base, pattern = land.base, land.pattern
    samples = base.shape[1]
    middle = _MIDDLE(subkey(seed, "middle"), rows, cols, samples)
    fine = white(subkey(seed, "fine"), rows, cols, (samples, samples))
    edge = pattern.edge() < np.float32(0.05)
    class_ = base.astype(np.intp)

    by_parcel = _COLUMN["by_parcel"][class_]
    level = (pattern.parcel & np.uint32(LEVELS - 1)).astype(np.float32)
    level *= by_parcel
    level += (1 - by_parcel) * (land.detail * np.float32(3.5) + np.float32(7.5))
    level += middle * np.float32(1.2)
    built = base == BUILT
    if built.any():
        level[built] = _roofs(land, built)
    np.clip(np.rint(level), 0, LEVELS - 1, out=level)

    brightness = (pattern.parcel >> np.uint32(24)).astype(np.float32) * np.float32(1 / 128) - np.float32(1)
    brightness *= _COLUMN["parcel"][class_]
    brightness += _COLUMN["coarse"][class_] * land.detail
    brightness += _COLUMN["middle"][class_] * middle
    brightness += _COLUMN["fine"][class_] * fine
    brightness += _COLUMN["edge"][class_] * edge
    brightness += 1
    return class_ * LEVELS + level.astype(np.intp), np.maximum(brightness, _SMALLEST)


def _roofs(land: Land, built: NDArray[np.bool_]) -> NDArray[np.float32]:
    """Level of the built-up points: streets on the edges of parcels, and on them houses with their gardens."""
    pattern = land.pattern
    across, along = pattern.across[built], pattern.along[built]
    house = mix(
        pattern.parcel[built]
        ^ np.floor(across * 6).astype(np.int32).view(np.uint32) * np.uint32(0x9E3779B1)
        ^ np.floor(along * 12).astype(np.int32).view(np.uint32) * np.uint32(0x85EBCA77)
    )
    street = pattern.edge()[built] < np.float32(0.07)
    street |= np.abs(pattern.lane[built] - np.float32(0.006)) < np.float32(0.006)
    quarter = (pattern.parcel[built] & np.uint32(LEVELS - 1)).astype(np.float32)
    level = (house & np.uint32(LEVELS - 1)).astype(np.float32) * np.float32(0.65) + quarter * np.float32(0.35)
    return np.where(street, np.float32(0), level)
