"""What an encoder says of a chip: a grid of embeddings, which learners keep at 8 bits a value.

A learner is told of an encoder as it is told of a backend, `Learner.use`, and never imports what runs one.
"""

from __future__ import annotations

from typing import Protocol

import numpy as np
from numpy.typing import NDArray


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
