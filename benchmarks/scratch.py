"""A network of an encoder's size trained on the labels of a few chips alone: what a frozen encoder is compared with."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from ground.encoders.networks import ARCHITECTURES, Network, pooled

_BATCH, _RATE, _DECAY = 64, 2e-3, 1e-2


def accuracy(
    chips: NDArray[np.uint8], labels: NDArray[np.integer], train: NDArray[np.integer], test: NDArray[np.integer],
    n_steps: int, seed: int, architecture: str = "flight",
) -> float:  # fmt: skip
    """Accuracy on chips `test` of a network trained from scratch on chips `train` with their labels.

    AdamW and a half cosine for `n_steps`; chips are turned and mirrored, and normalised by the whole of `train`.
    """
    torch.manual_seed(seed)
    rng = np.random.Generator(np.random.PCG64(seed))
    x, y = torch.from_numpy(chips).permute(0, 3, 1, 2), torch.from_numpy(np.asarray(labels, np.int64))
    known = x[train].float()
    mean, std = known.mean((0, 2, 3), keepdim=True), known.std((0, 2, 3), keepdim=True) + 1.0
    network = Network(chips.shape[3], ARCHITECTURES[architecture])
    head = nn.Linear(2 * network.architecture.width, int(labels.max()) + 1)
    weights = [*network.parameters(), *head.parameters()]
    optimiser = torch.optim.AdamW(weights, lr=_RATE, weight_decay=_DECAY)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, n_steps)
    for _ in range(n_steps):
        at = rng.choice(train, min(_BATCH, len(train)), replace=len(train) < _BATCH)
        batch = (x[at].float() - mean) / std
        batch = torch.rot90(batch, int(rng.integers(4)), (2, 3))
        if rng.integers(2):
            batch = batch.flip(3)
        loss = nn.functional.cross_entropy(head(pooled(network(batch))), y[at])
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        schedule.step()
    network.eval()
    with torch.no_grad():
        parts = [head(pooled(network((x[at].float() - mean) / std))).argmax(1) for at in np.array_split(test, 16)]
    return float((torch.cat(parts).numpy() == labels[test]).mean())
