"""The loop that trains any recipe: AdamW, warm-up and half a cosine, checkpoints, and a watch for collapse.

What happens in a step is a function of (seed, step) and of the weights, so a run that was stopped ends, when it goes on
from its checkpoint, with the same weights as one that was not; on one machine, with one number of threads.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from flight.clock import cpu_s
from ground.encoders.checkpoint import Checkpoint, write_checkpoint
from ground.encoders.corpus import Corpus
from ground.encoders.errors import CheckpointError, CollapseError, SettingsError
from ground.encoders.mae import MAE
from ground.encoders.networks import ARCHITECTURES, Network, pooled
from ground.encoders.rank import effective_rank
from ground.encoders.recipes import Recipe, Settings
from ground.encoders.simclr import SimCLR

RECIPES: dict[str, type[Recipe]] = {"simclr": SimCLR, "mae": MAE}
LEAST_RANK = 3.0
_WATCHED_CHIPS = 256
_STREAMS = {"weights": 0, "order": 1, "step": 2, "watch": 3}


@dataclass(frozen=True)
class Progress:
    """How far a run is: steps, mean terms of the loss since the last report, effective rank of the embedding."""

    step: int
    steps: int
    terms: dict[str, float]
    rank: float


def generator(seed: int, stream: str, number: int = 0) -> torch.Generator:
    """Random numbers of their own for each purpose and step."""
    state = np.random.SeedSequence((seed, _STREAMS[stream], number)).generate_state(1, np.uint64)[0]
    return torch.Generator().manual_seed(int(state >> np.uint64(1)))


def fastest_precision() -> str:
    """`bfloat16` where the processor computes with it, as it halves the time; else `float32`."""
    supported = torch.cuda.is_available() or torch.ops.mkldnn._is_mkldnn_bf16_supported()
    return "bfloat16" if supported else "float32"


class Trainer:
    """A recipe on its way through its steps.

    Args:
        corpus: the chips.
        settings: what weights depend on besides.
        build: makes the recipe around the network; that which `settings` name by default.

    Raises:
        SettingsError: of settings that do not fit the chips or the recipe.
    """

    def __init__(
        self, corpus: Corpus, settings: Settings, build: Callable[[Network, Corpus, Settings], Recipe] | None = None
    ) -> None:
        if not 2 <= settings.batch <= len(corpus.chips):
            raise SettingsError(f"batches of {settings.batch}; expected 2 to {len(corpus.chips)}, the number of chips")
        if settings.architecture not in ARCHITECTURES:
            raise SettingsError(f"architecture {settings.architecture!r}; there are {', '.join(ARCHITECTURES)}")
        if build is None and settings.recipe not in RECIPES:
            raise SettingsError(f"recipe {settings.recipe!r}; there are {', '.join(RECIPES)}")
        self.corpus, self.settings = corpus, settings
        self.steps_an_epoch = len(corpus.chips) // settings.batch
        self.steps = settings.epochs * self.steps_an_epoch
        self.step, self.cpu_s = 0, 0.0
        self.names: tuple[str, ...] = ()
        self.history: list[list[float]] = []
        architecture = ARCHITECTURES[settings.architecture]
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(generator(settings.seed, "weights").initial_seed())
            network = Network(corpus.bands, architecture)
            if settings.views.crop_px % network.stride:
                raise SettingsError(
                    f"views of {settings.views.crop_px} pixels; expected a multiple of {network.stride}"
                )
            self.recipe = (build or RECIPES[settings.recipe])(network, corpus, settings)
        self.device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        self.recipe.to(self.device, memory_format=torch.channels_last)
        self.optimiser = torch.optim.AdamW(self.recipe.parameters(), settings.rate, weight_decay=settings.decay)
        self._watched = torch.randperm(len(corpus.chips), generator=generator(settings.seed, "watch"))[:_WATCHED_CHIPS]

    @property
    def network(self) -> Network:
        """What will fly."""
        return self.recipe.network

    def advance(self) -> dict[str, float]:
        """One step; the terms of its loss. CollapseError if they are not finite."""
        started_s = cpu_s()
        settings, step = self.settings, self.step
        epoch, place = divmod(step, self.steps_an_epoch)
        order = torch.randperm(len(self.corpus.chips), generator=generator(settings.seed, "order", epoch))
        at = order[place * settings.batch : (place + 1) * settings.batch]
        for group in self.optimiser.param_groups:
            group["lr"] = self._rate(step)
        self.recipe.train()
        with torch.autocast(self.device.type, torch.bfloat16, enabled=settings.precision == "bfloat16"):
            terms = self.recipe.losses(at, generator(settings.seed, "step", step))
        loss = torch.stack(list(terms.values())).sum()
        self.optimiser.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        self.optimiser.step()
        self.recipe.after_step()
        told = {name: float(term.detach()) for name, term in terms.items()}
        if not all(math.isfinite(value) for value in told.values()):
            raise CollapseError(f"step {step}: the loss is not finite ({told}); try a smaller --rate")
        self.names = tuple(told)
        self.history.append(list(told.values()))
        self.step += 1
        self.cpu_s += cpu_s() - started_s
        return told

    def _rate(self, step: int) -> float:
        warm = min(1.0, (step + 1) / max(1, self.settings.warm_up))
        return self.settings.rate * warm * 0.5 * (1.0 + math.cos(math.pi * step / self.steps))

    @torch.no_grad()
    def embeddings(self) -> NDArray[np.float32]:
        """Pooled embeddings of a few hundred whole chips, the same all the time."""
        self.recipe.eval()
        x = self.recipe.standardised(self.recipe.chips[self._watched]).contiguous(memory_format=torch.channels_last)
        found: NDArray[np.float32] = pooled(self.network(x)).cpu().numpy()
        return found

    def save(self, path: Path) -> None:
        """Write a checkpoint."""
        write_checkpoint(path, self.about(), self.recipe, self.optimiser, self.history)

    def about(self) -> dict[str, Any]:
        """What the header of a checkpoint tells."""
        return {
            "settings": self.settings.plain(),
            "architecture": asdict(self.network.architecture),
            "bands": self.corpus.bands,
            "mean": self.corpus.mean,
            "std": [float(value) for value in self.corpus.std],
            "chips": len(self.corpus.chips),
            "data": self.corpus.digest,
            "data_name": self.corpus.name,
            "step": self.step,
            "steps": self.steps,
            "terms": list(self.names),
            "threads": torch.get_num_threads(),
            "torch": torch.__version__,
            "cpu_s": round(self.cpu_s, 1),
        }

    def resume(self, checkpoint: Checkpoint) -> None:
        """Go on from a checkpoint of a run with the same settings on the same chips; else CheckpointError."""
        mine, theirs = self.about(), checkpoint.about
        for what in ("settings", "architecture", "data"):
            wanted = json.loads(json.dumps(mine[what]))
            if wanted != theirs.get(what):
                raise CheckpointError(
                    f"{checkpoint.path}: was made with other {what}: {_difference(theirs.get(what), wanted)};"
                    " write to another file, or remove this one to start anew"
                )
        try:
            self.recipe.load_state_dict(checkpoint.model())
            groups = self.optimiser.state_dict()["param_groups"]
            self.optimiser.load_state_dict({"state": checkpoint.adam(), "param_groups": groups})
            self.history = checkpoint.history()
        except (KeyError, ValueError, RuntimeError) as error:
            why = " ".join(str(error).split())[:300]
            raise CheckpointError(f"{checkpoint.path}: does not hold this recipe's weights: {why}") from None
        self.step, self.cpu_s = checkpoint.step, float(theirs["cpu_s"])
        self.names = tuple(theirs["terms"])


def run(
    trainer: Trainer,
    path: Path,
    *,
    report: Callable[[Progress], None] = lambda progress: None,
    every: int = 50,
    save_every: int = 500,
    least_rank: float = LEAST_RANK,
) -> float:
    """Train to the end, with reports, checkpoints at `path`, and the alarm; the embedding's effective rank at the end.

    Raises:
        CollapseError: if the effective rank is below `least_rank` in two reports in a row after the warm-up, or at the
            end. The checkpoint is kept.
    """
    low, rank = 0, math.nan
    since = trainer.step
    while trainer.step < trainer.steps:
        trainer.advance()
        ended = trainer.step == trainer.steps
        if trainer.step % save_every == 0 or ended:
            trainer.save(path)
        if trainer.step % every and not ended:
            continue
        rank = effective_rank(trainer.embeddings())
        means = np.mean(trainer.history[since:], axis=0)
        since = trainer.step
        report(Progress(trainer.step, trainer.steps, dict(zip(trainer.names, map(float, means), strict=True)), rank))
        low = low + 1 if rank < least_rank and trainer.step > trainer.settings.warm_up else 0
        if low >= 2 or (low and ended):
            trainer.save(path)
            raise CollapseError(
                f"step {trainer.step}: the embedding has collapsed, its effective rank is {rank:.1f} (alarm below"
                f" {least_rank:g}): it says nearly the same of all chips. Try a smaller --rate, a greater --batch or"
                f" --colour 0, or look at the chips. The checkpoint is kept at {path}"
            )
    return rank if not math.isnan(rank) else effective_rank(trainer.embeddings())


def _difference(theirs: Any, mine: Any) -> str:
    """The fields in which two settings differ, or both in short."""
    if isinstance(theirs, dict) and isinstance(mine, dict):
        fields = [name for name in sorted(mine | theirs) if theirs.get(name) != mine.get(name)]
        return ", ".join(f"{name} {theirs.get(name)} there, {mine.get(name)} here" for name in fields)
    return f"{str(theirs)[:16]} there, {str(mine)[:16]} here"
