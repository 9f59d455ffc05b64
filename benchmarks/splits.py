"""Which municipalities are learnt from, chosen on and scored: as the file says, dealt anew, or apart on the ground."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from ground.imagery import Imagery

SPLITS = ("file", "random", "disjoint")


class NoSplitError(ValueError):
    """The imagery cannot be split so; the message says why."""


def resplit(imagery: Imagery, path: Path, kind: str, seed: int, validation: list[int], test: list[int]) -> Imagery:
    """`imagery` with another split.

    ``file`` leaves it; ``random`` deals the municipalities anew under `seed`, as many to each part; ``disjoint`` puts
    the tiles `validation` and `test` of the file's array ``tile`` apart and trains on the others.
    """
    if kind == "file":
        return imagery
    if kind == "random":
        order = np.random.Generator(np.random.PCG64(seed)).permutation(len(imagery.bag_split))
        return _with(imagery, imagery.bag_split[order])
    with np.load(path, allow_pickle=False) as arrays:
        if "tile" not in arrays:
            raise NoSplitError(f"{path.name} has no array 'tile'")
        tile = arrays["tile"]
    of_bag = np.zeros(len(imagery.bag_split), np.int64)
    of_bag[imagery.bags[:, 0]] = tile
    if (of_bag[imagery.bags[:, 0]] != tile).any():
        raise NoSplitError(f"{path.name} has municipalities that lie in several tiles")
    if not np.isin([*validation, *test], tile).all():
        raise NoSplitError(f"{path.name} has tiles {np.unique(tile).tolist()}")
    return _with(imagery, np.where(np.isin(of_bag, test), 2, np.where(np.isin(of_bag, validation), 1, 0)))


def _with(imagery: Imagery, bag_split: NDArray[np.integer]) -> Imagery:
    changed = copy.copy(imagery)
    changed.bag_split = bag_split.astype(np.uint8)
    changed.chip_split = changed.bag_split[imagery.bags[:, 0]]
    return changed
