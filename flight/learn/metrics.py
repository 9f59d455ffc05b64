"""Scores of predicted class proportions and class maps, as published for learning from label proportions on chips.

Chips come in any number of batches: a set of chips that does not fit in memory is scored as it streams past.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from flight.learn.calibration import CalibrationSums, Reliability

UNKNOWN = 255
SCORES = ("mae_argmax", "mae_soft", "f1_micro", "iou", "r2_soft", "chip_accuracy", "ece")
CLASS_SCORES = ("mae_argmax", "mae_soft", "f1", "iou", "r2_soft")


class ScoreSums:
    """Accumulates the scores of a set of chips.

    Every chip counts once in the errors of proportions, every known pixel once in `f1_micro` and `iou`. A chip without
    a known pixel is left out.
    """

    def __init__(self, n_classes: int) -> None:
        self.n_classes = n_classes
        self.n_chips = 0
        self._confusion = np.zeros((n_classes, n_classes), np.int64)
        self._argmax_error, self._soft_error, self._squared_error = (np.zeros(n_classes) for _ in range(3))
        self._first, self._second = (np.zeros(n_classes) for _ in range(2))
        self._n_argmax = self._n_right = 0
        self._calibration = CalibrationSums()

    def update(
        self,
        soft: object,
        cell_map: object | None = None,
        *,
        labels: object | None = None,
        proportions: object | None = None,
    ) -> ScoreSums:
        """Add chips.

        Args:
            soft: (n, n_classes), predicted proportions.
            cell_map: (n, rows, cols, n_classes), predicted proportions of cells; None leaves the scores that need a
                map as they are.
            labels: uint8 (n, height, width), the true class of each pixel, 255 where unknown.
            proportions: (n, n_classes), true proportions; default: those of `labels`. A NaN row leaves the chip out.
        """
        predicted = self._rows(soft, "soft")
        pixels = None if labels is None else self._labels(labels, len(predicted))
        truth = self._truth(pixels, proportions, len(predicted))
        known = np.asarray(~np.isnan(truth).any(axis=1))
        if cell_map is not None:
            self._add_map(self._winners(cell_map, len(predicted))[known], truth[known], pixels, known)
        predicted, truth = predicted[known], truth[known]
        self.n_chips += len(truth)
        self._soft_error += np.abs(predicted - truth).sum(axis=0)
        self._squared_error += np.square(predicted - truth).sum(axis=0)
        self._first += truth.sum(axis=0)
        self._second += np.square(truth).sum(axis=0)
        self._calibration.update(np.clip(predicted, 0.0, 1.0), truth)
        self._n_right += (predicted.argmax(axis=1) == truth.argmax(axis=1)).sum()
        return self

    def result(self) -> dict[str, float]:
        """The scores so far; NaN for one that nothing was given for.

        ``mae_argmax``: mean absolute error between true proportions and those of the cells' argmax.
        ``mae_soft``: the same of the predicted proportions.
        ``f1_micro``: micro-F1 over pixels, the smaller of map and labels resized to the other, nearest.
        ``iou``: intersection over union per class, mean over the classes that are in truth or map.
        ``r2_soft``: 1 - squared errors of the predicted proportions / squares about the true mean, all classes pooled.
        ``chip_accuracy``: share of chips whose largest class is predicted as largest.
        ``ece``: calibration error of the predicted proportions (`flight.learn.calibration`), all classes pooled.
        """
        n, c = self.n_chips, self.n_classes
        spread = self._spread().sum()
        hits = np.diag(self._confusion)
        union = self._union()
        values = (
            _ratio(self._argmax_error.sum(), self._n_argmax * c),
            _ratio(self._soft_error.sum(), n * c),
            _ratio(hits.sum(), float(self._confusion.sum())),
            float((hits[union > 0] / union[union > 0]).mean()) if union.any() else math.nan,
            1.0 - _ratio(self._squared_error.sum(), spread) if spread > 0 else math.nan,
            _ratio(self._n_right, n),
            self._calibration.ece(),
        )
        return dict(zip(SCORES, values, strict=True))

    def per_class(self) -> dict[str, NDArray[np.float64]]:
        """The scores of each class, (n_classes,) each; NaN where there is nothing to score.

        ``mae_argmax``, ``mae_soft``: as of `result`, of the class alone; `result` has their means.
        ``f1``, ``iou``: over pixels, the class against the rest; NaN for a class that is in neither truth nor map.
        ``r2_soft``: 1 - squared errors / squares about the mean, of the class alone; NaN where truth does not vary.
        """
        hits = np.diag(self._confusion)
        union = self._union()
        values = (
            _ratios(self._argmax_error, np.full(self.n_classes, self._n_argmax)),
            _ratios(self._soft_error, np.full(self.n_classes, self.n_chips)),
            _ratios(2 * hits, union + hits),
            _ratios(hits, union),
            1.0 - _ratios(self._squared_error, self._spread()),
        )
        return dict(zip(CLASS_SCORES, values, strict=True))

    def reliability(self) -> Reliability:
        """Predicted against true proportions, bin by bin: what a reliability diagram draws."""
        return self._calibration.reliability()

    def _spread(self) -> NDArray[np.float64]:
        """Sums of squares (n_classes,) of true proportions about their means; what rounding leaves counts as 0."""
        if not self.n_chips:
            return np.zeros(self.n_classes)
        spread = self._second - self._first**2 / self.n_chips
        return np.where(spread > 1e-12 * self._second, spread, 0.0)

    def _union(self) -> NDArray[np.int64]:
        """Pixels (n_classes,) that are of the class in truth, in the map, or in both."""
        counts: NDArray[np.int64] = self._confusion.sum(axis=0) + self._confusion.sum(axis=1) - np.diag(self._confusion)
        return counts

    def _rows(self, value: object, name: str) -> NDArray[np.float64]:
        rows = np.asarray(value, np.float64)
        if rows.ndim != 2 or rows.shape[1] != self.n_classes:
            raise ValueError(f"{name}: shape is {rows.shape}, expected (n, {self.n_classes})")
        return rows

    def _labels(self, labels: object, n: int) -> NDArray[np.uint8]:
        pixels = np.asarray(labels)
        if pixels.dtype != np.uint8 or pixels.ndim != 3 or len(pixels) != n:
            raise ValueError(f"labels: {pixels.dtype} {pixels.shape}, expected uint8 ({n}, height, width)")
        if ((pixels >= self.n_classes) & (pixels != UNKNOWN)).any():
            raise ValueError(f"labels: a class is neither below {self.n_classes} nor {UNKNOWN}")
        return pixels

    def _truth(self, pixels: NDArray[np.uint8] | None, proportions: object | None, n: int) -> NDArray[np.float64]:
        if proportions is not None:
            truth = self._rows(proportions, "proportions")
            if len(truth) != n:
                raise ValueError(f"proportions: {len(truth)} rows, expected {n}")
            return truth
        if pixels is None:
            raise ValueError("labels, proportions: one of them is needed")
        counts = np.stack([(pixels == c).sum(axis=(1, 2)) for c in range(self.n_classes)], axis=1)
        total = counts.sum(axis=1, keepdims=True)
        return np.asarray(np.divide(counts, total, out=np.full(counts.shape, np.nan), where=total > 0))

    def _winners(self, cell_map: object, n: int) -> NDArray[np.intp]:
        cells = np.asarray(cell_map)
        if cells.ndim != 4 or len(cells) != n or cells.shape[3] != self.n_classes:
            raise ValueError(f"cell_map: shape is {cells.shape}, expected ({n}, rows, cols, {self.n_classes})")
        return np.asarray(cells.argmax(axis=3))

    def _add_map(
        self,
        winners: NDArray[np.intp],
        truth: NDArray[np.float64],
        pixels: NDArray[np.uint8] | None,
        known: NDArray[np.bool_],
    ) -> None:
        shares = np.stack([(winners == c).mean(axis=(1, 2)) for c in range(self.n_classes)], axis=1)
        self._argmax_error += np.abs(shares - truth).sum(axis=0)
        self._n_argmax += len(truth)
        if pixels is None:
            return
        height, width = (max(a, b) for a, b in zip(winners.shape[1:], pixels.shape[1:], strict=True))
        labels, found = resize_nearest(pixels[known], height, width), resize_nearest(winners, height, width)
        seen = labels != UNKNOWN
        pairs = labels[seen].astype(np.int64) * self.n_classes + found[seen]
        self._confusion += np.bincount(pairs, minlength=self.n_classes**2).reshape(self._confusion.shape)


def scores(
    soft: object, cell_map: object | None = None, *, labels: object | None = None, proportions: object | None = None
) -> dict[str, float]:
    """The scores of one batch of chips: `ScoreSums.update`, then `ScoreSums.result`."""
    rows = np.asarray(soft)
    return (
        ScoreSums(rows.shape[-1] if rows.ndim else 0)
        .update(soft, cell_map, labels=labels, proportions=proportions)
        .result()
    )


def resize_nearest(maps: NDArray[np.generic], height: int, width: int) -> NDArray[np.generic]:
    """Maps (n, rows, cols) as (n, height, width), each pixel from the nearest cell: the one that its centre lies in."""
    rows = (2 * np.arange(height) + 1) * maps.shape[1] // (2 * height)
    cols = (2 * np.arange(width) + 1) * maps.shape[2] // (2 * width)
    return maps[:, rows[:, None], cols]


def _ratio(part: float, whole: float) -> float:
    return float(part / whole) if whole else math.nan


def _ratios(part: NDArray[np.generic], whole: NDArray[np.generic]) -> NDArray[np.float64]:
    return np.asarray(np.divide(part, whole, out=np.full(part.shape, math.nan), where=whole != 0))
