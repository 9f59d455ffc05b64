"""CSV and Parquet files as rows of cells, with the place of every row, before anybody asks what they mean."""

from __future__ import annotations

import csv
import zlib
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

MAX_BYTES = 256 << 20
MAX_COLUMNS = 300
MAX_ROWS = 4_000_000
MAX_PROBLEMS = 20


class TableError(ValueError):
    """A table that cannot be used. `problems` has a line for each reason, at most 20; the message has them all."""

    def __init__(self, source: str, problems: Iterable[str]) -> None:
        found = list(problems)
        self.source = source
        self.problems = tuple(found[:MAX_PROBLEMS])
        more = len(found) - len(self.problems)
        shown = [*self.problems, f"and {more} more"] if more else list(self.problems)
        super().__init__(f"{source}: {shown[0]}" if len(shown) == 1 else "\n  ".join([f"{source}:", *shown]))


@dataclass(frozen=True)
class Sheet:
    """A header and rows of cells, each with its place in the file ("line 7"): text, numbers, or None for empty."""

    source: str
    header: tuple[str, ...]
    places: list[str]
    rows: list[list[Any]]


def read_sheet(path: Path, delimiter: str = ",") -> Sheet:
    """The table in `path`: Parquet if it ends in .parquet or .pq, else CSV in UTF-8; TableError if it is neither."""
    source = str(path)
    try:
        size = path.stat().st_size
        if size > MAX_BYTES:
            raise TableError(source, [f"has {size} bytes, more than {MAX_BYTES}"])
        parquet = path.suffix.lower() in (".parquet", ".pq")
        sheet = _parquet(path) if parquet else _csv(path, delimiter)
    except OSError as error:
        raise TableError(source, [f"cannot be read: {error.strerror or error}"]) from None
    if not sheet.rows:
        raise TableError(source, ["has a header but no rows" if sheet.header else "is empty"])
    if len(sheet.header) > MAX_COLUMNS or len(sheet.rows) > MAX_ROWS:
        size_text = f"{len(sheet.rows)} rows and {len(sheet.header)} columns"
        raise TableError(source, [f"has {size_text}, more than {MAX_ROWS} and {MAX_COLUMNS}"])
    return sheet


def _csv(path: Path, delimiter: str) -> Sheet:
    places: list[str] = []
    rows: list[list[Any]] = []
    problems: list[str] = []
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.reader(file, delimiter=delimiter, strict=True)
            header: tuple[str, ...] = ()
            line = 1
            for cells in reader:
                place, line = f"line {line}", reader.line_num + 1
                if not any(cell.strip() for cell in cells):
                    continue
                if not header:
                    header = tuple(cell.strip() for cell in cells)
                    _check_header(str(path), header, delimiter)
                elif len(cells) != len(header):
                    problems.append(f"{place}: has {len(cells)} cells, the header has {len(header)}")
                else:
                    places.append(place)
                    rows.append([cell.strip() or None for cell in cells])
    except UnicodeDecodeError as error:
        advice = "save the table as CSV in UTF-8"
        raise TableError(str(path), [f"is not UTF-8 text (byte {error.start}); {advice}"]) from None
    except csv.Error as error:
        raise TableError(str(path), [f"line {reader.line_num}: is not CSV: {error}"]) from None
    if problems:
        raise TableError(str(path), problems)
    return Sheet(str(path), header, places, rows)


def _check_header(source: str, header: tuple[str, ...], delimiter: str) -> None:
    if len(header) == 1:
        others = [name for mark, name in ((",", "commas"), (";", "semicolons"), ("\t", "tabs")) if mark in header[0]]
        if others:
            advice = f"name the delimiter, or save the table with {delimiter!r} between columns"
            raise TableError(source, [f"line 1: is one column; it looks separated by {others[0]}: {advice}"])
    problems = [f"line 1: column {i + 1} has no name" for i, name in enumerate(header) if not name]
    problems += [f"line 1: column {name!r} is there twice" for name in dict.fromkeys(header) if header.count(name) > 1]
    if problems:
        raise TableError(source, problems)


def _parquet(path: Path) -> Sheet:
    import pyarrow as pa
    import pyarrow.parquet as pq

    source = str(path)
    try:
        with pq.ParquetFile(path) as file:
            if file.metadata.num_rows > MAX_ROWS or file.metadata.num_columns > MAX_COLUMNS:
                shape = f"{file.metadata.num_rows} rows and {file.metadata.num_columns} columns"
                raise TableError(source, [f"has {shape}, more than {MAX_ROWS} and {MAX_COLUMNS}"])
            table = file.read(use_threads=False)
        header = tuple(table.column_names)
        _check_header(source, header, ",")
        columns = [column.to_pylist() for column in table.columns]
    except (pa.ArrowException, zlib.error, UnicodeDecodeError) as error:
        raise TableError(source, [f"is not a Parquet file that can be read: {error}"]) from None
    rows = [list(cells) for cells in zip(*columns, strict=True)]
    return Sheet(source, header, [f"row {i + 1}" for i in range(len(rows))], rows)
