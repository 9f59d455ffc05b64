"""Which columns of a table hold codes, classes and totals, and the cells of each municipality in the order of classes.

Two forms are told apart by their header. *Wide*: a column of municipality codes and a column a class, a row a
municipality. *Long*: columns for code, class and proportion, a row a pair.
"""

from __future__ import annotations

import difflib
import math
from dataclasses import dataclass
from typing import Any

from ground.cells import CellError, Suppressed, decimal_mark, is_mark, number
from ground.sheets import Sheet, TableError

FRACTION, PERCENT, AREA = "fraction", "percent", "area"
_CODE_NAMES = ("code", "municipality", "municipality_code", "bag", "id", "geoid", "codigo", "código")
_NAME_NAMES = ("name", "municipality_name", "nombre", "nom", "municipio", "denominacion", "denominación", "gemeinde")
_TOTAL_NAMES = ("total", "sum", "totals", "suma", "summe", "gesamt", "insgesamt", "area_total", "total_area")
_OTHER_NAMES = ("year", "año", "date", "period", "province", "region", "country", "unit", "notes", "source")
_CLASS_NAMES = ("class", "class_name", "category")
_VALUE_NAMES = ("proportion", "share", "fraction", "value", "percent", "area")


@dataclass(frozen=True)
class LabelOptions:
    """How a label table is meant.

    Attributes:
        units: "fraction", rows sum to 1; "percent", to 100; "area", of any scale.
        decimal: "." or ","; None judges by the cells.
        code_column: the column of codes; None looks for one of the usual names, else takes the first.
        classes: the columns that are classes; empty for all that are nothing else.
        ignore: columns to leave out.
        total: a column with the whole of each row; classes and `other` are shares of it.
        other: a class that has what the others leave of the whole.
        missing: further marks for values that are not known.
        zero_pad: digits that a code is filled up to with leading zeros.
        by_name: the code column holds names.
    """

    units: str = FRACTION
    decimal: str | None = None
    code_column: str | None = None
    classes: tuple[str, ...] = ()
    ignore: tuple[str, ...] = ()
    total: str | None = None
    other: str | None = None
    missing: tuple[str, ...] = ()
    zero_pad: int = 0
    by_name: bool = False


Value = float | Suppressed | None  # None for an empty cell, NaN for a bad one, which has been told


@dataclass
class Entry:
    """A municipality's row: where it is, its code and name, a value a class, and the whole where a column tells it."""

    place: str
    code: str
    name: str
    values: list[Value]
    total: Value = None


