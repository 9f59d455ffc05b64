"""Predictions as maps that open elsewhere: cloud-optimised GeoTIFF, GeoParquet, GeoPackage, each with a QGIS style.

Chips are pixels, one to one. `entropy` is what the maps have for uncertainty: the entropy of the predicted proportions
over its greatest value, 0 for a chip of one class and 1 for all classes alike. A mixed chip has a high one too, however
sure the model is: it says how much of the map's one class a reader may believe, not how far the proportions are off.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from enum import StrEnum
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from numpy.typing import NDArray

from flight.link.region import FULL, Region
from ground.georef import Georef
from ground.gis import GisError, need_gis
from ground.municipal import MunicipalArchive
from ground.products import ProductArchive
from ground.styles import class_colours, raster_style, rgb, vector_style

NO_CLASS = 255
CLASS_FIELD = "class"


class Format(StrEnum):
    """Formats of maps."""

    geotiff = "geotiff"
    geoparquet = "geoparquet"
    gpkg = "gpkg"


def entropy(proportions: NDArray[np.float32]) -> NDArray[np.float32]:
    """Entropy (...) of proportions (..., n_classes) over that of equal shares; NaN where they are NaN."""
    p = np.asarray(proportions, np.float64)
    logs = np.log(np.where(p > 0, p, 1.0))
    result = np.maximum(-(p * logs).sum(-1) / np.log(p.shape[-1]), 0.0)
    return np.asarray(result, np.float32)


def by_municipality(region: Region, grid: NDArray[np.float32]) -> tuple[NDArray[np.float32], NDArray[np.float64]]:
    """Proportions (n_municipalities, n_classes) and predicted share (n_municipalities,) of their chips' area.

    Means of the predictions (rows, cols, n_classes), weighted by each chip's share in the municipality; a NaN row where
    nothing is predicted.
    """
    table = grid.reshape(-1, grid.shape[-1]).astype(np.float64)
    known = ~np.isnan(table[:, 0])
    n = len(region.codes)
    sums, weight, whole = np.zeros((n, table.shape[1])), np.zeros(n), np.zeros(n)
    for bags, weights in zip(region.bags.T, region.weights.T, strict=True):
        for mask, into in ((bags >= 0, whole), ((bags >= 0) & known, weight)):
            into += np.bincount(bags[mask], weights[mask] / FULL, n)
        here = np.flatnonzero((bags >= 0) & known)
        for k in range(table.shape[1]):
            sums[:, k] += np.bincount(bags[here], table[here, k] * weights[here] / FULL, n)
    means = np.full(sums.shape, np.nan, np.float32)
    means[weight > 0] = sums[weight > 0] / weight[weight > 0, None]
    share = np.divide(weight, whole, out=np.zeros(n), where=whole > 0)
    return means, share


def write_maps(
    archive: ProductArchive | MunicipalArchive,
    region: Region,
    georef: Georef,
    format_: Format,
    directory: Path,
    polygons: Path | None = None,
) -> list[Path]:
    """Maps of all tasks in `directory`, all of them or none; the files written.

    Of chips, and what follows from them for municipalities; or of municipalities as they were sent down, which rasters
    show in the chips that are mostly theirs.

    `polygons` is the GeoParquet of municipalities beside the georeference; without it, a municipality's shape is made
    of the chips that are mostly its. GisError if archive, region and georeference are not of one grid.
    """
    need_gis()
    _check_crs(georef)
    _check_grid(archive, region, georef)
    if not archive.tasks:
        raise GisError("the archive holds no predictions yet")
    with _all_or_none(directory) as temporary:
        for task in archive.tasks:
            if isinstance(archive, MunicipalArchive):
                _write_municipal(archive, task, region, georef, format_, temporary, polygons)
            elif format_ is Format.geotiff:
                version = int(archive.versions(task).max())
                _write_rasters(
                    f"task-{task}", archive.grid(task), archive.classes(task), version, task, georef, temporary
                )
            else:
                _write_vectors(archive, task, region, georef, format_, temporary, polygons)
        names = sorted(path.name for path in temporary.iterdir())
    return [directory / name for name in names]


def _check_grid(archive: ProductArchive | MunicipalArchive, region: Region, georef: Georef) -> None:
    """GisError unless archive, region and georeference are of one region and one grid."""
    of_grid = () if isinstance(archive, MunicipalArchive) else (archive,)
    facts = {"region id": ("region_id", (archive, region, georef))}
    facts |= {what: (name, (*of_grid, region, georef)) for what, name in (("rows", "rows"), ("columns", "cols"))}
    for what, (name, sources) in facts.items():
        values = [getattr(each, name) for each in sources]
        if len(set(values)) > 1:
            named = zip(values, ("the archive", "the region file", "its georeference")[-len(values) :], strict=True)
            where = ", ".join(f"{value} in {source}" for value, source in named)
            raise GisError(f"{what}: {where}; give the region that the predictions were made for")
    if isinstance(archive, MunicipalArchive) and archive.codes != region.codes:
        raise GisError("municipalities: the archive has others than the region file; give the region on board")


def _check_crs(georef: Georef) -> None:
    from pyproj import CRS
    from pyproj.exceptions import CRSError

    try:
        CRS.from_wkt(georef.crs_wkt)
    except CRSError as error:
        raise GisError(f"the CRS of the georeference, {georef.crs_name!r}, cannot be used: {error}") from None


@contextmanager
def _all_or_none(directory: Path) -> Iterator[Path]:
    """A directory to write to; its files go to `directory` if the block ends without an exception."""
    directory.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(prefix=".maps-", dir=directory) as name:
        yield Path(name)
        for path in Path(name).iterdir():
            path.replace(directory / path.name)


def _write_rasters(
    stem: str,
    grid: NDArray[np.float32],
    classes: Sequence[str],
    version: int,
    task: int,
    georef: Georef,
    directory: Path,
) -> None:
    """A band a class and one of entropy; and a map of each chip's greatest class with a colour table."""
    known = ~np.isnan(grid[..., 0])
    bands = np.concatenate([grid, entropy(grid)[..., None]], axis=2).transpose(2, 0, 1)
    tags = {"region_id": georef.region_id, "task_id": task, "label_version": version}
    _write_cog(directory / f"{stem}.tif", bands, georef, np.nan, [*classes, "entropy"], tags, "AVERAGE")
    best = np.full(known.shape, NO_CLASS, np.uint8)
    best[known] = np.argmax(grid[known], axis=1)
    names = {f"class_{i}": name for i, name in enumerate(classes)}
    path = directory / f"{stem}-class.tif"
    colours = [rgb(colour) for colour in class_colours(classes)]
    _write_cog(path, best[None], georef, NO_CLASS, ["greatest class"], {**tags, **names}, "NEAREST", colours)
    path.with_suffix(".qml").write_bytes(raster_style(classes))


