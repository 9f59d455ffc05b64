"""A masked autoencoder: most of a view is hidden, and what is hidden is foretold from the rest.

He et al. 2022, "Masked autoencoders are scalable vision learners". A view is cut into blocks of 8 x 8 pixels, one a
cell of the grid, and a share of them, the set M, is put to zero (their encoder leaves them out, which a convolution
cannot). With y_b the pixels of block b, normalised by their own mean and deviation (section 4.1), and d the decoder,

    loss = 1/|M| sum_{b in M} |d(f(x with M hidden))_b - y_b|^2 / dim(y_b)

The decoder, one 3 x 3 layer and one 1 x 1, does not fly.
"""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional

from ground.encoders.corpus import Corpus
from ground.encoders.networks import STRIDE_PX, Network
from ground.encoders.recipes import Recipe, Settings
from ground.encoders.views import two_views

_EPSILON = 1e-2


def blocks(x: Tensor) -> Tensor:
    """Pixels (n, bands, height, width) as one vector a cell, (n, bands * 64, rows, cols)."""
    return functional.pixel_unshuffle(x, STRIDE_PX)


def hidden(n: int, rows: int, cols: int, share: float, draw: torch.Generator) -> Tensor:
    """Which cells of each of `n` grids are hidden, bool (n, 1, rows, cols): as many in each, `share` of them."""
    order = torch.rand(n, rows * cols, generator=draw).argsort(dim=1).argsort(dim=1)
    return (order < round(share * rows * cols)).reshape(n, 1, rows, cols)


def reconstruction(foretold: Tensor, wanted: Tensor, mask: Tensor) -> Tensor:
    """Mean squared error over hidden cells of `foretold` against `wanted` blocks, normalised cell by cell."""
    mean = wanted.mean(1, keepdim=True)
    deviation = (wanted.var(1, keepdim=True, unbiased=False) + _EPSILON).sqrt()
    error = ((foretold.float() - (wanted - mean) / deviation) ** 2).mean(1, keepdim=True)
    return (error * mask).sum() / mask.sum()


class MAE(Recipe):
    """Masked autoencoding. Options: `share` of the cells that are hidden; `hidden` channels of the decoder."""

    defaults: ClassVar = {"share": 0.6, "hidden": 128}

    def __init__(self, network: Network, corpus: Corpus, settings: Settings) -> None:
        super().__init__(network, corpus, settings)
        channels = int(self.options["hidden"])
        self.decoder = nn.Sequential(
            nn.Conv2d(network.architecture.width, channels, 3, padding=1),
            nn.ReLU(),
            nn.Conv2d(channels, network.bands * STRIDE_PX**2, 1),
        )

    def losses(self, at: Tensor, draw: torch.Generator) -> dict[str, Tensor]:
        """`reconstruction`."""
        x = self.standardised(two_views(self.chips, at, self.views, draw))
        mask = hidden(len(x), x.shape[2] // STRIDE_PX, x.shape[3] // STRIDE_PX, self.options["share"], draw)
        mask = mask.to(x.device)
        seen = x * ~mask.repeat_interleave(STRIDE_PX, 2).repeat_interleave(STRIDE_PX, 3)
        return {"reconstruction": reconstruction(self.decoder(self.network(seen)), blocks(x), mask)}
