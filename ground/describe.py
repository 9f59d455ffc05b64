"""Frames taken apart layer by layer, for people: frame, security, packets, and what the packets hold.

One function a layer, each on the flight segment's own codec for it. Nothing here decides anything: a layer that cannot
be read is described by its error, and those above it still stand.
"""

from __future__ import annotations

import dataclasses
import hmac
import struct
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from flight.config import LinkConfig
from flight.link import dictionary, tc, tm
from flight.link.cfdp import codec
from flight.link.cfdp import pdu as cfdp
from flight.link.channels import Reception
from flight.link.errors import RejectedError
from flight.link.frame import CRC_BYTES, SECURITY_HEADER, TRAILER_BYTES, Direction, Frame, Header
from flight.link.keys import KeyRing
from flight.link.packet import HEADER_BYTES, IDLE_APID, Apid, FileKind, label, purpose, split, whole
from flight.link.security import expand, tag

MAX_FRAME_BYTES = 1024
FRAMING = "framing"
CONTINUED = "continued packet"  # bytes of a packet that a frame does not end
DIRECTIONS = {"up": Direction.UPLINK, "down": Direction.DOWNLINK}


@dataclass(frozen=True)
class Layer:
    """One layer of a frame: its name, what it holds by name (JSON types), and what is wrong with it, if anything."""

    name: str
    values: dict[str, Any] = field(default_factory=dict)
    error: str = ""


@dataclass(frozen=True)
class Described:
    """A frame, layer by layer from the outside in; `shares` are its bytes by purpose, and sum to its length."""

    layers: list[Layer]
    shares: dict[str, int]

    @property
    def readable(self) -> bool:
        """Whether the frame itself could be read."""
        return not self.layers[0].error


class Describer:
    """Describes the frames of one capture in their order; with `keys` it checks their tags.

    A packet that spans frames is described with the frame that ends it.
    """

    def __init__(self, keys: KeyRing | None = None) -> None:
        self.keys = keys
        self._highest = dict.fromkeys(Direction, 0)
        self._receptions = {way: Reception(way, LinkConfig().counter_block, {}) for way in Direction}

    def describe(self, data: bytes, way: str) -> Described:
        """The layers of a frame that went `way`, "up" or "down"."""
        direction = DIRECTIONS[way]
        layer, header = describe_frame(data, direction)
        if header is None:
            return Described([layer], {"unreadable": len(data)})
        frame = self._opened(data, header, direction)
        security = describe_security(data, frame, direction, self.keys)
        if security.values["tag"] == "good":
            self._highest[direction] = max(frame.counter, self._highest[direction])
        layers, shares = [layer, security], {FRAMING: len(data) - len(frame.data)}
        if security.error or header.first_header == tm.ONLY_IDLE_DATA:
            what = "unreadable" if security.error else label(IDLE_APID)
            return Described(layers, shares | {what: len(frame.data)})
        self._describe_data(frame, direction, layers, shares)
        return Described(layers, shares)

    def _opened(self, data: bytes, header: Header, direction: Direction) -> Frame:
        key_id, low = SECURITY_HEADER.unpack_from(data, header.security_at)
        counter = expand(low, self._highest[direction])
        return Frame(header, counter, key_id, data[header.security_at + SECURITY_HEADER.size : -TRAILER_BYTES])

    def _describe_data(self, frame: Frame, direction: Direction, layers: list[Layer], shares: dict[str, int]) -> None:
        """Append the layers of the packets that the frame ends, and their bytes in it."""
        runs = self._receptions[direction].take(frame)
        head, tail = _cut(frame, direction)
        ends_earlier = sum(map(len, runs)) > len(frame.data) - head - tail  # the first packet began before
        if head + tail:
            shares[CONTINUED] = tail if ends_earlier else head + tail
        for run in runs:
            for what, parts in describe_packets(run, direction):
                layers += parts
                here = head if ends_earlier else int(parts[0].values["bytes"])
                ends_earlier = False
                shares[what] = shares.get(what, 0) + here


def _cut(frame: Frame, direction: Direction) -> tuple[int, int]:
    """Bytes at the beginning of the data that go on with a packet, and at the end that begin one."""
    pointer = frame.header.first_header
    if direction is Direction.UPLINK:
        return 0, 0
    if pointer == tm.NO_PACKET_STARTS:
        return len(frame.data), 0
    return pointer, len(frame.data) - pointer - whole(frame.data[pointer:])


