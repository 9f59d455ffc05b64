"""Options of commands that read a label table: one list of them for all."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

import typer

from ground.labels import LabelOptions, SheetOptions


class Units(StrEnum):
    """What the cells of a table are parts of."""

    fraction = "fraction"
    percent = "percent"
    area = "area"


class Decimal(StrEnum):
    """What stands before the decimals of a number."""

    point = "point"
    comma = "comma"

    @property
    def mark(self) -> str:
        """The character."""
        return "." if self is Decimal.point else ","


Tolerance = Annotated[float, typer.Option(min=0, max=0.49, help="How far from its whole a row may sum.")]
UnitsOption = Annotated[Units, typer.Option(help="What cells are: parts of 1, of 100, or of any whole.")]
DecimalOption = Annotated[Decimal | None, typer.Option(help="Decimal mark.  \\[seen in the cells]")]
Other = Annotated[str | None, typer.Option(help="Class that takes what the others leave of the whole.")]
Total = Annotated[str | None, typer.Option(help="Column with the whole of each row, where it has one.")]
Classes = Annotated[list[str] | None, typer.Option("--class", help="Column that is a class.  \\[all]")]
Ignore = Annotated[list[str] | None, typer.Option(help="Column to leave out.")]
Missing = Annotated[list[str] | None, typer.Option(help="Further mark for values that are not known.")]
CodeColumn = Annotated[str | None, typer.Option(help="Column of codes.  \\[code, id and the like, or first]")]
ByName = Annotated[bool, typer.Option("--by-name", help="Rows go by the names of municipalities.")]
ZeroPad = Annotated[int, typer.Option(min=0, max=64, help="Digits of a code; restores leading zeros.")]
Delimiter = Annotated[str | None, typer.Option(help="What stands between columns of a CSV.  \\[seen]")]
Encoding = Annotated[str, typer.Option(help="Text encoding of a CSV.")]
HeaderRow = Annotated[int | None, typer.Option(min=1, help="Line of the header.  \\[first not empty]")]
SheetName = Annotated[str | None, typer.Option(help="Sheet of a workbook.  \\[the only one]")]


def label_options(
    units: Units,
    decimal: Decimal | None,
    other: str | None,
    total: str | None,
    classes: list[str] | None,
    ignore: list[str] | None,
    missing: list[str] | None,
    code_column: str | None,
    by_name: bool,
    zero_pad: int,
) -> LabelOptions:
    """What the options say of the table's content."""
    return LabelOptions(
        units=units,
        decimal=decimal.mark if decimal is not None else None,
        code_column=code_column,
        classes=tuple(classes or ()),
        ignore=tuple(ignore or ()),
        total=total,
        other=other,
        missing=tuple(missing or ()),
        zero_pad=zero_pad,
        by_name=by_name,
    )


def sheet_options(delimiter: str | None, encoding: str, header_row: int | None, sheet: str | None) -> SheetOptions:
    """What the options say of the file's layout."""
    if delimiter is not None and (len(delimiter) != 1 or delimiter in '\r\n"'):
        raise typer.BadParameter("--delimiter is one character")
    return SheetOptions(delimiter, encoding, header_row, sheet)
