"""A bounded sample of the chips seen, which depends on the set of chips alone."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from flight.learn.checks import MAX_OVERLAPS
from flight.learn.counter import splitmix64
from flight.learn.sets import contained
from flight.learn.state import StateError, take

_LEAST_ROWS = 512


class Reservoir:
    """Keeps the `capacity` chips whose numbers have the lowest hashes, in the order of their numbers.

    Attributes:
        numbers: int64 (n,), ascending.
        chips: uint8 (n, *shape).
        bags: int32 (n, 8), padded with -1.
        weights: float32 (n, 8), 0 where padded.
    """

    def __init__(self, capacity: int, seed: int, shape: tuple[int, ...]) -> None:
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
        old, taken = self._choose(numbers)
        if not len(taken):
            return False
        pad = ((0, 0), (0, MAX_OVERLAPS - bags.shape[1]))
        merged = np.concatenate([self.numbers[old], numbers[taken]])
        place = np.argsort(np.argsort(merged))
        self.numbers = np.sort(merged)
        self.chips = _merge(self.chips, old, chips[taken], place)
        self.bags = _merge(self.bags, old, np.pad(bags[taken], pad, constant_values=-1), place)
        self.weights = _merge(self.weights, old, np.pad(weights[taken], pad), place)
        return True

    def wanted(self, numbers: NDArray[np.int64]) -> NDArray[np.integer]:
        """Which of the chips of these numbers `add` would take, ascending."""
        return np.sort(self._choose(numbers)[1])

    def _choose(self, numbers: NDArray[np.int64]) -> tuple[NDArray[np.integer], NDArray[np.integer]]:
        """Which chips stay, and which of those offered are taken."""
        new = np.sort(np.unique(numbers, return_index=True)[1])
        new = new[~contained(numbers[new], self.numbers)]
        hashes = splitmix64(np.concatenate([self.numbers, numbers[new]]), self.seed)
        best = np.argsort(hashes)[: self.capacity]
        return np.sort(best[best < len(self)]), new[best[best >= len(self)] - len(self)]

    def arrays(self) -> dict[str, NDArray[Any]]:
        """What `restore` needs."""
        return {"numbers": self.numbers, "chips": self.chips, "bags": self.bags, "shares": self.weights}

    def restore(self, arrays: dict[str, NDArray[Any]], max_municipalities: int) -> None:
        """Take from `arrays`, with checks, what `arrays()` put there."""
        numbers = take(arrays, "numbers", "int64", (None,))
        n = len(numbers)
        if n > self.capacity or (n and numbers[0] < 0) or not (np.diff(numbers) > 0).all():
            raise StateError(f"state array numbers: expected up to {self.capacity} chip numbers, ascending")
        self.chips = np.array(take(arrays, "chips", "uint8", (n, *self.chips.shape[1:])))
        self.bags = np.array(take(arrays, "bags", "int32", (n, MAX_OVERLAPS)))
        self.weights = np.array(take(arrays, "shares", "float32", (n, MAX_OVERLAPS)))
        if ((self.bags < -1) | (self.bags >= max_municipalities)).any() or (self.weights < 0).any():
            raise StateError("state arrays bags, shares: out of range")
        self.numbers = numbers


def _merge(kept: NDArray[Any], old: NDArray[np.integer], new: NDArray[Any], place: NDArray[Any]) -> NDArray[Any]:
    """Rows `old` (ascending) of `kept`, and rows `new`, each put in its `place`; old rows keep their order.

    Rows move within one block of memory, which doubles when it is full: a reservoir that is copied whenever a chip
    comes leaves holes of many times its size.
    """
    store = kept if kept.base is None else kept.base
    if len(store) < len(place):
        grown = np.empty((max(len(place), 2 * len(store), _LEAST_ROWS), *kept.shape[1:]), kept.dtype)
        grown[: len(old)] = kept[old]
        store = grown
    else:
        for to, source in enumerate(old):
            store[to] = store[source]
    for source in range(len(old) - 1, -1, -1):
        store[place[source]] = store[source]
    store[place[len(old) :]] = new
    return store[: len(place)]
