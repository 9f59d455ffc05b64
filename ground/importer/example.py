"""Small made-up files in the forms that real ones have, to try an import on.

Fifteen by eleven kilometres of UTM zone 30N: two scenes that overlap, with nodata at an edge and some clouds; polygons
in degrees; a table as an office publishes it, with a title, semicolons, decimal commas, percent, a year, a suppressed
cell, and no column for what is left.
"""

from __future__ import annotations

import csv
import io
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ground.files import replaced, write_bytes
from ground.gis import need_gis

CRS = "EPSG:32630"
WEST_M, NORTH_M, PIXEL_M = 480_000.0, 4_800_000.0, 10.0
WIDTH_PX, HEIGHT_PX = 1536, 1152
N_TOWNS = 36
CLASSES = {10: "forest", 30: "grassland", 40: "crops", 50: "other land", 80: "other land"}
# Surface reflectance x 10,000 of blue, green, red and near infrared; made up, in the order that real ones have.
_SPECTRA = {10: (280, 480, 330, 2900), 30: (520, 900, 800, 3000), 40: (800, 1150, 1500, 2500),
            50: (1500, 1700, 1900, 2300), 80: (600, 480, 300, 150)}  # fmt: skip
_TEXTURE = {10: 60, 30: 60, 40: 220, 50: 420, 80: 15}
_STARTS = ("Ald", "Bre", "Cor", "Dun", "Elm", "Fen", "Gar", "Hol", "Ing", "Kel", "Lor", "Mar", "Nor", "Oak", "Pen")
_ENDS = ("by", "den", "field", "ford", "mouth", "ton", "vale", "wick")


def write_example(directory: Path, seed: int = 0) -> list[Path]:
    """Write the files to `directory`, which is made if it is not there; their paths."""
    need_gis()
    directory.mkdir(parents=True, exist_ok=True)
    rng = np.random.Generator(np.random.PCG64(seed))
    cover = _land(rng)
    towns = _towns(rng)
    images = _reflectance(cover, rng)
    clouds = _noise(rng, 7) > 2.0
    images[:, clouds] = 6500 + rng.normal(0, 300, int(clouds.sum()))
    digital = np.clip(images, 1, 65535).astype(np.uint16)
    digital[:, np.add.outer(np.arange(HEIGHT_PX), np.arange(WIDTH_PX)) < 260] = 0  # the edge of the swath
    names = ("B02", "B03", "B04", "B08")
    half, overlap = WIDTH_PX // 2, 128
    files = [
        _write_raster(directory / "west.tif", digital[:, :, : half + overlap], 0, 0, names),
        _write_raster(directory / "east.tif", digital[:, :, half - overlap :], half - overlap, 0, names),
        _write_raster(directory / "clouds.tif", clouds[None].astype(np.uint8), 0, None, ("cloud",)),
        _write_raster(directory / "landcover.tif", cover[None], 0, 0, ("land cover",)),
    ]
    with TemporaryDirectory(prefix=".communes-", dir=directory) as temporary:  # GDAL wants a name that ends in .gpkg
        path = Path(temporary) / "communes.gpkg"
        towns.to_crs("EPSG:4258").to_file(path, driver="GPKG", layer="communes", engine="pyogrio")
        files.append(path.replace(directory / path.name))
    files += [_write_classes(directory / "classes.csv"), _write_table(directory / "land-use-2024.csv", cover, towns)]
    return files


