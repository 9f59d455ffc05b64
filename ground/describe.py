"""Frames taken apart layer by layer, for people: frame, security, packets, and what the packets hold.

One function a layer, each on the flight segment's own codec for it. Nothing here decides anything: a layer that cannot
be read is described by its error, and those above it still stand.
"""

from __future__ import annotations

import dataclasses
import hmac
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from flight.link import dictionary, pdu
from flight.link.errors import RejectedError
from flight.link.frame import CRC_BYTES, OVERHEAD_BYTES, TAG_BYTES, Direction, Frame, parse
from flight.link.keys import KeyRing
from flight.link.packet import HEADER_BYTES, Apid, FileKind, label, purpose, split
from flight.link.security import expand, tag

MAX_FRAME_BYTES = 1024
FRAMING = "framing"
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
    """Describes the frames of one capture in their order; with `keys` it checks their tags."""

    def __init__(self, keys: KeyRing | None = None) -> None:
        self.keys = keys
        self._highest = dict.fromkeys(Direction, 0)

    def describe(self, data: bytes, way: str) -> Described:
        """The layers of a frame that went `way`, "up" or "down"."""
        direction = DIRECTIONS[way]
        layer, frame = describe_frame(data)
        if frame is None:
            return Described([layer], {"unreadable": len(data)})
        layers = [layer, self._describe_security(data, frame, direction)]
        shares = {FRAMING: OVERHEAD_BYTES}
        for what, parts in describe_packets(frame.payload, direction):
            layers += parts
            shares[what] = shares.get(what, 0) + int(parts[0].values["bytes"])
        return Described(layers, shares)

    def _describe_security(self, data: bytes, frame: Frame, direction: Direction) -> Layer:
        counter = expand(frame.counter_low, self._highest[direction])
        layer = describe_security(data, frame, direction, counter, self.keys)
        if layer.values["tag"] == "good":
            self._highest[direction] = max(counter, self._highest[direction])
        return layer


def describe_frame(data: bytes) -> tuple[Layer, Frame | None]:
    """The header and the CRC; no frame if that fails."""
    try:
        frame = parse(data, MAX_FRAME_BYTES)
    except RejectedError as error:
        return Layer("frame", {"bytes": len(data)}, str(error)), None
    values = {
        "direction": frame.direction.name.lower(),
        "spacecraft": frame.spacecraft_id,
        "channel": frame.channel.name.lower(),
        "bytes": len(data),
        "crc": "good",
    }
    return Layer("frame", values), frame


def describe_security(data: bytes, frame: Frame, direction: Direction, counter: int, keys: KeyRing | None) -> Layer:
    """Key, counter and tag; the tag is good, bad or, without keys, unchecked."""
    values: dict[str, Any] = {"key": frame.key_id, "counter": counter, "tag": "unchecked"}
    if keys is None:
        return Layer("security", values)
    key = keys.derive(frame.spacecraft_id, direction).get(frame.key_id)
    if key is None:
        return Layer("security", values, f"unknown_key: key {frame.key_id} is not in the key file")
    good = hmac.compare_digest(tag(key, counter, data[: -TAG_BYTES - CRC_BYTES]), frame.tag)
    values["tag"] = "good" if good else "bad"
    return Layer("security", values, "" if good else f"bad_tag: does not fit key {frame.key_id} and counter {counter}")


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
            inner = [describe_body(purpose(apid), body)]
        except RejectedError as error:
            what, inner = "unreadable", [Layer("body", {}, str(error))]
        yield what, [Layer("packet", {"apid": f"0x{apid:03x}", "purpose": what, "bytes": size}), *inner]


def describe_body(what: Apid | FileKind, body: bytes) -> Layer:
    """What a packet holds: a unit of a file transfer, or an entry of the dictionary with its values."""
    if what is Apid.FILE_REPORT or isinstance(what, FileKind):
        return describe_unit(body)
    return describe_entry(what, body)


def describe_unit(body: bytes) -> Layer:
    """A unit of a file transfer."""
    try:
        unit = pdu.unpack(body)
    except RejectedError as error:
        return Layer("file", {"bytes": len(body)}, str(error))
    values = {each.name: _plain(getattr(unit, each.name)) for each in dataclasses.fields(unit)}
    if isinstance(unit, pdu.Segment):
        values["data"] = f"{len(unit.data)} bytes"
    return Layer("file", {"unit": type(unit).__name__.lower(), **values})


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
