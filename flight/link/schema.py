"""How the dictionary declares packets, and the one strict codec for their fields.

A field has a fixed place and a fixed size, numbers big-endian; only a text, or bytes of no fixed length, begin with a
length octet. Whatever is not exactly as declared is refused with the path of the bad field.
"""

from __future__ import annotations

import math
import operator
import struct
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from flight.link import cuc
from flight.link.errors import LinkError

MAX_NUMBER = 0xFFFFFFFF
Kind = Literal["int", "float", "time", "text", "bytes", "choice"]
Criticality = Literal["normal", "vital", "critical"]
_PYTHON = {"int": int, "float": float, "time": float, "text": str, "bytes": bytes}
_UNSIGNED = {1: "B", 2: "H", 4: "I", 8: "Q"}


class FieldError(LinkError):
    """A value that its declaration does not allow; the message starts with the path of the field."""


@dataclass(frozen=True)
class Field:
    """One argument or parameter. `low` and `high` bound a number, or the length of a text or of bytes."""

    name: str
    kind: Kind
    low: float = 0
    high: float = 0xFFFFFFFF
    unit: str = ""
    help: str = ""
    choices: tuple[str, ...] = ()

    # The layout.

    @property
    def sized(self) -> bool:
        """Whether a length octet comes first."""
        return self.kind == "text" or (self.kind == "bytes" and self.low != self.high)

    @property
    def signed(self) -> bool:
        """Whether an integer has a sign."""
        return self.kind == "int" and self.low < 0

    @property
    def value_bytes(self) -> int:
        """Octets of the value, without its length octet; the greatest number if that varies."""
        if self.kind in ("float", "time", "choice"):
            return {"float": 8, "time": cuc.BYTES, "choice": 1}[self.kind]
        if self.kind in ("text", "bytes"):
            return int(self.high)
        span = max(int(self.high), -int(self.low) - 1) << self.signed
        return next(size for size in _UNSIGNED if span < 1 << 8 * size)

    @property
    def largest_bytes(self) -> int:
        """The most octets that the field takes."""
        return self.sized + self.value_bytes

    @property
    def range(self) -> str:
        """The range as people read it."""
        if self.kind == "choice":
            return ", ".join(self.choices)
        if self.low == self.high and self.kind == "bytes":
            return f"{_plain(self.low)} bytes"
        return f"{_plain(self.low)} to {_plain(self.high)}" + (" bytes" if self.kind in ("text", "bytes") else "")

    @property
    def layout(self) -> str:
        """How the value is packed, as the reference page writes it."""
        number = {"float": "f64", "time": "CUC 4+2", "choice": "u8"}.get(self.kind)
        if self.kind == "int":
            number = f"{'i' if self.signed else 'u'}{8 * self.value_bytes}"
        return number or ("u8 length, then octets" if self.sized else f"{self.value_bytes} octets")

    # The codec.

    def pack(self, value: Any, path: str) -> bytes:
        """The value as octets; FieldError if it is not allowed."""
        if self.kind == "choice":
            if value not in self.choices:
                raise FieldError(f"{path}: {value!r} is not one of {', '.join(self.choices)}")
            return bytes([self.choices.index(value)])
        value = self.checked(self._converted(value, path), path)
        if self.kind == "time":
            return cuc.pack(value)
        if isinstance(value, (int, float)):
            return struct.pack(self._format, value)
        octets = value.encode("ascii") if isinstance(value, str) else bytes(value)
        return bytes([len(octets)]) * self.sized + octets

    def unpack(self, data: bytes, at: int, path: str) -> tuple[Any, int]:
        """The value at offset `at`, and where the next field begins; FieldError if it is not there or not allowed."""
        size = self.value_bytes
        if self.sized:
            if at >= len(data):
                raise FieldError(f"{path}: packet ends before it")
            size, at = data[at], at + 1
        octets = data[at : at + size]
        if len(octets) < size:
            raise FieldError(f"{path}: packet ends within it")
        if self.kind == "choice":
            if octets[0] >= len(self.choices):
                raise FieldError(f"{path}: {octets[0]} is not one of the {len(self.choices)} choices")
            return self.choices[octets[0]], at + size
        value: Any = octets
        if self.kind == "time":
            value = cuc.unpack(octets)
        elif self.kind == "text":
            value = octets.decode("latin-1")  # what is not ASCII is refused below
        elif self.kind != "bytes":
            (value,) = struct.unpack(self._format, octets)
        return self.checked(value, path), at + size

    @property
    def _format(self) -> str:
        code = "d" if self.kind == "float" else _UNSIGNED[self.value_bytes]
        return ">" + (code.lower() if self.signed else code)

    def _converted(self, value: Any, path: str) -> Any:
        """Numpy's whole numbers and whole numbers for floats are welcome."""
        if self.kind == "int" and not isinstance(value, (bool, float, str, bytes)):
            try:
                return operator.index(value)
            except TypeError:
                raise FieldError(f"{path}: {value!r} is not a whole number") from None
        if self.kind in ("float", "time") and isinstance(value, (int, float)) and not isinstance(value, bool):
            return float(value)
        return value

    def checked(self, value: Any, path: str) -> Any:
        """The value itself, if it has the declared type and lies in its range."""
        if type(value) is not _PYTHON[self.kind]:
            raise FieldError(f"{path}: expected {self.kind}, found {type(value).__name__}")
        if isinstance(value, str) and not (value.isascii() and value.isprintable()):
            raise FieldError(f"{path}: text is not printable ASCII")
        size: Any = len(value) if isinstance(value, (str, bytes)) else value
        # NaN fails the comparison as well.
        if not self.low <= size <= self.high or math.isinf(size):
            what = "length" if isinstance(value, (str, bytes)) else "value"
            unit = f" {self.unit}" if self.unit else ""
            raise FieldError(f"{path}: {what} {size!r} is not between {_plain(self.low)} and {_plain(self.high)}{unit}")
        return value


