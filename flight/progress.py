"""Figures over the mission that a checkpoint keeps."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass
class Progress:
    """How far the payload has come."""

    chips: int = 0  # taken in
    chips_refused: int = 0
    next_number: int = 0  # first chip number that is not taken in yet
    steps: int = 0  # training steps
    predicted: int = 0  # archived chips that the current model has predicted
    model_digest: bytes = b""
    overview: bool = False  # whether the current model's quick-look is made, or not needed
    products: int = 0
