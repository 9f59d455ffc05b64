"""Label tables as statistics offices publish them: what is read, and what is refused with its place and a way out."""

from __future__ import annotations

import datetime
from pathlib import Path
from typing import Any

import numpy as np
import openpyxl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner

from flight.config import LinkConfig
from flight.link import labelset
from ground.cells import COMMA, POINT, CellError, decimal_mark, number
from ground.cli import app
from ground.labels import LabelOptions, LabelTable, SheetOptions, TableError, read_table

CODES = ("01001", "01002", "28079", "28080")
NAMES = {"01001": "Alegría", "01002": "Villanueva", "28079": "Madrid", "28080": "Villanueva"}
_LAYOUT = SheetOptions.__dataclass_fields__


def read(path: Path, content: str | bytes | list[list[Any]] | None, **options: Any) -> LabelTable:
    """The table in `content`: text for a CSV, lists of cells for a workbook, None for a file that is there already."""
    if isinstance(content, list):
        book = openpyxl.Workbook()
        for row in content:
            book.active.append(row)
        book.save(path)
    elif content is not None:
        path.write_bytes(content.encode() if isinstance(content, str) else content)
    layout = SheetOptions(**{key: options.pop(key) for key in list(options) if key in _LAYOUT})
    others = {key: options.pop(key) for key in ("codes", "names", "tolerance", "classes_expected") if key in options}
    return read_table(path, sheet=layout, options=LabelOptions(**options), **others)


def rows(table: LabelTable) -> list[list[float]]:
    return [[round(float(value), 4) for value in row] for row in table.proportions]


# What is read


def test_semicolons_decimal_commas_percent_signs_and_thousands_are_understood(tmp_path: Path) -> None:
    text = "código;bosque;cultivo\n01001;12,5;87,5\n28079;100,0;0\n"
    assert rows(read(tmp_path / "a.csv", text, units="percent")) == [[0.125, 0.875], [1, 0]]
    text = "code\tforest\tcrops\n01001\t12.5 %\t87.5%\n"
    assert rows(read(tmp_path / "b.csv", text, units="percent")) == [[0.125, 0.875]]
    text = "code;forest;crops\n01001;1.234,5;1.234,5\n28079;3'000;1 000\n"
    assert rows(read(tmp_path / "c.csv", text, units="area")) == [[0.5, 0.5], [0.75, 0.25]]


def test_a_workbook_is_read_below_its_title_from_the_sheet_that_is_named(tmp_path: Path) -> None:
    book = openpyxl.Workbook()
    book.active.title = "notes"
    book.active.append(["Source: the office"])
    sheet = book.create_sheet("land")
    for row in (["Land cover 2024"], [], ["code", "name", "forest", "crops"], ["01001", "Alegría", 0.25, 0.75]):
        sheet.append(row)
    book.save(tmp_path / "t.xlsx")
    table = read(tmp_path / "t.xlsx", None, sheet="land", header_row=3, codes=CODES)
    assert table.codes == ("01001",) and table.classes == ("forest", "crops") and rows(table) == [[0.25, 0.75]]
    with pytest.raises(TableError, match="2 sheets; name one with --sheet: 'notes', 'land'"):
        read(tmp_path / "t.xlsx", None)


def test_a_latin_1_table_is_read_when_its_encoding_is_named(tmp_path: Path) -> None:
    content = "código;año;a;b\n01001;2024;0,5;0,5\n".encode("cp1252")
    assert rows(read(tmp_path / "t.csv", content, encoding="cp1252", ignore=("año",))) == [[0.5, 0.5]]


@pytest.mark.parametrize("mark", [":", "..", "*", "n/a", "NA", "–", "c", "nan", "x?"])
def test_a_row_with_a_suppressed_cell_is_missing_and_that_is_said(tmp_path: Path, mark: str) -> None:
    text = f"code,a,b\n01001,0.5,0.5\n28079,{mark},0.4\n"
    table = read(tmp_path / "t.csv", text, missing=("x?",))
    assert np.isnan(table.proportions[1]).all() and table.proportions[0].tolist() == [0.5, 0.5]
    assert table.notes == ("1 row has a value that is not known, and is missing: 28079",)


