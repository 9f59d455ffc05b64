"""Chips, whitening and losses for tests of networks on kernels; gradients as one vector."""

from collections.abc import Callable, Iterable

import numpy as np

from flight.learn import descent, losses
from flight.learn.descent import Whitening
from flight.learn.networks import Patches
from flight.learn.patches import PatchGrid

RNG = np.random.Generator(np.random.PCG64(5))
N_CHIPS, N_CLASSES = 5, 3
SHARES = RNG.dirichlet(np.ones(N_CHIPS), 2).astype(np.float32)
TARGET = RNG.dirichlet(np.ones(N_CLASSES), 2).astype(np.float32)


def double(parts: Iterable[np.ndarray]) -> list[np.ndarray]:
    return [np.asarray(part, np.float64) for part in parts]


def flat(parts: Iterable[np.ndarray]) -> np.ndarray:
    return np.concatenate([np.ravel(part) for part in parts])


def bag_loss(q: np.ndarray) -> np.ndarray:
    return losses.bag_loss(q, SHARES, TARGET)[1]


class Scene:
    """Textured chips of one size and stride, their whitening, and some or all of their patches."""

    def __init__(self, stride_px: int, per_chip: int | None, side: int = 32, bands: int = 3) -> None:
        level = RNG.normal(110, 40, (N_CHIPS + 2, 1, 1, bands))
        noise = RNG.normal(0, 20, (N_CHIPS + 2, side, side, bands))
        self.chips = np.clip(level + noise, 0, 255).astype(np.uint8)
        self.grid = PatchGrid((side, side, bands), stride_px)
        self.white = descent.whitening(self.grid.all(chip) for chip in self.chips)
        self.which = RNG.permutation(len(self.chips))[:N_CHIPS]
        every = np.tile(np.arange(len(self.grid)), (N_CHIPS, 1))
        self.at = every if per_chip is None else np.sort(RNG.permuted(every, axis=1)[:, :per_chip], axis=1)

    def patches(self) -> Patches:
        return self.grid.batch(self.chips, self.which, self.at, self.white.mean)

    def whitened(self) -> np.ndarray:
        """The same patches (n, count, inputs) in double precision."""
        exact = Whitening(*double(self.white))
        return exact.apply(self.grid.some(self.chips[self.which], self.at) / 255.0)


def slope(value: Callable[[], float], parts: Iterable[np.ndarray], direction: list[np.ndarray]) -> float:
    """Central difference of `value` along `direction` in `parts`, which are left as they were."""
    ends = []
    for sign in (1.0, -2.0, 1.0):
        for part, d in zip(parts, direction, strict=True):
            part += sign * 1e-6 * d
        ends.append(value())
    return (ends[0] - ends[1]) / 2e-6
