"""QGIS styles (.qml): each class in its colour. QGIS takes one by itself that is named like the map beside it."""

from __future__ import annotations

import colorsys
from collections.abc import Sequence
from xml.etree.ElementTree import Element, SubElement, indent, tostring

_GOLDEN = 0.6180339887498949
_HEAD = b"<!DOCTYPE qgis PUBLIC 'http://mrcc.com/qgis.dtd' 'SYSTEM'>\n"


def colours(n: int) -> list[tuple[int, int, int]]:
    """Colours of n classes, well apart; the first ones do not depend on n."""
    made = []
    for i in range(n):
        red, green, blue = colorsys.hsv_to_rgb((0.33 + i * _GOLDEN) % 1, 0.55 + 0.2 * (i % 2), 0.85 - 0.15 * (i % 3))
        made.append((round(red * 255), round(green * 255), round(blue * 255)))
    return made


def raster_style(classes: Sequence[str]) -> bytes:
    """Style of a raster of class numbers from 0."""
    root = Element("qgis", version="3.0", styleCategories="Symbology")
    pipe = SubElement(root, "pipe")
    renderer = SubElement(pipe, "rasterrenderer", type="paletted", band="1", opacity="1", alphaBand="-1")
    SubElement(renderer, "rasterTransparency")
    palette = SubElement(renderer, "colorPalette")
    for i, (name, colour) in enumerate(zip(classes, colours(len(classes)), strict=True)):
        SubElement(
            palette, "paletteEntry", value=str(i), color="#{:02x}{:02x}{:02x}".format(*colour), label=name, alpha="255"
        )
    return _written(root)


def vector_style(classes: Sequence[str], field: str) -> bytes:
    """Style of polygons by the class name in `field`."""
    root = Element("qgis", version="3.0", styleCategories="Symbology")
    renderer = SubElement(root, "renderer-v2", type="categorizedSymbol", attr=field, symbollevels="0", forceraster="0")
    categories, symbols = SubElement(renderer, "categories"), SubElement(renderer, "symbols")
    for i, (name, colour) in enumerate(zip(classes, colours(len(classes)), strict=True)):
        SubElement(categories, "category", value=name, label=name, symbol=str(i), render="true")
        symbol = SubElement(symbols, "symbol", type="fill", name=str(i), alpha="1", clip_to_extent="1")
        layer = SubElement(symbol, "layer", {"class": "SimpleFill", "enabled": "1", "locked": "0", "pass": "0"})
        looks = {"color": "{},{},{},255".format(*colour), "style": "solid", "outline_color": "90,90,90,255"}
        options = SubElement(layer, "Option", type="Map")
        for key, value in {**looks, "outline_width": "0.1", "outline_style": "solid"}.items():
            SubElement(options, "Option", type="QString", name=key, value=value)
            SubElement(layer, "prop", k=key, v=value)  # what QGIS before 3.26 reads
    return _written(root)


def _written(root: Element) -> bytes:
    indent(root)
    return _HEAD + tostring(root, encoding="utf-8") + b"\n"