def _noise(rng: np.random.Generator, cells: int) -> NDArray[np.float64]:
    """A smooth field (height, width) of variance about 1, with `cells` bumps across its height."""
    total = np.zeros((HEIGHT_PX, WIDTH_PX))
    for octave in range(3):
        n = cells << octave
        knots = rng.normal(size=(n + 2, n * WIDTH_PX // HEIGHT_PX + 2))
        rows = _smooth(np.linspace(0, n, HEIGHT_PX), knots)
        total += _smooth(np.linspace(0, knots.shape[1] - 2, WIDTH_PX), rows.T).T / 1.8**octave
    return total / total.std()


def _smooth(at: NDArray[np.float64], knots: NDArray[np.float64]) -> NDArray[np.float64]:
    """Rows of `knots` at places between them, along the first axis, without corners."""
    low = np.floor(at).astype(int)
    t = at - low
    weight = (t * t * (3 - 2 * t))[:, None]
    return np.asarray(knots[low] * (1 - weight) + knots[low + 1] * weight)


def _land(rng: np.random.Generator) -> NDArray[np.uint8]:
    """Land-cover values (height, width), in patches of some hundred metres and slopes of some kilometres."""
    fields = [_noise(rng, 3) + 0.5 * _noise(rng, 24) + level for level in (0.35, 0.1, 0.4, -0.75, -0.9)]
    return np.array(list(CLASSES), np.uint8)[np.argmax(fields, axis=0)]


def _reflectance(cover: NDArray[np.uint8], rng: np.random.Generator) -> NDArray[np.float64]:
    images = np.zeros((4, *cover.shape))
    light = 1 + 0.06 * _noise(rng, 4)
    for value, spectrum in _SPECTRA.items():
        here = cover == value
        texture = rng.normal(0, _TEXTURE[value], int(here.sum()))
        for image, level in zip(images, spectrum, strict=True):
            image[here] = level * light[here] + texture + rng.normal(0, 40, len(texture))
    return images


def _towns(rng: np.random.Generator) -> Any:
    """Municipalities as a GeoDataFrame: Voronoi cells whose borders were bent."""
    import geopandas
    import shapely

    west, south = WEST_M, NORTH_M - HEIGHT_PX * PIXEL_M
    box = shapely.box(west, south, west + WIDTH_PX * PIXEL_M, NORTH_M)
    seats = rng.uniform((west, south), (west + WIDTH_PX * PIXEL_M, NORTH_M), (N_TOWNS, 2))
    cells = shapely.get_parts(shapely.voronoi_polygons(shapely.multipoints(seats), extend_to=box))
    cells = shapely.intersection(shapely.segmentize(cells, 150.0), box)
    phase = rng.uniform(0, 2 * np.pi, 4)

    def bent(xy: NDArray[np.float64]) -> NDArray[np.float64]:
        u, v = (xy[:, 0] - west) / 1e3, (xy[:, 1] - south) / 1e3
        at_edge = np.minimum.reduce([u, WIDTH_PX / 100 - u, v, HEIGHT_PX / 100 - v]) * 1e3
        room = np.clip(at_edge / 600, 0, 1)
        by = np.stack([np.sin(3 * v + phase[0]) + np.sin(7 * u + phase[1]), np.sin(4 * u + phase[2])], axis=1)
        return np.asarray(xy + 70 * room[:, None] * by)

    order = np.argsort([-shape.centroid.y for shape in cells])
    shapes = shapely.transform(cells[order], bent)
    codes = [f"0{3100 + 7 * i}" for i in range(N_TOWNS)]
    names = [f"{_STARTS[i % len(_STARTS)]}{_ENDS[(i * 3 + i // len(_STARTS)) % len(_ENDS)]}" for i in range(N_TOWNS)]
    return geopandas.GeoDataFrame({"CODE": codes, "NAME": names}, geometry=shapely.make_valid(shapes), crs=CRS)


def _write_raster(path: Path, bands: NDArray[Any], from_col: int, nodata: int | None, names: tuple[str, ...]) -> Path:
    import rasterio

    profile = {
        "driver": "GTiff", "count": len(bands), "height": bands.shape[1], "width": bands.shape[2], "dtype": bands.dtype,
        "nodata": nodata, "crs": CRS, "compress": "deflate", "predictor": 2, "tiled": True,
        "transform": rasterio.Affine(PIXEL_M, 0, WEST_M + from_col * PIXEL_M, 0, -PIXEL_M, NORTH_M),
    }  # fmt: skip
    with replaced(path) as partial, rasterio.open(partial, "w", **profile) as file:
        file.write(bands)
        file.descriptions = names
    return path


def _write_classes(path: Path) -> Path:
    write_bytes(path, "".join(["value,class\n", *(f"{value},{name}\n" for value, name in CLASSES.items())]).encode())
    return path


def _write_table(path: Path, cover: NDArray[np.uint8], towns: Any) -> Path:
    """Shares of three classes in percent, to a tenth, as the office counts them on its own older map."""
    from rasterio import Affine
    from rasterio.features import rasterize

    transform = Affine(PIXEL_M, 0, WEST_M, 0, -PIXEL_M, NORTH_M)
    shapes = ((shape, i + 1) for i, shape in enumerate(towns.geometry))
    owner = rasterize(shapes, out_shape=cover.shape, transform=transform, dtype=np.uint8)
    file = io.StringIO()
    file.write("Land use by municipality, percent of area\r\n\r\n")
    writer = csv.writer(file, delimiter=";")
    writer.writerow(["code", "name", "year", "forest", "grassland", "crops"])
    for i, (code, name) in enumerate(zip(towns["CODE"], towns["NAME"], strict=True)):
        shares = [100 * float((cover[owner == i + 1] == value).mean()) for value in (10, 30, 40)]
        cells = [f"{share:.1f}".replace(".", ",") for share in shares]
        if i == 11:
            cells[1] = ".."  # too few holdings to be told
        writer.writerow([code, name, 2024, *cells])
    write_bytes(path, file.getvalue().encode("utf-8-sig"))
    return path
