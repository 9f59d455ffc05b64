"""A learner's state as bytes: a small JSON header, named arrays, and a check value.

Layout, little-endian: ``SWLS``, format (uint16), header length (uint32), header (JSON, UTF-8), the arrays one after
another in C order, and the CRC-32 (zlib) of everything before it. The header's ``arrays`` gives each array's name,
dtype and shape. Nothing is allocated that the input's own length does not pay for.
"""

from __future__ import annotations

import json
import math
import struct
import zlib
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

MAGIC = b"SWLS"
FORMAT = 1
MAX_HEADER_BYTES = 1 << 16
MAX_ARRAYS = 64
_MAX_SIDE = 1 << 31
_HEAD = struct.Struct("<4sHI")
_CRC = struct.Struct("<I")
_DTYPES = {name: np.dtype(name).newbyteorder("<") for name in ("uint8", "int32", "int64", "float32", "float64")}


class StateError(ValueError):
    """Bytes that are not the state of a learner, or of another learner than expected."""


def pack(header: Mapping[str, Any], arrays: Mapping[str, NDArray[Any]]) -> bytes:
    """The bytes of `header` (JSON values, without the key ``arrays``) and `arrays`."""
    return b"".join(parts(header, arrays))


def parts(header: Mapping[str, Any], arrays: Mapping[str, NDArray[Any]]) -> list[bytes | memoryview]:
    """As `pack`, in parts that share the memory of the arrays: to be written before these change."""
    table = [[name, array.dtype.name, list(array.shape)] for name, array in arrays.items()]
    text = json.dumps({**header, "arrays": table}, sort_keys=True, separators=(",", ":"), allow_nan=False).encode()
    found: list[bytes | memoryview] = [_HEAD.pack(MAGIC, FORMAT, len(text)), text]
    found += [np.ascontiguousarray(a, _DTYPES[a.dtype.name]).reshape(-1).view(np.uint8).data for a in arrays.values()]
    return [*found, _CRC.pack(crc32(found))]


def crc32(parts: Iterable[bytes | memoryview], start: int = 0) -> int:
    """CRC-32 (zlib) of parts, one after another, going on from `start`."""
    for part in parts:
        start = zlib.crc32(part, start)
    return start


def unpack(data: bytes) -> tuple[dict[str, Any], dict[str, NDArray[Any]]]:
    """The header and the arrays (writable copies) in `data`; StateError if anything is wrong with it."""
    if len(data) < _HEAD.size + _CRC.size:
        raise StateError(f"state of {len(data)} bytes is shorter than its fixed fields")
    magic, version, length = _HEAD.unpack_from(data)
    if magic != MAGIC:
        raise StateError(f"state starts with {magic!r}, expected {MAGIC!r}")
    if version != FORMAT:
        raise StateError(f"state format is {version}, this version reads {FORMAT}")
    found, expected = _CRC.unpack_from(data, len(data) - _CRC.size)[0], zlib.crc32(data[: -_CRC.size])
    if found != expected:
        raise StateError(f"state check value is {found:#010x}, computed {expected:#010x}: corrupt or cut short")
    end = _HEAD.size + length
    if length > MAX_HEADER_BYTES or end > len(data) - _CRC.size:
        raise StateError(f"state header of {length} bytes does not fit")
    header = _header(data[_HEAD.size : end])
    return header, _arrays(header.pop("arrays", None), memoryview(data)[end : -_CRC.size])


def _header(text: bytes) -> dict[str, Any]:
    try:
        header = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise StateError(f"state header is not JSON: {error}") from error
    if not isinstance(header, dict):
        raise StateError(f"state header is a {type(header).__name__}, expected an object")
    return header


def _arrays(table: Any, body: memoryview) -> dict[str, NDArray[Any]]:
    if not isinstance(table, list) or len(table) > MAX_ARRAYS:
        raise StateError(f"state header: arrays must be a list of at most {MAX_ARRAYS}")
    arrays: dict[str, NDArray[Any]] = {}
    at = 0
    for entry in table:
        match entry:
            case [str(name), str(kind), [*shape]] if kind in _DTYPES and name not in arrays and len(shape) <= 4:
                pass
            case _:
                raise StateError("state header: an array's entry is not [name, known dtype, shape]")
        if not all(type(side) is int and 0 <= side < _MAX_SIDE for side in shape):
            raise StateError(f"state array {name}: bad shape")
        size = math.prod(shape) * _DTYPES[kind].itemsize
        if size > len(body) - at:
            raise StateError(f"state array {name}: needs {size} bytes, {len(body) - at} are left")
        flat = np.frombuffer(body[at : at + size], _DTYPES[kind])
        arrays[name] = flat.astype(_DTYPES[kind].newbyteorder("=")).reshape(shape)
        at += size
    if at != len(body):
        raise StateError(f"state has {len(body) - at} bytes after its last array")
    return arrays


def take(arrays: dict[str, NDArray[Any]], name: str, dtype: str, shape: tuple[int | None, ...]) -> NDArray[Any]:
    """Remove array `name` from `arrays`, checked: its dtype, its shape (None: any length), finite if of floats."""
    array = arrays.pop(name, None)
    if array is None:
        raise StateError(f"state lacks array {name}")
    fits = array.ndim == len(shape) and all(e in (None, s) for e, s in zip(shape, array.shape, strict=True))
    if array.dtype.name != dtype or not fits:
        raise StateError(f"state array {name}: {array.dtype.name} {array.shape}, expected {dtype} {shape}")
    if array.dtype.kind == "f" and name != "labels" and not np.isfinite(array).all():
        raise StateError(f"state array {name}: holds NaN or infinity")
    return array
