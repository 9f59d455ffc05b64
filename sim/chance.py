"""Random numbers by name: each depends on the seed and on what it is for, and on no other that was drawn before it.

Philox (Salmon et al., 2011, "Parallel random numbers: as easy as 1, 2, 3") turns a key and a counter into random bits.
The key is the seed's; the counter says which decision it is: purpose and direction, contact, frame within the contact.
"""

from __future__ import annotations

import hashlib
from enum import IntEnum

import numpy as np
from numpy.typing import NDArray


class Purpose(IntEnum):
    """What a random number decides."""

    PASS_LOST = 0
    BURST = 1
    INDEPENDENT = 2
    ELEVATION = 3
    BIT_ERRORS = 4
    DUPLICATE = 5
    DUPLICATE_DELAY = 6
    REORDER = 7
    REORDER_DELAY = 8


class Chance:
    """The random numbers of one seed. Directions, contacts and frames are counted from 0."""

    def __init__(self, seed: int) -> None:
        self._key = int.from_bytes(hashlib.sha256(f"radio {seed}".encode()).digest()[:16], "little")

    def uniforms(
        self, count: int, purpose: Purpose, direction: int = 0, contact: int = 0, frame: int = 0
    ) -> NDArray[np.float64]:
        """All numbers of one decision, float64 (count,) in [0, 1): the upper 53 bits of each random word."""
        philox = np.random.Philox(key=self._key, counter=[0, frame, contact, direction << 8 | purpose])
        return (philox.random_raw(count) >> np.uint64(11)) * 2.0**-53

    def uniform(self, purpose: Purpose, direction: int = 0, contact: int = 0, frame: int = 0) -> float:
        """One number in [0, 1)."""
        return float(self.uniforms(1, purpose, direction, contact, frame)[0])
