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

_SLACK_PX = 1e-3  # corners that were projected come back a little off
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


@dataclass(frozen=True)
class Pixels:
    """A rectangle of pixels of a lattice."""

    row: int
    col: int
    height: int
    width: int


class Warp:
    """Reads bands of files on the pixels of a lattice."""

    def __init__(self, lattice: Lattice) -> None:
        import rasterio

        self.lattice = lattice
        self.crs = rasterio.CRS.from_wkt(lattice.crs_wkt)
        self.files = OpenFiles()

    def transform(self, pixels: Pixels) -> Any:
        """Affine coefficients of a rectangle."""
        from rasterio import Affine

        lattice, size = self.lattice, self.lattice.pixel_m
        return Affine(size, 0, lattice.x0_m + pixels.col * size, 0, -size, lattice.y0_m - pixels.row * size)

    def read(
        self, path: Path, bands: Sequence[int], pixels: Pixels, nodata: float | None, resampling: str
    ) -> tuple[NDArray[Any], NDArray[np.bool_]]:
        """Values (n_bands, height, width) in the kind of the file, and which pixels (height, width) are any."""
        from rasterio.enums import ColorInterp, Resampling
        from rasterio.vrt import WarpedVRT

        source = self.files.get(path)
        options: dict[str, Any] = {"src_nodata": nodata, "nodata": nodata} if nodata is not None else {}
        if nodata is None and source.nodata is None and ColorInterp.alpha not in source.colorinterp:
            options["add_alpha"] = True  # what lies outside the file is not 0, it is nothing
        with (
            told(path),
            WarpedVRT(
                source,
                crs=self.crs,
                transform=self.transform(pixels),
                width=pixels.width,
                height=pixels.height,
                resampling=Resampling[resampling],
                UNIFIED_SRC_NODATA="YES",  # a pixel is none if all of its bands are
                **options,
            ) as warped,
        ):
            values = warped.read(list(bands))
            valid = warped.dataset_mask() > 0
        if values.dtype.kind == "f":
            valid &= np.isfinite(values).all(0)
        return values, valid

    def close(self) -> None:
        """Close the files."""
        self.files.close()


def boxes_in(scenes: Sequence[Scene], crs_wkt: str) -> NDArray[np.float64]:
    """West, south, east and north (n_scenes, 4) of scenes in a CRS; GisError for one that cannot be projected."""
    from pyproj import CRS, Transformer
    from pyproj.exceptions import ProjError

    target, known = CRS.from_wkt(crs_wkt), dict[str, Transformer]()
    found = np.zeros((len(scenes), 4))
    for row, scene in zip(found, scenes, strict=True):
        wkt = scene.crs.to_wkt()
        if wkt not in known:
            known[wkt] = Transformer.from_crs(CRS.from_wkt(wkt), target, always_xy=True)
        try:
            row[:] = known[wkt].transform_bounds(*scene.bounds, densify_pts=21)
        except ProjError:
            row[:] = np.nan
        if not np.isfinite(row).all():
            raise GisError(f"{scene.name}: cannot be projected to {target.name}; is its CRS the right one?")
    return found


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
        self.scenes, self.warp, self.resampling = list(scenes), warp, resampling
        self.clouds, self.cloud_values, self.classified = list(clouds), cloud_values, classified
        lattice = warp.lattice
        west, south, east, north = boxes_in(scenes, lattice.crs_wkt).T
        edges = [lattice.y0_m - north, west - lattice.x0_m, lattice.y0_m - south, east - lattice.x0_m]
        at = np.stack(edges, axis=1) / lattice.pixel_m
        self._reach = np.concatenate([np.floor(at[:, :2] + _SLACK_PX), np.ceil(at[:, 2:] - _SLACK_PX)], axis=1)

    def over(self, window: Window) -> NDArray[np.int64]:
        """Ranks of the scenes whose box meets a window."""
        side, reach = self.warp.lattice.chip_px, self._reach
        top, left = window.row * side, window.col * side
        bottom, right = top + window.rows * side, left + window.cols * side
        return np.flatnonzero(
            (reach[:, 0] < bottom) & (reach[:, 2] > top) & (reach[:, 1] < right) & (reach[:, 3] > left)
        )

    def read(self, window: Window) -> tuple[NDArray[Any], NDArray[np.bool_]]:
        """Values (n_bands, height, width) and which pixels (height, width) are known."""
        side = self.warp.lattice.chip_px
        whole = Pixels(window.row * side, window.col * side, window.rows * side, window.cols * side)
        known = np.zeros((whole.height, whole.width), np.bool_)
        values = np.zeros((len(self.scenes[0].bands), *known.shape), self.scenes[0].dtype)
        clear = np.ones(known.shape, np.bool_)
        for path in self.clouds:
            clear &= ~self._cloudy(path, whole, self.cloud_values)
        for rank in self.over(window):
            part, here = self._part(rank, whole)
            wanted = clear[here] & ~known[here]
            if not wanted.any():
                continue
            found, valid = self._scene(self.scenes[rank], part)
            new = valid & wanted
            values[:, *here][:, new] = found[:, new]
            known[here] |= new
        return values, known

    def _part(self, rank: int, whole: Pixels) -> tuple[Pixels, tuple[slice, slice]]:
        """What of a rectangle a scene can reach, and where that lies within."""
        top, left, bottom, right = self._reach[rank].astype(np.int64).tolist()
        top, left = max(top, whole.row), max(left, whole.col)
        bottom, right = min(bottom, whole.row + whole.height), min(right, whole.col + whole.width)
        rows, cols = slice(top - whole.row, bottom - whole.row), slice(left - whole.col, right - whole.col)
        return Pixels(top, left, bottom - top, right - left), (rows, cols)

    def _scene(self, scene: Scene, pixels: Pixels) -> tuple[NDArray[Any], NDArray[np.bool_]]:
        files: dict[Path, list[Band]] = {}
        for band in scene.bands:
            files.setdefault(band.path, []).append(band)
        read: dict[Band, NDArray[Any]] = {}
        valid = np.ones((pixels.height, pixels.width), np.bool_)
        for path, bands in files.items():
            each, there = self.warp.read(path, [band.index for band in bands], pixels, scene.nodata, self.resampling)
            valid &= there
            read |= {band: _shifted(one, band.offset) for band, one in zip(bands, each, strict=True)}
        if self.classified and scene.classification is not None:
            valid &= ~self._cloudy(scene.classification, pixels, self.classified)
        return np.stack([read[band] for band in scene.bands]), valid

    def _cloudy(self, path: Path, pixels: Pixels, values: frozenset[int] | None) -> NDArray[np.bool_]:
        mask, valid = self.warp.read(path, [1], pixels, None, "nearest")
        cloudy = mask[0] != 0 if values is None else np.isin(mask[0], sorted(values))
        return cloudy & valid


def _shifted(values: NDArray[Any], offset: int) -> NDArray[Any]:
    """Values with an offset added, kept within their kind."""
    if offset == 0:
        return values
    limits = np.iinfo(values.dtype)
    return np.clip(values.astype(np.int64) + offset, limits.min, limits.max).astype(values.dtype)
