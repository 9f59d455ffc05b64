"""A data set from a researcher's own files: images, polygons, a label table, perhaps a land-cover map.

Nothing is held in memory that grows with the land, but the region's map: chips are made a block at a time.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from itertools import zip_longest
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ground.datasets import write_npz
from ground.files import write_bytes
from ground.gis import GisError, listed, need_gis
from ground.grids import AUTO
from ground.imagery import TEST, TRAIN, VALIDATION, Task
from ground.importer import safe
from ground.importer.assemble import BlockImagery, municipal_truth
from ground.importer.blocks import Work, make_block, read_block, stamps, windows
from ground.importer.files import bounded_cache, open_raster
from ground.importer.mosaic import RESAMPLING, Lattice, Mosaic, Warp, Window
from ground.importer.picture import check_picture, thumb_px
from ground.importer.place import Bounds, lay_region
from ground.importer.scaling import AS_IT_IS, DEFAULT, Scale, find_scale, parse_scale
from ground.importer.scenes import Band, Scene, open_scenes
from ground.importer.splits import SplitOptions, draw_splits
from ground.importer.truth import ClassMap, Truth, read_class_map
from ground.labels import TOLERANCE, LabelOptions, LabelTable, SheetOptions, TableError, read_table
from ground.pictures import write_png
from ground.polygons import PolygonOptions, Polygons
from ground.region_files import write_region
from ground.regions import MIN_COVER, MappedRegion

SAMPLED_CHIPS = 256
SCENE_CLASSIFICATION = "SCL"
Progress = Callable[[int, int, int], None]


@dataclass(frozen=True)
class BuildOptions:
    """What a data set is made of, and how.

    Attributes:
        images: GeoTIFF files, single-band files of a scene, Sentinel-2 products; of several, the first one counts.
        polygons, polygon_options: municipalities.
        labels, sheet, label_options, tolerance: the label table; without it, rows are those of the truth.
        truth, truth_classes: land-cover rasters, and "worldcover" or a table of what their values mean.
        bands: by number or name; see `open_scenes`.
        scale: "P2:P98", "0:3000", "none"; None for P2:P98, or none where the images are uint8.
        clouds, cloud_values: masks, and their values that are clouds (None: all but 0); "SCL" for the products' own.
        nodata: where the files do not say it.
        min_valid: share of a chip's pixels that must be known.
        min_seen: share of a municipality that must lie on chips, else its row is missing.
        min_cover: share of a chip that must be land of somebody.
    """

    images: tuple[Path, ...]
    polygons: Path
    polygon_options: PolygonOptions
    labels: Path | None = None
    sheet: SheetOptions = field(default_factory=SheetOptions)
    label_options: LabelOptions = field(default_factory=LabelOptions)
    tolerance: float = TOLERANCE
    truth: tuple[Path, ...] = ()
    truth_classes: str | None = None
    bands: tuple[str, ...] = ()
    scale: str | None = None
    chip_m: float = 960.0
    chip_px: int = 96
    crs: str = AUTO
    bounds: Bounds | None = None
    clouds: tuple[str, ...] = ()
    cloud_values: frozenset[int] | None = None
    nodata: float | None = None
    resampling: str = "bilinear"
    min_valid: float = 0.9
    min_seen: float = 0.5
    min_cover: float = MIN_COVER
    split: SplitOptions = field(default_factory=SplitOptions)
    region_id: int = 1
    task: str = "land cover"
    licence: str = "not stated"


@dataclass(frozen=True, eq=False)
class Built:
    """What came of an import: its files, figures, and what its user should look at."""

    files: list[Path]
    facts: dict[str, Any]
    notes: list[str] = field(default_factory=list)


def build(options: BuildOptions, out: Path, progress: Progress = lambda done, total, chips: None) -> Built:
    """Write the data set `out` (.npz), and beside it its region, georeference, polygons, check picture and recipe.

    `progress` is called with blocks done, blocks in all, and chips so far. What was done of an import that stopped is
    kept in a hidden directory beside `out`, and the same call goes on from there. Raises GisError, TableError.
    """
    need_gis()
    with bounded_cache():
        return _build(options, out, progress)


def working_directory(out: Path) -> Path:
    """Where finished blocks of an import are kept until `out` is whole."""
    return out.with_name(f".{out.stem}.work")


def _build(options: BuildOptions, out: Path, progress: Progress) -> Built:
    _check(options, out)
    limits = parse_scale(options.scale or DEFAULT)
    scenes = open_scenes(options.images, options.bands, options.nodata)
    mapped, given = lay_region(
        scenes,
        options.polygon_options,
        options.polygons,
        region_id=options.region_id,
        chip_m=options.chip_m,
        crs=options.crs,
        bounds=options.bounds,
        min_cover=options.min_cover,
    )
    table = _table(options, given)
    if table is not None:
        _check_rows(table, mapped)
    classes = _class_map(options, table)
    side = options.chip_px
    lattice = Lattice(mapped.georef.crs_wkt, mapped.georef.x0_m, mapped.georef.y0_m, mapped.georef.chip_m, side)
    warp = Warp(lattice)
    try:
        truth = Truth(options.truth, classes, warp) if classes is not None and options.truth else None
        mosaic = _mosaic(options, scenes, warp)
        owned = (mapped.region.bags[:, 0] >= 0).reshape(mapped.region.rows, mapped.region.cols)
        if options.scale is None and scenes[0].dtype == "uint8":
            limits = parse_scale(AS_IT_IS)
        scale = find_scale(limits, _sampled(mosaic, owned), scenes[0].dtype)
        t = thumb_px(*owned.shape, side)
        recipe = _recipe(options, scale, lattice, classes, mapped, t)
        work = Work(working_directory(out), recipe)
        paths = _blocks(work, mosaic, truth, owned, scale, options, t, progress)
    finally:
        warp.close()
    name = out.stem
    imagery = BlockImagery(paths, mapped, name, options.licence, side, len(scenes[0].bands))
    if not imagery.n_chips:
        work.remove()
        told = f"no chip has {options.min_valid:.0%} of its pixels known in a municipality"
        raise GisError(f"{told}; look at nodata and clouds, or ask for less with --min-valid")
    seen = _seen(imagery, mapped)
    notes = [*mapped.notes, *(table.notes if table is not None else ()), *(truth.notes() if truth is not None else ())]
    facts = _settle(imagery, options, table, classes, mapped, seen, notes)
    facts = {
        "scenes": len(scenes),
        "bands": [_told(band, asked) for band, asked in zip_longest(scenes[0].bands, options.bands, fillvalue="")],
        **facts,
    }
    of_region = {name: value for name, value in mapped.facts.items() if name != "municipalities_without_a_chip"}
    facts |= {"limits_of_scale": scale.facts() or "as it is", **of_region}
    picture = check_picture(imagery, mapped, t, truth is not None)
    files = [*write_region(mapped, out.with_suffix(".bin")), out.with_suffix(".png"), out.with_suffix(".json"), out]
    write_png(out.with_suffix(".png"), picture)
    write_bytes(out.with_suffix(".json"), json.dumps(_told_whole(options, facts, notes), indent=1).encode())
    write_npz(out, imagery, np.arange(imagery.n_chips))
    work.remove()
    return Built(files, facts, notes)


def _check(options: BuildOptions, out: Path) -> None:
    """GisError for options that make no sense, before anything is read."""
    if out.suffix != ".npz":
        raise GisError(f"{out}: must end in .npz; region, picture and recipe are named after it")
    if not out.parent.is_dir():
        raise GisError(f"{out.parent}: there is no such directory")
    if not 8 <= options.chip_px <= 1024:
        raise GisError(f"--chip-px {options.chip_px}: a chip has 8 to 1,024 pixels a side")
    if options.labels is None and not options.truth:
        raise GisError("neither --labels nor --truth is given: learning needs a table, and rows can be made of a truth")
    if bool(options.truth) != (options.truth_classes is not None):
        which = "--truth-classes says what its values mean" if options.truth else "--truth names the raster"
        raise GisError(f"--truth and --truth-classes go together: {which} (a table value,class, or worldcover)")
    if options.resampling not in RESAMPLING:
        raise GisError(f"--resampling {options.resampling}: must be one of {', '.join(RESAMPLING)}")


def _table(options: BuildOptions, given: Polygons) -> LabelTable | None:
    """The label table, checked against all municipalities of the file, under images or not."""
    if options.labels is None:
        return None
    names = {code: name for code, name in zip(given.codes, given.names, strict=True) if name}
    return read_table(
        options.labels,
        codes=given.codes,
        names=names,
        tolerance=options.tolerance,
        sheet=options.sheet,
        options=options.label_options,
    )


def _check_rows(table: LabelTable, mapped: MappedRegion) -> None:
    """TableError if no municipality under the images has a row: better now than after an hour."""
    known = {code for code, row in zip(table.codes, table.proportions, strict=True) if not np.isnan(row[0])}
    if not known.intersection(mapped.region.codes):
        told = f"has no row of the {len(mapped.region.codes)} municipalities under the images: nothing can be learned"
        raise TableError(table.source, [f"{told}; they are {listed(list(mapped.region.codes), 5)}"])


def _class_map(options: BuildOptions, table: LabelTable | None) -> ClassMap | None:
    if options.truth_classes is None:
        return None
    classes = read_class_map(options.truth_classes)
    return classes if table is None else classes.ordered(table.classes, options.truth_classes)


def _mosaic(options: BuildOptions, scenes: list[Scene], warp: Warp) -> Mosaic:
    masks = [Path(name) for name in options.clouds if name != SCENE_CLASSIFICATION]
    for mask in masks:
        open_raster(mask).close()
    classified: frozenset[int] = frozenset()
    if SCENE_CLASSIFICATION in options.clouds:
        without = [scene.name for scene in scenes if scene.classification is None]
        if without:
            raise GisError(f"{without[0]}: has no scene classification for --clouds SCL; Level-2A products have one")
        classified = frozenset(safe.CLOUDY)
    return Mosaic(scenes, warp, options.resampling, masks, options.cloud_values, classified)


def _sampled(mosaic: Mosaic, owned: NDArray[np.bool_]) -> NDArray[Any]:
    """Known values (n_bands, n) of up to 256 chips, evenly over the region."""
    cells = np.flatnonzero(owned)
    side, found = owned.shape[1], []
    for cell in cells[np.unique(np.linspace(0, len(cells) - 1, SAMPLED_CHIPS).astype(np.int64))]:
        window = Window(int(cell) // side, int(cell) % side, 1, 1)
        if len(mosaic.over(window)):
            values, known = mosaic.read(window)
            found.append(values[:, known])
    samples = np.concatenate(found, axis=1) if found else np.zeros((1, 0))
    if not samples.shape[1]:
        raise GisError("no pixel of the images is known over the municipalities; look at nodata and clouds")
    return samples


def _recipe(
    options: BuildOptions, scale: Scale, lattice: Lattice, classes: ClassMap | None, mapped: MappedRegion, t: int
) -> dict[str, Any]:
    """What the chips of a block follow from, beside the files that lie over it."""
    return {
        "polygons": stamps([options.polygons]),
        "polygon_options": asdict(options.polygon_options),
        "grid": [mapped.region.rows, mapped.region.cols],
        "lattice": asdict(lattice),
        "min_cover": options.min_cover,
        "bands": options.bands,
        "nodata": options.nodata,
        "resampling": options.resampling,
        "scale": scale.facts(),
        "clouds": options.clouds,
        "cloud_values": None if options.cloud_values is None else sorted(options.cloud_values),
        "min_valid": options.min_valid,
        "classes": None if classes is None else asdict(classes),
        "thumb_px": t,
    }


def _blocks(
    work: Work,
    mosaic: Mosaic,
    truth: Truth | None,
    owned: NDArray[np.bool_],
    scale: Scale,
    options: BuildOptions,
    t: int,
    progress: Progress,
) -> list[Path]:
    """Files of all blocks that have a chip, made where they are not there yet."""
    todo = [window for window in windows(owned) if len(mosaic.over(window))]
    found, chips = [], 0
    for done, window in enumerate(todo):
        progress(done, len(todo), chips)
        files = [path for rank in mosaic.over(window) for path in mosaic.scenes[rank].files]
        files += mosaic.clouds + (truth.over(window) if truth is not None else [])
        path = work.name(window, files)
        block = read_block(path)
        if block is None:
            block = make_block(window, owned, mosaic, truth, scale, options.min_valid, t)
            work.write(path, block)
        if len(block.cells):
            found.append(path)
            chips += len(block.cells)
    progress(len(todo), len(todo), chips)
    return found


def _seen(imagery: BlockImagery, mapped: MappedRegion) -> NDArray[np.float64]:
    """Share (n_municipalities,) of each municipality's land that lies on chips, about."""
    import shapely

    area = np.zeros(len(imagery.codes))
    for bags, weights in zip(imagery.bags.T, imagery.weights.T, strict=True):
        np.add.at(area, bags[bags >= 0], weights[bags >= 0].astype(np.float64))
    whole = shapely.area(mapped.polygons.geometry)
    area *= mapped.georef.chip_m**2
    return np.minimum(np.divide(area, whole, out=np.zeros(len(area)), where=whole > 0), 1.0)


