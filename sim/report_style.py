"""Colours, fonts and canvases that all figures of the mission report share.

Figures are laid out in CSS pixels and drawn at twice that density through matplotlib's object interface, without
pyplot. Every text that comes from data passes `plain` first: no formulas, no control characters, no missing glyphs.
"""

from __future__ import annotations

import io
from functools import cache

import numpy as np
from matplotlib import font_manager
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from numpy.typing import NDArray

WIDTH_PX = 1020  # of every figure in the report, in CSS pixels
INK, MUTED, FAINT = "#1b1f24", "#59636e", "#d5dae0"
ON_BOARD, ON_GROUND, PASS, LOST = "#0072b2", "#d55e00", "#dbe7f1", "#b03060"
NO_VALUE = "#c4c9cf"  # a chip without a value: not sent, not received
FONT = "DejaVu Sans"  # comes with matplotlib, so that a report looks the same everywhere


def blend(proportions: NDArray[np.float32], colours: list[str]) -> NDArray[np.float32]:
    """Each cell as its classes would look from far away: colours mixed by proportion in linear light.

    Takes (rows, cols, n_classes), returns sRGB (rows, cols, 3) in [0, 1]; NaN cells stay NaN. The transfer function
    is that of IEC 61966-2-1.
    """
    srgb = np.array([[int(c[i : i + 2], 16) / 255 for i in (1, 3, 5)] for c in colours])
    linear = np.where(srgb <= 0.04045, srgb / 12.92, ((srgb + 0.055) / 1.055) ** 2.4)
    share = np.clip(proportions, 0, None)
    total = share.sum(axis=-1, keepdims=True)
    mixed = (share / np.where(total > 0, total, 1)) @ linear
    encoded = np.where(mixed <= 0.0031308, 12.92 * mixed, 1.055 * np.maximum(mixed, 0.0031308) ** (1 / 2.4) - 0.055)
    return np.clip(encoded, 0, 1).astype(np.float32)


@cache
def _glyphs() -> frozenset[int]:
    return frozenset(font_manager.get_font(font_manager.findfont(FONT)).get_charmap())


def plain(text: object, limit: int = 32) -> str:
    """`text` on one line, safe for matplotlib; beyond `limit` characters the middle is left out."""
    line = " ".join(str(text)[:1000].split())
    line = "".join(c if c.isprintable() and ord(c) in _glyphs() else "?" for c in line)
    if len(line) > limit:
        line = line[: limit - limit // 3 - 1] + "…" + line[-(limit // 3) :]
    return line.replace("$", r"\$")


def points(size_px: float) -> float:
    """A size in CSS pixels as matplotlib's points, on a canvas of 100 pixels an inch."""
    return size_px * 0.72


class Canvas:
    """A figure measured in CSS pixels from its upper left corner."""

    def __init__(self, width_px: float, height_px: float) -> None:
        self.width_px, self.height_px = width_px, height_px
        self.figure = Figure(figsize=(width_px / 100, height_px / 100), dpi=200, facecolor="white")
        FigureCanvasAgg(self.figure)

    def axes(self, left: float, top: float, width: float, height: float, sharex: Axes | None = None) -> Axes:
        """Axes at that place, plainly styled: two spines, small grey ticks."""
        box = (
            left / self.width_px,
            1 - (top + height) / self.height_px,
            width / self.width_px,
            height / self.height_px,
        )
        ax = self.figure.add_axes(box, sharex=sharex)
        ax.spines[["top", "right"]].set_visible(False)
        ax.spines[["left", "bottom"]].set_color("#9aa3ad")
        ax.tick_params(labelsize=points(11), labelcolor=MUTED, color="#9aa3ad", length=3, width=0.6)
        ax.tick_params(labelfontfamily=FONT)
        return ax

    def text(self, left: float, top: float, text: str, size_px: float = 12, **style: object) -> None:
        """A line of text whose upper left corner (or as `ha`, `va` say) is at that place; `text` must be `plain`."""
        style = {"ha": "left", "va": "top", "color": INK, "family": FONT, **style}
        self.figure.text(left / self.width_px, 1 - top / self.height_px, text, fontsize=points(size_px), **style)

    def legend(self, handles: list[Artist], top: float, ncols: int) -> None:
        """A legend without a frame, centred, whose upper edge is at `top`."""
        self.figure.legend(
            handles=handles,
            loc="upper center",
            bbox_to_anchor=(0.5, 1 - top / self.height_px),
            ncols=ncols,
            frameon=False,
            labelcolor=INK,
            prop={"family": FONT, "size": points(11.5)},
            handlelength=1.6,
            handleheight=0.9,
            columnspacing=1.6,
            borderpad=0,
            labelspacing=0.45,
        )

    def png(self) -> bytes:
        """The drawn figure as PNG, without date or software in it: equal figures give equal bytes."""
        buffer = io.BytesIO()
        self.figure.savefig(buffer, format="png", metadata={"Software": None})
        return buffer.getvalue()


def legend_columns(handles: list[Artist], width_px: float) -> int:
    """How many columns of a legend with these labels fit into `width_px`."""
    longest = max((len(str(handle.get_label())) for handle in handles), default=1)
    return int(max(1, min(len(handles), width_px // (54 + 7.2 * longest))))
