"""The scores of a task in the mission report: of the whole, and class by class."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import numpy as np

from ground.styles import class_colours
from sim import report_maps
from sim.record import TaskResult
from sim.report_html import Markup, element, join, table
from sim.report_summary import figure, is_number

SCORE_NAMES = {
    "mae_soft": "soft MAE (lower is better)",
    "mae_argmax": "argmax MAE (lower is better)",
    "f1_micro": "micro-F1 (higher is better)",
    "iou": "IoU (higher is better)",
    "r2_soft": "soft R² (higher is better)",
    "chip_accuracy": "chip accuracy (higher is better)",
    "ece": "calibration error, ECE (lower is better)",
}
LOWER_IS_BETTER = ("mae_soft", "mae_argmax", "ece")
RECEIVED = "received on the ground"


def split_scores(
    scores: Mapping[str, float], class_names: tuple[str, ...]
) -> tuple[dict[str, float], dict[str, dict[str, float]]]:
    """Scores of the whole task, and those of one class, as {score: {class: value}}.

    A key belongs to a class if it ends in `_`, `:`, `/` or `.` and the name of that class: `f1_water`.
    """
    whole: dict[str, float] = {}
    single: dict[str, dict[str, float]] = {}
    for key, value in scores.items():
        name = next(
            (n for n in class_names if n and key.endswith(n) and key[-len(n) - 1 : -len(n)] in tuple("_:/.")), None
        )
        if name is None:
            whole[key] = value
        else:
            single.setdefault(key[: -len(name) - 1], {})[name] = value
    return whole, single


def scores(task: TaskResult) -> Markup:
    """The scores of the model on board, of what the ground has received, and of the reference lines, side by side."""
    columns = [("model on board", split_scores(task.scores, task.class_names)[0])]
    if task.mae_soft_received is not None:
        columns += [(RECEIVED, {"mae_soft": task.mae_soft_received})]
    columns += [(name, split_scores(values, task.class_names)[0]) for name, values in task.baselines.items()]
    keys = [key for key in SCORE_NAMES if any(key in values for _, values in columns)]
    keys += sorted({key for _, values in columns for key in values} - set(SCORE_NAMES))
    rows = []
    for key in keys:
        values = [values.get(key) for _, values in columns]
        rows.append(
            [SCORE_NAMES.get(key, key), *_marked(values, lower=key in LOWER_IS_BETTER, judge=key in SCORE_NAMES)]
        )
    header = ["score", *(f"{name} (oracle)" if name == "own municipality" else name for name, _ in columns)]
    oracle = (
        "Test municipalities only. “own municipality” spreads each test municipality's true row over its chips: those "
        "rows are never sent, so no model on board could know them. “received on the ground” is the error of the "
        "predictions that have come down, rounded to counts and perhaps of an earlier model, over the test chips among "
        "them; the model on board is scored on every test chip. The best figure of a row is bold."
    )
    found = table("Scores on unseen municipalities", header, rows)
    return join(found, element("p", oracle, class_="note") if rows else "")


def _marked(values: list[float | None], lower: bool, judge: bool) -> Iterator[object]:
    known = [v for v in values if is_number(v)]
    best = (min(known) if lower else max(known)) if known and judge else None
    for value in values:
        text = figure(value)
        yield element("span", text, class_="best") if best is not None and value == best else Markup(text)


def per_class(task: TaskResult) -> Markup:
    """One row a class, computed from what the ground received, and whatever the scores hold by class."""
    truth, prediction = (grid.astype(np.float64) for grid in report_maps.received(task))
    single = split_scores(task.scores, task.class_names)[1]
    rows = []
    for k, (name, colour) in enumerate(zip(task.class_names, class_colours(task.class_names), strict=True)):
        t, p = truth[:, k], prediction[:, k]
        cells = [
            figure(v) for v in ((t.mean(), p.mean(), (p - t).mean(), np.abs(p - t).mean()) if len(t) else [None] * 4)
        ]
        spread = ((t - t.mean()) ** 2).sum() if len(t) else 0.0
        cells.append(figure(1 - ((p - t) ** 2).sum() / spread) if spread > 0 else "n/a")
        swatch = element("span", class_="swatch", style=f"background:{colour}")
        extra = [figure(single[score].get(name)) for score in single]
        rows.append([Markup(swatch + element("span", name)), *cells, *extra])
    header = ["class", "true share", "predicted share", "bias", "MAE", "R²", *(f"{s}, on board" for s in single)]
    return table("By class, predictions received on test chips", header, rows, limit=255)
