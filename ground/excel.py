"""Excel workbooks as rows of cells. Formulas count by the value that is stored with them."""

from __future__ import annotations

import zipfile
from pathlib import Path
from typing import Any

from ground.sheets import MAX_BYTES, MAX_COLUMNS, MAX_ROWS, TableError


def read_excel(path: Path, sheet: str | None) -> tuple[list[list[Any]], str]:
    """Rows of cells of a sheet, and its name; TableError if there is no such sheet, or a formula without a value."""
    from openpyxl import load_workbook
    from openpyxl.utils import get_column_letter
    from openpyxl.utils.exceptions import InvalidFileException

    source = str(path)
    try:
        with zipfile.ZipFile(path) as archive:
            size = sum(entry.file_size for entry in archive.infolist())
        if size > MAX_BYTES:
            raise TableError(source, [f"holds {size} bytes when unpacked, more than {MAX_BYTES}"])
        values = load_workbook(path, read_only=True, data_only=True)
        try:
            name = _sheet(source, values, sheet)
            rows = _rows(values[name])
        finally:
            values.close()
        formulas = load_workbook(path, read_only=True)
        try:
            for i, row in enumerate(_rows(formulas[name])):
                for j, cell in enumerate(row):
                    if isinstance(cell, str) and cell.startswith("=") and (i >= len(rows) or rows[i][j] is None):
                        place = f"row {i + 1}, column {get_column_letter(j + 1)}"
                        advice = "open and save the workbook in a spreadsheet program, or paste the values"
                        raise TableError(source, [f"{place}: is a formula without a stored value: {advice}"])
        finally:
            formulas.close()
    except TableError:
        raise
    except (zipfile.BadZipFile, InvalidFileException, KeyError, ValueError, TypeError, EOFError, SyntaxError) as error:
        advice = "old .xls, .ods and protected files: save as .xlsx or as CSV"
        raise TableError(
            source, [f"is not an Excel workbook that can be read ({error or type(error).__name__}); {advice}"]
        ) from None
    return rows, name


def _sheet(source: str, workbook: Any, sheet: str | None) -> str:
    names = [each.title for each in workbook.worksheets]
    if sheet is not None and sheet not in names:
        raise TableError(source, [f"has no sheet {sheet!r}; it has {', '.join(map(repr, names))}"])
    filled = [name for name in names if any(any(cell is not None for cell in row) for row in _rows(workbook[name], 50))]
    if sheet is None and len(filled) > 1:
        raise TableError(source, [f"has {len(filled)} sheets; name one with --sheet: {', '.join(map(repr, filled))}"])
    return sheet or (filled or names)[0]


def _rows(sheet: Any, most: int = MAX_ROWS + 2) -> list[list[Any]]:
    sheet.reset_dimensions()  # what the file says of its size need not be true
    rows = [list(row) for row in sheet.iter_rows(max_row=most, max_col=MAX_COLUMNS + 2, values_only=True)]
    width = max((len(row) for row in rows), default=0)
    return [row + [None] * (width - len(row)) for row in rows]
