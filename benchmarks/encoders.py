"""What a frozen encoder is worth: to learners from label proportions, to probes, on other land, and in integers."""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.accuracy import training_table
from benchmarks.eyes import Eyes, in_integers, opened
from benchmarks.rows import Row, progress, summary
from flight.kernels.backend import NUMPY, Backend
from flight.learn import LEARNERS, Learner

if TYPE_CHECKING:
    from ground.imagery import Imagery

SHARES = {"all": 1.0, "1/2": 0.5, "1/4": 0.25, "1/10": 0.1}
SHOTS = (10, 50, 200, 500)
NOBODY = "no encoder"
_CALIBRATION, _BATCH, _STEPS, _REPEATS = 128, 64, 300, 100
_TORCH = "torch is missing: pip install '.[encoders]' in swath's checkout"
Many = dict[str, list[float]]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of this benchmark."""
    parser.add_argument("--data", nargs="+", type=Path, default=[], metavar="FILE", help="imagery files (.npz)")
    parser.add_argument(
        "--encoder", nargs="+", type=Path, default=[], metavar="FILE",
        help="frozen encoders (.npz) or files that fly, used on all imagery that they can take  [trained for a minute]",
    )  # fmt: skip
    taking = sorted(name for name, cls in LEARNERS.items() if cls.takes_encoder)
    parser.add_argument("--learner", choices=taking, default="swath")
    parser.add_argument("--seeds", type=int, default=3, help="seeds 0, 1, ... of learners and of who is labelled  [3]")


def run(args: argparse.Namespace) -> list[Row]:
    """Rows of every part, imagery by imagery; with ``--quick`` one seed and half of the points."""
    if not args.data:
        return [Row("encoders", None, "", why="it needs imagery: --data FILE ...")]
    try:
        from ground.datasets import open_imagery
    except ImportError as error:
        return [Row("encoders", None, "", why=f"{error.name} is missing: pip install '.[ground]' in swath's checkout")]
    files = args.encoder
    found: list[Row] = []
    with tempfile.TemporaryDirectory() as folder:
        if not files and find_spec("torch") is None:
            found.append(Row("encoders", None, "", why=f"no --encoder is given, and to train one {_TORCH}"))
        elif not files:
            files = [_quick_encoder(path, Path(folder), 30 if args.quick else 300) for path in args.data]
        for path in args.data:
            found += _of_imagery(open_imagery(path), files, args)
        for path in files:
            found += _costs(path, Path(folder), args.data[0], args.quick)
    return found


def _of_imagery(imagery: Imagery, files: list[Path], args: argparse.Namespace) -> list[Row]:
    eyes: list[Eyes] = []
    found: list[Row] = []
    for file in files:
        try:
            eyes.append(opened(file, imagery.chip_shape))
        except ValueError as error:
            found.append(Row(f"{imagery.name} / {file.stem}", None, "", why=str(error)))
    shares = ("all", "1/10") if args.quick else tuple(SHARES)
    alone = _proportions(imagery, None, args, shares)
    found += _share_rows(imagery, NOBODY, alone, alone)
    for each in eyes:
        with_it = _proportions(imagery, each, args, shares)
        found += _share_rows(imagery, each.name, with_it, alone)
        found.append(_needed(imagery, each.name, with_it, alone))
        found.append(_distance(imagery, each, args.learner))
        if each.frozen is not None:
            found.append(_integers(imagery, each, with_it, args))
    return found + list(_probes(imagery, eyes, args))


def _proportions(imagery: Imagery, eyes: Eyes | None, args: argparse.Namespace, shares: Sequence[str]) -> Many:
    """Soft errors on test municipalities, one a seed, by share of the training municipalities that have a row."""
    found: Many = {name: [] for name in shares}
    for seed in range(1 if args.quick else args.seeds):
        progress(f"{imagery.name}: {args.learner}, {eyes.name if eyes else NOBODY}, seed {seed}")
        learner = _taught(imagery, eyes, args.learner, seed)
        table = training_table(imagery, imagery.tasks[0])
        known = np.flatnonzero(~np.isnan(table[:, 0]))
        order = np.random.Generator(np.random.PCG64(seed)).permutation(known)
        for name in shares:
            fewer = table.copy()
            fewer[order[round(SHARES[name] * len(known)) :]] = np.nan
            found[name].append(float(_errors(imagery, learner.set_labels(fewer))[1].mean()))
    return found


def _taught(imagery: Imagery, eyes: Eyes | None, name: str, seed: int) -> Learner:
    learner = LEARNERS[name](seed=seed).use(Backend(NUMPY), eyes)
    for index in _batches(np.flatnonzero(imagery.chip_split == 0)):
        learner.partial_fit(imagery.chips(index), imagery.bags[index], imagery.weights[index], number=index)
    return learner


def _errors(imagery: Imagery, learner: Learner) -> tuple[NDArray[np.integer], NDArray[np.floating]]:
    """Test chips with known truth, and the soft error of each."""
    index = np.flatnonzero(imagery.chip_split == 2)
    truth = np.concatenate([imagery.proportions(part, imagery.tasks[0]) for part in _batches(index)])
    said = np.concatenate([learner.predict(imagery.chips(part)) for part in _batches(index)])
    known = np.isfinite(truth).all(axis=1)
    return index[known], np.abs(said[known] - truth[known]).mean(axis=1)


def _share_rows(imagery: Imagery, who: str, found: Many, alone: Many) -> list[Row]:
    place = f"{imagery.name} / proportions"
    return [
        summary(f"{place} / {share} labelled / {who}", values, "soft MAE",
                None if who == NOBODY else (NOBODY, float(np.mean(alone[share]))))
        for share, values in found.items()
    ]  # fmt: skip


def _needed(imagery: Imagery, who: str, found: Many, alone: Many) -> Row:
    """The least share of rows with which the error is that of the learner that has no encoder and all rows."""
    goal = float(np.mean(alone["all"]))
    enough = [SHARES[share] for share, values in found.items() if np.mean(values) <= goal]
    name = f"{imagery.name} / share of rows that does as well as all without / {who}"
    if not enough:
        return Row(name, None, "share", why=f"none of {', '.join(found)} comes to {goal:.4f}")
    return Row(name, min(enough), "share", ("all rows, no encoder", 1.0), len(found["all"]))


def _distance(imagery: Imagery, eyes: Eyes, learner_name: str) -> Row:
    """Rank correlation, over test chips, of error and distance of the embedding from those of training chips."""
    learner = _taught(imagery, eyes, learner_name, 0).set_labels(training_table(imagery, imagery.tasks[0]))
    index, errors = _errors(imagery, learner)
    own = _pooled(imagery, eyes, np.flatnonzero(imagery.chip_split == 0))
    mean, S = own.mean(axis=0), np.cov(own.T) + 1e-3 * np.eye(own.shape[1])
    away = _pooled(imagery, eyes, index) - mean
    distance = np.einsum("ni,ni->n", away, np.linalg.solve(S, away.T).T)
    ranks = [np.argsort(np.argsort(values)) for values in (distance, errors)]
    value = float(np.corrcoef(*ranks)[0, 1])
    return Row(
        f"{imagery.name} / embedding distance against error / {eyes.name}", value, "rank correlation", n=len(index)
    )


def _integers(imagery: Imagery, eyes: Eyes, floats: Many, args: argparse.Namespace) -> Row:
    """The same learner with the encoder in int8, calibrated on training chips, against `floats`; all rows."""
    train = np.flatnonzero(imagery.chip_split == 0)
    chosen = np.random.Generator(np.random.PCG64(0)).choice(train, min(_CALIBRATION, len(train)), replace=False)
    integers = in_integers(eyes.frozen, imagery.chips(np.sort(chosen)))
    found = _proportions(imagery, integers, args, ("all",))["all"]
    return summary(f"{imagery.name} / int8 / {eyes.name}", found, "soft MAE", ("fp32", float(np.mean(floats["all"]))))


def _probes(imagery: Imagery, eyes: list[Eyes], args: argparse.Namespace) -> Iterator[Row]:
    """Linear and few-shot probes where a chip is of one class, and networks that are trained from scratch."""
    place = f"{imagery.name} / probe"
    task = max(imagery.tasks, key=lambda each: len(each.class_names))
    every = np.arange(imagery.n_chips)
    truth = np.concatenate([imagery.proportions(part, task) for part in _batches(every)])
    if not (truth.max(axis=1) == 1).all():
        yield Row(place, None, "accuracy", why="its chips hold several classes each")
        return
    try:
        from benchmarks import probes
    except ImportError as error:
        yield Row(place, None, "accuracy", why=f"{error.name} is missing: pip install scikit-learn")
        return
    labels, split = truth.argmax(axis=1), imagery.chip_split
    chips = np.concatenate([imagery.chips(part) for part in _batches(every)])
    progress(f"{imagery.name}: probes")
    hand_made = probes.hand_made(chips, covariance=True)
    said = {each.name: probes.pool(each(chips), covariance=True) for each in eyes}
    features = {"hand-made": hand_made, **said}
    beside = {f"{name} beside hand-made": np.concatenate([x, hand_made], axis=1) for name, x in said.items()}
    whole = {who: probes.linear_probe(x, labels, split).both for who, x in (features | beside).items()}
    for who, value in whole.items():
        yield Row(f"{place} / all labels / {who}", value, "accuracy", _but(who, "hand-made", whole))
    train, test = np.flatnonzero(split == 0), np.flatnonzero(split == 2)
    for shots in SHOTS[::2] if args.quick else SHOTS:
        seeds = range(1 if args.quick else args.seeds)
        found = {who: [probes.few_shot(x, labels, split, shots, s) for s in seeds] for who, x in features.items()}
        means = {who: float(np.mean(values)) for who, values in found.items()}
        if find_spec("torch") is None:
            yield Row(f"{place} / {shots} labels / from scratch", None, "accuracy", why=_TORCH)
        else:
            from benchmarks import scratch

            progress(f"{imagery.name}: {shots} labels, from scratch")
            some = np.random.Generator(np.random.PCG64(0)).permutation(train)[:shots]
            steps = _STEPS // 10 if args.quick else _STEPS
            means["from scratch"] = scratch.accuracy(chips, labels, some, test, steps, 0)
            yield Row(f"{place} / {shots} labels / from scratch", means["from scratch"], "accuracy")
        for who, values in found.items():
            yield summary(f"{place} / {shots} labels / {who}", values, "accuracy", _but(who, "from scratch", means))


def _but(who: str, other: str, means: dict[str, float]) -> tuple[str, float] | None:
    return (other, means[other]) if who != other and other in means else None


def _costs(path: Path, folder: Path, data: Path, quick: bool) -> Iterator[Row]:
    """Bytes, milliseconds a chip and memory, of each format, precision and runtime."""
    from flight.encoder.runtimes import RUNTIMES, installed

    for form, precision, file in _flying(path, folder, data):
        name = f"{path.stem} / {form} {precision}"
        yield Row(f"{name} / file", file.stat().st_size / 1e3, "kB")
        for runtime in RUNTIMES[form]:
            if runtime not in installed():
                yield Row(f"{name} / {runtime}", None, "ms", why=f"{runtime} is not installed")
                continue
            progress(f"{name}, {runtime}")
            command = [sys.executable, "-m", "benchmarks.encoder_child", str(file), runtime]
            ended = subprocess.run(
                [*command, str(_REPEATS // 5 if quick else _REPEATS)], capture_output=True, text=True, check=False
            )
            if ended.returncode:
                yield Row(f"{name} / {runtime}", None, "ms", why=ended.stderr.strip().rpartition("\n")[2])
                continue
            ms, mb = map(float, ended.stdout.split("\n")[1:3])
            yield Row(f"{name} / {runtime} / a chip", ms, "ms", n=_REPEATS // 5 if quick else _REPEATS)
            yield Row(f"{name} / {runtime} / peak memory", mb, "MB")


def _flying(path: Path, folder: Path, data: Path) -> Iterator[tuple[str, str, Path]]:
    """Files that fly, made of a frozen encoder for the chips of `data`, or the one that was given."""
    if path.suffix != ".npz":
        from flight.encoder.file import EncoderFile

        file = EncoderFile.parse(path.read_bytes())
        yield file.graph.form, file.header.precision, path
        return
    from ground.encoders.export import Form, Precision, exported, lowered
    from ground.encoders.sizes import calibration_chips

    chips, frozen = calibration_chips([data]), _frozen(path)
    if chips.shape[3] != len(frozen.bands):
        return
    for precision in Precision:
        network = lowered(frozen, precision, chips)
        for form in Form:
            file_path = folder / f"{path.stem}-{precision}.{form}"
            file_path.write_bytes(exported(network, form, *chips.shape[1:3]).data)
            yield form, precision, file_path


def _quick_encoder(data: Path, folder: Path, n_steps: int) -> Path:
    """An encoder trained on the training chips of `data` for a little while."""
    from ground.encoders.corpus import read_corpus
    from ground.encoders.freeze import freeze
    from ground.encoders.recipes import Settings
    from ground.encoders.training import Trainer

    corpus = read_corpus([data])
    batch = min(256, len(corpus.chips) // 2)
    epochs = -(-n_steps // (len(corpus.chips) // batch))
    trainer = Trainer(corpus, Settings(architecture="tiny", batch=batch, epochs=epochs, warm_up=min(60, n_steps // 3)))
    for step in range(trainer.steps):
        if step % 25 == 0:
            progress(f"{data.stem}: an encoder, step {step} of {trainer.steps}")
        trainer.advance()
    bands = tuple(f"band{i + 1}" for i in range(corpus.bands))
    frozen = freeze(
        trainer.network.eval(), corpus.mean, corpus.std, corpus.chips, name=f"from-{data.stem}"[:48], bands=bands
    )
    path = folder / f"{frozen.name}.npz"
    frozen.write(path)
    return path


def _pooled(imagery: Imagery, eyes: Eyes, index: NDArray[np.integer]) -> NDArray[np.float64]:
    grids = np.concatenate([eyes(imagery.chips(part)) for part in _batches(index)]).astype(np.float64)
    return np.concatenate([grids.mean(axis=(1, 2)), grids.std(axis=(1, 2))], axis=1)


def _frozen(path: Path) -> Any:
    from ground.encoders.frozen import Frozen

    return Frozen.read(path)


def _batches(index: NDArray[np.integer]) -> Iterator[NDArray[np.integer]]:
    for start in range(0, len(index), _BATCH):
        yield index[start : start + _BATCH]
