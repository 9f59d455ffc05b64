"""Regions from polygons: exact weights, any CRS, and municipalities that cannot be used refused by their code."""

from __future__ import annotations

import json
import warnings
from pathlib import Path
from typing import Any

import geopandas
import numpy as np
import pytest
import rasterio
import shapely
from hypothesis import given, settings
from hypothesis import strategies as st
from typer.testing import CliRunner

from flight.config import LinkConfig
from flight.link import region_codec
from ground.cli import app
from ground.coverage import coverage
from ground.georef import read_georef
from ground.gis import GisError
from ground.polygons import PolygonOptions
from ground.regions import MappedRegion, region_from_polygons

UTM = "EPSG:32630"
X0, Y0 = 480_000, 4_800_000  # multiples of 960 m
BOWTIE = [(0, 0), (1, 1), (1, 0), (0, 1), (0, 0)]


def squares(n: int = 3, side_m: float = 4_000.0) -> list[Any]:
    """n x n squares whose borders are not on the grid's lines."""
    return [
        shapely.box(
            X0 + 500 + side_m * i, Y0 + 300 + side_m * j, X0 + 500 + side_m * (i + 1), Y0 + 300 + side_m * (j + 1)
        )
        for j in range(n)
        for i in range(n)
    ]


def scaled(points: list[tuple[float, float]], side_m: float = 4_000.0) -> Any:
    return shapely.Polygon([(X0 + side_m * x, Y0 + side_m * y) for x, y in points])


def save(path: Path, shapes: list[Any], codes: list[Any] | None = None, crs: str | None = UTM, **columns: Any) -> Path:
    codes = [f"{i:05d}" for i in range(len(shapes))] if codes is None else codes
    frame = geopandas.GeoDataFrame({"CODE": codes, **columns}, geometry=shapes, crs=crs)
    with warnings.catch_warnings():  # a file without CRS is what some tests want
        warnings.filterwarnings("ignore", "'crs' was not provided")
        frame.to_file(path)
    return path


def mapped(path: Path, **options: Any) -> MappedRegion:
    fields = {key: options.pop(key) for key in list(options) if key in PolygonOptions.__dataclass_fields__}
    return region_from_polygons(path, PolygonOptions("CODE", **fields), **options)


def exact_shares(found: MappedRegion, cell: int) -> np.ndarray:
    """Shares of the covered area of a cell by shapely's intersection: the oracle."""
    row, col = divmod(cell, found.region.cols)
    geo = found.georef
    x, y = geo.x0_m + col * geo.chip_m, geo.y0_m - row * geo.chip_m
    areas = shapely.area(
        shapely.intersection(found.polygons.geometry, shapely.box(x, y - geo.chip_m, x + geo.chip_m, y))
    )
    return areas / max(areas.sum(), 1e-12)


# Millionths, and whole ones, which lie on grid lines; with subnormal coordinates the oracle is wrong, not we.
along = st.one_of(st.integers(-3_000_000, 13_000_000), st.integers(-3, 13).map(lambda n: n * 1_000_000))
rings = st.lists(st.tuples(along, along).map(lambda p: (p[0] / 1e6, p[1] / 1e6)), min_size=3, max_size=12)


@settings(max_examples=100, deadline=None)
@given(st.lists(rings, min_size=1, max_size=4), st.booleans())
def test_covered_shares_are_those_of_exact_intersections(shapes: list[list[tuple[float, float]]], turned: bool) -> None:
    polygons = shapely.make_valid(shapely.set_precision([shapely.Polygon(ring) for ring in shapes], 0, "pointwise"))
    polygons = np.array([shapely.reverse(p) if turned else p for p in polygons], object)
    found = coverage(polygons, 0.0, 8.0, 1.0, 8, 10)
    dense = np.zeros((80, len(polygons)))
    dense[found.cell, found.polygon] = found.share
    for cell in range(80):
        row, col = divmod(cell, 10)
        exact = shapely.area(shapely.intersection(polygons, shapely.box(col, 7 - row, col + 1, 8 - row)))
        np.testing.assert_allclose(dense[cell], exact, atol=1e-8)


