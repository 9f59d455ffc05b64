"""ONNX files, read strictly: every length is checked, and whatever the exporter does not write is refused.

The wire format is that of Protocol Buffers (protobuf.dev, "Encoding"); numbers of fields are those of onnx.proto. Files
may refer to no other file, to no function and to no operator beyond those below.
"""

from __future__ import annotations

from collections.abc import Iterator

from flight.encoder.graph import (
    MAX_PAD,
    EncoderError,
    Graph,
    Operator,
    Shape,
    Tensor,
    check,
    shape_of,
    stepped,
    taking,
    together,
)

METADATA = b"swath"
OPSETS, IR_VERSIONS = range(13, 22), range(7, 11)
_MAX_ITEMS, _MAX_NAME = 4096, 256
_KINDS = {1: "float32", 2: "uint8", 3: "int8", 6: "int32"}
_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5
_INT, _INTS = 2, 7  # types of attributes

Field = tuple[int, int | bytes]


def parse(data: bytes) -> tuple[Graph, bytes]:
    """The graph in an ONNX file, checked, and the metadata beside it; EncoderError says what is wrong."""
    graph, metadata, opsets = None, None, []
    for number, value in _fields(data, "the model"):
        if number == 1 and value not in IR_VERSIONS:
            raise EncoderError(f"IR version {value!r} is not known")
        if number == 8:
            opsets.append(_opset(_part(value, "an operator set")))
        elif number == 7 and graph is None:
            graph = _graph(_part(value, "the graph"))
        elif number == 14 and metadata is None:
            metadata = _property(_part(value, "metadata"))
        elif number not in (1, 2):
            raise EncoderError(f"the model: field {number} is not known, or twice there")
    if graph is None or len(opsets) != 1:
        raise EncoderError(f"not an ONNX file with one graph and one operator set, but {len(opsets)}")
    if metadata is None:
        raise EncoderError("it has no metadata of swath's: export it with swath-ground encoder export")
    check(graph, RULES)
    return graph, metadata


def _fields(data: bytes, what: str) -> Iterator[Field]:
    """The fields of a message in order: (number, integer or bytes)."""
    at, items = 0, 0
    while at < len(data):
        key, at = _varint(data, at, what)
        number, kind = key >> 3, key & 7
        items += 1
        if items > _MAX_ITEMS:
            raise EncoderError(f"{what}: has more than {_MAX_ITEMS} fields")
        if kind == _VARINT:
            value, at = _varint(data, at, what)
            yield number, value
            continue
        if kind == _BYTES:
            length, at = _varint(data, at, what)
        elif kind in (_FIXED32, _FIXED64):
            length = 4 if kind == _FIXED32 else 8
        else:
            raise EncoderError(f"{what}: not an ONNX file, or damaged")
        if length > len(data) - at:
            raise EncoderError(f"{what}: a field of {length} bytes, and {len(data) - at} are left")
        yield number, data[at : at + length]
        at += length


def _varint(data: bytes, at: int, what: str) -> tuple[int, int]:
    value = 0
    for shift in range(0, 70, 7):
        if at >= len(data):
            break
        byte = data[at]
        at += 1
        value |= (byte & 127) << shift
        if byte < 128:
            return value & ((1 << 64) - 1), at
    raise EncoderError(f"{what}: a number has no end")


def _part(value: int | bytes, what: str) -> bytes:
    if not isinstance(value, bytes):
        raise EncoderError(f"{what}: is a number")
    return value


def _whole(value: int | bytes, what: str) -> int:
    """A signed number."""
    if isinstance(value, bytes):
        raise EncoderError(f"{what}: is not a number")
    return value - (1 << 64) if value >> 63 else value


def _name(value: int | bytes, what: str) -> str:
    try:
        text = _part(value, what).decode("ascii")
    except UnicodeDecodeError:
        raise EncoderError(f"{what}: a name that is not ASCII") from None
    if not 0 < len(text) <= _MAX_NAME:
        raise EncoderError(f"{what}: a name of {len(text)} letters")
    return text


def _numbers(value: int | bytes, what: str) -> list[int]:
    """One of repeated numbers, or several that are packed."""
    if not isinstance(value, bytes):
        return [_whole(value, what)]
    found, at = list[int](), 0
    while at < len(value):
        number, at = _varint(value, at, what)
        found.append(_whole(number, what))
    return found


