"""SimCLR with hand-made statistics beside it: views of a chip attract, views of different chips repel.

Contrast (Chen et al. 2020, "A simple framework for contrastive learning of visual representations", eq. 1). With z_i,
z_j the projections of two views of one chip, all of unit length, and temperature t,

    l(i, j) = -log( exp(z_i . z_j / t) / sum_{k != i} exp(z_i . z_k / t) )

averaged over both orders of every pair in the batch. To it comes a regression of the chip's whitened statistics s (see
`targets`) from the pooled embedding h of each view, with a linear map R: |R h - s|^2 / dim(s).
"""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional

from ground.encoders.corpus import Corpus
from ground.encoders.networks import Network, pooled
from ground.encoders.recipes import Recipe, Settings
from ground.encoders.targets import descriptions, whitened
from ground.encoders.views import relit, two_views


def nt_xent(projections: Tensor, temperature: float) -> Tensor:
    """Normalised temperature-scaled cross entropy of `projections` (2 n, d); rows i and i + n are views of one chip."""
    z = functional.normalize(projections.float(), dim=1)
    similar = (z @ z.T / temperature).fill_diagonal_(-torch.inf)
    partner = torch.arange(len(z), device=z.device).roll(len(z) // 2)
    return functional.cross_entropy(similar, partner)


class SimCLR(Recipe):
    """Contrast of views, and statistics.

    Options: `temperature`; `statistics`, the weight of the regression, 0 for none; `components` of the statistics.
    """

    defaults: ClassVar = {
        "temperature": 0.2,
        "statistics": 1.0,
        "components": 64,
        "hidden": 256,
        "projection": 128,
    }

    statistics: Tensor

    def __init__(self, network: Network, corpus: Corpus, settings: Settings) -> None:
        super().__init__(network, corpus, settings)
        width = 2 * network.architecture.width
        hidden, projection = int(self.options["hidden"]), int(self.options["projection"])
        self.norm = nn.BatchNorm1d(width)
        self.projector = nn.Sequential(nn.Linear(width, hidden), nn.ReLU(), nn.Linear(hidden, projection))
        if self.options["statistics"]:
            wanted = whitened(descriptions(corpus.chips), int(self.options["components"]))
            self.register_buffer("statistics", torch.from_numpy(wanted), persistent=False)
            self.regressor = nn.Linear(width, wanted.shape[1])

    def losses(self, at: Tensor, draw: torch.Generator) -> dict[str, Tensor]:
        """`contrast` and `statistics`."""
        x = relit(self.standardised(two_views(self.chips, at, self.views, draw)), self.views, draw)
        h = self.norm(pooled(self.network(x)))
        terms = {"contrast": nt_xent(self.projector(h), self.options["temperature"])}
        if self.options["statistics"]:
            error = functional.mse_loss(self.regressor(h).float(), self.statistics[at.to(h.device)].repeat(2, 1))
            terms["statistics"] = self.options["statistics"] * error
        return terms