def _write_cog(
    path: Path,
    bands: NDArray[Any],
    georef: Georef,
    nodata: float,
    names: Sequence[str],
    tags: dict[str, Any],
    resampling: str,
    colour_table: Sequence[tuple[int, int, int]] = (),
) -> None:
    """Bands (n, rows, cols) as a cloud-optimised GeoTIFF (OGC 21-026), with overviews made by `resampling`."""
    import rasterio
    from rasterio.io import MemoryFile
    from rasterio.shutil import copy

    profile = {
        "driver": "GTiff",
        "count": len(bands),
        "height": georef.rows,
        "width": georef.cols,
        "dtype": bands.dtype,
        "nodata": nodata,
        "crs": rasterio.CRS.from_wkt(georef.crs_wkt),
        "transform": rasterio.Affine(*georef.transform),
    }
    with MemoryFile() as memory:
        with memory.open(**profile) as dataset:
            dataset.write(bands)
            dataset.descriptions = tuple(names)
            dataset.update_tags(**tags)
            if colour_table:
                dataset.write_colormap(1, {i: (*colour, 255) for i, colour in enumerate(colour_table)})
        with memory.open() as dataset:
            options = {"COMPRESS": "DEFLATE", "OVERVIEW_RESAMPLING": resampling, "BLOCKSIZE": "256"}
            copy(dataset, path, driver="COG", **options)


def _write_vectors(
    archive: ProductArchive,
    task: int,
    region: Region,
    georef: Georef,
    format_: Format,
    directory: Path,
    polygons: Path | None,
) -> None:
    """Squares of chips, and shapes of municipalities, with shares, the greatest class and entropy."""
    import geopandas
    from pyproj import CRS

    grid, classes, crs = archive.grid(task), archive.classes(task), CRS.from_wkt(georef.crs_wkt)
    rows, cols = np.nonzero(~np.isnan(grid[..., 0]))
    chips = geopandas.GeoDataFrame(
        {
            "row": rows,
            "col": cols,
            "label_version": archive.versions(task)[rows, cols],
            **_columns(grid[rows, cols], classes),
        },
        geometry=_squares(georef, rows, cols),
        crs=crs,
    )
    towns = _towns(*by_municipality(region, grid), classes, region, georef, polygons)
    for what, frame in (("chips", chips), ("municipalities", towns)):
        _write_layer(frame, directory / f"task-{task}-{what}", classes, format_)


