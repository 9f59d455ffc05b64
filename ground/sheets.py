"""CSV, Excel and Parquet files as rows of cells, with the place of every row, before anybody asks what they mean."""

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
DELIMITERS = {",": "commas", ";": "semicolons", "\t": "tabs", "|": "bars"}
_PARQUET, _EXCEL, _OTHERS = (".parquet", ".pq"), (".xlsx", ".xlsm"), (".xls", ".ods", ".xlsb", ".pdf", ".doc", ".docx")


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
class SheetOptions:
    """How a file is laid out: delimiter of a CSV (None: seen in its header), text encoding, line of the header from 1
    (None: the first that is not empty), sheet of a workbook."""

    delimiter: str | None = None
    encoding: str = "utf-8-sig"
    header_row: int | None = None
    sheet: str | None = None


@dataclass(frozen=True)
class Sheet:
    """A header and rows of cells, each with its place in the file ("line 7"): text, numbers, or None for empty."""

    source: str
    header: tuple[str, ...]
    places: list[str]
    rows: list[list[Any]]


def read_sheet(path: Path, options: SheetOptions = SheetOptions()) -> Sheet:
    """The table in `path`: Parquet (.parquet, .pq), Excel (.xlsx), else CSV; TableError if it is none of them."""
    source, suffix = str(path), path.suffix.lower()
    if suffix in _OTHERS:
        raise TableError(source, [f"{suffix} files are not read: save the table as .xlsx or as CSV"])
    try:
        size = path.stat().st_size
        if size > MAX_BYTES:
            raise TableError(source, [f"has {size} bytes, more than {MAX_BYTES}"])
        if suffix in _PARQUET:
            sheet = _parquet(path)
        else:
            sheet = _excel(path, options) if suffix in _EXCEL else _csv(path, options)
    except OSError as error:
        raise TableError(source, [f"cannot be read: {error.strerror or error}"]) from None
    if not sheet.rows:
        raise TableError(source, ["has a header but no rows" if sheet.header else "is empty"])
    if len(sheet.header) > MAX_COLUMNS or len(sheet.rows) > MAX_ROWS:
        size_text = f"{len(sheet.rows)} rows and {len(sheet.header)} columns"
        raise TableError(source, [f"has {size_text}, more than {MAX_ROWS} and {MAX_COLUMNS}"])
    return sheet


def _csv(path: Path, options: SheetOptions) -> Sheet:
    lines: list[tuple[int, list[str]]] = []
    number = 0
    try:
        with path.open(encoding=options.encoding, newline="") as file:
            head = file.read(1 << 16)
            delimiter = options.delimiter or _delimiter(head, options.header_row)
            file.seek(0)
            reader = csv.reader(file, delimiter=delimiter, strict=True)
            first = 1
            for cells in reader:
                lines.append((first, [cell.strip() for cell in cells]))
                first = number = reader.line_num + 1
                if len(lines) > MAX_ROWS + (options.header_row or 1):
                    raise TableError(str(path), [f"has more than {MAX_ROWS} rows"])
    except UnicodeDecodeError as error:
        advice = "save it as CSV in UTF-8, or name its encoding, for example --encoding cp1252"
        raise TableError(
            str(path), [f"is not {options.encoding.removesuffix('-sig').upper()} text (byte {error.start}); {advice}"]
        ) from None
    except LookupError:
        raise TableError(str(path), [f"--encoding {options.encoding}: is not known"]) from None
    except UnicodeError as error:
        raise TableError(str(path), [f"is not {options.encoding} text: {error}"]) from None
    except csv.Error as error:
        raise TableError(str(path), [f"line {max(number, 1)}: is not CSV: {error}"]) from None
    filled = [line for line in lines if any(line[1])]
    try:
        return _sheet(str(path), "line", filled, options.header_row, delimiter)
    except TableError as error:
        likely = _likely_header(head) if options.header_row is None else None
        if likely is None or likely == filled[0][0]:
            raise
        told = f"looks like a title, and line {likely} like the header: say --header-row {likely}"
        raise TableError(error.source, [f"line {filled[0][0]}: {told}"]) from None


