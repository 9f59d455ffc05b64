"""Chips of a task, one by one: true against predicted proportions, and examples to look at."""

from __future__ import annotations

import numpy as np
from matplotlib.axes import Axes
from matplotlib.patches import Patch
from numpy.typing import NDArray

from ground.styles import class_colours
from sim.record import ExampleChips, TaskResult
from sim.report_maps import class_handles, received
from sim.report_style import FONT, MUTED, NO_VALUE, WIDTH_PX, Canvas, legend_columns, plain, points

MAX_POINTS = 1500  # of one scatter plot
MAX_SCATTERS = 10  # classes with a scatter plot, the most common first
MAX_EXAMPLES = 12


def scatter_figure(task: TaskResult) -> Canvas | None:
    """True against predicted proportion of each test chip received, class by class; None if none was received."""
    truth, prediction = received(task)
    if not truth.size:
        return None
    step = -(-len(truth) // MAX_POINTS)
    common = np.argsort(-truth.mean(axis=0), kind="stable")[:MAX_SCATTERS]
    colours = class_colours(task.class_names)
    across, side, gap = 5, 154, 48
    canvas = Canvas(WIDTH_PX, (side + 66) * -(-len(common) // across) + 6)
    for i, k in enumerate(common):
        left, top = 44 + (i % across) * (side + gap), 24 + (i // across) * (side + 66)
        ax = canvas.axes(left, top, side, side)
        ax.plot([0, 1], [0, 1], color=MUTED, lw=0.8, zorder=3)
        style = {"s": 7, "lw": 0.25, "edgecolors": "#0006", "alpha": 0.55}
        ax.scatter(truth[::step, k], prediction[::step, k], color=colours[k], **style)
        ax.set_xlim(-0.02, 1.02)
        ax.set_ylim(-0.02, 1.02)
        ax.set_xticks([0, 0.5, 1], ["0", "0.5", "1"])
        ax.set_yticks([0, 0.5, 1], ["0", "0.5", "1"])
        canvas.text(left, top - 20, plain(task.class_names[k], 22), 12, weight="bold")
        ax.set_xlabel("true proportion", fontsize=points(11), color=MUTED, family=FONT, labelpad=2)
        if i % across == 0:
            ax.set_ylabel("predicted", fontsize=points(11), color=MUTED, family=FONT, labelpad=2)
    return canvas


def example_figure(examples: ExampleChips, class_names: tuple[str, ...]) -> Canvas:
    """Chips as the camera saw them, and under each its true and its predicted proportions as stacked bars."""
    n = min(len(examples.images), MAX_EXAMPLES)
    across, gap = 6, 18
    side = (WIDTH_PX - gap * (across - 1) - 40) / across
    colours = class_colours(class_names)
    handles = [*class_handles(class_names), Patch(facecolor=NO_VALUE, label="no prediction")]
    ncols = legend_columns(handles, WIDTH_PX)
    block = side + 58
    down = -(-n // across)
    canvas = Canvas(WIDTH_PX, down * block + 21 * -(-len(handles) // ncols) + 4)
    for i in range(n):
        left, top = 40 + (i % across) * (side + gap), (i // across) * block
        ax = canvas.axes(left, top, side, side)
        ax.imshow(_visible(examples.images[i]), interpolation="nearest", cmap="gray", vmin=0, vmax=255)
        ax.set_axis_off()
        bars = canvas.axes(left, top + side + 5, side, 36)
        _stacked(bars, 1, examples.truth[i], colours)
        _stacked(bars, 0, examples.prediction[i], colours)
        bars.set_xlim(0, 1)
        bars.set_ylim(-0.45, 1.45)
        bars.set_axis_off()
        if i % across == 0:
            canvas.text(34, top + side + 14, "true", 11, ha="right", va="center", color=MUTED)
            canvas.text(34, top + side + 33, "pred.", 11, ha="right", va="center", color=MUTED)
    canvas.legend(handles, down * block, ncols)
    return canvas


def _visible(image: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """The first three bands as RGB, or the first one alone."""
    return image[..., :3] if image.ndim == 3 and image.shape[-1] >= 3 else image.reshape(*image.shape[:2], -1)[..., 0]


def _stacked(ax: Axes, y: float, shares: NDArray[np.float32], colours: list[str]) -> None:
    if not np.isfinite(shares).all():
        ax.barh(y, 1, height=0.78, color=NO_VALUE)
        return
    left = 0.0
    for share, colour in zip(np.clip(shares, 0, 1).tolist(), colours, strict=True):
        ax.barh(y, share, left=left, height=0.78, color=colour, edgecolor="white", lw=0.3)
        left += share