def _settle(
    imagery: BlockImagery,
    options: BuildOptions,
    table: LabelTable | None,
    classes: ClassMap | None,
    mapped: MappedRegion,
    seen: NDArray[np.float64],
    notes: list[str],
) -> dict[str, Any]:
    """Set task, table and split of the imagery; figures on them."""
    import shapely

    names = table.classes if table is not None else classes.classes if classes is not None else ()
    task = Task(1, options.task, tuple(names))
    true = municipal_truth(imagery, task) if classes is not None else None
    rows = np.full((len(imagery.codes), len(names)), np.nan, np.float32)
    if table is not None:
        at = {code: i for i, code in enumerate(table.codes)}
        here = [(i, at[code]) for i, code in enumerate(imagery.codes) if code in at]
        for i, j in here:
            rows[i] = table.proportions[j]
    elif true is not None:
        rows = true.astype(np.float32)
    little = (seen < options.min_seen) & (seen > 0) & ~np.isnan(rows[:, 0])
    if little.any():
        told = listed([f"{imagery.codes[i]} ({seen[i]:.0%})" for i in np.flatnonzero(little)])
        n, part = int(little.sum()), f"less than {options.min_seen:.0%}"
        which = (
            f"1 municipality has {part} of it on chips (--min-seen): its row tells mostly of other land and is left out"
            if n == 1
            else f"{n} municipalities have {part} of them on chips (--min-seen): their rows tell mostly of other land, "
            "and are left out"
        )
        notes.append(f"{which}: {told}")
        rows[little] = np.nan
    centres = shapely.get_coordinates(shapely.point_on_surface(mapped.polygons.geometry))
    chips = imagery.chips_of()
    split = draw_splits(options.split, centres, chips)
    imagery.settle(task, rows, split)
    known = ~np.isnan(rows[:, 0])
    if not (known & (split == TRAIN) & (chips > 0)).any():
        raise GisError("no training municipality has both chips and a row: check codes, --min-seen and --parts")
    facts: dict[str, Any] = {
        "chips": imagery.n_chips,
        "municipalities": {
            "in_all": len(chips),
            "with_chips": int((chips > 0).sum()),
            **{n: int((split == i).sum()) for n, i in _SPLITS.items()},
        },
        "rows": int(known.sum()),
        "classes": list(names),
    }
    if table is not None and true is not None:
        both = known & ~np.isnan(true[:, 0]) & (seen > 0.9)
        if both.any():
            facts["table_against_truth_mae"] = round(float(np.abs(rows[both] - true[both]).mean()), 4)
    return facts


_SPLITS = {"train": TRAIN, "validation": VALIDATION, "test": TEST}


def _told(band: Band, asked: str) -> str:
    name = "" if asked.isdigit() or not asked else f"{asked}: "
    return f"{name}{band.path.name} band {band.index}" + (f" {band.offset:+d}" if band.offset else "")


def _told_whole(options: BuildOptions, facts: dict[str, Any], notes: list[str]) -> dict[str, Any]:
    """Options, figures and notes, for whoever asks later what a data set was made of."""
    values = {key: sorted(v) if isinstance(v, frozenset) else v for key, v in asdict(options).items()}
    plain: dict[str, Any] = json.loads(json.dumps(values, default=str))
    return {"options": plain, "facts": facts, "notes": notes}
