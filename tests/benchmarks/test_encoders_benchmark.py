"""The benchmark of encoders, on imagery of a moment: what it compares, and what it says where something is missing."""

from __future__ import annotations

import importlib.util
import json

import numpy as np
import pytest

from benchmarks import encoders
from benchmarks.__main__ import main
from benchmarks.eyes import of_frozen, opened
from ground.encoders import frozen

RNG = np.random.Generator(np.random.PCG64(0))
SIDE = 24


def an_encoder(name="tiny", bands=3):
    kernel = (RNG.standard_normal((3, 3, bands, 6)) / 5).astype(np.float32)
    turn = RNG.standard_normal((1, 1, 6, 4)).astype(np.float32) / 2
    first = frozen.Conv(kernel, np.zeros(6, np.float32), stride=8)
    last = frozen.Conv(turn, np.zeros(4, np.float32), relu=False)
    names = tuple(f"band{i}" for i in range(bands))
    ends = np.full(4, -2, np.float32), np.full(4, 2, np.float32)
    return frozen.Frozen(name, names, 100, np.full(bands, 50, np.float32), (first, last), *ends)


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """Chips of one class each, by their brightness, in 16 municipalities; and an encoder."""
    folder = tmp_path_factory.mktemp("encoders")
    bag = (np.arange(160) // 10).astype(np.int32)
    scene = RNG.integers(0, 2, 160)
    chips = np.clip(60 + 90 * scene[:, None, None, None] + 20 * RNG.standard_normal((160, SIDE, SIDE, 3)), 0, 255)
    split = np.repeat([0, 1, 2], [10, 3, 3]).astype(np.uint8)
    table = np.stack([np.bincount(scene[bag == b], minlength=2) / 10 for b in range(16)]).astype(np.float32)
    labels = np.broadcast_to(scene[:, None, None], (160, SIDE, SIDE)).astype(np.uint8)
    np.savez(
        folder / "pure.npz", chips=chips.astype(np.uint8), bag=bag, split=split[bag], bag_split=split, bag_props=table,
        class_names=np.array(["dark", "bright"]), licence=np.array(["none"]), labels=labels,
    )  # fmt: skip
    an_encoder().write(folder / "tiny.npz")
    an_encoder("other", bands=4).write(folder / "other.npz")
    return folder


def measured(capsys, *arguments):
    assert main(["encoders", "--json", "--quick", *map(str, arguments)]) == 0
    return {row["name"]: row for row in json.loads(capsys.readouterr().out)["rows"]}


def test_without_data_it_says_what_it_needs(capsys):
    assert "--data" in measured(capsys)["encoders"]["why"]


def test_learners_with_and_without_an_encoder_stand_side_by_side(data, capsys, monkeypatch):
    monkeypatch.setattr(encoders, "_STEPS", 20)
    rows = measured(capsys, "--data", data / "pure.npz", "--encoder", data / "tiny.npz", data / "other.npz")
    for share in ("all", "1/10"):
        alone = rows[f"pure / proportions / {share} labelled / no encoder"]["value"]
        assert rows[f"pure / proportions / {share} labelled / tiny"]["against"] == {
            "name": "no encoder",
            "value": alone,
        }
    integers = rows["pure / int8 / tiny"]
    assert integers["against"]["value"] == rows["pure / proportions / all labelled / tiny"]["value"]
    assert abs(integers["value"] - integers["against"]["value"]) < 0.05
    assert rows["pure / probe / all labels / hand-made"]["value"] > 0.9  # brightness is all there is to see
    assert -1 <= rows["pure / embedding distance against error / tiny"]["value"] <= 1
    assert "4 bands" in rows["pure / other"]["why"]
    assert rows["tiny / tflite int8 / file"]["value"] < rows["tiny / tflite fp32 / file"]["value"] * 1.5


def test_without_torch_every_row_that_needs_it_says_so(data, capsys, monkeypatch):
    real = importlib.util.find_spec
    monkeypatch.setattr(encoders, "find_spec", lambda name: None if name == "torch" else real(name))
    rows = measured(capsys, "--data", data / "pure.npz")
    assert "torch is missing" in rows["encoders"]["why"]
    assert "torch is missing" in rows["pure / probe / 10 labels / from scratch"]["why"]
    assert rows["pure / proportions / all labelled / no encoder"]["value"] < 0.2


def test_a_runtime_that_is_not_installed_is_named(data, capsys, monkeypatch):
    from flight.encoder import runtimes

    monkeypatch.setattr(runtimes, "installed", list)
    found = list(encoders._costs(data / "tiny.npz", data, data / "pure.npz", quick=True))
    assert {row.why for row in found if row.value is None} == {
        f"{name} is not installed" for names in runtimes.RUNTIMES.values() for name in names
    }


def test_a_chip_is_encoded_once(data):
    seen = opened(data / "tiny.npz", (SIDE, SIDE, 3))
    calls = []
    embed, seen._embed = seen._embed, lambda chips: (calls.append(len(chips)), embed(chips))[1]
    chips = RNG.integers(0, 256, (70, SIDE, SIDE, 3)).astype(np.uint8)
    first = seen(chips)
    np.testing.assert_array_equal(seen(chips[::-1])[::-1], first)
    assert calls == [64, 6]
    np.testing.assert_allclose(first, of_frozen(an_encoder_of(seen), (SIDE, SIDE, 3))(chips), atol=1e-5)


def an_encoder_of(seen):
    return seen.frozen
