"""Convolutional networks sized for flight: from 20,000 to 400,000 parameters, a grid of embeddings out of a chip.

Every layer is a convolution with odd kernel and symmetric zero padding, batch norm and ReLU, some with a shortcut
around it; the last one is 1 x 1 with neither, so that it is linear in what the layers before have found. A cell of the
grid stands for 8 x 8 pixels, and the work is done where the grid is coarse: that is what keeps a 96-pixel chip below
half a millisecond. Nothing here needs an operator that small runtimes lack.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn

STRIDE_PX = 8
POOL_EPSILON = 1e-4  # of variances, below what one digital number makes


@dataclass(frozen=True)
class Layer:
    """A convolution, batch norm and ReLU; `shortcut` adds the layer's input to its output before the ReLU."""

    channels: int
    kernel: int = 3
    stride: int = 1
    shortcut: bool = False


@dataclass(frozen=True)
class Architecture:
    """Layers of a network, and the width of its embeddings."""

    layers: tuple[Layer, ...]
    width: int


def _deep(a: int, b: int, c: int, d: int, width: int, more: int = 1) -> Architecture:
    """Three layers that halve the sides, then some on the grid, where they are cheap and see far."""
    halving = (Layer(a, stride=2), Layer(b, stride=2), Layer(c, stride=2))
    return Architecture((*halving, Layer(d), *(Layer(d, shortcut=True) for _ in range(more))), width)


ARCHITECTURES = {
    "tiny": _deep(16, 24, 32, 32, width=32, more=0),
    "small": _deep(16, 24, 40, 48, width=32),
    "flight": _deep(16, 32, 48, 56, width=48),
    "large": _deep(32, 64, 96, 128, width=64),
}


class Network(nn.Module):
    """Standardised chips (n, bands, height, width) to embeddings (n, width, rows, cols)."""

    def __init__(self, bands: int, architecture: Architecture) -> None:
        super().__init__()
        self.bands, self.architecture = bands, architecture
        self.convolutions, self.norms = nn.ModuleList(), nn.ModuleList()
        channels = bands
        for layer in architecture.layers:
            if layer.shortcut and (layer.channels, layer.stride) != (channels, 1):
                raise ValueError(
                    f"a shortcut cannot join {channels} channels to {layer.channels} at stride {layer.stride}"
                )
            self.convolutions.append(
                nn.Conv2d(channels, layer.channels, layer.kernel, layer.stride, layer.kernel // 2, bias=False)
            )
            self.norms.append(nn.BatchNorm2d(layer.channels))
            channels = layer.channels
        self.projection = nn.Conv2d(channels, architecture.width, 1)

    def features(self, x: Tensor) -> Tensor:
        """What the last ReLU lets through, (n, channels, rows, cols)."""
        for layer, convolution, norm in zip(self.architecture.layers, self.convolutions, self.norms, strict=True):
            y = norm(convolution(x))
            x = torch.relu(y + x if layer.shortcut else y)
        return x

    @property
    def stride(self) -> int:
        """Pixels from one cell of the grid to the next."""
        return math.prod(layer.stride for layer in self.architecture.layers)

    def forward(self, x: Tensor) -> Tensor:
        """Embeddings, (n, width, rows, cols)."""
        embeddings: Tensor = self.projection(self.features(x))
        return embeddings


def pooled(grid: Tensor) -> Tensor:
    """Mean and standard deviation over the grid: (n, width, rows, cols) to (n, 2 * width), in float32."""
    flat = grid.float().flatten(2)
    mean = flat.mean(2)
    deviation = (flat - mean[:, :, None]).square().mean(2) + POOL_EPSILON
    return torch.cat([mean, deviation.sqrt()], dim=1)


def parameters(network: nn.Module) -> int:
    """Number of trained parameters."""
    return sum(p.numel() for p in network.parameters())
