"""Municipality polygons from GeoPackage, GeoJSON or Shapefile, checked and repaired, in the CRS of the grid.

What cannot be used is refused with the municipality's code; what was mended or left out is said in `notes`.
"""

from __future__ import annotations

import difflib
import warnings
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from flight.link.pack import MAX_NAME_BYTES
from ground.gis import GisError, listed

MAX_FEATURES = 1 << 18
MAX_FILE_BYTES = 4 << 30
_DEGREES_STEP, _METRES_STEP = 0.05, 5000.0  # longest edge before reprojection: it then strays less than 1 m


@dataclass(frozen=True, eq=False)
class Polygons:
    """Municipalities by code, ascending: valid shapely polygons in `crs` (pyproj), some of them empty; `notes`."""

    codes: tuple[str, ...]
    names: tuple[str, ...]
    geometry: NDArray[Any]
    crs: Any
    notes: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class PolygonOptions:
    """How a file is read: which layer and fields, its CRS if it does not say, and what to do with codes."""

    id_field: str
    name_field: str | None = None
    layer: str | None = None
    source_crs: str | None = None
    merge: bool = False
    zero_pad: int = 0


def read_polygons(path: Path, options: PolygonOptions) -> Polygons:
    """The municipalities in `path`, in the file's own CRS and not repaired yet; GisError names what cannot be used."""
    import geopandas
    from pyproj import CRS
    from pyproj.exceptions import CRSError

    with warnings.catch_warnings(record=True) as caught:  # GDAL's complaints become notes
        warnings.simplefilter("always")
        layer = _layer(path, options)
        columns = [name for name in (options.id_field, options.name_field) if name is not None]
        try:
            frame = geopandas.read_file(path, layer=layer, columns=columns, engine="pyogrio")
        except (RuntimeError, ValueError, OSError) as error:  # pyogrio's errors are RuntimeErrors
            raise GisError(f"{path}: cannot be read: {error}") from None
    notes = [f"{path.name}: {warning.message}" for warning in caught]
    if not len(frame):
        raise GisError(f"{path}: has no features")
    try:
        crs = CRS.from_user_input(options.source_crs) if options.source_crs else frame.crs
    except CRSError as error:
        raise GisError(f"--source-crs {options.source_crs}: is no CRS: {error}") from None
    if crs is None:
        advice = "add its .prj file, or say it: --source-crs EPSG:4326 for degrees, EPSG:25830 for UTM 30N, and so on"
        raise GisError(f"{path}: says no CRS, so nobody knows where it is; {advice}")
    codes = _codes(path, frame[options.id_field], options, notes)
    names = [""] * len(codes)
    if options.name_field is not None:
        names = ["" if value is None or value != value else str(value).strip() for value in frame[options.name_field]]
    geometry = np.array(frame.geometry.to_numpy(), object)
    _check_range(path, geometry, crs)
    return _by_code(path, codes, names, geometry, crs, options.merge, notes)


def _layer(path: Path, options: PolygonOptions) -> str:
    """The layer to read, after checking that it, its fields and its size make sense."""
    import pyogrio

    if not path.exists():
        raise GisError(f"{path}: there is no such file")
    if path.is_file() and path.stat().st_size > MAX_FILE_BYTES:
        raise GisError(f"{path}: has {path.stat().st_size} bytes, more than {MAX_FILE_BYTES}")
    try:
        layers = [(str(name), kind) for name, kind in pyogrio.list_layers(path)]
        with_shapes = [name for name, kind in layers if kind is not None]
        known = ", ".join(repr(name) for name in with_shapes) or "none with geometry"
        if options.layer is None and len(with_shapes) != 1:
            raise GisError(f"{path}: has {len(with_shapes)} layers with geometry; name one with --layer: {known}")
        if options.layer is not None and options.layer not in with_shapes:
            raise GisError(f"{path}: has no layer {options.layer!r} with geometry; there is {known}")
        layer = options.layer or with_shapes[0]
        info = pyogrio.read_info(path, layer=layer, force_feature_count=True)
    except (RuntimeError, ValueError) as error:
        if isinstance(error, GisError):
            raise
        raise GisError(f"{path}: is not GeoPackage, GeoJSON or Shapefile, or it is damaged: {error}") from None
    fields = [str(name) for name in info["fields"]]
    for name in (options.id_field, options.name_field):
        if name is not None and name not in fields:
            close = difflib.get_close_matches(name.lower(), [f.lower() for f in fields], 1, 0.5)
            meant = "".join(f"; did you mean {f!r}?" for f in fields if [f.lower()] == close)
            raise GisError(
                f"{path}, layer {layer!r}: has no field {name!r}; its fields are {listed(fields, 30)}{meant}"
            )
    if info["features"] > MAX_FEATURES:
        raise GisError(f"{path}, layer {layer!r}: has {info['features']} features, more than {MAX_FEATURES}")
    return layer


