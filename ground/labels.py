"""Label tables from the statistics office: read, checked, turned into label sets, and written back.

Codes are text and keep their leading zeros. A municipality without a row, with a row of empty cells, or with a cell
that is marked as not known, is missing; a row with some cells left empty is an error.
"""

from __future__ import annotations

import csv
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from flight.link.labelset import LabelSet
from flight.link.region import Region
from ground.cells import Suppressed
from ground.columns import AREA, FRACTION, PERCENT, Entry, LabelOptions, Table
from ground.files import replaced
from ground.matching import Known, looks_like_total
from ground.sheets import SheetOptions, TableError, read_sheet

__all__ = [
    "LabelOptions",
    "LabelTable",
    "SheetOptions",
    "TableError",
    "in_order",
    "read_table",
    "to_label_set",
    "write_table",
]

TOLERANCE = 0.005
MOST_SUMS = 3  # wrong sums that are told row by row, if most rows are wrong
UNITS = (FRACTION, PERCENT, AREA)


@dataclass(frozen=True, eq=False)
class LabelTable:
    """A checked table: proportions float32 (len(codes), len(classes)), rows summing to 1, a NaN row is missing.

    `notes` say what its user should know, such as which rows are missing because a cell was suppressed.
    """

    codes: tuple[str, ...]
    classes: tuple[str, ...]
    proportions: NDArray[np.float32]
    source: str = "table"
    notes: tuple[str, ...] = ()


def read_table(
    path: Path,
    *,
    codes: Sequence[str] | None = None,
    classes: Sequence[str] | None = None,
    names: Mapping[str, str] | None = None,
    tolerance: float = TOLERANCE,
    sheet: SheetOptions = SheetOptions(),  # noqa: B008 (frozen)
    options: LabelOptions = LabelOptions(),  # noqa: B008 (frozen)
) -> LabelTable:
    """The label table in a CSV, Excel or Parquet file.

    Rows must sum to their whole within `tolerance` of it and are then normalised. Given `codes`, any other code is an
    error; `names` are those of municipalities, by code. Given `classes`, the table must have exactly those and takes
    their order. Raises TableError with the place of each problem, ValueError if an argument makes no sense.
    """
    if not 0 <= tolerance < 0.5:
        raise ValueError(f"tolerance is {tolerance}, must be at least 0 and below 0.5")
    if options.units not in UNITS:
        raise ValueError(f"units are {options.units!r}, must be one of {', '.join(UNITS)}")
    found: list[str] = []
    content = read_sheet(path, sheet)
    table = Table(content, options, found)
    known = Known(codes, names or {}, options.by_name)
    rows = _Rows(table, known, tolerance, found)
    table_classes = rows.classes
    if len(table_classes) < 2 and not found:
        found.append(f"has {len(table_classes)} class; a label table needs at least 2 columns beside the code")
    order = list(range(len(table_classes)))
    if classes is not None and set(classes) != set(table_classes):
        found.append(f"has the classes {', '.join(table_classes)}; expected {', '.join(classes)}")
    elif classes is not None:
        order = [table_classes.index(name) for name in classes]
        table_classes = tuple(classes)
    if found:
        raise TableError(content.source, found)
    proportions = np.array(list(rows.rows.values()), np.float64)[:, order]
    return LabelTable(tuple(rows.rows), table_classes, proportions.astype(np.float32), content.source, rows.notes())


