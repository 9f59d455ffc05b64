"""Label tables from the statistics office: read, checked, turned into label sets, and written back.

Two forms are told apart by their header. *Wide*: a column of municipality codes and a column a class, a row a
municipality. *Long*: columns for code, class and proportion, a row a pair. Codes are text and keep their leading zeros.
A municipality without a row, or with a row of empty cells, is missing; a row with some cells empty is an error.
"""

from __future__ import annotations

import csv
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from flight.link.labelset import LabelSet
from flight.link.region import Region
from ground.files import replaced
from ground.sheets import Sheet, TableError, read_sheet

__all__ = ["LabelTable", "TableError", "in_order", "read_table", "to_label_set", "write_table"]

TOLERANCE = 0.005
_CODE_NAMES = ("code", "municipality", "municipality_code", "bag", "id", "geoid", "codigo", "código")
_CLASS_NAMES = ("class", "class_name", "category")
_VALUE_NAMES = ("proportion", "share", "fraction", "value")


@dataclass(frozen=True, eq=False)
class LabelTable:
    """A checked table: proportions float32 (len(codes), len(classes)), rows summing to 1, a NaN row is missing."""

    codes: tuple[str, ...]
    classes: tuple[str, ...]
    proportions: NDArray[np.float32]
    source: str = "table"


def read_table(
    path: Path,
    *,
    codes: Sequence[str] | None = None,
    classes: Sequence[str] | None = None,
    tolerance: float = TOLERANCE,
    delimiter: str = ",",
) -> LabelTable:
    """The label table in a CSV or Parquet file.

    Rows must sum to 1 within `tolerance` and are then normalised. Given `codes`, any other code is an error; given
    `classes`, the table must have exactly those and takes their order. Raises TableError with the place of each
    problem, ValueError if `tolerance` makes no sense.
    """
    if not 0 <= tolerance < 0.5:
        raise ValueError(f"tolerance is {tolerance}, must be at least 0 and below 0.5")
    sheet = read_sheet(path, delimiter)
    found: list[str] = []
    names = [name.lower() for name in sheet.header]
    if any(name in _CLASS_NAMES for name in names) and any(name in _VALUE_NAMES for name in names):
        entries, table_classes = _long(sheet, names, found)
    else:
        entries, table_classes = _wide(sheet, names, found)
    if len(table_classes) < 2 and not found:
        found.append(f"has {len(table_classes)} class; a label table needs at least 2 columns beside the code")
    if classes is not None and set(classes) != set(table_classes):
        found.append(f"has the classes {', '.join(table_classes)}; expected {', '.join(classes)}")
    elif classes is not None:
        order = [table_classes.index(name) for name in classes]
        table_classes = tuple(classes)
        entries = [(place, code, [row[i] for i in order]) for place, code, row in entries]
    rows = _checked(entries, table_classes, codes, tolerance, found)
    if found:
        raise TableError(sheet.source, found)
    table = np.array(list(rows.values()), np.float64)
    return LabelTable(tuple(rows), table_classes, table.astype(np.float32), sheet.source)


Entry = tuple[str, str, list[float | None]]


def _wide(sheet: Sheet, names: list[str], found: list[str]) -> tuple[list[Entry], tuple[str, ...]]:
    """Place, code and cells of each row, in the order of the class columns."""
    at = next((i for i, name in enumerate(names) if name in _CODE_NAMES), 0)
    others = [i for i in range(len(names)) if i != at]
    entries: list[Entry] = []
    for place, row in zip(sheet.places, sheet.rows, strict=True):
        code = _text(row[at], place, sheet.header[at], found)
        cells = [_number(row[i], place, sheet.header[i], found) for i in others]
        if code is not None:
            entries.append((place, code, cells))
    return entries, tuple(sheet.header[i] for i in others)


def _long(sheet: Sheet, names: list[str], found: list[str]) -> tuple[list[Entry], tuple[str, ...]]:
    """The same from rows of code, class and proportion; classes in order of appearance."""
    at_class = next(i for i, name in enumerate(names) if name in _CLASS_NAMES)
    at_value = next(i for i, name in enumerate(names) if name in _VALUE_NAMES)
    rest = [i for i in range(len(names)) if i not in (at_class, at_value)]
    if len(rest) != 1:
        expected = "a table in long form has three: code, class, proportion"
        raise TableError(sheet.source, [f"has the columns {', '.join(sheet.header)}; {expected}"])
    cells: dict[str, dict[str, float | None]] = {}
    places: dict[str, str] = {}
    classes: dict[str, None] = {}
    for place, row in zip(sheet.places, sheet.rows, strict=True):
        code = _text(row[rest[0]], place, sheet.header[rest[0]], found)
        name = _text(row[at_class], place, sheet.header[at_class], found)
        value = _number(row[at_value], place, sheet.header[at_value], found)
        if code is None or name is None:
            continue
        classes[name] = None
        of_code = cells.setdefault(code, {})
        places.setdefault(code, place)
        if name in of_code:
            found.append(f"{place}: municipality {code!r} has class {name!r} twice; keep one")
        of_code[name] = value
    entries = [(places[code], code, [of.get(name) for name in classes]) for code, of in cells.items()]
    return entries, tuple(classes)


