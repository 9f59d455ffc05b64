"""A mission in a few figures: as JSON for machines, as a sentence and as a table for the terminal."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from rich.markup import escape
from rich.table import Table

from sim.record import MissionRecord

MAX_DEPTH = 16


def write_summary(summary: Mapping[str, Any], out_dir: Path) -> Path:
    """Write `summary.json` into `out_dir` and return its path; the same values always give the same bytes.

    Keys are sorted, floats rounded to nine significant digits, NaN and infinities become null. TypeError names the
    path of a value that JSON cannot hold.
    """
    text = json.dumps(_plain(summary, "summary"), sort_keys=True, indent=2, ensure_ascii=True, allow_nan=False)
    return write_atomically(out_dir / "summary.json", text + "\n")


def write_atomically(path: Path, content: str | bytes) -> Path:
    """Write a file so that a reader finds the old content or all of the new, and never a part of it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(path.name + ".partial")
    with partial.open("wb") as file:
        file.write(content.encode("utf-8") if isinstance(content, str) else content)
        file.flush()
        os.fsync(file.fileno())
    return partial.replace(path)


def _plain(value: Any, path: str, depth: int = 0) -> Any:
    if depth > MAX_DEPTH:
        raise TypeError(f"{path}: nested deeper than {MAX_DEPTH} levels")
    if isinstance(value, Mapping):
        return {str(key): _plain(item, f"{path}.{key}", depth + 1) for key, item in value.items()}
    if isinstance(value, np.ndarray):
        value = value.tolist()
    if isinstance(value, (list, tuple)):
        return [_plain(item, f"{path}[{i}]", depth + 1) for i, item in enumerate(value)]
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, float):
        return float(f"{value:.9g}") if math.isfinite(value) else None
    if value is None or isinstance(value, (bool, int, str)):
        return value
    raise TypeError(f"{path}: JSON cannot hold a {type(value).__name__}; use numbers, strings, lists and tables")


def figure(value: Any, digits: int = 3) -> str:
    """A score with that many decimals, or n/a; a true minus sign, so that columns line up."""
    if not is_number(value):
        return "n/a"
    return f"{round(value, digits) + 0.0:.{digits}f}".replace("-", "−")


def count(value: Any) -> str:
    """A whole number in groups of three, or n/a."""
    return f"{int(value):,}" if is_number(value) else "n/a"


def number(n: int, one: str, many: str | None = None) -> str:
    """So many of something: "1 pass", "1,200 passes"; `many` where an s would not do."""
    return f"{n:,} {one if n == 1 else many or one + 's'}"


def size(value: Any) -> str:
    """Bytes in decimal units with three significant digits, as link budgets have them."""
    if not is_number(value):
        return "n/a"
    for unit in ("B", "kB", "MB"):
        if abs(value) < 999.5 or unit == "MB":
            break
        value /= 1000
    return (
        f"{value:.0f} B" if unit == "B" else f"{value:,.{0 if value >= 99.95 else 1 if value >= 9.995 else 2}f} {unit}"
    )


def mission_time(t_s: float) -> str:
    """Mission time as T+ hours:minutes:seconds, with days in front when there are any."""
    if not is_number(t_s):
        return "n/a"
    minutes, seconds = divmod(round(t_s), 60)
    hours, minutes = divmod(minutes, 60)
    days, hours = divmod(hours, 24)
    return f"T+{f'{days}d ' if days else ''}{hours:02d}:{minutes:02d}:{seconds:02d}"


def is_number(value: Any) -> bool:
    """Whether it is a finite number, numpy's included."""
    return isinstance(value, (int, float, np.integer, np.floating)) and math.isfinite(value)


def verdict(record: MissionRecord) -> str:
    """One sentence: the soft MAE on unseen municipalities against the two lines that it should be read against."""
    model, mean, own = (record.summary.get(k) for k in ("mae_soft", "baseline_mean_mae", "baseline_own_bag_mae"))
    if not is_number(model):
        return "No model was trained on board, so there is no error to report."
    current = [task.name for task in record.tasks if task.scores.get("mae_soft") == model]
    of = f" for {current[0][:80]}" if len(record.tasks) > 1 and current else ""
    sentence = (
        f"On municipalities whose labels were never sent, the model on board has a soft MAE{of} of {figure(model)}"
    )
    if is_number(mean) and mean > 0:
        sentence += f": {_against(model, mean)} the {figure(mean)} of predicting the training mean everywhere"
    if is_number(own) and own > 0:
        sentence += (
            f", and {_against(model, own)} the {figure(own)} of spreading each municipality's true row over its own "
            "chips (an oracle: those rows are never sent)"
        )
    return sentence + "."


