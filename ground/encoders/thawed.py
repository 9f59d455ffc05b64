"""A frozen encoder in torch: as a teacher, and to compare other runtimes with."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from ground.encoders.frozen import Frozen

_BATCH = 64


class Thawed(nn.Module):
    """`frozen` in float32; nothing of it is trained."""

    def __init__(self, frozen: Frozen) -> None:
        super().__init__()
        self.frozen = frozen
        self.register_buffer("std", torch.from_numpy(frozen.std.copy()), persistent=False)
        for i, layer in enumerate(frozen.layers):
            kernel = torch.from_numpy(np.ascontiguousarray(layer.kernel.transpose(3, 2, 0, 1)))
            kernel = kernel.contiguous(memory_format=torch.channels_last)
            self.register_buffer(f"kernel{i}", kernel, persistent=False)
            self.register_buffer(f"bias{i}", torch.from_numpy(layer.bias.copy()), persistent=False)

    def forward(self, pixels: Tensor) -> Tensor:
        """Embeddings (n, width, rows, cols) of bytes (n, height, width, bands), of any number type."""
        return self.embed((pixels.float() - self.frozen.mean) / self.get_buffer("std"))

    def embed(self, x: Tensor) -> Tensor:
        """The same of (chip - mean) / std, (n, height, width, bands)."""
        x = x.permute(0, 3, 1, 2)
        made: list[Tensor] = []
        for i, layer in enumerate(self.frozen.layers):
            kernel, bias = self.get_buffer(f"kernel{i}"), self.get_buffer(f"bias{i}")
            x = functional.conv2d(x, kernel, bias, layer.stride, layer.kernel.shape[0] // 2, groups=layer.groups)
            if layer.add is not None:
                x = x + made[layer.add]
            if layer.relu:
                x = torch.relu(x)
            made.append(x)
        return x


@torch.no_grad()
def embed(frozen: Frozen, chips: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Embedding grids float32 (n, rows, cols, width) of uint8 chips (n, height, width, bands), by torch."""
    frozen.shapes(*chips.shape[1:3])
    model = Thawed(frozen)
    parts = [model(torch.from_numpy(chips[i : i + _BATCH])).permute(0, 2, 3, 1) for i in range(0, len(chips), _BATCH)]
    grid: NDArray[np.float32] = torch.cat(parts).contiguous().numpy()
    return grid
