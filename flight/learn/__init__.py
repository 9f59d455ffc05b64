"""Learners: class proportions of chips from class proportions of municipalities. numpy only, no files, no clocks."""

from __future__ import annotations

from flight.kernels.backend import Backend
from flight.learn import state as _state
from flight.learn.base import Learner, NotReadyError
from flight.learn.downconv import Downconv
from flight.learn.grid import Encoder
from flight.learn.hybrid import Hybrid
from flight.learn.moments import Moments
from flight.learn.qkm import QKM
from flight.learn.state import StateError
from flight.learn.swath import Swath

LEARNERS: dict[str, type[Learner]] = {cls.name: cls for cls in (Swath, Hybrid, Moments, Downconv, QKM)}

__all__ = [
    "LEARNERS",
    "QKM",
    "Downconv",
    "Encoder",
    "Hybrid",
    "Learner",
    "Moments",
    "NotReadyError",
    "StateError",
    "Swath",
    "load_state",
]


def load_state(data: bytes, backend: Backend | None = None, encoder: Encoder | None = None) -> Learner:
    """The learner, of whichever class, whose `state()` was `data`, as `Learner.from_state` makes it."""
    name = _state.unpack(data)[0].get("learner")
    if not isinstance(name, str) or name not in LEARNERS:
        raise StateError(f"state is of learner {name!r}, known are {', '.join(LEARNERS)}")
    return LEARNERS[name].from_state(data, backend, encoder)