class _Rows:
    """Rows by code, on the simplex or NaN; problems are appended to `found`."""

    def __init__(self, table: Table, known: Known, tolerance: float, found: list[str]) -> None:
        self.options, self.tolerance, self.found = table.options, tolerance, found
        other = self.options.other
        self.own_other = table.classes.index(other) if other in table.classes else None
        self.classes = table.classes if other is None or self.own_other is not None else (*table.classes, other)
        self.rows: dict[str, list[float]] = {}
        self.suppressed: list[str] = []
        self.summed = 0  # rows whose sum was looked at
        self.sums: list[tuple[str, str, float, float]] = []  # those that are wrong: place, code, sum, due sum
        firsts: dict[str, Entry] = {}
        totals = _column_totals(table.entries) if self.options.units == AREA else None
        for entry in table.entries:
            if looks_like_total(entry.code, entry.name, known) or (totals and _is_sum(entry, totals, known)):
                advice = "it would count everything twice: leave the row out"
                found.append(f"{entry.place}: {entry.name or entry.code!r} looks like a totals row; {advice}")
                continue
            code = known.code(entry, found)
            first = firsts.setdefault(code, entry)
            if first is not entry:
                found.append(
                    f"{entry.place}: municipality {code!r} was on {first.place} already{_named(first, entry)}; keep one"
                )
                continue
            self.rows[code] = self._row(entry, code) or [math.nan] * len(self.classes)
        self._tell_sums()

    def notes(self) -> tuple[str, ...]:
        """What happened to rows."""
        if not self.suppressed:
            return ()
        more = f" and {len(self.suppressed) - 10} more" if len(self.suppressed) > 10 else ""
        shown = ", ".join(self.suppressed[:10])
        n = len(self.suppressed)
        told = (
            "1 row has a value that is not known, and is missing"
            if n == 1
            else (f"{n} rows have a value that is not known, and are missing")
        )
        return (f"{told}: {shown}{more}",)

    def _row(self, entry: Entry, code: str) -> list[float] | None:
        """Proportions of a row; None if it is missing, or wrong."""
        values, at = entry.values, self.own_other
        if all(value is None for value in values):
            return None
        if any(isinstance(value, Suppressed) for value in [*values, entry.total]):
            self.suppressed.append(code)
            return None
        empty = [i for i, value in enumerate(values) if value is None and i != at]
        if empty:
            which = ", ".join(self.classes[i] for i in empty)
            advice = "give all classes (0 where there is none), mark what is not known with ':', or leave all empty"
            self.found.append(f"{entry.place}: municipality {code!r} has nothing for {which}; {advice}")
            return None
        numbers = [0.0 if value is None else float(value) for value in values]  # type: ignore[arg-type]
        if any(math.isnan(value) for value in numbers):
            return None
        whole = self._whole(entry, code, math.fsum(numbers))
        if whole is None:
            return None
        rest = whole - math.fsum(numbers)
        if at is not None and values[at] is None:
            numbers[at] = max(0.0, rest)
        elif len(numbers) < len(self.classes):
            numbers.append(max(0.0, rest))
        return self._normalised(entry, code, numbers, whole)

    def _whole(self, entry: Entry, code: str, total: float) -> float | None:
        """What a row's cells are parts of."""
        if self.options.total is not None:
            if not isinstance(entry.total, float) or not entry.total > 0:
                self.found.append(
                    f"{entry.place}, column {self.options.total!r}: must be the whole of the row, above 0"
                )
                return None
            return entry.total
        if self.options.units == AREA:
            if total > 0:
                return total
            advice = "leave its cells empty if nothing is known"
            self.found.append(f"{entry.place}: areas of municipality {code!r} are all 0; {advice}")
            return None
        return 100.0 if self.options.units == PERCENT else 1.0

    def _normalised(self, entry: Entry, code: str, numbers: list[float], whole: float) -> list[float] | None:
        total = math.fsum(numbers)
        self.summed += 1
        if abs(total - whole) <= self.tolerance * whole and total > 0:
            return [value / total for value in numbers]
        self.sums.append((entry.place, code, total, whole))
        return None

    def _tell_sums(self) -> None:
        """Wrong sums: of a few rows each, as mistakes in them; of most rows once, as what is wrong with the table."""
        if not self.sums:
            return
        of_table = 2 * len(self.sums) > self.summed
        middle = sorted(self.sums, key=lambda told: told[2] / told[3])[len(self.sums) // 2]
        advice = self._advice(*middle[2:]) if of_table or self.options.total is not None else ""
        if of_table and len(self.sums) > MOST_SUMS:
            shares = [total / whole for _, _, total, whole in self.sums]
            low, top = (f"{100 * share:.4g} %" for share in (min(shares), max(shares)))
            place, code, total, whole = middle
            of = f"of what they should, such as municipality {code!r} on {place} to {total:.6g} of {whole:g}"
            self.found.append(f"{len(self.sums)} of {self.summed} rows sum to {low} to {top} {of}{advice}")
            return
        for i, (place, code, total, whole) in enumerate(self.sums):
            limit = f"must be {whole:g} within {self.tolerance * whole:g}"
            told = advice if i == 0 or not of_table else ""
            self.found.append(f"{place}: proportions of municipality {code!r} sum to {total:.6g}, {limit}{told}")

    def _advice(self, total: float, whole: float) -> str:
        if self.options.total is not None:
            return f", the {self.options.total!r} of the row" + (
                "; --other NAME takes the rest" if total < whole else ""
            )
        for units, expected in ((FRACTION, 1.0), (PERCENT, 100.0)):
            if expected != whole and abs(total - expected) <= expected * max(self.tolerance, 0.005):
                return f"; they look like {units}: say --units {units}"
        if whole == 1.0 and 1.5 < total < 100:
            percent = "if they are percent, say --units percent, and --other NAME for the rest"
            return f"; {percent}; if they are areas or counts, say --units area"
        if total > 1.5 * whole:
            return "; if they are areas or counts, say --units area"
        return "; a class that takes the rest is made by --other NAME" if total < whole else ""


def _column_totals(entries: list[Entry]) -> list[float]:
    columns = zip(*(entry.values for entry in entries), strict=True)
    return [math.fsum(v for v in column if isinstance(v, float) and math.isfinite(v)) for column in columns]


def _is_sum(entry: Entry, totals: list[float], known: Known) -> bool:
    """Whether a row that is no municipality's is, class by class, the sum of all others: half of all there is."""
    if known.has(entry.code) or not any(totals):
        return False
    return all(isinstance(v, float) and abs(2 * v - t) <= 1e-6 * t for v, t in zip(entry.values, totals, strict=True))


def _named(first: Entry, second: Entry) -> str:
    return f", named {first.name!r} there and {second.name!r} here" if first.name != second.name else ""


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
    known = Known(codes, {}, by_name=False)
    unknown = [
        f"municipality {code!r} is not in the region{known.advice(code)}" for code in table.codes if code not in index
    ]
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
