"""Maps of a task: truth, uplinked labels, prediction as received, and error."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import matplotlib
import numpy as np
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.colorbar import ColorbarBase
from matplotlib.colors import Normalize, to_rgb
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from numpy.typing import NDArray

from ground.styles import class_colours
from sim.record import MissionRecord, TaskResult
from sim.report_style import (
    FONT,
    INK,
    MUTED,
    NO_VALUE,
    WIDTH_PX,
    Canvas,
    blend,
    legend_columns,
    plain,
    points,
)
from sim.report_summary import figure, write_atomically

MAX_CELLS = 480  # of a drawn map, along its longer side
MAX_LEGEND = 24  # named classes in a legend
ERROR_MAP = "magma_r"


@dataclass(frozen=True)
class TaskMaps:
    """A task's maps at drawing size: proportions (r, c, n_classes), error and masks (r, c), NaN where without value."""

    truth: NDArray[np.float32]
    municipality: NDArray[np.float32]
    prediction: NDArray[np.float32]
    error: NDArray[np.float32]  # absolute, mean over classes
    test: NDArray[np.bool_]
    borders: NDArray[np.int32] | None
    factor: int  # chips along the side of a drawn cell


def task_maps(task: TaskResult, municipality_map: NDArray[np.int32] | None) -> TaskMaps:
    """The maps, averaged over blocks of chips until the longer side has at most 480 cells."""
    rows, cols, n_classes = task.truth.shape
    factor = max(1, -(-max(rows, cols) // MAX_CELLS))
    error = np.zeros((rows, cols), np.float32)
    for k in range(n_classes):
        error += np.abs(task.prediction[..., k] - task.truth[..., k]) / np.float32(n_classes)
    layers = (task.truth, task.municipality, task.prediction)
    truth, municipality, prediction = (
        np.stack([_block_mean(layer[..., k], factor) for k in range(n_classes)], axis=-1) for layer in layers
    )
    borders = None if municipality_map is None else _block_pick(municipality_map, factor)
    test = _block_pick(task.test, factor)
    return TaskMaps(truth, municipality, prediction, _block_mean(error, factor), test, borders, factor)


def _block_mean(grid: NDArray[np.float32], factor: int) -> NDArray[np.float32]:
    """The mean of each block of factor x factor cells over those that have a value."""
    if factor == 1:
        return grid.astype(np.float32)
    pad = [(0, -n % factor) for n in grid.shape]
    blocks = np.pad(grid, pad, constant_values=np.nan)
    blocks = blocks.reshape(blocks.shape[0] // factor, factor, blocks.shape[1] // factor, factor)
    known = np.isfinite(blocks)
    n = known.sum(axis=(1, 3))
    total = np.where(known, blocks, 0).sum(axis=(1, 3))
    return np.where(n > 0, total / np.maximum(n, 1), np.nan).astype(np.float32)


def _block_pick(grid: NDArray, factor: int) -> NDArray:
    """The value in the middle of each block."""
    if factor == 1:
        return grid
    pad = [(0, -n % factor) for n in grid.shape]
    return np.pad(grid, pad, mode="edge")[factor // 2 :: factor, factor // 2 :: factor]


def edge_segments(values: NDArray) -> NDArray[np.float64]:
    """Lines (n, 2, 2) in (x, y) between neighbouring cells of different value, joined into straight runs."""
    pieces = []
    for axis in (0, 1):
        grid = values if axis == 0 else values.T
        differs = np.zeros((max(grid.shape[0] - 1, 0), grid.shape[1] + 2), bool)
        differs[:, 1:-1] = grid[1:] != grid[:-1]
        line, start = np.nonzero(differs[:, 1:] & ~differs[:, :-1])
        end = np.nonzero(~differs[:, 1:] & differs[:, :-1])[1]
        across, along = line + 0.5, np.stack([start, end], axis=1) - 0.5
        run = np.stack([along, np.broadcast_to(across[:, None], along.shape)], axis=-1)
        pieces.append(run if axis == 0 else run[..., ::-1])
    return np.concatenate(pieces).astype(float)


def map_figure(task: TaskResult, municipality_map: NDArray[np.int32] | None) -> Canvas:
    """Truth, municipality rows as uplinked, prediction as received and its absolute error, side by side."""
    maps = task_maps(task, municipality_map)
    panels = [
        ("Truth", maps.truth),
        ("Labels: one row a municipality", maps.municipality),
        ("Prediction, as received", maps.prediction),
        ("Absolute error of the prediction", maps.error),
    ]
    return _panels(task, maps, panels)


def triptych(task: TaskResult, municipality_map: NDArray[np.int32] | None, title: str) -> Canvas:
    """Truth, prediction and error with a title: one picture that stands by itself."""
    maps = task_maps(task, municipality_map)
    panels = [
        ("Truth", maps.truth),
        ("Prediction, as received on the ground", maps.prediction),
        ("Absolute error, mean over classes", maps.error),
    ]
    return _panels(task, maps, panels, title)


def _panels(task: TaskResult, maps: TaskMaps, panels: list[tuple[str, NDArray]], title: str = "") -> Canvas:
    rows, cols = maps.error.shape
    across = len(panels) if cols <= 2 * rows else 2
    gap, bar = 14, 70
    margin = 14 if title else 0
    width = (WIDTH_PX - 2 * margin - bar - gap * (across - 1)) / across
    height = min(max(width * rows / cols, 40), 460)
    down = -(-len(panels) // across)
    line = 34 if down == 1 else 46
    handles = _map_legend(task, maps)
    ncols = legend_columns(handles, WIDTH_PX)
    head = margin + 32 if title else 0
    legend_top = head + down * (height + line) + 14
    canvas = Canvas(WIDTH_PX, legend_top + 21 * -(-len(handles) // ncols) + 4 + margin)
    if title:
        canvas.text(margin, margin, plain(title, 110), 15, weight="bold")
    vmax = error_limit(maps.error)
    for i, (name, values) in enumerate(panels):
        left, top = margin + (i % across) * (width + gap), head + (i // across) * (height + line)
        canvas.text(left, top + 2, name, 12.5, weight="bold")
        ax = canvas.axes(left, top + 24, width, height)
        if values.ndim == 3:
            _draw(ax, _rgb(blend(values, class_colours(task.class_names)), maps), maps, dark=True)
        else:
            _draw(ax, _rgb(_error_rgb(values, vmax), maps), maps, dark=False)
            drawn = min(height, width * rows / cols)
            bar_top = top + 24 + (height - drawn) / 2
            _colour_bar(canvas.axes(left + width + 8, bar_top, 10, drawn), vmax, bool((values > vmax).any()))
        if i == 0:
            _scale_bar(ax, maps.factor)
    canvas.legend(handles, legend_top, ncols)
    return canvas


def class_handles(class_names: tuple[str, ...]) -> list[Artist]:
    """Legend entries: a swatch for each class, and a word about those beyond the first 24."""
    shown = list(zip(class_names, class_colours(class_names), strict=True))[:MAX_LEGEND]
    handles: list[Artist] = [Patch(facecolor=c, edgecolor="#0004", lw=0.4, label=plain(name)) for name, c in shown]
    if len(class_names) > MAX_LEGEND:
        handles.append(Line2D([], [], lw=0, label=f"and {len(class_names) - MAX_LEGEND} more classes"))
    return handles


def _map_legend(task: TaskResult, maps: TaskMaps) -> list[Artist]:
    handles = [*class_handles(task.class_names), Patch(facecolor=NO_VALUE, label="row not sent / nothing received")]
    white = ~np.isfinite(maps.truth).all(axis=-1)
    if white.any():
        chips = maps.borders is not None and (maps.borders[white] >= 0).any()
        label = "no chip, or no truth" if chips else "no chip"
        handles.append(Patch(facecolor="white", edgecolor="#0006", lw=0.6, label=label))
    if maps.test.any():
        handles.append(Line2D([], [], color="black", lw=1.6, label="test municipalities"))
    return handles


def error_limit(error: NDArray[np.float32]) -> float:
    """The upper end of the error's colours: the 98th percentile, rounded up to a twentieth."""
    known = error[np.isfinite(error)]
    return float(max(0.05, np.ceil(np.quantile(known, 0.98) * 20 - 1e-6) / 20)) if known.size else 0.05


def _error_rgb(error: NDArray[np.float32], vmax: float) -> NDArray[np.float32]:
    rgb = matplotlib.colormaps[ERROR_MAP](np.clip(np.nan_to_num(error) / vmax, 0, 1))[..., :3].astype(np.float32)
    rgb[~np.isfinite(error)] = np.nan
    return rgb


def _rgb(rgb: NDArray[np.float32], maps: TaskMaps) -> NDArray[np.float32]:
    """Cells without a value grey where there is land to know about, white where there is no chip."""
    empty = ~np.isfinite(rgb).all(axis=-1)
    land = np.isfinite(maps.truth).all(axis=-1)
    rgb = rgb.copy()
    rgb[empty & land] = to_rgb(NO_VALUE)
    rgb[empty & ~land] = 1.0
    return rgb


def _draw(ax: Axes, rgb: NDArray[np.float32], maps: TaskMaps, dark: bool) -> None:
    ax.imshow(rgb, interpolation="nearest", resample=False)
    ax.set_xticks([])
    ax.set_yticks([])
    ax.spines[:].set_visible(False)
    if maps.borders is not None:
        lines = edge_segments(maps.borders)
        thin = float(np.clip(12 / np.sqrt(len(lines) + 1), 0.12, 0.4))
        ax.add_collection(LineCollection(lines, colors="black" if dark else "#404040", lw=thin, alpha=0.55))
    outline = edge_segments(np.pad(maps.test, 1)) - 1
    strong = float(np.clip(60 / np.sqrt(len(outline) + 1), 0.5, 1.3))
    ax.add_collection(LineCollection(outline, colors="white", lw=2.2 * strong, alpha=0.8, capstyle="projecting"))
    ax.add_collection(LineCollection(outline, colors="black", lw=strong, capstyle="projecting"))
    rows, cols = maps.error.shape
    ax.set_xlim(-1, cols)
    ax.set_ylim(rows, -1)


def _colour_bar(ax: Axes, vmax: float, clipped: bool) -> None:
    beyond = "max" if clipped else "neither"  # an arrow: the last colour stands for more as well
    ColorbarBase(ax, cmap=matplotlib.colormaps[ERROR_MAP], norm=Normalize(0, vmax), extend=beyond)
    ax.tick_params(labelsize=points(10.5), labelcolor=MUTED, length=2, labelfontfamily=FONT)
    marks = [f"{v:.3g}" for v in (0, vmax / 2, vmax)]
    ax.set_yticks([0, vmax / 2, vmax], [*marks[:2], f"≥ {marks[2]}" if clipped else marks[2]])
    for spine in ax.spines.values():
        spine.set_linewidth(0.4)


def _scale_bar(ax: Axes, factor: int) -> None:
    cols = ax.get_xlim()[1]
    rows = ax.get_ylim()[0]
    chips = next((n for n in (1000, 500, 200, 100, 50, 20, 10, 5, 2) if n <= cols * factor / 4), 1)
    ax.plot([0, chips / factor], [rows + 0.02 * rows] * 2, color=INK, lw=1.6, clip_on=False, solid_capstyle="butt")
    style = {"textcoords": "offset points", "va": "center", "fontsize": points(10.5), "color": MUTED, "family": FONT}
    label = f"{chips} chips" if chips > 1 else "1 chip"
    ax.annotate(label, (chips / factor, rows + 0.02 * rows), (points(5), 0), annotation_clip=False, **style)


def write_map_png(record: MissionRecord, task: TaskResult, path: Path) -> Path:
    """Write truth, prediction and error of `task` with legend as one PNG of 2040 pixels' width; returns `path`."""
    error = received_error(task)
    of_test = "" if np.isnan(error) else f", soft MAE {figure(error)} on test chips received"
    title = f"{record.region_name}: {task.name}{of_test}"
    return write_atomically(path, triptych(task, record.municipality_map, title).png())


def known(grid: NDArray[np.float32]) -> int:
    """How many chips of a grid (..., n_classes) have a value for every class."""
    found = np.ones(grid.shape[:-1], bool)
    for k in range(grid.shape[-1]):
        found &= np.isfinite(grid[..., k])
    return int(found.sum())


def received(task: TaskResult) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Truth and prediction (n, n_classes) of the test chips whose prediction arrived."""
    known = task.test.copy()
    for k in range(task.truth.shape[2]):
        known &= np.isfinite(task.truth[..., k]) & np.isfinite(task.prediction[..., k])
    return task.truth[known], task.prediction[known]


def received_error(task: TaskResult) -> float:
    """Soft MAE of the predictions received, over the test chips among them; NaN if there are none."""
    truth, prediction = received(task)
    return float(np.abs(truth.astype(np.float64) - prediction).mean()) if truth.size else float("nan")
