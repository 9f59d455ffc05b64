"""The mission against time: error, passes and marks in one figure, the link in another."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.ticker import MaxNLocator, MultipleLocator

from sim.record import Mark, MissionRecord, TaskResult
from sim.report_style import (
    FAINT,
    FONT,
    INK,
    LOST,
    MUTED,
    ON_BOARD,
    ON_GROUND,
    PASS,
    WIDTH_PX,
    Canvas,
    plain,
    points,
)
from sim.report_summary import figure, is_number, size

MAX_SAMPLES = 4000  # drawn points of a curve
MAX_SPANS = 400  # drawn passes, overpasses and marks
MAX_ROWS = 6  # of labels above the error
MAX_KINDS = 9  # bars of one direction
REFERENCES = (("training mean", "#4d5761", (0, (6, 3))), ("own municipality", "#00795a", (0, (1.5, 2))))
MARK_COLOURS = (("label", "#0072b2"), ("task", "#8a3c86"), ("restart", "#b35c00"), ("", "#b03060"))  # the rest: faults


class TimeUnit(NamedTuple):
    """The unit of a time axis."""

    name: str
    seconds: float


def time_unit(duration_s: float) -> TimeUnit:
    """Minutes, hours or days, whichever reads best for a mission of that length."""
    if duration_s < 3 * 3600:
        return TimeUnit("minutes", 60.0)
    return TimeUnit("hours", 3600.0) if duration_s <= 96 * 3600 else TimeUnit("days", 86400.0)


def time_axis(ax: Axes, duration_s: float, unit: TimeUnit) -> None:
    """From the epoch to the end of the mission, with ticks that suit minutes, hours of the day, or days."""
    end = max(duration_s, 60.0) / unit.seconds
    ax.set_xlim(0, end)
    steps = (1, 2, 3, 6, 12) if unit.name == "hours" else (1, 2, 5, 10, 15, 30, 60)
    step = next((s for s in steps if end / s <= 10), -(-end // 10)) if end > 1 else end / 2
    ax.xaxis.set_major_locator(MultipleLocator(step))


def task_spans(record: MissionRecord) -> list[tuple[TaskResult, float, float]]:
    """When each task was the current one, as (task, from, until) in mission seconds."""
    tasks = {task.task_id: task for task in record.tasks}
    starts: list[tuple[int, float]] = []
    for sample in record.samples:
        if not starts or starts[-1][0] != sample.task_id:
            starts.append((sample.task_id, sample.t_s))
    ends = [t for _, t in starts[1:]] + [record.duration_s] * bool(starts)
    spans = zip(starts, ends, strict=True)
    return [(tasks[task_id], start, end) for (task_id, start), end in spans if task_id in tasks]


def error_figure(record: MissionRecord) -> Canvas:
    """Soft MAE on board and as known on the ground, with reference lines, passes, overpasses and marks."""
    unit = time_unit(record.duration_s)
    left, width, plot = 64, 786, 300
    marks = sorted(record.marks, key=lambda mark: mark.t_s)[:MAX_SPANS]
    rows = mark_rows(marks, width / max(record.duration_s, 60.0))
    lane = 17 * (1 + max((row for row, _ in rows), default=-1)) + 8
    canvas = Canvas(WIDTH_PX, lane + plot + 152)
    ax = canvas.axes(left, lane, width, plot)
    time_axis(ax, record.duration_s, unit)
    ax.tick_params(labelbottom=False)
    _grid(ax)
    _shade_passes(ax, record, unit)
    ends = _curves(ax, record, unit) + _reference_lines(ax, record, unit)
    _limit_error(ax, record)
    _end_labels(ax, ends, plot)
    ax.set_ylabel("soft MAE, unseen municipalities", fontsize=points(11.5), color=INK, family=FONT)
    _marks(canvas, ax, marks, rows, unit, (left, lane, width))
    strip = canvas.axes(left, lane + plot + 10, width, 46, sharex=ax)
    _lanes(strip, record, unit)
    strip.set_xlabel(f"mission time [{unit.name} since the epoch]", fontsize=points(11.5), color=INK, family=FONT)
    canvas.legend(_error_legend(), lane + plot + 112, 4)
    return canvas


def _curves(ax: Axes, record: MissionRecord, unit: TimeUnit) -> list[tuple[float, str, str]]:
    samples = record.samples[:: -(-len(record.samples) // MAX_SAMPLES) or 1]
    hours = np.array([s.t_s for s in samples]) / unit.seconds
    ends = []
    for label, colour, width, values in (
        ("on the ground", ON_GROUND, 1.5, [s.mae_soft_on_ground for s in samples]),
        ("on board", ON_BOARD, 2.0, [s.mae_soft_on_board for s in samples]),
    ):
        series = np.array([v if is_number(v) else np.nan for v in values], dtype=float)
        dash = "-" if label == "on board" else (0, (5, 1.5))
        ax.plot(hours, series, drawstyle="steps-post", color=colour, lw=width, ls=dash, zorder=4)
        known = series[np.isfinite(series)]
        if len(known):
            ends.append((float(known[-1]), f"{label} {figure(float(known[-1]))}", colour))
    if not ends:
        style = {"transform": ax.transAxes, "ha": "center", "va": "center", "family": FONT}
        ax.text(0.5, 0.5, "no model was trained in this mission", fontsize=points(14), color=MUTED, **style)
    return ends


def _reference_lines(ax: Axes, record: MissionRecord, unit: TimeUnit) -> list[tuple[float, str, str]]:
    """Each task's baselines over the time in which it was current; returns those that reach the end."""
    ends = []
    spans = task_spans(record)
    for task, start, end in spans:
        for name, colour, dash in REFERENCES:
            value = task.baselines.get(name, {}).get("mae_soft")
            if is_number(value):
                ax.hlines(value, start / unit.seconds, end / unit.seconds, colors=colour, ls=dash, lw=1.3, zorder=3)
                if task is spans[-1][0] and end == spans[-1][2]:
                    ends.append((float(value), f"{name} {figure(value)}", colour))
    return ends


