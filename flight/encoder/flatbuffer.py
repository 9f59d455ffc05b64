"""TFLite files, read strictly: every offset is checked, and whatever the exporter does not write is refused.

The layout is that of FlatBuffers (flatbuffers.dev, "Internals"): a table begins with the distance to its vtable, which
has the place of each field. Numbers of fields, operators and types are those of TensorFlow Lite's schema, version 3.
"""

from __future__ import annotations

import struct
from collections.abc import Callable

from flight.encoder.graph import (
    MAX_PAD,
    EncoderError,
    Graph,
    Operator,
    Shape,
    Tensor,
    check,
    stepped,
    taking,
    together,
)

IDENTIFIER = b"TFL3"
METADATA = b"swath"
_MAX_ITEMS = 4096
_KINDS = {0: "float32", 2: "int32", 3: "uint8", 9: "int8"}
_OPERATORS = {
    0: "ADD", 3: "CONV_2D", 4: "DEPTHWISE_CONV_2D", 6: "DEQUANTIZE", 18: "MUL", 34: "PAD", 41: "SUB", 53: "CAST",
    114: "QUANTIZE",
}  # fmt: skip
# Union type of an operator's settings, and their fields by number: (name, format, default).
_SETTINGS: dict[str, tuple[int, dict[int, tuple[str, str, int]]]] = {
    "CONV_2D": (1, {
        0: ("padding", "<b", 0), 1: ("stride_w", "<i", 0), 2: ("stride_h", "<i", 0), 3: ("activation", "<b", 0),
        4: ("dilation_w", "<i", 1), 5: ("dilation_h", "<i", 1),
    }),
    "DEPTHWISE_CONV_2D": (2, {
        0: ("padding", "<b", 0), 1: ("stride_w", "<i", 0), 2: ("stride_h", "<i", 0), 3: ("multiplier", "<i", 0),
        4: ("activation", "<b", 0), 5: ("dilation_w", "<i", 1), 6: ("dilation_h", "<i", 1),
    }),
    "ADD": (11, {0: ("activation", "<b", 0)}),
    "MUL": (21, {0: ("activation", "<b", 0)}),
    "PAD": (22, {}),
    "SUB": (28, {0: ("activation", "<b", 0)}),
    "CAST": (37, {}),
    "DEQUANTIZE": (38, {}),
    "QUANTIZE": (89, {}),
}  # fmt: skip


class _Table:
    """A table at `at` in `data`; every read is within it, or an EncoderError."""

    def __init__(self, data: bytes, at: int, what: str) -> None:
        self.data, self.at, self.what = data, at, what
        vtable = at - self._unpack("<i", at)
        size = self._unpack("<H", vtable)
        if size < 4 or size % 2 or size > 4 + 2 * 64 or not 0 <= vtable <= len(data) - size:
            raise EncoderError(f"{what}: its vtable is damaged")
        self.fields = struct.unpack_from(f"<{(size - 4) // 2}H", data, vtable + 4)

    def _unpack(self, form: str, at: int) -> int:
        size = struct.calcsize(form)
        if not 0 <= at <= len(self.data) - size or at % size:
            raise EncoderError(f"{self.what}: leads to byte {at} of {len(self.data)}")
        return int(struct.unpack_from(form, self.data, at)[0])

    def only(self, *known: int) -> None:
        """EncoderError for a field that is not one of `known`."""
        if others := [i for i, place in enumerate(self.fields) if place and i not in known]:
            raise EncoderError(f"{self.what}: has field {others[0]}, which is not known")

    def number(self, field: int, form: str, default: int = 0) -> int:
        """A number in the table itself."""
        place = self.fields[field] if field < len(self.fields) else 0
        return self._unpack(form, self.at + place) if place else default

    def _target(self, field: int) -> int:
        """Where an offset leads; 0 if the field is not there."""
        place = self.fields[field] if field < len(self.fields) else 0
        return self.at + place + self._unpack("<I", self.at + place) if place else 0

    def table(self, field: int, what: str) -> _Table | None:
        """A table that the field leads to."""
        at = self._target(field)
        return _Table(self.data, at, what) if at else None

    def raw(self, field: int, size: int, most: int) -> bytes:
        """The bytes of a vector of items of `size` bytes, at most `most` of them."""
        at = self._target(field)
        if not at:
            return b""
        length = self._unpack("<I", at)
        if length > most or at + 4 + length * size > len(self.data) or (at + 4) % size:
            raise EncoderError(f"{self.what}: a list of {length} items does not fit")
        return self.data[at + 4 : at + 4 + length * size]

    def text(self, field: int) -> bytes:
        """A string; the zero behind it, which C counts on, is there."""
        found, at = self.raw(field, 1, _MAX_ITEMS), self._target(field)
        if at and self.data[at + 4 + len(found) : at + 5 + len(found)] != b"\0":
            raise EncoderError(f"{self.what}: a text has no end")
        return found

    def integers(self, field: int) -> Shape:
        """A vector of int32."""
        found = self.raw(field, 4, _MAX_ITEMS)
        return struct.unpack(f"<{len(found) // 4}i", found)

    def tables(self, field: int, what: str) -> list[_Table]:
        """A vector of tables."""
        found, at = self.raw(field, 4, _MAX_ITEMS), self._target(field) + 4
        offsets = struct.unpack(f"<{len(found) // 4}I", found)
        return [_Table(self.data, at + 4 * i + offset, f"{what} {i}") for i, offset in enumerate(offsets)]