@pytest.mark.parametrize("name", ["m.gpkg", "m.geojson", "m.shp"])
def test_weights_are_within_a_255th_of_exact_areas_whatever_the_file_format(tmp_path: Path, name: str) -> None:
    shapes = [shape if i else shape.difference(shape.buffer(-900)) for i, shape in enumerate(squares())]
    crs = "EPSG:4326" if name.endswith("geojson") else UTM
    frame = geopandas.GeoSeries(shapes, crs=UTM).segmentize(100).to_crs(crs)
    found = mapped(save(tmp_path / name, list(frame), crs=crs))
    assert found.georef.crs_name == "WGS 84 / UTM zone 30N"
    weights = np.zeros((found.region.rows * found.region.cols, 9))
    for cell, (bags, shares) in enumerate(zip(found.region.bags, found.region.weights, strict=True)):
        weights[cell, bags[bags >= 0]] = shares[bags >= 0] / 255
    exact = np.stack([exact_shares(found, cell) for cell in range(len(weights))])
    owned = found.region.bags[:, 0] >= 0
    assert owned.sum() > 100 and np.abs(weights - exact)[owned].max() <= 1 / 255
    assert (found.region.bags[:, 1] >= 0).sum() > 20


def test_a_chip_at_a_known_place_belongs_to_the_municipality_around_it(tmp_path: Path) -> None:
    found = mapped(save(tmp_path / "m.gpkg", squares(), NAME=list("abcdefghi")), name_field="NAME")
    a, _, c, _, e, f = found.georef.transform
    col, row = int((X0 + 10_500 - c) / a), int((Y0 + 2_300 - f) / e)
    cell = row * found.region.cols + col
    assert found.region.codes[found.region.bags[cell, 0]] == "00002" and found.region.weights[cell, 0] == 255
    assert c % 960 == 0 and f % 960 == 0, "grids of one CRS fit each other"
    assert found.georef.names["00002"] == "c"


def test_of_more_than_four_municipalities_the_greatest_stay_and_it_is_said(tmp_path: Path) -> None:
    slices = [shapely.box(X0 + 150 * i, Y0, X0 + 150 * (i + 1) + (60 if i == 5 else 0), Y0 + 960) for i in range(6)]
    found = mapped(save(tmp_path / "m.gpkg", slices), crs=UTM)
    assert found.region.bags.tolist() == [[5, 0, 1, 2]]
    assert found.region.weights.sum() == 255 and found.facts["chips_with_more_than_four"] == 1
    assert found.facts["greatest_share_dropped"] == pytest.approx(300 / 960, abs=1e-4)
    assert any("more than four" in note for note in found.notes)


def test_an_invalid_polygon_is_repaired_and_the_change_of_area_is_said(tmp_path: Path) -> None:
    found = mapped(save(tmp_path / "m.gpkg", [*squares(1), scaled(BOWTIE)]), crs=UTM)
    assert found.polygons.geometry[1].area == pytest.approx(8e6)
    assert any("00001: repaired (Self-intersection" in note and "from 0 to 8 km2" in note for note in found.notes)


def test_a_municipality_without_geometry_stays_in_the_list_without_chips(tmp_path: Path) -> None:
    found = mapped(save(tmp_path / "m.gpkg", [*squares(1), None, shapely.Polygon()]))
    assert found.region.codes == ("00000", "00001", "00002") and found.region.bags.max() == 0
    assert found.facts["municipalities_without_a_chip"] == 2
    assert "00001: has no geometry, so no chips" in found.notes


def test_several_parts_and_holes_keep_their_areas(tmp_path: Path) -> None:
    ring = shapely.box(X0, Y0, X0 + 9_600, Y0 + 9_600).difference(
        shapely.box(X0 + 960, Y0 + 960, X0 + 2_880, Y0 + 2_880)
    )
    island = shapely.box(X0 + 19_200, Y0, X0 + 20_160, Y0 + 960)
    found = mapped(save(tmp_path / "m.gpkg", [shapely.union_all([ring, island])]), crs=UTM)
    owned = (found.region.bags[:, 0] >= 0).reshape(10, 21)
    assert owned.sum() == 100 - 4 + 1 and owned[9, 20] and not owned[7:9, 1:3].any()


def test_overlapping_polygons_are_named_with_their_common_area(tmp_path: Path) -> None:
    shapes = [shapely.box(X0, Y0, X0 + 3_000, Y0 + 3_000), shapely.box(X0 + 2_000, Y0, X0 + 5_000, Y0 + 3_000)]
    found = mapped(save(tmp_path / "m.gpkg", shapes), crs=UTM)
    assert any("00000 and 00001 (3 km2)" in note for note in found.notes)
    assert found.facts["polygons_overlapping_km2"] == pytest.approx(3.0, rel=1e-6)


