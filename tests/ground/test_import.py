"""A data set from rasters, polygons and a table: pixels, weights, scale, masks, splits, resume."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import geopandas
import numpy as np
import pytest
import rasterio
import shapely
from hypothesis import given
from hypothesis import strategies as st
from import_world import COLS, HEIGHT, ROWS, SIDE_M, WIDTH, run_build, scene, write_tif, write_world

from flight.config import LinkConfig
from flight.link import region_codec
from ground.datasets import NpzImagery, open_imagery
from ground.georef import read_georef
from ground.gis import GisError
from ground.importer import blocks, build
from ground.importer.example import write_example
from ground.importer.scaling import find_scale, parse_scale
from ground.importer.splits import SplitBy, SplitOptions, draw_splits, parse_parts


def built(directory: Path, *more: object, **options: Any) -> NpzImagery:
    result = run_build(directory, *more, **options)
    assert result.exit_code == 0, result.output
    return open_imagery(directory / "out.npz")


def at(imagery: NpzImagery, row: int, col: int) -> np.ndarray:
    """The chip of a cell."""
    (i,) = np.flatnonzero((imagery.cell == [row, col]).all(1))
    return imagery.chips(np.array([i]))[0]


def cut(values: np.ndarray, row: int, col: int) -> np.ndarray:
    """The pixels of a cell, bands last."""
    return values[:, row * 96 : row * 96 + 96, col * 96 : col * 96 + 96].transpose(1, 2, 0)


def scaled(values: np.ndarray, low: float, high: float) -> np.ndarray:
    return np.rint(np.clip((np.nan_to_num(values) - low) * (255 / (high - low)), 0, 255)).astype(np.uint8)


# Pixels


def test_pixels_on_the_lattice_of_the_image_are_taken_as_they_are(tmp_path: Path) -> None:
    values = write_world(tmp_path)
    imagery = built(tmp_path, "--scale", "0:4000", "--bands", "3,1,2")
    assert imagery.n_chips == ROWS * COLS and (imagery.rows, imagery.cols) == (ROWS, COLS)
    for row in range(ROWS):
        for col in range(COLS):
            expected = scaled(cut(values[[2, 0, 1]], row, col).astype(np.float32), 0, 4000)
            assert np.abs(at(imagery, row, col).astype(int) - expected).max() == 0


def test_an_image_in_degrees_is_reprojected_to_where_it_belongs(tmp_path: Path) -> None:
    values = write_world(tmp_path)
    smooth = np.add.outer(np.arange(HEIGHT) * 3.0, np.arange(WIDTH) * 5.0).astype(np.uint16)
    values[:] = smooth + 1
    write_tif(tmp_path / "utm.tif", values)
    with rasterio.open(tmp_path / "utm.tif") as source:
        from rasterio.vrt import WarpedVRT

        with WarpedVRT(source, crs="EPSG:4326", nodata=0) as warped:
            profile = {"crs": warped.crs, "transform": warped.transform, "nodata": 0}
            write_tif(tmp_path / "image.tif", warped.read(), **profile)
    imagery = built(tmp_path, "--scale", "0:5100", "--min-valid", 0.5)
    expected = scaled(cut(values, 2, 3).astype(np.float32), 0, 5100)
    assert np.abs(at(imagery, 2, 3).astype(int) - expected).max() <= 1


def test_of_scenes_that_overlap_the_first_counts_and_the_second_fills_its_nodata(tmp_path: Path) -> None:
    write_world(tmp_path)
    first, second = scene(1), scene(2)
    first[:, :, 300:] = 0
    write_tif(tmp_path / "a.tif", first, nodata=0)
    write_tif(tmp_path / "b.tif", second[:, :, 100:], nodata=0, col=100)
    imagery = built(tmp_path, "--scale", "0:4000", images=("a.tif", "b.tif"))
    together = np.where(np.arange(WIDTH) < 300, first, second)
    for row, col in ((0, 0), (1, 3), (3, 5)):
        np.testing.assert_array_equal(
            at(imagery, row, col), scaled(cut(together, row, col).astype(np.float32), 0, 4000)
        )


def test_percentiles_are_those_of_the_pixels_and_are_told(tmp_path: Path) -> None:
    values = write_world(tmp_path)
    built(tmp_path, "--scale", "P10:P90")
    limits = json.loads((tmp_path / "out.json").read_text())["facts"]["limits_of_scale"]
    np.testing.assert_allclose(limits, np.percentile(values, (10, 90), axis=(1, 2)).T)


def test_uint8_images_are_taken_as_they_are(tmp_path: Path) -> None:
    write_world(tmp_path)
    values = scene(3, high=256).astype(np.uint8)
    write_tif(tmp_path / "image.tif", values)
    np.testing.assert_array_equal(at(built(tmp_path), 1, 1), cut(values, 1, 1))


@pytest.mark.parametrize("how", ["nodata", "mask", "alpha", "nan", "option"])
def test_chips_with_too_little_known_are_left_out_and_holes_have_the_mean_of_the_rest(tmp_path: Path, how: str) -> None:
    values = write_world(tmp_path)
    hole, gone = (slice(None), slice(0, 8), slice(0, 96)), (slice(None), slice(0, 50), slice(96, 192))
    valid = np.full((HEIGHT, WIDTH), 255, np.uint8)
    valid[hole[1:]] = valid[gone[1:]] = 0
    profile: dict[str, Any] = {}
    if how in ("nodata", "option"):
        values[hole] = values[gone] = 0
        profile = {"nodata": 0} if how == "nodata" else {}
    elif how == "alpha":
        values = np.concatenate([values, (valid > 0).astype(np.uint16)[None] * 65535])
        profile = {"photometric": "RGB", "alpha": "YES"}
    elif how == "nan":
        values = np.where(valid > 0, values, np.nan).astype(np.float32)
    else:
        profile = {"mask": valid}
    write_tif(tmp_path / "image.tif", values, **profile)
    imagery = built(tmp_path, "--scale", "0:4000", *(("--nodata", 0) if how == "option" else ()))
    assert imagery.n_chips == ROWS * COLS - 1 and not (imagery.cell == [0, 1]).all(1).any()
    chip, known = at(imagery, 0, 0), scaled(cut(values[:3], 0, 0).astype(np.float32), 0, 4000)
    np.testing.assert_array_equal(chip[8:], known[8:])
    np.testing.assert_allclose(chip[:8], np.broadcast_to(known[8:].mean((0, 1)), (8, 96, 3)), atol=0.51)


def test_clouds_of_a_mask_are_not_known(tmp_path: Path) -> None:
    write_world(tmp_path)
    mask = np.zeros((HEIGHT, WIDTH), np.uint8)
    mask[96:192, 96:192], mask[:96, :96] = 9, 4
    write_tif(tmp_path / "mask.tif", mask)
    cells = {tuple(cell) for cell in built(tmp_path, "--clouds", tmp_path / "mask.tif").cell.tolist()}
    assert (1, 1) not in cells and (0, 0) not in cells and len(cells) == ROWS * COLS - 2
    some = built(tmp_path, "--clouds", tmp_path / "mask.tif", "--cloud-values", "8,9")
    assert some.n_chips == ROWS * COLS - 1


def test_band_files_that_belong_together_are_a_scene(tmp_path: Path) -> None:
    values = write_world(tmp_path)
    names = [f"T30_20240501_{band}_10m.tif" for band in ("B02", "B03", "B04")]
    for name, band in zip(names, values, strict=True):
        write_tif(tmp_path / name, band, names=(None,))
    imagery = built(tmp_path, "--scale", "0:4000", "--bands", "b4,B03,B2", images=tuple(names))
    np.testing.assert_array_equal(at(imagery, 2, 2), scaled(cut(values[::-1], 2, 2).astype(np.float32), 0, 4000))


def write_safe(directory: Path, values: np.ndarray, offset: int | None, clouds: np.ndarray | None = None) -> Path:
    """A Sentinel-2 product of three bands in JPEG 2000, with the metadata that say its offset."""
    product = directory / "S2A_MSIL2A_20240501_N0510.SAFE"
    folder = product / "GRANULE" / "L2A_T30" / "IMG_DATA"
    lossless = {"driver": "JP2OpenJPEG", "QUALITY": "100", "REVERSIBLE": "YES", "YCBCR420": "NO"}
    for name, band in zip(("B04", "B03", "B02"), values, strict=True):
        write_tif(folder / "R10m" / f"T30_20240501_{name}_10m.jp2", band, **lossless)
        if name == "B04":
            write_tif(folder / "R20m" / f"T30_20240501_{name}_20m.jp2", band[::2, ::2], **lossless)
    if clouds is not None:
        write_tif(folder / "R20m" / "T30_20240501_SCL_20m.jp2", clouds, **lossless)
    lines = [f'<BOA_ADD_OFFSET band_id="{i}">{offset}</BOA_ADD_OFFSET>' for i in range(13)] if offset else []
    (product / "MTD_MSIL2A.xml").write_text("<root>" + "".join(lines) + "</root>", encoding="utf-8")
    return product


@pytest.mark.parametrize("offset", [None, -1000])
def test_a_sentinel_2_product_gives_its_finest_bands_without_the_offset_of_its_baseline(
    tmp_path: Path, offset: int | None
) -> None:
    values = write_world(tmp_path)
    stored = values.astype(int) - (offset or 0)
    stored[:, :96, 96:192] = 0  # nodata, offset or not
    product = write_safe(tmp_path, stored.astype(np.uint16), offset, np.full((HEIGHT, WIDTH), 4, np.uint8))
    imagery = built(tmp_path, "--scale", "0:4000", images=(product.name,))
    assert imagery.n_chips == ROWS * COLS - 1
    np.testing.assert_array_equal(at(imagery, 3, 3), scaled(cut(values, 3, 3).astype(np.float32), 0, 4000))
    told = json.loads((tmp_path / "out.json").read_text())["facts"]["bands"][0]
    assert told.startswith("T30_20240501_B04_10m.jp2 band 1") and told.endswith("-1000") == (offset is not None)


def test_a_products_own_classification_masks_its_clouds(tmp_path: Path) -> None:
    values = write_world(tmp_path)
    classes = np.full((HEIGHT, WIDTH), 4, np.uint8)
    classes[:96, :96], classes[96:192, :96], classes[192:288, :96] = 9, 3, 6  # cloud, shadow, water
    product = write_safe(tmp_path, values, None, classes)
    imagery = built(tmp_path, "--clouds", "SCL", images=(product.name,))
    cells = {tuple(cell) for cell in imagery.cell.tolist()}
    assert (0, 0) not in cells and (1, 0) not in cells and (2, 0) in cells


# Municipalities, table, truth


def test_weights_are_within_a_255th_of_the_exact_areas_of_the_polygons(tmp_path: Path) -> None:
    write_world(tmp_path)
    imagery = built(tmp_path)
    georef = read_georef(tmp_path / "out.georef.json")
    kept = geopandas.read_parquet(tmp_path / "out.municipalities.parquet")
    dense = np.zeros((imagery.n_chips, len(imagery.codes)))
    for bags, weights, row in zip(imagery.bags, imagery.weights, dense, strict=True):
        row[bags[bags >= 0]] = weights[bags >= 0]
    x, y = georef.x0_m + imagery.cell[:, 1] * SIDE_M, georef.y0_m - imagery.cell[:, 0] * SIDE_M
    boxes = shapely.box(x, y - SIDE_M, x + SIDE_M, y)
    exact = shapely.area(shapely.intersection(boxes[:, None], kept.geometry.to_numpy()[None, :]))
    assert np.abs(dense - exact / exact.sum(1, keepdims=True)).max() <= 1 / 255
    assert (imagery.bags[:, 1] >= 0).any()


def test_the_region_file_has_the_grid_and_the_order_of_the_data_set(tmp_path: Path) -> None:
    write_world(tmp_path)
    imagery = built(tmp_path)
    region = region_codec.unpack((tmp_path / "out.bin").read_bytes(), LinkConfig())
    assert (region.codes, region.rows, region.cols) == (imagery.codes, imagery.rows, imagery.cols)
    flat = imagery.cell[:, 0] * imagery.cols + imagery.cell[:, 1]
    np.testing.assert_array_equal(region.bags[flat, 0], imagery.bags[:, 0])


def test_rows_are_those_of_the_table_and_municipalities_mostly_elsewhere_have_none(tmp_path: Path) -> None:
    write_world(tmp_path)
    write_tif(tmp_path / "image.tif", scene()[:, :, :320])
    result = run_build(tmp_path)
    assert result.exit_code == 0
    note = next(line for line in result.stderr.splitlines() if "(--min-seen)" in line)
    assert "less than 50% of" in note and ": 02 (" in note
    table = open_imagery(tmp_path / "out.npz").table(open_imagery(tmp_path / "out.npz").tasks[0])
    assert table[0].tolist() == [0.25, 0.75] and np.isnan(table[1]).all() and table[2].tolist() == [1, 0]
    assert not np.isnan(built(tmp_path, "--min-seen", 0).table(open_imagery(tmp_path / "out.npz").tasks[0])).any()


def test_a_table_may_have_rows_of_municipalities_that_no_image_shows(tmp_path: Path) -> None:
    write_world(tmp_path)
    frame = geopandas.read_file(tmp_path / "towns.gpkg")
    far = frame.iloc[[0]].assign(CODE="99", geometry=frame.geometry.translate(5, 0).iloc[[0]])
    geopandas.pd.concat([frame, far]).to_file(tmp_path / "towns.gpkg")
    (tmp_path / "table.csv").write_text("code,forest,crops\n01,0.5,0.5\n02,1,0\n03,0,1\n99,1,0\n")
    result = run_build(tmp_path)
    assert result.exit_code == 0 and "1 municipalities are not under the images" in result.stderr
    imagery = open_imagery(tmp_path / "out.npz")
    assert imagery.codes == ("01", "02", "03", "04") and np.isnan(imagery.table(imagery.tasks[0])[3]).all()


def write_truth(directory: Path) -> np.ndarray:
    """landcover.tif of 7 (left third), 9 and an unmapped 30; classes.csv in another order than the table's."""
    cover = np.full((HEIGHT, WIDTH), 9, np.uint8)
    cover[:, : WIDTH // 3], cover[:5, :5] = 7, 30
    write_tif(directory / "landcover.tif", cover)
    (directory / "classes.csv").write_text("Value,Class\n9,crops\n7,forest\n8,forest\n", encoding="utf-8")
    return cover


def test_truth_comes_from_a_land_cover_raster_in_the_order_of_the_table(tmp_path: Path) -> None:
    write_world(tmp_path)
    write_truth(tmp_path)
    truth = ("--truth", tmp_path / "landcover.tif", "--truth-classes", tmp_path / "classes.csv")
    result = run_build(tmp_path, *truth)
    assert "100 %: 1 of 1 blocks, 24 chips" in result.stderr
    assert result.exit_code == 0 and "without a class, taken as unknown: 30 (25 pixels)" in result.stderr
    imagery = open_imagery(tmp_path / "out.npz")
    assert imagery.tasks[0].class_names == ("forest", "crops")
    by_cell = {tuple(c): i for i, c in enumerate(imagery.cell.tolist())}
    index = np.array([by_cell[0, 0], by_cell[3, 5]])
    labels = imagery.labels(index, imagery.tasks[0])
    assert (labels[0, :5, :5] == 255).all() and (labels[0, 5:] == 0).all() and (labels[1] == 1).all()
    assert imagery.proportions(index, imagery.tasks[0]).tolist() == [[1, 0], [0, 1]]


def test_without_a_table_rows_are_those_of_the_truth_weighted_by_overlap(tmp_path: Path) -> None:
    write_world(tmp_path)
    cover = write_truth(tmp_path)
    truth = ("--truth", tmp_path / "landcover.tif", "--truth-classes", tmp_path / "classes.csv")
    imagery = built(tmp_path, *truth, "--no-labels")
    chips = imagery.proportions(np.arange(imagery.n_chips), imagery.tasks[0])
    weight = np.where(imagery.bags == 1, imagery.weights, 0).sum(1)
    expected = (chips * weight[:, None]).sum(0) / weight.sum()
    np.testing.assert_allclose(imagery.table(imagery.tasks[0])[1], expected, atol=1e-5)
    assert (cover == 7).any()


def test_a_picture_shows_image_split_table_and_truth_beside_each_other_and_says_what_is_what(tmp_path: Path) -> None:
    write_world(tmp_path)
    write_truth(tmp_path)
    built(tmp_path, "--truth", tmp_path / "landcover.tif", "--truth-classes", tmp_path / "classes.csv")
    with pytest.warns(rasterio.errors.NotGeoreferencedWarning), rasterio.open(tmp_path / "out.png") as image:
        pixels = image.read().transpose(1, 2, 0)
    side = 24 * -(-380 // (COLS * 24))  # of a chip: small regions are enlarged
    panel, gap = COLS * side, 18
    assert pixels.shape[1] == gap + 4 * (panel + gap)
    for i in range(4):
        shown = pixels[:, gap + i * (panel + gap) :][:, :panel]
        assert (shown[42 : 42 + ROWS * side] == ((27, 31, 36) if i else (255, 235, 60))).all(2).any()  # borders
        assert (shown[18:42] < 100).all(2).any()  # a title
        assert (shown[42 + ROWS * side :] < 100).all(2).any()  # a legend


# Splits


@given(st.integers(0, 1000), st.lists(st.integers(0, 40), min_size=5, max_size=60))
def test_each_split_has_about_its_part_of_the_chips_and_blocks_stay_whole(seed: int, chips: list[int]) -> None:
    count = np.array(chips, np.int64)
    centres = np.random.Generator(np.random.PCG64(seed)).uniform(0, 50_000, (len(chips), 2))
    whole = draw_splits(SplitOptions(SplitBy.municipality, (0.6, 0.2, 0.2), 10, seed), centres, count)
    for split, part in enumerate((0.6, 0.2, 0.2)):
        assert count[whole == split].sum() <= part * count.sum() + count.max()
    blocked = draw_splits(SplitOptions(SplitBy.block, (0.6, 0.2, 0.2), 10, seed), centres, count)
    block = np.floor(centres / 10_000)
    for corner in np.unique(block, axis=0):
        assert len(set(blocked[(block == corner).all(1) & (count > 0)].tolist())) <= 1


def test_the_same_seed_makes_the_same_file_to_the_byte_and_another_another_split(tmp_path: Path) -> None:
    write_world(tmp_path)
    built(tmp_path)
    first = (tmp_path / "out.npz").read_bytes()
    built(tmp_path)
    assert (tmp_path / "out.npz").read_bytes() == first
    splits = {tuple(built(tmp_path, "--seed", seed, "--parts", "50:25:25").bag_split) for seed in range(3)}
    assert len(splits) > 1 and parse_parts("50:25:25") == (0.5, 0.25, 0.25)


# Streaming and resume


def test_an_import_that_was_stopped_goes_on_and_ends_with_the_same_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(blocks, "SIDE", 2)
    write_world(tmp_path)
    built(tmp_path)
    whole = (tmp_path / "out.npz").read_bytes()
    made: list[object] = []
    real = build.make_block

    def failing(window: Any, *rest: Any) -> Any:
        if len(made) == 4:
            raise KeyboardInterrupt
        made.append(window)
        return real(window, *rest)

    for each in tmp_path.glob("out.*"):
        each.unlink()
    monkeypatch.setattr(build, "make_block", failing)
    stopped = run_build(tmp_path)
    assert stopped.exit_code == 130 and "finished blocks are kept here; the same command goes on" in stopped.stderr
    assert len(list((tmp_path / ".out.work").iterdir())) == 4 and not (tmp_path / "out.npz").exists()
    made.append(None)  # and no longer fails
    built(tmp_path)
    assert (tmp_path / "out.npz").read_bytes() == whole and len(made) == 5 + 2
    assert not (tmp_path / ".out.work").exists()


def test_a_replaced_image_makes_its_own_blocks_again_and_no_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(blocks, "SIDE", 2)
    monkeypatch.setattr(blocks.Work, "remove", lambda self: None)
    write_world(tmp_path)
    write_tif(tmp_path / "a.tif", scene(1)[:, :, :192])
    write_tif(tmp_path / "b.tif", scene(2)[:, :, 192:], col=192)
    built(tmp_path, "--scale", "0:4000", images=("a.tif", "b.tif"))
    before = {path.name for path in (tmp_path / ".out.work").iterdir()}
    write_tif(tmp_path / "b.tif", scene(3)[:, :, 192:], col=192, compress="deflate")
    imagery = built(tmp_path, "--scale", "0:4000", images=("a.tif", "b.tif"))
    after = {path.name for path in (tmp_path / ".out.work").iterdir()}
    assert len(before) == 6 and len(after - before) == 4
    np.testing.assert_array_equal(at(imagery, 0, 4), scaled(cut(scene(3), 0, 4).astype(np.float32), 0, 4000))


# The parts, and the example


def test_a_scale_maps_its_limits_to_0_and_255() -> None:
    scale = find_scale(parse_scale("100:300"), np.zeros((2, 1)), "uint16")
    values = np.array([[0, 100, 200, 300, 900], [100, 101, 200, 299, 300]], np.uint16)
    assert scale.apply(values).tolist() == [[0, 0, 128, 255, 255], [0, 1, 128, 254, 255]]


@given(st.text(max_size=12))
def test_any_text_is_a_scale_or_an_error(text: str) -> None:
    try:
        limits = parse_scale(text)
    except GisError:
        return
    assert limits is None or all(np.isfinite(limit.value) for limit in limits)


def test_the_example_files_overlap_are_small_and_lie_in_two_coordinate_systems(tmp_path: Path) -> None:
    paths = {path.name: path for path in write_example(tmp_path)}
    assert sum(path.stat().st_size for path in paths.values()) < 20e6
    with rasterio.open(paths["west.tif"]) as west, rasterio.open(paths["east.tif"]) as east:
        assert west.bounds.right > east.bounds.left and west.descriptions == ("B02", "B03", "B04", "B08")
    assert geopandas.read_file(paths["communes.gpkg"]).crs.is_geographic
