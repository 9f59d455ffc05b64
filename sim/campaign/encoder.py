"""The encoder that half of the campaign's missions fly: small, of random weights, made in a moment."""

from __future__ import annotations

from functools import lru_cache

import numpy as np

from flight.encoder import open_encoder
from flight.encoder.encoder import Encoder
from flight.encoder.runtimes import LITERT, TFLITE, installed

SEED = 6
WIDTH = 8


def can_fly() -> bool:
    """Whether a runtime is installed that runs it."""
    return not {LITERT, TFLITE}.isdisjoint(installed())


@lru_cache(maxsize=1)
def file(side: int) -> bytes:
    """Its file, for chips of `side` pixels."""
    from ground.encoders.export import Form, Precision, exported, lowered
    from ground.encoders.frozen import Conv, Frozen

    rng = np.random.default_rng(SEED)

    def conv(size: int, ins: int, outs: int, stride: int = 1, relu: bool = True) -> Conv:
        kernel = rng.standard_normal((size, size, ins, outs)) * np.sqrt(2 / (size * size * ins))
        bias = 0.1 * rng.standard_normal(outs)
        return Conv(kernel.astype(np.float32), bias.astype(np.float32), stride=stride, relu=relu)

    layers = (conv(3, 3, 8, 2), conv(3, 8, 16, 2), conv(3, 16, 16, 2), conv(1, 16, WIDTH, relu=False))
    ends = np.full(WIDTH, -1, np.float32), np.full(WIDTH, 1, np.float32)
    bands, std = ("red", "green", "blue"), np.full(3, 50, np.float32)
    seen = rng.integers(0, 256, (32, side // 8, side // 8, 3), np.uint8).repeat(8, 1).repeat(8, 2)
    frozen = Frozen("campaign", bands, 118, std, layers, *ends, {"recipe": "random", "seed": SEED}).calibrated(seen)
    return exported(lowered(frozen, Precision.int8, seen), Form.tflite, side, side).data


@lru_cache(maxsize=1)
def opened(side: int) -> Encoder:
    """It, at work."""
    return open_encoder(file(side))


def spoilt(content: bytes, rng: np.random.Generator) -> bytes:
    """What is left of its file: nothing, a part, or all but a bit."""
    how = int(rng.integers(3))
    if how == 0 or len(content) < 2:  # as of one that was spoilt before
        return b""
    if how == 1:
        return content[: int(rng.integers(1, len(content)))]
    at = int(rng.integers(len(content)))
    return content[:at] + bytes([content[at] ^ 1 << int(rng.integers(8))]) + content[at + 1 :]
