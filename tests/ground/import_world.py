"""Small rasters, polygons and tables on a known lattice, for tests of imports."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import geopandas
import numpy as np
import rasterio
import shapely
from rasterio.errors import NotGeoreferencedWarning
from typer.testing import CliRunner, Result

from ground.cli import app

UTM = "EPSG:32630"
WEST, NORTH = 480_000.0, 4_800_000.0  # multiples of 960 m
ROWS, COLS, SIDE_M = 4, 6, 960.0
HEIGHT, WIDTH = ROWS * 96, COLS * 96
TABLE = "code,forest,crops\n01,0.25,0.75\n02,0.5,0.5\n03,1,0\n04,0,1\n"


def scene(seed: int = 0, bands: int = 3, high: int = 4000) -> np.ndarray:
    """uint16 (bands, HEIGHT, WIDTH), nowhere 0."""
    rng = np.random.Generator(np.random.PCG64(seed))
    return rng.integers(1, high, (bands, HEIGHT, WIDTH), dtype=np.uint16)


def write_tif(path: Path, values: np.ndarray, **profile: Any) -> Path:
    """A GeoTIFF at the corner of the lattice; `col` moves it right by pixels, `names` describe its bands."""
    values = values if values.ndim == 3 else values[None]
    names, col, mask = profile.pop("names", None), profile.pop("col", 0), profile.pop("mask", None)
    base = {
        "driver": "GTiff", "count": len(values), "height": values.shape[1], "width": values.shape[2],
        "dtype": values.dtype, "crs": UTM, "transform": rasterio.Affine(10, 0, WEST + 10 * col, 0, -10, NORTH),
    }  # fmt: skip
    path.parent.mkdir(parents=True, exist_ok=True)
    with warnings.catch_warnings():  # a file without a place is what some tests want
        warnings.simplefilter("ignore", NotGeoreferencedWarning)
        with rasterio.open(path, "w", **{**base, **profile}) as file:
            file.write(values)
            if names is not None:
                file.descriptions = names
            if mask is not None:
                file.write_mask(mask)
    return path


def write_towns(path: Path, crs: str | None = "EPSG:4326", codes: tuple[str, ...] = ("01", "02", "03", "04")) -> Path:
    """Four municipalities that share the lattice, with borders off its lines."""
    middle, split = WEST + 2.6 * SIDE_M, NORTH - 1.7 * SIDE_M
    east, south = WEST + COLS * SIDE_M, NORTH - ROWS * SIDE_M
    boxes = [
        shapely.box(x0, y0, x1, y1)
        for y0, y1 in ((split, NORTH), (south, split))
        for x0, x1 in ((WEST, middle), (middle, east))
    ]
    frame = geopandas.GeoDataFrame({"CODE": codes, "NAME": [f"Town {code}" for code in codes]}, geometry=boxes, crs=UTM)
    frame.geometry = frame.geometry.segmentize(100)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "'crs' was not provided")
        (frame.to_crs(crs) if crs is not None else frame.set_crs(None, allow_override=True)).to_file(path)
    return path


def write_world(directory: Path, **profile: Any) -> np.ndarray:
    """image.tif, towns.gpkg and table.csv; the image."""
    values = scene()
    write_tif(directory / "image.tif", values, **profile)
    write_towns(directory / "towns.gpkg")
    (directory / "table.csv").write_text(TABLE, encoding="utf-8")
    return values


def run_build(directory: Path, *more: object, images: tuple[str, ...] = ("image.tif",)) -> Result:
    """`swath-ground dataset build` on the files of a directory."""
    arguments = ["dataset", "build", "--images", *(directory / name for name in images)]
    arguments += ["--polygons", directory / "towns.gpkg", "--id-field", "CODE", "-o", directory / "out.npz"]
    if "--labels" not in more and "--no-labels" not in more:
        arguments += ["--labels", directory / "table.csv"]
    arguments += [option for option in more if option != "--no-labels"]
    return CliRunner().invoke(app, [str(argument) for argument in arguments])
