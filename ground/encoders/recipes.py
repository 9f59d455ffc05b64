"""What every pretraining recipe is. A new one is a module with a `Recipe`, and a line in `training.RECIPES`."""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import asdict, dataclass, field
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from ground.encoders.corpus import Corpus
from ground.encoders.errors import SettingsError
from ground.encoders.networks import Network
from ground.encoders.views import Views


@dataclass(frozen=True)
class Settings:
    """Everything that weights depend on, besides the chips.

    Attributes:
        recipe: a name in `training.RECIPES`.
        architecture: a name in `networks.ARCHITECTURES`.
        epochs: times that each chip is seen.
        batch: chips a step.
        rate: the greatest learning rate; it rises over `warm_up` steps and falls as a half cosine.
        decay: AdamW's weight decay.
        warm_up: steps.
        seed: of weights, batches and views.
        precision: of matrix products and convolutions while training, `bfloat16` or `float32`.
        views: how views are made.
        options: what the recipe alone knows, by name; its own defaults where they are left out.
        teachers: digests of the frozen encoders that are learnt from.
    """

    recipe: str = "simclr"
    architecture: str = "flight"
    epochs: int = 200
    batch: int = 256
    rate: float = 2e-3
    decay: float = 1e-4
    warm_up: int = 60
    seed: int = 0
    precision: str = "float32"
    views: Views = field(default_factory=Views)
    options: dict[str, float] = field(default_factory=dict)
    teachers: tuple[str, ...] = ()

    def plain(self) -> dict[str, Any]:
        """As JSON knows it."""
        return asdict(self)


class Recipe(nn.Module):
    """What is trained: the network that will fly, and what the recipe needs around it.

    A recipe makes its views itself, draws only from the generator that it is given, and keeps the network as `network`.
    """

    defaults: ClassVar[dict[str, float]] = {}
    std: Tensor

    def __init__(self, network: Network, corpus: Corpus, settings: Settings) -> None:
        super().__init__()
        unknown = sorted(set(settings.options) - set(self.defaults))
        if unknown:
            known = ", ".join(self.defaults) or "none"
            raise SettingsError(f"{settings.recipe} has no option {', '.join(unknown)}; it has {known}")
        self.network = network
        self.options = {**self.defaults, **settings.options}
        self.views = settings.views
        self.chips = torch.from_numpy(corpus.chips)
        self.mean = float(corpus.mean)
        self.register_buffer("std", torch.from_numpy(corpus.std), persistent=False)

    @abstractmethod
    def losses(self, at: Tensor, draw: torch.Generator) -> dict[str, Tensor]:
        """Terms of the loss, by name, of the chips with indices `at` (n,)."""

    def after_step(self) -> None:
        """Called when weights have changed: the place for averages of them."""
        return

    def standardised(self, pixels: Tensor) -> Tensor:
        """Bytes (n, height, width, bands) as the network takes them, (n, bands, height, width), channels last."""
        return ((pixels.to(self.std.device).float() - self.mean) / self.std).permute(0, 3, 1, 2)
