"""Regions from imagery: the grid and its municipalities, as they go up."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from flight.link.counts import quantise
from flight.link.region import FULL, Region
from flight.link.region_layout import NOBODY, OVERLAPS
from ground.imagery import Imagery


def region_from_imagery(imagery: Imagery, region_id: int, municipalities: NDArray[np.bool_] | None = None) -> Region:
    """The region of the chips of `imagery`, shares in 255ths; codes and their order are the imagery's.

    With `municipalities`, bool (n_municipalities,), chips that touch none of those belong to nobody.
    """
    bags = np.full((imagery.rows * imagery.cols, OVERLAPS), NOBODY, np.int32)
    weights = np.zeros(bags.shape, np.uint8)
    cell = imagery.cell[:, 0].astype(np.int64) * imagery.cols + imagery.cell[:, 1]
    part = np.zeros((len(cell), OVERLAPS), np.uint8)
    k = imagery.bags.shape[1]
    part[:, :k] = quantise(imagery.weights, FULL)
    indices = np.full(part.shape, NOBODY, np.int32)
    indices[:, :k] = imagery.bags
    indices[part == 0] = NOBODY
    if municipalities is not None:
        indices[~(municipalities[np.maximum(indices, 0)] & (indices >= 0)).any(1)] = NOBODY
        part[(indices == NOBODY).all(1)] = 0
    order = np.argsort(-part.astype(np.int64), axis=1, kind="stable")
    bags[cell], weights[cell] = np.take_along_axis(indices, order, axis=1), np.take_along_axis(part, order, axis=1)
    return Region(region_id, imagery.rows, imagery.cols, imagery.codes, bags, weights)