def _limit_error(ax: Axes, record: MissionRecord) -> None:
    values = [v for s in record.samples for v in (s.mae_soft_on_board, s.mae_soft_on_ground) if is_number(v)]
    values += [scores.get("mae_soft") for task in record.tasks for scores in task.baselines.values()]
    ax.set_ylim(0, 1.12 * max((v for v in values if is_number(v) and v > 0), default=0.4))


def _end_labels(ax: Axes, ends: list[tuple[float, str, str]], height_px: float) -> None:
    """Names and last values beside the right edge, moved apart where they would touch."""
    top = ax.get_ylim()[1]
    placed = -1e9
    for value, label, colour in sorted(ends):
        placed = max(value / top * height_px, placed + 15)
        at = (1 + 8 / 786, placed / height_px)
        ax.text(*at, label, transform=ax.transAxes, color=colour, fontsize=points(11.5), va="center", family=FONT)


def _shade_passes(ax: Axes, record: MissionRecord, unit: TimeUnit) -> None:
    for one in record.passes[:MAX_SPANS]:
        span = one.aos_s / unit.seconds, one.los_s / unit.seconds
        if one.lost:
            ax.axvspan(*span, facecolor="none", edgecolor=LOST, hatch="//////", lw=0.4, alpha=0.75, zorder=1)
        else:
            ax.axvspan(*span, facecolor=PASS, edgecolor="none", zorder=0.5)


def _lanes(ax: Axes, record: MissionRecord, unit: TimeUnit) -> None:
    """Two lanes under the error: contact and imaging."""
    least = 0.0022 * record.duration_s  # or a short pass would be narrower than a pixel
    for one in record.passes[:MAX_SPANS]:
        bar = (one.aos_s / unit.seconds, max(one.los_s - one.aos_s, least) / unit.seconds)
        style = {"facecolor": "white", "edgecolor": LOST, "hatch": "////////"} if one.lost else {"facecolor": "#5b8db8"}
        ax.broken_barh([bar], (1.15, 0.7), lw=0.7, **style)
    for one in record.imaging[:MAX_SPANS]:
        bar = (one.start_s / unit.seconds, max(one.end_s - one.start_s, least) / unit.seconds)
        ax.broken_barh([bar], (0.15, 0.7), facecolor="#009e73", lw=0)
    ax.set_ylim(0, 2)
    ax.set_yticks([0.5, 1.5], ["imaging", "passes"])
    ax.tick_params(axis="y", length=0)
    ax.spines["left"].set_visible(False)


def mark_rows(marks: Sequence[Mark], px_per_s: float) -> list[tuple[int, str]]:
    """For each mark the row of its label above the plot (0 the lowest, -1 none) and the label.

    Labels are laid out from the last mark to the first, each above all that its text would cross: so no vertical line
    runs through a text.
    """
    result: list[tuple[int, str]] = [(-1, "")] * len(marks)
    taken: list[tuple[float, int]] = []
    for i in sorted(range(len(marks)), key=lambda i: (-marks[i].t_s, -i)):
        at = marks[i].t_s * px_per_s
        for label in (f"{i + 1} {plain(marks[i].kind, 18)}", f"{i + 1}"):
            end = at + 10 + 6.7 * len(label)
            row = 1 + max((row for x, row in taken if x < end), default=-1)
            if row < MAX_ROWS:
                taken.append((at, row))
                result[i] = (row, label)
                break
    return result


