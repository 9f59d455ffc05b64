"""Arrays in and out of ``.npz`` files, without pickles, each checked for dtype and shape as it is taken."""

from __future__ import annotations

import zipfile
import zlib
from collections.abc import Iterable
from pathlib import Path
from tokenize import TokenError
from typing import Any

import numpy as np
from numpy.lib import format as npy
from numpy.typing import NDArray

MAX_BYTES = 8 << 30
# What zipfile and numpy raise for damaged files: encryption flags and unknown methods are RuntimeErrors, and array
# headers are parsed as Python literals.
_UNREADABLE = (
    OSError, ValueError, EOFError, KeyError, RuntimeError, MemoryError, SyntaxError, TokenError,
    zipfile.BadZipFile, zlib.error,
)  # fmt: skip


class DatasetError(ValueError):
    """A dataset that cannot be used; the message names the file and the array."""


class NpzFile:
    """The arrays of one file, all in memory; DatasetError if it cannot be read."""

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            with zipfile.ZipFile(path) as archive:
                size = sum(entry.file_size for entry in archive.infolist())
            if size > MAX_BYTES:
                raise ValueError(f"it holds {size} bytes, more than {MAX_BYTES}")
            with np.load(path, allow_pickle=False) as file:
                self.arrays: dict[str, NDArray[Any]] = {name: np.asarray(file[name]) for name in file.files}
        except FileNotFoundError:
            raise DatasetError(f"{path}: No such file") from None
        except _UNREADABLE as error:
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


def write_array(
    archive: zipfile.ZipFile, name: str, shape: tuple[int, ...], dtype: np.dtype[Any], parts: Iterable[NDArray[Any]]
) -> None:
    """Write one array from its parts along the first axis, with a fixed date: equal imagery makes equal files."""
    entry = zipfile.ZipInfo(f"{name}.npy", (1980, 1, 1, 0, 0, 0))
    entry.compress_type = zipfile.ZIP_DEFLATED
    with archive.open(entry, "w", force_zip64=True) as file:
        header = {"descr": npy.dtype_to_descr(dtype), "fortran_order": False, "shape": tuple(shape)}
        npy.write_array_header_1_0(file, header)
        for part in parts:
            file.write(np.ascontiguousarray(part, dtype).tobytes())
