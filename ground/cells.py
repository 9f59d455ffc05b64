"""Cells of tables as people write them: decimal commas, thousands, percent signs, marks for what is not known."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable
from decimal import Decimal
from typing import Any

MISSING_MARKS = (
    "-", "--", "–", "—", "−", ".", "..", "...", "…", ":", "*", "**", "c", "s", "(s)", "(d)", "[c]", "[x]", "[z]", "n/a",
    "na", "n.a.", "n.d.", "nd", "#n/a", "nan", "null", "none", "<na>",
)  # fmt: skip
_SPACES = re.compile(r"[\s\u00a0\u2007\u2009\u202f']")  # an apostrophe groups thousands in Switzerland
_BOTH = re.compile(r"[+-]?\d{1,3}(?:([.,])\d{3})+([.,])\d+")
_ONE = re.compile(r"[+-]?\d*([.,])(\d+)")
_PLAIN = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?")
POINT, COMMA = ".", ","
_MEND = "correct it, or if it marks a missing value, say so"


class Suppressed:
    """A cell with a mark that its value is not known or not told; there is one, `SUPPRESSED`."""


SUPPRESSED = Suppressed()


class CellError(ValueError):
    """A cell that is no number; the message says why and what to do."""


def is_mark(text: str, marks: Iterable[str] = ()) -> bool:
    """Whether a cell says that its value is missing: one of `MISSING_MARKS`, in any case, or of `marks` as they are."""
    return text.lower() in MISSING_MARKS or text in marks


def decimal_mark(texts: Iterable[str]) -> str:
    """The decimal mark of a table, judged by all of its cells; CellError, with two of them, where they contradict.

    "1,234" alone is taken as a decimal comma.
    """
    seen: dict[str, str] = {}
    for raw in texts:
        text = _SPACES.sub("", raw.removesuffix("%"))
        both, one = _BOTH.fullmatch(text), _ONE.fullmatch(text)
        if both is not None and both[1] != both[2]:
            seen.setdefault(both[2], raw)
        elif one is not None:
            seen.setdefault(one[1], raw)
        if len(seen) == 2:
            advice = "say which with --decimal comma or --decimal point"
            raise CellError(f"has decimal commas ({seen[COMMA]!r}) and decimal points ({seen[POINT]!r}): {advice}")
    return next(iter(seen), POINT)


def number(cell: Any, decimal: str = POINT, marks: Iterable[str] = ()) -> tuple[float | Suppressed | None, bool]:
    """A cell's value, and whether a percent sign follows it: None for an empty one, `SUPPRESSED` for a marked one.

    CellError for anything that is not a finite number.
    """
    if cell is None or cell == "" or (isinstance(cell, float) and math.isnan(cell)):
        return None, False
    if isinstance(cell, bool) or not isinstance(cell, str | int | float | Decimal):
        raise CellError(f"{cell} is of type {type(cell).__name__}, not a number: did a spreadsheet turn it into one?")
    percent = False
    if isinstance(cell, str):
        if is_mark(cell, marks):
            return SUPPRESSED, False
        percent = cell.endswith("%")
        cell = _plain(cell, decimal)
    try:
        value = float(cell)
    except OverflowError:
        value = math.inf
    if not math.isfinite(value):
        raise CellError(f"{cell!r} is not finite; leave all cells of a missing row empty")
    return value, percent


def _plain(cell: str, decimal: str) -> str:
    """A number's text as Python writes it."""
    text = _SPACES.sub("", cell.removesuffix("%"))
    grouped = COMMA if decimal == POINT else POINT
    if grouped in text:
        whole, _, fraction = text.partition(decimal)
        if re.fullmatch(rf"[+-]?\d{{1,3}}(\{grouped}\d{{3}})+", whole) is None:
            if _PLAIN.fullmatch(text.replace(grouped, ".")) is None:
                raise CellError(f"{cell!r} is not a number; {_MEND}: --missing {cell!r}")
            raise CellError(f"{cell!r} is not a number with a decimal {_name(decimal)}; say --decimal {_name(grouped)}")
        text = whole.replace(grouped, "") + (decimal + fraction if fraction else "")
    text = text.replace(decimal, ".")
    if text.lower().lstrip("+-") in ("inf", "infinity"):
        return text
    if _PLAIN.fullmatch(text) is None:
        if cell.startswith("#"):
            raise CellError(f"{cell!r} is an error of the spreadsheet; mend its formula, or leave all cells empty")
        if cell.startswith(("<", ">", "≤", "≥", "~")):
            raise CellError(
                f"{cell!r} is a bound, not a number; give the number, or --missing {cell!r} to take it as unknown"
            )
        raise CellError(f"{cell!r} is not a number; {_MEND}: --missing {cell!r}")
    return text


def _name(mark: str) -> str:
    return "point" if mark == POINT else "comma"
