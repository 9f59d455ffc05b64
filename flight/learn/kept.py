"""What a reservoir keeps of chips' records: all of it, or, with an encoder, what training reads of them."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from flight.learn.arithmetic import Arithmetic
from flight.learn.blocks import Decoded, Rows
from flight.learn.lattice import Lattice
from flight.learn.records import Records


class Whole:
    """Records as they are.

    Attributes:
        n_bytes: of a chip.
    """

    def __init__(self, records: Records, side: int, arithmetic: Arithmetic) -> None:
        """`side` x `side` cells of each chip are trained on."""
        self._records, self._arithmetic, self._some = records, arithmetic, records.some(side)
        self.n_bytes = records.n_bytes

    def of(self, records: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """What is kept (n, n_bytes) of `records`."""
        return records

    def means(self, rows: NDArray[np.uint8]) -> Rows:
        """Mean embeddings (n, n_out) of chips of which `rows` are kept."""
        return Decoded(rows, self._records.means)

    def cells(self, rows: NDArray[np.uint8]) -> tuple[Lattice, NDArray[np.int64]]:
        """Cells of chips, and which of them are trained on."""
        return self._records.kept(rows), self._some

    def descriptions(self, rows: NDArray[np.uint8]) -> Rows:
        """Descriptions (n, m) of chips."""
        return Decoded(rows, lambda some: self._arithmetic.describe(self._records.kept(some)))


class Brief(Whole):
    """The cells that are trained on, the description of the chip at 8 bits a value, and its mean embedding.

    Half as long as a record, so that twice as many chips fit.
    """

    def __init__(self, records: Records, side: int, arithmetic: Arithmetic) -> None:
        super().__init__(records, side, arithmetic)
        self._n_cells = len(self._some) * records.n_statistics
        self._low, top = (end.astype(np.float32) for end in records.limits)
        self._scale = (top - self._low) / np.float32(255.0)
        self._n_means = records.n_bytes - len(records.lattice) * records.n_statistics
        self.n_bytes = self._n_cells + len(self._low) + self._n_means

    def of(self, records: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """What is kept (n, n_bytes) of `records`."""
        n, k = len(records), self._records.n_statistics
        every = records[:, : len(self._records.lattice) * k].reshape(n, -1, k)
        said = (
            self._arithmetic.describe(self._records.kept(records)) if n else np.empty((0, len(self._low)), np.float32)
        )
        codes = np.clip(np.rint((said - self._low) / self._scale), 0, 255).astype(np.uint8)
        cells = every[:, self._some].reshape(n, self._n_cells)
        return np.concatenate([cells, codes, records[:, -self._n_means :]], axis=1)

    def cells(self, rows: NDArray[np.uint8]) -> tuple[Lattice, NDArray[np.int64]]:
        """Cells of chips, and which of them are trained on: all that are kept."""
        n = len(self._some)
        return self._records.cells_of(rows, n), np.arange(n)

    def descriptions(self, rows: NDArray[np.uint8]) -> Rows:
        """Descriptions (n, m) of chips, as they are kept."""
        return Decoded(rows[:, self._n_cells : self._n_cells + len(self._low)], self._numbers)

    def _numbers(self, codes: NDArray[np.uint8]) -> NDArray[np.float32]:
        return codes * self._scale + self._low