def _write_municipal(
    archive: MunicipalArchive,
    task: int,
    region: Region,
    georef: Georef,
    format_: Format,
    directory: Path,
    polygons: Path | None,
) -> None:
    """Municipalities as they were sent down: shapes, or rasters of the chips that are mostly theirs."""
    known, stem = archive.table(task), f"task-{task}-municipalities"
    if format_ is Format.geotiff:
        first = region.bags[:, 0]
        grid = np.where((first >= 0)[:, None], known.proportions[first], np.nan).astype(np.float32)
        shaped = grid.reshape(region.rows, region.cols, -1)
        _write_rasters(stem, shaped, known.classes, int(known.versions.max()), task, georef, directory)
        return
    frame = _towns(known.proportions, known.coverage, known.classes, region, georef, polygons)
    _write_layer(frame, directory / stem, known.classes, format_)


def _towns(
    shares: NDArray[np.float32],
    predicted: NDArray[np.floating],
    classes: Sequence[str],
    region: Region,
    georef: Georef,
    polygons: Path | None,
) -> Any:
    """Municipalities that have a shape, with their shares and how much of them is predicted."""
    import geopandas
    import shapely
    from pyproj import CRS

    names = [georef.names.get(code, "") for code in region.codes]
    frame = geopandas.GeoDataFrame(
        {"code": list(region.codes), "name": names, "predicted_share": predicted, **_columns(shares, classes)},
        geometry=_shapes(region, georef, polygons),
        crs=CRS.from_wkt(georef.crs_wkt),
    )
    return frame[~shapely.is_empty(frame.geometry.values)].reset_index(drop=True)


def _write_layer(frame: Any, path: Path, classes: Sequence[str], format_: Format) -> None:
    """A layer, and its style beside it."""
    suffix, write = _writer(format_)
    path = path.with_suffix(suffix)
    write(frame, path)
    path.with_suffix(".qml").write_bytes(vector_style(classes, CLASS_FIELD))


def _writer(format_: Format) -> tuple[str, Callable[[Any, Path], None]]:
    if format_ is Format.geoparquet:
        return ".parquet", lambda frame, path: frame.to_parquet(path, compression="zstd")
    return ".gpkg", lambda frame, path: frame.to_file(path, driver="GPKG", engine="pyogrio", layer=path.stem)


def _columns(shares: NDArray[np.float32], classes: Sequence[str]) -> dict[str, Any]:
    """The greatest class by name, a share a class, and entropy; nothing where there is no prediction."""
    known = ~np.isnan(shares[:, 0])
    best = np.full(len(shares), None, object)
    best[known] = np.array(classes, object)[np.argmax(shares[known], axis=1)]
    columns = {f"share_{name}": shares[:, i] for i, name in enumerate(classes)}
    return {CLASS_FIELD: best, **columns, "entropy": entropy(shares)}


def _squares(georef: Georef, rows: NDArray[np.integer], cols: NDArray[np.integer]) -> NDArray[Any]:
    import shapely

    x, y, side = georef.x0_m + cols * georef.chip_m, georef.y0_m - rows * georef.chip_m, georef.chip_m
    return np.asarray(shapely.box(x, y - side, x + side, y), object)


def _shapes(region: Region, georef: Georef, polygons: Path | None) -> NDArray[Any]:
    """Shapes of the region's municipalities, in its order; empty for those without any."""
    import geopandas
    import shapely

    if polygons is not None:
        try:
            frame = geopandas.read_parquet(polygons)
            known = dict(zip(frame["code"], frame.geometry, strict=True))
        except (OSError, ValueError, KeyError) as error:
            raise GisError(f"{polygons}: are not the polygons that belong to a region: {error}") from None
        return np.array([known.get(code) or shapely.Polygon() for code in region.codes], object)
    first = region.bags[:, 0]
    cells = np.flatnonzero(first >= 0)
    squares = _squares(georef, *np.divmod(cells, region.cols))
    order = np.argsort(first[cells], kind="stable")
    parts = np.split(squares[order], np.searchsorted(first[cells][order], np.arange(1, len(region.codes))))
    return np.array([shapely.union_all(part) if len(part) else shapely.Polygon() for part in parts], object)
