"""The scores of a task in the mission report: of the whole, and class by class."""

from __future__ import annotations

from collections.abc import Mapping

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
FEW_CHIPS, FEW_MUNICIPALITIES = 200, 10  # of the test: fewer call for a caveat


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
    n_received, n_test = len(report_maps.received(task)[0]), report_maps.known(task.truth[task.test])
    other_chips = n_received != n_test
    if task.mae_soft_received is not None:
        name = f"{RECEIVED} ({n_received:,} of {n_test:,} chips)" if other_chips else RECEIVED
        columns += [(name, {"mae_soft": task.mae_soft_received})]
    columns += [(name, split_scores(values, task.class_names)[0]) for name, values in task.baselines.items()]
    keys = [key for key in SCORE_NAMES if any(key in values for _, values in columns)]
    keys += sorted({key for _, values in columns for key in values} - set(SCORE_NAMES))
    rows = []
    for key in keys:
        values = [values.get(key) for _, values in columns]
        rivals = [not (other_chips and name.startswith(RECEIVED)) for name, _ in columns]
        best = _best(values, rivals, key)
        rows.append([SCORE_NAMES.get(key, key), *(_marked(value, i in best) for i, value in enumerate(values))])
    header = ["score", *(f"{name} (oracle)" if name == "own municipality" else name for name, _ in columns)]
    oracle = (
        "Test municipalities only. “own municipality” spreads each test municipality's true row over its chips: those "
        "rows are never sent, so no model on board could know them. “received on the ground” is the error of the "
        "predictions that have come down, rounded to counts and perhaps of an earlier model, over the test chips among "
        "them; the model on board is scored on every test chip. The best figure of a row is bold, among those on the "
        "same chips."
    )
    found = table("Scores on unseen municipalities", header, rows)
    return join(found, element("p", oracle, class_="note") if rows else "")


def _best(values: list[float | None], rivals: list[bool], key: str) -> set[int]:
    """Which values of a score are the best among `rivals`; none of a score that nobody knows how to judge."""
    known = {i: v for i, v in enumerate(values) if rivals[i] and v is not None and is_number(v)}
    if not known or key not in SCORE_NAMES:
        return set()
    best = min(known.values()) if key in LOWER_IS_BETTER else max(known.values())
    return {i for i, v in known.items() if v == best}


def _marked(value: float | None, best: bool) -> Markup:
    text = figure(value)
    return element("span", text, class_="best") if best else Markup(text)


def by_split(task: TaskResult) -> Markup:
    """The model on training, validation and test chips: what tells few labelled municipalities from poor features."""
    if not task.by_split:
        return Markup("")
    rows = [
        [
            name,
            Markup(f"{score.n_municipalities:,}"),
            Markup(f"{score.n_rows_sent:,}"),
            Markup(f"{score.n_chips:,}"),
            figure(score.mae_soft),
            figure(score.r2_soft),
            Markup(f"{figure(score.worst_mae)} ({score.worst_cell[0]}, {score.worst_cell[1]})"),
        ]
        for name, score in task.by_split.items()
    ]
    header = ["split", "municipalities", "rows sent", "chips", "soft MAE", "soft R²", "worst chip (row, column)"]
    notes = [
        "The model on board, on chips of municipalities of each split. Training much better than test: too few "
        "labelled municipalities. Both poor: features, model or table. A chip's error is its mean over the classes."
    ]
    test = task.by_split.get("test")
    if test is not None and (test.n_chips < FEW_CHIPS or test.n_municipalities < FEW_MUNICIPALITIES):
        notes.append(
            f"{test.n_chips} test chips in {test.n_municipalities} "
            f"{'municipality' if test.n_municipalities == 1 else 'municipalities'} are few: with others, the figures "
            "of the test might be quite different. Look at all three rows, at the worst chips, and at other splits."
        )
    return join(table("Scores by split", header, rows), *(element("p", note, class_="note") for note in notes))


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
