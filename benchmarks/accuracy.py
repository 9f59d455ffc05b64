"""Accuracy of learners on imagery with labels, beside lines that any learner has to beat."""

from __future__ import annotations

import argparse
import math
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.contenders import Contender, contenders
from benchmarks.rows import Row, summary
from benchmarks.splits import SPLITS, NoSplitError, resplit
from flight.clock import cpu_s
from flight.learn import LEARNERS, Learner
from flight.learn.arithmetic import Arithmetic
from flight.learn.features import CellFeatures
from flight.learn.metrics import SCORES, ScoreSums
from flight.learn.ridge import fit
from flight.learn.simplex import project

if TYPE_CHECKING:
    from ground.imagery import Imagery, Task

_BATCH = 64
_COSTS = ("rate", "parameters", "state_bytes", "ingest_s", "train_s")
_PARTS = {"validation": 1, "test": 2}
_UNITS = {"ingest_s": "s", "train_s": "s", "parameters": "1", "state_bytes": "bytes"}
Soft = Callable[[NDArray[np.integer]], NDArray[np.floating]]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of this benchmark."""
    parser.add_argument("--data", nargs="+", type=Path, default=[], metavar="FILE", help="imagery files (.npz)")
    parser.add_argument(
        "--learner",
        nargs="+",
        type=_learner,
        default=sorted(LEARNERS),
        metavar="NAME",
        help=f"{', '.join(LEARNERS)}, or one that is installed",
    )
    parser.add_argument("--seeds", type=int, default=3, help="seeds 0, 1, ... of each learner")
    parser.add_argument("--split", choices=SPLITS, default="file", help="the file's, dealt anew, or by tile")
    parser.add_argument("--score", choices=sorted(_PARTS), default="test", help="municipalities that are scored")
    parser.add_argument("--validation-tiles", type=int, nargs="+", default=[4], metavar="TILE", help="with disjoint")
    parser.add_argument("--test-tiles", type=int, nargs="+", default=[5, 6], metavar="TILE", help="with disjoint")


def _learner(name: str) -> str:
    if name not in LEARNERS:
        raise argparse.ArgumentTypeError(f"{name!r} is unknown; known are {', '.join(LEARNERS)}")
    return name


def run(args: argparse.Namespace) -> list[Row]:
    """Learn from the training municipalities' chips and label rows; score the chips of the chosen part.

    A learning rate is chosen by the soft error on validation municipalities, in the mean over seeds; with ``--quick``
    every learner keeps its own, and there is one seed.
    """
    if not args.data:
        return [Row("accuracy", None, "", why="it needs imagery: --data FILE ...")]
    try:
        from ground.datasets import open_imagery
    except ImportError as error:
        return [Row("accuracy", None, "", why=f"{error.name} is missing: pip install '.[ground]' in swath's checkout")]
    found: list[Row] = []
    for path in args.data:
        imagery = open_imagery(path)
        try:
            parts = [
                resplit(imagery, path, args.split, seed, args.validation_tiles, args.test_tiles)
                for seed in range(1 if args.quick else args.seeds)
            ]
        except NoSplitError as error:
            found.append(Row(f"{imagery.name} / {args.split}", None, "", why=str(error)))
            continue
        for task in imagery.tasks:
            found += _task_rows(parts, task, contenders(args.learner, args.quick), _PARTS[args.score])
    return found


def table(rows: list[Row]) -> str:
    """One line a learner, one column a score."""
    lines: list[str] = []
    heading = ""
    for subject in dict.fromkeys(row.name.rpartition(" / ")[0] for row in rows):
        cells = {row.name.rpartition(" / ")[2]: row for row in rows if row.name.rpartition(" / ")[0] == subject}
        if not subject:
            lines += [f"not measured: {row.why}" for row in cells.values()]
            continue
        place, _, name = subject.rpartition(" / ")
        if place != heading:
            lines.append(f"\n{place:<28}" + "".join(f"{key:>16}" for key in (*SCORES, *_COSTS)))
            heading = place
        lines.append(f"  {name:<26}" + "".join(f"{_cell(cells.get(key)):>16}" for key in (*SCORES, *_COSTS)))
    return "\n".join(lines)


def _cell(row: Row | None) -> str:
    if row is None or row.value is None:
        return "-"
    if row.unit in ("1", "bytes"):
        return f"{row.value:.6g}"
    return f"{row.value:.3f}" + (f" ± {row.spread:.3f}" if row.spread is not None else "")


def _task_rows(parts: list[Imagery], task: Task, given: list[Contender], part: int) -> list[Row]:
    """The rows of one task; `parts` holds the imagery as split for each seed."""
    scores: dict[str, list[dict[str, float]]] = {}
    for imagery in parts[: len({p.chip_split.tobytes() for p in parts})]:
        known = training_table(imagery, task)
        lines = {
            "training mean": _training_mean(imagery, known),
            "own municipality (oracle)": _mixture(imagery, imagery.table(task)),
            "linear LLP": _linear(imagery, known),
        }
        index = np.flatnonzero(imagery.chip_split == part)
        for name, soft in lines.items():
            scores.setdefault(name, []).append(score(imagery, task, index, soft))
    for contender in given:
        scores[contender.name] = _best_runs(parts, task, contender, part)
    return [
        _row(f"{parts[0].name} / {task.name} / {name} / {key}", key, runs, scores["linear LLP"][0])
        for name, runs in scores.items()
        for key in runs[0]
    ]


def _best_runs(parts: list[Imagery], task: Task, contender: Contender, part: int) -> list[dict[str, float]]:
    """Scores of the runs, one a seed, at the rate whose mean soft error on validation municipalities is least."""
    found: list[tuple[float, list[dict[str, float]]]] = []
    for rate in contender.rates:
        done = [_run(imagery, task, contender, seed, rate, part) for seed, imagery in enumerate(parts)]
        found.append((float(np.mean([validation for validation, _ in done])), [scores for _, scores in done]))
    return min(found, key=lambda pair: pair[0])[1]


def _run(
    imagery: Imagery, task: Task, contender: Contender, seed: int, rate: float | None, part: int
) -> tuple[float, dict[str, float]]:
    """A contender that has learnt from the training municipalities: its soft error on validation; scores and costs."""
    learner = contender.make(seed, rate)
    if contender.supervised:
        learner, costs = _supervised(imagery, task, learner)
    else:
        table = _weakened(training_table(imagery, task), contender, seed)
        learner, costs = trained(imagery, table, learner)
    if rate is not None:
        costs = {"rate": rate} | costs
    scored = {
        k: score(imagery, task, np.flatnonzero(imagery.chip_split == k), learner.predict, learner.predict_map)
        for k in ({part, _PARTS["validation"]} if len(contender.rates) > 1 else {part})
    }
    return scored.get(_PARTS["validation"], scored[part])["mae_soft"], scored[part] | costs


def _weakened(table: NDArray[np.float32], contender: Contender, seed: int) -> NDArray[np.float32]:
    """`table` with fewer rows, or rounded to a lattice, as the contender is to have it."""
    known = np.flatnonzero(~np.isnan(table[:, 0]))
    order = np.random.Generator(np.random.PCG64(seed)).permutation(known)
    table[order[round(contender.labelled * len(known)) :]] = np.nan
    if contender.bits:
        levels = (1 << contender.bits) - 1
        table = np.rint(table * levels) / np.float32(levels)
        table /= table.sum(axis=1, keepdims=True)
    return table


def _supervised(imagery: Imagery, task: Task, learner: Learner) -> tuple[Learner, dict[str, float]]:
    """`learner`, given every training chip as a municipality with its true proportions."""
    index = np.flatnonzero(imagery.chip_split == 0)
    truth = np.concatenate([imagery.proportions(part, task) for part in _batches(index)])
    start = cpu_s()
    for part in _batches(np.arange(len(index))):
        learner.partial_fit(imagery.chips(index[part]), part, number=index[part])
    return _solve(learner, truth, start)


def _solve(learner: Learner, table: NDArray[np.float32], start: float) -> tuple[Learner, dict[str, float]]:
    learner.set_labels(table)
    fitted = cpu_s()
    learner.train(learner.pending_steps)
    seconds = {"ingest_s": fitted - start, "train_s": cpu_s() - fitted}
    return learner, {"parameters": learner.n_parameters, "state_bytes": len(learner.state())} | seconds


def _row(name: str, key: str, runs: list[dict[str, float]], line: dict[str, float]) -> Row:
    values = [scores[key] for scores in runs]
    if any(math.isnan(value) for value in values):
        return Row(name, None, "", why="the imagery has no truth for it")
    against = ("linear LLP", line[key]) if key in line else None
    return summary(name, values, _UNITS.get(key, ""), against)


def training_table(imagery: Imagery, task: Task) -> NDArray[np.float32]:
    """The label table with the rows of the training municipalities alone."""
    table = np.array(imagery.table(task), np.float32)
    table[imagery.bag_split != 0] = np.nan
    return table


def trained(imagery: Imagery, table: NDArray[np.float32], learner: Learner) -> tuple[Learner, dict[str, float]]:
    """`learner`, given the training chips and `table`; and its parameters, bytes of state, and CPU seconds."""
    start = cpu_s()
    for index in _batches(np.flatnonzero(imagery.chip_split == 0)):
        learner.partial_fit(imagery.chips(index), imagery.bags[index], imagery.weights[index], number=index)
    return _solve(learner, table, start)


def score(
    imagery: Imagery,
    task: Task,
    index: NDArray[np.integer],
    soft: Callable[[Any], NDArray[np.floating]],
    cells: Callable[[Any], NDArray[np.floating]] | None = None,
) -> dict[str, float]:
    """Scores of `soft` and `cells` on chips `index`; without `cells`, `soft` is given indices and is the whole map."""
    sums = ScoreSums(len(task.class_names))
    for part in _batches(index):
        given = imagery.chips(part) if cells else part
        predicted = soft(given)
        sums.update(
            predicted,
            cells(given) if cells else predicted[:, None, None, :],
            labels=imagery.labels(part, task),
            proportions=imagery.proportions(part, task),
        )
    result = sums.result()
    return {key: result[key] for key in SCORES}


def _training_mean(imagery: Imagery, table: NDArray[np.float32]) -> Soft:
    used = imagery.bags[imagery.chip_split == 0, 0]
    mean = np.nanmean(table[used], axis=0)
    return lambda index: np.tile(mean, (len(index), 1))


def _mixture(imagery: Imagery, table: NDArray[np.float32]) -> Soft:
    """Each chip's municipalities' rows, mixed by overlap: what a map of municipalities says."""

    def soft(index: NDArray[np.integer]) -> NDArray[np.floating]:
        rows = np.nan_to_num(table[imagery.bags[index]])
        weight = imagery.weights[index] * ~np.isnan(table[imagery.bags[index], 0]) * (imagery.bags[index] >= 0)
        return np.einsum("nk,nkc->nc", weight, rows) / np.maximum(weight.sum(axis=1, keepdims=True), 1e-9)

    return soft


def _linear(imagery: Imagery, table: NDArray[np.float32]) -> Soft:
    """Ridge regression from municipality means of simple features to proportions, projected to the simplex."""
    simple = np.concatenate([_simple(imagery.chips(index)) for index in _batches(np.arange(imagery.n_chips))])
    simple -= simple.mean(axis=0)
    simple /= simple.std(axis=0) + 1e-6
    train = imagery.chip_split == 0
    first = imagery.bags[:, 0]
    bags = np.array([b for b in np.unique(first[train]) if not np.isnan(table[b, 0])])
    X = np.stack([simple[train & (first == b)].mean(axis=0) for b in bags])
    weight = np.array([np.count_nonzero(train & (first == b)) for b in bags], np.float64)
    m = fit(X, table[bags].astype(np.float64), weight, np.eye(X.shape[1]), bags.astype(np.int64), 0, Arithmetic())
    return lambda index: project(m.p_mean + (simple[index] - m.x_mean) @ m.V)


def _simple(chips: NDArray[np.uint8]) -> NDArray[np.float64]:
    """Mean over the chip of its cells' statistics (levels, standard deviations, gradients), and their spread."""
    features = CellFeatures(chips.shape[1:])  # type: ignore[arg-type]
    rows = []
    for chip in chips:
        statistics = features(chip)[:, features.n_raw :].astype(np.float64)
        rows.append(np.concatenate([statistics.mean(axis=0), statistics.std(axis=0)]))
    return np.stack(rows)


def _batches(index: NDArray[np.integer]) -> Iterator[NDArray[np.integer]]:
    for start in range(0, len(index), _BATCH):
        yield index[start : start + _BATCH]
