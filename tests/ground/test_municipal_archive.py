"""Municipal products on the ground: archived, inspected, and drawn as maps by municipality."""

import json

import numpy as np
import pytest
from typer.testing import CliRunner

from benchmarks.regions import voronoi
from flight.config import LinkConfig
from flight.link import labelset, municipal, region_codec
from flight.link.labelset import LabelSet
from flight.link.layout import map_order
from flight.link.municipal import MunicipalProduct
from ground.archive import StationArchive, export
from ground.cli import app
from ground.municipal import MunicipalArchive
from ground.products import ArchiveError

REGION = voronoi(10, 12, 8, seed=2).quantised()
CLASSES = ("crops", "forest", "other")
N = len(REGION.codes)


def a_product(version=1, rows=range(N), task=1, seed=1):
    table = np.full((N, 3), np.nan, np.float32)
    table[list(rows)] = np.random.Generator(np.random.PCG64(seed)).dirichlet([0.5] * 3, N)[list(rows)]
    return MunicipalProduct(1, task, version, bytes(8), 64, table, np.ones(N, np.float32)).quantised()


def run(*arguments):
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


@pytest.fixture
def station(tmp_path):
    archive = StationArchive(tmp_path)
    archive.file(1.0, "municipal-1-1-2", municipal.pack(a_product(), map_order(REGION)))
    archive.file(2.0, "municipal-1-2-10", municipal.pack(a_product(2, range(3), seed=2), map_order(REGION)))
    other = voronoi(10, 12, 8, seed=3).quantised()
    archive.file(3.0, "municipal-1-3-11", municipal.pack(a_product(3), map_order(other)))
    return tmp_path


def test_later_rows_replace_earlier_ones_and_those_along_another_map_are_left_out(station):
    export(station, LinkConfig(), REGION, {1: CLASSES})
    table = MunicipalArchive.read(station / "municipalities.parquet").table(1)
    assert table.classes == CLASSES
    assert table.versions.tolist() == [2] * 3 + [1] * (N - 3)
    assert np.array_equal(table.proportions[:3], a_product(2, seed=2).proportions[:3])
    assert np.array_equal(table.proportions[3:], a_product().proportions[3:])


def test_a_row_of_an_earlier_label_version_changes_nothing():
    archive = MunicipalArchive(1, REGION.codes)
    assert archive.add(a_product(2, range(3))) == 3
    assert archive.add(a_product(1)) == N - 3
    assert archive.table(1).versions.tolist() == [2] * 3 + [1] * (N - 3)


@pytest.mark.parametrize(
    ("product", "what"),
    [
        (
            MunicipalProduct(2, 1, 1, bytes(8), 8, np.full((N, 3), np.nan, np.float32), np.zeros(N, np.float32)),
            "region 2",
        ),
        (MunicipalProduct(1, 1, 1, bytes(8), 8, np.full((3, 3), np.nan, np.float32), np.zeros(3, np.float32)), "3 mun"),
        (MunicipalProduct(1, 1, 1, bytes(8), 8, np.full((N, 2), np.nan, np.float32), np.zeros(N, np.float32)), "2 cla"),
    ],
)
def test_a_product_that_does_not_fit_is_refused(product, what):
    archive = MunicipalArchive(1, REGION.codes)
    archive.define(1, CLASSES)
    with pytest.raises(ArchiveError, match=what):
        archive.add(product)


def test_what_a_station_has_is_assembled_and_inspected(station):
    (station / "r.bin").write_bytes(region_codec.pack(REGION))
    labels = LabelSet(1, 1, 1, CLASSES, np.full((N, 3), 1 / 3, np.float32), 32)
    (station / "l.bin").write_bytes(labelset.pack(labels))
    made = run("products", "assemble", station, "--region", station / "r.bin", "--labels", station / "l.bin")
    assert made.exit_code == 0, made.output
    facts = json.loads(run("products", "inspect", station / "municipalities.parquet", "--json").stdout)
    assert facts["task_1"] == {"classes": list(CLASSES), "rows": N, "label_versions": [1, 2]}
    facts = json.loads(run("products", "inspect", station / "received" / "municipal-1-1-2", "--json").stdout)
    assert (facts["municipalities"], facts["levels"], facts["classes"]) == (N, 64, 3)


def test_a_file_that_is_no_archive_is_refused(tmp_path):
    (tmp_path / "x.parquet").write_bytes(b"nothing")
    with pytest.raises(ArchiveError, match="is not an archive of municipal products"):
        MunicipalArchive.read(tmp_path / "x.parquet")
    refused = run("products", "inspect", tmp_path / "x.parquet")
    assert refused.exit_code == 1 and "is not an archive of products" in refused.output


@pytest.mark.parametrize("format_", ["geotiff", "geoparquet", "gpkg"])
def test_municipalities_become_maps_with_their_shares(station, format_):
    geopandas, rasterio = pytest.importorskip("geopandas"), pytest.importorskip("rasterio")
    export(station, LinkConfig(), REGION, {1: CLASSES})
    (station / "r.bin").write_bytes(region_codec.pack(REGION))
    options = ["--region", station / "r.bin", "--made-up", "--format", format_, "-o", station / "maps"]
    made = run("products", "export", station / "municipalities.parquet", *options)
    assert made.exit_code == 0, made.output
    region = region_codec.unpack((station / "r.bin").read_bytes(), LinkConfig())
    table = MunicipalArchive.read(station / "municipalities.parquet").table(1)
    path = station / "maps" / "task-1-municipalities"
    if format_ == "geotiff":
        with rasterio.open(path.with_suffix(".tif")) as file:
            assert file.descriptions[:3] == CLASSES
            bands = file.read()[:3].reshape(3, -1)
        first = region.bags[:, 0]
        assert np.array_equal(bands.T[first >= 0], table.proportions[first[first >= 0]])
        assert np.isnan(bands.T[first < 0]).all()
        return
    frame = (
        geopandas.read_parquet(path.with_suffix(".parquet"))
        if format_ == "geoparquet"
        else geopandas.read_file(path.with_suffix(".gpkg"))
    )
    row = frame.set_index("code").loc[region.codes[0]]
    assert [row[f"share_{name}"] for name in CLASSES] == pytest.approx(table.proportions[0].tolist())
    assert row["predicted_share"] == 1
