"""Checksums of what lies in memory: a bit that radiation has flipped is found before what it spoils is used.

A `Seal` remembers a CRC-32 of every part of some objects: of each array, in chunks, and of the plain values beside
them. A CRC finds every single flipped bit, and every burst of up to 32 (Koopman & Chakravarty, "Cyclic redundancy code
polynomial selection for embedded networks", DSN 2004). Whoever changes an object on purpose seals it again.

Everything counts that objects hold, however deep: nobody has to say what. Who works on them says only in which arrays
that writes, and `renew_after` then holds all others to be as they were.
"""

from __future__ import annotations

import weakref
import zlib
from collections.abc import Iterator
from types import BuiltinFunctionType, FunctionType, MethodType, ModuleType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from flight.clock import cpu_s

CHUNK_BYTES = 1 << 16
_CODE = (type, FunctionType, MethodType, BuiltinFunctionType, ModuleType)

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
        self._arrays: dict[str, weakref.ref[NDArray[Any]]] = {}
        self._pending: list[Chunk] = []
        self.renew(**objects)

    def renew(self, **objects: Any) -> None:
        """Take what these objects hold now, in place of those before, as right."""
        self.renew_after((), **objects)

    def renew_after(self, written: tuple[str, ...], **objects: Any) -> str:
        """As `renew`, after work that has written in the arrays `written`, or in those under these paths.

        The path of an array that lies where it lay, that the work did not write in, and that has changed; empty if
        there is none. An array in place of another was put there on purpose, and so were plain values.
        """
        started_s, known, lay = cpu_s(), self._sums, self._arrays
        changed, self._objects, self._sums, self._arrays, self._pending = "", objects, {}, {}, []
        for path, found in _walk(objects, "", set()):
            data = _bytes(found)
            sums = {(path, i): _crc(data, i) for i in range(_n_chunks(data))}
            if isinstance(found, np.ndarray):
                self._arrays[path] = weakref.ref(found)
                still = path in lay and lay[path]() is found and not within(path, written)
                if still and any(known.get(chunk) != value for chunk, value in sums.items()):
                    changed = changed or path
            self._sums |= sums
        self.spent_cpu_s += cpu_s() - started_s
        return changed

    @property
    def n_bytes(self) -> int:
        """Bytes of memory that it covers."""
        return sum(len(data) for _, data in _parts(self._objects))

    def broken(self) -> str:
        """The path of a part that has changed; empty if there is none."""
        return self._broken(None)

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
        return self._broken({(path, i) for i in (*first.tolist(), *last.tolist())})

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


def within(path: str, above: tuple[str, ...]) -> bool:
    """Whether a path is one of `above`, or under one of them."""
    return f"{path}.".startswith(tuple(f"{each}." for each in above))


def arrays(objects: dict[str, Any]) -> list[tuple[str, NDArray[Any]]]:
    """Path of every array in `objects`, and the array itself."""
    return [(path, found) for path, found in _walk(objects, "", set()) if isinstance(found, np.ndarray)]


def _crc(data: memoryview, i: int) -> int:
    return zlib.crc32(data[i * CHUNK_BYTES : (i + 1) * CHUNK_BYTES])


def _n_chunks(data: memoryview) -> int:
    return -(-len(data) // CHUNK_BYTES)


def _parts(objects: dict[str, Any]) -> Iterator[tuple[str, memoryview]]:
    """Path and bytes of every array that has any, and of the plain values of each object together."""
    return ((path, data) for path, found in _walk(objects, "", set()) if len(data := _bytes(found)))


def _bytes(found: NDArray[Any] | bytes) -> memoryview:
    return memoryview(
        found if isinstance(found, bytes) else np.ascontiguousarray(found).view(np.uint8).reshape(-1).data
    )


def _walk(value: Any, path: str, seen: set[int]) -> Iterator[tuple[str, Any]]:
    """Arrays in `value` and in all that it holds, and its plain values as bytes, each with its path."""
    if isinstance(value, (np.ndarray, bytes)):
        yield path, value
        return
    if id(value) in seen or isinstance(value, _CODE):
        return
    seen.add(id(value))
    plain = []
    for name, held in _held(value):
        if isinstance(held, (int, float, str)):
            plain.append((name, held))
        elif held is not None:
            yield from _walk(held, f"{path}.{name}" if path else name, seen)
    if plain:
        yield f"{path} values", repr(plain).encode()


def _held(value: Any) -> Iterator[tuple[str, Any]]:
    if isinstance(value, dict):
        return ((str(key), held) for key, held in value.items())
    if isinstance(value, (list, tuple)):
        names = getattr(value, "_fields", None) or map(str, range(len(value)))
        return zip(names, value, strict=True)
    return iter(vars(value).items()) if hasattr(value, "__dict__") else iter(())