def test_features_that_share_a_code_are_joined_only_when_asked(tmp_path: Path) -> None:
    path = save(tmp_path / "m.gpkg", squares(2), codes=["07", "08", "07", "09"])
    with pytest.raises(GisError, match="'07' on features 1, 3; --merge joins"):
        mapped(path)
    found = mapped(path, merge=True)
    assert found.region.codes == ("07", "08", "09") and found.polygons.geometry[0].area == pytest.approx(32e6, rel=1e-3)


def test_codes_stored_as_numbers_can_have_their_zeros_back(tmp_path: Path) -> None:
    path = save(tmp_path / "m.gpkg", squares(2), codes=[1001, 1002, 28079, 28080])
    assert any("--zero-pad 5" in note for note in mapped(path).notes)
    assert mapped(path, zero_pad=5).region.codes == ("01001", "01002", "28079", "28080")


def test_a_country_across_many_zones_gets_an_equal_area_grid(tmp_path: Path) -> None:
    shapes = [shapely.box(-9 + 3 * i, 37, -6 + 3 * i, 43) for i in range(4)]
    found = mapped(save(tmp_path / "m.geojson", shapes, crs="EPSG:4326"), chip_m=20_000.0)
    assert "Lambert equal-area at 40.0 -3.0" in found.georef.crs_name
    area = found.polygons.geometry[0].area
    assert area == pytest.approx(found.polygons.geometry[3].area, rel=1e-6)
    sphere_m2 = np.deg2rad(3) * (np.sin(np.deg2rad(43)) - np.sin(np.deg2rad(37))) * 6_371_007.2**2
    assert area == pytest.approx(sphere_m2, rel=0.005)


def test_islands_on_both_sides_of_the_antimeridian_are_neighbours(tmp_path: Path) -> None:
    shapes = [shapely.box(179.8, -17, 180, -16.8), shapely.box(-180, -17, -179.8, -16.8)]
    found = mapped(save(tmp_path / "m.geojson", shapes, crs="EPSG:4326"))
    assert found.region.cols < 60


def test_bounds_cut_out_a_part_and_leave_out_who_is_elsewhere(tmp_path: Path) -> None:
    found = mapped(save(tmp_path / "m.gpkg", squares()), crs=UTM, bounds=(X0 + 100, Y0, X0 + 3_000, Y0 + 2_000))
    assert (found.georef.x0_m, found.georef.y0_m) == (X0 + 100, Y0 + 2_000)
    assert found.region.codes == ("00000",) and (found.region.rows, found.region.cols) == (3, 4)
    assert any("8 municipalities outside" in note for note in found.notes)


LINE = shapely.LineString([(X0, Y0), (X0 + 5_000, Y0)])
REFUSALS: list[tuple[str, dict[str, Any], dict[str, Any], str]] = [
    ("no CRS", {"crs": None}, {}, "says no CRS.*--source-crs EPSG"),
    ("degrees that are metres", {"crs": "EPSG:4326"}, {}, "says WGS 84, in degrees, but coordinates run"),
    ("no such field", {"field": "code_ine"}, {}, "no field 'code_ine'; its fields are CODE"),
    ("a field in another case", {"field": "code"}, {}, "did you mean 'CODE'"),
    ("no such layer", {}, {"layer": "towns"}, "no layer 'towns' with geometry; there is 'm'"),
    ("a code twice", {"codes": ["1", "1"]}, {}, "codes are there more than once"),
    ("an empty code", {"codes": ["1", " "]}, {}, "feature 2 has none"),
    ("no code", {"codes": ["1", None]}, {}, "feature 2 has none"),
    ("fractions as codes", {"codes": [1.5, 2.5]}, {}, "holds fractions"),
    ("a code too long", {"codes": ["1", "x" * 65]}, {}, "a code has 1 to 64 bytes"),
    ("a code with a line break", {"codes": ["1", "a\nb"]}, {}, "feature 2 has 'a\\\\nb'"),
    ("a line", {"shapes": [*squares(1), LINE]}, {}, "'00001' is a LineString; municipalities are polygons"),
    ("a point", {"shapes": [*squares(1), shapely.Point(X0, Y0)]}, {}, "'00001' is a Point"),
    ("a polygon without area", {"shapes": [*squares(1), scaled([(0, 0), (1, 0), (0, 0)])]}, {}, "without area"),
    ("nothing but emptiness", {"shapes": [None, None]}, {}, "no municipality has a geometry"),
    ("a grid in degrees", {}, {"crs": "EPSG:4326"}, "is in degree; a grid of chips needs a projected CRS in metres"),
    ("a grid in feet", {}, {"crs": "EPSG:2263"}, "needs a projected CRS in metres"),
    ("a CRS that is none", {}, {"crs": "EPSG:999999"}, "--crs EPSG:999999: is no CRS"),
    ("a file's CRS that is none", {}, {"source_crs": "utm"}, "--source-crs utm: is no CRS"),
    ("bounds elsewhere", {}, {"crs": UTM, "bounds": (0, 0, 10, 10)}, "no municipality is there; in .* they span"),
    ("bounds upside down", {}, {"crs": UTM, "bounds": (0, 10, 10, 0)}, "must be west, south, east, north"),
    ("bounds without a CRS", {}, {"bounds": (0, 0, 10, 10)}, "name it with --crs"),
    ("chips of a millimetre", {}, {"chip_m": 0.001}, "a chip has 1 to 1,000,000 m"),
    ("more chips than a region has", {}, {"chip_m": 2.0}, "choose a greater --chip-m"),
]  # fmt: skip