def _codes(path: Path, column: Any, options: PolygonOptions, notes: list[str]) -> list[str]:
    """Municipality codes as text."""
    values = column.tolist()
    where = f"{path}, field {options.id_field!r}"
    if any(isinstance(value, float) and not value.is_integer() and value == value for value in values):
        raise GisError(f"{where}: holds fractions, which are no codes; name another field with --id-field")
    texts = []
    for i, value in enumerate(values):
        if value is None or value != value or not str(value).strip():
            raise GisError(f"{where}: feature {i + 1} has none; give it a code, or leave the feature out")
        text = str(int(value)) if isinstance(value, float) else str(value).strip()
        text = text.zfill(options.zero_pad)
        if len(text.encode()) > MAX_NAME_BYTES or not text.isprintable():
            raise GisError(
                f"{where}: feature {i + 1} has {text[:80]!r}; a code has 1 to {MAX_NAME_BYTES} bytes of text"
            )
        texts.append(text)
    lengths = {len(text) for text in texts}
    if values and not isinstance(values[0], str) and not options.zero_pad and len(lengths) > 1:
        widest = max(lengths)
        notes.append(
            f"codes in {options.id_field!r} are stored as numbers of {min(lengths)} to {widest} digits: "
            f"if they had leading zeros, restore them with --zero-pad {widest}"
        )
    return texts


def _check_range(path: Path, geometry: NDArray[Any], crs: Any) -> None:
    import shapely

    shapes = geometry[~shapely.is_missing(geometry)]
    if not crs.is_geographic or not len(shapes):
        return
    bounds = shapely.total_bounds(shapes)
    if np.isfinite(bounds).all() and (np.abs(bounds) > [360.0, 90.0001, 360.0, 90.0001]).any():
        reach = f"{bounds[0]:.6g}, {bounds[1]:.6g} to {bounds[2]:.6g}, {bounds[3]:.6g}"
        advice = "its CRS is not what it says; give the right one with --source-crs"
        raise GisError(f"{path}: says {crs.name}, in degrees, but coordinates run from {reach}: {advice}")


def _by_code(
    path: Path, codes: Sequence[str], names: list[str], geometry: NDArray[Any], crs: Any, merge: bool, notes: list[str]
) -> Polygons:
    """One polygon a code, ascending; features that share a code are joined where `merge` says so, else refused."""
    features: dict[str, list[int]] = {}
    for i, code in enumerate(codes):
        features.setdefault(code, []).append(i)
    twice = {code: found for code, found in features.items() if len(found) > 1}
    if twice and not merge:
        told = [f"{code!r} on features {listed([str(i + 1) for i in found], 5)}" for code, found in twice.items()]
        advice = "--merge joins the features of a code, or name another field with --id-field"
        raise GisError(f"{path}: {len(twice)} codes are there more than once: {listed(told)}; {advice}")
    if twice:
        notes.append(f"{sum(map(len, twice.values()))} features joined to {len(twice)} codes: {listed(list(twice))}")
    order = sorted(features)
    joined = np.empty(len(order), object)
    for i, code in enumerate(order):
        found = features[code]
        joined[i] = geometry[found[0]] if len(found) == 1 else _collected(geometry[found])
    first = [features[code][0] for code in order]
    return Polygons(tuple(order), tuple(names[i] for i in first), joined, crs, notes)


def _collected(shapes: NDArray[Any]) -> Any:
    """Several shapes as one collection; its overlaps are dissolved when it is repaired."""
    import shapely

    return shapely.geometrycollections(shapes[~shapely.is_missing(shapes)])


