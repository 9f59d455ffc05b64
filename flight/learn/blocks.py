"""Many rows of numbers, of which some are looked at in turn, so that no more than those take memory as numbers."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

_BLOCK = 256


class Rows(Protocol):
    """Rows (n, m); an array is one."""

    def __len__(self) -> int: ...

    def __getitem__(self, some: slice, /) -> NDArray[np.floating]: ...


class Decoded:
    """Rows (n, m) that are kept as `codes` (n, k)."""

    def __init__(self, codes: NDArray[np.uint8], decode: Callable[[NDArray[np.uint8]], NDArray[np.floating]]) -> None:
        """`decode` makes numbers of some rows of codes."""
        self._codes, self._decode = codes, decode

    def __len__(self) -> int:
        return len(self._codes)

    def __getitem__(self, some: slice, /) -> NDArray[np.floating]:
        return self._decode(self._codes[some])


def blocks(n: int, step: int = 1) -> Iterator[slice]:
    """Slices that together are every `step`-th of n rows, 256 in each."""
    for start in range(0, n, step * _BLOCK):
        yield slice(start, start + step * _BLOCK, step)
