"""The benchmarks answer to one command line, with a table for people and an object for machines."""

from __future__ import annotations

import json

import numpy as np
import pytest
from learn_world import DATA

from benchmarks.__main__ import main
from benchmarks.rows import Row, summary, table


def test_learners_are_measured_in_one_json_object(capsys):
    assert main(["learners", "--quick", "--json", "--learner", "moments"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["benchmark"] == "learners"
    assert found["command"] == "python -m benchmarks learners --quick --json --learner moments"
    assert {"processor", "cores", "blas_kernel"} <= set(found["machine"])
    assert found["versions"]["numpy"] == np.__version__
    rates = {row["name"]: row["value"] for row in found["rows"]}
    assert rates["moments / take in"] > 0
    assert rates["moments / summary of a chip"] == 325
    for row in found["rows"]:
        assert set(row) >= {"name", "value", "unit", "against", "ratio", "n", "spread"}


def test_accuracy_without_data_says_what_it_needs(capsys):
    assert main(["accuracy", "--json"]) == 0
    (row,) = json.loads(capsys.readouterr().out)["rows"]
    assert row["value"] is None
    assert "--data" in row["why"]


def test_accuracy_compares_a_learner_with_its_reference_lines(capsys):
    file = DATA / "dubai_llp.npz"
    if not file.exists():
        pytest.skip(f"{file.name} is not here")
    pytest.importorskip("ground.datasets")
    arguments = ["accuracy", "--data", str(file), "--learner", "moments", "--seeds", "2", "--score", "validation"]
    assert main(["accuracy", "--json", *arguments[1:]]) == 0
    rows = {row["name"].split(" / ", 2)[2]: row for row in json.loads(capsys.readouterr().out)["rows"]}
    learner, line = rows["moments / mae_soft"], rows["linear LLP / mae_soft"]
    assert learner["n"] == 2
    assert learner["spread"] > 0
    assert learner["against"] == {"name": "linear LLP", "value": line["value"]}
    assert learner["ratio"] < 1
    assert rows["training mean / r2_soft"]["value"] < rows["own municipality (oracle) / r2_soft"]["value"]


def test_a_row_reports_mean_spread_and_ratio():
    row = summary("speed", [1.0, 2.0, 3.0], "s", ("old", 4.0)).as_json()
    assert row == {
        "name": "speed", "value": 2.0, "unit": "s", "against": {"name": "old", "value": 4.0}, "ratio": 0.5, "n": 3,
        "spread": 1.0,
    }  # fmt: skip


def test_what_could_not_be_measured_says_why():
    row = Row("speed", None, "s", why="no radio")
    assert row.as_json()["why"] == "no radio"
    assert "not measured: no radio" in table([row])
