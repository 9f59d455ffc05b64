"""The record `mission`: link, on-board time, mode, limits, commanding and events, as they survive a restart."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgpack

from flight.link.definitions import MODES
from flight.link.endpoint import Endpoint
from flight.link.errors import RejectedError, StateError
from flight.store import StateFormatError, Store, read_state

if TYPE_CHECKING:
    from flight.executive import Executive

RECORD = "mission"
FORMAT = 2


def read(store: Store) -> dict[str, Any] | None:
    """What was written last; None if there is nothing. StateFormatError if it is of another format."""
    saved = store.get(RECORD)
    return read_state(saved, RECORD, FORMAT) if saved is not None else None


def write(flight: Executive) -> None:
    """Bring the state of `flight` to the disk; StoreError if that fails."""
    towns = flight.payload.products.towns.request
    state = {
        "format": FORMAT,
        "endpoint": flight.endpoint.save(),
        "task_id": flight.payload.task_id,
        "incarnation": flight.incarnation,
        "time": [flight.time.offset_s, flight.time.times_set],
        "mode": [flight.modes.mode, flight.modes.cause],
        "limits": flight.power.limits.save(),
        "events": flight.log.save(),
        "commanding": flight.commanding.save(),
        "predicted": flight.payload.progress.predicted,
        "products": flight.payload.progress.products,
        "municipal": vars(towns) if towns is not None else None,
    }
    flight.store.put(RECORD, msgpack.packb(state), twice=True)


def restore(flight: Executive, state: dict[str, Any]) -> int:
    """Take in what `write` wrote; the task that was active."""
    try:
        flight.endpoint = Endpoint.restore(state["endpoint"], "space", flight.config.link, flight.keys)
        flight.log.restore(state["events"])
        flight.commanding.restore(state["commanding"])
        flight.power.limits.restore(state["limits"])
        mode, cause = state["mode"]
        if mode not in MODES:
            raise StateError(f"mode {mode!r} is unknown")
    except (StateError, RejectedError) as error:
        raise StateFormatError(f"{RECORD}: {error}") from error
    flight.modes.enter(mode, str(cause))
    flight.incarnation = state["incarnation"]
    progress = flight.payload.progress
    progress.predicted = min(progress.predicted, state["predicted"])  # a telecommand may have set it back
    progress.products = max(progress.products, state["products"])  # no number twice
    return int(state["task_id"])
