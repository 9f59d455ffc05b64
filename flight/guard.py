"""What the payload holds in memory, under checksums: looked at before use, sealed anew by whoever changes it."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from flight.integrity import MemoryFaultError, Seal
from flight.learn import Learner
from flight.link.labelset import LabelSet
from flight.link.region import OVERLAPS, Region


class Guard:
    """The seals over the learner with its label table, and over the region."""

    def __init__(self) -> None:
        self._learner, self._region = Seal(), Seal()

    @property
    def spent_cpu_s(self) -> float:
        """What taking and comparing checksums has taken of the CPU."""
        return self._learner.spent_cpu_s + self._region.spent_cpu_s

    def seal(self, learner: Learner, labels: LabelSet | None) -> None:
        """Take what learner and label table hold now as right."""
        self._learner.renew(**_held(learner, labels))

    def seal_region(self, region: Region) -> None:
        """Take the region as right."""
        self._region.renew(bags=region.bags, weights=region.weights, codes=region.codes)

    def broken(self) -> str:
        """What is not as it was left: a part of the learner or of the labels; empty if nothing."""
        return self._learner.broken()

    def sweep(self, slices: int) -> str:
        """As `broken`, of the next of so many slices of the region."""
        return self._region.sweep(self._region.n_bytes // slices)

    def check(self) -> None:
        """MemoryFaultError if a part of the learner or of the labels is not as it was left."""
        if part := self.broken():
            raise MemoryFaultError(part)

    def seal_after(self, written: tuple[str, ...], learner: Learner, labels: LabelSet | None) -> None:
        """As `seal`, after work that wrote in the learner's arrays of these paths.

        MemoryFaultError if it has changed another one of those that were there before.
        """
        paths = tuple(f"learner.{path}" for path in written)
        if part := self._learner.renew_after(paths, **_held(learner, labels)):
            raise MemoryFaultError(part)

    def check_map(self, cells: NDArray[np.int64]) -> None:
        """MemoryFaultError if the part of the region that has these cells is not as it was left."""
        for path, row_bytes in (("bags", 4 * OVERLAPS), ("weights", OVERLAPS)):
            if part := self._region.touched(path, cells, row_bytes):
                raise MemoryFaultError(f"region.{part}")


def _held(learner: Learner, labels: LabelSet | None) -> dict[str, Any]:
    return {"learner": learner, "table": None if labels is None else labels.proportions}
