"""Distillation: a small network learns to say what one or several larger, frozen ones say of the same view.

Hints (Romero et al. 2015, "FitNets: hints for thin deep nets", eq. 3). With f the student's grid of embeddings, t that
of the teachers, whitened, side by side, and R a linear map that does not fly,

    loss = |R f - t|^2 / dim(t)   over cells,   and the same of means and deviations over the grid, standardised.

Several teachers that differ in their seed alone know more than one of them (Hinton et al. 2015, section 5).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional

from ground.encoders.corpus import Corpus
from ground.encoders.frozen import Frozen, FrozenError
from ground.encoders.networks import Network, pooled
from ground.encoders.recipes import Recipe, Settings
from ground.encoders.thawed import Thawed
from ground.encoders.views import relit, two_views


class Distillation(Recipe):
    """From frozen `teachers`. Option: `pooled`, the weight of what is pooled over the grid beside its cells."""

    defaults: ClassVar = {"pooled": 1.0}

    def __init__(self, network: Network, corpus: Corpus, settings: Settings, teachers: Sequence[Frozen]) -> None:
        super().__init__(network, corpus, settings)
        for teacher in teachers:
            if (len(teacher.bands), teacher.stride) != (network.bands, network.stride):
                raise FrozenError(
                    f"teacher {teacher.name}: {len(teacher.bands)} bands, a cell each {teacher.stride} pixels;"
                    f" the student has {network.bands}, and {network.stride}"
                )
        if not teachers:
            raise FrozenError("a student needs at least one teacher")
        self.teachers = nn.ModuleList([Thawed(teacher) for teacher in teachers])  # all of it buffers that are not kept
        width = sum(teacher.width for teacher in teachers)
        self.cells = nn.Conv2d(network.architecture.width, width, 1)
        self.chip = nn.Linear(2 * network.architecture.width, 2 * width)
        self.norm = nn.BatchNorm1d(2 * network.architecture.width)
        self.wanted_norm = nn.BatchNorm1d(2 * width, affine=False)

    def losses(self, at: Tensor, draw: torch.Generator) -> dict[str, Tensor]:
        """`cells` and `pooled`."""
        x = relit(self.standardised(two_views(self.chips, at, self.views, draw)), self.views, draw)
        with torch.no_grad():
            # Teachers see the same light in the units that they were trained in.
            pixels = x.permute(0, 2, 3, 1) * self.std + self.mean
            wanted = torch.cat([teacher(pixels).float() for teacher in self.teachers], dim=1)
        grid = self.network(x)
        terms = {"cells": functional.mse_loss(self.cells(grid).float(), wanted)}
        if self.options["pooled"]:
            told = self.chip(self.norm(pooled(grid))).float()
            terms["pooled"] = self.options["pooled"] * functional.mse_loss(told, self.wanted_norm(pooled(wanted)))
        return terms
