"""Raster files, opened with care: only formats that hold pixels themselves, and errors that name the file."""

from __future__ import annotations

import warnings
from collections import OrderedDict
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from ground.gis import GisError

_STARTS = {
    b"II*\0": "GTiff", b"MM\0*": "GTiff", b"II+\0": "GTiff", b"MM\0+": "GTiff",
    b"\0\0\0\x0cjP  ": "JP2OpenJPEG", b"\xff\x4f\xff\x51": "JP2OpenJPEG",
}  # fmt: skip
_MAX_OPEN = 32
_CACHE_MB = 96
_ADVICE = {
    ".zip": "unpack it first",
    ".safe": "name the .SAFE directory itself",
    ".vrt": "name the files that it is made of",
    ".nc": "M3LEO's NetCDF layers are read by `swath-ground dataset from-m3leo`; convert others to GeoTIFF",
    ".png": "it says nothing of its place: save as GeoTIFF",
    ".jpg": "it says nothing of its place: save as GeoTIFF",
}


def open_raster(path: Path) -> Any:
    """A rasterio dataset of a GeoTIFF (COG too) or JPEG 2000 file; GisError if it is none, or says no place."""
    import rasterio
    from rasterio.errors import NotGeoreferencedWarning, RasterioIOError

    if not path.exists():
        raise GisError(f"{path}: there is no such file")
    if path.is_dir():
        raise GisError(f"{path}: is a directory, and no Sentinel-2 product (.SAFE); name its GeoTIFF files")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", NotGeoreferencedWarning)  # told below, as an error
        try:
            opened = rasterio.open(path, driver=_driver(path))
        except RasterioIOError as error:
            advice = "it is damaged: download or export it again"
            raise GisError(f"{path}: cannot be read as an image ({_plain(error)}); {advice}") from None
    try:
        _check(path, opened)
    except GisError:
        opened.close()
        raise
    return opened


def _driver(path: Path) -> str:
    """The format of a file, by its first bytes: no other of GDAL's two hundred is tried on it."""
    with path.open("rb") as file:
        head = file.read(8)
    for start, name in _STARTS.items():
        if head.startswith(start):
            return name
    advice = _ADVICE.get(path.suffix.lower(), "convert it: gdal_translate FILE image.tif")
    raise GisError(f"{path}: is {'empty' if not head else 'neither GeoTIFF nor JPEG 2000'}; {advice}")


def _check(path: Path, opened: Any) -> None:
    if opened.crs is None:
        advice = "say it in the file: gdal_edit.py -a_srs EPSG:32630 FILE"
        raise GisError(f"{path}: says no CRS, so nobody knows where it is; {advice}")
    if opened.transform.is_identity or not abs(opened.transform.determinant) > 0:
        raise GisError(f"{path}: has a CRS but no place on it (no geotransform); georeference it in a GIS")
    if any(kind.startswith("complex") for kind in opened.dtypes):
        raise GisError(f"{path}: holds complex numbers; give amplitude, intensity or coherence")


@contextmanager
def told(path: Path) -> Iterator[None]:
    """Turn what GDAL cannot read into a GisError that names the file."""
    from rasterio.errors import RasterioError

    try:
        yield
    except RasterioError as error:
        cause = error.__cause__ or error
        raise GisError(f"{path}: pixels cannot be read ({_plain(cause)}); download or export it again") from None


def _plain(error: BaseException) -> str:
    return str(error).splitlines()[0].rstrip(".")[:200] if str(error) else type(error).__name__


@contextmanager
def bounded_cache() -> Iterator[None]:
    """GDAL keeps at most 96 MB of blocks within; of its own it takes a twentieth of the machine's memory."""
    import rasterio

    with rasterio.Env(GDAL_CACHEMAX=_CACHE_MB):
        yield


class OpenFiles:
    """Rasters that stay open between reads, the latest 32 of them."""

    def __init__(self) -> None:
        self._open: OrderedDict[Path, Any] = OrderedDict()

    def get(self, path: Path) -> Any:
        """The dataset of a file."""
        if path in self._open:
            self._open.move_to_end(path)
        else:
            while len(self._open) >= _MAX_OPEN:
                self._open.popitem(last=False)[1].close()
            self._open[path] = open_raster(path)
        return self._open[path]

    def close(self) -> None:
        """Close all."""
        while self._open:
            self._open.popitem()[1].close()
