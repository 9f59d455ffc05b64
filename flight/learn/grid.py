"""What an encoder says of a chip: a grid of embeddings, which learners keep at 8 bits a value.

A learner is told of an encoder as it is told of a backend, `Learner.use`, and never imports what runs one.
"""

from __future__ import annotations

from hashlib import blake2b
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

MAX_WIDTH = 256
COMPONENTS = 32  # that learners use: the first ones, which differ most from cell to cell
_TOLD = 64  # chips whose codes are at hand


class Encoder(Protocol):
    """A frozen encoder, as learners see it.

    What it says of a chip depends on that chip alone, not on those that it is given together with.
    """

    @property
    def digest(self) -> str:
        """Hexadecimal, of everything that its embeddings depend on; statistics of different digests are never mixed."""

    @property
    def chip_shape(self) -> tuple[int, int, int]:
        """(height, width, bands) of the chips that it takes."""

    @property
    def grid(self) -> tuple[int, int, int]:
        """(rows, cols, width) of a chip's embedding."""

    @property
    def low(self) -> NDArray[np.float32]:
        """(width,), the least value of each component that 8 bits are to hold; lower ones are clipped."""

    @property
    def top(self) -> NDArray[np.float32]:
        """(width,), the greatest, above `low`."""

    def __call__(self, chips: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Embeddings (n, rows, cols, width) of `chips` (n, height, width, bands)."""


class NoGrid:
    """What is said of the cells of chips without an encoder: nothing."""

    width = n_places = 0
    low = top = scale = np.empty(0, np.float32)
    places = np.empty(0, np.int64)
    digest = ""

    @property
    def n_bytes(self) -> int:
        """Bytes of codes."""
        return 0

    def codes(self, chips: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """Codes (n, 0, 0)."""
        return np.empty((len(chips), 0, 0), np.uint8)


class Grid(NoGrid):
    """What an encoder says of the cells of chips of one shape: codes of 8 bits, from `low` to `top`.

    Of an embedding, the first 32 components are used; more made learners no better. A cell of 4 x 4 pixels has the
    embedding of the place of the grid that its middle lies in.

    Attributes:
        width: components of an embedding that are used.
        low, top: float32 (width,), what codes 0 and 255 stand for.
        scale: float32 (width,), what one more in a code stands for.
        places: int64 (n_cells,), the place in a grid, row by row, of each cell.
        n_places: places in a grid.
        digest: 16 hexadecimal digits that name the encoder.
    """

    def __init__(self, encoder: Encoder, shape: tuple[int, int, int], cells: tuple[int, int]) -> None:
        """Of `encoder`, for chips of `shape` with (rows, cols) `cells`; ValueError if it does not fit them."""
        if tuple(encoder.chip_shape) != shape:
            raise ValueError(f"encoder: it takes chips {tuple(encoder.chip_shape)}, and these are {shape}")
        rows, cols, width = encoder.grid
        if not (1 <= rows <= cells[0] and 1 <= cols <= cells[1] and 1 <= width <= MAX_WIDTH):
            raise ValueError(
                f"encoder: its grid is {encoder.grid}, expected up to {cells[0]} x {cells[1]} of 1 to {MAX_WIDTH}"
            )
        self.low, self.top = (np.array(end, np.float32) for end in (encoder.low, encoder.top))
        if not (self.low.shape == self.top.shape == (width,) and (self.low < self.top).all()):
            raise ValueError(f"encoder: low and top are not {width} ascending pairs")
        self.width = min(width, COMPONENTS)
        self.low, self.top = self.low[: self.width].copy(), self.top[: self.width].copy()
        self.scale = (self.top - self.low) / np.float32(255.0)
        down, across = ((2 * np.arange(n) + 1) * side // (2 * n) for n, side in zip(cells, (rows, cols), strict=True))
        self.places = np.asarray((down[:, None] * cols + across).ravel(), np.int64)
        self.n_places = rows * cols
        self.digest = encoder.digest[:16]
        self._encoder = encoder
        self._told: dict[bytes, NDArray[np.uint8]] = {}

    @property
    def n_bytes(self) -> int:
        """Bytes of the codes at hand."""
        return sum(codes.nbytes for codes in self._told.values())

    def codes(self, chips: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """Codes (n, n_places, width) of `chips` (n, height, width, bands).

        Those of the last 64, or of all in the last call that had new ones, are at hand: a chip is learnt from, kept and
        archived, and encoded once.

        Raises:
            ArithmeticError: an embedding is not finite.
        """
        names = [blake2b(np.ascontiguousarray(chip).data, digest_size=16).digest() for chip in chips]
        known = {name: self._told[name] for name in names if name in self._told}
        new = {name: i for i, name in enumerate(names) if name not in known}
        if new:
            known |= zip(new, self._encode(chips[list(new.values())]), strict=True)
            self._told = dict(list(self._told.items())[-_TOLD:]) | known
        return np.array([known[name] for name in names], np.uint8).reshape(-1, self.n_places, self.width)

    def cells(self, chip: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Embeddings (n_cells, width) of the cells of `chip` (height, width, bands), as their codes have them."""
        values = self.codes(chip[None])[0].astype(np.float32)
        values *= self.scale
        values += self.low
        return np.asarray(values[self.places])

    def _encode(self, chips: NDArray[np.uint8]) -> NDArray[np.uint8]:
        said = np.asarray(self._encoder(chips), np.float32).reshape(len(chips), self.n_places, -1)
        values = said[:, :, : self.width]
        if not np.isfinite(values).all():
            raise ArithmeticError("encoder: an embedding is not finite")
        return np.asarray(np.clip(np.rint((values - self.low) / self.scale), 0, 255), np.uint8)
