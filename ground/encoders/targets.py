"""What statistics of a chip's cells say of it, as a target to regress: means, spreads and correlations, whitened.

Hand-made statistics are strong features. A network that must also foretell them keeps what they know, and learns the
rest from the contrast of views.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from flight.learn.context import correlated, describe
from flight.learn.features import CellFeatures

_LEAST = 1e-6


def descriptions(chips: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Means, log spreads and correlations over cells of the statistics of their windows, a row a chip.

    (n, height, width, bands) to (n, 252) for three bands.
    """
    cells = CellFeatures(chips.shape[1:], raw=False)
    some = correlated(cells.n_features)
    return np.concatenate([describe(cells(chip)[None], some) for chip in chips])


def whitened(rows: NDArray[np.float32], n_components: int) -> NDArray[np.float32]:
    """The first principal components of standardised `rows` (n, m), each with unit variance: (n, n_components)."""
    x = rows.astype(np.float64) - rows.mean(0, dtype=np.float64)
    x /= x.std(0) + _LEAST
    n_components = min(n_components, len(x) - 1, x.shape[1])
    values, axes = np.linalg.eigh(x.T @ x / len(x))
    values, axes = values[::-1][:n_components], axes[:, ::-1][:, :n_components]
    components: NDArray[np.float64] = x @ axes / np.sqrt(np.maximum(values, _LEAST))
    return components.astype(np.float32)
