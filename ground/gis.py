"""What reading and writing maps needs beyond the ground segment: an extra of its own, for it is large."""

from __future__ import annotations

from importlib.util import find_spec

_NEEDED = ("geopandas", "pyogrio", "shapely", "pyproj", "rasterio", "h5py")
MAX_LISTED = 10


class GisError(ValueError):
    """A map, a grid or a georeference that cannot be used; the message names the file, what is wrong, and a way out."""


def need_gis() -> None:
    """GisError if the libraries for maps are not installed."""
    missing = [name for name in _NEEDED if find_spec(name) is None]
    if missing:
        raise GisError(f"maps need an extra: pip install '.[gis]' in swath's checkout (missing: {', '.join(missing)})")


def listed(items: list[str], limit: int = MAX_LISTED) -> str:
    """The first items with commas between them, and how many more there are."""
    more = f" and {len(items) - limit} more" if len(items) > limit else ""
    return ", ".join(items[:limit]) + more
