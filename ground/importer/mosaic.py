"""Scenes on the grid: reprojected to the lattice of a region's pixels, the first valid one of each place."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ground.gis import GisError
from ground.importer.files import OpenFiles, told
from ground.importer.scenes import Band, Scene

RESAMPLING = ("nearest", "bilinear", "cubic", "average")


@dataclass(frozen=True)
class Lattice:
    """Pixels of a grid of chips: CRS, top left corner and size of a chip [m], side of a chip in pixels."""

    crs_wkt: str
    x0_m: float
    y0_m: float
    chip_m: float
    chip_px: int

    @property
    def pixel_m(self) -> float:
        """Side of a pixel [m]."""
        return self.chip_m / self.chip_px


@dataclass(frozen=True)
class Window:
    """A rectangle of chips: the first row and column, and how many of each."""

    row: int
    col: int
    rows: int
    cols: int


class Warp:
    """Reads bands of files on the pixels of a lattice."""

    def __init__(self, lattice: Lattice) -> None:
        import rasterio

        self.lattice = lattice
        self.crs = rasterio.CRS.from_wkt(lattice.crs_wkt)
        self.files = OpenFiles()

    def read(
        self, path: Path, bands: Sequence[int], window: Window, nodata: float | None, resampling: str
    ) -> tuple[NDArray[Any], NDArray[np.bool_]]:
        """Values (n_bands, height, width) in the kind of the file, and which pixels (height, width) are any."""
        from rasterio import Affine
        from rasterio.enums import ColorInterp, MaskFlags, Resampling
        from rasterio.vrt import WarpedVRT

        lattice, source = self.lattice, self.files.get(path)
        x, y = lattice.x0_m + window.col * lattice.chip_m, lattice.y0_m - window.row * lattice.chip_m
        options: dict[str, Any] = {"src_nodata": nodata, "nodata": nodata} if nodata is not None else {}
        if nodata is None and source.nodata is None and ColorInterp.alpha not in source.colorinterp:
            options["add_alpha"] = True  # what lies outside the file is not 0, it is nothing
        height, width = window.rows * lattice.chip_px, window.cols * lattice.chip_px
        with (
            told(path),
            WarpedVRT(
                source,
                crs=self.crs,
                transform=Affine(lattice.pixel_m, 0, x, 0, -lattice.pixel_m, y),
                width=width,
                height=height,
                resampling=Resampling[resampling],
                UNIFIED_SRC_NODATA="YES",  # a pixel is none if all of its bands are
                **options,
            ) as warped,
        ):
            values = warped.read(list(bands))
            valid = warped.dataset_mask() > 0
        if MaskFlags.per_dataset in source.mask_flag_enums[0] and MaskFlags.alpha not in source.mask_flag_enums[0]:
            valid &= self._mask(source, x, y, height, width)
        if values.dtype.kind == "f":
            valid &= np.isfinite(values).all(0)
        return values, valid

    def _mask(self, source: Any, x: float, y: float, height: int, width: int) -> NDArray[np.bool_]:
        """A file's own mask (height, width), which warping leaves aside."""
        from rasterio import Affine
        from rasterio.warp import Resampling, reproject

        result = np.zeros((height, width), np.uint8)
        pixel_m = self.lattice.pixel_m
        box = source.bounds  # of the file; masks are small, a bit a pixel, and read a window at a time
        window = _window_of(source, self.crs, (x, y - height * pixel_m, x + width * pixel_m, y), box)
        if window is None:
            return result > 0
        reproject(
            source.dataset_mask(window=window),
            result,
            src_transform=source.window_transform(window),
            src_crs=source.crs,
            dst_transform=Affine(pixel_m, 0, x, 0, -pixel_m, y),
            dst_crs=self.crs,
            resampling=Resampling.nearest,
        )
        return result > 0

    def close(self) -> None:
        """Close the files."""
        self.files.close()


def _window_of(source: Any, crs: Any, bounds: tuple[float, float, float, float], box: Any) -> Any:
    """The window of a file that covers `bounds` in `crs`, with a margin; None if they do not meet."""
    from rasterio.warp import transform_bounds
    from rasterio.windows import Window as Pixels

    west, south, east, north = transform_bounds(crs, source.crs, *bounds, densify_pts=21)
    if west >= box.right or east <= box.left or south >= box.top or north <= box.bottom:
        return None
    corners = [~source.transform * corner for corner in ((west, north), (east, north), (west, south), (east, south))]
    cols, rows = zip(*corners, strict=True)
    left, top = max(0, int(min(cols)) - 2), max(0, int(min(rows)) - 2)
    right, bottom = min(source.width, int(max(cols)) + 3), min(source.height, int(max(rows)) + 3)
    return Pixels(left, top, right - left, bottom - top) if right > left and bottom > top else None


