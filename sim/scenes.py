"""Overpasses: the season, the light, the haze and the clouds of the day on which a scene was taken, and the sensor."""

from __future__ import annotations

from fractions import Fraction
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from sim.noise import Field, subkey, white
from sim.spectra import FULL_SCALE

_VEIL = Field(((7, 2), (2, 1), (Fraction(1, 2), 0.5)))
_CLOUD = Field(((9, 2), (3, 2), (1, 1.4), (Fraction(1, 3), 0.8), (Fraction(1, 10), 0.35)))
_SCATTER = np.array(  # path reflectance by band, relative to blue: Rayleigh and aerosol
    [0.58, 0.76, 1.0, 0.30, 0.06, 0.03, 0.48, 0.40, 0.34, 0.28, 1.15, 0.15, 0.01], dtype=np.float32
)
_SENSOR_COUNTS = np.float32(1.8)  # standard deviation of the sensor's noise
_OPAQUE = np.float32(0.5)  # cloud cover of a pixel from which it counts as cloudy


class Scene(NamedTuple):
    """What one overpass sees differently from another."""

    key: int
    season: float  # 0 first, 1 last day of the growing season
    gain: NDArray[np.float32]  # illumination by band, (n_bands,)
    haze: float  # path reflectance in blue [%]
    sun: tuple[float, float]  # brightening per unit of slope towards the south and the east
    cloud_level: float  # clouds where the cloud field exceeds this


def scene(seed: int, number: int, n_bands: int) -> Scene:
    """The overpass `number`: drawn from the seed and the number alone."""
    key = subkey(seed, "scene", number)
    draw = np.random.Generator(np.random.Philox(key=key)).random(7)
    light = 0.85 + 0.25 * draw[0]
    tint = (draw[1] - 0.5) * 0.08 * np.linspace(1, -1, n_bands) if n_bands > 1 else np.zeros(1)
    sun = (0.10 + 0.10 * draw[2], -0.15 + 0.30 * draw[3])
    return Scene(
        key,
        float(draw[4]),
        (light * (1 + tint)).astype(np.float32),
        0.6 + 3.0 * float(draw[5]) * float(draw[5]),
        sun,
        1.35 + 1.5 * float(draw[6]),
    )


def cloud_cover(view: Scene, rows: NDArray[np.integer], cols: NDArray[np.integer], samples: int) -> NDArray[np.float32]:
    """Share of each pixel's light that is the cloud's, 0 to 1: float32 (n, samples, samples)."""
    height = _CLOUD(subkey(view.key, "cloud"), rows, cols, samples) - np.float32(view.cloud_level)
    height *= np.float32(3.5)
    return np.clip(height, 0, 1, out=height)


def cloudy(cover: NDArray[np.float32]) -> NDArray[np.bool_]:
    """Which pixels count as cloud."""
    return cover > _OPAQUE


def observe(
    view: Scene,
    table: NDArray[np.float32],
    what: NDArray[np.intp],
    brightness: NDArray[np.float32],
    elevation: NDArray[np.float32],
    rows: NDArray[np.integer],
    cols: NDArray[np.integer],
) -> NDArray[np.uint8]:
    """What the camera records: uint8 (n, samples, samples, n_bands).

    table: reflectance [%] by `what` and band, at the season of the scene. Light and relief multiply it, the optics
    blur it over a pixel and its neighbours, haze adds to it, clouds hide it and the sensor adds noise.
    """
    n, samples, _ = what.shape
    n_bands = table.shape[1]
    lit = brightness * _relief(elevation, view.sun)
    veil = np.maximum(_VEIL(subkey(view.key, "veil"), rows, cols, samples) * np.float32(0.35) + 1, np.float32(0))
    cover = cloud_cover(view, rows, cols, samples)
    clear = 1 - cover
    noise = white(subkey(view.key, "sensor"), rows, cols, (n_bands, samples, samples))
    image = np.empty((n, samples, samples, n_bands), dtype=np.uint8)
    for band in range(n_bands):
        counts = np.float32(255) / FULL_SCALE[band]
        value = _blur(table[:, band][what] * lit)
        value *= view.gain[band] * counts
        value += veil * (np.float32(view.haze) * _SCATTER[band] * counts)
        value *= clear
        value += cover * np.float32(225)
        value += noise[:, band] * _SENSOR_COUNTS
        np.clip(value, 0, 255, out=value)
        image[..., band] = np.rint(value)
    return image


def _relief(elevation: NDArray[np.float32], sun: tuple[float, float]) -> NDArray[np.float32]:
    """Brightness of sloping land, 1 on the level."""
    per_chip = elevation.shape[1]
    shade = np.ones_like(elevation)
    shade[:, 1:] += np.diff(elevation, axis=1) * np.float32(sun[0] * per_chip)
    shade[:, :, 1:] += np.diff(elevation, axis=2) * np.float32(sun[1] * per_chip)
    shade[:, 0], shade[:, :, 0] = shade[:, 1], shade[:, :, 1]
    return np.clip(shade, np.float32(0.5), np.float32(1.4))


def _blur(image: NDArray[np.float32]) -> NDArray[np.float32]:
    """The point spread: each axis weighted 1, 4, 1 over a pixel and its neighbours; a chip's edge repeats."""
    for axis in (1, 2):
        padded = np.concatenate([np.take(image, [0], axis), image, np.take(image, [-1], axis)], axis=axis)
        size = image.shape[axis]
        before, after = (padded[(slice(None),) * axis + (slice(s, s + size),)] for s in (0, 2))
        image = (image * 4 + before + after) * np.float32(1 / 6)
    return image
