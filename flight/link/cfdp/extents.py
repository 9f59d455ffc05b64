"""Which bytes of a file are there, or wanted: sorted, disjoint (start, end) extents that do not touch."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Iterator


class Extents:
    """A set of byte offsets, kept as extents."""

    def __init__(self, extents: Iterable[tuple[int, int]] = ()) -> None:
        self._starts: list[int] = []
        self._ends: list[int] = []
        for start, end in extents:
            self.add(start, end)

    def __len__(self) -> int:
        return len(self._starts)

    def __iter__(self) -> Iterator[tuple[int, int]]:
        return zip(self._starts, self._ends, strict=True)

    @property
    def end(self) -> int:
        """The end of the last extent, 0 if there is none."""
        return self._ends[-1] if self._ends else 0

    @property
    def size(self) -> int:
        """Number of offsets in the set."""
        return sum(self._ends) - sum(self._starts)

    def add(self, start: int, end: int) -> None:
        """Add the offsets from `start` up to `end`."""
        if start >= end:
            return
        first, last = bisect_left(self._ends, start), bisect_right(self._starts, end)
        if first < last:
            start, end = min(start, self._starts[first]), max(end, self._ends[last - 1])
        self._starts[first:last] = [start]
        self._ends[first:last] = [end]

    def remove(self, start: int, end: int) -> None:
        """Take the offsets from `start` up to `end` out."""
        first, last = bisect_right(self._ends, start), bisect_left(self._starts, end)
        if first >= last or start >= end:
            return
        kept = [(self._starts[first], start), (end, self._ends[last - 1])]
        kept = [(a, b) for a, b in kept if a < b]
        self._starts[first:last] = [a for a, _ in kept]
        self._ends[first:last] = [b for _, b in kept]

    def gaps(self, start: int, end: int) -> Iterator[tuple[int, int]]:
        """The extents between `start` and `end` that are not in the set."""
        for index in range(bisect_right(self._ends, start), len(self._starts)):
            first, last = self._starts[index], self._ends[index]
            if first >= end:
                break
            if start < first:
                yield start, first
            start = last
        if start < end:
            yield start, end

    def first(self) -> tuple[int, int] | None:
        """The first extent, None if there is none."""
        return (self._starts[0], self._ends[0]) if self._starts else None
