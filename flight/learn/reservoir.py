"""A bounded sample of the chips seen, which depends on the set of chips alone."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from flight.learn.checks import MAX_OVERLAPS
from flight.learn.counter import splitmix64
from flight.learn.state import StateError, take


class Reservoir:
    """Keeps the `capacity` chips whose numbers have the lowest hashes, in the order of their numbers.

    Attributes:
        numbers: int64 (n,), ascending.
        chips: uint8 (n, height, width, bands).
        bags: int32 (n, 8), padded with -1.
        weights: float32 (n, 8), 0 where padded.
    """

    def __init__(self, capacity: int, seed: int, shape: tuple[int, int, int]) -> None:
        self.capacity, self.seed = capacity, seed
        self.numbers = np.empty(0, np.int64)
        self.chips = np.empty((0, *shape), np.uint8)
        self.bags = np.empty((0, MAX_OVERLAPS), np.int32)
        self.weights = np.empty((0, MAX_OVERLAPS), np.float32)

    def __len__(self) -> int:
        return len(self.numbers)

    @property
    def n_bytes(self) -> int:
        """Bytes of the kept arrays."""
        return self.numbers.nbytes + self.chips.nbytes + self.bags.nbytes + self.weights.nbytes

    def add(
        self,
        chips: NDArray[np.uint8],
        bags: NDArray[np.int64],
        weights: NDArray[np.float64],
        numbers: NDArray[np.int64],
    ) -> bool:
        """Offer chips; whether any was taken. A number that is already here is the same chip, and is not taken."""
        new = np.sort(np.unique(numbers, return_index=True)[1])
        new = new[~np.isin(numbers[new], self.numbers)]
        hashes = splitmix64(np.concatenate([self.numbers, numbers[new]]), self.seed)
        best = np.argsort(hashes)[: self.capacity]
        old, taken = best[best < len(self)], new[best[best >= len(self)] - len(self)]
        if not len(taken):
            return False
        pad = ((0, 0), (0, MAX_OVERLAPS - bags.shape[1]))
        merged = np.concatenate([self.numbers[old], numbers[taken]])
        order = np.argsort(merged)
        place = np.argsort(order)
        self.numbers = merged[order]
        self.chips = _merged(self.chips, old, chips, taken, place)
        self.bags = _merged(self.bags, old, np.pad(bags, pad, constant_values=-1), taken, place)
        self.weights = _merged(self.weights, old, np.pad(weights, pad), taken, place)
        return True

    def arrays(self) -> dict[str, NDArray[Any]]:
        """What `restore` needs."""
        return {"numbers": self.numbers, "chips": self.chips, "bags": self.bags, "shares": self.weights}

    def restore(self, arrays: dict[str, NDArray[Any]], max_municipalities: int) -> None:
        """Take from `arrays`, with checks, what `arrays()` put there."""
        numbers = take(arrays, "numbers", "int64", (None,))
        n = len(numbers)
        if n > self.capacity or (n and numbers[0] < 0) or not (np.diff(numbers) > 0).all():
            raise StateError(f"state array numbers: expected up to {self.capacity} chip numbers, ascending")
        self.chips = take(arrays, "chips", "uint8", (n, *self.chips.shape[1:]))
        self.bags = take(arrays, "bags", "int32", (n, MAX_OVERLAPS))
        self.weights = take(arrays, "shares", "float32", (n, MAX_OVERLAPS))
        if ((self.bags < -1) | (self.bags >= max_municipalities)).any() or (self.weights < 0).any():
            raise StateError("state arrays bags, shares: out of range")
        self.numbers = numbers


def _merged(
    kept: NDArray[Any], old: NDArray[np.integer], given: NDArray[Any], taken: NDArray[np.integer], place: NDArray[Any]
) -> NDArray[Any]:
    """Rows `old` of `kept`, then rows `taken` of `given`, each put in its `place`; nothing is copied twice."""
    merged = np.empty((len(place), *kept.shape[1:]), kept.dtype)
    for to, source in zip(place, [*(kept[i] for i in old), *(given[i] for i in taken)], strict=True):
        merged[to] = source
    return merged
