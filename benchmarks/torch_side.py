"""The network of `downconv` in torch, as a rival: one thread, in each of torch's memory formats."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

WHY = "torch is not installed"
_FORMATS = {"torch": "contiguous_format", "torch channels last": "channels_last"}
_CELL_PX, _DROPOUT = 4, 0.1


def installed() -> bool:
    """Whether torch can be imported; does not import it."""
    return importlib.util.find_spec("torch") is not None


def training_steps(
    chips: NDArray[np.uint8], shares: NDArray[np.float32], labels: NDArray[np.float32], n_hidden: int
) -> dict[str, Callable[[], object]]:
    """A step of Adam on the squared error of municipalities, by memory format.

    Args:
        chips: uint8 (n, height, width, bands): each step begins with them, as on board.
        shares: float32 (n_municipalities, n), rows sum to 1.
        labels: float32 (n_municipalities, n_classes).
        n_hidden: hidden units.
    """
    return (
        {name: _step(chips, shares, labels, n_hidden, kind) for name, kind in _FORMATS.items()} if installed() else {}
    )


def predictions(chips: NDArray[np.uint8], n_hidden: int, n_classes: int) -> dict[str, Callable[[], object]]:
    """Proportions (n, n_classes) of uint8 chips, by memory format."""
    return (
        {name: _prediction(chips, n_hidden, n_classes, kind) for name, kind in _FORMATS.items()} if installed() else {}
    )


def _network(bands: int, n_hidden: int, n_classes: int, kind: str) -> tuple[Any, Any, Any]:
    import torch

    torch.set_num_threads(1)
    torch.manual_seed(0)
    network = torch.nn.Sequential(
        torch.nn.Conv2d(bands, n_hidden, _CELL_PX, _CELL_PX),
        torch.nn.ReLU(),
        torch.nn.Dropout(_DROPOUT),
        torch.nn.Conv2d(n_hidden, n_classes, 1),
        torch.nn.Softmax(dim=1),
    )
    memory_format = getattr(torch, kind)
    return torch, network.to(memory_format=memory_format), memory_format


def _images(torch: Any, chips: NDArray[np.uint8], memory_format: Any) -> Any:
    images = torch.from_numpy(chips).permute(0, 3, 1, 2).to(torch.float32)
    return images.mul_(1 / 255).contiguous(memory_format=memory_format)


def _step(
    chips: NDArray[np.uint8], shares: NDArray[np.float32], labels: NDArray[np.float32], n_hidden: int, kind: str
) -> Callable[[], object]:
    torch, network, memory_format = _network(chips.shape[3], n_hidden, labels.shape[1], kind)
    optimiser = torch.optim.Adam(network.parameters(), lr=1e-3)
    weight, target = torch.from_numpy(shares), torch.from_numpy(labels)

    def step() -> object:
        optimiser.zero_grad(set_to_none=True)
        cells = network(_images(torch, chips, memory_format))
        loss = torch.square(weight @ cells.mean(dim=(2, 3)) - target).mean()
        loss.backward()
        return optimiser.step()

    return step


def _prediction(chips: NDArray[np.uint8], n_hidden: int, n_classes: int, kind: str) -> Callable[[], object]:
    torch, network, memory_format = _network(chips.shape[3], n_hidden, n_classes, kind)
    network.eval()

    def predict() -> object:
        with torch.inference_mode():
            return network(_images(torch, chips, memory_format)).mean(dim=(2, 3)).numpy()

    return predict


def product(
    a: NDArray[np.float32], b: NDArray[np.float32], start: NDArray[np.float32], repeats: int
) -> dict[str, Callable[[], object]]:
    """The matrix product ``start + A B``, so many times."""
    if not installed():
        return {}
    import torch

    torch.set_num_threads(1)
    left, right, row = (torch.from_numpy(array) for array in (a, b, start))
    out = torch.empty(len(a), len(start))
    return {"torch": lambda: [torch.addmm(row, left, right, out=out) for _ in range(repeats)]}
