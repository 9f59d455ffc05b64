"""Random numbers from counters: the same on every machine, and independent of what was drawn before."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def splitmix64(values: NDArray[np.integer], seed: int) -> NDArray[np.uint64]:
    """A hash of each value under `seed`: one-to-one, so distinct values have distinct hashes.

    The finaliser of Steele, Lea and Flood, "Fast splittable pseudorandom number generators" (2014), figure 16.
    """
    x = np.asarray(values).astype(np.uint64)
    x = x + np.uint64((0x9E3779B97F4A7C15 * (seed + 1)) & 0xFFFFFFFFFFFFFFFF)
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return np.asarray(x ^ (x >> np.uint64(31)))


def generator(seed: int, stream: int, step: int = 0) -> np.random.Generator:
    """The random numbers of one `step` of one `stream` (Philox), whatever was drawn for other steps."""
    key = np.array([seed, stream], np.uint64)
    counter = np.array([0, 0, 0, step], np.uint64)
    return np.random.Generator(np.random.Philox(key=key, counter=counter))