def test_missing_values_of_parquet_and_excel_are_missing(tmp_path: Path) -> None:
    pq.write_table(
        pa.table({"code": ["01001", "28079"], "a": [0.5, float("nan")], "b": [0.5, None]}), tmp_path / "t.parquet"
    )
    content = [["code", "a", "b"], ["01001", 0.5, 0.5], ["28079", None, None]]
    for table in (read(tmp_path / "t.parquet", None), read(tmp_path / "t.xlsx", content)):
        assert table.codes == ("01001", "28079") and np.isnan(table.proportions[1]).all()


def test_another_class_takes_the_rest_of_each_row(tmp_path: Path) -> None:
    text = "code,forest,crops\n01001,0.25,0.5\n28079,0.5,0.5\n"
    table = read(tmp_path / "t.csv", text, other="rest")
    assert table.classes == ("forest", "crops", "rest") and rows(table) == [[0.25, 0.5, 0.25], [0.5, 0.5, 0]]
    text = "code,forest,rest\n01001,0.25,\n28079,0.5,0.5\n"
    assert rows(read(tmp_path / "t.csv", text, other="rest")) == [[0.25, 0.75], [0.5, 0.5]]


def test_areas_are_shares_of_the_column_that_has_the_whole(tmp_path: Path) -> None:
    text = "code;forest_ha;crops_ha;total\n01001;10,5;21;42\n28079;2;2;4\n"
    table = read(tmp_path / "t.csv", text, units="area", total="total", other="rest")
    assert table.classes == ("forest_ha", "crops_ha", "rest") and rows(table) == [[0.25, 0.5, 0.25], [0.5, 0.5, 0]]


def test_columns_that_are_no_classes_are_left_out_when_named(tmp_path: Path) -> None:
    text = "year,code,name,a,b,remark\n2024,01001,Alegría,0.5,0.5,x\n"
    assert read(tmp_path / "t.csv", text, ignore=("year", "remark")).classes == ("a", "b")
    assert read(tmp_path / "t.csv", text, classes=("b", "a")).classes == ("b", "a")


def test_lost_leading_zeros_can_be_restored(tmp_path: Path) -> None:
    content = [["code", "a", "b"], [1001, 0.5, 0.5], [28079, 1, 0]]
    assert read(tmp_path / "t.xlsx", content, zero_pad=5, codes=CODES).codes == ("01001", "28079")


def test_a_table_can_go_by_names(tmp_path: Path) -> None:
    text = "nombre,a,b\n  ALEGRÍA ,0.5,0.5\nMadrid,1,0\n"
    assert read(tmp_path / "t.csv", text, by_name=True, codes=CODES, names=NAMES).codes == ("01001", "28079")


# What is refused

