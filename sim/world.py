"""A synthetic Earth, generated from a seed: imagery, municipalities and statistics of a region of any size.

Nothing of a region is held but its municipalities. Chips are computed when they are asked for, each from its row, its
column and the seed alone, so the order and the batches in which they are asked for cannot matter.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ground.imagery import Task
from sim import landcover, scenes, spectra
from sim.municipalities import SAMPLES, Municipalities
from sim.noise import subkey

MAX_SIDE_CHIPS = 16384  # beyond it, positions in float32 would be coarser than a pixel
_SLAB_POINTS = 8 * 96 * 96  # computed at a time; bounds the working memory to about 10 MB
_SURVEYED_CHIPS = 1 << 16  # municipalities are summed over at most about so many chips


class World:
    """A region of rows x cols chips of 1 km2; implements `ground.imagery.Imagery`.

    seed: of everything.
    n_municipalities: at least 10, at most one for four chips.
    n_bands: 1 to 13, the first of `sim.spectra.BANDS` (red, green, blue, near infrared, ...).
    chip_px: pixels along a chip's side, a multiple of 4; the land is the same at any.
    table_year: year of the label tables; the imagery is of year 0, so tables are out of date.
    table_noise: relative error of the entries of the tables; 0 for none.
    missing: share of municipalities without a row in the tables.

    The land depends on seed and position only: a larger region of the same seed contains the smaller one.
    """

    geographic = True
    centre = None
    tasks: tuple[Task, ...] = (landcover.LAND_COVER, landcover.VEGETATION)

    def __init__(
        self,
        seed: int = 1,
        rows: int = 75,
        cols: int = 80,
        n_municipalities: int = 120,
        *,
        n_bands: int = 3,
        chip_px: int = 96,
        table_year: int = -2,
        table_noise: float = 0.06,
        missing: float = 0.02,
    ) -> None:
        if not (1 <= rows <= MAX_SIDE_CHIPS and 1 <= cols <= MAX_SIDE_CHIPS):
            raise ValueError(f"the grid is {rows} x {cols} chips, each side must be from 1 to {MAX_SIDE_CHIPS}")
        if not 0 <= seed < 1 << 63:
            raise ValueError(f"seed is {seed}, must be from 0 to 2**63 - 1")
        if not 1 <= n_bands <= len(spectra.BANDS):
            raise ValueError(f"n_bands is {n_bands}, must be from 1 to {len(spectra.BANDS)}")
        if chip_px % 4 or not 4 <= chip_px <= 256:
            raise ValueError(f"chip_px is {chip_px}, must be a multiple of 4 from 4 to 256")
        if not (0 <= table_noise <= 0.5 and 0 <= missing < 1):
            raise ValueError(f"table_noise {table_noise} must be in [0, 0.5] and missing {missing} in [0, 1)")
        if not -20 <= table_year <= 20:
            raise ValueError(f"table_year is {table_year}, must be from -20 to 20 (years from the imagery)")
        self.seed, self.rows, self.cols = seed, rows, cols
        self.chip_shape = (chip_px, chip_px, n_bands)
        self.name = f"synthetic-{seed}"
        self.licence = f"synthetic, generated from seed {seed}; CC0, no rights reserved"
        self._municipalities = Municipalities(seed, rows, cols, n_municipalities)
        self.codes = self._municipalities.codes
        self.bag_split = self._municipalities.split
        self._counts_by_year: dict[int, NDArray[np.float64]] = {}
        self._table_year, self._table_noise, self._missing = table_year, table_noise, missing

    @property
    def n_chips(self) -> int:
        """Number of chips, rows x cols."""
        return self.rows * self.cols

    @cached_property
    def cell(self) -> NDArray[np.int32]:
        """Grid row and column of each chip, int32 (n_chips, 2)."""
        return np.stack(np.divmod(np.arange(self.n_chips, dtype=np.int32), np.int32(self.cols)), axis=1)

    @cached_property
    def _all_overlaps(self) -> tuple[NDArray[np.int32], NDArray[np.float32]]:
        parts = [self.overlaps(index) for index in self._slabs(np.arange(self.n_chips), SAMPLES)]
        return np.concatenate([bags for bags, _ in parts]), np.concatenate([weights for _, weights in parts])

    @property
    def bags(self) -> NDArray[np.int32]:
        """Municipalities of all chips (n_chips, 4), computed on first use; `overlaps` takes a part of them."""
        return self._all_overlaps[0]

    @property
    def weights(self) -> NDArray[np.float32]:
        """Share of each chip in each of its municipalities (n_chips, 4), computed on first use."""
        return self._all_overlaps[1]

    @property
    def chip_split(self) -> NDArray[np.uint8]:
        """The split of each chip's first municipality, uint8 (n_chips,)."""
        return self.bag_split[self.bags[:, 0]]

    def overlaps(self, index: NDArray[np.integer]) -> tuple[NDArray[np.int32], NDArray[np.float32]]:
        """Rows of `bags` and `weights` for chips `index` alone."""
        return self._municipalities.overlaps(*self._place(index))

    def chips(self, index: NDArray[np.integer], scene: int = 0) -> NDArray[np.uint8]:
        """Images uint8 (n, height, width, bands) of chips `index`, seen in overpass `scene`."""
        samples, _, n_bands = self.chip_shape
        view = scenes.scene(self.seed, scene, n_bands)
        table = spectra.reflectance(view.season, n_bands)

        def image(rows: NDArray[np.int64], cols: NDArray[np.int64]) -> NDArray[np.uint8]:
            land = landcover.survey(self.seed, rows, cols, samples)
            what, brightness = spectra.appearance(self.seed, land, rows, cols)
            return scenes.observe(view, table, what, brightness, land.elevation, rows, cols)

        return self._fill(index, np.empty((len(index), *self.chip_shape), dtype=np.uint8), image)

    def clouds(self, index: NDArray[np.integer], scene: int = 0) -> NDArray[np.bool_]:
        """Pixels bool (n, height, width) of chips `index` that cloud hides in overpass `scene`."""
        samples, _, n_bands = self.chip_shape
        view = scenes.scene(self.seed, scene, n_bands)
        return self._fill(
            index,
            np.empty((len(index), samples, samples), dtype=np.bool_),
            lambda rows, cols: scenes.cloudy(scenes.cloud_cover(view, rows, cols, samples)),
        )

    def base_labels(self, index: NDArray[np.integer]) -> NDArray[np.uint8]:
        """Base class (`sim.landcover.BASE_CLASSES`) of each pixel, uint8 (n, height, width)."""
        samples = self.chip_shape[0]
        return self._fill(
            index,
            np.empty((len(index), samples, samples), dtype=np.uint8),
            lambda rows, cols: landcover.survey(self.seed, rows, cols, samples).base,
        )

    def labels(self, index: NDArray[np.integer], task: Task) -> NDArray[np.uint8]:
        """True class of each pixel in `task`, uint8 (n, height, width)."""
        return _classes(task)[self.base_labels(index)]

    def proportions(self, index: NDArray[np.integer], task: Task) -> NDArray[np.float32]:
        """True class proportions float32 (n, n_classes) of chips `index` in `task`, over all pixels."""
        samples = self.chip_shape[0]
        parts = [_count(self.labels(slab, task), len(task.class_names)) for slab in self._slabs(index, samples)]
        counts = np.concatenate([np.zeros((0, len(task.class_names))), *parts])
        return (counts / samples**2).astype(np.float32)

    def municipality_proportions(self, task: Task) -> NDArray[np.float64]:
        """True class proportions (n_municipalities, n_classes) at the time of the imagery; NaN where no point fell.

        Measured at 12 x 12 points a chip, each counted for the municipality that it lies in: on all chips of a
        region of up to 65,536, else on every second, third, ... row and column.
        """
        return _normalise(self._base_counts(0) @ _one_hot(task))

    def table(self, task: Task) -> NDArray[np.float32]:
        """The statistics office's label table float32 (n_municipalities, n_classes); a NaN row is missing.

        As real tables, it is not what the pixels add up to: it is of another year (`table_year`), each entry has a
        relative error (`table_noise`, at most 2.5 times that), and some rows are missing (`missing`).
        """
        truth = _normalise(self._base_counts(self._table_year) @ _one_hot(task))
        rng = np.random.Generator(np.random.Philox(key=subkey(self.seed, "table", task.task_id)))
        error = (rng.random((4, *truth.shape)) - 0.5).sum(axis=0) * math.sqrt(3)  # near normal, bounded, no libm
        rows = _normalise(np.maximum(truth * (1 + self._table_noise * np.clip(error, -2.5, 2.5)), 0)).astype(np.float32)
        order = np.random.Generator(np.random.Philox(key=subkey(self.seed, "missing"))).permutation(len(rows))
        rows[order[: round(self._missing * len(rows))]] = np.nan
        return rows

    def _base_counts(self, year: int) -> NDArray[np.float64]:
        """Points of each base class in each municipality in `year` (n_municipalities, base classes)."""
        if year not in self._counts_by_year:
            step = 1
            while (-(-self.rows // step)) * (-(-self.cols // step)) > _SURVEYED_CHIPS:
                step += 1
            rows, cols = np.meshgrid(np.arange(0, self.rows, step), np.arange(0, self.cols, step), indexing="ij")
            n_base = len(landcover.BASE_CLASSES)
            total = np.zeros(len(self.codes) * n_base, dtype=np.int64)
            for slab in self._slabs((rows * self.cols + cols).ravel(), SAMPLES):
                place = self._place(slab)
                base = landcover.survey(self.seed, *place, SAMPLES, year).base
                where = self._municipalities.at(*place).astype(np.int64) * n_base + base
                total += np.bincount(where.ravel(), minlength=len(total))
            self._counts_by_year[year] = total.reshape(-1, n_base).astype(np.float64)
        return self._counts_by_year[year]

    def _place(self, index: NDArray[np.integer]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Grid rows and columns of chips `index`; IndexError if there is no such chip."""
        chip = np.asarray(index, dtype=np.int64)
        if chip.ndim != 1 or (len(chip) and not 0 <= chip.min() <= chip.max() < self.n_chips):
            raise IndexError(f"chip numbers must be a list of 0 to {self.n_chips - 1}, found {index!r}")
        return chip // self.cols, chip % self.cols

    def _fill(
        self,
        index: NDArray[np.integer],
        out: NDArray[Any],
        compute: Callable[[NDArray[np.int64], NDArray[np.int64]], NDArray[Any]],
    ) -> NDArray[Any]:
        """`out`, filled slab by slab with what `compute` gives for the grid rows and columns of chips `index`."""
        done = 0
        for slab in self._slabs(index, self.chip_shape[0]):
            out[done : done + len(slab)] = compute(*self._place(slab))
            done += len(slab)
        return out

    def _slabs(self, index: NDArray[np.integer], samples: int) -> Iterator[NDArray[np.integer]]:
        """The index in parts whose computation takes bounded memory."""
        size = max(1, _SLAB_POINTS // samples**2)
        for start in range(0, len(index), size):
            yield index[start : start + size]


def describe(world: World) -> dict[str, Any]:
    """Figures of a world: chips, share of each base class and class, municipalities' sizes, chips that borders cut."""
    area = world._base_counts(0).sum(axis=1)
    area_km2 = area / area.sum() * world.n_chips
    base = world._base_counts(0).sum(axis=0) / area.sum()
    quantiles = (0.05, 0.25, 0.5, 0.75, 0.95)
    shares = {
        task.name: dict(zip(task.class_names, (base @ _one_hot(task)).tolist(), strict=True)) for task in world.tasks
    }
    return {
        "name": world.name,
        "grid": [world.rows, world.cols],
        "chips": world.n_chips,
        "municipalities": len(world.codes),
        "base_class_shares": dict(zip(landcover.BASE_CLASSES, base.tolist(), strict=True)),
        "class_shares": shares,
        "municipality_km2_quantiles": dict(
            zip(map(str, quantiles), np.quantile(area_km2, quantiles).tolist(), strict=True)
        ),
        "border_chip_share": float((world.weights[:, 1] > 0).mean()),
    }


def _classes(task: Task) -> NDArray[np.uint8]:
    """The task's class of each base class; ValueError for a task that the world has no truth for."""
    if task.task_id not in landcover.CLASS_OF:
        raise ValueError(
            f"task {task.task_id} ({task.name}) is not one of a synthetic world: 1 land cover, 2 vegetation"
        )
    return landcover.CLASS_OF[task.task_id]


def _one_hot(task: Task) -> NDArray[np.float64]:
    """Base classes to classes, (base classes, n_classes)."""
    return np.eye(len(task.class_names))[_classes(task)]


def _count(labels: NDArray[np.uint8], n_classes: int) -> NDArray[np.int64]:
    """Pixels of each class on each chip, (n, n_classes)."""
    return np.stack([np.count_nonzero(labels == c, axis=(1, 2)) for c in range(n_classes)], axis=1)


def _normalise(rows: NDArray[np.float64]) -> NDArray[np.float64]:
    """Rows that sum to 1; NaN where there was nothing to divide."""
    total = rows.sum(axis=1, keepdims=True)
    shares = np.full_like(rows, np.nan)
    np.divide(rows, total, out=shares, where=total > 0)
    return shares
