"""The check picture of an import: what lies on what, side by side, with the borders over each panel.

Panels: the imagery; the municipalities, in the colour of their split; the greatest class of each one's row in the label
table; and, where there is a land-cover raster, its classes. What does not fit in place or in class is seen at a glance.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ground.importer.assemble import BlockImagery
from ground.regions import MappedRegion
from ground.styles import class_colours, rgb

MAX_SIDE_PX = 2000
LEAST_WIDTH_PX = 380  # of a panel: smaller ones are enlarged
_GAP_PX, _LINE_PX, _TEXT_PX = 18, 20, 14
_BACK_RGB, _BORDER_RGB, _UNKNOWN_RGB = (214, 200, 232), (255, 235, 60), (120, 120, 120)  # no land is lilac
_WHITE_RGB, _INK_RGB = (255, 255, 255), (27, 31, 36)
_SPLITS = (("training", (70, 120, 190)), ("validation", (235, 165, 60)), ("test", (200, 70, 80)))
Legend = Sequence[tuple[str, tuple[int, int, int]]]


@dataclass(frozen=True, eq=False)
class Panel:
    """An RGB image (height, width, 3), what it shows, and what its colours mean."""

    title: str
    image: NDArray[np.uint8]
    legend: Legend


def thumb_px(rows: int, cols: int, side: int) -> int:
    """Pixels of a chip in the picture: the largest divisor of `side` up to 24 that keeps a panel within 2,000."""
    most = max(1, min(24, MAX_SIDE_PX // max(rows, cols)))
    return max(t for t in range(1, most + 1) if side % t == 0)


def check_picture(imagery: BlockImagery, mapped: MappedRegion, t: int, has_truth: bool) -> NDArray[np.uint8]:
    """RGB image (height, width, 3) of the panels with their titles and legends; chips are `t` pixels wide in blocks.

    Of a grid beyond 2,000 chips only every second, third, ... one is shown.
    """
    return _laid_out(_panels(imagery, mapped, t, has_truth))


def _panels(imagery: BlockImagery, mapped: MappedRegion, t: int, has_truth: bool) -> list[Panel]:
    step = max(1, -(-max(imagery.rows, imagery.cols) * t // MAX_SIDE_PX))
    rows, cols = -(-imagery.rows // step), -(-imagery.cols // step)
    shown = np.flatnonzero((imagery.cell % step == 0).all(1))
    panels = np.full((4 if has_truth else 3, rows, cols, t, t, 3), _BACK_RGB, np.uint8)
    names = imagery.tasks[0].class_names
    colours = [*map(rgb, class_colours(names)), _UNKNOWN_RGB]
    classes = np.array(colours, np.uint8)
    splits = np.array([colour for _, colour in _SPLITS], np.uint8)
    first = imagery.bags[:, 0]
    best = _greatest(imagery.table(imagery.tasks[0]))
    for start in range(0, len(shown), 1024):
        index = shown[start : start + 1024]
        row, col = (imagery.cell[index] // step).T
        small, labels = imagery.thumbs(index)
        panels[0, row, col] = small[..., [0, 1, 2]] if small.shape[-1] >= 3 else small[..., [0, 0, 0]]
        panels[1, row, col] = splits[imagery.bag_split[first[index]]][:, None, None]
        panels[2, row, col] = classes[best[first[index]]][:, None, None]
        if has_truth:
            panels[3, row, col] = classes[np.minimum(labels, len(classes) - 1)]
    enlarged = max(1, -(-LEAST_WIDTH_PX // (cols * t)))
    images = panels.transpose(0, 1, 3, 2, 4, 5).reshape(len(panels), rows * t, cols * t, 3)
    images = images.repeat(enlarged, axis=1).repeat(enlarged, axis=2)
    borders = _borders(mapped, *images.shape[1:3], t * enlarged / step)
    images[0, borders], images[1:, borders] = _BORDER_RGB, _INK_RGB
    of_classes = list(zip(names, colours, strict=False))
    legends: list[tuple[str, Legend]] = [
        ("Imagery as chips", [("municipalities", _BORDER_RGB), ("no chip", _BACK_RGB)]),
        ("Split", [*_SPLITS, ("no chip", _BACK_RGB)]),
        ("Table: greatest class of each row", [*of_classes, ("no row", _UNKNOWN_RGB)]),
        ("Truth: land-cover raster", [*of_classes, ("unknown", _UNKNOWN_RGB)]),
    ]
    return [Panel(title, image, legend) for (title, legend), image in zip(legends, images, strict=False)]


def _laid_out(panels: Sequence[Panel]) -> NDArray[np.uint8]:
    """The panels side by side, each under its title and over its legend."""
    from PIL import Image, ImageDraw, ImageFont

    font = ImageFont.load_default(_TEXT_PX)
    height, width, _ = panels[0].image.shape
    lines = [_broken(panel.legend, width, lambda text: font.getlength(text)) for panel in panels]
    top = _GAP_PX + _LINE_PX + 4
    size = (_GAP_PX + len(panels) * (width + _GAP_PX), top + height + 10 + _LINE_PX * max(map(len, lines)) + _GAP_PX)
    canvas = Image.new("RGB", size, _WHITE_RGB)
    draw = ImageDraw.Draw(canvas)
    for i, (panel, legend) in enumerate(zip(panels, lines, strict=True)):
        left = _GAP_PX + i * (width + _GAP_PX)
        draw.text((left, _GAP_PX), panel.title, _INK_RGB, font)
        canvas.paste(Image.fromarray(panel.image), (left, top))
        for j, line in enumerate(legend):
            y = top + height + 10 + j * _LINE_PX
            for x, name, colour in line:
                draw.rectangle((left + x, y + 2, left + x + 13, y + 14), colour, (120, 120, 120))
                draw.text((left + x + 19, y), name, _INK_RGB, font)
    return np.asarray(canvas)


def _broken(
    legend: Legend, width: int, length: Callable[[str], float]
) -> list[list[tuple[int, str, tuple[int, int, int]]]]:
    """The entries of a legend in lines of at most `width`, each with its place on the line."""
    lines: list[list[tuple[int, str, tuple[int, int, int]]]] = [[]]
    x = 0
    for name, colour in legend:
        name = name if len(name) <= 40 else name[:39] + "…"
        needed = 19 + int(length(name)) + 16
        if lines[-1] and x + needed > width:
            lines.append([])
            x = 0
        lines[-1].append((x, name, colour))
        x += needed
    return lines


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
