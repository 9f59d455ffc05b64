"""Losses of chips' predicted proportions, each with its gradient: against chips' own targets, or municipalities'."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.floating]
BagLoss = Callable[[Array, Array, Array], tuple[float, Array]]
FLOOR = 1e-3


def chip_loss(q: Array, target: Array, class_weight: Array) -> tuple[float, Array]:
    """The published loss and its gradient: each chip (n, classes) against its own target, squared, class-weighted."""
    d = q - target
    return float((class_weight * d * d).sum() / len(q)), 2 * class_weight * d / len(q)


def bag_loss(q: Array, shares: Array, target: Array) -> tuple[float, Array]:
    """The bag loss and its gradient: means over municipalities against their proportions, squared.

    Args:
        q: (n_chips, classes), predictions.
        shares: (n_bags, n_chips), each row sums to 1 over the batch's chips of that municipality.
        target: (n_bags, classes), proportions of the municipalities.
    """
    d = shares @ q - target
    return float((d * d).sum() / len(target)), shares.T @ (2 * d / len(target))


def bag_kl_loss(q: Array, shares: Array, target: Array) -> tuple[float, Array]:
    """Divergence KL(target || mean) over municipalities in nats, and its gradient; arguments as of `bag_loss`.

    The mean holds `FLOOR` of the uniform distribution, as if one label in a thousand were drawn blindly: loss and
    gradient stay bounded where a class that the label has is not predicted at all.
    """
    mean = (1 - FLOOR) * (shares @ q) + FLOOR / q.shape[1]
    known = np.where(target > 0, target, 1)
    value = float((target * (np.log(known) - np.log(mean))).sum() / len(target))
    return value, shares.T @ ((FLOOR - 1) * target / mean / len(target))


BAG_LOSSES: dict[str, BagLoss] = {"bag": bag_loss, "bag_kl": bag_kl_loss}
LOSSES = (*BAG_LOSSES, "chip")