def parse(data: bytes) -> tuple[Graph, bytes]:
    """The graph in a TFLite file, checked, and the metadata beside it; EncoderError says what is wrong."""
    if len(data) < 8 or data[4:8] != IDENTIFIER:
        raise EncoderError("not a TFLite file")
    model = _Table(data, struct.unpack_from("<I", data)[0], "the model")
    model.only(0, 1, 2, 3, 4, 6)
    model.text(3)
    if (version := model.number(0, "<I")) != 3:
        raise EncoderError(f"TFLite version {version}; this software reads 3")
    contents = [_content(table) for table in model.tables(4, "buffer")]
    graphs = model.tables(2, "graph")
    if len(graphs) != 1:
        raise EncoderError(f"{len(graphs)} graphs; expected one")
    graph = _graph(graphs[0], [_operator(table) for table in model.tables(1, "operator code")], contents)
    check(graph, RULES)
    return graph, _metadata(model, contents)


def _content(table: _Table) -> bytes:
    table.only(0)
    return table.raw(0, 1, len(table.data))


def _metadata(model: _Table, contents: list[bytes]) -> bytes:
    notes = model.tables(6, "metadata")
    for note in notes:
        note.only(0, 1)
    if len(notes) != 1 or notes[0].text(0) != METADATA:
        raise EncoderError("it has no metadata of swath's: export it with swath-ground encoder export")
    return _at(contents, notes[0].number(1, "<I"), "metadata")


def _at(contents: list[bytes], number: int, what: str) -> bytes:
    if number >= len(contents):
        raise EncoderError(f"{what}: buffer {number} of {len(contents)}")
    return contents[number]


def _operator(table: _Table) -> str:
    table.only(0, 2, 3)
    code = max(table.number(0, "<b"), table.number(3, "<i"))
    if code not in _OPERATORS:
        raise EncoderError(f"operator {code} is not one of {', '.join(_OPERATORS.values())}")
    return _OPERATORS[code]


def _graph(table: _Table, codes: list[str], contents: list[bytes]) -> Graph:
    table.only(0, 1, 2, 3, 4)
    table.text(4)
    tensors = {f"{i}": _tensor(each, contents) for i, each in enumerate(table.tables(0, "tensor"))}
    ends = table.integers(1), table.integers(2)
    if len(ends[0]) != 1 or len(ends[1]) != 1:
        raise EncoderError(f"{len(ends[0])} inputs and {len(ends[1])} outputs; expected one each")
    operators = [_application(each, codes) for each in table.tables(3, "operator")]
    return Graph("tflite", operators, tensors, f"{ends[0][0]}", f"{ends[1][0]}")


def _tensor(table: _Table, contents: list[bytes]) -> Tensor:
    table.only(0, 1, 2, 3, 4)
    table.text(3)
    kind = table.number(1, "<b")
    if kind not in _KINDS:
        raise EncoderError(f"{table.what}: type {kind} is not one of {', '.join(_KINDS.values())}")
    number = table.number(2, "<I")
    data = _at(contents, number, table.what) if number else None
    scale = table.table(4, f"{table.what}, scale")
    if scale is None:
        return Tensor(table.integers(0), _KINDS[kind], data)
    scale.only(2, 3, 6)
    scales, zeros = len(scale.raw(2, 4, _MAX_ITEMS)) // 4, len(scale.raw(3, 8, _MAX_ITEMS)) // 8
    axis = scale.number(6, "<i")
    if scales != zeros or axis < 0:
        raise EncoderError(f"{table.what}: {scales} scales and {zeros} zero points along axis {axis}")
    return Tensor(table.integers(0), _KINDS[kind], data, scales, axis)


