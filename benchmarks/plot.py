"""A report as a picture: shares of the machine's limits, ratios to other implementations, seconds and memory."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from benchmarks.limits import BANDWIDTH, FMA

FORMATS = (".png", ".svg")
MISSING = "matplotlib is not installed: pip install matplotlib, or draw the JSON elsewhere (python -m benchmarks plot)"
_COLOURS = {"aot": "#1f6f8b", "jit": "#5aa9c4", "numpy": "#b8b8b8", "torch": "#d98c5f"}
_OTHER = "#7a7a7a"
_ROW_IN = 0.17
_MOST_ROWS = 400
Row = dict[str, Any]


class Panel(NamedTuple):
    """Rows that share an axis: the length of a bar, what stands at its end, and whether the axis is logarithmic."""

    title: str
    rows: list[Row]
    length: Callable[[Row], float]
    told: Callable[[Row], str]
    logarithmic: bool = False


def draw(report: dict[str, Any], path: Path) -> str:
    """Write the picture; what was done, or why it was not, in one line."""
    try:
        import matplotlib

        matplotlib.use("Agg")
        from matplotlib import pyplot
    except ImportError:
        return f"no plot: {MISSING}"
    panels = _panels([row for row in report["rows"] if row["value"] is not None][:_MOST_ROWS])
    if not panels:
        return "no plot: nothing was measured"
    sizes = [len(panel.rows) + 3.0 for panel in panels]
    figure, axes = pyplot.subplots(
        len(panels), 1, figsize=(11, _ROW_IN * sum(sizes) + 1), height_ratios=sizes, squeeze=False, layout="constrained"
    )
    for axis, panel in zip(axes[:, 0], panels, strict=True):
        _fill(axis, panel)
    figure.suptitle(_title(report), fontsize=9)
    figure.savefig(path, dpi=120)
    pyplot.close(figure)
    return f"plot: {path}"


def _panels(rows: list[Row]) -> list[Panel]:
    """Shares and ratios, then seconds and memory; of a report without any of these, every unit by itself."""
    shares = [row for row in rows if row["against"] and row["against"]["name"] in (FMA, BANDWIDTH)]
    ratios = [row for row in rows if row["against"] and row["ratio"] and row not in shares]
    rest = [row for row in rows if row not in shares and row not in ratios]
    found = [
        Panel("share of the machine's limit", shares, _ratio, lambda row: f"{row['ratio']:.3g} of {_other(row)}"),
        Panel("times the other's figure", ratios, _ratio, lambda row: f"{row['ratio']:.3g} x {_other(row)}", True),
    ]
    units = ("s", "MB") if shares or ratios else tuple(dict.fromkeys(row["unit"] for row in rest))
    for unit in units:
        found.append(
            Panel(unit or "1", [row for row in rest if row["unit"] == unit], _value, lambda row: f"{row['value']:.4g}")
        )
    return [panel for panel in found if panel.rows]


def _ratio(row: Row) -> float:
    return float(row["ratio"])


def _value(row: Row) -> float:
    return float(row["value"])


def _other(row: Row) -> str:
    return str(row["against"]["name"])


def _fill(axis: Any, panel: Panel) -> None:
    rows = panel.rows[::-1]
    lengths = [panel.length(row) for row in rows]
    left = 1.0 if panel.logarithmic else 0.0
    axis.barh(range(len(rows)), [length - left for length in lengths], left=left, color=[_colour(row) for row in rows])
    for place, (row, length) in enumerate(zip(rows, lengths, strict=True)):
        axis.text(max(length, left), place, f" {panel.told(row)}", va="center", fontsize=6)
    if panel.logarithmic:
        axis.set_xscale("log")
        axis.axvline(1.0, color="black", linewidth=0.8)
    axis.set_yticks(range(len(rows)), [row["name"] for row in rows], fontsize=6)
    axis.set_title(panel.title, fontsize=8, loc="left")
    axis.tick_params(axis="x", labelsize=6)
    axis.margins(x=0.2, y=0.01)


def _colour(row: Row) -> str:
    """By whose figure it is, which stands in the last part of the name that names somebody."""
    for part in reversed(row["name"].split(" / ")):
        who = part.partition(" beside ")[0].partition(",")[0].split(" ")[0]
        if who in _COLOURS:
            return _COLOURS[who]
    return _OTHER


def _title(report: dict[str, Any]) -> str:
    machine = report.get("machine", {})
    board = machine.get("board") or machine.get("system") or ""
    return f"{report.get('benchmark', '')}: {board}, {machine.get('processor', '')}"
