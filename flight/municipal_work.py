"""A municipal product in the making: asked for by a telecommand, made of all archived chips, some at a time.

What is asked for outlives a restart; how far it was does not, and a new model begins anew.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from flight.link.counts import MIN_LEVELS
from flight.link.municipal import MunicipalSums
from flight.link.region import Region

Found = tuple[NDArray[np.int32], NDArray[np.float32]]  # cells, each once, and their proportions


@dataclass(frozen=True)
class MunicipalRequest:
    """What a municipal product shall hold: all municipalities or the `unlabelled` ones, in rows of `levels` counts."""

    unlabelled: bool
    levels: int


class MunicipalWork:
    """What is asked for, and how far it is."""

    def __init__(self) -> None:
        self.request: MunicipalRequest | None = None
        self._last: MunicipalRequest | None = None  # what the last product was made for
        self._sums: MunicipalSums | None = None
        self._at = 0  # archived chips before this one are still to be predicted

    def ask(self, request: MunicipalRequest | None) -> None:
        """Make this product, and no other that was asked for before."""
        self.request, self._sums = request, None

    def restart(self) -> None:
        """Begin anew: the model is another one."""
        self._sums = None

    def left(self, n_records: int) -> int:
        """How many of `n_records` archived chips are still to be predicted, at least 1; 0 if nothing is asked for."""
        if self.request is None or not n_records:
            return 0
        return max(1, n_records if self._sums is None else self._at)

    def go_on(
        self, where: Region, n_records: int, n_chips: int, predicted: Callable[[int, int], Found | None]
    ) -> tuple[MunicipalRequest, MunicipalSums] | None:
        """Predict up to `n_chips` more; what was asked for and its sums when all are done.

        `predicted` gives what is known of archived chips from one number to before another. The latest come first: of
        two looks at a cell, the later one counts.
        """
        if self._sums is None:
            self._sums, self._at = MunicipalSums(where), n_records
        end, self._at = self._at, max(0, self._at - n_chips)
        found = predicted(self._at, end) if end else None
        if found is not None:
            self._sums.add(*found)
        if self._at or self.request is None:
            return None
        done = self.request, self._sums
        self._last = self.request
        self.ask(None)
        return done

    def take_back(self, too_large: bool) -> None:
        """Make the last product again; one that was too large for a file of half as many levels, if that can be."""
        if self._last is not None:
            levels = self._last.levels // 2 if too_large else self._last.levels
            self.ask(replace(self._last, levels=levels) if levels >= MIN_LEVELS else None)