class Mosaic:
    """Scenes in the order of their rank: where several are valid, the first one counts.

    A pixel is valid if its file says so and no cloud mask covers it. `clouds` are masks for all scenes, with the
    values that are clouds (None: all but 0); with `classified`, Sentinel-2 products use their own classification too.
    """

    def __init__(
        self,
        scenes: Sequence[Scene],
        warp: Warp,
        resampling: str = "bilinear",
        clouds: Sequence[Path] = (),
        cloud_values: frozenset[int] | None = None,
        classified: frozenset[int] = frozenset(),
    ) -> None:
        from rasterio.warp import transform_bounds

        self.scenes, self.warp, self.resampling = list(scenes), warp, resampling
        self.clouds, self.cloud_values, self.classified = list(clouds), cloud_values, classified
        boxes = []
        for scene in scenes:
            try:
                boxes.append(transform_bounds(scene.crs, warp.crs, *scene.bounds, densify_pts=21))
            except Exception as error:  # PROJ's errors have no class of their own in rasterio
                raise GisError(f"{scene.name}: cannot be projected to the grid ({error}); check its CRS") from None
        self.boxes = np.array(boxes, np.float64)

    def over(self, window: Window) -> NDArray[np.int64]:
        """Ranks of the scenes whose box meets a window."""
        lattice = self.warp.lattice
        west, north = lattice.x0_m + window.col * lattice.chip_m, lattice.y0_m - window.row * lattice.chip_m
        east, south = west + window.cols * lattice.chip_m, north - window.rows * lattice.chip_m
        box = self.boxes
        return np.flatnonzero((box[:, 0] < east) & (box[:, 2] > west) & (box[:, 1] < north) & (box[:, 3] > south))

    def read(self, window: Window) -> tuple[NDArray[Any], NDArray[np.bool_]]:
        """Values (n_bands, height, width) and which pixels (height, width) are known."""
        lattice = self.warp.lattice
        shape = (window.rows * lattice.chip_px, window.cols * lattice.chip_px)
        known = np.zeros(shape, np.bool_)
        values = np.zeros((len(self.scenes[0].bands), *shape), self.scenes[0].dtype)
        clear = np.ones(shape, np.bool_)
        for path in self.clouds:
            clear &= ~self._cloudy(path, window, self.cloud_values)
        for rank in self.over(window):
            scene = self.scenes[rank]
            found, valid = self._scene(scene, window)
            if self.classified and scene.classification is not None:
                valid &= ~self._cloudy(scene.classification, window, self.classified)
            new = valid & clear & ~known
            values[:, new] = found[:, new]
            known |= new
            if known.all():
                break
        return values, known

    def _scene(self, scene: Scene, window: Window) -> tuple[NDArray[Any], NDArray[np.bool_]]:
        files: dict[Path, list[Band]] = {}
        for band in scene.bands:
            files.setdefault(band.path, []).append(band)
        read: dict[Band, NDArray[Any]] = {}
        valid: NDArray[np.bool_] | None = None
        for path, bands in files.items():
            each, there = self.warp.read(path, [band.index for band in bands], window, scene.nodata, self.resampling)
            valid = there if valid is None else valid & there
            read |= {band: _shifted(one, band.offset) for band, one in zip(bands, each, strict=True)}
        assert valid is not None  # noqa: S101 (a scene has a band)
        return np.stack([read[band] for band in scene.bands]), valid

    def _cloudy(self, path: Path, window: Window, values: frozenset[int] | None) -> NDArray[np.bool_]:
        mask, valid = self.warp.read(path, [1], window, None, "nearest")
        cloudy = mask[0] != 0 if values is None else np.isin(mask[0], sorted(values))
        return cloudy & valid


def _shifted(values: NDArray[Any], offset: int) -> NDArray[Any]:
    """Values with an offset added, kept within their kind."""
    if offset == 0:
        return values
    limits = np.iinfo(values.dtype)
    return np.clip(values.astype(np.int64) + offset, limits.min, limits.max).astype(values.dtype)
