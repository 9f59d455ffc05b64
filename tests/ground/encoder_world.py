"""Small random frozen encoders, made in milliseconds."""

from __future__ import annotations

import numpy as np

from ground.encoders.frozen import Conv, Frozen

BANDS = ("red", "green", "blue")


def chips(n: int, size: int = 32, seed: int = 1, bands: int = 3) -> np.ndarray:
    """Smooth uint8 chips (n, size, size, bands) with some noise."""
    rng = np.random.default_rng(seed)
    coarse = rng.random((n, size // 8, size // 8, bands)).repeat(8, 1).repeat(8, 2)
    return (255 * np.clip(0.2 + 0.6 * coarse + 0.05 * rng.standard_normal(coarse.shape), 0, 1)).astype(np.uint8)


def conv(rng: np.random.Generator, size: int, ins: int, outs: int, **rest: object) -> Conv:
    """A layer with He's scale."""
    each = 1 if rest.get("groups", 1) != 1 else ins
    kernel = rng.standard_normal((size, size, each, outs)) * np.sqrt(2 / (size * size * each))
    return Conv(kernel.astype(np.float32), (0.1 * rng.standard_normal(outs)).astype(np.float32), **rest)  # type: ignore[arg-type]


def frozen(seed: int = 0, width: int = 8, bands: tuple[str, ...] = BANDS, wide: int = 16) -> Frozen:
    """An encoder with each kind of layer: strided, plain, depthwise, and one that adds; a cell is 8 pixels wide."""
    rng = np.random.default_rng(seed)
    layers = (
        conv(rng, 3, len(bands), 8, stride=2),
        conv(rng, 3, 8, wide, stride=2),
        conv(rng, 3, wide, wide, groups=wide),
        conv(rng, 1, wide, wide, add=1),
        conv(rng, 3, wide, 24, stride=2),
        conv(rng, 1, 24, width, relu=False),
    )
    std = np.linspace(40, 60, len(bands)).astype(np.float32)
    ends = np.full(width, -1, np.float32), np.full(width, 1, np.float32)
    made = Frozen("tiny", bands, 118, std, layers, *ends, {"recipe": "random", "seed": seed})
    return made.calibrated(chips(32, bands=len(bands)))
