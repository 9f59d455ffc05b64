"""Reports of benchmarks as files: what ``--json`` printed, read strictly."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

_MOST_BYTES = 16 << 20


class ReportError(ValueError):
    """A file that is no report of a benchmark; the message names the file and what is wrong with it."""


def read(path: Path) -> dict[str, Any]:
    """The report in `path`, as ``--json`` printed it; ReportError if it is none."""
    try:
        if path.stat().st_size > _MOST_BYTES:
            raise ReportError(f"{path}: {path.stat().st_size} bytes, a report has at most {_MOST_BYTES}")
        found = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ReportError(f"{path}: {error.strerror}") from error
    except ValueError as error:
        if isinstance(error, ReportError):
            raise
        raise ReportError(f"{path}: not one JSON object, as `python -m benchmarks NAME --json` prints it") from error
    if not isinstance(found, dict) or not isinstance(found.get("rows"), list):
        raise ReportError(f"{path}: no report of a benchmark: it has no rows")
    for i, row in enumerate(found["rows"]):
        if fault := _fault(row):
            raise ReportError(f"{path}: row {i}: {fault}")
        found["rows"][i] = {"value": None, "against": None, "ratio": None, "n": 1, "spread": None} | row
    if not isinstance(found.get("machine", {}), dict) or not isinstance(found.get("versions", {}), dict):
        raise ReportError(f"{path}: machine or versions is not an object")
    return found


def _fault(row: object) -> str:
    """What is wrong with a row; empty if nothing is."""
    if not isinstance(row, dict) or not isinstance(row.get("name"), str) or not isinstance(row.get("unit"), str):
        return "it has no name or no unit"
    for key in ("value", "spread", "ratio"):
        if not _is_figure(row.get(key)):
            return f"{row['name']}: {key} is {row[key]!r}, expected a finite number or null"
    against = row.get("against")
    if against is not None and not (
        isinstance(against, dict)
        and isinstance(against.get("name"), str)
        and _is_figure(against.get("value"))
        and against["value"] is not None
    ):
        return f"{row['name']}: against is {against!r}, expected a name and a value"
    return ""


def _is_figure(value: object) -> bool:
    return value is None or (isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value))
