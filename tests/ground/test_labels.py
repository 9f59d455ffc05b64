from __future__ import annotations

import contextlib
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flight.link.region import Region
from ground.labels import LabelOptions, LabelTable, TableError, in_order, read_table, to_label_set, write_table

CODES = ("01001", "01002", "28079")


def table(tmp_path: Path, text: str, **options: object) -> LabelTable:
    path = tmp_path / "table.csv"
    path.write_bytes(text.encode())
    return read_table(path, **options)  # type: ignore[arg-type]


def problems(tmp_path: Path, text: str, **options: object) -> tuple[str, ...]:
    with pytest.raises(TableError) as caught:
        table(tmp_path, text, **options)
    assert str(tmp_path / "table.csv") in str(caught.value)
    return caught.value.problems


def test_a_wide_table_is_read_with_its_leading_zeros(tmp_path: Path) -> None:
    read = table(tmp_path, "code,forest,crops\n01001,0.25,0.75\n28079,1,0\n", codes=CODES)
    assert read.codes == ("01001", "28079") and read.classes == ("forest", "crops")
    assert read.proportions.tolist() == [[0.25, 0.75], [1, 0]] and read.proportions.dtype == np.float32


def test_a_long_table_is_the_same_table(tmp_path: Path) -> None:
    text = "municipality,class,share\n01001,forest,.25\n28079,forest,1\n01001,crops,.75\n28079,crops,0\n"
    read = table(tmp_path, text, codes=CODES)
    assert read.codes == ("01001", "28079") and read.classes == ("forest", "crops")
    assert read.proportions.tolist() == [[0.25, 0.75], [1, 0]]


def test_the_code_column_may_stand_anywhere_and_a_byte_order_mark_before_it(tmp_path: Path) -> None:
    read = table(tmp_path, "\ufeffforest,code,crops\r\n0.5,01001,0.5\r\n\r\n")
    assert read.codes == ("01001",) and read.classes == ("forest", "crops")


def test_a_row_of_empty_cells_is_missing(tmp_path: Path) -> None:
    read = table(tmp_path, "code,a,b\n1,,\n2,0.5,0.5\n")
    assert np.isnan(read.proportions[0]).all() and read.proportions[1].tolist() == [0.5, 0.5]


def test_a_row_within_the_tolerance_is_normalised(tmp_path: Path) -> None:
    read = table(tmp_path, "code,a,b\n1,0.5,0.504\n")
    assert read.proportions.sum() == pytest.approx(1, abs=1e-6)


def test_a_row_that_sums_to_1_3_is_refused_by_line_and_code(tmp_path: Path) -> None:
    found = problems(tmp_path, "code,a,b\n1,0.5,0.5\n2,0.8,0.5\n")
    assert found == ("line 3: proportions of municipality '2' sum to 1.3, must be 1 within 0.005",)


def test_percentages_are_recognised(tmp_path: Path) -> None:
    assert "say --units percent" in problems(tmp_path, "code,a,b\n1,50,50\n")[0]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("code,a,b\n1,inf,1\n", "line 2, column 'a': 'inf' is not finite"),
        ("code,a,b\n1,-0.1,1.1\n", "line 2, column 'a': -0.1 is negative"),
        ("code,a,b\n1,x,1\n", "line 2, column 'a': 'x' is not a number"),
        ("code,a,b\n1,0.4,\n", "line 2: municipality '1' has nothing for b; give all classes"),
        ("code,a,b\n1,0.5,0.5\n\n1,0.5,0.5\n", "line 4: municipality '1' was on line 2 already"),
        ("code,a,b\n,0.5,0.5\n", "line 2, column 'code': is empty"),
        ("code,a,b\n1,0.5\n", "line 2: has 2 cells, the header has 3"),
        ("code,a,a\n1,0.5,0.5\n", "line 1: column 'a' is there twice"),
        ("code,a,\n1,0.5,0.5\n", "line 1: column 3 has no name"),
        ("code,a\n1,1\n", "needs at least 2 columns beside the code"),
        ("code,a,b\n", "has a header but no rows"),
        ("", "is empty"),
        ('code,a,b\n1,"0.5,0.5\n', "is not CSV"),
        ("code,class,share,year\n1,a,1,2020\n", "a table in long form has three"),
        ("code,class,share\n1,a,0.5\n1,a,0.5\n1,b,0.5\n", "line 3: municipality '1' has class 'a' twice"),
        ("code,class,share\n1,a,0.5\n1,b,0.5\n2,a,1\n", "line 4: municipality '2' has nothing for b"),
    ],
)
def test_what_is_wrong_is_said_with_its_place(tmp_path: Path, text: str, expected: str) -> None:
    assert expected in problems(tmp_path, text)[0]


def test_a_line_after_a_cell_with_a_line_break_keeps_its_number(tmp_path: Path) -> None:
    assert problems(tmp_path, 'code,a,b\n"x\ny",0.5,0.5\n2,0.8,0.5\n')[0].startswith("line 4:")


def test_an_unknown_municipality_is_refused_with_advice_about_zeros(tmp_path: Path) -> None:
    found = problems(tmp_path, "code,a,b\n1001,0.5,0.5\n99999,0.5,0.5\n", codes=CODES)
    assert "municipality '1001' is not in the region, but '01001' is: were leading zeros lost?" in found[0]
    assert found[1].startswith("line 3: municipality '99999' is not in the region; check the code")


