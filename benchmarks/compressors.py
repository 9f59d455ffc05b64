"""General-purpose compressors and lossless image codecs, as rivals of this project's own codecs."""

from __future__ import annotations

import importlib
import io
import lzma
from collections.abc import Callable, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

Compress = Callable[[bytes], int]
Image = NDArray[np.uint16]


def general() -> dict[str, Compress | str]:
    """Sizes that zstd-22, brotli-11 and xz-9e give; the reason instead, where one is not installed."""
    return {
        "zstd-22": _module("zstandard", lambda m: lambda data: len(m.ZstdCompressor(level=22).compress(data))),
        "brotli-11": _module("brotli", lambda m: lambda data: len(m.compress(data, quality=11, lgwin=24))),
        "xz-9e": lambda data: len(
            lzma.compress(data, lzma.FORMAT_RAW, filters=[{"id": lzma.FILTER_LZMA2, "preset": 9 | lzma.PRESET_EXTREME}])
        ),
    }


def images() -> dict[str, Callable[[Image], int] | str]:
    """Sizes that lossless image codecs give to an image of 16-bit labels; the reason instead, where one is missing."""
    return {
        "PNG": _module("PIL.Image", lambda m: lambda image: _saved(m.fromarray(image), format="PNG", optimize=True)),
        "WebP lossless": _module(
            "PIL.Image",
            lambda m: (
                lambda image: _saved(
                    m.fromarray(_split(image)), format="WEBP", lossless=True, quality=100, method=6, exact=True
                )
            ),
        ),
        "JPEG XL": _module("imagecodecs", lambda m: lambda image: len(m.jpegxl_encode(image, lossless=True, effort=9))),
    }


def _saved(image: object, **options: object) -> int:
    file = io.BytesIO()
    image.save(file, **options)  # type: ignore[attr-defined]
    return len(file.getvalue())


def _split(image: Image) -> NDArray[np.uint8]:
    """High and low bytes as colours, for codecs of 8 bits."""
    zero = np.zeros(image.shape, np.uint8)
    return np.stack([(image >> 8).astype(np.uint8), (image & 255).astype(np.uint8), zero], axis=2)


def _module(name: str, use: Callable[[object], object]) -> object:
    try:
        return use(importlib.import_module(name))
    except ImportError:
        return f"{name.partition('.')[0]} is not installed"


def smallest(layouts: Sequence[Sequence[bytes]], compress: Compress) -> int:
    """Bytes of the best layout, of which each part is compressed by itself or all together."""
    return min(min(sum(compress(part) for part in parts if part), compress(b"".join(parts))) for parts in layouts)


def best(sizes: Mapping[str, int]) -> tuple[str, float]:
    """The smallest of named sizes."""
    name = min(sizes, key=lambda each: sizes[each])
    return name, float(sizes[name])
