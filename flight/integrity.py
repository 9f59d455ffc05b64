"""Checksums of what lies in memory: a bit that radiation has flipped is found before what it spoils is used.

A `Seal` remembers a CRC-32 of every part of some objects: of each array, in chunks, and of the plain values beside
them. A CRC finds every single flipped bit, and every burst of up to 32 (Koopman & Chakravarty, "Cyclic redundancy code
polynomial selection for embedded networks", DSN 2004). Whoever changes an object on purpose seals it again.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from flight.clock import cpu_s

CHUNK_BYTES = 1 << 16
_MAX_DEPTH = 8

Chunk = tuple[str, int]  # path of a part, and number of the chunk in it


class MemoryFaultError(RuntimeError):
    """Something in memory is not as it was left; `part` says what. Nothing has been changed or done with it."""

    def __init__(self, part: str) -> None:
        super().__init__(f"{part} has changed by itself")
        self.part = part


class DivergedError(RuntimeError):
    """Training has come to a value that is no number, or too large; `part` says where."""

    def __init__(self, part: str) -> None:
        super().__init__(f"training has diverged: {part}")
        self.part = part


class Seal:
    """Checksums of `objects`, by name, as they were when `renew` was called last.

    `spent_cpu_s` is what taking and comparing them has taken of the CPU.
    """

    def __init__(self, **objects: Any) -> None:
        self.spent_cpu_s = 0.0
        self._objects: dict[str, Any] = {}
        self._sums: dict[Chunk, int] = {}
        self._pending: list[Chunk] = []
        self.renew(**objects)

    def renew(self, **objects: Any) -> None:
        """Take what these objects hold now, in place of those before, as right."""
        started_s = cpu_s()
        self._objects = objects
        self._sums = {(path, i): zlib.crc32(chunk) for path, data in _parts(objects) for i, chunk in _chunks(data)}
        self._pending = []
        self.spent_cpu_s += cpu_s() - started_s

    @property
    def n_bytes(self) -> int:
        """Bytes of memory that it covers."""
        return sum(len(data) for _, data in _parts(self._objects))

    def broken(self, under: tuple[str, ...] = ("",)) -> str:
        """The path of a part that has changed and begins with one of `under`; empty if there is none."""
        return self._broken(None if under == ("",) else {chunk for chunk in self._sums if chunk[0].startswith(under)})

    def sweep(self, n_bytes: int) -> str:
        """As `broken`, of the next chunks, `n_bytes` of them or a little more; from the start again after the last."""
        if not self._pending:
            self._pending = list(self._sums)[::-1]
        count = max(1, -(-n_bytes // CHUNK_BYTES))
        wanted, self._pending = self._pending[-count:], self._pending[:-count]
        return self._broken(set(wanted))

    def touched(self, path: str, rows: NDArray[np.int64], row_bytes: int) -> str:
        """As `broken`, of the chunks of one array only in which `rows` lie, each of so many bytes."""
        first, last = rows * row_bytes // CHUNK_BYTES, ((rows + 1) * row_bytes - 1) // CHUNK_BYTES
        return self._broken({(path, int(i)) for i in np.union1d(first, last)})

    def _broken(self, wanted: set[Chunk] | None) -> str:
        started_s = cpu_s()
        try:
            return self._first_broken(wanted)
        finally:
            self.spent_cpu_s += cpu_s() - started_s

    def _first_broken(self, wanted: set[Chunk] | None) -> str:
        for path, data in _parts(self._objects):
            for i in range(_n_chunks(data)):
                known = self._sums.get((path, i))  # None if it was made since, as caches are
                if known is not None and (wanted is None or (path, i) in wanted) and known != _crc(data, i):
                    return path
        return ""


def arrays(objects: dict[str, Any]) -> list[tuple[str, NDArray[Any]]]:
    """Path of every array in `objects`, and the array itself."""
    return [(path, found) for path, found in _walk(objects, "", 0, set()) if isinstance(found, np.ndarray)]


def _crc(data: memoryview, i: int) -> int:
    return zlib.crc32(data[i * CHUNK_BYTES : (i + 1) * CHUNK_BYTES])


def _n_chunks(data: memoryview) -> int:
    return -(-len(data) // CHUNK_BYTES)


def _chunks(data: memoryview) -> Iterator[tuple[int, memoryview]]:
    return ((i, data[i * CHUNK_BYTES : (i + 1) * CHUNK_BYTES]) for i in range(_n_chunks(data)))


def _parts(objects: dict[str, Any]) -> Iterator[tuple[str, memoryview]]:
    """Path and bytes of every array, and of the plain values of each object together."""
    for path, found in _walk(objects, "", 0, set()):
        data = found if isinstance(found, bytes) else np.ascontiguousarray(found).view(np.uint8).reshape(-1).data
        if len(data):
            yield path, memoryview(data)


def _walk(value: Any, path: str, depth: int, seen: set[int]) -> Iterator[tuple[str, Any]]:
    """Arrays in `value` and in all that it holds, and its plain values as bytes, each with its path."""
    if isinstance(value, np.ndarray):
        yield path, value
        return
    if depth > _MAX_DEPTH or id(value) in seen:
        return
    seen.add(id(value))
    plain = []
    for name, held in _held(value):
        where = f"{path}.{name}" if path else name
        if isinstance(held, (int, float, str, bytes)):
            plain.append((name, held))
        elif held is not None and not callable(held):
            yield from _walk(held, where, depth + 1, seen)
    if plain:
        yield f"{path} values", repr(plain).encode()


def _held(value: Any) -> Iterator[tuple[str, Any]]:
    if isinstance(value, dict):
        return ((str(key), held) for key, held in value.items())
    if isinstance(value, (list, tuple)):
        names = getattr(value, "_fields", None) or map(str, range(len(value)))
        return zip(names, value, strict=True)
    return iter(vars(value).items()) if hasattr(value, "__dict__") else iter(())
