"""A frozen encoder as exporters write it: in floats, or in integers.

In integers a real value r is an integer q by r = scale (q - zero) (Jacob et al. 2018, arXiv 1712.05877, equation 1):
int8 weights with a scale a channel, int8 activations with one a layer, int32 sums. Bytes of the chip are the first
activations, with scale 1 and the encoder's mean as zero. Every component of the embedding has a scale of its own, from
`low` to `top` in 255 steps: the last layer is scaled so that its sums are the embedding's 8 bits.

All exporters write the same network, so their files compute the same, and `Network.embed` is the oracle of both.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ground.encoders.frozen import Conv, Floats, Frozen, FrozenError, convolved
from ground.encoders.rounding import along_in, reaches, rounded, second_moments

MIN_CHIPS = 16
# Weights go so far either side of 0. With 63, two products of a byte and a weight fit into int16, where some processors
# add them: so all compute the same bits. And fewer levels take fewer bytes on the link.
LEVELS = 63
_LOWEST, _HIGHEST = -128, 127
_BATCH = 16
_SHARES = (1.0, 0.9, 0.8, 0.7)  # of the greatest values, that a scale may reach
_SAMPLES = 1_000_000
_CANDIDATES, _STRETCH = 500, 0.05  # scales that are tried, and by how much they may be larger
Doubles = NDArray[np.float64]


@dataclass(frozen=True)
class Scale:
    """How integers stand for activations: value = scale (q - zero)."""

    scale: float
    zero: int

    def quantise(self, values: Doubles) -> Doubles:
        """The nearest integers, even ones where two are as near, within int8."""
        return np.clip(np.rint(values / self.scale) + self.zero, _LOWEST, _HIGHEST)

    def real(self, integers: Doubles) -> Doubles:
        """What integers stand for."""
        return self.scale * (integers - self.zero)


@dataclass(frozen=True)
class Layer:
    """A layer as it is written.

    Attributes:
        conv: the layer that it stands for; its kernel and bias count no more.
        kernel, bias: float32, or int8 and int32 (in units of the sums), shaped as the layer's. What divides the chip's
            bytes is in the first kernel.
        scales: float32 (channels out,), what 1 in the kernel stands for; None in floats, as `out` and `summed`.
        out: the activations that it makes.
        summed: those of the convolution alone, where another layer is added to it; else `out`.
    """

    conv: Conv
    kernel: NDArray[Any]
    bias: NDArray[Any]
    scales: Floats | None = None
    out: Scale | None = None
    summed: Scale | None = None


@dataclass(frozen=True)
class Network:
    """What is written: layers; in integers, the last one's activations q become the embedding q x step + offset."""

    frozen: Frozen
    layers: tuple[Layer, ...]
    step: Floats | None = None
    offset: Floats | None = None

    @property
    def precision(self) -> str:
        """ "fp32" or "int8"."""
        return "fp32" if self.step is None else "int8"

    @property
    def chip(self) -> Scale:
        """The chip's bytes, less 128."""
        return Scale(1.0, self.frozen.mean - 128)

    def embed(self, chips: NDArray[np.uint8]) -> Floats:
        """Embedding grids, float32 (n, rows, cols, width), of uint8 chips (n, height, width, bands)."""
        if self.step is None or self.offset is None:
            return self.frozen.embed(chips)
        parts = [self.run(chips[i : i + _BATCH]) for i in range(0, len(chips), _BATCH)]
        return np.concatenate(parts).astype(np.float32) * self.step + self.offset

    def run(self, chips: NDArray[np.uint8]) -> NDArray[np.int8]:
        """The last activations in integers, int8 (n, rows, cols, width)."""
        self.frozen.shapes(*chips.shape[1:3])
        x, at = chips.astype(np.float64) - 128, self.chip
        made: list[tuple[Doubles, Scale]] = []
        for layer in self.layers:
            conv, out, summed = layer.conv, layer.out, layer.summed
            if out is None or summed is None or layer.scales is None:
                raise FrozenError("the network is not in integers")
            whole = Conv(layer.kernel.astype(np.float32), np.zeros_like(conv.bias), conv.stride, conv.groups)
            sums = convolved(x - at.zero, whole) + layer.bias
            x = np.rint(sums.astype(np.float32) * (layer.scales * np.float32(at.scale) / np.float32(summed.scale)))
            x = x.astype(np.float64) + summed.zero
            if conv.add is None:
                x = np.clip(np.maximum(x, out.zero) if conv.relu else x, _LOWEST, _HIGHEST)
            else:
                real = summed.real(np.clip(x, _LOWEST, _HIGHEST)) + made[conv.add][1].real(made[conv.add][0])
                x = out.quantise(np.maximum(real, 0) if conv.relu else real)
            made.append((x, out))
            at = out
        return x.astype(np.int8)


def in_floats(frozen: Frozen) -> Network:
    """The encoder as it is."""
    layers = [Layer(conv, conv.kernel, conv.bias) for conv in frozen.layers]
    first = frozen.layers[0]
    layers[0] = Layer(first, (first.kernel / along_in(frozen.std, first)).astype(np.float32), first.bias)
    return Network(frozen, tuple(layers))