def _opset(data: bytes) -> int:
    version = 0
    for number, value in _fields(data, "the operator set"):
        if number == 1 and value == b"":
            continue
        if number != 2 or value not in OPSETS:
            raise EncoderError(f"operator set {value!r} is not known; {OPSETS[0]} to {OPSETS[-1]} of ONNX itself are")
        version = _whole(value, "the operator set")
    return version


def _property(data: bytes) -> bytes:
    found = dict(_fields(data, "metadata"))
    if set(found) != {1, 2} or found[1] != METADATA:
        raise EncoderError("it has other metadata than swath's")
    return _part(found[2], "metadata")


def _graph(data: bytes) -> Graph:
    operators, tensors = list[Operator](), dict[str, Tensor]()
    ends: dict[int, list[str]] = {11: [], 12: []}
    for number, value in _fields(data, "the graph"):
        if number == 2:
            continue
        part = _part(value, "the graph")
        if number == 1:
            operators.append(_operator(part))
            continue
        if number == 5:
            name, tensor = _constant(part)
        elif number in ends:
            name, tensor = _end(part)
            ends[number].append(name)
        else:
            raise EncoderError(f"the graph: field {number} is not known")
        if name in tensors:
            raise EncoderError(f"tensor {name!r} is twice there")
        tensors[name] = tensor
    if [len(names) for names in ends.values()] != [1, 1]:
        raise EncoderError(f"{len(ends[11])} inputs and {len(ends[12])} outputs; expected one each")
    return Graph("onnx", operators, tensors, ends[11][0], ends[12][0])


def _operator(data: bytes) -> Operator:
    inputs, outputs, kind = list[str](), list[str](), ""
    settings: dict[str, int | Shape] = {}
    for number, value in _fields(data, "a node"):
        if number == 1:
            inputs.append(_name(value, "a node"))
        elif number == 2:
            outputs.append(_name(value, "a node"))
        elif number == 4:
            kind = _name(value, "a node")
        elif number == 5:
            settings.update([_setting(_part(value, "a setting"))])
        elif number != 3:
            raise EncoderError(f"a node: field {number} is not known")
    if len(outputs) != 1:
        raise EncoderError(f"{kind} with {len(outputs)} outputs; expected one")
    return Operator(kind, tuple(inputs), outputs[0], settings)


def _setting(data: bytes) -> tuple[str, int | Shape]:
    name, kind, one, many = "", 0, 0, list[int]()
    for number, value in _fields(data, "a setting"):
        if number == 1:
            name = _name(value, "a setting")
        elif number == 20:
            kind = _whole(value, "a setting")
        elif number == 3:
            one = _whole(value, "a setting")
        elif number == 8:
            many += _numbers(value, "a setting")
        else:
            raise EncoderError(f"setting {name!r}: field {number} is not known")
    if kind not in (_INT, _INTS):
        raise EncoderError(f"setting {name!r} is not of whole numbers")
    return name, one if kind == _INT else tuple(many)


def _constant(data: bytes) -> tuple[str, Tensor]:
    shape, kind, name, content = list[int](), 0, "", b""
    for number, value in _fields(data, "a constant"):
        if number == 1:
            shape += _numbers(value, "a constant")
        elif number == 2:
            kind = _whole(value, "a constant")
        elif number == 8:
            name = _name(value, "a constant")
        elif number == 9:
            content = _part(value, "a constant")
        else:
            raise EncoderError(f"constant {name!r}: field {number} is not known")
    if kind not in _KINDS:
        raise EncoderError(f"constant {name!r}: type {kind} is not one of {', '.join(_KINDS.values())}")
    return name, Tensor(tuple(shape), _KINDS[kind], content)


def _end(data: bytes) -> tuple[str, Tensor]:
    """The input or the output: its name, type and shape."""
    found = dict(_fields(data, "an end"))
    if set(found) != {1, 2}:
        raise EncoderError("an end of the graph has not just a name and a type")
    name, kind, shape = _name(found[1], "an end"), 0, list[int]()
    of_type = dict(_fields(_part(found[2], name), name))
    if set(of_type) != {1}:
        raise EncoderError(f"{name!r} is not a tensor")
    for number, value in _fields(_part(of_type[1], name), name):
        if number == 1:
            kind = _whole(value, name)
            continue
        for each, side in _fields(_part(value, name), name):
            sides = dict(_fields(_part(side, name), name))
            if number != 2 or each != 1 or set(sides) != {1}:
                raise EncoderError(f"{name!r} has no fixed shape")
            shape.append(_whole(sides[1], name))
    if kind not in _KINDS:
        raise EncoderError(f"{name!r}: type {kind} is not one of {', '.join(_KINDS.values())}")
    return name, Tensor(tuple(shape), _KINDS[kind])


