"""Predictions as maps: rasterio and GeoPandas find every chip where it is, to the pixel."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import geopandas
import numpy as np
import pytest
import rasterio
import shapely
from typer.testing import CliRunner, Result

from flight.config import LinkConfig
from flight.link import region, region_codec
from flight.link.product import Product
from ground import gis
from ground.cli import app
from ground.gis import GisError, need_gis
from ground.maps import by_municipality, entropy
from ground.polygons import PolygonOptions
from ground.products import ProductArchive
from ground.regions import MappedRegion, region_from_polygons

X0, Y0, CHIP_M = 480_500.0, 4_800_300.0, 960.0
CLASSES = ("forest", "crops & fallow", "água")


@pytest.fixture
def files(tmp_path: Path) -> tuple[Path, MappedRegion]:
    """A region of four municipalities, packed with its georeference, and an archive of products over most of it."""
    corners = [(X0 + 5_100 * i, Y0 + 4_700 * j) for j in (0, 1) for i in (0, 1)]
    boxes = [shapely.box(x, y, x + 5_100, y + 4_700) for x, y in corners]
    frame = geopandas.GeoDataFrame({"CODE": list("abcd"), "N": list("ABCD")}, geometry=boxes, crs="EPSG:25830")
    frame.to_file(tmp_path / "m.gpkg")
    fields = ["--id-field", "CODE", "--name-field", "N", "--crs", "EPSG:25830", "--region-id", 7]
    made = run("region", "from-polygons", tmp_path / "m.gpkg", *fields, "-o", tmp_path / "r.bin")
    assert made.exit_code == 0, made.output
    mapped = region_from_polygons(tmp_path / "m.gpkg", PolygonOptions("CODE"), region_id=7, crs="EPSG:25830")
    archive = ProductArchive(7, mapped.region.rows, mapped.region.cols)
    archive.define(3, CLASSES)
    cells = np.flatnonzero(mapped.region.bags[:, 0] >= 0)[:-5].astype(np.int32)
    shares = np.random.Generator(np.random.PCG64(4)).dirichlet([0.5] * 3, len(cells)).astype(np.float32)
    archive.add(Product(7, 3, 2, bytes(8), 255, cells, shares))
    archive.write(tmp_path / "products.parquet")
    return tmp_path, mapped


def run(*arguments: object) -> Result:
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


def export(directory: Path, *options: object) -> Result:
    return run(
        "products",
        "export",
        directory / "products.parquet",
        "--region",
        directory / "r.bin",
        "-o",
        directory / "maps",
        *options,
    )


def grid_of(directory: Path) -> np.ndarray:
    return ProductArchive.read(directory / "products.parquet").grid(3)


def test_a_cloud_optimised_geotiff_has_each_chip_on_its_pixel(files: tuple[Path, MappedRegion]) -> None:
    directory, mapped = files
    result = export(directory)
    assert result.exit_code == 0, result.output
    with rasterio.open(directory / "maps" / "task-3.tif") as image:
        assert image.tags(ns="IMAGE_STRUCTURE")["LAYOUT"] == "COG" and np.isnan(image.nodata)
        assert image.crs.to_epsg() == 25830 and image.transform[:6] == mapped.georef.transform
        assert image.descriptions == (*CLASSES, "entropy") and image.tags()["label_version"] == "2"
        np.testing.assert_array_equal(image.read([1, 2, 3]).transpose(1, 2, 0), grid_of(directory))
        np.testing.assert_array_equal(image.read(4), entropy(grid_of(directory)))
        west, north = image.xy(0, 0, offset="ul")
    assert west == np.floor(X0 / CHIP_M) * CHIP_M and north == np.ceil((Y0 + 9_400) / CHIP_M) * CHIP_M


def test_the_map_of_classes_has_a_colour_table_and_a_style_with_their_names(files: tuple[Path, MappedRegion]) -> None:
    directory, _ = files
    export(directory)
    grid = grid_of(directory)
    with rasterio.open(directory / "maps" / "task-3-class.tif") as image:
        best, table = image.read(1), image.colormap(1)
        assert image.nodata == 255 and image.tags()["class_2"] == "água"
    known = ~np.isnan(grid[..., 0])
    np.testing.assert_array_equal(best[known], grid[known].argmax(1))
    assert (best[~known] == 255).all()
    entries = ElementTree.parse(  # noqa: S314 (our own)
        directory / "maps" / "task-3-class.qml"
    ).findall(".//paletteEntry")
    assert [entry.get("label") for entry in entries] == list(CLASSES)
    assert [entry.get("color") for entry in entries] == ["#{:02x}{:02x}{:02x}".format(*table[i][:3]) for i in range(3)]


@pytest.mark.parametrize(("name", "suffix"), [("gpkg", ".gpkg"), ("geoparquet", ".parquet")])
def test_polygons_of_chips_lie_where_the_pixels_do(files: tuple[Path, MappedRegion], name: str, suffix: str) -> None:
    directory, _ = files
    assert export(directory, "--format", name).exit_code == 0 and export(directory).exit_code == 0
    chips = read(directory / "maps" / f"task-3-chips{suffix}")
    assert chips.crs.to_epsg() == 25830 and (shapely.area(chips.geometry) == CHIP_M**2).all()
    centres = shapely.get_coordinates(shapely.centroid(chips.geometry))
    with rasterio.open(directory / "maps" / "task-3.tif") as image:
        sampled = np.array(list(image.sample(centres)))
    np.testing.assert_array_equal(sampled, chips[[*(f"share_{c}" for c in CLASSES), "entropy"]].to_numpy(np.float32))
    assert chips["class"].tolist() == [CLASSES[i] for i in sampled[:, :3].argmax(1)]
    style = ElementTree.parse(  # noqa: S314 (our own)
        directory / "maps" / "task-3-chips.qml"
    )
    assert [each.get("value") for each in style.findall(".//category")] == list(CLASSES)


@pytest.mark.parametrize(("name", "suffix"), [("gpkg", ".gpkg"), ("geoparquet", ".parquet")])
def test_municipalities_have_their_own_borders_names_and_weighted_means(
    files: tuple[Path, MappedRegion], name: str, suffix: str
) -> None:
    directory, mapped = files
    assert export(directory, "--format", name).exit_code == 0
    towns = read(directory / "maps" / f"task-3-municipalities{suffix}")
    assert towns.code.tolist() == list("abcd") and towns.name.tolist() == list("ABCD")
    assert shapely.equals(towns.geometry.values, mapped.polygons.geometry).all()
    on_board = region_codec.unpack((directory / "r.bin").read_bytes(), LinkConfig())
    expected, _ = by_municipality(on_board, grid_of(directory))
    np.testing.assert_array_equal(towns[[f"share_{c}" for c in CLASSES]].to_numpy(np.float32), expected)
    assert towns.predicted_share.round(3).tolist()[2:] == [1.0, 1.0] and towns.predicted_share.min() < 1


def test_a_municipality_s_mean_weighs_chips_by_their_share_in_it() -> None:
    bags = np.array([[0, 1, -1, -1], [1, -1, -1, -1], [0, -1, -1, -1]], np.int32)
    weights = np.array([[155, 100, 0, 0], [255, 0, 0, 0], [255, 0, 0, 0]], np.uint8)
    grid = np.array([[[1.0, 0.0], [0.0, 1.0], [np.nan, np.nan]]], np.float32)
    means, predicted = by_municipality(region.Region(1, 1, 3, ("a", "b"), bags, weights), grid)
    np.testing.assert_allclose(means, [[1, 0], [100 / 355, 255 / 355]], rtol=1e-6)
    np.testing.assert_allclose(predicted, [155 / 410, 1], rtol=1e-6)


def test_entropy_is_0_for_one_class_1_for_all_alike_and_unknown_without_prediction() -> None:
    found = entropy(np.array([[1, 0, 0], [1 / 3] * 3, [np.nan] * 3], np.float32))
    assert found[0] == 0 and found[1] == pytest.approx(1) and np.isnan(found[2])


def test_a_grid_that_lies_nowhere_is_refused_until_that_is_said(files: tuple[Path, MappedRegion]) -> None:
    directory, _ = files
    (directory / "r.georef.json").unlink()
    refused = export(directory)
    assert refused.exit_code == 1 and "nobody knows where the grid lies" in refused.stderr
    assert not (directory / "maps").exists()
    for name in ("geotiff", "gpkg", "geoparquet"):
        made = export(directory, "--made-up", "--format", name)
        assert made.exit_code == 0 and "nowhere on the Earth" in made.stdout, made.output
    with rasterio.open(directory / "maps" / "task-3.tif") as image:
        assert not image.crs.is_geographic and not image.crs.is_projected and image.crs.to_epsg() is None
        assert image.transform.a == 1
    for suffix in (".gpkg", ".parquet"):
        towns = read(directory / "maps" / f"task-3-municipalities{suffix}")
        assert towns.crs.type_name == "Engineering CRS" and towns.code.tolist() == list("abcd")


def test_a_region_of_another_grid_is_refused(files: tuple[Path, MappedRegion]) -> None:
    directory, mapped = files
    ProductArchive(8, mapped.region.rows, mapped.region.cols).write(directory / "products.parquet")
    result = export(directory)
    assert result.exit_code == 1 and "region id: 8 in the archive, 7 in the region file" in result.stderr


@pytest.mark.parametrize(
    "text", ["", "[]", "{}", '{"format": "swath-georef-1"}', '{"format": "swath-georef-1", "rows": "x"}', "[" * 100_000]
)
def test_a_file_that_is_no_georeference_is_refused(files: tuple[Path, MappedRegion], text: str) -> None:
    directory, _ = files
    (directory / "r.georef.json").write_text(text)
    result = export(directory)
    assert result.exit_code == 1 and "is not a georeference" in result.stderr


def test_a_georeference_with_a_crs_that_is_none_is_refused(files: tuple[Path, MappedRegion]) -> None:
    directory, _ = files
    path = directory / "r.georef.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "crs_wkt": "PROJCRS[nonsense"}))
    result = export(directory)
    assert result.exit_code == 1 and "cannot be used" in result.stderr and not (directory / "maps").exists()


def test_without_the_extra_the_user_is_told_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gis, "find_spec", lambda name: None if name == "rasterio" else object())
    with pytest.raises(GisError, match=r"pip install '.\[gis\]' in swath's checkout \(missing: rasterio\)"):
        need_gis()


def read(path: Path) -> Any:
    return geopandas.read_parquet(path) if path.suffix == ".parquet" else geopandas.read_file(path)