def _against(value: float, reference: float) -> str:
    change = round(100 * (value / reference - 1))
    if change == 0:
        return "level with"
    return f"{abs(change)} % {'below' if change < 0 else 'above'}"


def lost_passes(record: MissionRecord) -> int:
    """How many passes were lost."""
    return sum(one.lost for one in record.passes)


def key_figures(record: MissionRecord) -> list[tuple[str, str, str]]:
    """The mission's main figures as (name, value, note); nothing in here depends on the machine."""
    s = record.summary
    sent, lost = s.get("frames_sent"), s.get("frames_lost")
    share = f"{100 * lost / sent:.1f} % lost" if is_number(sent) and is_number(lost) and sent else "none lost"
    labelled = f"{count(s.get('n_labelled'))} of {count(s.get('n_municipalities'))}"
    per_row = s.get("label_payload_bytes"), s.get("n_labelled")
    rate = f"{per_row[0] / per_row[1]:.1f} B a municipality; " if all(map(is_number, per_row)) and per_row[1] else ""
    by = f", computed by {s['kernels']}" if s.get("kernels") else ""
    return [
        ("soft MAE", figure(s.get("mae_soft")), "lower is better"),
        ("argmax MAE", figure(s.get("mae_argmax")), "lower is better"),
        ("micro-F1", figure(s.get("f1_micro")), "higher is better"),
        ("IoU", figure(s.get("iou")), "higher is better"),
        ("soft R²", figure(s.get("r2_soft")), "higher is better"),
        ("label files", size(s.get("label_payload_bytes")), f"{rate}{size(s.get('label_packet_bytes'))} in packets"),
        ("municipalities labelled", labelled, f"{count(s.get('n_chips'))} chips"),
        ("sent up in all", size(s.get("uplink_bytes")), f"{size(s.get('downlink_bytes'))} came down"),
        ("passes", count(s.get("passes")), f"{lost_passes(record)} lost; frames: {share}"),
        ("model", count(s.get("n_parameters")), f"parameters, {s.get('learner', 'n/a')}{by}"),
        ("encoder", *_encoder(s)),
    ]


def _encoder(summary: Mapping[str, Any]) -> tuple[str, str]:
    """What chips were seen through at the end; loudly so if that was not what it should have been."""
    used, missing = summary.get("encoder"), summary.get("encoders_missing")
    if used:
        return used["name"], f"{used['precision']}, {used['runtime']}, {used['digest'][:16]}"
    return "MISSING" if missing else "none", "chips are seen by the statistics of their cells"


def console_table(record: MissionRecord) -> Table:
    """The mission as a table for the terminal: key figures, then each task against its baselines."""
    s = record.summary
    name = escape(str(s.get("scenario", "n/a"))[:60])
    table = Table(title=f"{name}, seed {escape(str(s.get('seed', 'n/a')))}: {escape(record.region_name[:60])}")
    table.add_column("figure")
    table.add_column("value", justify="right")
    table.add_column("remark", style="dim")
    for row in key_figures(record):
        table.add_row(*(escape(cell[:80]) for cell in row))
    for task in record.tasks:
        table.add_section()
        best = task.scores.get("mae_soft")
        table.add_row(escape(f"task {task.task_id}: {task.name[:40]}"), figure(best), "soft MAE, unseen municipalities")
        received = figure(task.mae_soft_received)
        table.add_row("  as received on the ground", received, "soft MAE, test chips among it")
        for baseline, scores in task.baselines.items():
            table.add_row(escape(f"  {baseline[:40]}"), figure(scores.get("mae_soft")), "soft MAE")
    table.add_section()
    table.add_row("weights", escape(str(s.get("weights_sha256") or "n/a")[:16]), "SHA-256, first 16 digits")
    return table
