"""ONNX files, built node by node, in integers as pairs of QuantizeLinear and DequantizeLinear that runtimes fuse.

The graph takes a chip of bytes (1, height, width, bands) and gives its embedding grid, float32 (1, rows, cols, width),
as the TFLite file does.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ground.encoders.needs import module
from ground.encoders.network import Layer, Network, Scale

METADATA = "swath"
OPSET, IR_VERSION = 17, 9  # read by ONNX Runtime since 1.13
_TO_PLANES, _TO_PIXELS = [0, 3, 1, 2], [0, 2, 3, 1]


@dataclass
class _Graph:
    """A graph in the making; every node makes one value, which has its name."""

    onnx: Any
    nodes: list[Any] = field(default_factory=list)
    constants: list[Any] = field(default_factory=list)

    def node(self, operator: str, inputs: list[str], name: str, **attributes: Any) -> str:
        """Add a node; the name of what it makes."""
        self.nodes.append(self.onnx.helper.make_node(operator, inputs, [name], name, **attributes))
        return name

    def constant(self, name: str, data: Any, dtype: Any = None) -> str:
        """Add a constant; its name."""
        self.constants.append(self.onnx.numpy_helper.from_array(np.ascontiguousarray(data, dtype).copy(), name))
        return name

    def scalar(self, name: str, value: float, dtype: Any) -> str:
        """Add a constant without an axis; its name."""
        self.constants.append(self.onnx.numpy_helper.from_array(np.array(value, dtype), name))
        return name

    def scale(self, name: str, scale: Scale) -> list[str]:
        """The two constants of a scale; activations are uint8 here, since ONNX Runtime fuses more of those."""
        zero = self.scalar(f"{name}-zero", scale.zero + 128, np.uint8)
        return [self.scalar(f"{name}-scale", scale.scale, np.float32), zero]

    def quantised(self, x: str, name: str, scale: Scale) -> str:
        """A value rounded to integers, and its real value again."""
        of = self.scale(name, scale)
        return self.node("DequantizeLinear", [self.node("QuantizeLinear", [x, *of], f"{name}-int"), *of], name)

    def weights(self, name: str, data: NDArray[Any], scales: NDArray[np.float32] | None) -> str:
        """A constant, or what integers with a scale a channel stand for."""
        if scales is None:
            return self.constant(name, data)
        of = [self.constant(f"{name}-int", data), self.constant(f"{name}-scales", scales)]
        zeros = self.constant(f"{name}-zeros", np.zeros(len(scales)), data.dtype)
        return self.node("DequantizeLinear", [*of, zeros], name, axis=0)


def write(network: Network, height: int, width: int, metadata: bytes) -> bytes:
    """The network for chips of this size, as an ONNX file with `metadata` in it."""
    onnx = module("onnx")
    helper, kinds = onnx.helper, onnx.TensorProto
    graph, frozen = _Graph(onnx), network.frozen
    chip, *_, grid = frozen.shapes(height, width)
    x, at = graph.node("Transpose", ["chip"], "planes", perm=_TO_PLANES), None
    if network.step is not None:
        at = network.chip
        x = graph.node("DequantizeLinear", [x, *graph.scale("planes", at)], "centred")
    else:
        x = graph.node("Cast", [x], "real", to=kinds.FLOAT)
        x = graph.node("Sub", [x, graph.scalar("mean", frozen.mean, np.float32)], "centred")
    made: list[str] = []
    for i, layer in enumerate(network.layers):
        x = _layer(graph, f"layer{i}", layer, x, at, made)
        made.append(x)
        at = layer.out
    x = graph.node("Transpose", [x], "pixels", perm=_TO_PIXELS)
    if network.step is not None and network.offset is not None:
        x = graph.node("Mul", [x, graph.constant("step", network.step)], "stretched")
        x = graph.node("Add", [x, graph.constant("offset", network.offset)], "moved")
    inputs = [helper.make_tensor_value_info("chip", kinds.UINT8, [1, *chip])]
    outputs = [helper.make_tensor_value_info(x, kinds.FLOAT, [1, *grid])]
    made_graph = helper.make_graph(graph.nodes, frozen.name, inputs, outputs, graph.constants)
    opsets = [helper.make_opsetid("", OPSET)]
    model = helper.make_model(made_graph, opset_imports=opsets, ir_version=IR_VERSION, producer_name="swath")
    helper.set_model_props(model, {METADATA: metadata.decode()})
    onnx.checker.check_model(model, full_check=True)
    return bytes(model.SerializeToString(deterministic=True))


def _layer(graph: _Graph, name: str, layer: Layer, x: str, at: Scale | None, made: list[str]) -> str:
    """Convolution and what is added; the name of what comes out. `at` is the scale of what comes in."""
    conv, (size, step) = layer.conv, (layer.conv.kernel.shape[0], layer.conv.stride)
    sums = None if layer.scales is None or at is None else (layer.scales * np.float32(at.scale)).astype(np.float32)
    inputs = [
        x,
        graph.weights(f"{name}-kernel", layer.kernel.transpose(3, 2, 0, 1), layer.scales),
        graph.weights(f"{name}-bias", layer.bias, sums),
    ]
    pads = [size // 2] * 4
    sizes = {"kernel_shape": [size, size], "strides": [step, step], "pads": pads, "group": conv.groups}
    x = graph.node("Conv", inputs, f"{name}-sum", **sizes)
    if conv.add is not None:
        if layer.summed is not None:
            x = graph.quantised(x, f"{name}-alone", layer.summed)
        x = graph.node("Add", [x, made[conv.add]], f"{name}-both")
    if conv.relu:
        x = graph.node("Relu", [x], f"{name}-relu")
    return x if layer.out is None else graph.quantised(x, name, layer.out)
