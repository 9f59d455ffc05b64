"""Reports that others have measured: read strictly, compared row by row, drawn."""

from __future__ import annotations

import builtins
import json

import pytest

from benchmarks import compare, plot, reports
from benchmarks.__main__ import main


def report(*rows, **machine):
    filled = [{"against": None, "ratio": None, "n": 5, "spread": None} | row for row in rows]
    return {"benchmark": "train", "machine": machine, "versions": {"numpy": "2.4.6"}, "rows": filled}


def row(name, value, unit="chips/s", spread=0.1, **more):
    return {"name": name, "value": value, "unit": unit, "spread": spread, **more}


PI = report(row("a", 100.0), row("b", 2.0, "s"), row("c", None, "W", None, why="no meter"), board="Pi 5")
FASTER = report(row("a", 150.0), row("b", 1.0, "s"), row("c", 7.0, "W"), row("d", 1.0), board="Jetson")


def written(path, content):
    path.write_text(json.dumps(content))
    return str(path)


def test_more_chips_and_fewer_seconds_are_better():
    verdicts = {pair.name: (pair.ratio, pair.verdict) for pair in compare.pairs(PI, FASTER)}
    assert verdicts["a"] == (1.5, "better")
    assert verdicts["b"] == (0.5, "better")
    back = {pair.name: pair.verdict for pair in compare.pairs(FASTER, PI)}
    assert (back["a"], back["b"]) == ("worse", "worse")


def test_what_lies_within_the_spread_is_the_same():
    (pair,) = compare.pairs(report(row("a", 100.0, spread=3.0)), report(row("a", 106.0, spread=3.0)))
    assert pair.verdict == "same"


def test_what_one_side_could_not_measure_says_why_and_has_no_ratio():
    pair = next(each for each in compare.pairs(PI, FASTER) if each.name == "c")
    assert (pair.ratio, pair.verdict, pair.why) == (None, "", "A: no meter")


def test_rows_that_one_report_alone_has_are_shown():
    assert [(each.name, each.why) for each in compare.pairs(PI, FASTER)][-1] == ("d", "only in B")
    assert [(each.name, each.why) for each in compare.pairs(FASTER, PI)][-1] == ("d", "only in A")


def test_figures_in_other_units_are_not_compared():
    pairs = compare.pairs(report(row("a", 1.0, "s")), report(row("a", 1000.0, "ms")))
    assert [pair.why for pair in pairs] == ["only in A", "only in B"]


def test_the_machines_differences_come_first(capsys, tmp_path):
    a, b = written(tmp_path / "a.json", PI), written(tmp_path / "b.json", FASTER)
    assert main(["compare", a, b]) == 0
    said = capsys.readouterr().out
    assert said.index("Jetson") < said.index("better")
    assert main(["compare", a, b, "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["differences"] == {"board": {"a": "Pi 5", "b": "Jetson"}}
    assert found["rows"][0]["ratio"] == 1.5


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("not json", "not one JSON object"),
        ('{"rows": [1]}', "row 0: it has no name"),
        ('{"rows": [{"name": "a", "unit": "s", "value": "fast"}]}', "value is 'fast'"),
        ('{"rows": [{"name": "a", "unit": "s", "value": NaN}]}', "value is nan"),
        ('{"rows": [{"name": "a", "unit": "s", "value": true}]}', "value is True"),
        ("[]", "it has no rows"),
        ('{"rows": [{"name": "a", "unit": "s", "value": 1, "against": 3}]}', "against is 3"),
    ],
)
def test_a_file_that_is_no_report_is_refused_with_what_is_wrong(content, said, tmp_path, capsys):
    path = tmp_path / "bad.json"
    path.write_text(content)
    assert main(["compare", str(path), str(path)]) == 2
    error = capsys.readouterr().err
    assert said in error
    assert "bad.json" in error


def test_a_missing_file_is_named(tmp_path, capsys):
    assert main(["plot", str(tmp_path / "none.json"), str(tmp_path / "a.png")]) == 2
    assert "none.json: No such file" in capsys.readouterr().err


def test_an_endless_file_is_not_read(tmp_path, monkeypatch):
    monkeypatch.setattr(reports, "_MOST_BYTES", 10)
    with pytest.raises(reports.ReportError, match="a report has at most 10"):
        reports.read(tmp_path / written(tmp_path / "long.json", PI))


def test_a_report_from_elsewhere_is_drawn(tmp_path, capsys):
    pytest.importorskip("matplotlib")
    compared = row("e", 3.0, against={"name": "torch", "value": 2.0}, ratio=1.5)
    path = written(tmp_path / "a.json", report(compared, *PI["rows"]))
    assert main(["plot", path, str(tmp_path / "a.svg")]) == 0
    assert "plot: " in capsys.readouterr().out
    assert "torch" in (tmp_path / "a.svg").read_text() or (tmp_path / "a.svg").stat().st_size > 10_000


def test_without_matplotlib_it_says_how_to_get_a_picture(tmp_path, monkeypatch):
    real = builtins.__import__

    def without(name, *arguments, **keywords):
        if name.startswith("matplotlib"):
            raise ImportError(name)
        return real(name, *arguments, **keywords)

    monkeypatch.setattr(builtins, "__import__", without)
    assert "pip install matplotlib" in plot.draw(PI, tmp_path / "a.png")
    assert not (tmp_path / "a.png").exists()