def _marks(
    canvas: Canvas,
    ax: Axes,
    marks: Sequence[Mark],
    rows: Sequence[tuple[int, str]],
    unit: TimeUnit,
    place: tuple[float, float, float],
) -> None:
    left, lane, width = place
    top = canvas.axes(left, 0, width, lane, sharex=ax)
    top.set_axis_off()
    top.set_ylim(0, lane)
    for mark, (row, label) in zip(marks, rows, strict=True):
        colour = next(c for part, c in MARK_COLOURS if part in mark.kind.lower())
        x = mark.t_s / unit.seconds
        ax.axvline(x, color=colour, lw=0.9, alpha=0.85, zorder=2)
        if row >= 0:
            top.plot([x, x], [0, 17 * row + 17], color=colour, lw=0.9, alpha=0.85, clip_on=False)
            at = (x, 17 * row + 10)
            style = {"textcoords": "offset points", "fontsize": points(11), "color": colour, "va": "center"}
            top.annotate(label, at, (points(4), 0), family=FONT, annotation_clip=False, **style)


def _error_legend() -> list[Artist]:
    dashes = [Line2D([], [], color=c, ls=d, lw=1.3) for _, c, d in REFERENCES]
    handles = [
        Line2D([], [], color=ON_BOARD, lw=2, label="model on board, test chips"),
        Line2D([], [], color=ON_GROUND, lw=1.5, ls=(0, (5, 1.5)), label="predictions received on the ground"),
        dashes[0],
        dashes[1],
        Patch(facecolor="#5b8db8", label="pass (contact)"),
        Patch(facecolor="white", edgecolor=LOST, hatch="////////", lw=0.7, label="pass lost"),
        Patch(facecolor="#009e73", label="imaging overpass"),
        Line2D([], [], color=MUTED, lw=0.9, label="numbered line: see the marks"),
    ]
    dashes[0].set_label("training mean")
    dashes[1].set_label("own municipality (oracle)")
    return handles


def link_figure(record: MissionRecord) -> Canvas:
    """Cumulative bytes each way against time with the passes, and the bytes by kind as bars."""
    unit = time_unit(record.duration_s)
    canvas = Canvas(WIDTH_PX, 358)
    samples = record.samples[:: -(-len(record.samples) // MAX_SAMPLES) or 1]
    hours = np.array([s.t_s for s in samples]) / unit.seconds
    directions = (
        ("uplink", ON_BOARD, [s.uplink_bytes for s in samples]),
        ("downlink", ON_GROUND, [s.downlink_bytes for s in samples]),
    )
    first: Axes | None = None
    for i, (name, colour, values) in enumerate(directions):
        top = 24 + 166 * i
        canvas.text(12, top - 22, f"{name}, cumulative", 12.5, weight="bold")
        ax = canvas.axes(76, top, 520, 122, sharex=first)
        first = first or ax
        _grid(ax)
        _shade_passes(ax, record, unit)
        ax.plot(hours, values, drawstyle="steps-post", color=colour, lw=1.8, zorder=4)
        time_axis(ax, record.duration_s, unit)
        ax.set_ylim(0, 1.1 * max(values, default=0) or 1)
        ax.yaxis.set_major_locator(MaxNLocator(4, integer=True))
        ax.yaxis.set_major_formatter(_axis_bytes(max(values, default=0)))
        ax.tick_params(labelbottom=i == 1)
        canvas.text(644, top - 22, f"{name} by kind", 12.5, weight="bold")
        _bars(canvas.axes(760, top, 190, 122), record.bytes_by_kind.get(name, {}), colour)
    if first is not None:
        canvas.text(336, 340, f"mission time [{unit.name} since the epoch]", 11.5, ha="center")
    return canvas


def _axis_bytes(most: float) -> Callable[[float, int], str]:
    """A tick formatter in the unit that suits the largest value."""
    name, scale = next((u for u in (("MB", 1e6), ("kB", 1e3)) if most >= u[1]), ("B", 1.0))
    return lambda value, _: f"{value / scale:g} {name}"


def _bars(ax: Axes, kinds: dict[str, int], colour: str) -> None:
    largest = sorted(kinds.items(), key=lambda item: (-item[1], item[0]))
    shown, rest = largest[:MAX_KINDS], sum(n for _, n in largest[MAX_KINDS:])
    shown += [("other", rest)] if rest else []
    names = [plain(name, 17) for name, _ in shown] or ["nothing sent"]
    values = [n for _, n in shown] or [0]
    at = np.arange(len(values))
    ax.barh(at, values, height=0.62, color=colour)
    ax.set_yticks(at, names)
    ax.set_ylim(max(len(values), 5) - 0.4, -0.6)
    ax.set_xlim(0, max(values) or 1)
    ax.set_xticks([])
    ax.tick_params(axis="y", length=0, labelcolor=INK)
    ax.spines["bottom"].set_visible(False)
    for y, value in zip(at, values, strict=True):
        style = {"textcoords": "offset points", "va": "center", "fontsize": points(11), "color": INK}
        ax.annotate(size(value), (value, y), (points(5), 0), family=FONT, annotation_clip=False, **style)


def _grid(ax: Axes) -> None:
    ax.grid(axis="y", color=FAINT, lw=0.6)
    ax.set_axisbelow(True)
