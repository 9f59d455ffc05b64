"""Arrays in and out of ``.npz`` files, without pickles, each checked for dtype and shape as it is taken.

Large arrays that are stored without compression, as ``np.savez`` does it, are mapped and need no memory. Others are
read into memory.
"""

from __future__ import annotations

import struct
import zipfile
import zlib
from collections.abc import Iterable
from pathlib import Path
from tokenize import TokenError
from typing import Any

import numpy as np
from numpy.lib import format as npy
from numpy.typing import NDArray

MAX_BYTES = 8 << 30  # of what is read into memory
MAPPED_BYTES = 1 << 20  # arrays from this size on are mapped where they are stored
_LOCAL_HEADER = struct.Struct("<4s22xHH")  # of a zip entry: signature, lengths of name and extra field (APPNOTE 4.3.7)
_READ_BYTES = 1 << 20
# What zipfile and numpy raise for damaged files: encryption flags and unknown methods are RuntimeErrors, and array
# headers are parsed as Python literals.
_UNREADABLE = (
    OSError, ValueError, EOFError, KeyError, RuntimeError, MemoryError, SyntaxError, TokenError,
    zipfile.BadZipFile, zlib.error,
)  # fmt: skip


# How other files begin that people have at hand: TIFF and BigTIFF of either byte order, JPEG 2000, PNG, JPEG.
_IMAGES = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+", b"\0\0\0\x0cjP  ", b"\x89PNG", b"\xff\xd8\xff")
_MAKE = "`swath-ground dataset build --images ...` makes one of images, polygons and a table"


class DatasetError(ValueError):
    """A dataset that cannot be used; the message names the file and the array."""


class NpzFile:
    """The arrays of one file, in memory or mapped; DatasetError if it cannot be read."""

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            self.arrays = _read(path)
        except FileNotFoundError:
            raise DatasetError(f"{path}: No such file") from None
        except _UNREADABLE as error:
            if (kind := _other_kind(path)) is not None:
                raise DatasetError(f"{path}: is {kind}, not a data set (npz): {_MAKE}") from None
            why = getattr(error, "strerror", None) or error
            raise DatasetError(f"{path}: cannot be read as npz (truncated or damaged?): {why}") from None

    def __contains__(self, name: str) -> bool:
        return name in self.arrays

    def error(self, what: str) -> DatasetError:
        """A DatasetError that names the file."""
        return DatasetError(f"{self.path}: {what}")

    def take(self, name: str, kind: str, *shape: int | None) -> NDArray[Any]:
        """Array `name` of dtype kinds `kind` and of `shape`, where None fits any length."""
        if name not in self.arrays:
            raise self.error(f"array {name!r} is missing; found {', '.join(sorted(self.arrays))}")
        array = self.arrays[name]
        fits = array.ndim == len(shape) and all(n in (None, m) for n, m in zip(shape, array.shape, strict=True))
        if array.dtype.kind not in kind or not fits:
            wanted = f"({', '.join('any' if n is None else str(n) for n in shape)})"
            kinds = {"u": "uint8", "iu": "integers", "f": "floats", "U": "text"}[kind]
            raise self.error(f"array {name!r} is {array.dtype} {array.shape}; expected {kinds} of shape {wanted}")
        if kind == "u" and array.dtype != np.uint8:
            raise self.error(f"array {name!r} is {array.dtype}; expected uint8")
        return array

    def within(self, name: str, low: int, high: int, *shape: int | None) -> NDArray[np.int64]:
        """Integers in array `name`, all in low..high."""
        array = self.take(name, "iu", *shape)
        if array.size and not (low <= array.min() and array.max() <= high):
            raise self.error(f"array {name!r} runs from {array.min()} to {array.max()}; expected {low} to {high}")
        return array.astype(np.int64)


def _other_kind(path: Path) -> str | None:
    """What a file is that is no npz, if that is something that a data set could be made of."""
    if path.is_dir():
        return "a directory"
    try:
        with path.open("rb") as file:
            return "an image" if file.read(8).startswith(_IMAGES) else None
    except OSError:
        return None


def _read(path: Path) -> dict[str, NDArray[Any]]:
    arrays: dict[str, NDArray[Any]] = {}
    with zipfile.ZipFile(path) as archive:
        entries = {entry.filename.removesuffix(".npy"): entry for entry in archive.infolist()}
        mapped = {
            name: entry
            for name, entry in entries.items()
            if entry.compress_type == zipfile.ZIP_STORED and entry.file_size >= MAPPED_BYTES
        }
        size = sum(entry.file_size for name, entry in entries.items() if name not in mapped)
        if size > MAX_BYTES:
            raise ValueError(
                f"compressed arrays hold {size} bytes, more than {MAX_BYTES}: np.savez stores them as they are"
            )
        for name, entry in mapped.items():
            arrays[name] = _mapped(path, archive, entry)
    with np.load(path, allow_pickle=False) as file:
        return arrays | {name: np.asarray(file[name]) for name in file.files if name not in mapped}


def _mapped(path: Path, archive: zipfile.ZipFile, entry: zipfile.ZipInfo) -> NDArray[Any]:
    """The array of an entry that is stored as it is, read once to compare it with its CRC-32."""
    with archive.open(entry) as file:
        version = npy.read_magic(file)
        shape, fortran, dtype = (npy.read_array_header_1_0 if version == (1, 0) else npy.read_array_header_2_0)(file)
        begin = file.tell()
        while file.read(_READ_BYTES):  # the end raises BadZipFile if the check value is another
            pass
    expected = int(np.prod(shape, dtype=object)) * dtype.itemsize
    if dtype.hasobject or expected != entry.file_size - begin:
        raise ValueError(f"array {entry.filename} of shape {shape} and {dtype} does not fit {entry.file_size} bytes")
    with path.open("rb") as raw:
        raw.seek(entry.header_offset)
        signature, name_bytes, extra_bytes = _LOCAL_HEADER.unpack(raw.read(_LOCAL_HEADER.size))
    if signature != b"PK\x03\x04":
        raise ValueError(f"array {entry.filename} has no local header")
    offset = entry.header_offset + _LOCAL_HEADER.size + name_bytes + extra_bytes + begin
    order = "F" if fortran else "C"
    return np.memmap(path, dtype, "r", offset, shape, order).view(np.ndarray)


def write_array(
    archive: zipfile.ZipFile,
    name: str,
    shape: tuple[int, ...],
    dtype: np.dtype[Any],
    parts: Iterable[NDArray[Any]],
    *,
    compressed: bool = True,
) -> None:
    """Write one array from its parts along the first axis, with a fixed date: equal imagery makes equal files."""
    entry = zipfile.ZipInfo(f"{name}.npy", (1980, 1, 1, 0, 0, 0))
    entry.compress_type = zipfile.ZIP_DEFLATED if compressed else zipfile.ZIP_STORED
    with archive.open(entry, "w", force_zip64=True) as file:
        header = {"descr": npy.dtype_to_descr(dtype), "fortran_order": False, "shape": tuple(shape)}
        npy.write_array_header_1_0(file, header)
        for part in parts:
            file.write(np.ascontiguousarray(part, dtype).tobytes())
