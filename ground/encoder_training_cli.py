"""``swath-ground encoder pretrain``, ``distil`` and ``freeze``: what needs torch."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from enum import StrEnum
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

from ground.console import AsJson, Out, told
from ground.encoders.corpus import Corpus, Part, read_corpus
from ground.encoders.errors import SettingsError
from ground.encoders.frozen import Frozen
from ground.facts import show

if TYPE_CHECKING:
    from ground.encoders import training
    from ground.encoders.networks import Network
    from ground.encoders.recipes import Recipe, Settings


class Precision(StrEnum):
    """Numbers of matrix products and convolutions while training."""

    auto = "auto"
    bfloat16 = "bfloat16"
    float32 = "float32"


_NEEDED = ("torch", "safetensors", "matplotlib")

Chips = Annotated[
    list[Path], typer.Argument(metavar="CHIPS...", help="npz files with an array `chips`; labels are not looked at.")
]
Split = Annotated[Part, typer.Option(help="Chips that are used, of files that say what is for training.")]
Architectures = Annotated[
    str, typer.Option(help="tiny, small, flight or large: 21, 52, 74 or 342 thousand parameters.")
]
Epochs = Annotated[int, typer.Option(min=1, help="Times that each chip is seen.")]
Batch = Annotated[int, typer.Option(min=2, help="Chips a step.")]
Rate = Annotated[float, typer.Option(min=1e-6, max=1.0, help="Greatest learning rate.")]
Decay = Annotated[float, typer.Option(min=0, max=1, help="AdamW's weight decay.")]
Seed = Annotated[int, typer.Option(min=0, help="Seed of weights, batches and views.")]
Crop = Annotated[int, typer.Option("--crop", min=16, help="Side of a view \\[pixels], a multiple of 8.")]
Near = Annotated[
    int, typer.Option("--near", min=0, help="Most pixels between two views of a chip; 0: any.  For mixed chips.")
]
Light = Annotated[float, typer.Option(min=0, max=2, help="Spread of brightness \\[standard deviations].")]
Colour = Annotated[float, typer.Option(min=0, max=2, help="Spread of each band's brightness \\[the same].")]
Contrast = Annotated[float, typer.Option(min=0, max=1, help="Spread of the contrast's logarithm.")]
Options = Annotated[
    list[str] | None, typer.Option("--option", metavar="NAME=VALUE", help="Option of the recipe; repeated.")
]
Precise = Annotated[
    Precision, typer.Option(help="Of products while training; auto: bfloat16 where the processor computes with it.")
]
Alarm = Annotated[float, typer.Option("--least-rank", min=0, help="Alarm below this effective rank; 0: never.")]
Threads = Annotated[int, typer.Option(min=1, help="Threads of torch; results depend on it.")]


def pretrain(
    chips: Chips,
    out: Out,
    recipe: Annotated[
        str, typer.Option(help="simclr (contrast and statistics) or mae (masked autoencoder).")
    ] = "simclr",
    architecture: Architectures = "flight",
    split: Split = Part.train,
    epochs: Epochs = 480,
    batch: Batch = 256,
    rate: Rate = 2e-3,
    decay: Decay = 1e-4,
    seed: Seed = 0,
    crop_px: Crop = 40,
    near_px: Near = 0,
    light: Light = 0.1,
    colour: Colour = 0.05,
    contrast: Contrast = 0.1,
    options: Options = None,
    precision: Precise = Precision.auto,
    least_rank: Alarm = 3.0,
    threads: Threads = 1,
    as_json: AsJson = False,
) -> None:
    """Train an encoder on unlabelled chips, to a checkpoint (.safetensors) and a picture of its loss beside it.

    A run that was stopped goes on where it was when the same command is given again.
    """
    _need_torch()
    from ground.encoders.recipes import Settings
    from ground.encoders.views import Views

    with told():
        views = Views(crop_px, near_px, light, colour, contrast)
        settings = Settings(
            recipe, architecture, epochs, batch, rate, decay, seed=seed, views=views, options=_options(options),
            precision=_precision(precision),
        )  # fmt: skip
        _train(read_corpus(chips, split), settings, out, least_rank, threads, as_json)


def distil(
    chips: Chips,
    out: Out,
    teachers: Annotated[list[Path], typer.Option("--teacher", help="Frozen encoder (.npz); repeated.")],
    architecture: Architectures = "flight",
    split: Split = Part.train,
    epochs: Epochs = 200,
    batch: Batch = 256,
    rate: Rate = 2e-3,
    seed: Seed = 0,
    crop_px: Crop = 40,
    light: Light = 0.1,
    colour: Colour = 0.05,
    contrast: Contrast = 0.1,
    options: Options = None,
    precision: Precise = Precision.auto,
    least_rank: Alarm = 3.0,
    threads: Threads = 1,
    as_json: AsJson = False,
) -> None:
    """Train a small encoder to say what frozen, larger ones say of unlabelled chips; the rest is as with pretrain."""
    _need_torch()
    from ground.encoders.distillation import Distillation
    from ground.encoders.recipes import Settings
    from ground.encoders.views import Views

    with told():
        frozen = [Frozen.read(path) for path in teachers]
        views = Views(crop_px, 0, light, colour, contrast)
        settings = Settings(
            "distil", architecture, epochs, batch, rate, seed=seed, views=views, options=_options(options),
            precision=_precision(precision), teachers=tuple(teacher.digest for teacher in frozen),
        )  # fmt: skip

        def build(network: Network, corpus: Corpus, settings: Settings) -> Recipe:
            return Distillation(network, corpus, settings, frozen)

        _train(read_corpus(chips, split), settings, out, least_rank, threads, as_json, build)


def freeze(
    checkpoint: Annotated[Path, typer.Argument(help="Checkpoint of pretrain or distil.", dir_okay=False)],
    chips: Chips,
    out: Out,
    name: Annotated[str | None, typer.Option(help="Name of the encoder.  \\[that of OUT]")] = None,
    bands: Annotated[str | None, typer.Option(help="Names of the bands: red,green,blue.  \\[band1,band2,...]")] = None,
    width: Annotated[
        int | None, typer.Option(min=1, help="Components of an embedding that are kept.  \\[32, which learners use]")
    ] = None,
    split: Split = Part.train,
    as_json: AsJson = False,
) -> None:
    """Make a frozen encoder (.npz) of a checkpoint: batch norm folded, embeddings whitened over cells of CHIPS."""
    _need_torch()
    from ground.encoders.checkpoint import read_checkpoint
    from ground.encoders.freeze import freeze_checkpoint

    with told():
        read = read_checkpoint(checkpoint)
        if not read.finished:
            typer.echo(f"note: {checkpoint} is of step {read.step} of {read.about['steps']}", err=True)
        names = tuple(bands.split(",")) if bands else None
        if out.resolve() in [path.resolve() for path in (checkpoint, *chips)]:
            raise SettingsError(f"{out}: is what the encoder is made of; give it another name with -o")
        frozen = freeze_checkpoint(read, read_corpus(chips, split), name or out.stem, names, width)
        frozen.write(out)
        facts = {"name": frozen.name, "digest": frozen.digest, "bands": list(frozen.bands), "width": frozen.width}
        show(f"{out}", {**facts, "parameters": frozen.parameters, "trained": dict(frozen.trained)}, as_json)


def _need_torch() -> None:
    missing = [name for name in _NEEDED if find_spec(name) is None]
    if missing:
        sys.stderr.write(
            "swath-ground: training encoders needs the extra: pip install '.[encoders]' in swath's checkout"
            f" (missing: {', '.join(missing)})\n"
        )
        raise SystemExit(2)


def _precision(wanted: Precision) -> str:
    from ground.encoders.training import fastest_precision

    return fastest_precision() if wanted is Precision.auto else wanted.value


def _options(given: list[str] | None) -> dict[str, float]:
    found: dict[str, float] = {}
    for text in given or []:
        name, equals, value = text.partition("=")
        try:
            found[name] = float(value)
        except ValueError:
            raise typer.BadParameter(f"--option {text}: expected NAME=NUMBER") from None
        if not equals:
            raise typer.BadParameter(f"--option {text}: expected NAME=NUMBER")
    return found


def _train(
    corpus: Corpus,
    settings: Settings,
    out: Path,
    least_rank: float,
    threads: int,
    as_json: bool,
    build: Callable[[Network, Corpus, Settings], Recipe] | None = None,
) -> None:
    import torch

    from ground.encoders.checkpoint import read_checkpoint
    from ground.encoders.networks import parameters
    from ground.encoders.plot import plot_losses
    from ground.encoders.training import Trainer, run

    if out.suffix != ".safetensors":
        raise SettingsError(f"{out}: a checkpoint's name ends in .safetensors")
    torch.set_num_threads(threads)
    trainer = Trainer(corpus, settings, build)
    if out.exists():
        trainer.resume(read_checkpoint(out))
        typer.echo(f"note: goes on at step {trainer.step} of {trainer.steps} ({out})", err=True)
    title = f"{settings.recipe}, {settings.architecture}: {len(corpus.chips):,} chips"
    picture = out.with_suffix(".loss.png")  # OUT.png may be the check picture of a data set
    try:
        with _shown(title, trainer.steps, as_json) as report:
            rank = run(trainer, out, report=report, least_rank=least_rank)
    finally:
        if trainer.history:
            plot_losses(picture, title, trainer.names, trainer.history)
    last = trainer.history[-trainer.steps_an_epoch :]
    losses = {name: round(sum(row[i] for row in last) / len(last), 4) for i, name in enumerate(trainer.names)}
    facts: dict[str, Any] = {"recipe": settings.recipe, "architecture": settings.architecture, "seed": settings.seed}
    facts |= {"parameters": parameters(trainer.network), "chips": len(corpus.chips), "data": corpus.digest}
    facts |= {"epochs": settings.epochs, "steps": trainer.steps, "loss": losses, "effective_rank": round(rank, 2)}
    show(f"{out}: trained; losses in {picture}", {**facts, "cpu_s": round(trainer.cpu_s, 1)}, as_json)


@contextmanager
def _shown(title: str, steps: int, quiet: bool) -> Iterator[Callable[[training.Progress], None]]:
    """A bar on stderr; what comes of it takes a run's progress."""
    columns = (TextColumn("{task.description}"), BarColumn(), TextColumn("{task.completed}/{task.total}"))
    with Progress(*columns, TimeRemainingColumn(), console=Console(stderr=True, quiet=quiet)) as bar:
        task = bar.add_task(title, total=steps)

        def report(progress: training.Progress) -> None:
            terms = "  ".join(f"{name} {value:.3f}" for name, value in progress.terms.items())
            bar.update(task, completed=progress.step, description=f"{title}  {terms}  rank {progress.rank:.1f}")

        yield report
