"""The event log as a file: the latest events as the dictionary packs them, and how often each has come.

fields   incarnation of the flight process, number of counts, number of events, length of the content
raw      on-board time at which the file was made (`flight.link.cuc`)
content  for each name that has come: id of the event (1), events since that process started (4);
         for each event kept, the oldest first: length of its body (1), body as in its packet
"""

from __future__ import annotations

import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from flight.kernels import PYTHON

from . import content, cuc, dictionary
from . import pack as wire
from .definitions import EVENTS, U16, U32
from .dictionary import Telemetry
from .errors import LinkError, RejectedError
from .packet import Apid

MAX_EVENTS = 256
_COUNT = struct.Struct(">BI")
_NAMES = {event.id: event.name for event in EVENTS}
_IDS = {event.name: event.id for event in EVENTS}


@dataclass(frozen=True)
class LoggedEvents:
    """The event log of a flight process at one moment.

    Attributes:
        incarnation: which start of the process, 0 to 65,535.
        made_s: on-board time.
        counts: how many events of each name there have been since that start, 1 to 2^32 - 1.
        events: the latest of them, at most 256, the oldest first.
    """

    incarnation: int
    made_s: float
    counts: Mapping[str, int]
    events: Sequence[Telemetry]


def pack(log: LoggedEvents, backend: str = PYTHON) -> bytes:
    """The log as a file; CodecError if it cannot be one."""
    if len(log.events) > MAX_EVENTS:
        raise wire.CodecError(f"event log: {len(log.events)} events, a file holds {MAX_EVENTS}")
    try:
        counts = sorted((_IDS[name], count) for name, count in log.counts.items())
        bodies = [_body(event) for event in log.events]
    except KeyError as error:
        raise wire.CodecError(f"event log: {error} is no event of the dictionary") from None
    except LinkError as error:
        raise wire.CodecError(f"event log: {error}") from None
    for event_id, count in counts:
        if not 1 <= count <= U32:
            raise wire.CodecError(f"event log: {count} events {_NAMES[event_id]}, not 1 to {U32}")
    data = b"".join(_COUNT.pack(*each) for each in counts) + b"".join(bytes([len(body)]) + body for body in bodies)
    head = (log.incarnation, len(counts), len(bodies), len(data))
    made = cuc.pack(log.made_s)
    return content.pack(wire.EVENT_LOG, head, made, data, wire.crc(head, made, data), backend)


def _body(event: Telemetry) -> bytes:
    if event.name not in _IDS:
        raise KeyError(event.name)
    return dictionary.encode(event.name, event.values)[1]


def unpack(data: bytes, backend: str = PYTHON) -> LoggedEvents:
    """The log in a file; CodecError for anything else."""
    reader = wire.Reader(wire.EVENT_LOG, data, content.FORMS)
    incarnation = reader.integer("the incarnation", 0, U16)
    n_counts = reader.integer("the number of counts", 0, len(EVENTS))
    n_events = reader.integer("the number of events", 0, MAX_EVENTS)
    most = n_counts * _COUNT.size + n_events * (1 + dictionary.largest_body_bytes(Apid.EVENT))
    size = reader.integer("the length of the content", 0, most)
    made = reader.raw("the on-board time", cuc.BYTES)
    found = content.read(reader, "the content", size, backend)
    reader.finish(wire.crc((incarnation, n_counts, n_events, size), made, found))
    counts = _counts(reader, found, n_counts)
    return LoggedEvents(incarnation, cuc.unpack(made), counts, _events(reader, found, n_counts * _COUNT.size, n_events))


def _counts(reader: wire.Reader, data: bytes, n: int) -> dict[str, int]:
    if len(data) < n * _COUNT.size:
        raise reader.error(f"ends within its {n} counts")
    pairs = list(_COUNT.iter_unpack(data[: n * _COUNT.size]))
    ids = [event_id for event_id, _ in pairs]
    if ids != sorted(set(ids)) or not all(count for _, count in pairs):
        raise reader.error("counts are not in the order of their ids, or one is 0")
    unknown = next((event_id for event_id in ids if event_id not in _NAMES), None)
    if unknown is not None:
        raise reader.error(f"the dictionary has no event {unknown}")
    return {_NAMES[event_id]: count for event_id, count in pairs}


def _events(reader: wire.Reader, data: bytes, at: int, n: int) -> list[Telemetry]:
    events = []
    for number in range(1, n + 1):
        end = at + 1 + data[at] if at < len(data) else len(data) + 1
        if end > len(data):
            raise reader.error(f"ends within event {number} of {n}")
        try:
            declared, _, values = dictionary.decode(Apid.EVENT, data[at + 1 : end])
        except RejectedError as error:
            raise reader.error(f"event {number}: {error}") from None
        events.append(Telemetry(declared.name, values))
        at = end
    if at != len(data):
        raise reader.error(f"{len(data) - at} bytes too many after its events")
    return events
