"""The benchmarks answer to one command line, with a table for people and an object for machines."""

from __future__ import annotations

import json
import re
import shlex
from pathlib import Path

import numpy as np
import pytest
from recorded import recorded

from benchmarks import __main__ as command
from benchmarks import features, library, setting
from benchmarks.__main__ import main
from benchmarks.machine import Machine, headline
from benchmarks.rows import Row, summary, table
from benchmarks.timing import ALL_CORES
from flight.kernels import backend
from flight.kernels.registry import abi


@pytest.fixture
def numpy_alone(monkeypatch):
    """A board on which nothing compiled can be had."""

    def none(bundle):
        raise library.NoLibraryError("no library here")

    monkeypatch.setattr(library, "find", none)
    monkeypatch.setattr(backend.kernels, "has_jit", lambda: False)
    monkeypatch.setattr(backend, "_IN_USE", {})
    for cached in (setting._backends, setting._limits):
        cached.cache_clear()
    yield
    for cached in (setting._backends, setting._limits):
        cached.cache_clear()


@pytest.mark.usefixtures("numpy_alone")
def test_a_board_without_compiled_kernels_gets_a_report_that_says_what_is_missing(capsys):
    assert main(["features", "--quick", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["benchmark"] == "features"
    assert found["command"] == "python -m benchmarks features --quick --json"
    assert {
        "board",
        "processor",
        "cores",
        "governors",
        "temperature_c",
        "throttled",
        "power_meter",
        "blas_kernel",
    } <= set(found["machine"])
    assert found["machine"]["cores_pinned"] == [max(ALL_CORES)]
    assert found["versions"]["numpy"] == np.__version__
    assert found["versions"]["kernel_abi"] == abi()
    rows = {row["name"]: row for row in found["rows"]}
    assert rows["machine / FMA peak"]["value"] is None
    assert ".[jit]" in rows["machine / FMA peak"]["why"]
    assert rows["machine / memory bandwidth"]["value"] > 0
    measured = rows["swath: 28 features, 228 units / features and mean embedding / numpy"]
    assert measured["value"] > 0
    assert measured["n"] == 3
    assert rows["swath: 28 features, 228 units / features and mean embedding / aot"]["why"] == "no library here"
    for row in found["rows"]:
        assert set(row) >= {"name", "value", "unit", "against", "ratio", "n", "spread"}


@pytest.mark.usefixtures("numpy_alone")
def test_the_head_of_the_default_learner_is_measured_on_what_it_trains_on(capsys):
    assert main(["train", "--quick", "--part", "head", "--json"]) == 0
    rows = {row["name"]: row for row in json.loads(capsys.readouterr().out)["rows"]}
    assert rows["default learner / loss and gradient of its head, 64 chips of 16 cells / numpy"]["value"] > 0


def test_accuracy_without_data_says_what_it_needs(capsys):
    assert main(["accuracy", "--json"]) == 0
    (row,) = json.loads(capsys.readouterr().out)["rows"]
    assert row["value"] is None
    assert "--data" in row["why"]


def test_all_is_one_object_whose_rows_name_their_benchmark(capsys, monkeypatch):
    monkeypatch.setattr(command, "TOGETHER", ("features", "kdm"))
    for module in (features, command.importlib.import_module("benchmarks.kdm")):
        monkeypatch.setattr(module, "run", lambda options: [Row("speed", 1.0 + options.quick, "s")])
    assert main(["all", "--quick", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert [(row["name"], row["value"]) for row in found["rows"]] == [("features / speed", 2.0), ("kdm / speed", 2.0)]


def test_one_that_breaks_does_not_take_the_others_along(capsys, monkeypatch):
    def broken(options):
        raise OSError("the disk is full")

    monkeypatch.setattr(command, "TOGETHER", ("features", "kdm"))
    monkeypatch.setattr(features, "run", broken)
    monkeypatch.setattr(command.importlib.import_module("benchmarks.kdm"), "run", lambda options: [Row("a", 1.0, "s")])
    assert main(["all", "--quick", "--json"]) == 1
    rows = json.loads(capsys.readouterr().out)["rows"]
    assert [(row["name"], row["value"]) for row in rows] == [("features / failed", None), ("kdm / a", 1.0)]
    assert rows[0]["why"] == "OSError: the disk is full"


def test_under_an_emulator_nothing_is_measured_and_the_exit_code_says_so(capsys, monkeypatch):
    monkeypatch.setattr(Machine, "emulated", "qemu-user: this process is qemu-aarch64")
    monkeypatch.setattr(features, "run", lambda options: pytest.fail("it was run"))
    assert main(["features", "--json"]) == 1
    found = json.loads(capsys.readouterr().out)
    assert [row["value"] for row in found["rows"]] == [None]
    assert "emulator" in found["rows"][0]["why"]
    assert found["machine"]["emulated"]


def test_the_headline_names_a_board_and_shouts_if_it_was_throttled(tmp_path):
    weak = Machine(recorded("pi4", tmp_path), "aarch64").describe()
    assert headline(weak) == (
        "Raspberry Pi 4 Model B Rev 1.4; 4 x Cortex-A72; 1.80 GHz; ondemand; 49 °C; THROTTLED: under-voltage, throttled"
    )


def test_a_report_has_the_clock_and_the_temperature_of_before_and_after(tmp_path):
    machine = Machine(recorded("pi5", tmp_path), "aarch64")
    (tmp_path / "sys/class/thermal/thermal_zone0/temp").write_text("71500\n")
    (tmp_path / "sys/devices/system/cpu/cpu0/cpufreq/scaling_cur_freq").write_text("2000000\n")
    found = machine.describe()
    assert found["temperature_c"] == {"start": 51.25, "end": 71.5}
    assert found["clock_hz"] == {"start": 2.4e9, "end": 2.4e9, "most": 2.4e9}  # the other three cores
    assert found["memory_bytes"] == 8256640 * 1024


def test_a_row_reports_mean_spread_and_ratio():
    row = summary("speed", [1.0, 2.0, 3.0], "s", ("old", 4.0)).as_json()
    assert row == {
        "name": "speed", "value": 2.0, "unit": "s", "against": {"name": "old", "value": 4.0}, "ratio": 0.5, "n": 3,
        "spread": 1.0,
    }  # fmt: skip


def test_a_table_shows_what_a_row_is_compared_with():
    assert "0.5 x old 4" in table([Row("speed", 2.0, "s", ("old", 4.0))])


def test_what_could_not_be_measured_says_why():
    row = Row("speed", None, "s", why="no radio")
    assert row.as_json()["why"] == "no radio"
    assert "not measured: no radio" in table([row])


def test_a_picture_is_a_png_or_an_svg(capsys):
    with pytest.raises(SystemExit):
        main(["features", "--plot", "picture.jpeg"])
    assert "a picture is a file .png or .svg" in capsys.readouterr().err


def test_every_command_of_the_page_on_boards_is_one(tmp_path):
    page = (Path(__file__).parents[2] / "docs" / "benchmark-your-board.md").read_text(encoding="utf-8")
    lines = re.findall(r"python -m benchmarks ([^\n#>`)]+)", page)
    assert len(lines) >= 5
    for line in lines:
        command.parser().parse_args(shlex.split(line))


def test_the_page_on_boards_names_every_benchmark():
    page = (Path(__file__).parents[2] / "docs" / "benchmark-your-board.md").read_text(encoding="utf-8")
    for name in (*command.TOGETHER, *command.BY_NAME):
        assert f"`{name}`" in page
