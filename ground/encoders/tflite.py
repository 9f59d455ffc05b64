"""TFLite files, written as the flatbuffers that they are, with the schema that LiteRT's package brings.

The graph takes a chip of bytes (1, height, width, bands) and gives its embedding grid, float32 (1, rows, cols, width).
A convolution with a stride is padded beforehand, as a frozen encoder pads it: TFLite's own padding would begin at the
bottom and right.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ground.encoders.needs import module
from ground.encoders.network import Layer, Network, Scale

METADATA = "swath"
IDENTIFIER = b"TFL3"
_VERSIONS = {"CONV_2D": 3, "DEPTHWISE_CONV_2D": 3, "PAD": 2, "ADD": 2, "DEQUANTIZE": 2}  # that know int8; the others: 1


@dataclass
class _Graph:
    """A model in the making; tensors, buffers and operators are numbered as they come."""

    schema: Any
    tensors: list[Any] = field(default_factory=list)
    buffers: list[Any] = field(default_factory=list)
    codes: list[str] = field(default_factory=list)
    operators: list[Any] = field(default_factory=list)

    def activations(self, name: str, shape: tuple[int, ...], kind: str, scale: Scale | None = None) -> int:
        """A tensor that an operator makes."""
        made = self.schema.TensorT()
        made.name, made.shape, made.buffer = name, [1, *shape], 0
        made.type = getattr(self.schema.TensorType, kind.upper())
        if scale is not None:
            made.quantization = self.schema.QuantizationParametersT()
            made.quantization.scale, made.quantization.zeroPoint = [scale.scale], [scale.zero]
        self.tensors.append(made)
        return len(self.tensors) - 1

    def constant(self, name: str, data: NDArray[Any], scales: NDArray[np.float32] | None = None, axis: int = 0) -> int:
        """A tensor with its data; `scales` are along `axis`."""
        made = self.schema.TensorT()
        made.name, made.shape, made.buffer = name, list(data.shape), self.buffer(np.ascontiguousarray(data).tobytes())
        made.type = getattr(self.schema.TensorType, data.dtype.name.upper())
        if scales is not None:
            made.quantization = self.schema.QuantizationParametersT()
            made.quantization.scale, made.quantization.quantizedDimension = scales, axis
            made.quantization.zeroPoint = np.zeros(len(scales), np.int64)
        self.tensors.append(made)
        return len(self.tensors) - 1

    def buffer(self, data: bytes) -> int:
        """A buffer; number 0 is the empty one."""
        for content in [data] if self.buffers else [b"", data]:
            made = self.schema.BufferT()
            made.data = np.frombuffer(content, np.uint8) if content else None
            self.buffers.append(made)
        return len(self.buffers) - 1

    def operator(self, name: str, inputs: list[int], output: int, options: str = "", **values: int) -> int:
        """Add an operator; the number of its output."""
        if name not in self.codes:
            self.codes.append(name)
        made = self.schema.OperatorT()
        made.opcodeIndex, made.inputs, made.outputs = self.codes.index(name), inputs, [output]
        if options:
            made.builtinOptionsType = getattr(self.schema.BuiltinOptions, options)
            made.builtinOptions = getattr(self.schema, f"{options}T")()
            for key, value in values.items():
                setattr(made.builtinOptions, key, value)
        self.operators.append(made)
        return output

    def save(self, inputs: list[int], outputs: list[int], name: str, metadata: bytes) -> bytes:
        """The bytes of the file."""
        schema = self.schema
        graph, model, note = schema.SubGraphT(), schema.ModelT(), schema.MetadataT()
        graph.tensors, graph.operators, graph.inputs, graph.outputs = self.tensors, self.operators, inputs, outputs
        graph.name = name
        note.name, note.buffer = METADATA, self.buffer(metadata)
        model.version, model.subgraphs, model.description = 3, [graph], "swath"
        model.buffers, model.metadata, model.operatorCodes = self.buffers, [note], []
        for code in self.codes:
            made = schema.OperatorCodeT()
            made.builtinCode = getattr(schema.BuiltinOperator, code)
            made.deprecatedBuiltinCode, made.version = min(made.builtinCode, 127), _VERSIONS.get(code, 1)
            model.operatorCodes.append(made)
        builder = module("flatbuffers").Builder(1 << 20)
        builder.Finish(model.Pack(builder), file_identifier=IDENTIFIER)
        return bytes(builder.Output())


def write(network: Network, height: int, width: int, metadata: bytes) -> bytes:
    """The network for chips of this size, as a TFLite file with `metadata` in it."""
    graph = _Graph(module("ai_edge_litert.schema_py_generated"))
    frozen, shapes = network.frozen, network.frozen.shapes(height, width)
    integers = network.step is not None
    kind = "int8" if integers else "float32"
    made: list[int] = []
    if integers:
        bytes_as = Scale(1.0, frozen.mean)
        chip = graph.activations("chip", shapes[0], "uint8", bytes_as)
        x = graph.activations("centred", shapes[0], kind, network.chip)
        graph.operator("QUANTIZE", [chip], x, "QuantizeOptions")
    else:
        chip = graph.activations("chip", shapes[0], "uint8")
        x = graph.operator("CAST", [chip], graph.activations("real", shapes[0], kind), "CastOptions")
        mean = graph.constant("mean", np.array([frozen.mean], np.float32))
        x = graph.operator("SUB", [x, mean], graph.activations("centred", shapes[0], kind), "SubOptions")
    at = network.chip if integers else None
    for i, layer in enumerate(network.layers):
        x = _layer(graph, f"{i}", layer, x, at, shapes[i : i + 2], kind, made)
        made.append(x)
        at = layer.out
    if network.step is not None and network.offset is not None:
        for name, operator, constant in (
            ("embedding", "DEQUANTIZE", None),
            ("stretched", "MUL", network.step),
            ("moved", "ADD", network.offset),
        ):
            inputs = [x] if constant is None else [x, graph.constant(f"{name}-by", constant)]
            options = "DequantizeOptions" if constant is None else f"{operator.title()}Options"
            x = graph.operator(operator, inputs, graph.activations(name, shapes[-1], "float32"), options)
    return graph.save([chip], [x], frozen.name, metadata)


def _layer(
    graph: _Graph,
    name: str,
    layer: Layer,
    x: int,
    at: Scale | None,
    shapes: list[tuple[int, int, int]],
    kind: str,
    made: list[int],
) -> int:
    """Padding, convolution, and what is added; the number of what comes out. `at` is the scale of what comes in."""
    conv, relu = layer.conv, graph.schema.ActivationFunctionType.RELU
    none = graph.schema.ActivationFunctionType.NONE
    (rows, cols, channels), out = shapes
    size, step = conv.kernel.shape[0], conv.stride
    before = size // 2
    after = [max(0, (-(-n // step) - 1) * step + size - n - before) for n in (rows, cols)]
    padding = graph.schema.Padding.SAME
    if step > 1 and size > 1:
        table = np.array([[0, 0], [before, after[0]], [before, after[1]], [0, 0]], np.int32)
        padded = (rows + before + after[0], cols + before + after[1], channels)
        to = graph.activations(f"padded{name}", padded, kind, at)
        x = graph.operator("PAD", [x, graph.constant(f"padding{name}", table)], to, "PadOptions")
        padding = graph.schema.Padding.VALID
    depthwise = conv.groups > 1
    kernel = layer.kernel.transpose(2, 0, 1, 3) if depthwise else layer.kernel.transpose(3, 0, 1, 2)
    sums = None if layer.scales is None or at is None else (layer.scales * np.float32(at.scale)).astype(np.float32)
    inputs = [
        x,
        graph.constant(f"kernel{name}", kernel, layer.scales, 3 if depthwise else 0),
        graph.constant(f"bias{name}", layer.bias, sums),
    ]
    values = {"padding": padding, "strideH": step, "strideW": step}
    values |= {"dilationHFactor": 1, "dilationWFactor": 1}
    values["fusedActivationFunction"] = relu if conv.relu and conv.add is None else none
    to = graph.activations(f"layer{name}", out, kind, layer.summed)
    if depthwise:
        values["depthMultiplier"] = conv.channels_out // conv.groups
        x = graph.operator("DEPTHWISE_CONV_2D", inputs, to, "DepthwiseConv2DOptions", **values)
    else:
        x = graph.operator("CONV_2D", inputs, to, "Conv2DOptions", **values)
    if conv.add is None:
        return x
    to = graph.activations(f"added{name}", out, kind, layer.out)
    return graph.operator(
        "ADD", [x, made[conv.add]], to, "AddOptions", fusedActivationFunction=relu if conv.relu else none
    )
