"""The report of a mission: one HTML file that needs no network and runs no script.

Two equal missions give identical files apart from the section `timing`, which holds what was measured on the machine.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from rich.table import Table

from sim import figures, report_chips, report_link, report_maps, report_power, report_scores, report_summary
from sim.record import MissionRecord, TaskResult
from sim.report_html import Markup, document, element, join, picture, table
from sim.report_maps import write_map_png
from sim.report_style import Canvas
from sim.report_summary import count, figure, is_number, mission_time, write_atomically, write_summary

__all__ = ["console_table", "write_map_png", "write_report", "write_summary"]

MAX_TASKS = 12  # with a section of their own
MEASURED = {
    "retask_cpu_s": "CPU time to change the task [s]",
    "chips_per_s": "chips taken in [1/s]",
    "flight_peak_rss_bytes": "peak resident memory of the flight process [bytes]",
}


def write_report(record: MissionRecord, out_dir: Path) -> Path:
    """Write `report.html` into `out_dir` and return its path."""
    title = f"Mission report: {record.summary.get('scenario', 'n/a')}"
    sections = [
        _header(record),
        *(_task(record, number, task) for number, task in enumerate(record.tasks[:MAX_TASKS])),
        _examples(record),
        _timeline(record),
        _section("link", "Link", *report_link.parts(record)),
        _section("modes", "Modes and power", *report_power.parts(record)),
        _operations(record),
        _scenario(record),
        _timing(record),
    ]
    if not record.tasks:
        sections.insert(1, _section("tasks", "Tasks", element("p", "No task was given to the satellite.")))
    body = element("main", Markup("\n".join(s for s in sections if s)))
    foot = element("footer", f"Imagery: {record.region_name}. Licence: {record.licence}.")
    return write_atomically(out_dir / "report.html", document(title, join(body, foot)))


def console_table(record: MissionRecord) -> Table:
    """The mission as a table for the terminal: key figures, then each task against its baselines."""
    return report_summary.console_table(record)


def _section(anchor: str, title: str, *parts: str) -> Markup:
    return element("section", Markup("\n"), element("h2", title), join(*parts), id=anchor)


def _picture(canvas: Canvas, alt: str, caption: str) -> Markup:
    return picture(canvas.png(), canvas.width_px, canvas.height_px, alt, caption)


def _header(record: MissionRecord) -> Markup:
    s = record.summary
    facts = [
        ("Region", record.region_name),
        ("Epoch", record.epoch_utc),
        ("Duration", f"{record.duration_s / 3600:.1f} h"),
        ("Seed", s.get("seed", "n/a")),
        ("Link", record.scenario.get("link_preset", "n/a")),
        ("Learner", s.get("learner", "n/a")),
        ("Kernels", s.get("kernels", "n/a")),
    ]
    tiles = [
        element(
            "div",
            element("dt", name),
            element("dd", value, class_="value"),
            element("dd", note, class_="note") if note else "",
        )
        for name, value, note in report_summary.key_figures(record)
    ]
    links = [(f"task-{i}", f"Task {i + 1}") for i in range(min(len(record.tasks), MAX_TASKS))]
    links += [("examples", "Example chips")] if record.examples is not None else []
    links += [("timeline", "Error against time"), ("link", "Link"), ("modes", "Modes and power")]
    links += [("operations", "Operations")]
    links += [("scenario", "Scenario"), ("timing", "Timing")]
    return join(
        element("p", "swath mission report", class_="eyebrow"),
        element("h1", s.get("scenario", "n/a")),
        element("dl", *(element("div", element("dt", k), element("dd", v)) for k, v in facts), class_="facts"),
        element("p", report_summary.verdict(record), class_="verdict"),
        element("dl", *tiles, class_="tiles"),
        element("nav", *(element("a", name, href=f"#{anchor}") for anchor, name in links), aria_label="Sections"),
    )


def _task(record: MissionRecord, number: int, task: TaskResult) -> Markup:
    maps = (
        _maps(record, task)
        if record.geographic
        else element(
            "p",
            "This imagery carries no coordinates: its chip grid is made up, and a map of it would mean nothing. "
            "Shown instead: true against predicted proportions, and example chips.",
            class_="note",
        )
    )
    title = f"Task {number + 1}: {task.name}"
    return _section(
        f"task-{number}",
        title,
        maps,
        _scatter(task),
        report_scores.scores(task),
        report_scores.by_split(task),
        report_scores.per_class(task),
    )


def _maps(record: MissionRecord, task: TaskResult) -> Markup:
    canvas = report_maps.map_figure(task, record.municipality_map)
    n_chips, n_sent, n_received = (report_maps.known(grid) for grid in (task.truth, task.municipality, task.prediction))
    share = 100 / max(n_chips, 1)
    error = figure(report_maps.received_error(task))
    rows, cols = task.test.shape
    alt = (
        f"Four maps of {rows} by {cols} chips for {task.name}: true class proportions, the municipality rows that were "
        f"uplinked, the prediction as received on the ground and its absolute error. Soft MAE on test chips: {error}."
    )
    caption = (
        f"{n_chips:,} chips; {n_sent * share:.0f} % lie in a municipality whose row was uplinked, and for "
        f"{n_received * share:.0f} % a prediction was received. Colours are mixed by class proportion; the error "
        "is the mean over classes of |predicted − true| in a chip. Thin lines are municipality borders, thick ones "
        f"outline the test municipalities, whose rows were never sent. Soft MAE there, where received: {error}. "
        "Grey among the labels without such an outline: rows of validation municipalities, and rows that are missing "
        "or that were held back."
    )
    if 0 < n_received < n_chips:
        caption += (
            f" For {n_chips - n_received:,} chips no prediction of this task came down, because they were imaged when "
            "another task was current, or too late, or their file was lost: grey in the prediction and its error."
        )
    return _picture(canvas, alt, caption)


def _scatter(task: TaskResult) -> Markup:
    canvas = report_chips.scatter_figure(task)
    if canvas is None:
        return element("p", "No prediction for a test chip was received on the ground.", class_="note")
    n = len(report_maps.received(task)[0])
    alt = f"Scatter plots of predicted against true proportion for {task.name}, one a class; the table has the figures."
    shown = min(len(task.class_names), report_chips.MAX_SCATTERS)
    which = "Each class" if shown == len(task.class_names) else f"The {shown} most common classes"
    caption = f"{which}, test chips received ({n:,}). A perfect prediction lies on the diagonal."
    return _picture(canvas, alt, caption)


def _examples(record: MissionRecord) -> Markup:
    examples = record.examples
    if examples is None:
        return Markup("")
    if not len(examples.images):
        return _section("examples", "Example chips", element("p", "No example chips were kept."))
    n_classes = examples.truth.shape[1]
    task = next((task for task in record.tasks if len(task.class_names) == n_classes), None)
    names = task.class_names if task else tuple(f"class {k}" for k in range(n_classes))
    canvas = report_chips.example_figure(examples, names)
    of = f" for {task.name}" if task else ""
    alt = f"{min(len(examples.images), report_chips.MAX_EXAMPLES)} chips with true and predicted class proportions{of}."
    caption = f"Test chips as the camera saw them; below each its true and its predicted class proportions{of}."
    return _section("examples", "Example chips", _picture(canvas, alt, caption))


def _timeline(record: MissionRecord) -> Markup:
    last = record.samples[-1] if record.samples else None
    alt = (
        "Soft MAE on unseen municipalities against mission time, on board and as known on the ground, with the "
        f"training mean and the chip's own municipality as reference lines, {len(record.passes)} passes, "
        f"{len(record.imaging)} imaging overpasses and {len(record.marks)} marks. At the end: on board "
        f"{figure(last.mae_soft_on_board if last else None)}, on the ground "
        f"{figure(last.mae_soft_on_ground if last else None)}."
    )
    caption = (
        "The error on board is that of the model as it is; the ground knows only the predictions that it has received. "
        "After a change of task both begin anew, and the ground's error may rise for a while: what came down first are "
        "quick-looks, one value for a block of chips, or predictions of an earlier model, and later chips may "
        "be harder. Reference lines are drawn for the task that is current, before its first model as well. Shaded: "
        "passes, of which those that adjoin merge; hatched: passes that were lost."
    )
    rows = [
        [i + 1, mission_time(m.t_s), m.kind, m.text] for i, m in enumerate(sorted(record.marks, key=lambda m: m.t_s))
    ]
    marks = table("Marks", ["no.", "mission time", "kind", "what happened"], rows)
    return _section(
        "timeline", "Error against mission time", _picture(figures.error_figure(record), alt, caption), marks
    )


def _operations(record: MissionRecord) -> Markup:
    imaging = [
        [o.scene, mission_time(o.start_s), f"{o.end_s - o.start_s:.0f}", count(o.n_chips)] for o in record.imaging
    ]
    events = sorted(record.event_counts.items(), key=lambda item: (-item[1], item[0]))
    told = element("p", "“restarted” counts every start of the flight process, the first included.", class_="note")
    pair = element(
        "div",
        element("div", table("Imaging overpasses", ["scene", "start", "length [s]", "chips"], imaging)),
        element("div", table("Events by name", ["event", "count"], [[name, count(n)] for name, n in events]), told),
        class_="pair",
    )
    return _section("operations", "Operations", report_link.passes(record), pair)


def _scenario(record: MissionRecord) -> Markup:
    rows = [[element("code", path), value] for path, value in _flat(record.scenario)]
    digest = record.summary.get("weights_sha256")
    weights = element("p", "SHA-256 of the final weights: ", element("code", digest)) if digest else ""
    return _section(
        "scenario", "Scenario", table("Everything that was asked for", ["setting", "value"], rows, 300), weights
    )


def _flat(value: Any, path: str = "", depth: int = 0) -> Iterator[tuple[str, str]]:
    """Nested tables as (path, value), in their own order; lists of plain values stay on one line."""
    if isinstance(value, Mapping) and depth < 8:
        for key, item in value.items():
            yield from _flat(item, f"{path}.{key}" if path else str(key), depth + 1)
    elif isinstance(value, (list, tuple)) and depth < 8 and any(isinstance(item, (Mapping, list)) for item in value):
        for i, item in enumerate(value):
            yield from _flat(item, f"{path}[{i}]", depth + 1)
    elif isinstance(value, (list, tuple)):
        yield path, ", ".join(_setting(item) for item in value) or "none"
    else:
        yield path, _setting(value)


def _setting(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    return f"{value:.9g}" if isinstance(value, float) else str(value)


def _timing(record: MissionRecord) -> Markup:
    s = record.summary
    rows = [[name, _measure(s[key])] for key, name in MEASURED.items() if is_number(s.get(key))]
    rows += [[path, value] for path, value in _flat(s.get("timings") or {})]
    note = "Measured on the machine that ran the simulation; all else in this report follows from scenario and seed."
    return _section("timing", "Timing", element("p", note, class_="note"), table("Measured", ["figure", "value"], rows))


def _measure(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.3g}"