CSV = "t.csv"
DAY = datetime.datetime(2024, 5, 1)
MALFORMED: list[tuple[str, str, Any, dict[str, Any], str]] = [
    # the file
    ("empty file", CSV, "", {}, "is empty"),
    ("only a header", CSV, "code,a,b\n", {}, "has a header but no rows"),
    ("old Excel", "t.xls", b"\xd0\xcf\x11\xe0", {}, ".xls files are not read: save the table as .xlsx or as CSV"),
    ("OpenDocument", "t.ods", b"PK\3\4", {}, ".ods files are not read"),
    ("no workbook inside", "t.xlsx", b"code,a,b\n1,0,1\n", {}, "is not an Excel workbook"),
    ("truncated workbook", "t.xlsx", b"PK\3\4" + bytes(60), {}, "is not an Excel workbook"),
    ("no Parquet inside", "t.parquet", b"PAR1 and so on", {}, "is not a Parquet file"),
    ("Latin-1 text", CSV, "código,a,b\n1,0,1\n".encode("cp1252"), {}, "is not UTF-8 text (byte 1); save it"),
    ("UTF-16 text", CSV, "code,a,b\n1,0,1\n".encode("utf-16"), {}, "is not UTF-8 text (byte 0)"),
    ("unknown encoding", CSV, "code,a,b\n1,0,1\n", {"encoding": "utf-9"}, "--encoding utf-9: is not known"),
    ("no such sheet", "t.xlsx", [["code", "a", "b"], ["1", 0, 1]], {"sheet": "x"}, "no sheet 'x'; it has 'Sheet'"),
    ("open quote", CSV, 'code,a,b\n1,"0.5,0.5\n', {}, "is not CSV"),
    ("wrong delimiter", CSV, "code;a;b\n1;0;1\n", {"delimiter": ","}, "looks separated by semicolons: name it"),
    # its header and columns
    ("title above", CSV, "Land cover;;\ncode;a;b\n1;0;1\n", {}, "line 1: has one cell, 'Land cover', like a title"),
    (
        "title with commas",
        CSV,
        "Land use, by town, in percent\n\ncode;a;b;c\n1;0;1;0\n2;0;1;0\n",
        {},
        "line 1: looks like a title, and line 3 like the header: say --header-row 3",
    ),
    (
        "percent with a class lacking",
        CSV,
        "code,a,b\n1,20,37\n",
        {},
        "if they are percent, say --units percent, and --other NAME for the rest",
    ),
    ("column without a name", CSV, "code,a,\n1,0.5,0.5\n", {}, "line 1: column 3 has no name"),
    ("class twice", CSV, "code,a,a\n1,0.5,0.5\n", {}, "line 1: column 'a' is there twice"),
    ("one class", CSV, "code,a\n1,1\n", {}, "has 1 class; a label table needs at least 2"),
    ("total column", CSV, "code,a,b,total\n1,0.5,0.5,1\n", {}, "column 'total': looks like a total"),
    ("year column", CSV, "code,year,a,b\n1,2024,0,1\n", {}, "column 'year': is hardly a class; leave it out"),
    ("column of words", CSV, "code,a,b,kind\n1,0,1,x\n2,0,1,y\n3,0,1,z\n", {}, "column 'kind': 'x' and so on"),
    (
        "no such class",
        CSV,
        "code,forest,b\n1,0,1\n",
        {"classes": ("forrest",)},
        "'forrest' (--class); did you mean 'forest'",
    ),
    ("no such code column", CSV, "code,a,b\n1,0,1\n", {"code_column": "ine"}, "no column 'ine' (--code-column)"),
    ("no such total", CSV, "code,a,b\n1,0,1\n", {"total": "sum"}, "no column 'sum' (--total)"),
    ("no such ignored column", CSV, "code,a,b\n1,0,1\n", {"ignore": ("z",)}, "no column 'z' (--ignore)"),
    ("long form with a year", CSV, "code,class,share,year\n1,a,1,2020\n", {}, "a table in long form has three"),
    (
        "long form, class twice",
        CSV,
        "code,class,share\n1,a,0.5\n1,a,0.5\n",
        {},
        "line 3: municipality '1' has class 'a' twice",
    ),
    ("long form, no class", CSV, "code,class,share\n1,,0.5\n1,b,1\n", {}, "line 2, column 'class': is empty"),
    # rows
    (
        "note below",
        CSV,
        "code,a,b\n1,0.5,0.5\nSource: the office\n",
        {},
        "line 3: has 1 cells, the header has 3: a note",
    ),
    (
        "unquoted decimal commas",
        CSV,
        "code,a,b\n1,0,5,0,5\n",
        {},
        "line 2: has 5 cells, the header has 3: are there decimal",
    ),
    ("totals row by name", CSV, "code,a,b\n1,0.5,0.5\nTotal,0.5,0.5\n", {}, "line 3: 'Total' looks like a totals row"),
    (
        "totals row in its name",
        CSV,
        "code,name,a,b\n1,X,0,1\n00,España,0,1\n",
        {},
        "line 3: 'España' looks like a totals row",
    ),
    (
        "totals row by its sums",
        CSV,
        "code,a,b\n1,2,3\n2,5,6\n9,7,9\n",
        {"units": "area"},
        "line 4: '9' looks like a totals row",
    ),
    ("code twice", CSV, "code,a,b\n1,0,1\n1,0,1\n", {}, "line 3: municipality '1' was on line 2 already; keep one"),
    (
        "code twice, two names",
        CSV,
        "code,name,a,b\n1,X,0,1\n1,Y,0,1\n",
        {},
        "already, named 'X' there and 'Y' here; keep one",
    ),
    ("no code", CSV, "code,a,b\n,0.5,0.5\n", {}, "line 2, column 'code': is empty; give the code"),
    ("code as a number", "t.xlsx", [["code", "a", "b"], [1001, 0, 1]], {}, "row 2, column 'code': 1001 is of type int"),
    ("code as a date", "t.xlsx", [["code", "a", "b"], [DAY, 0, 1]], {}, "is of type datetime"),
    (
        "lost zeros",
        CSV,
        "code,a,b\n1001,0,1\n",
        {"codes": CODES},
        "but '01001' is: were leading zeros lost? (--zero-pad 5",
    ),
    (
        "mistyped code",
        CSV,
        "code,a,b\n28O79,0,1\n",
        {"codes": CODES},
        "'28O79' is not in the region; nearest are '28079'",
    ),
    (
        "code and name in a cell",
        CSV,
        "code,a,b\n28079 Madrid,0,1\n",
        {"codes": CODES},
        "but '28079' is: keep the code alone",
    ),
    (
        "a name for a code",
        CSV,
        "code,a,b\nMadrid,0,1\n",
        {"codes": CODES, "names": NAMES},
        "has that name: say --by-name",
    ),
    (
        "two municipalities of a name",
        CSV,
        "name,a,b\nVillanueva,0,1\n",
        {"by_name": True, "codes": CODES, "names": NAMES},
        "is the name of 2 municipalities (01002, 28080); a table by names cannot tell them apart",
    ),
    ("mistyped name", CSV, "name,a,b\nMadrit,0,1\n", {"by_name": True, "names": NAMES}, "nearest are 'Madrid'"),
    # cells
    (
        "word",
        CSV,
        "code,a,b\n1,x,1\n",
        {},
        "line 2, column 'a': 'x' is not a number; correct it, or if it marks a missing value, say so",
    ),
    ("bound", CSV, "code,a,b\n1,<0.1,0.9\n", {}, "'<0.1' is a bound, not a number"),
    ("spreadsheet error", CSV, "code,a,b\n1,#DIV/0!,1\n", {}, "'#DIV/0!' is an error of the spreadsheet"),
    (
        "date for a number",
        "t.xlsx",
        [["code", "a", "b"], ["1", DAY, 1]],
        {},
        "row 2, column 'a': 2024-05-01 00:00:00 is of type",
    ),
    ("truth value", "t.xlsx", [["code", "a", "b"], ["1", True, 0]], {}, "row 2, column 'a': True is of type bool"),
    (
        "formula without a value",
        "t.xlsx",
        [["code", "a", "b"], ["1", "=1-C2", 0.5]],
        {},
        "row 2, column B: is a formula",
    ),
    ("negative", CSV, "code,a,b\n1,-0.1,1.1\n", {}, "line 2, column 'a': -0.1 is negative"),
    ("infinite", CSV, "code,a,b\n1,inf,1\n", {}, "line 2, column 'a': 'inf' is not finite"),
    ("points and commas", CSV, "code;a;b\n1;0,5;0.5\n", {}, "has decimal commas ('0,5') and decimal points ('0.5')"),
    (
        "other decimal mark",
        CSV,
        "code;a;b\n1;0,5;0,5\n",
        {"decimal": "."},
        "'0,5' is not a number with a decimal point",
    ),
    ("empty cell among others", CSV, "code,a,b\n1,0.4,\n", {}, "line 2: municipality '1' has nothing for b; give all"),
    # what they sum to
    (
        "percent for fractions",
        CSV,
        "code,a,b\n1,50,50\n",
        {},
        "sum to 100, must be 1 within 0.005; they look like percent",
    ),
    ("percent sign", CSV, "code,a,b\n1,50%,50%\n", {}, "'50%' has a percent sign; say --units percent"),
    (
        "fractions for percent",
        CSV,
        "code,a,b\n1,0.5,0.5\n",
        {"units": "percent"},
        "they look like fraction: say --units",
    ),
    ("areas for fractions", CSV, "code,a,b\n1,20,17\n", {}, "if they are areas or counts, say --units area"),
    ("a class is lacking", CSV, "code,a,b\n1,0.2,0.3\n", {}, "a class that takes the rest is made by --other NAME"),
    ("more than the whole", CSV, "code,a,b\n1,0.8,0.5\n", {"other": "c"}, "sum to 1.3, must be 1 within 0.005"),
    ("no area at all", CSV, "code,a,b\n1,0,0\n", {"units": "area"}, "areas of municipality '1' are all 0"),
    (
        "whole of nothing",
        CSV,
        "code,a,b,w\n1,1,2,0\n",
        {"total": "w"},
        "line 2, column 'w': must be the whole of the row",
    ),
    (
        "less than its whole",
        CSV,
        "code,a,b,w\n1,1,2,9\n",
        {"total": "w"},
        "must be 9 within 0.045, the 'w' of the row; --other",
    ),
]