def projected(polygons: Polygons, crs: Any) -> Polygons:
    """The polygons in `crs`, repaired: valid (multi-)polygons. GisError names those of which nothing is left."""
    import shapely
    from pyproj import Transformer

    step = (
        _DEGREES_STEP if polygons.crs.is_geographic else _METRES_STEP / polygons.crs.axis_info[0].unit_conversion_factor
    )
    transformer = Transformer.from_crs(polygons.crs, crs, always_xy=True)
    given = shapely.force_2d(polygons.geometry)
    given[shapely.is_missing(given)] = shapely.Polygon()
    finite = np.isfinite(shapely.bounds(given)).all(1) | shapely.is_empty(given)
    _refuse(polygons.codes, ~finite, "have coordinates that are not numbers; mend them in a GIS")

    def to_grid(xy: NDArray[np.float64]) -> NDArray[np.float64]:
        return np.stack(transformer.transform(xy[:, 0], xy[:, 1]), axis=1)

    repaired, reasons = _repaired(polygons.codes, given)
    shapes = shapely.transform(shapely.segmentize(repaired, step), to_grid)  # segmentize mends too, but loses parts
    finite = np.isfinite(shapely.bounds(shapes)).all(1) | shapely.is_empty(shapes)
    _refuse(polygons.codes, ~finite, f"cannot be projected to {crs.name}; choose a CRS of their place with --crs")
    shapes, more = _repaired(polygons.codes, shapes)
    notes = [*polygons.notes]
    notes += [f"{polygons.codes[i]}: has no geometry, so no chips" for i in np.flatnonzero(shapely.is_empty(given))]
    for i, reason in {**more, **reasons}.items():
        before_m2 = shapely.transform(given[i], to_grid).area
        notes.append(f"{polygons.codes[i]}: repaired ({reason}); {_change(before_m2, shapes[i].area)}")
    return Polygons(polygons.codes, polygons.names, shapes, crs, notes)


def _repaired(codes: Sequence[str], shapes: NDArray[Any]) -> tuple[NDArray[Any], dict[int, str]]:
    """Valid polygons from `shapes`, and why those that changed had to."""
    import shapely

    areal = np.isin(shapely.get_type_id(shapes), [shapely.GeometryType.POLYGON, shapely.GeometryType.MULTIPOLYGON])
    broken = np.flatnonzero(~shapely.is_empty(shapes) & ~(shapely.is_valid(shapes) & areal))
    result, reasons = shapes.copy(), {}
    for i in broken.tolist():
        result[i] = _only_polygons(shapes[i])
        kinds = " and ".join(sorted({part.geom_type for part in shapely.get_parts(shapes[i])}))
        if result[i].area <= 0:
            what = f"is a {kinds} without area" if areal[i] else f"is a {kinds}"
            advice = "municipalities are polygons: mend it in a GIS, or leave the feature out"
            raise GisError(f"municipality {codes[i]!r} {what}; {advice}")
        if areal[i]:
            reasons[i] = str(shapely.is_valid_reason(shapes[i]))
        elif kinds != "Polygon" or shapely.area(shapes[i]) - result[i].area > 1e-9 * result[i].area:
            reasons[i] = f"a collection of {kinds}, of which the area was taken once"
    return result, reasons


def _only_polygons(shape: Any) -> Any:
    """What of a shape has an area, as a valid (multi-)polygon."""
    import shapely

    parts = shapely.get_parts(shapely.make_valid(shapely.get_parts(shape), method="structure", keep_collapsed=False))
    areal = [part for part in _flat(parts) if part.geom_type == "Polygon" and not part.is_empty]
    return shapely.union_all(areal) if areal else shapely.Polygon()


def _flat(parts: NDArray[Any]) -> list[Any]:
    import shapely

    flat: list[Any] = []
    for part in parts:
        flat += _flat(shapely.get_parts(part)) if part.geom_type.startswith(("Multi", "Geometry")) else [part]
    return flat


def _change(before_m2: float, after_m2: float) -> str:
    return f"its area went from {before_m2 / 1e6:.6g} to {after_m2 / 1e6:.6g} km2"


def _refuse(codes: Sequence[str], bad: NDArray[np.bool_], what: str) -> None:
    if bad.any():
        raise GisError(f"municipalities {listed([repr(codes[i]) for i in np.flatnonzero(bad)])} {what}")
