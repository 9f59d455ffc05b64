"""A check picture: municipalities, borders and chips of a region over each other, as PNG."""

from __future__ import annotations

import colorsys
import struct
import zlib
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ground.files import write_bytes
from ground.regions import MappedRegion

_MAX_SIDE_PX = 4000
_NOBODY_RGB, _BORDER_RGB = (255, 255, 255), (30, 30, 30)
_GOLDEN = 0.6180339887498949


def check_picture(mapped: MappedRegion) -> NDArray[np.uint8]:
    """RGB image (height, width, 3): each chip in the colour of its first municipality, paler the more it is shared.

    Polygon borders are drawn over it where they really run, and chips stand apart where there is room for it.
    """
    import shapely
    from rasterio.features import rasterize
    from rasterio.transform import from_origin

    region, georef = mapped.region, mapped.georef
    scale = max(1, min(12, _MAX_SIDE_PX // max(region.rows, region.cols)))
    cells = _cell_colours(region.bags, region.weights).reshape(region.rows, region.cols, 3)
    image = np.repeat(np.repeat(cells, scale, axis=0), scale, axis=1)
    if scale >= 6:
        image[::scale] = image[::scale] // 2 + 110
        image[:, ::scale] = image[:, ::scale] // 2 + 110
    lines = shapely.boundary(mapped.polygons.geometry)
    lines = lines[~shapely.is_empty(lines)]
    pixel_m = georef.chip_m / scale
    transform = from_origin(georef.x0_m, georef.y0_m, pixel_m, pixel_m)
    drawn = rasterize(lines, out_shape=image.shape[:2], transform=transform, dtype=np.uint8)
    image[drawn == 1] = _BORDER_RGB
    return image


def _cell_colours(bags: NDArray[np.int32], weights: NDArray[np.uint8]) -> NDArray[np.uint8]:
    n = int(bags.max(initial=-1)) + 1
    hues = [colorsys.hsv_to_rgb((i * _GOLDEN) % 1, 0.45, 0.92) for i in range(n)]
    palette = np.array([*hues, (1.0, 1.0, 1.0)]) * 255
    owner = np.where(bags[:, 0] >= 0, bags[:, 0], n)
    share = np.maximum(weights[:, :1], 1) / 255.0
    colours = palette[owner] * share + (1 - share) * 255
    colours[bags[:, 0] < 0] = _NOBODY_RGB
    return colours.astype(np.uint8)


def write_png(path: Path, image: NDArray[np.uint8]) -> None:
    """Write an RGB image (height, width, 3) as PNG (ISO/IEC 15948), whole or not at all."""
    height, width, _ = image.shape
    rows = np.zeros((height, 1 + 3 * width), np.uint8)  # each row begins with filter type 0
    rows[:, 1:] = image.reshape(height, -1)

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    parts = chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows.tobytes(), 6)) + chunk(b"IEND", b"")
    write_bytes(path, b"\x89PNG\r\n\x1a\n" + parts)
