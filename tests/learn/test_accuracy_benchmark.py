"""The accuracy benchmark: how it splits, weakens labels, chooses rates, and what it says when it cannot."""

from __future__ import annotations

import json

import numpy as np
import pytest
from learn_world import DATA, world

from benchmarks import accuracy
from benchmarks.__main__ import main
from benchmarks.contenders import RATES, Contender, contenders
from benchmarks.splits import NoSplitError, resplit
from flight.learn import Downconv, Moments

datasets = pytest.importorskip("ground.datasets")
EARTH = world()


def write(path, tile):
    split = np.repeat([0, 1, 2], [10, 3, 3]).astype(np.uint8)
    column = np.arange(96, dtype=np.int64) % 6
    arrays = {
        "chips": EARTH.chips,
        "bag": EARTH.bag,
        "split": split[EARTH.bag],
        "bag_split": split,
        "bag_props": EARTH.table,
        "class_names": np.array(["a", "b", "c"]),
        "licence": np.array(["none"]),
        "labels": EARTH.labels,
    }
    if tile:
        arrays |= {"tile": EARTH.bag // 4 + 1, "row": EARTH.bag % 4, "col": column}
    np.savez(path, **arrays)
    return path


@pytest.fixture(scope="module")
def file(tmp_path_factory):
    return write(tmp_path_factory.mktemp("data") / "tiny.npz", tile=True)


def measured(capsys, *arguments):
    assert main(["accuracy", "--json", *map(str, arguments)]) == 0
    rows = json.loads(capsys.readouterr().out)["rows"]
    return {row["name"].split(" / ", 2)[-1]: row for row in rows}


def test_a_learner_is_scored_on_tiles_it_never_saw(file, capsys):
    tiles = ("--validation-tiles", 1, "--test-tiles", 3)
    rows = measured(capsys, "--data", file, "--learner", "swath", "--quick", "--split", "disjoint", *tiles)
    assert rows["swath / mae_soft"]["value"] < rows["training mean / mae_soft"]["value"]
    assert rows["swath / parameters"]["value"] <= 8000
    assert rows["swath / state_bytes"]["value"] > 0


def test_imagery_without_tiles_has_no_disjoint_split(tmp_path, capsys):
    path = write(tmp_path / "plain.npz", tile=False)
    (row,) = measured(capsys, "--data", path, "--split", "disjoint", "--quick").values()
    assert "no array 'tile'" in row["why"]


def test_tiles_that_are_not_there_are_named(file):
    imagery = datasets.open_imagery(file)
    with pytest.raises(NoSplitError, match=r"tiles \[1, 2, 3, 4\]"):
        resplit(imagery, file, "disjoint", 0, [4], [9])


def test_a_disjoint_split_keeps_tiles_together(file):
    imagery = resplit(datasets.open_imagery(file), file, "disjoint", 0, [4], [2])
    np.testing.assert_array_equal(imagery.chip_split, np.array([0, 2, 0, 1])[EARTH.bag // 4])


def test_a_random_split_deals_as_many_municipalities_and_depends_on_the_seed(file):
    imagery = datasets.open_imagery(file)
    first, second = (resplit(imagery, file, "random", seed, [], []) for seed in (0, 1))
    assert np.bincount(first.bag_split).tolist() == np.bincount(imagery.bag_split).tolist() == [10, 3, 3]
    assert (first.bag_split != second.bag_split).any()
    np.testing.assert_array_equal(first.chip_split, first.bag_split[EARTH.bag])


def test_labels_are_weakened_as_the_contender_says():
    table = EARTH.table.copy()
    half = accuracy._weakened(table.copy(), Contender("", lambda *_: Moments(), labelled=0.5), 0)
    assert np.isnan(half[:, 0]).sum() == 8
    coarse = accuracy._weakened(table.copy(), Contender("", lambda *_: Moments(), bits=6), 0)
    np.testing.assert_allclose(coarse.sum(axis=1), 1, atol=1e-6)
    assert 0 < np.abs(coarse - table).max() < 1 / 32


def test_a_rate_is_chosen_on_validation_municipalities_over_all_seeds(file):
    imagery = datasets.open_imagery(file)
    asked = []

    def make(seed, rate):
        asked.append(rate)
        return Downconv(seed=seed, n_steps=60, learning_rate=rate)

    runs = accuracy._best_runs([imagery, imagery], imagery.tasks[0], Contender("", make, (1e-8, 0.03)), 2)
    assert asked == [1e-8, 1e-8, 0.03, 0.03]
    assert [scores["rate"] for scores in runs] == [0.03, 0.03]


def test_the_published_method_runs_offline_and_streamed_on_the_same_grid():
    found = {c.name: c for c in contenders(["swath", "downconv"], quick=False)}
    assert found["published, offline"].rates == found["published, streamed"].rates == RATES
    assert found["published, offline"].make(0, 0.01).loss == "chip"
    assert found["full supervision"].supervised
    assert [c.name for c in contenders(["swath"], quick=True)] == ["swath"]


def test_accuracy_compares_a_learner_with_its_reference_lines(capsys):
    file = DATA / "dubai_llp.npz"
    if not file.exists():
        pytest.skip(f"{file.name} is not here")
    pytest.importorskip("ground.datasets")
    arguments = ["--data", str(file), "--learner", "moments", "--seeds", "2", "--score", "validation"]
    assert main(["accuracy", "--json", *arguments]) == 0
    rows = {row["name"].split(" / ", 2)[2]: row for row in json.loads(capsys.readouterr().out)["rows"]}
    learner, line = rows["moments / mae_soft"], rows["linear LLP / mae_soft"]
    assert learner["n"] == 2
    assert learner["spread"] > 0
    assert learner["against"] == {"name": "linear LLP", "value": line["value"]}
    assert learner["ratio"] < 1
    assert rows["training mean / r2_soft"]["value"] < rows["own municipality (oracle) / r2_soft"]["value"]
