"""The loss of a run as a picture."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from ground.files import replaced

_WINDOW = 50  # steps that are averaged


def plot_losses(path: Path, title: str, names: tuple[str, ...], history: list[list[float]]) -> None:
    """Terms of the loss against steps, averaged over 50, to a PNG."""
    from matplotlib.figure import Figure

    losses = np.array(history)
    window = max(1, min(_WINDOW, len(losses) // 10))
    n = len(losses) // window
    means = losses[: n * window].reshape(n, window, -1).mean(axis=1)
    figure = Figure(figsize=(7, 2.6 * len(names)), layout="constrained")
    for axes, name, values in zip(figure.subplots(len(names), squeeze=False)[:, 0], names, means.T, strict=True):
        axes.plot(np.arange(1, n + 1) * window, values)
        axes.set(ylabel=name, xlabel="step")
        axes.grid(alpha=0.3)
    figure.suptitle(title)
    with replaced(path) as partial:
        figure.savefig(partial, format="png", dpi=110)