@pytest.mark.parametrize(("file", "options", "message"), [c[1:] for c in REFUSALS], ids=[c[0] for c in REFUSALS])
def test_what_cannot_be_used_is_refused_and_says_why(
    tmp_path: Path, file: dict[str, Any], options: dict[str, Any], message: str
) -> None:
    shapes = file.get("shapes", squares(2)[: len(file["codes"])] if "codes" in file else squares(2))
    path = save(tmp_path / "m.gpkg", shapes, file.get("codes"), file.get("crs", UTM))
    fields = {key: options.pop(key) for key in ("layer", "source_crs") if key in (options := dict(options))}
    with pytest.raises(GisError, match=message):
        region_from_polygons(path, PolygonOptions(file.get("field", "CODE"), **fields), **options)


@pytest.mark.parametrize(
    "data", [b"", b"code,a\n1,2\n", b"SQLite format 3\0" + bytes(200), b'{"type": "FeatureCollection"']
)
def test_a_file_that_is_no_map_is_refused(tmp_path: Path, data: bytes) -> None:
    path = tmp_path / "m.gpkg"
    path.write_bytes(data)
    with pytest.raises(GisError, match=r"m\.gpkg"):
        mapped(path)


def test_a_file_with_two_layers_asks_which(tmp_path: Path) -> None:
    path = tmp_path / "m.gpkg"
    for layer in ("provinces", "communes"):
        geopandas.GeoDataFrame({"CODE": ["1"]}, geometry=squares(1), crs=UTM).to_file(path, layer=layer)
    with pytest.raises(GisError, match="2 layers with geometry; name one with --layer: 'provinces', 'communes'"):
        mapped(path)
    assert mapped(path, layer="communes").region.codes == ("1",)


def test_the_command_writes_region_georeference_polygons_and_picture(tmp_path: Path) -> None:
    path, out, picture = save(tmp_path / "m.gpkg", squares()), tmp_path / "r.bin", tmp_path / "r.png"
    arguments = ["region", "from-polygons", path, "--id-field", "CODE", "-o", out, "--picture", picture, "--json"]
    result = CliRunner().invoke(app, [str(a) for a in arguments])
    assert result.exit_code == 0, result.output
    decoded = region_codec.unpack(out.read_bytes(), LinkConfig())
    facts, georef = json.loads(result.stdout), read_georef(tmp_path / "r.georef.json")
    assert (georef.rows, georef.cols, georef.region_id) == (decoded.rows, decoded.cols, decoded.region_id)
    assert facts["municipalities"] == 9 and facts["polygons_overlapping_km2"] == 0
    kept = geopandas.read_parquet(tmp_path / "r.municipalities.parquet")
    assert kept.code.tolist() == list(decoded.codes) and kept.crs.to_epsg() == 32630
    with pytest.warns(rasterio.errors.NotGeoreferencedWarning), rasterio.open(picture) as image:
        assert image.count == 3 and len(np.unique(image.read().reshape(3, -1), axis=1).T) > 9


def test_a_refused_file_leaves_nothing_written(tmp_path: Path) -> None:
    path = save(tmp_path / "m.gpkg", squares(2), codes=["1", "1", "2", "3"])
    arguments = ["region", "from-polygons", path, "--id-field", "CODE", "-o", tmp_path / "r.bin"]
    result = CliRunner().invoke(app, [str(a) for a in arguments])
    assert result.exit_code == 1 and "--merge" in result.stderr
    assert [each.name for each in tmp_path.iterdir()] == ["m.gpkg"]
