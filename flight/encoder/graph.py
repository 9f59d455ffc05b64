"""A network as its operators and the shapes of its tensors, whatever file it came in; and what a network may hold.

A file may hold only operators that exporters write, on tensors of fixed shapes, each made before it is used. Shapes are
worked out anew here, so that a file cannot make a runtime allocate more than is summed up below.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from math import prod

Shape = tuple[int, ...]
BYTES = {"uint8": 1, "int8": 1, "int32": 4, "float32": 4}
MAX_OPERATORS, MAX_TENSORS, MAX_AXES, MAX_SIDE = 512, 2048, 4, 1 << 16
MAX_STEP, MAX_PAD = 8, 16


class EncoderError(ValueError):
    """An encoder that cannot be used; the message says what is wrong with it."""


@dataclass(frozen=True)
class Tensor:
    """Its shape and type, and its bytes if it is a constant; a shape of None is still to be worked out."""

    shape: Shape | None
    kind: str
    data: bytes | None = None
    scales: int = 0  # how many scales it has: one, or one for each place along `axis`
    axis: int = 0


@dataclass(frozen=True)
class Operator:
    """What it is called in its format, the names of what goes in and of the one that comes out, and its settings."""

    name: str
    inputs: tuple[str, ...]
    output: str
    settings: Mapping[str, int | Shape] = field(default_factory=dict)

    def number(self, name: str, default: int) -> int:
        """A setting that is one number."""
        value = self.settings.get(name, default)
        if not isinstance(value, int):
            raise EncoderError(f"{self.name}: {name} is not one number")
        return value

    def numbers(self, name: str, default: Shape) -> Shape:
        """A setting that is several."""
        value = self.settings.get(name, default)
        if not isinstance(value, tuple):
            raise EncoderError(f"{self.name}: {name} is not a list")
        return value


@dataclass
class Graph:
    """A network; `macs` are the products that it takes for one chip, and `activations` bytes of what it makes."""

    form: str
    operators: list[Operator]
    tensors: dict[str, Tensor]
    input: str
    output: str
    macs: int = 0
    activations: int = 0
    peak: int = 0  # bytes of activations that are needed at once

    @property
    def weights(self) -> int:
        """Bytes of its constants."""
        return sum(len(tensor.data) for tensor in self.tensors.values() if tensor.data is not None)


Rule = Callable[[Operator, list[Tensor]], tuple[Shape, str]]


def check(graph: Graph, rules: Mapping[str, Rule]) -> None:
    """Follow a graph from its input to its output; EncoderError names the operator that does not fit."""
    if len(graph.operators) > MAX_OPERATORS or len(graph.tensors) > MAX_TENSORS:
        raise EncoderError(f"{len(graph.operators)} operators and {len(graph.tensors)} tensors are too many")
    for name, tensor in graph.tensors.items():
        _check_tensor(name, tensor)
    known = {name: tensor for name, tensor in graph.tensors.items() if tensor.data is not None}
    if graph.input in known or graph.input not in graph.tensors:
        raise EncoderError("the input is not one that is given")
    known[graph.input] = graph.tensors[graph.input]
    last_use = {name: i for i, operator in enumerate(graph.operators) for name in operator.inputs}
    alive: dict[str, int] = {graph.input: _size(known[graph.input])}
    for i, operator in enumerate(graph.operators):
        if operator.name not in rules:
            raise EncoderError(f"operator {operator.name} is not one of {', '.join(sorted(rules))}")
        try:
            inputs = [known[name] for name in operator.inputs]
        except KeyError as error:
            raise EncoderError(f"{operator.name} takes {error.args[0]!r}, which nothing before it makes") from None
        shape, kind = rules[operator.name](operator, inputs)
        declared = graph.tensors.get(operator.output)
        if operator.output in known:
            raise EncoderError(f"{operator.name} makes {operator.output!r}, which is there already")
        if declared is not None and (declared.shape not in (None, shape) or declared.kind != kind):
            raise EncoderError(f"{operator.name} makes {kind} {shape}, declared is {declared.kind} {declared.shape}")
        made = Tensor(shape, kind)
        _check_tensor(operator.output, made)
        known[operator.output] = made
        alive[operator.output] = _size(made)
        graph.activations += _size(made)
        graph.peak = max(graph.peak, sum(alive.values()))
        graph.macs += _products(operator, inputs, made)
        alive = {name: size for name, size in alive.items() if last_use.get(name, -1) > i or name == graph.output}
    if graph.output not in known:
        raise EncoderError("nothing makes the output")
    graph.tensors.update(known)


def _check_tensor(name: str, tensor: Tensor) -> None:
    if tensor.kind not in BYTES:
        raise EncoderError(f"tensor {name!r} is of type {tensor.kind}; known are {', '.join(BYTES)}")
    if tensor.shape is None:
        return
    if len(tensor.shape) > MAX_AXES or not all(1 <= side <= MAX_SIDE for side in tensor.shape):
        raise EncoderError(f"tensor {name!r} of shape {tensor.shape} is not of a fixed, small shape")
    if tensor.data is not None and len(tensor.data) != _size(tensor):
        raise EncoderError(f"tensor {name!r} has {len(tensor.data)} bytes, not {_size(tensor)}")
    if tensor.scales > 1 and (tensor.axis >= len(tensor.shape) or tensor.scales != tensor.shape[tensor.axis]):
        raise EncoderError(f"tensor {name!r} has {tensor.scales} scales, which do not fit {tensor.shape}")


def shape_of(tensor: Tensor) -> Shape:
    """The shape of a tensor that was checked."""
    return tensor.shape or ()


def _size(tensor: Tensor) -> int:
    return prod(shape_of(tensor)) * BYTES[tensor.kind]


def _products(operator: Operator, inputs: list[Tensor], made: Tensor) -> int:
    """Products of a convolution: those of one output value, for all of them."""
    if operator.name not in ("Conv", "CONV_2D", "DEPTHWISE_CONV_2D"):
        return 0
    kernel = shape_of(inputs[1])
    each = prod(kernel[1:3]) if operator.name == "DEPTHWISE_CONV_2D" else prod(kernel[1:])
    return prod(shape_of(made)) * each


# What several rules share


def taking(operator: Operator, inputs: list[Tensor], *kinds: tuple[str, ...]) -> list[Shape]:
    """The shapes of the inputs, whose types must be one of `kinds`."""
    found = tuple(tensor.kind for tensor in inputs)
    if found not in kinds:
        raise EncoderError(f"{operator.name} of {', '.join(found) or 'nothing'} is not known")
    return [shape_of(tensor) for tensor in inputs]


def stepped(operator: Operator, length: int, size: int, step: int) -> int:
    """How often a kernel of `size` fits into `length`, by steps."""
    if not 1 <= step <= MAX_STEP or not 1 <= size <= length:
        raise EncoderError(f"{operator.name}: a kernel of {size} by steps of {step} does not fit {length}")
    return (length - size) // step + 1


def together(operator: Operator, inputs: list[Tensor], *kinds: tuple[str, ...]) -> tuple[Shape, str]:
    """What comes of two tensors, value by value; the second may be one number, or one a place of the last axis."""
    first, second = taking(operator, inputs, *kinds)
    if second not in (first, (), (1,), first[-1:]):
        raise EncoderError(f"{operator.name} of {first} and {second} is not known")
    return first, inputs[0].kind