# What each operator makes. Activations are (1, channels, rows, columns), or as the chip (1, rows, columns, channels).


def _allowed(operator: Operator, *names: str) -> None:
    if others := set(operator.settings) - set(names):
        raise EncoderError(f"{operator.name}: setting {min(others)!r} is not known")


def _conv(operator: Operator, inputs: list[Tensor]) -> tuple[Shape, str]:
    _allowed(operator, "kernel_shape", "strides", "pads", "group")
    x, kernel, bias = taking(operator, inputs, ("float32",) * 3)
    steps, pads = operator.numbers("strides", (1, 1)), operator.numbers("pads", (0,) * 4)
    group = operator.number("group", 1)
    fits = len(x) == len(kernel) == 4 and len(steps) == 2 and len(pads) == 4 and x[0] == 1 and bias == kernel[:1]
    fits = fits and group >= 1 and kernel[1] * group == x[1] and kernel[0] % group == 0
    if not fits or operator.numbers("kernel_shape", kernel[2:]) != kernel[2:]:
        raise EncoderError(f"{operator.name} of {x} with kernel {kernel} and bias {bias} is not known")
    if not all(0 <= pad <= MAX_PAD for pad in pads):
        raise EncoderError(f"{operator.name}: pads {pads}; at most {MAX_PAD} on a side")
    lengths = [x[2] + pads[0] + pads[2], x[3] + pads[1] + pads[3]]
    sides = [stepped(operator, *each) for each in zip(lengths, kernel[2:], steps, strict=True)]
    return (1, kernel[0], *sides), "float32"


def _scales(operator: Operator, inputs: list[Tensor]) -> None:
    """Scale and zero point are constants: single ones, or one for each place along the first axis."""
    _allowed(operator, "axis")
    x, scale, zero = (shape_of(tensor) for tensor in inputs)
    along = operator.number("axis", 0) == 0 and scale == zero == x[:1] and operator.name == "DequantizeLinear"
    if not (scale == zero == () or along) or None in (inputs[1].data, inputs[2].data):
        raise EncoderError(f"{operator.name} of {x} by scales {scale} and zero points {zero} is not known")


def _quantise(operator: Operator, inputs: list[Tensor]) -> tuple[Shape, str]:
    taking(operator, inputs, ("float32", "float32", "uint8"))
    _scales(operator, inputs)
    return shape_of(inputs[0]), "uint8"


def _dequantise(operator: Operator, inputs: list[Tensor]) -> tuple[Shape, str]:
    taking(operator, inputs, *((kind, "float32", kind) for kind in ("uint8", "int8", "int32")))
    _scales(operator, inputs)
    return shape_of(inputs[0]), "float32"


def _cast(operator: Operator, inputs: list[Tensor]) -> tuple[Shape, str]:
    _allowed(operator, "to")
    (x,) = taking(operator, inputs, ("uint8",))
    if operator.number("to", 0) != 1:
        raise EncoderError(f"Cast to type {operator.number('to', 0)} is not known")
    return x, "float32"


def _transpose(operator: Operator, inputs: list[Tensor]) -> tuple[Shape, str]:
    _allowed(operator, "perm")
    (x,) = taking(operator, inputs, ("uint8",), ("float32",))
    order = operator.numbers("perm", ())
    if sorted(order) != list(range(len(x))):
        raise EncoderError(f"Transpose of {x} by {order} is not known")
    return tuple(x[i] for i in order), inputs[0].kind


def _relu(operator: Operator, inputs: list[Tensor]) -> tuple[Shape, str]:
    _allowed(operator)
    return taking(operator, inputs, ("float32",))[0], "float32"


def _both(operator: Operator, inputs: list[Tensor]) -> tuple[Shape, str]:
    _allowed(operator)
    return together(operator, inputs, ("float32", "float32"))


RULES = {
    "Conv": _conv,
    "QuantizeLinear": _quantise,
    "DequantizeLinear": _dequantise,
    "Cast": _cast,
    "Transpose": _transpose,
    "Relu": _relu,
    "Add": _both,
    "Mul": _both,
    "Sub": _both,
}
