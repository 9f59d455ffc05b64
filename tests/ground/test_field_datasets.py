"""The field's data sets, in files of their published layouts: llpeo's pickles, M3LEO's GeoTIFF and NetCDF tiles."""

from __future__ import annotations

import os
import pickle  # noqa: TID251 (what the published files were written with)
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import rasterio
from import_world import write_tif
from pyproj import Transformer
from typer.testing import CliRunner, Result

from ground.cli import app
from ground.datasets import open_imagery

ROWS = {"BE01": (0.1, 0.6, 0.3), "BE02": (0.0, 0.2, 0.8)}  # classes 0, 1 and 5


def run(*arguments: object) -> Result:
    return CliRunner().invoke(app, ["dataset", *(str(argument) for argument in arguments)])


def chip(n: int, commune: str, row: tuple[float, ...], old: bool = False, **changes: Any) -> dict[str, Any]:
    """A chip as published; `old` in the older form of its proportions."""
    rng = np.random.Generator(np.random.PCG64(n))
    west, north = 600_000.0 + 1000 * (n % 4), 5_700_000.0 - 1000 * (n // 4)
    to_degrees = Transformer.from_crs(32631, 4326)
    shares = {str(c): share for c, share in zip((0, 1, 5), row, strict=True)}
    newer = {"partitions_communes": {"partition_id": commune, "proportions": shares}}
    older = {"partitions_communes": shares, "foreignid_communes": commune}
    content = {
        "chip_id": f"{n:013x}",
        "chip": rng.integers(0, 256, (101, 100, 3), dtype=np.uint8),
        "label": rng.choice([0, 1, 5], (101, 100)).astype(np.int16),
        "label_proportions": {"partitions_aschip": {"0": 1.0}, **(older if old else newer)},
        "metadata": {
            "corners": {
                "nw": to_degrees.transform(west, north),
                "se": to_degrees.transform(west + 1000, north - 1000),
            }
        },
    }
    return {key: value for key, value in {**content, **changes}.items() if value is not None}


def write_llpeo(directory: Path, old: bool = False) -> Path:
    """Twelve chips of two communes; the last one of the first has a mixed row, as on a border."""
    root = directory / "benelux_sentinel2-rgb-median-2020_esa-world-cover"
    (root / "data").mkdir(parents=True)
    lines = ["identifier,split,split_communes"]
    for n in range(12):
        commune = "BE01" if n < 6 else "BE02"
        row = ROWS[commune] if n != 5 else (0.05, 0.4, 0.55)
        (root / "data" / f"{n:013x}.pkl").write_bytes(pickle.dumps(chip(n, commune, row, old), 4 if old else 5))
        lines.append(f"{n:013x},train,{'train' if n < 6 else 'test'}")
    (root / "splits.csv").write_text("\n".join(lines))
    return root


@pytest.mark.parametrize("old", [False, True])
def test_llpeo_has_its_communes_splits_and_class_groups_as_published(tmp_path: Path, old: bool) -> None:
    root = write_llpeo(tmp_path, old)
    result = run("from-llpeo", root, "-o", tmp_path / "o.npz")
    assert result.exit_code == 0, result.output
    imagery = open_imagery(tmp_path / "o.npz")
    assert imagery.codes == ("BE01", "BE02") and imagery.bag_split.tolist() == [0, 2]
    assert imagery.tasks[0].class_names[1] == "tree cover" and imagery.chip_shape == (100, 100, 3)
    np.testing.assert_allclose(imagery.table(imagery.tasks[0]), [[0.1, 0.6, 0, 0, 0.3], [0, 0.2, 0, 0, 0.8]], atol=1e-6)
    original = chip(7, "", (1, 0, 0))
    np.testing.assert_array_equal(imagery.chips(np.array([7]))[0], original["chip"][:100])
    groups = np.array([0, 1, 2, 2, 3, 4])
    np.testing.assert_array_equal(imagery.labels(np.array([7]), imagery.tasks[0])[0], groups[original["label"][:100]])


def test_llpeo_chips_lie_on_the_grid_that_they_were_cut_on(tmp_path: Path) -> None:
    run("from-llpeo", write_llpeo(tmp_path), "-o", tmp_path / "o.npz")
    imagery = open_imagery(tmp_path / "o.npz")
    assert imagery.geographic and (imagery.rows, imagery.cols) == (3, 4)
    assert imagery.cell.tolist() == [[n // 4, n % 4] for n in range(12)]


class Hostile:
    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> Any:
        return os.system, (f"touch {self.path}",)


LLPEO: list[tuple[str, dict[str, Any] | bytes, str]] = [
    ("no label", {"label": None}, "'label' is not there"),
    ("small chip", {"chip": np.zeros((50, 100, 3), np.uint8)}, "'chip' is (50, 100, 3); expected an array of at least"),
    ("chip of floats", {"chip": np.zeros((100, 100, 3))}, "'chip' is float64 with 3 bands; expected uint8 with 3"),
    ("label beyond", {"label": np.full((100, 100), 300)}, "with values beyond 0 to 254"),
    ("no proportions", {"label_proportions": None}, "has no 'label_proportions'; it has chip"),
    ("other partition", {"label_proportions": {"partitions_cities": {}}}, "no proportions of partition 'communes'"),
    ("no commune", {"label_proportions": {"partitions_communes": {"0": 1.0}}}, "which of the communes it lies in"),
    ("half a row", {"label_proportions": {"partitions_communes": {"partition_id": "a", "proportions": {"1": 0.5}}}},
     "proportions of communes sum to 0.5 over the classes; expected 1"),
    ("a list", pickle.dumps([1, 2]), "holds list, not the dictionary of a chip"),
    ("damaged", pickle.dumps({"a": 1})[:-3], "is damaged or no pickle"),
]  # fmt: skip


@pytest.mark.parametrize(("changes", "message"), [case[1:] for case in LLPEO], ids=[case[0] for case in LLPEO])
def test_a_chip_that_does_not_fit_is_refused_by_its_file(tmp_path: Path, changes: Any, message: str) -> None:
    path = write_llpeo(tmp_path) / "data" / f"{3:013x}.pkl"
    data = changes if isinstance(changes, bytes) else pickle.dumps(chip(3, "BE01", ROWS["BE01"], **changes))
    path.write_bytes(data)
    result = run("from-llpeo", path.parents[1], "-o", tmp_path / "o.npz")
    assert result.exit_code == 1 and message in result.stderr and path.name in result.stderr
    assert [each.name for each in tmp_path.iterdir()] == [path.parents[1].name]


def test_a_hostile_chip_is_refused_by_what_it_names_and_nothing_is_executed(tmp_path: Path) -> None:
    path = write_llpeo(tmp_path) / "data" / f"{3:013x}.pkl"
    path.write_bytes(pickle.dumps(chip(3, "BE01", ROWS["BE01"], extra=Hostile(tmp_path / "pwned"))))
    result = run("from-llpeo", path.parents[1], "-o", tmp_path / "o.npz")
    assert result.exit_code == 1 and "posix.system', which is neither array nor plain container" in result.stderr
    assert not (tmp_path / "pwned").exists() and not (tmp_path / "o.npz").exists()


# M3LEO

SIDE, COARSE = 64, 16  # published ones have 448, and about 50 at 90 m
SEASONS, DAYS = ("winter", "spring", "summer", "fall"), (12, 24, 36, 48)


def write_m3leo(directory: Path, n: int = 3) -> Path:
    """Tiles with Sentinel-2, Sentinel-1 with named bands, coherence in NetCDF 4, and WorldCover."""
    root = directory / "middleeast"
    lines = ["identifier,split"]
    for i in range(n):
        rng = np.random.Generator(np.random.PCG64(i))
        name = f"0a1b2c{i}"
        lines.append(f"{name},{('train', 'val', 'test')[i % 3]}")
        write_tif(root / "s2rgbm-2020" / f"{name}.tif", rng.integers(1, 256, (3, SIDE, SIDE), dtype=np.uint8))
        names = tuple(f"{s}_{p}{d}" for s in SEASONS for p in ("vv", "vh") for d in ("asc", "des"))
        write_tif(
            root / "s1grd-2020" / f"{name}.tif", rng.normal(-12, 3, (16, SIDE, SIDE)).astype(np.float32), names=names
        )
        cover = np.where(np.arange(SIDE) < SIDE // (i + 2), 10, 40).astype(np.uint8)
        write_tif(root / "esaworldcover-2020" / f"{name}.tif", np.broadcast_to(cover, (SIDE, SIDE)))
        write_coherence(root / "gssic" / f"{name}.nc", rng.uniform(0.01, 1, (4, 4, COARSE, COARSE)).astype(np.float32))
    lines.append("ffff,train")
    (directory / "middleeast_partitions_aschips_0a596e_splits_60bands.csv").write_text("\n".join(lines))
    return root


def write_coherence(path: Path, values: np.ndarray) -> None:
    """A variable with dimension scales, as netCDF 4 keeps it in HDF5."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with h5py.File(path, "w") as file:
        axes = {
            "season": np.array(SEASONS, object),
            "deltadays": np.array(DAYS),
            "y": np.arange(COARSE),
            "x": np.arange(COARSE),
        }
        for name, along in axes.items():
            file[name] = along if name != "season" else along.astype(h5py.string_dtype())
            file[name].make_scale(name)
        file["coherence"] = values
        for i, name in enumerate(axes):
            file["coherence"].dims[i].attach_scale(file[name])


def test_m3leo_tiles_are_bags_with_the_published_split_and_their_land_cover_as_row(tmp_path: Path) -> None:
    root = write_m3leo(tmp_path)
    result = run("from-m3leo", root, "-o", tmp_path / "o.npz", "--chip-px", 16, "--scale", "none")
    assert result.exit_code == 0, result.output
    assert "1 of 4 tiles lack a layer" in result.stderr
    imagery = open_imagery(tmp_path / "o.npz")
    assert imagery.codes == ("0a1b2c0", "0a1b2c1", "0a1b2c2") and imagery.bag_split.tolist() == [0, 1, 2]
    table = imagery.table(imagery.tasks[0])
    assert imagery.tasks[0].class_names[:4:3] == ("tree cover", "cropland")
    np.testing.assert_allclose(table[:, 0], [32 / 64, 21 / 64, 16 / 64])
    with rasterio.open(root / "s2rgbm-2020" / "0a1b2c1.tif") as tile:
        expected = tile.read()[:, 16:32, 32:48].transpose(1, 2, 0)
    np.testing.assert_array_equal(imagery.chips(np.array([16 + 4 + 2]))[0], expected)
    assert not imagery.geographic


def test_m3leo_bands_come_from_sentinel_1_by_name_and_from_coherence_by_season_and_days(tmp_path: Path) -> None:
    root = write_m3leo(tmp_path)
    bands = ("--band", "s1grd-2020:summer_vhasc", "--band", "gssic:coherence/fall/24")
    result = run("from-m3leo", root, "-o", tmp_path / "o.npz", "--chip-px", 64, "--scale", "P0:P100", *bands)
    assert result.exit_code == 0, result.output
    imagery = open_imagery(tmp_path / "o.npz")
    assert imagery.chip_shape == (64, 64, 2) and imagery.n_chips == 3
    chip = imagery.chips(np.array([1]))[0].astype(float)
    with rasterio.open(root / "s1grd-2020" / "0a1b2c1.tif") as tile:
        assert np.corrcoef(tile.read(11).ravel(), chip[..., 0].ravel())[0, 1] > 0.999
    with h5py.File(root / "gssic" / "0a1b2c1.nc") as file:
        coherence = np.repeat(np.repeat(file["coherence"][3, 1], 4, axis=0), 4, axis=1)
    assert np.corrcoef(coherence.ravel(), chip[..., 1].ravel())[0, 1] > 0.999


M3LEO: list[tuple[str, tuple[str, ...], str, bytes | None, str]] = [
    ("no such layer", ("--band", "s3:1"), "", None, "has no layer 's3'; it has esaworldcover-2020, gssic"),
    ("no band", ("--band", "s1grd-2020"), "", None, "--band s1grd-2020: must be LAYER:BAND"),
    ("a path for a layer", ("--band", "../x:1"), "", None, "must be LAYER:BAND"),
    (
        "no such band",
        ("--band", "s1grd-2020:autumn_vv"),
        "",
        None,
        "has no band 'autumn_vv'; there are 1 'winter_vvasc'",
    ),
    ("no such variable", ("--band", "gssic:phase"), "", None, "has no variable 'phase'; it has coherence"),
    ("no season", ("--band", "gssic:coherence"), "", None, "has the axes season, deltadays, y, x"),
    (
        "no such season",
        ("--band", "gssic:coherence/autumn/12"),
        "",
        None,
        "axis 'season' has no 'autumn'; it has winter",
    ),
    ("text for NetCDF", ("--band", "gssic:coherence/fall/24"), "gssic/0a1b2c1.nc", b"x", "is not NetCDF 4 (HDF5)"),
    ("text for a tile", (), "s2rgbm-2020/0a1b2c1.tif", b"x", "0a1b2c1.tif: is neither GeoTIFF nor JPEG 2000"),
    ("no truth", ("--truth", "cover"), "", None, "has no layer 'cover'"),
    ("chips too large", ("--chip-px", "128"), "", None, "tiles have 64 pixels a side"),
]


@pytest.mark.parametrize(
    ("options", "name", "content", "message"), [case[1:] for case in M3LEO], ids=[case[0] for case in M3LEO]
)
def test_what_does_not_fit_in_m3leo_is_refused_and_nothing_is_written(
    tmp_path: Path, options: tuple[str, ...], name: str, content: bytes | None, message: str
) -> None:
    root = write_m3leo(tmp_path)
    if content is not None:
        (root / name).write_bytes(content)
    result = run("from-m3leo", root, "-o", tmp_path / "o.npz", "--chip-px", 16, *options)
    assert result.exit_code == 1 and message in result.stderr, result.output
    assert not (tmp_path / "o.npz").exists()