def describe_frame(data: bytes, direction: Direction) -> tuple[Layer, Header | None]:
    """The primary header of a TC frame (up) or TM frame (down), and the CRC; no header if that fails."""
    uplink = direction is Direction.UPLINK
    try:
        header = tc.parse(data, MAX_FRAME_BYTES) if uplink else tm.parse(data, min(len(data), MAX_FRAME_BYTES))
    except (RejectedError, struct.error) as error:
        return Layer("frame", {"bytes": len(data)}, str(error)), None
    if len(data) < header.security_at + SECURITY_HEADER.size + TRAILER_BYTES:
        return Layer("frame", {"bytes": len(data)}, f"too_short: {len(data)} bytes have no room for security"), None
    values: dict[str, Any] = {
        "kind": "tc" if uplink else "tm",
        "spacecraft": header.spacecraft_id,
        "channel": header.channel.name.lower(),
        "bytes": len(data),
        "crc": "good",
    }
    if not uplink:
        counts = {"master_count": header.master_count, "channel_count": header.channel_count}
        values |= counts | {"first_header": header.first_header}
    return Layer("frame", values), header


def describe_security(data: bytes, frame: Frame, direction: Direction, keys: KeyRing | None) -> Layer:
    """Key, counter and tag; the tag is good, bad or, without keys, unchecked."""
    values: dict[str, Any] = {"key": frame.key_id, "counter": frame.counter, "tag": "unchecked"}
    if keys is None:
        return Layer("security", values)
    key = keys.derive(frame.header.spacecraft_id, direction).get(frame.key_id)
    if key is None:
        return Layer("security", values, f"unknown_key: key {frame.key_id} is not in the key file")
    expected = tag(key, frame.counter, data[:-TRAILER_BYTES])
    good = hmac.compare_digest(expected, data[-TRAILER_BYTES : len(data) - CRC_BYTES])
    values["tag"] = "good" if good else "bad"
    error = "" if good else f"bad_tag: does not fit key {frame.key_id} and counter {frame.counter}"
    return Layer("security", values, error)


def describe_packets(payload: bytes, direction: Direction) -> Iterator[tuple[str, list[Layer]]]:
    """For each packet its purpose, and its layers: the packet, then what it holds."""
    packets = split(payload, direction)
    left = len(payload)
    while True:
        try:
            apid, body = next(packets)
        except StopIteration:
            return
        except RejectedError as error:
            yield "unreadable", [Layer("packet", {"bytes": left}, str(error))]
            return
        size = HEADER_BYTES + len(body)
        left -= size
        try:
            what = label(apid)
            inner = [] if apid == IDLE_APID else [describe_body(purpose(apid), body)]
        except RejectedError as error:
            what, inner = "unreadable", [Layer("body", {}, str(error))]
        yield what, [Layer("packet", {"apid": f"0x{apid:03x}", "purpose": what, "bytes": size}), *inner]


def describe_body(what: Apid | FileKind, body: bytes) -> Layer:
    """What a packet holds: a unit of a file transfer, or an entry of the dictionary with its values."""
    if what is Apid.FILE_REPORT or isinstance(what, FileKind):
        return describe_unit(body)
    return describe_entry(what, body)


def describe_unit(body: bytes) -> Layer:
    """A protocol data unit of a file transfer."""
    try:
        transaction, unit = codec.unpack(body)
    except RejectedError as error:
        return Layer("file", {"bytes": len(body)}, str(error))
    values = {each.name: _plain(getattr(unit, each.name)) for each in dataclasses.fields(unit)}
    if isinstance(unit, cfdp.FileData):
        values["data"] = f"{len(unit.data)} bytes"
    return Layer("file", {"pdu": type(unit).__name__, "transaction": transaction.number, **values})


def describe_entry(apid: int, body: bytes) -> Layer:
    """A telecommand, acknowledgement, telemetry packet or event, by the dictionary."""
    try:
        definition, number, values = dictionary.decode(apid, body)
    except RejectedError as error:
        return Layer("dictionary", {"bytes": len(body)}, str(error))
    plain = {name: _plain(value) for name, value in values.items()}
    if apid == Apid.ACKNOWLEDGEMENT:
        plain["command"] = dictionary.command_name(values["command_id"])
    return Layer("dictionary", {"name": definition.name, "number": number, **plain})


def _plain(value: Any) -> Any:
    if isinstance(value, bytes):
        return value.hex()
    if isinstance(value, tuple):
        return [_plain(each) for each in value]
    return value.name.lower() if hasattr(value, "name") else value
