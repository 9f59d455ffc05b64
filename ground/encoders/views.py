"""Looks at the same ground: crops at the scale that the sensor has, turned, flipped and mildly relit.

Texture at its own scale and colour are what tells land cover apart, so a crop is never resized and colours move little.
Crops, flips and quarter turns are one gather of whole pixels: nothing is interpolated.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Views:
    """How views are made.

    Attributes:
        crop_px: side of a view; chips that are smaller are taken whole.
        near_px: the most by which two views of a chip are apart along each axis; 0 for any distance. Chips that hold
            several covers need it: views far apart show different ground.
        light: standard deviation of the common brightness [standard deviations of a band].
        colour: the same for each band alone.
        contrast: standard deviation of the logarithm of the contrast.
    """

    crop_px: int = 40
    near_px: int = 0
    light: float = 0.1
    colour: float = 0.05
    contrast: float = 0.1


def corners(n: int, extent: int, side: int, near_px: int, draw: torch.Generator) -> Tensor:
    """Where two views of `side` pixels of each of `n` chips begin along an axis of `extent` pixels: (2, n)."""
    room = extent - side
    first = torch.randint(0, room + 1, (n,), generator=draw)
    if not near_px:
        return torch.stack([first, torch.randint(0, room + 1, (n,), generator=draw)])
    step = torch.randint(-near_px, near_px + 1, (n,), generator=draw)
    return torch.stack([first, (first + step).clamp(0, room)])


def crops(chips: Tensor, at: Tensor, rows: Tensor, cols: Tensor, turns: Tensor, side: int) -> Tensor:
    """Crops (n, side, side, bands) of `chips[at]` with corners `rows` and `cols`, all (n,).

    `turns` (n,) is one of the eight symmetries of the square: bit 0 transposes, bits 1 and 2 flip rows and columns.
    """
    _, height, width, bands = chips.shape
    transposed, upside_down, mirrored = ((turns & bit).bool()[:, None] for bit in (1, 2, 4))
    along = torch.arange(side)[None]
    r = (torch.where(upside_down, side - 1 - along, along) + rows[:, None] + at[:, None] * height) * width
    c = torch.where(mirrored, side - 1 - along, along) + cols[:, None]
    down, across = torch.where(transposed, c, r), torch.where(transposed, r, c)
    flat = (down[:, :, None] + across[:, None, :]).reshape(-1)
    return chips.reshape(-1, bands)[flat].reshape(len(at), side, side, bands)


def two_views(chips: Tensor, at: Tensor, views: Views, draw: torch.Generator) -> Tensor:
    """Two views of each of `chips[at]`, uint8: (2 n, side, side, bands); rows i and i + n are of one chip."""
    n, height, width = len(at), chips.shape[1], chips.shape[2]
    side = min(views.crop_px, height, width)
    rows = corners(n, height, side, views.near_px, draw).reshape(-1)
    cols = corners(n, width, side, views.near_px, draw).reshape(-1)
    turns = torch.randint(0, 8, (2 * n,), generator=draw)
    return crops(chips, at.repeat(2), rows, cols, turns, side)


def relit(x: Tensor, views: Views, draw: torch.Generator) -> Tensor:
    """Standardised views (n, bands, side, side), each in a light, a tint and a contrast of its own."""
    n, bands = x.shape[:2]
    centre = x.mean((2, 3), keepdim=True)
    gain = torch.exp(views.contrast * torch.randn(n, 1, 1, 1, generator=draw))
    shift = views.light * torch.randn(n, 1, 1, 1, generator=draw)
    shift = shift + views.colour * torch.randn(n, bands, 1, 1, generator=draw)
    return (x - centre) * gain.to(x.device) + (centre + shift.to(x.device))
