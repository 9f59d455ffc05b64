"""Scoring a mission against the truth that only the simulator knows: test chips, reference lines, maps."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from flight.learn import Learner
from flight.learn.metrics import ScoreSums
from flight.link.labelset import LabelSet
from ground.imagery import TEST, TRAIN, VALIDATION, Task
from sim.plan import Plan
from sim.record import ExampleChips, SplitScore, TaskResult

BATCH = 64
EXAMPLES = 8
MOST_OF_A_SPLIT = 300  # chips of training and of validation that are scored: each is made and predicted anew
SPLITS = {"training": TRAIN, "validation": VALIDATION, "test": TEST}


class Scorer:
    """Scores models and predictions of one task on the test chips of a plan."""

    def __init__(self, plan: Plan, task: Task) -> None:
        self.plan = plan
        self.task = task
        imagery = plan.imagery
        scenes = plan.scene_of()
        self.test = np.flatnonzero((imagery.chip_split == TEST) & (scenes >= 0))
        self.scenes = scenes[self.test]
        self.cells = imagery.cell[self.test, 0] * imagery.cols + imagery.cell[self.test, 1]
        self.all_truth = imagery.proportions(np.arange(imagery.n_chips), task)
        self.truth = self.all_truth[self.test]
        self._summaries: NDArray[np.uint8] | None = None
        self._predicted_test = np.full(self.truth.shape, np.nan, np.float32)  # of the model that was scored last

    def _chips(self) -> Iterator[tuple[NDArray[np.int64], NDArray[np.uint8]]]:
        """Positions among the test chips, and their images, a batch of one scene at a time."""
        for scene in np.unique(self.scenes):
            here = np.flatnonzero(self.scenes == scene)
            for start in range(0, len(here), BATCH):
                batch = here[start : start + BATCH]
                yield batch, self.plan.imagery.chips(self.test[batch], int(scene))

    def soft_mae(self, learner: Learner) -> float:
        """Soft MAE of the model on board over the test chips, from their summaries, as flight itself predicts them."""
        if self._summaries is None:
            rows: list[tuple[NDArray[np.int64], NDArray[np.uint8]]] = []
            for batch, images in self._chips():
                summaries = learner.summarise(images)
                if summaries is not None:
                    rows.append((batch, summaries))
            order = np.argsort(np.concatenate([batch for batch, _ in rows]))
            self._summaries = np.concatenate([summaries for _, summaries in rows])[order]
        return _mae(learner.predict_summaries(self._summaries), self.truth)

    def received_mae(self, grid: NDArray[np.float32]) -> float | None:
        """Soft MAE of the predictions received (rows, cols, n_classes) over the test chips among them."""
        predicted = grid.reshape(-1, len(self.task.class_names))[self.cells]
        known = ~np.isnan(predicted).any(1)
        return _mae(predicted[known], self.truth[known]) if known.any() else None

    def scores(self, learner: Learner) -> dict[str, float]:
        """All scores of a model on the test chips, from the images, cell maps included."""
        sums = ScoreSums(len(self.task.class_names))
        for batch, images in self._chips():
            labels = self.plan.imagery.labels(self.test[batch], self.task)
            soft = self._predicted_test[batch] = learner.predict(images)
            sums.update(soft, learner.predict_map(images), labels=labels, proportions=self.truth[batch])
        return sums.result()

    def by_split(self, learner: Learner, sent: LabelSet) -> dict[str, SplitScore]:
        """The model that `scores` was called with, on every split; one without a chip of known truth is left out."""
        imagery, scenes = self.plan.imagery, self.plan.scene_of()
        seen = (scenes >= 0) & ~np.isnan(self.all_truth).any(1)
        known = ~np.isnan(sent.proportions).any(1)
        result = {}
        for name, split in SPLITS.items():
            chips = np.flatnonzero(seen & (imagery.chip_split == split))
            if not len(chips):
                continue
            there = np.unique(imagery.bags[chips])
            there = there[there >= 0]
            there = there[imagery.bag_split[there] == split]
            if split == TEST:
                predicted = self._predicted_test[np.isin(self.test, chips)]
            else:
                few = np.linspace(0, len(chips) - 1, min(len(chips), MOST_OF_A_SPLIT)).astype(int)
                chips = chips[few]
                predicted = self._predicted(learner, chips, scenes[chips])
            truth = self.all_truth[chips].astype(np.float64)
            error = predicted - truth
            of_chip = np.abs(error).mean(1)
            spread = ((truth - truth.mean(0)) ** 2).sum()
            row, col = imagery.cell[chips[of_chip.argmax()]].tolist()
            result[name] = SplitScore(
                n_municipalities=len(there),
                n_rows_sent=int(known[there].sum()),
                n_chips=len(chips),
                mae_soft=float(of_chip.mean()),
                r2_soft=float(1 - (error**2).sum() / spread) if spread > 0 else float("nan"),
                worst_mae=float(of_chip.max()),
                worst_cell=(row, col),
            )
        return result

    def _predicted(self, learner: Learner, chips: NDArray[np.int64], scenes: NDArray[np.int64]) -> NDArray[np.float32]:
        predicted = np.empty((len(chips), len(self.task.class_names)), np.float32)
        for scene in np.unique(scenes):
            here = np.flatnonzero(scenes == scene)
            for start in range(0, len(here), BATCH):
                batch = here[start : start + BATCH]
                predicted[batch] = learner.predict(self.plan.imagery.chips(chips[batch], int(scene)))
        return predicted

    def baselines(self) -> dict[str, dict[str, float]]:
        """The reference lines: every chip gets the training mean, or its own municipality's row (an oracle)."""
        imagery = self.plan.imagery
        table = imagery.table(self.task)
        known = ~np.isnan(table).any(1)
        training = np.flatnonzero((imagery.bag_split == TRAIN) & known)
        size = np.zeros(len(table))
        np.add.at(size, imagery.bags[imagery.bags >= 0], imagery.weights[imagery.bags >= 0])
        mean = np.average(table[training], axis=0, weights=size[training])
        own = spread(self.plan, table)[self.test]
        own = np.where(np.isnan(own).any(1, keepdims=True), mean, own)
        lines = {"training mean": np.broadcast_to(mean, self.truth.shape), "own municipality": own}
        sums = {name: ScoreSums(len(self.task.class_names)) for name in lines}
        for start in range(0, len(self.test), BATCH):
            part = slice(start, start + BATCH)
            labels = imagery.labels(self.test[part], self.task)
            for name, predicted in lines.items():
                soft = np.asarray(predicted[part], np.float32)  # the same all over a chip
                sums[name].update(soft, soft[:, None, None, :], labels=labels, proportions=self.truth[part])
        return {name: each.result() for name, each in sums.items()}

    def result(self, sent: LabelSet, received: NDArray[np.float32], learner: Learner) -> TaskResult:
        """Everything about the task that goes into the report, `learner` being the last model of it on board."""
        imagery = self.plan.imagery
        shape = (imagery.rows, imagery.cols, len(self.task.class_names))
        cells = imagery.cell[:, 0] * imagery.cols + imagery.cell[:, 1]
        truth = np.full((imagery.rows * imagery.cols, shape[2]), np.nan, np.float32)
        truth[cells] = self.all_truth
        rows = truth * np.nan
        rows[cells] = spread(self.plan, sent.proportions)
        test = np.zeros(imagery.rows * imagery.cols, bool)
        test[cells] = imagery.chip_split == TEST
        scores = self.scores(learner)
        return TaskResult(
            task_id=self.task.task_id,
            name=self.task.name,
            class_names=self.task.class_names,
            truth=truth.reshape(shape),
            municipality=rows.reshape(shape),
            prediction=received,
            test=test.reshape(shape[:2]),
            scores=scores,
            baselines=self.baselines(),
            mae_soft_received=self.received_mae(received),
            by_split=self.by_split(learner, sent),
        )

    def examples(self, learner: Learner) -> ExampleChips:
        """A few test chips, spread over the set, with truth and prediction."""
        chosen = np.unique(np.linspace(0, len(self.test) - 1, EXAMPLES).astype(int))
        images = np.concatenate([self.plan.imagery.chips(self.test[[i]], int(self.scenes[i])) for i in chosen])
        return ExampleChips(images, self.truth[chosen], learner.predict(images))


def spread(plan: Plan, table: NDArray[np.floating]) -> NDArray[np.float32]:
    """A municipality table (n_municipalities, C) as rows for chips (n_chips, C), weighted by overlap; NaN if unknown.

    A chip that overlaps municipalities without a row takes the mean of those that have one.
    """
    imagery = plan.imagery
    rows = table[np.maximum(imagery.bags, 0)]
    known = (imagery.bags >= 0) & ~np.isnan(rows).any(2)
    weight = np.where(known, imagery.weights, 0)[..., None]
    total = weight.sum(1)
    mean = (np.nan_to_num(rows) * weight).sum(1) / np.where(total > 0, total, 1)
    return np.where(total > 0, mean, np.nan).astype(np.float32)


def _mae(predicted: NDArray[np.floating], truth: NDArray[np.floating]) -> float:
    """Mean over chips whose truth is known; NaN where none is, as in imagery with a label table alone."""
    error = np.abs(predicted.astype(np.float64) - truth)
    return float(np.nanmean(error)) if not np.isnan(error).all() else float("nan")
