"""What frozen features know: linear probes, and few-shot probes, on chips whose class is known. Scoring only.

The protocol. Features are standardised by the training split. A multinomial logistic regression is fitted on the
training split's labels, its penalty chosen, half a decade a step, by accuracy on the validation split, the stronger of
equals; accuracies of the validation and the test split are of that one fit. Both together (`both`) are about twice the
chips of either, and less noise; that the penalty was chosen on half of them favours no contender, as all choose alike.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression

from flight.learn.features import CellFeatures

TRAIN, VALIDATION, TEST = 0, 1, 2
# Inverse penalties of features of unit variance, strongest first.
PENALTIES = tuple(float(c) for c in 10.0 ** np.arange(-3.5, 1.01, 0.5))
_LEAST = 1e-6
Features = NDArray[np.floating]
Labels = NDArray[np.integer]


@dataclass(frozen=True)
class Probe:
    """Accuracies of one probe, of both splits together, and the inverse penalty that was chosen."""

    validation: float
    test: float
    both: float
    penalty: float


def hand_made(chips: NDArray[np.uint8], *, covariance: bool) -> NDArray[np.float32]:
    """Mean and deviation over cells of their statistics, and with `covariance` that as well: (n, 42) or (n, 273)."""
    cells = CellFeatures(chips.shape[1:], raw=False)
    return np.concatenate([pool(cells(chip)[None, None], covariance=covariance) for chip in chips])


def pool(grid: NDArray[np.float32], *, covariance: bool = False) -> NDArray[np.float32]:
    """Mean and deviation over each grid (n, rows, cols, width), and the covariance if asked: (n, 2 width [+ ...])."""
    x = grid.reshape(len(grid), -1, grid.shape[-1])
    mean, std = x.mean(axis=1), x.std(axis=1)
    if not covariance:
        return np.concatenate([mean, std], axis=1)
    x = x - mean[:, None]
    rows, cols = np.triu_indices(x.shape[2])
    second = np.einsum("nij,nik->njk", x, x, optimize=True)[:, rows, cols] / np.float32(x.shape[1])
    return np.concatenate([mean, std, second], axis=1)


def linear_probe(features: Features, labels: Labels, split: NDArray[np.integer]) -> Probe:
    """The probe of `features` (n, m) for `labels` (n,), with `split` (n,) 0, 1, 2 for training, validation, test."""
    x = _standardised(features, features[split == TRAIN])
    known = {part: (x[split == part], labels[split == part]) for part in (TRAIN, VALIDATION, TEST)}
    best, right = _chosen(known[TRAIN], known[VALIDATION])
    test = best.predict(known[TEST][0]) == known[TEST][1]
    both = np.concatenate([right, test])
    return Probe(float(right.mean()), float(test.mean()), float(both.mean()), float(best.C))


def few_shot(features: Features, labels: Labels, split: NDArray[np.integer], n_labelled: int, seed: int) -> float:
    """Test accuracy of a probe that knows the class of `n_labelled` training chips, as many of each as can be.

    There is no validation set as small as that: the penalty is chosen by leave-half-out on the labelled chips, and
    is the middle of `PENALTIES` where a class has fewer than four.
    """
    rng = np.random.Generator(np.random.PCG64(seed))
    chosen = _balanced(labels, np.flatnonzero(split == TRAIN), n_labelled, rng)
    x = _standardised(features, features[chosen])
    train = (x[chosen], labels[chosen])
    classes, counts = np.unique(train[1], return_counts=True)
    inverse = PENALTIES[len(PENALTIES) // 2]
    if counts.min() >= 4 and len(classes) > 1:
        half = np.zeros(len(chosen), bool)
        for c in classes:
            half[rng.permutation(np.flatnonzero(train[1] == c))[: np.count_nonzero(train[1] == c) // 2]] = True
        inverse = float(_chosen((train[0][half], train[1][half]), (train[0][~half], train[1][~half]))[0].C)
    return float((_fitted(*train, inverse).predict(x[split == TEST]) == labels[split == TEST]).mean())


def _balanced(labels: Labels, pool_of: Labels, n: int, rng: np.random.Generator) -> Labels:
    """`n` of the chips `pool_of`, drawn from its classes in turn."""
    shuffled = rng.permutation(pool_of)
    turn = np.zeros(len(shuffled), np.int64)
    for c in np.unique(labels[shuffled]):
        mine = labels[shuffled] == c
        turn[mine] = np.arange(np.count_nonzero(mine))
    return shuffled[np.argsort(turn, kind="stable")[:n]]


def _standardised(features: Features, of: Features) -> NDArray[np.float64]:
    centre, spread = of.mean(0, dtype=np.float64), of.std(0, dtype=np.float64)
    return (features - centre) / (spread + _LEAST)


def _chosen(
    train: tuple[Features, Labels], validation: tuple[Features, Labels]
) -> tuple[LogisticRegression, NDArray[np.bool_]]:
    """The fit whose penalty did best on `validation`, the strongest of equals, and which chips it got right."""
    best: tuple[LogisticRegression, NDArray[np.bool_]] | None = None
    for inverse in PENALTIES:
        model = _fitted(*train, inverse)
        right = model.predict(validation[0]) == validation[1]
        if best is None or right.mean() > best[1].mean():
            best = model, right
    assert best is not None  # noqa: S101  there are penalties
    return best


def _fitted(x: Features, y: Labels, inverse_penalty: float) -> LogisticRegression:
    model = LogisticRegression(C=inverse_penalty, max_iter=300)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # at 300 steps predictions have long stopped changing
        model.fit(x, y)
    return model
