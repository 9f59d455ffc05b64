"""Sentinel-2 products as the Copernicus services give them: a .SAFE directory with a JPEG 2000 file a band.

Of each band the finest resolution is taken. Since processing baseline 04.00 (25 January 2022) digital numbers are
shifted by 1000; the product's metadata say so (BOA_ADD_OFFSET, RADIO_ADD_OFFSET), and the shift is taken back here, so
that scenes of both kinds fit each other. Digital number 0 is nodata in both. (Sentinel-2 Products Specification
Document, S2-PDGS-TAS-DI-PSD, "Radiometric offset".)
"""

from __future__ import annotations

import re
from pathlib import Path

from ground.gis import GisError, listed

BANDS = ("B01", "B02", "B03", "B04", "B05", "B06", "B07", "B08", "B8A", "B09", "B10", "B11", "B12")  # by band_id
NATURAL = ("B04", "B03", "B02")
CLOUDY = (3, 8, 9, 10)  # of the scene classification: cloud shadows, clouds of medium and high probability, cirrus
_MAX_METADATA_BYTES = 16 << 20
_OFFSET = re.compile(rb'<(?:BOA|RADIO)_ADD_OFFSET band_id="(\d{1,2})">\s*(-?\d{1,6})\s*<')


def is_safe(path: Path) -> bool:
    """Whether a path is a Sentinel-2 product."""
    return path.is_dir() and (path.suffix.upper() == ".SAFE" or (path / "GRANULE").is_dir())


def band_file(product: Path, band: str) -> Path:
    """The file of a band such as "B04", or of the scene classification "SCL", in the finest resolution there is."""
    name = normal_name(band)
    found: dict[str, list[Path]] = {}
    for path in sorted(product.glob("GRANULE/*/IMG_DATA/**/*.jp2")):
        match = re.search(r"_(B\d[0-9A]|SCL)(?:_(\d0)m)?\.jp2$", path.name)
        if match is not None:
            found.setdefault(match[1], []).append(path)
    if not found:
        raise GisError(f"{product}: has no bands in GRANULE/*/IMG_DATA; unpack the whole product again")
    if name not in found:
        raise GisError(f"{product}: has no band {band!r}; it has {listed(sorted(found), 20)}")
    resolution = {path: re.search(r"_(\d0)m\.jp2$", path.name) for path in found[name]}
    return min(found[name], key=lambda path: int(match[1]) if (match := resolution[path]) else 0)


def normal_name(band: str) -> str:
    """A band's name with two digits: "b4" is "B04"."""
    match = re.fullmatch(r"[Bb]0*(\d{1,2})([aA]?)", band)
    if match is None:
        return band.upper()
    return f"B{match[1]}A" if match[2] else f"B{int(match[1]):02d}"


def offset(product: Path, band: str) -> int:
    """What is to be added to the digital numbers of a band: 0 before baseline 04.00, and mostly -1000 since then."""
    name = normal_name(band)
    for path in sorted(product.glob("MTD_MSIL*.xml")):
        if path.stat().st_size > _MAX_METADATA_BYTES:
            raise GisError(f"{path}: has more than {_MAX_METADATA_BYTES} bytes; it is no metadata of a product")
        for number, value in _OFFSET.findall(path.read_bytes()):
            if int(number) < len(BANDS) and BANDS[int(number)] == name:
                return int(value)
    return 0