def _likely_header(text: str) -> int | None:
    """The first line of several columns that the next two have as well; None if there is none among the first fifty."""
    bare = ["".join(line.split('"')[::2]) for line in text.splitlines()[:52]]
    for i, line in enumerate(bare[:-2]):
        mark = max(DELIMITERS, key=line.count)
        if line.count(mark) >= 2 and all(each.count(mark) == line.count(mark) for each in bare[i + 1 : i + 3]):
            return i + 1 if line.replace(mark, "").strip() and line.split(mark)[1].strip() else None
    return None


def _delimiter(text: str, header_row: int | None) -> str:
    """What stands between columns: the mark that the header has most of, outside of quotes."""
    lines = [line for i, line in enumerate(text.splitlines()) if line.strip() and i + 1 >= (header_row or 1)]
    bare = "".join((lines[0] if lines else "").split('"')[::2])
    return max(DELIMITERS, key=bare.count)


def _excel(path: Path, options: SheetOptions) -> Sheet:
    from ground.excel import read_excel

    rows, name = read_excel(path, options.sheet)
    clean = [[_stripped(cell) for cell in row] for row in rows]
    numbered = [(i + 1, row) for i, row in enumerate(clean) if any(cell is not None for cell in row)]
    if numbered:
        width = max(max(j for j, cell in enumerate(row) if cell is not None) for _, row in numbered) + 1
        numbered = [(i, row[:width]) for i, row in numbered]
    return _sheet(f"{path}, sheet {name!r}", "row", numbered, options.header_row, "")


def _stripped(cell: Any) -> Any:
    return (cell.strip() or None) if isinstance(cell, str) else cell


def _sheet(source: str, word: str, lines: list[tuple[int, list[Any]]], header_row: int | None, delimiter: str) -> Sheet:
    """Header and rows of numbered lines, empty ones left out."""
    lines = [line for line in lines if line[0] >= (header_row or 1)]
    if not lines:
        return Sheet(source, (), [], [])
    header_line, cells = lines[0]
    header = tuple("" if cell is None else str(cell) for cell in cells)
    _check_header(source, f"{word} {header_line}", header, delimiter)
    problems = []
    for number, row in lines[1:]:
        if len(row) != len(header):
            problems.append(
                f"{word} {number}: has {len(row)} cells, the header has {len(header)}{_why(row, delimiter)}"
            )
    if problems:
        raise TableError(source, problems)
    places = [f"{word} {number}" for number, _ in lines[1:]]
    return Sheet(source, header, places, [[None if cell == "" else cell for cell in row] for _, row in lines[1:]])


def _why(row: list[Any], delimiter: str) -> str:
    if sum(cell not in (None, "") for cell in row) == 1:
        return ": a note or a title? leave the line out"
    if delimiter == "," and len(row) > 2 and all(str(cell).isdigit() for cell in row[1:]):
        return ": are there decimal commas? then put semicolons between columns, or quotes around numbers"
    return ": is there a delimiter within a cell? then put quotes around it"


def _check_header(source: str, place: str, header: tuple[str, ...], delimiter: str) -> None:
    if len(header) == 1:
        others = [name for mark, name in DELIMITERS.items() if mark in header[0]]
        if others:
            advice = f"name it with --delimiter, or save the table with {delimiter!r} between columns"
            raise TableError(source, [f"{place}: is one column; it looks separated by {others[0]}: {advice}"])
    problems = [f"{place}: column {i + 1} has no name" for i, name in enumerate(header) if not name]
    if 0 < len(header) - len(problems) <= 1 < len(header):
        advice = "if the header stands further down, say where with --header-row"
        raise TableError(source, [f"{place}: has one cell, {next(filter(None, header))!r}, like a title: {advice}"])
    problems += [
        f"{place}: column {name!r} is there twice" for name in dict.fromkeys(header) if name and header.count(name) > 1
    ]
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
        _check_header(source, "schema", header, ",")
        columns = [column.to_pylist() for column in table.columns]
    except (pa.ArrowException, zlib.error, UnicodeDecodeError) as error:
        raise TableError(source, [f"is not a Parquet file that can be read: {error}"]) from None
    rows = [list(cells) for cells in zip(*columns, strict=True)]
    return Sheet(source, header, [f"row {i + 1}" for i in range(len(rows))], rows)
