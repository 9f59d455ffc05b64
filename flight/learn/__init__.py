"""Learners: class proportions of chips from class proportions of municipalities. numpy only, no files, no clocks."""

from __future__ import annotations

import importlib
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from flight.kernels.backend import Backend
from flight.learn import state as _state
from flight.learn.base import Learner, NotReadyError
from flight.learn.grid import Encoder
from flight.learn.state import StateError

if TYPE_CHECKING:
    from flight.learn.downconv import Downconv
    from flight.learn.hybrid import Hybrid
    from flight.learn.moments import Moments
    from flight.learn.qkm import QKM
    from flight.learn.swath import Swath

_CLASSES = ("Swath", "Hybrid", "Moments", "Downconv", "QKM")


INSTALLED = "swath.learners"  # group of entry points by which other packages bring learners


class _Learners(Mapping[str, type[Learner]]):
    """Classes by name, each imported when it is asked for: a flight process uses one of them.

    These are swath's own; one that an installed package brings is found by its name as well, in the second place.
    """

    def __getitem__(self, name: str) -> type[Learner]:
        for cls in _CLASSES:
            if name == cls.lower():
                found: type[Learner] = __getattr__(cls)
                return found
        return _installed(name)

    def __iter__(self) -> Iterator[str]:
        return map(str.lower, _CLASSES)

    def __len__(self) -> int:
        return len(_CLASSES)


def _installed(name: str) -> type[Learner]:
    from importlib import metadata  # a megabyte that swath's own learners do not need

    for point in metadata.entry_points(group=INSTALLED, name=name):
        cls = point.load()
        if not (isinstance(cls, type) and issubclass(cls, Learner) and cls.name == name):
            raise TypeError(f"entry point {name} = {point.value}: is not a Learner of that name")
        brought: type[Learner] = cls
        return brought
    raise KeyError(name)


LEARNERS: Mapping[str, type[Learner]] = _Learners()


def __getattr__(name: str) -> Any:
    if name not in _CLASSES:
        raise AttributeError(f"module {__name__} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{name.lower()}"), name)


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
