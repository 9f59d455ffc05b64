"""What a reservoir keeps of chips' records: all of it, or, with an encoder, what training reads of them."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from flight.learn import context
from flight.learn.arithmetic import Arithmetic
from flight.learn.lattice import Lattice
from flight.learn.records import Records


class Coded:
    """Descriptions (n, m) at 8 bits a value; some rows at a time, they are numbers."""

    def __init__(self, codes: NDArray[np.uint8], scale: NDArray[np.float32], low: NDArray[np.float32]) -> None:
        self._codes, self._scale, self._low = codes, scale, low

    def __len__(self) -> int:
        return len(self._codes)

    def __getitem__(self, rows: slice) -> NDArray[np.float32]:
        said = self._codes[rows].astype(np.float32)
        said *= self._scale
        said += self._low
        return said


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

    def means(self, rows: NDArray[np.uint8]) -> NDArray[np.float64]:
        """Mean embeddings (n, n_out) of chips of which `rows` are kept."""
        return self._records.means(rows)

    def cells(self, rows: NDArray[np.uint8]) -> tuple[Lattice, NDArray[np.int64]]:
        """Cells of chips, and which of them are trained on."""
        return self._records.kept(rows), self._some

    def descriptions(self, rows: NDArray[np.uint8]) -> context.Descriptions:
        """Descriptions (n, m) of chips."""
        return self._arithmetic.describe(self._records.kept(rows))


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

    def descriptions(self, rows: NDArray[np.uint8]) -> Coded:
        """Descriptions (n, m) of chips, as they are kept."""
        return Coded(rows[:, self._n_cells : self._n_cells + len(self._low)], self._scale, self._low)
