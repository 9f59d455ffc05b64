"""How the dictionary declares packets, and the one strict codec for all of them.

A packet is the msgpack array ``[id, number, values]``, the values in the order of the declaration. Whatever is not
exactly as declared is refused with the path of the bad field.
"""

from __future__ import annotations

import math
import operator
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import msgpack

from flight.link.errors import LinkError, RejectedError

MAX_NUMBER = 0xFFFFFFFF
_MAX_BODY_BYTES = 1024


class FieldError(LinkError):
    """A value that its declaration does not allow; the message starts with the path of the field."""


@dataclass(frozen=True)
class Field:
    """One argument or parameter. `low` and `high` bound a number, or the length of a text or of bytes."""

    name: str
    kind: Literal["int", "float", "text", "bytes", "choice"]
    low: float = 0
    high: float = 0xFFFFFFFF
    unit: str = ""
    help: str = ""
    choices: tuple[str, ...] = ()

    def to_wire(self, value: Any, path: str) -> Any:
        """The value as it is packed; FieldError if it is not allowed."""
        if self.kind == "choice":
            if value not in self.choices:
                raise FieldError(f"{path}: {value!r} is not one of {', '.join(self.choices)}")
            return self.choices.index(value)
        if self.kind == "int" and not isinstance(value, (bool, float, str, bytes)):
            try:
                value = operator.index(value)
            except TypeError:
                raise FieldError(f"{path}: {value!r} is not a whole number") from None
        elif self.kind == "float" and isinstance(value, (int, float)) and not isinstance(value, bool):
            value = float(value)
        return self.checked(value, path)

    def from_wire(self, value: Any, path: str) -> Any:
        """The value that was packed; FieldError if it is not allowed."""
        if self.kind != "choice":
            return self.checked(value, path)
        if type(value) is not int or not 0 <= value < len(self.choices):
            raise FieldError(f"{path}: {value!r} is not one of the {len(self.choices)} choices")
        return self.choices[value]

    def checked(self, value: Any, path: str) -> Any:
        """The value itself, if it has the declared type and lies in its range."""
        expected = {"int": int, "float": float, "text": str, "bytes": bytes}[self.kind]
        if type(value) is not expected:
            raise FieldError(f"{path}: expected {self.kind}, found {type(value).__name__}")
        if isinstance(value, str) and not (value.isascii() and value.isprintable()):
            raise FieldError(f"{path}: text is not printable ASCII")
        size: Any = len(value) if isinstance(value, (str, bytes)) else value
        # NaN fails the comparison as well.
        if not self.low <= size <= self.high or math.isinf(size):
            what = "length" if isinstance(value, (str, bytes)) else "value"
            raise FieldError(f"{path}: {what} {size!r} is not between {self.low:g} and {self.high:g}{self._unit()}")
        return value

    def _unit(self) -> str:
        return f" {self.unit}" if self.unit else ""

    @property
    def largest(self) -> Any:
        """A wire value that takes the most bytes."""
        if self.kind == "int":
            return max(int(self.high), abs(int(self.low)))
        if self.kind == "float":
            return 0.0
        if self.kind == "choice":
            return len(self.choices) - 1
        return "x" * int(self.high) if self.kind == "text" else bytes(int(self.high))

    @property
    def range(self) -> str:
        """The range as the reference page writes it."""
        if self.kind == "choice":
            return ", ".join(self.choices)
        return f"{_plain(self.low)} to {_plain(self.high)}" + ("" if self.kind in ("int", "float") else " bytes")


def _plain(number: float) -> str:
    return f"{number:.0f}" if float(number).is_integer() and abs(number) < 1e13 else f"{number:g}"


@dataclass(frozen=True)
class Definition:
    """One telecommand, telemetry packet or event: what it is called, what it holds, and how much care it needs."""

    id: int
    name: str
    help: str
    fields: tuple[Field, ...] = ()
    critical: bool = False
    severity: str = ""

    def values_to_wire(self, values: Mapping[str, Any]) -> list[Any]:
        """The values in the order of the declaration; FieldError names what is missing, unknown or not allowed."""
        names = [field.name for field in self.fields]
        for name in values:
            if name not in names:
                raise FieldError(f"{self.name}.{name}: unknown field; known are {', '.join(names) or 'none'}")
        missing = [name for name in names if name not in values]
        if missing:
            raise FieldError(f"{self.name}: missing {', '.join(missing)}")
        return [field.to_wire(values[field.name], f"{self.name}.{field.name}") for field in self.fields]

    def values_from_wire(self, values: Sequence[Any]) -> dict[str, Any]:
        """The values by name; FieldError if they are not as declared."""
        if len(values) != len(self.fields):
            raise FieldError(f"{self.name}: expected {len(self.fields)} fields, found {len(values)}")
        return {
            field.name: field.from_wire(value, f"{self.name}.{field.name}")
            for field, value in zip(self.fields, values, strict=True)
        }

    @property
    def largest_bytes(self) -> int:
        """Bytes of the largest packet body of this definition."""
        return len(pack(self.id, MAX_NUMBER, [field.largest for field in self.fields]))


def pack(packet_id: int, number: int, values: list[Any]) -> bytes:
    """The body of a packet."""
    body: bytes = msgpack.packb([packet_id, number, values])
    return body


def unpack(body: bytes) -> tuple[int, int, list[Any]]:
    """Id, number and wire values of a packet body; `RejectedError` if it is not of that shape."""
    if len(body) > _MAX_BODY_BYTES:
        raise RejectedError("bad_msgpack", f"packet body of {len(body)} bytes, at most {_MAX_BODY_BYTES}")
    try:
        value = msgpack.unpackb(
            body,
            max_array_len=64,
            max_map_len=0,
            max_ext_len=0,
            max_str_len=128,
            max_bin_len=128,
        )
    except (ValueError, msgpack.UnpackException) as error:
        raise RejectedError("bad_msgpack", f"packet body: {type(error).__name__}") from None
    if not isinstance(value, list) or [type(part) for part in value] != [int, int, list]:
        raise RejectedError("bad_msgpack", "packet body is not [id, number, values]")
    packet_id, number, values = value
    if not 0 <= number <= MAX_NUMBER:
        raise RejectedError("bad_field", f"number: {number} is not between 0 and {MAX_NUMBER}")
    return packet_id, number, values
