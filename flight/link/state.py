"""Saved states: plain values in msgpack, read back strictly, errors with the path of the bad field."""

from __future__ import annotations

from typing import Any

import msgpack

from flight.link.errors import StateError


def dumps(values: dict[str, Any]) -> bytes:
    """The values as msgpack; the same values always give the same bytes."""
    packed: bytes = msgpack.packb(values)
    return packed


def loads(data: bytes) -> Any:
    """The values in `data`; StateError if that is not msgpack."""
    try:
        return msgpack.unpackb(data)
    except (ValueError, msgpack.UnpackException) as error:
        raise StateError(f"saved link state is damaged: {error}") from error


def fields(values: Any, path: str, **kinds: type) -> tuple[Any, ...]:
    """The named fields of a map, in the order asked for; StateError unless exactly these are there with these types."""
    if not isinstance(values, dict) or set(values) != set(kinds):
        found = sorted(map(str, values)) if isinstance(values, dict) else type(values).__name__
        raise StateError(f"{path}: expected fields {sorted(kinds)}, found {found}")
    for name, kind in kinds.items():
        if type(values[name]) is not kind:
            raise StateError(f"{path}.{name}: expected {kind.__name__}, found {type(values[name]).__name__}")
    return tuple(values[name] for name in kinds)


def entries(values: Any, path: str, *kinds: type) -> list[tuple[Any, ...]]:
    """A list of rows with these types in their columns; StateError if it is anything else."""
    if not isinstance(values, list):
        raise StateError(f"{path}: expected a list, found {type(values).__name__}")
    for number, row in enumerate(values):
        if not isinstance(row, list) or [type(value) for value in row] != list(kinds):
            raise StateError(f"{path}[{number}]: expected {[kind.__name__ for kind in kinds]}")
    return [tuple(row) for row in values]


def check(holds: bool, path: str, value: object) -> None:
    """StateError at `path` unless the condition holds."""
    if not holds:
        raise StateError(f"{path}: {value!r} is out of range")
