"""Imports of what is malformed: each is refused with the file and a way out, and nothing is written."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import geopandas
import numpy as np
import pytest
import rasterio
import shapely
from import_world import HEIGHT, TABLE, UTM, WIDTH, run_build, scene, write_tif, write_towns, write_world
from test_import import write_safe

Change = Callable[[Path], Any]


def nothing(directory: Path) -> None:
    """The files as they are."""


def raw(name: str, data: bytes | str) -> Change:
    return lambda d: (d / name).write_bytes(data if isinstance(data, bytes) else data.encode())


def tif(name: str = "image.tif", values: np.ndarray | None = None, **profile: Any) -> Change:
    return lambda d: write_tif(d / name, scene() if values is None else values, **profile)


def table(text: str) -> Change:
    return raw("table.csv", text)


def cut_off(name: str, share: float) -> Change:
    return lambda d: (d / name).write_bytes((d / name).read_bytes()[: int(share * (d / name).stat().st_size)])


def towns(**columns: Any) -> Change:
    """towns.gpkg with columns or shapes replaced; None drops a column."""

    def change(d: Path) -> None:
        frame = geopandas.read_file(d / "towns.gpkg")
        for name, values in columns.items():
            frame = frame.drop(columns=name) if values is None else frame.assign(**{name: values})
        (d / "towns.gpkg").unlink()
        frame.to_file(d / "towns.gpkg")

    return change


def hollow(d: Path) -> None:
    """A tiled image of which a tile in the middle is damaged, its head being whole."""
    write_tif(d / "image.tif", scene(), tiled=True, blockxsize=128, blockysize=128, compress="deflate")
    data = bytearray((d / "image.tif").read_bytes())
    data[len(data) // 3 : len(data) // 2] = bytes(len(data) // 2 - len(data) // 3)
    (d / "image.tif").write_bytes(data)


def safe_without_bands(d: Path) -> None:
    (d / "X.SAFE" / "GRANULE").mkdir(parents=True)


def safe(d: Path) -> None:
    write_safe(d, scene(), None)


SAFE = "S2A_MSIL2A_20240501_N0510.SAFE"
TRUTH = ("--truth", "{d}/landcover.tif", "--truth-classes", "{d}/classes.csv")
COVER = np.full((HEIGHT, WIDTH), 7, np.uint8)
CLASSES = "value,class\n7,forest\n9,crops\n"


def truth(cover: np.ndarray = COVER, classes: str = CLASSES, **profile: Any) -> Change:
    def change(d: Path) -> None:
        write_tif(d / "landcover.tif", cover, **profile)
        (d / "classes.csv").write_text(classes)

    return change


def both(*changes: Change) -> Change:
    return lambda d: [change(d) for change in changes]


# kind, what is changed, further options, images, what the message says
MALFORMED: list[tuple[str, Change, tuple[str, ...], tuple[str, ...], str]] = [
    # images
    ("no such image", nothing, (), ("absent.tif",), "absent.tif: there is no such file"),
    ("empty image", raw("image.tif", b""), (), ("image.tif",), "image.tif: is empty"),
    ("text as image", raw("image.tif", "hello"), (), ("image.tif",), "is neither GeoTIFF nor JPEG 2000"),
    ("PNG", raw("a.png", b"\x89PNG\r\n\x1a\n"), (), ("a.png",), "it says nothing of its place: save as GeoTIFF"),
    ("zipped product", raw("a.SAFE.zip", b"PK\3\4"), (), ("a.SAFE.zip",), "unpack it first"),
    ("VRT", raw("a.vrt", "<VRTDataset/>"), (), ("a.vrt",), "name the files that it is made of"),
    ("NetCDF", raw("a.nc", b"\x89HDF\r\n\x1a\n"), (), ("a.nc",), "dataset from-m3leo"),
    ("head of a TIFF alone", raw("image.tif", b"II*\0" + bytes(60)), (), ("image.tif",), "cannot be read as an image"),
    ("truncated image", cut_off("image.tif", 0.5), (), ("image.tif",), "image.tif: pixels cannot be read"),
    ("damaged tile", hollow, (), ("image.tif",), "image.tif: pixels cannot be read"),
    ("head of a JPEG 2000", raw("a.jp2", b"\0\0\0\x0cjP  \r\n\x87\n"), (), ("a.jp2",), "cannot be read as an image"),
    ("directory", nothing, (), ("",), "is a directory, and no Sentinel-2 product"),
    ("product without bands", safe_without_bands, (), ("X.SAFE",), "X.SAFE: has no bands in GRANULE"),
    ("product, no such band", safe, ("--bands", "B04,B03,B99"), (SAFE,), "has no band 'B99'; it has B02, B03, B04"),
    ("product, numbers", safe, ("--bands", "3,2,1"), (SAFE,), "go by name, such as --bands B04,B03,B02"),
    ("product without SCL", safe, ("--clouds", "SCL"), (SAFE,), "has no scene classification for --clouds SCL"),
    ("no CRS", tif(crs=None), (), ("image.tif",), "image.tif: says no CRS, so nobody knows where it is"),
    ("no place", tif(transform=rasterio.Affine.identity()), (), ("image.tif",), "no place on it (no geotransform)"),
    ("complex numbers", tif(values=scene().astype(np.complex64)), (), ("image.tif",), "holds complex numbers"),
    ("elsewhere", tif(crs="EPSG:32636"), (), ("image.tif",), "no municipality is under the images: in WGS 84"),
    ("no such band", nothing, ("--bands", "4,3,2"), ("image.tif",), "has no band 4; it has 3"),
    ("no band of that name", nothing, ("--bands", "red"), ("image.tif",), "has no band named 'red'; there are 1 ''"),
    ("two bands of a name", tif(names=("B04", "b4", "x")), ("--bands", "B04"), ("image.tif",), "has 2 bands named"),
    ("too many bands", nothing, ("--bands", ",".join("1" * 17)), ("image.tif",), "17 bands, more than 16"),
    ("an empty band", nothing, ("--bands", "1,,2"), ("image.tif",), "--bands 1,,2: has an empty name"),
    ("two kinds", tif("b.tif", scene().astype(np.int32)), (), ("image.tif", "b.tif"), "holds int32, but"),
    ("other bands", tif("b.tif", scene()[:1]), (), ("image.tif", "b.tif"), "b.tif: has 1 bands, but"),
    ("a band file lacks", tif("x_B04.tif", scene()[0]), ("--bands", "B04,B03"), ("x_B04.tif",), "B03 is not there"),
    ("a band twice", both(tif("x_B04.tif", scene()[0]), tif("x-B4.tif", scene()[0])), ("--bands", "B04,B03"),
     ("x_B04.tif", "x-B4.tif"), "of which band B03 is not there; add its file"),
    ("all alike", tif(values=np.full((3, HEIGHT, WIDTH), 7, np.uint16)), (), ("image.tif",), "is it empty, or"),
    ("all nodata", tif(values=scene() * 0, nodata=0), (), ("image.tif",), "no pixel of the images is known"),
    ("16 bits as they are", nothing, ("--scale", "none"), ("image.tif",), "hold uint16, and chips are uint8"),
    # scale, grid, clouds, split
    ("scale of one limit", nothing, ("--scale", "P2"), ("image.tif",), "--scale P2: must be two percentiles"),
    ("scale of words", nothing, ("--scale", "low:high"), ("image.tif",), "must be two percentiles such as P2:P98"),
    ("scale upside down", nothing, ("--scale", "300:100"), ("image.tif",), "the first limit must be below the second"),
    ("percentile of 101", nothing, ("--scale", "P2:P101"), ("image.tif",), "P101 is no percentile"),
    ("bounds without a CRS", nothing, ("--bounds", "0,0,1,1"), ("image.tif",), "name it with --crs"),
    ("grid in degrees", nothing, ("--crs", "EPSG:4326"), ("image.tif",), "needs a projected CRS in metres"),
    ("grid elsewhere", nothing, ("--crs", UTM, "--bounds", "0,0,9,9"), ("image.tif",), "no municipality is there"),
    ("chips of a metre", nothing, ("--chip-m", "1"), ("image.tif",), "choose a greater --chip-m"),
    ("no such mask", nothing, ("--clouds", "{d}/m.tif"), ("image.tif",), "m.tif: there is no such file"),
    ("mask of text", raw("m.tif", "x"), ("--clouds", "{d}/m.tif"), ("image.tif",), "m.tif: is neither GeoTIFF nor"),
    ("cloudy all over", tif("m.tif", COVER), ("--clouds", "{d}/m.tif"), ("image.tif",), "look at nodata and clouds"),
    ("cloud values of words", tif("m.tif", COVER), ("--clouds", "{d}/m.tif", "--cloud-values", "x"), ("image.tif",),
     "must be whole numbers"),
    ("cloud values without a mask", nothing, ("--cloud-values", "3"), ("image.tif",), "name one with --clouds"),
    ("parts of words", nothing, ("--parts", "most:few"), ("image.tif",), "--parts most:few: must be three numbers"),
    ("no training", nothing, ("--parts", "0:1:1"), ("image.tif",), "training has some"),
    ("output of another kind", nothing, ("-o", "{d}/out.zip"), ("image.tif",), "out.zip: must end in .npz"),
    ("output nowhere", nothing, ("-o", "{d}/x/out.npz"), ("image.tif",), "x: there is no such directory"),
    # polygons
    ("no such polygons", lambda d: (d / "towns.gpkg").unlink(), (), ("image.tif",), "gpkg: there is no such file"),
    ("polygons of text", raw("towns.gpkg", "x"), (), ("image.tif",), "towns.gpkg: is not GeoPackage"),
    ("polygons cut off", cut_off("towns.gpkg", 0.3), (), ("image.tif",), "towns.gpkg"),
    ("polygons without a CRS", lambda d: write_towns(d / "towns.gpkg", None), (), ("image.tif",), "says no CRS"),
    ("no such field", towns(CODE=None), (), ("image.tif",), "has no field 'CODE'; its fields are NAME"),
    ("a code twice", towns(CODE=["01", "01", "03", "04"]), (), ("image.tif",), "codes are there more than once"),
    ("no code", towns(CODE=["01", None, "03", "04"]), (), ("image.tif",), "feature 2 has none"),
    ("a line", towns(geometry=lambda f: [shapely.LineString([(-3.2, 43.33), (-3.2, 43.34)]), *f.geometry[1:]]), (),
     ("image.tif",), "'01' is a LineString; municipalities are polygons"),
    ("no shapes", towns(geometry=[None] * 4), (), ("image.tif",), "no municipality has a geometry"),
    # the table
    ("no such table", lambda d: (d / "table.csv").unlink(), (), ("image.tif",), "table.csv: cannot be read"),
    ("empty table", table(""), (), ("image.tif",), "table.csv: is empty"),
    ("a code of nowhere", table(TABLE + "05,0,1\n"), (), ("image.tif",), "line 6: municipality '05' is not"),
    ("lost zeros", table(TABLE.replace("01,", "1,")), (), ("image.tif",), "but '01' is: were leading zeros lost?"),
    ("percent", table("code,a,b\n01,50,50\n"), (), ("image.tif",), "line 2: proportions of municipality '01'"),
    ("word", table("code,a,b\n01,x,1\n"), (), ("image.tif",), "line 2, column 'a': 'x' is not a number"),
    ("totals row", table(TABLE + "Total,0.5,0.5\n"), (), ("image.tif",), "line 6: 'Total' looks like a totals row"),
    ("all missing", table("code,a,b\n01,,\n"), (), ("image.tif",), "has no row of the 4 municipalities under"),
    ("neither table nor truth", nothing, ("--no-labels",), ("image.tif",), "neither --labels nor --truth is given"),
    # the truth
    ("truth without classes", truth(), TRUTH[:2], ("image.tif",), "--truth-classes says what its values mean"),
    ("classes without truth", truth(), TRUTH[2:], ("image.tif",), "--truth names the raster"),
    ("truth of text", both(truth(), raw("landcover.tif", "x")), TRUTH, ("image.tif",), "landcover.tif: is neither"),
    ("truth of floats", truth(COVER.astype(np.float32)), TRUTH, ("image.tif",), "holds float32; classes are uint8"),
    ("other classes", truth(classes="value,class\n7,wood\n9,crops\n"), TRUTH, ("image.tif",), "call them the same"),
    ("no column value", truth(classes="code,class\n7,forest\n"), TRUTH, ("image.tif",), "it needs 'value' and 'class'"),
    ("value of a word", truth(classes="value,class\nx,forest\n"), TRUTH, ("image.tif",), "line 2, column 'value': 'x'"),
    ("value too great", truth(classes="value,class\n256,forest\n"), TRUTH, ("image.tif",), "from 0 to 255"),
    ("value twice", truth(classes="value,class\n7,a\n7,b\n"), TRUTH, ("image.tif",), "7 was there before; keep one"),
    ("no class", truth(classes="value,class\n7,\n9,b\n"), TRUTH, ("image.tif",), "line 2, column 'class': is empty"),
    ("one class", truth(classes="value,class\n7,a\n"), TRUTH, ("image.tif",), "has 1 class; a task has 2 to 255"),
]  # fmt: skip


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Files that are well."""
    directory = tmp_path_factory.mktemp("world")
    write_world(directory)
    return directory


@pytest.mark.parametrize(
    ("change", "options", "images", "message"), [case[1:] for case in MALFORMED], ids=[case[0] for case in MALFORMED]
)
def test_what_is_malformed_is_refused_and_nothing_is_written(
    world: Path, tmp_path: Path, change: Change, options: tuple[str, ...], images: tuple[str, ...], message: str
) -> None:
    shutil.copytree(world, tmp_path, dirs_exist_ok=True)
    change(tmp_path)
    before = sorted(tmp_path.rglob("*"))
    result = run_build(tmp_path, *(option.replace("{d}", str(tmp_path)) for option in options), images=images)
    assert result.exit_code == 1, result.output
    assert message in result.stderr and "Traceback" not in result.stderr
    assert sorted(tmp_path.rglob("*")) == before


def test_more_than_sixty_kinds_are_tried() -> None:
    assert len({kind for kind, *_ in MALFORMED}) == len(MALFORMED) >= 60