class Table:
    """A sheet read with `options`: `classes` and `entries`; what is wrong is appended to `found`."""

    def __init__(self, sheet: Sheet, options: LabelOptions, found: list[str]) -> None:
        self.sheet, self.options, self.found = sheet, options, found
        self.lower = [name.lower() for name in sheet.header]
        named = {"--code-column": [options.code_column], "--total": [options.total], "--class": options.classes}
        for option, columns in {**named, "--ignore": options.ignore}.items():
            for column in columns:
                if column is not None and column not in sheet.header:
                    raise TableError(
                        sheet.source, [f"has no column {column!r} ({option}){_meant(column, sheet.header)}"]
                    )
        self.left_out = {sheet.header.index(name) for name in options.ignore}
        self.at_total = sheet.header.index(options.total) if options.total is not None else None
        at_class, at_value = self._first(_CLASS_NAMES), self._first(_VALUE_NAMES)
        self.at_code = self._code_column({at_class, at_value})
        self.at_name = next((i for i in self._free() if self.lower[i] in _NAME_NAMES), None)
        if at_class is not None and at_value is not None and not options.classes:
            self.classes, self.entries = self._long(at_class, at_value)
        else:
            self.classes, self.entries = self._wide()

    def _first(self, names: tuple[str, ...]) -> int | None:
        return next((i for i, name in enumerate(self.lower) if name in names and i not in self.left_out), None)

    def _code_column(self, taken: set[int | None]) -> int:
        if self.options.code_column is not None:
            return self.sheet.header.index(self.options.code_column)
        usual = (*_NAME_NAMES, *_CODE_NAMES) if self.options.by_name else _CODE_NAMES
        at = next((i for i, name in enumerate(self.lower) if name in usual), None)
        free = [i for i in range(len(self.lower)) if i not in self.left_out | taken]
        return at if at is not None else free[0] if free else 0

    def _free(self) -> list[int]:
        """Columns that nothing is known of."""
        known = self.left_out | {self.at_code, self.at_total}
        return [i for i, name in enumerate(self.sheet.header) if i not in known and name not in self.options.classes]

    def _wide(self) -> tuple[tuple[str, ...], list[Entry]]:
        header, options = self.sheet.header, self.options
        if options.classes:
            columns = [header.index(name) for name in options.classes]
        else:
            columns = [i for i in self._free() if i != self.at_name]
            self._check_classes(columns)
        numbers = columns if self.at_total is None else [*columns, self.at_total]
        decimal = self._decimal(numbers)
        entries = []
        for place, row in zip(self.sheet.places, self.sheet.rows, strict=True):
            code = self._code(row[self.at_code], place)
            values = [self._number(row[i], place, header[i], decimal) for i in columns]
            total = (
                None
                if self.at_total is None
                else self._number(row[self.at_total], place, header[self.at_total], decimal)
            )
            if code is not None:
                entries.append(Entry(place, code, self._name(row), values, total))
        return tuple(header[i] for i in columns), entries

    def _check_classes(self, columns: list[int]) -> None:
        """Tell of columns that are hardly classes: totals, years, and those without any number."""
        for i in columns:
            name = self.sheet.header[i]
            if self.lower[i] in _TOTAL_NAMES:
                advice = f"say --total {name!r} if it is the whole of each row, or --ignore {name!r}"
                self.found.append(f"column {name!r}: looks like a total, not like a class; {advice}")
            elif self.lower[i] in _OTHER_NAMES:
                self.found.append(f"column {name!r}: is hardly a class; leave it out with --ignore {name!r}")
            elif self._is_text(i):
                what = f"{self.sheet.rows[0][i]!r} and so on are no numbers"
                self.found.append(
                    f"column {name!r}: {what}; leave it out with --ignore {name!r}, or name --class columns"
                )

    def _is_text(self, column: int) -> bool:
        """Whether a column has words in most of its cells; a few bad cells are told one by one."""
        cells = [row[column] for row in self.sheet.rows if row[column] is not None]
        words = [
            c
            for c in cells
            if isinstance(c, str) and not any(map(str.isdigit, c)) and not is_mark(c, self.options.missing)
        ]
        return len(cells) > 2 and 2 * len(words) > len(cells)

    def _long(self, at_class: int, at_value: int) -> tuple[tuple[str, ...], list[Entry]]:
        """Entries from rows of code, class and proportion; classes in order of appearance."""
        header = self.sheet.header
        rest = [i for i in self._free() if i not in (at_class, at_value, self.at_name)]
        if rest or self.at_code in (at_class, at_value) or self.at_total is not None:
            expected = "a table in long form has three: code, class, proportion; leave others out with --ignore"
            raise TableError(self.sheet.source, [f"has the columns {', '.join(header)}; {expected}"])
        decimal = self._decimal([at_value])
        cells: dict[str, dict[str, Value]] = {}
        firsts: dict[str, tuple[str, str]] = {}
        classes: dict[str, None] = {}
        for place, row in zip(self.sheet.places, self.sheet.rows, strict=True):
            code, name = self._code(row[self.at_code], place), row[at_class]
            value = self._number(row[at_value], place, header[at_value], decimal)
            if not isinstance(name, str):
                self.found.append(
                    f"{place}, column {header[at_class]!r}: {'is empty' if name is None else 'is no name'}"
                )
            elif code is not None:
                classes[name] = None
                firsts.setdefault(code, (place, self._name(row)))
                if name in cells.setdefault(code, {}):
                    self.found.append(f"{place}: municipality {code!r} has class {name!r} twice; keep one")
                cells[code][name] = value
        entries = [
            Entry(*(firsts[code][0], code, firsts[code][1]), [of.get(c) for c in classes]) for code, of in cells.items()
        ]
        return tuple(classes), entries

    def _name(self, row: list[Any]) -> str:
        cell = None if self.at_name is None else row[self.at_name]
        return cell if isinstance(cell, str) else ""

    def _code(self, cell: Any, place: str) -> str | None:
        column = self.sheet.header[self.at_code]
        if isinstance(cell, int) and not isinstance(cell, bool) and self.options.zero_pad:
            cell = str(cell)
        if isinstance(cell, str) and cell:
            return cell.zfill(self.options.zero_pad) if not self.options.by_name else cell
        if cell is None or cell == "":
            self.found.append(f"{place}, column {column!r}: is empty; give the code, or leave the row out")
        else:
            advice = "numbers lose their leading zeros: store codes as text, or restore the zeros with --zero-pad"
            self.found.append(f"{place}, column {column!r}: {cell!r} is of type {type(cell).__name__}; {advice}")
        return None

    def _decimal(self, columns: list[int]) -> str:
        if self.options.decimal is not None:
            return self.options.decimal
        try:
            return decimal_mark(row[i] for row in self.sheet.rows for i in columns if isinstance(row[i], str))
        except CellError as error:
            raise TableError(self.sheet.source, [str(error)]) from None

    def _number(self, cell: Any, place: str, column: str, decimal: str) -> Value:
        where = f"{place}, column {column!r}"
        try:
            value, percent = number(cell, decimal, self.options.missing)
        except CellError as error:
            self.found.append(f"{where}: {error}")
            return math.nan
        if isinstance(value, float) and value < 0:
            self.found.append(f"{where}: {cell} is negative; correct it, or leave all cells of the row empty")
            return math.nan
        if percent and self.options.units != PERCENT:
            self.found.append(f"{where}: {cell!r} has a percent sign; say --units percent")
            return math.nan
        return value


def _meant(name: str, known: tuple[str, ...]) -> str:
    close = difflib.get_close_matches(name, known, 1, 0.5)
    return f"; did you mean {close[0]!r}?" if close else f"; it has {', '.join(known[:20])}"