def _application(table: _Table, codes: list[str]) -> Operator:
    table.only(0, 1, 2, 3, 4)
    number, inputs, outputs = table.number(0, "<I"), table.integers(1), table.integers(2)
    if number >= len(codes) or len(outputs) != 1:
        raise EncoderError(f"{table.what}: code {number} of {len(codes)}, {len(outputs)} outputs")
    name = codes[number]
    union, fields = _SETTINGS[name]
    options = table.table(4, f"settings of {name}")
    if table.number(3, "<B") != union or options is None:
        raise EncoderError(f"{name} has not its own settings")
    options.only(*fields)
    settings = {key: options.number(field, form, default) for field, (key, form, default) in fields.items()}
    return Operator(name, tuple(map(str, inputs)), f"{outputs[0]}", settings)


# What each operator makes. Activations are (1, rows, columns, channels).

_INTEGERS, _FLOATS = ("int8", "int8", "int32"), ("float32", "float32", "float32")
_NONE, _RELU, _SAME, _VALID = 0, 1, 0, 1


def _activated(operator: Operator, *known: int) -> None:
    if operator.number("activation", _NONE) not in known:
        raise EncoderError(f"{operator.name}: activation {operator.settings['activation']} is not known")


def _sides(operator: Operator, x: Shape, sizes: Shape) -> list[int]:
    """Rows and columns of what a kernel makes."""
    steps = [operator.number("stride_h", 0), operator.number("stride_w", 0)]
    if [operator.number("dilation_h", 1), operator.number("dilation_w", 1)] != [1, 1]:
        raise EncoderError(f"{operator.name}: a dilated kernel is not known")
    padding = operator.number("padding", _SAME)
    if padding not in (_SAME, _VALID):
        raise EncoderError(f"{operator.name}: padding {padding} is not known")
    lengths = [n + size - 1 if padding == _SAME else n for n, size in zip(x[1:3], sizes, strict=True)]
    return [stepped(operator, *each) for each in zip(lengths, sizes, steps, strict=True)]


def _convolution(operator: Operator, inputs: list[Tensor]) -> tuple[Shape, str]:
    x, kernel, bias = taking(operator, inputs, _INTEGERS, _FLOATS)
    _activated(operator, _NONE, _RELU)
    fits = len(x) == len(kernel) == 4 and x[0] == 1 and kernel[3] == x[3] and bias == kernel[:1]
    if not fits or inputs[1].data is None or inputs[2].data is None:
        raise EncoderError(f"{operator.name} of {x} with kernel {kernel} and bias {bias} is not known")
    return (1, *_sides(operator, x, kernel[1:3]), kernel[0]), inputs[0].kind


def _depthwise(operator: Operator, inputs: list[Tensor]) -> tuple[Shape, str]:
    x, kernel, bias = taking(operator, inputs, _INTEGERS, _FLOATS)
    _activated(operator, _NONE, _RELU)
    fits = len(x) == len(kernel) == 4 and x[0] == kernel[0] == 1 and bias == kernel[3:]
    if not fits or kernel[3] != x[3] * operator.number("multiplier", 0) or None in (inputs[1].data, inputs[2].data):
        raise EncoderError(f"{operator.name} of {x} with kernel {kernel} and bias {bias} is not known")
    return (1, *_sides(operator, x, kernel[1:3]), kernel[3]), inputs[0].kind


def _pad(operator: Operator, inputs: list[Tensor]) -> tuple[Shape, str]:
    x, table = taking(operator, inputs, ("int8", "int32"), ("float32", "int32"))
    data = inputs[1].data
    if data is None or table != (len(x), 2):
        raise EncoderError(f"{operator.name} of {x} by a table of {table} is not known")
    pads = struct.unpack(f"<{2 * len(x)}i", data)
    if not all(0 <= pad <= MAX_PAD for pad in pads):
        raise EncoderError(f"{operator.name} by {pads}; at most {MAX_PAD} on a side")
    return tuple(n + pads[2 * i] + pads[2 * i + 1] for i, n in enumerate(x)), inputs[0].kind


def _turned(kind: str, *kinds: tuple[str, ...]) -> Callable[[Operator, list[Tensor]], tuple[Shape, str]]:
    """A rule: the same values as another type."""
    return lambda operator, inputs: (taking(operator, inputs, *kinds)[0], kind)


def _both(operator: Operator, inputs: list[Tensor]) -> tuple[Shape, str]:
    _activated(operator, _NONE, _RELU)
    kinds = [("float32", "float32")] + [("int8", "int8")] * (operator.name == "ADD")
    return together(operator, inputs, *kinds)


RULES = {
    "CONV_2D": _convolution,
    "DEPTHWISE_CONV_2D": _depthwise,
    "PAD": _pad,
    "ADD": _both,
    "MUL": _both,
    "SUB": _both,
    "CAST": _turned("float32", ("uint8",)),
    "QUANTIZE": _turned("int8", ("uint8",)),
    "DEQUANTIZE": _turned("float32", ("int8",)),
}