def in_integers(frozen: Frozen, chips: NDArray[np.uint8], levels: int = LEVELS) -> Network:
    """The encoder in integers, as it fits calibration chips, uint8 (n, height, width, bands).

    Layer after layer, the chips go through the integers so far: they give the reach of activations, what weights are
    rounded by, and what a bias has to make good. FrozenError for too few chips.
    """
    if len(chips) < MIN_CHIPS:
        raise FrozenError(f"{len(chips)} chips to calibrate with; at least {MIN_CHIPS} are needed")
    frozen.shapes(*chips.shape[1:3])
    step = (frozen.top - frozen.low) / np.float32(255)
    offset = frozen.low + np.float32(128) * step
    at, layers, made = Scale(1.0, frozen.mean - 128), list[Layer](), list[tuple[Doubles, Doubles]]()
    true = real = chips.astype(np.float64) - frozen.mean  # activations in floats, and as the integers have them
    stretch = frozen.std.astype(np.float64)  # of what comes in, by channels
    stretches = [*_stretches(frozen, chips), 1 / step.astype(np.float64)]
    for i, conv in enumerate(frozen.layers):
        kernel, bias = conv.kernel / along_in(stretch, conv), conv.bias.astype(np.float64)
        alone = convolved(true, _plain(kernel, conv)) + bias
        true = alone if conv.add is None else alone + made[conv.add][0] / stretches[i]
        true = np.maximum(true, 0) if conv.relu else true
        last, stretch = i == len(frozen.layers) - 1, stretches[i]
        if last:
            bias, alone = bias - offset, alone - offset
        kernel, bias, true, alone = kernel * stretch, bias * stretch, true * stretch, alone * stretch
        scales = np.maximum(np.abs(kernel).max((0, 1, 2)) / levels, 1e-12).astype(np.float32)
        integers = rounded(kernel, scales.astype(np.float64), levels, second_moments(real, conv))
        sums = convolved(real, _plain(integers * scales, conv))
        bias = bias + (alone - bias - sums).mean((0, 1, 2))
        units = np.rint(bias / (scales * np.float32(at.scale)))
        if np.abs(units).max() >= 2**30:
            raise FrozenError(f"layer {i} has a bias that its weights are too small for")
        real = sums + units * (scales * np.float32(at.scale))
        if conv.add is not None:
            summed = _scale(real)
            real = summed.real(summed.quantise(real)) + made[conv.add][1]
        real = np.maximum(real, 0) if conv.relu else real
        out = Scale(1.0, 0) if last else _scale(real)
        if conv.add is not None:
            out = _without_ties(out, summed, layers[conv.add])
        real = out.real(out.quantise(real))
        made.append((true, real))
        layer = Layer(conv, integers.astype(np.int8), units.astype(np.int32), scales, out, out)
        layers.append(layer if conv.add is None else replace(layer, summed=summed))
        at = out
    return Network(frozen, tuple(layers), step, offset)


def _plain(kernel: Doubles, conv: Conv) -> Conv:
    """A convolution with this kernel and no bias."""
    return Conv(kernel.astype(np.float32), np.zeros_like(conv.bias), conv.stride, conv.groups)


def _stretches(frozen: Frozen, chips: NDArray[np.uint8]) -> list[Doubles]:
    """How much each channel of each layer but the last is stretched, so that all reach equally far.

    Layers that are added to each other are stretched alike.
    """
    found = [reaches(made) for made in frozen.outputs(chips)[:-1]]
    for i, layer in reversed(list(enumerate(frozen.layers))):
        if layer.add is not None:
            found[layer.add] = np.maximum(found[layer.add], found[i])
    for i, layer in enumerate(frozen.layers):
        if layer.add is not None:
            found[i] = found[layer.add]
    return [float(each.max()) / np.maximum(each, 1e-3 * float(each.max())) for each in found]


def _scale(values: Doubles) -> Scale:
    """The scale by which rounding and clipping changes values least, in the mean square; 0 is one of its integers."""
    low, top = min(0.0, float(values.min())), max(float(values.max()), 1e-9)
    sample = values.ravel()[:: max(1, values.size // _SAMPLES)]
    scales = [_between(share * low, share * top) for share in _SHARES]
    return min(scales, key=lambda scale: float(np.square(scale.real(scale.quantise(sample)) - sample).sum()))


def _without_ties(out: Scale, summed: Scale, other: Layer) -> Scale:
    """A scale a little larger than `out`, by which no sum of two integers falls near the middle of two integers.

    Runtimes add in floats or in fixed point, with errors that only there lead to another integer.
    """
    integers = np.arange(_LOWEST, _HIGHEST + 1, dtype=np.float64)
    sums = np.add.outer(summed.real(integers), (other.out or out).real(integers)).ravel()
    best, room = out, 0.0
    for i in range(_CANDIDATES):
        scale = float(np.float32(out.scale * (1 + _STRETCH * i / _CANDIDATES)))
        inside = sums[np.abs(sums / scale + out.zero) < _HIGHEST + 1] / scale
        found = float(np.abs(inside - np.floor(inside) - 0.5).min())
        if found > room:
            best, room = Scale(scale, out.zero), found
    return best


def _between(low: float, top: float) -> Scale:
    """A scale whose integers reach from `low` to `top`."""
    scale = float(np.float32((top - low) / (_HIGHEST - _LOWEST)))
    return Scale(scale, int(np.clip(np.rint(_LOWEST - low / scale), _LOWEST, _HIGHEST)))