def _text(cell: Any, place: str, column: str, found: list[str]) -> str | None:
    if isinstance(cell, str) and cell:
        return cell
    if cell is None or cell == "":
        found.append(f"{place}, column {column!r}: is empty")
    else:
        advice = "numbers lose their leading zeros: store codes as text"
        found.append(f"{place}, column {column!r}: {cell!r} is of type {type(cell).__name__}; {advice}")
    return None


def _number(cell: Any, place: str, column: str, found: list[str]) -> float | None:
    """A proportion, None for an empty cell, or NaN for a bad one, which is noted."""
    if cell is None or cell == "":
        return None
    where = f"{place}, column {column!r}"
    try:
        if isinstance(cell, bool) or not isinstance(cell, str | int | float | Decimal):
            raise ValueError
        value = float(cell)
    except (ValueError, OverflowError):
        if isinstance(cell, str) and "," in cell:
            found.append(f"{where}: {cell!r} is not a number; write a decimal point instead of a comma")
        else:
            found.append(f"{where}: {cell!r} is not a number; every column beside the code must be a class")
        return math.nan
    if not math.isfinite(value):
        found.append(f"{where}: {cell!r} is not finite; leave all cells of a missing row empty")
    elif value < 0:
        found.append(f"{where}: {cell} is negative")
    else:
        return value
    return math.nan


def _checked(
    entries: list[Entry], classes: tuple[str, ...], codes: Sequence[str] | None, tolerance: float, found: list[str]
) -> dict[str, list[float]]:
    """Normalised rows by code; problems are appended to `found`."""
    known = None if codes is None else set(codes)
    places: dict[str, str] = {}
    rows: dict[str, list[float]] = {}
    for place, code, cells in entries:
        if code in places:
            found.append(f"{place}: municipality {code!r} was on {places[code]} already; keep one")
            continue
        places[code] = place
        if known is not None and code not in known:
            found.append(f"{place}: municipality {code!r} is not in the region{_zeros(code, known)}")
        empty = [name for name, cell in zip(classes, cells, strict=True) if cell is None]
        if len(empty) == len(cells):
            rows[code] = [math.nan] * len(cells)
            continue
        values = [cell for cell in cells if cell is not None]
        total = math.fsum(values)
        if empty:
            advice = "give all classes (0 where there is none) or leave all empty"
            found.append(f"{place}: municipality {code!r} has nothing for {', '.join(empty)}; {advice}")
        elif abs(total - 1) > tolerance:
            percent = "; they look like percent: divide by 100" if abs(total - 100) <= 100 * tolerance else ""
            limit = f"must be 1 within {tolerance:g}"
            found.append(f"{place}: proportions of municipality {code!r} sum to {total:.6g}, {limit}{percent}")
        else:  # a NaN total is a row with a bad cell, which has been told
            rows[code] = [value / total for value in values]
    return rows


def _zeros(code: str, known: set[str]) -> str:
    """Advice if the code would be known with its leading zeros."""
    padded = next((code.zfill(n) for n in range(len(code) + 1, len(code) + 6) if code.zfill(n) in known), None)
    return f", but {padded!r} is: were leading zeros lost?" if padded else "; check the code or leave the row out"


def to_label_set(
    table: LabelTable, region: Region | None, task_id: int = 1, version: int = 1, levels: int = 32
) -> LabelSet:
    """The table as a label set in the order of the region's codes; municipalities without a row are missing.

    Without a region the table's own codes stand for it, as region 0. TableError if a code is not in the region.
    """
    if region is None:
        return in_order(table, table.codes, 0, task_id, version, levels)
    return in_order(table, region.codes, region.region_id, task_id, version, levels)


def in_order(
    table: LabelTable, codes: Sequence[str], region_id: int, task_id: int, version: int, levels: int
) -> LabelSet:
    """The same for a region of which only the codes and the id are at hand."""
    index = {code: i for i, code in enumerate(codes)}
    known = set(codes)
    unknown = [f"municipality {c!r} is not in the region{_zeros(c, known)}" for c in table.codes if c not in known]
    if unknown:
        raise TableError(table.source, unknown)
    proportions = np.full((len(codes), len(table.classes)), np.nan, np.float32)
    proportions[[index[code] for code in table.codes]] = table.proportions
    return LabelSet(region_id, task_id, version, table.classes, proportions, levels)


def write_table(path: Path, table: LabelTable) -> None:
    """Write `table` as CSV in wide form, whole or not at all; a missing row has empty cells. Read back, it is equal."""
    with replaced(path) as partial, partial.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["code", *table.classes])
        for code, row in zip(table.codes, table.proportions, strict=True):
            writer.writerow([code, *_texts(row)])


def _texts(row: Iterable[np.float32]) -> list[str]:
    return ["" if np.isnan(value) else np.format_float_positional(value, trim="0") for value in row]
