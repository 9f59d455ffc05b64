"""The check picture of an import: what lies on what, side by side, with the borders over each panel.

Panels: the imagery; the municipalities, in the colour of their split; the greatest class of each one's row in the label
table; and, where there is a land-cover raster, its classes. What does not fit in place or in class is seen at a glance.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ground.importer.assemble import BlockImagery
from ground.regions import MappedRegion
from ground.styles import colours

MAX_SIDE_PX = 2000
_GAP_PX = 12
_BACK_RGB, _BORDER_RGB, _UNKNOWN_RGB = (225, 225, 225), (255, 235, 60), (120, 120, 120)
_SPLIT_RGB = ((70, 120, 190), (235, 165, 60), (200, 70, 80))  # training, validation, test


def thumb_px(rows: int, cols: int, side: int) -> int:
    """Pixels of a chip in the picture: the largest divisor of `side` up to 24 that keeps a panel within 2,000."""
    most = max(1, min(24, MAX_SIDE_PX // max(rows, cols)))
    return max(t for t in range(1, most + 1) if side % t == 0)


def check_panels(imagery: BlockImagery, mapped: MappedRegion, t: int, has_truth: bool) -> NDArray[np.uint8]:
    """RGB image (height, width, 3) of the panels; of a grid beyond 2,000 chips only every second, third, ... one."""
    step = max(1, -(-max(imagery.rows, imagery.cols) * t // MAX_SIDE_PX))
    rows, cols = -(-imagery.rows // step), -(-imagery.cols // step)
    shown = np.flatnonzero((imagery.cell % step == 0).all(1))
    panels = np.full((4 if has_truth else 3, rows, cols, t, t, 3), _BACK_RGB, np.uint8)
    classes = np.array([*colours(len(imagery.tasks[0].class_names)), _UNKNOWN_RGB], np.uint8)
    first = imagery.bags[:, 0]
    best = _greatest(imagery.table(imagery.tasks[0]))
    for start in range(0, len(shown), 1024):
        index = shown[start : start + 1024]
        row, col = (imagery.cell[index] // step).T
        small, labels = imagery.thumbs(index)
        panels[0, row, col] = small[..., [0, 1, 2]] if small.shape[-1] >= 3 else small[..., [0, 0, 0]]
        panels[1, row, col] = np.array(_SPLIT_RGB, np.uint8)[imagery.bag_split[first[index]]][:, None, None]
        panels[2, row, col] = classes[best[first[index]]][:, None, None]
        if has_truth:
            panels[3, row, col] = classes[np.minimum(labels, len(classes) - 1)]
    images = panels.transpose(0, 1, 3, 2, 4, 5).reshape(len(panels), rows * t, cols * t, 3)
    border = _borders(mapped, rows * t, cols * t, t / step)
    images[:, border] = _BORDER_RGB
    gap = np.full((rows * t, _GAP_PX, 3), 255, np.uint8)
    return np.concatenate([part for image in images for part in (image, gap)][:-1], axis=1)


def _greatest(table: NDArray[np.float32]) -> NDArray[np.int64]:
    """The greatest class of each row; the number of classes where the row is missing."""
    known = ~np.isnan(table[:, 0])
    return np.where(known, np.argmax(np.nan_to_num(table), axis=1), table.shape[1])


def _borders(mapped: MappedRegion, height: int, width: int, px_of_chip: float) -> NDArray[np.bool_]:
    import shapely
    from rasterio.features import rasterize
    from rasterio.transform import from_origin

    lines = shapely.boundary(mapped.polygons.geometry)
    lines = lines[~shapely.is_empty(lines)]
    pixel_m = mapped.georef.chip_m / px_of_chip
    transform = from_origin(mapped.georef.x0_m, mapped.georef.y0_m, pixel_m, pixel_m)
    return np.asarray(rasterize(lines, out_shape=(height, width), transform=transform, dtype=np.uint8) == 1)