def _plain(number: float) -> str:
    return f"{number:.0f}" if float(number).is_integer() and abs(number) < 1e13 else f"{number:g}"


@dataclass(frozen=True)
class Definition:
    """One telecommand, telemetry packet or event: what it is called, what it holds, and how much care it needs.

    The criticality of a telecommand is a level of ISO 14950: normal is D, vital C and critical B. The last two are
    sent only when their operator confirms it; a critical one is executed only within a time after an `arm` of it.
    """

    id: int
    name: str
    help: str
    fields: tuple[Field, ...] = ()
    criticality: Criticality = "normal"
    severity: str = ""

    def pack(self, values: Mapping[str, Any]) -> list[bytes]:
        """Each field's octets; FieldError names what is missing, unknown or not allowed."""
        names = [field.name for field in self.fields]
        for name in values:
            if name not in names:
                raise FieldError(f"{self.name}.{name}: unknown field; known are {', '.join(names) or 'none'}")
        missing = [name for name in names if name not in values]
        if missing:
            raise FieldError(f"{self.name}: missing {', '.join(missing)}")
        return [field.pack(values[field.name], f"{self.name}.{field.name}") for field in self.fields]

    def unpack(self, data: bytes) -> dict[str, Any]:
        """The values by name; FieldError if the octets are not exactly as declared."""
        values, at = {}, 0
        for field in self.fields:
            values[field.name], at = field.unpack(data, at, f"{self.name}.{field.name}")
        if at != len(data):
            raise FieldError(f"{self.name}: {len(data) - at} bytes too many")
        return values

    @property
    def marks(self) -> Iterator[str]:
        """What its title says beside the name."""
        yield from [self.criticality] * (self.criticality != "normal") + [self.severity] * bool(self.severity)

    @property
    def fields_bytes(self) -> int:
        """The most octets that its fields take."""
        return sum(field.largest_bytes for field in self.fields)
