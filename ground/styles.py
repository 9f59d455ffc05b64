"""The colour of each class, in reports, maps and pictures alike, and QGIS styles (.qml) that use it.

QGIS takes a style by itself that is named like the map beside it.
"""

from __future__ import annotations

from collections.abc import Sequence
from xml.etree.ElementTree import Element, SubElement, indent, tostring

_HEAD = b"<!DOCTYPE qgis PUBLIC 'http://mrcc.com/qgis.dtd' 'SYSTEM'>\n"

# Okabe and Ito (2008), "Color Universal Design", black replaced by a dark slate, then the colour-blind-safe qualitative
# set of CARTO after Tol (2021): twenty classes, the first eight told apart by nearly everyone.
PALETTE = (
    *("#0072b2", "#009e73", "#f0e442", "#d55e00", "#e69f00", "#56b4e9", "#cc79a7", "#3b4252"),
    *("#88ccee", "#cc6677", "#ddcc77", "#117733", "#332288", "#aa4499"),
    *("#44aa99", "#999933", "#882255", "#661100", "#6699cc", "#7a7a7a"),
)
FREE_FIRST = (4, 5, 6, 3, 2, 1, 7, 0)  # blue last: a reader takes it for water
# Classes that a reader expects in a certain colour: part of the class name, and where its colour stands in PALETTE.
EXPECTED = (
    *(("water", 0), ("river", 0), ("sea", 0), ("lake", 0), ("forest", 1), ("tree", 1), ("wood", 1), ("crop", 2)),
    *(("agri", 2), ("arable", 2), ("built", 3), ("urban", 3), ("residential", 3), ("building", 3), ("bare", 4)),
    *(("sand", 4), ("land (unpaved", 4), ("snow", 5), ("ice", 5), ("grass", 6), ("pasture", 6), ("herb", 6)),
    *(("road", 7), ("other", 7)),
)


def class_colours(class_names: Sequence[str]) -> list[str]:
    """One colour a class, as hex: the expected one where a name suggests it, else the next one that is free.

    Beyond twenty classes colours repeat.
    """
    chosen: dict[int, int] = {}
    for i, name in enumerate(class_names):
        positive = not name.lower().startswith(("no ", "not ", "non"))
        wanted = next((colour for part, colour in EXPECTED if positive and part in name.lower()), None)
        if wanted is not None and wanted not in chosen.values():
            chosen[i] = wanted
    order = (*FREE_FIRST, *range(8, len(PALETTE)))
    free = [colour for colour in order if colour not in chosen.values()] or list(order)
    rest = [i for i in range(len(class_names)) if i not in chosen]
    chosen.update({i: free[n % len(free)] for n, i in enumerate(rest)})
    return [PALETTE[chosen[i]] for i in range(len(class_names))]


def rgb(colour: str) -> tuple[int, int, int]:
    """Red, green and blue, 0 to 255, of a colour written as hex."""
    red, green, blue = (int(colour[i : i + 2], 16) for i in (1, 3, 5))
    return red, green, blue


def raster_style(classes: Sequence[str]) -> bytes:
    """Style of a raster of class numbers from 0."""
    root = Element("qgis", version="3.0", styleCategories="Symbology")
    pipe = SubElement(root, "pipe")
    renderer = SubElement(pipe, "rasterrenderer", type="paletted", band="1", opacity="1", alphaBand="-1")
    SubElement(renderer, "rasterTransparency")
    palette = SubElement(renderer, "colorPalette")
    for i, (name, colour) in enumerate(zip(classes, class_colours(classes), strict=True)):
        SubElement(palette, "paletteEntry", value=str(i), color=colour, label=name, alpha="255")
    return _written(root)


def vector_style(classes: Sequence[str], field: str) -> bytes:
    """Style of polygons by the class name in `field`."""
    root = Element("qgis", version="3.0", styleCategories="Symbology")
    renderer = SubElement(root, "renderer-v2", type="categorizedSymbol", attr=field, symbollevels="0", forceraster="0")
    categories, symbols = SubElement(renderer, "categories"), SubElement(renderer, "symbols")
    for i, (name, colour) in enumerate(zip(classes, class_colours(classes), strict=True)):
        SubElement(categories, "category", value=name, label=name, symbol=str(i), render="true")
        symbol = SubElement(symbols, "symbol", type="fill", name=str(i), alpha="1", clip_to_extent="1")
        layer = SubElement(symbol, "layer", {"class": "SimpleFill", "enabled": "1", "locked": "0", "pass": "0"})
        looks = {"color": "{},{},{},255".format(*rgb(colour)), "style": "solid", "outline_color": "90,90,90,255"}
        options = SubElement(layer, "Option", type="Map")
        for key, value in {**looks, "outline_width": "0.1", "outline_style": "solid"}.items():
            SubElement(options, "Option", type="QString", name=key, value=value)
            SubElement(layer, "prop", k=key, v=value)  # what QGIS before 3.26 reads
    return _written(root)


def _written(root: Element) -> bytes:
    indent(root)
    return _HEAD + tostring(root, encoding="utf-8") + b"\n"
