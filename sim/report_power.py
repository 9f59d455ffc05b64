"""Modes, battery and temperature against mission time: a figure and a table for the report."""

from __future__ import annotations

import numpy as np

from sim.figures import time_axis, time_unit
from sim.record import MissionRecord, ModeSpan
from sim.report_html import Markup, element, picture, table
from sim.report_style import FAINT, FONT, INK, ON_BOARD, ON_GROUND, WIDTH_PX, Canvas, points
from sim.report_summary import mission_time

MAX_SPANS = 400
LANES = ("train", "acquire", "idle", "safe", "down")
COLOURS = {"train": "#0072b2", "acquire": "#009e73", "idle": "#8a949e", "safe": "#d55e00", "down": "#4d5761"}
ACTIONS = {"throttle": "....", "pause": "////", "safe": "xxxx"}
LEFT, WIDTH = 76, 920


def parts(record: MissionRecord) -> list[Markup]:
    """The section: a figure and the changes of mode; a sentence if nothing ever changed and no board reported."""
    if not record.power and len(record.modes) < 2:
        mode = record.modes[0].mode if record.modes else "n/a"
        return [element("p", f"Mode {mode} throughout; the scenario has no power section.", class_="note")]
    canvas = power_figure(record)
    lowest = min((one.battery for one in record.power), default=float("nan"))
    alt = (
        f"Flight's mode against mission time, in {len(record.modes)} spans"
        + (f", battery (lowest {100 * lowest:.0f} %) and temperature of the payload" if record.power else "")
        + "; the table has the changes."
    )
    caption = "Grey: eclipse. Dotted, hatched, crossed: a limit throttles, pauses training, asks for safe mode."
    spans = record.modes[:MAX_SPANS]
    ends = [span.start_s for span in record.modes[1:]] + [record.duration_s]
    rows = [
        [mission_time(span.start_s), f"{end_s - span.start_s:,.0f}", span.mode, span.limit_action]
        for span, end_s in zip(spans, ends, strict=False)
    ]
    header = ["from", "length [s]", "mode", "limits ask for"]
    return [picture(canvas.png(), canvas.width_px, canvas.height_px, alt, caption), table("Modes", header, rows)]


def power_figure(record: MissionRecord) -> Canvas:
    """Modes as lanes; above them battery and temperature where a board reported, with the eclipses."""
    unit = time_unit(record.duration_s)
    tall = 132 if record.power else 0
    canvas = Canvas(WIDTH_PX, 2 * tall + 190)
    hours = np.array([one.t_s for one in record.power]) / unit.seconds
    lanes = canvas.axes(LEFT, 2 * tall + 24, WIDTH, 104)
    curves = (
        ("battery [%]", ON_BOARD, [100 * one.battery for one in record.power]),
        ("payload [°C]", ON_GROUND, [one.temperature_degc for one in record.power]),
    )
    for i, (label, colour, values) in enumerate(curves if record.power else ()):
        ax = canvas.axes(LEFT, 12 + tall * i, WIDTH, tall - 18, sharex=lanes)
        ax.grid(axis="y", color=FAINT, lw=0.6)
        for start_s, end_s in eclipses(record):
            ax.axvspan(start_s / unit.seconds, end_s / unit.seconds, facecolor="#e3e6ea", edgecolor="none", zorder=0.5)
        ax.plot(hours, values, color=colour, lw=1.6, zorder=3)
        ax.set_ylabel(label, fontsize=points(11.5), color=INK, family=FONT)
        if i == 0:
            ax.set_ylim(0, 104)
        ax.tick_params(labelbottom=False)
    _lanes(lanes, record, unit.seconds)
    time_axis(lanes, record.duration_s, unit)
    lanes.set_xlabel(f"mission time [{unit.name} since the epoch]", fontsize=points(11.5), color=INK, family=FONT)
    return canvas


def _lanes(ax, record: MissionRecord, unit_s: float) -> None:
    ends = [span.start_s for span in record.modes[1:]] + [record.duration_s]
    for span, end_s in list(zip(record.modes, ends, strict=False))[:MAX_SPANS]:
        bar = (span.start_s / unit_s, max(end_s - span.start_s, 0.0022 * record.duration_s) / unit_s)
        row = len(LANES) - 1 - LANES.index(span.mode)
        ax.broken_barh([bar], (row + 0.15, 0.7), **_style(span))
    ax.set_ylim(0, len(LANES))
    ax.set_yticks([row + 0.5 for row in range(len(LANES))], LANES[::-1])
    ax.tick_params(axis="y", length=0)
    ax.grid(axis="y", color=FAINT, lw=0.4)
    ax.set_axisbelow(True)
    ax.spines["left"].set_visible(False)


def _style(span: ModeSpan) -> dict[str, object]:
    hatch = ACTIONS.get(span.limit_action)
    if hatch is None:
        return {"facecolor": COLOURS[span.mode], "lw": 0}
    return {"facecolor": "white", "edgecolor": COLOURS[span.mode], "hatch": hatch, "lw": 0.7}


def eclipses(record: MissionRecord) -> list[tuple[float, float]]:
    """Intervals of shadow as the board reported them."""
    found: list[tuple[float, float]] = []
    start_s: float | None = None
    for one in record.power:
        if not one.sunlit and start_s is None:
            start_s = one.t_s
        elif one.sunlit and start_s is not None:
            found.append((start_s, one.t_s))
            start_s = None
    if start_s is not None:
        found.append((start_s, record.power[-1].t_s))
    return found
