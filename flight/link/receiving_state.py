"""What a receiver saves of its transactions, as plain values, and reads back strictly."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from flight.link import state
from flight.link.cfdp.destination import Destination, State
from flight.link.cfdp.pdu import Condition, Eof, FileStatus, Finished, Metadata, Transaction
from flight.link.errors import StateError
from flight.link.transfer import name_allowed, short_reason

# Columns of a transaction under way: header, metadata, EOF, Finished, suspended, data, extents.
DESTINATION = (list, list, list, list, bool, bytes, list)
FINISHED = (int, bool, int, str)


def of_finished(finished: Finished) -> list[Any]:
    """How a transaction ended."""
    return [finished.condition.value, finished.complete, finished.file_status.value, finished.message]


def to_finished(saved: Sequence[Any], path: str) -> Finished:
    """How a transaction ended; StateError if the codes are none."""
    condition, complete, status, message = saved
    try:
        return Finished(Condition(condition), complete, FileStatus(status), short_reason(message))
    except ValueError as error:
        raise StateError(f"{path}: {error}") from None


def of_destination(d: Destination) -> list[Any]:
    """A transaction under way, or not confirmed by its sender."""
    t, m = d.transaction, d.metadata
    return [
        [t.id_bytes, t.number_bytes, t.acknowledged, t.crc, t.large],
        [m.size, m.source_name, m.destination_name, m.checksum_type, m.closure] if m else [],
        [d.eof.checksum, d.eof.size] if d.eof else [],
        of_finished(d.finished) if d.state is State.FINISHED else [],
        d.suspended,
        d.data,
        [list(extent) for extent in d.got],
    ]


def to_destination(
    entities: tuple[int, int],
    number: int,
    saved: Sequence[Any],
    make: Callable[[Transaction], Destination],
    path: str,
) -> Destination:
    """A transaction as it was saved; StateError at the path of what cannot be."""
    header, metadata, eof, finished, suspended, data, extents = saved
    wide = state.entries([header], f"{path}.header", int, int, bool, bool, bool)[0]
    state.check(all(1 <= width <= 8 for width in wide[:2]), f"{path}.header", header)
    destination = make(Transaction(*entities, number, *wide))
    if metadata:
        row = state.entries([metadata], f"{path}.metadata", int, str, str, int, bool)[0]
        destination.metadata = Metadata(*row)
        state.check(name_allowed(destination.metadata.destination_name), f"{path}.metadata", metadata)
    if eof:
        destination.eof = Eof(*state.entries([eof], f"{path}.eof", int, int)[0])
    end = 0
    for start, stop in state.entries(extents, f"{path}.extents", int, int):
        state.check(end <= start < stop <= len(data), f"{path}.extents", start)
        destination.got.add(start, stop)
        end = stop
    state.check(end == len(data) <= (destination.size or len(data)), f"{path}.data", len(data))
    destination.buffer, destination.suspended, destination.touched_s = bytearray(data), suspended, 0.0
    if finished:
        told = state.entries([finished], f"{path}.finished", *FINISHED)[0]
        destination.finish(to_finished(told, f"{path}.finished"), 0.0)
    return destination