@pytest.mark.parametrize(
    ("name", "content", "options", "message"), [c[1:] for c in MALFORMED], ids=[c[0] for c in MALFORMED]
)
def test_a_malformed_table_is_refused_with_its_place_and_what_to_do(
    tmp_path: Path, name: str, content: Any, options: dict[str, Any], message: str
) -> None:
    with pytest.raises(TableError) as caught:
        read(tmp_path / name, content, **options)
    assert message in "\n".join(caught.value.problems) and str(tmp_path / name) in str(caught.value)


def test_more_than_forty_kinds_of_malformed_tables_are_tried() -> None:
    assert len({kind for kind, *_ in MALFORMED}) == len(MALFORMED) >= 40


# The parts


@given(
    st.floats(0, 1e9).map(lambda value: round(value, 3)),
    st.sampled_from([POINT, COMMA]),
    st.sampled_from(["", " ", "'"]),
)
def test_a_number_is_the_same_whatever_marks_it_is_written_with(value: float, mark: str, group: str) -> None:
    text = f"{value:,.3f}".replace(",", "G").replace(".", mark).replace("G", group)
    assert number(text, mark)[0] == value
    assert decimal_mark([text]) == mark


@given(st.text(max_size=20), st.sampled_from([POINT, COMMA]))
def test_any_text_is_a_number_a_mark_or_an_error(text: str, mark: str) -> None:
    try:
        value, _ = number(text, mark)
    except CellError:
        return
    assert value is None or not isinstance(value, float) or np.isfinite(value)


def test_the_command_packs_a_messy_table_and_says_what_is_missing(tmp_path: Path) -> None:
    path, out = tmp_path / "t.csv", tmp_path / "t.labels"
    path.write_bytes(
        "Land cover;;;\n\ncódigo;nombre;bosque;cultivo\n01001;Alegría;12,5;80\n28079;Madrid;..;10\n".encode()
    )
    arguments = ["labels", "pack", path, "-o", out, "--units", "percent", "--other", "resto", "--header-row", "3"]
    result = CliRunner().invoke(app, [str(a) for a in arguments])
    assert result.exit_code == 0, result.output
    assert "1 row has a value that is not known, and is missing: 28079" in result.stderr
    decoded = labelset.unpack(out.read_bytes(), LinkConfig())
    assert decoded.classes == ("bosque", "cultivo", "resto") and decoded.missing.tolist() == [False, True]


def test_a_table_by_names_needs_a_region_that_has_names(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("name,a,b\nMadrid,0,1\n")
    result = CliRunner().invoke(
        app, ["labels", "pack", str(tmp_path / "t.csv"), "-o", str(tmp_path / "o"), "--by-name"]
    )
    assert result.exit_code == 1 and "packed with --name-field" in result.stderr
