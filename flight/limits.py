"""The table of limits: what the board says is held against it, and the strongest action of what is out of limits holds.

A limit trips when its parameter is beyond it in `persistence` readings in a row, and clears when it is back by `margin`
in as many. Tripping and clearing are events. `throttle` leaves the payload `throttle_share` of the CPU, `pause` stops
training and predicting as well, `safe` enters safe mode, which only a telecommand leaves.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from flight.config import ConfigError, LimitConfig
from flight.link.definitions import LIMIT_ACTIONS
from flight.link.errors import StateError
from flight.step import NEVER

PARAMETERS = {"battery": "share of full", "temperature_degc": "degC", "silence_s": "s since the last reading"}
MAX_LIMITS = 32
GRACE_S = 1.0  # silence is looked at so long after it has become too long


class Crossing(NamedTuple):
    """A limit that has tripped or cleared, and the value that did it."""

    limit: LimitConfig
    value: float
    tripped: bool


@dataclass
class _Count:
    """Where one limit stands: tripped or not, and how many readings in a row say otherwise."""

    tripped: bool = False
    readings: int = 0


def check(limits: Sequence[LimitConfig]) -> None:
    """ConfigError, with the path of the bad field, if the table cannot be used."""
    if len(limits) > MAX_LIMITS:
        raise ConfigError(f"limits: {len(limits)} of them, at most {MAX_LIMITS} are watched")
    for i, limit in enumerate(limits):
        where = f"limits[{i}]"
        if limit.parameter not in PARAMETERS:
            raise ConfigError(f"{where}.parameter: {limit.parameter!r} is unknown; known are {', '.join(PARAMETERS)}")
        if limit.action not in LIMIT_ACTIONS[1:]:
            raise ConfigError(f"{where}.action: {limit.action!r} is unknown; known are {', '.join(LIMIT_ACTIONS[1:])}")
        if (limit.low is None) == (limit.high is None):
            raise ConfigError(f"{where}: give either low or high")
        if not (limit.name and len(limit.name) <= 24 and limit.name.isascii() and limit.name.isprintable()):
            raise ConfigError(f"{where}.name: {limit.name!r} is not 1 to 24 printable characters of ASCII")
    names = [limit.name for limit in limits]
    if len(set(names)) < len(names):
        raise ConfigError(f"limits: a name is used twice among {', '.join(names)}")


class Limits:
    """A table of limits and where each stands."""

    def __init__(self, limits: Sequence[LimitConfig]) -> None:
        self._counts = {limit: _Count() for limit in limits}

    def replace(self, limits: Sequence[LimitConfig]) -> None:
        """Watch another table; a limit that is in both stands where it stood."""
        self._counts = {limit: self._counts.get(limit, _Count()) for limit in limits}

    def take(self, values: dict[str, float]) -> list[Crossing]:
        """Hold one reading of each parameter in `values` against the table; what has tripped or cleared."""
        crossings = []
        for limit, count in self._counts.items():
            value = values.get(limit.parameter)
            if value is not None and _against(limit, count, value):
                crossings.append(Crossing(limit, value, count.tripped))
        return crossings

    @property
    def action(self) -> str:
        """The strongest action asked for now; "none" without."""
        tripped = [LIMIT_ACTIONS.index(limit.action) for limit, count in self._counts.items() if count.tripped]
        return LIMIT_ACTIONS[max(tripped, default=0)]

    @property
    def holding_safe(self) -> str:
        """The name of a limit that asks for safe mode; empty without."""
        return next((each.name for each, count in self._counts.items() if count.tripped and each.action == "safe"), "")

    def silence_due_s(self, last_s: float) -> float:
        """When silence since `last_s` trips the first limit on it; infinity if there is none that has not tripped."""
        waiting = [
            each.high for each, count in self._counts.items() if each.parameter == "silence_s" and not count.tripped
        ]
        return min((last_s + high + GRACE_S for high in waiting if high is not None), default=NEVER)

    def save(self) -> list[str]:
        """The names of the limits that are tripped, as plain values."""
        return [limit.name for limit, count in self._counts.items() if count.tripped]

    def restore(self, saved: Any) -> None:
        """Go on with what `save` returned; StateError if it is not that."""
        if not isinstance(saved, list) or not all(isinstance(name, str) for name in saved):
            raise StateError("limits: not a list of names")
        for limit, count in self._counts.items():
            count.tripped = limit.name in saved


def _against(limit: LimitConfig, count: _Count, value: float) -> bool:
    """Count one reading of a limit; whether that has tripped or cleared it."""
    if limit.low is not None:
        beyond, back = value < limit.low, value >= limit.low + limit.margin
    else:
        high = limit.high or 0.0
        beyond, back = value > high, value <= high - limit.margin
    otherwise = back if count.tripped else beyond
    count.readings = count.readings + 1 if otherwise else 0
    if count.readings < limit.persistence:
        return False
    count.tripped, count.readings = not count.tripped, 0
    return True