def test_many_problems_come_at_once_but_no_more_than_twenty(tmp_path: Path) -> None:
    path = tmp_path / "table.csv"
    path.write_text("code,a,b\n" + "".join(f"{i},-0.9,1.9\n" for i in range(50)))
    with pytest.raises(TableError, match="and 30 more") as caught:
        read_table(path)
    assert len(caught.value.problems) == 20


def test_expected_classes_set_the_order_of_columns(tmp_path: Path) -> None:
    read = table(tmp_path, "code,a,b\n1,0.25,0.75\n", classes=("b", "a"))
    assert read.classes == ("b", "a") and read.proportions.tolist() == [[0.75, 0.25]]
    assert "has the classes a, b; expected a, c" in problems(tmp_path, "code,a,b\n1,0,1\n", classes=("a", "c"))[0]


def test_parquet_with_text_codes_is_read_and_with_numbers_refused(tmp_path: Path) -> None:
    path = tmp_path / "table.parquet"
    columns = {"code": ["01001", "28079"], "a": [0.25, None], "b": [0.75, None]}
    pq.write_table(pa.table(columns), path)
    read = read_table(path, codes=CODES)
    assert read.codes == ("01001", "28079") and np.isnan(read.proportions[1]).all()
    pq.write_table(pa.table({**columns, "code": [1001, 28079]}), path)
    with pytest.raises(TableError, match="row 1, column 'code': 1001 is of type int; numbers lose their leading zeros"):
        read_table(path)


@pytest.mark.parametrize("name", ["table.csv", "table.parquet"])
def test_a_file_that_is_no_table_is_an_error_and_not_a_crash(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    with pytest.raises(TableError, match="cannot be read"):
        read_table(path)
    for noise in (b"PAR1 \xff\xfe nonsense PAR1", b"\x89PNG\r\n\x1a\n\0\0\0"):
        path.write_bytes(noise)
        with pytest.raises(TableError):
            read_table(path)


@given(st.binary(max_size=120))
@settings(max_examples=100, deadline=None)
def test_no_bytes_make_the_reader_fail_otherwise(tmp_path_factory: pytest.TempPathFactory, data: bytes) -> None:
    path = tmp_path_factory.getbasetemp() / "noise.csv"
    path.write_bytes(b"code,a,b\n1,0.5,0.5\n" + data)
    with contextlib.suppress(TableError):
        assert len(read_table(path).codes) >= 1


def test_a_written_table_reads_back_equal(tmp_path: Path) -> None:
    rng = np.random.Generator(np.random.PCG64(5))
    proportions = rng.dirichlet([0.3] * 4, 40).astype(np.float32)
    proportions[7] = np.nan
    before = LabelTable(tuple(f"{i:05d}" for i in range(40)), ("a", "b, c", 'd"', "é"), proportions)
    write_table(tmp_path / "out.csv", before)
    after = read_table(tmp_path / "out.csv")
    assert (after.codes, after.classes) == (before.codes, before.classes)
    assert np.allclose(after.proportions, before.proportions, atol=1e-7, equal_nan=True)
    assert [path.name for path in tmp_path.iterdir()] == ["out.csv"]


def test_a_label_set_has_the_order_of_the_region_and_misses_what_the_table_lacks() -> None:
    bags = np.array([[0, -1, -1, -1]], np.int32)
    region = Region(9, 1, 1, CODES, bags, np.array([[255, 0, 0, 0]], np.uint8))
    read = LabelTable(("28079", "01001"), ("a", "b"), np.array([[1, 0], [0.5, 0.5]], np.float32))
    label_set = to_label_set(read, region, task_id=3, version=4, levels=16)
    assert (label_set.region_id, label_set.task_id, label_set.version, label_set.levels) == (9, 3, 4, 16)
    assert label_set.missing.tolist() == [False, True, False]
    assert label_set.proportions[2].tolist() == [1, 0]
    assert to_label_set(read, None).proportions.shape == (2, 2)
    with pytest.raises(TableError, match="'28079' is not in the region"):
        in_order(read, ("01001",), 0, 1, 1, 32)


def test_most_rows_that_sum_wrongly_are_one_sentence_on_the_table(tmp_path: Path) -> None:
    rows = "".join(f"{i},{20 + i},30\n" for i in range(20))
    (told,) = problems(tmp_path, "code,a,b\n" + rows, options=LabelOptions(units="percent"))
    assert told.startswith(
        "20 of 20 rows sum to 50 % to 69 % of what they should, such as municipality '10' on line 12 to "
    )
    assert told.endswith("a class that takes the rest is made by --other NAME")


def test_one_row_that_sums_wrongly_among_right_ones_says_nothing_of_the_tables_units(tmp_path: Path) -> None:
    rows = "".join(f"{i},40,60\n" for i in range(9)) + "9,140,83\n"
    (told,) = problems(tmp_path, "code,a,b\n" + rows, options=LabelOptions(units="percent"))
    assert "line 11" in told and "sum to 223" in told and "--units" not in told


def test_a_slip_in_one_cell_is_not_taken_for_the_tables_decimal_mark(tmp_path: Path) -> None:
    (told,) = problems(tmp_path, "code;a;b\n1;0,5;0,5\n2;0.4x;0,6\n")
    assert "line 3, column 'a': '0.4x' is not a number; correct it" in told and "--decimal" not in told
