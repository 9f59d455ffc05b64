"""The ground station: a plan of uploads and telecommands, worked off pass by pass; telemetry and products archived.

A core of `flight.step` with one port, "radio". Orders are dealt with in the order of their times; what follows a file
waits until the spacecraft has it, so a table never arrives before its map. State is saved as the link asks for it, and
a station that restarts goes on where it was. A telecommand for a time waits until the on-board clock is known.
"""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import msgpack

from flight.config import LinkConfig
from flight.link import events as link_events
from flight.link import municipal, product
from flight.link.dictionary import Telecommand, embed
from flight.link.endpoint import Endpoint
from flight.link.errors import LinkError, LinkFullError
from flight.link.events import LinkEvent
from flight.link.keys import KeyRing
from flight.link.pack import CodecError
from flight.link.packet import FileKind
from flight.link.transfer import File
from flight.step import NEVER, Message, Output, Step
from flight.store import Store
from ground.correlation import TimeCorrelation
from ground.events import EventsHeard

STATE_FORMAT = 3
INBOX_PERIOD_S = 1.0
CLOCK_COMMANDS = ("set-time", "adjust-time")


@dataclass(frozen=True)
class Tagged:
    """A telecommand to be executed at mission time `execute_s`, by the schedule on board."""

    execute_s: float
    if_late: str
    command: Telecommand

    def packet(self, on_board_s: float) -> Telecommand:
        """The telecommand that puts it into the schedule."""
        return Telecommand("schedule", {"at_s": on_board_s, "if_late": self.if_late, "command": embed(self.command)})


@dataclass(frozen=True)
class Order:
    """Something to send, not before mission time `at_s`: a file, a telecommand, or one for a time."""

    at_s: float
    item: File | Telecommand | Tagged


@dataclass(frozen=True)
class Window:
    """Contact from AOS to LOS [mission s]."""

    aos_s: float
    los_s: float


class Archive(Protocol):
    """Where the station puts what comes down."""

    def telemetry(self, t_s: float, kind: str, name: str, values: Mapping[str, Any]) -> None:
        """A telemetry packet, event or acknowledgement, received at mission time `t_s`."""
        ...

    def file(self, t_s: float, name: str, data: bytes) -> None:
        """A file."""
        ...

    def flush(self) -> None:
        """Bring everything to the disk."""
        ...


class Spooled(Protocol):
    """An order that waits outside of the station, under a name."""

    @property
    def name(self) -> str:
        """What it is called."""
        ...

    @property
    def order(self) -> Order:
        """The order."""
        ...


class Inbox(Protocol):
    """Where orders come from while the station runs."""

    def waiting(self) -> Sequence[Spooled]:
        """Orders that wait, in their order."""
        ...

    def done(self, name: str) -> None:
        """The link has it, and that is on disk."""
        ...

    def refuse(self, name: str, reason: str) -> None:
        """It can never be sent."""
        ...


class Station:
    """The station core. `windows` are disjoint and in order; `store` keeps what must survive a restart.

    Beside its `orders` it takes those of an `inbox`, telecommands at once and files between those of `orders`.
    """

    def __init__(
        self,
        config: LinkConfig,
        keys: KeyRing,
        windows: Sequence[Window],
        orders: Sequence[Order],
        archive: Archive,
        store: Store,
        inbox: Inbox | None = None,
    ) -> None:
        self.config = config
        self.windows = list(windows)
        self.orders = sorted(orders, key=lambda order: order.at_s)
        self.archive = archive
        self.store = store
        self.inbox = inbox
        self.endpoint = Endpoint("ground", config, keys)
        self.clock = TimeCorrelation()
        self.events = EventsHeard()
        self._clock_open: set[int] = set()  # telecommands that set the clock, not answered yet
        self.next_order = 0
        self.uploading: int | None = None  # transfer that the next order waits for
        self.delivered: list[list[Any]] = []  # name and mission time of each file that arrived
        self.failed: list[list[Any]] = []
        self.acknowledged: Counter[str] = Counter()
        self.rejected: Counter[str] = Counter()
        self.products: list[str] = []  # names of product files, as they came
        self.bad_products = 0
        self.taken: list[str] = []  # names of orders that the link has, and the inbox may not know
        self._inbox_s = -NEVER
        self._view = False
        self._radio_free_s = 0.0
        self._restore(keys)

    def step(self, t: float, inputs: Sequence[Message]) -> Step:
        """Take frames, issue orders that are due, transmit while there is contact."""
        self._look(t)
        for message in inputs:
            events = self.endpoint.receive(message.body, message.t)
            if not any(isinstance(event, link_events.FrameRejected) for event in events):
                self._hear(message)
            for event in events:
                self._take(event, t)
        self._issue(t)
        self._look_into_inbox(t)
        self._confirm_events(t)
        outputs = self._transmit(t)
        if self.endpoint.needs_save:
            self._save()
        return Step(outputs, self._next_due(t))

    def _look(self, t: float) -> None:
        """Tell the link of AOS and LOS."""
        while self.windows and t >= self.windows[0].los_s:
            self.windows.pop(0)
        view = bool(self.windows) and t >= self.windows[0].aos_s
        if view != self._view:
            self.endpoint.set_contact(view, t)
            self._view = view
            if not view:
                self.archive.flush()

    def _hear(self, message: Message) -> None:
        """Note when a frame began to arrive."""
        took_s = 8 * len(message.body) / self.config.downlink_bps
        self.clock.heard(self.endpoint.frame_received, message.t - took_s)

    def _take(self, event: LinkEvent, t: float) -> None:
        match event:
            case link_events.TelemetryReceived():
                if event.name == "time-report":
                    self.clock.told(*(event.values[name] for name in ("frame", "frame_s", "times_set")))
                kind = "event" if event.severity else "telemetry"
                if event.severity and not self.events.hear(event.values["serial"], event.values["t_s"], t):
                    return
                self.archive.telemetry(t, kind, event.name, event.values)
            case link_events.CommandAcknowledged(name="confirm-events"):
                pass  # the station's own
            case link_events.CommandAcknowledged():
                self.acknowledged[event.outcome] += 1
                if event.number in self._clock_open:
                    self._clock_open.remove(event.number)
                    self.clock.forget()
                values = {"number": event.number, "outcome": event.outcome, "reason": event.reason}
                self.archive.telemetry(t, "acknowledgement", event.name, values)
            case link_events.FileDelivered():
                self.delivered.append([event.name, t])
                self._end_upload(event.transfer_id)
            case link_events.FileFailed():
                self.failed.append([event.name, t, event.reason])
                self._end_upload(event.transfer_id)
            case link_events.FileReceived():
                self._keep(event.transfer_id, event.file, t)
            case link_events.FrameRejected() | link_events.PacketRejected():
                self.rejected[event.reason] += 1

    def cancel(self, transfer_id: int, t: float) -> None:
        """Give an upload up; LinkError if there is none of that id. What follows it goes on."""
        for event in self.endpoint.cancel(transfer_id):
            self._take(event, t)

    def suspend(self, transfer_id: int) -> None:
        """Let an upload wait until `resume`; LinkError if there is none of that id."""
        self.endpoint.suspend(transfer_id)

    def resume(self, transfer_id: int, t: float) -> None:
        """Go on with an upload; LinkError if there is none of that id."""
        self.endpoint.resume(transfer_id, t)

    def _end_upload(self, transfer_id: int) -> None:
        if transfer_id == self.uploading:
            self.uploading = None

    def _keep(self, transfer_id: int, file: File, t: float) -> None:
        """Archive a file that came down; a product that cannot be decoded is refused and counted."""
        try:
            if file.kind is FileKind.PRODUCT:
                product.unpack(file.data, self.config)
            elif file.kind is FileKind.MUNICIPAL_PRODUCT:  # its table needs the map, which the station has not
                municipal.read_header(file.data, self.config)
        except CodecError as error:
            self.bad_products += 1
            self.endpoint.refuse(transfer_id, str(error))
            return
        self.archive.file(t, file.name, file.data)
        if file.kind is FileKind.PRODUCT:
            self.products.append(file.name)
        self.endpoint.accept(transfer_id)

    def _issue(self, t: float) -> None:
        while self.uploading is None and self.next_order < len(self.orders):
            order = self.orders[self.next_order]
            if order.at_s > t:
                return
            try:
                if not self._hand_over(order):
                    return
            except LinkError as error:  # it can never be sent; what comes after it can
                item = order.item.command if isinstance(order.item, Tagged) else order.item
                self.failed.append([item.name, t, str(error)])
            self.next_order += 1

    def _hand_over(self, order: Order) -> bool:
        """Give the link what is ordered; whether it takes it now. LinkError if it never will."""
        try:
            if isinstance(order.item, File):
                self.uploading = self.endpoint.submit(order.item)
                return True
            return self._send(order.item)
        except LinkFullError:  # until the spacecraft has answered some
            return False

    def _confirm_events(self, t: float) -> None:
        """Tell the spacecraft which events are on disk; again later where the link is full."""
        runs = self.events.to_confirm(t)
        if runs:
            self.archive.flush()
        for first, last in runs:
            try:
                self.endpoint.send(Telecommand("confirm-events", {"first": first, "last": last}))
            except LinkFullError:
                self.events.wait(t)
                return
            self.events.confirmed(first, last, t)

    def _look_into_inbox(self, t: float) -> None:
        """Take what the inbox has: it hears of what the link took when that is on disk, so nothing goes twice."""
        if self.inbox is None or t < self._inbox_s:
            return
        self._inbox_s = t + INBOX_PERIOD_S
        self.archive.flush()
        refused = []
        for each in self.inbox.waiting():
            busy = self.uploading is not None and isinstance(each.order.item, File)
            if each.name in self.taken or busy or each.order.at_s > t:
                continue
            try:
                if self._hand_over(each.order):
                    self.taken.append(each.name)
            except LinkError as error:
                refused.append((each.name, str(error)))
        if self.taken:
            self._save()
        for name in self.taken:
            self.inbox.done(name)
        for name, reason in refused:
            self.inbox.refuse(name, reason)
        self.taken = []

    def _send(self, item: Telecommand | Tagged) -> bool:
        """Send a telecommand; one for a time only once the on-board clock is known, and not about to be set."""
        if isinstance(item, Tagged):
            estimate = self.clock.estimate()
            if estimate is None or self._clock_open:
                return False
            item = item.packet(max(0.0, estimate.on_board_s(item.execute_s)))
        number = self.endpoint.send(item)
        if item.name in CLOCK_COMMANDS:
            self._clock_open.add(number)
        return True

    def _transmit(self, t: float) -> list[Output]:
        if not self._view or t < self._radio_free_s:
            return []
        frame = self.endpoint.poll(t)
        if frame is None:
            return []
        if self.endpoint.needs_save:
            self._save()
        self._radio_free_s = t + self.endpoint.frame_time_s(frame)
        return [Output(t, "radio", frame)]

    def _next_due(self, t: float) -> float:
        due = NEVER
        if self.windows:
            due = self.windows[0].los_s if self._view else self.windows[0].aos_s
        if self.uploading is None and self.next_order < len(self.orders):
            at_s = self.orders[self.next_order].at_s
            due = min(due, at_s if at_s > t else NEVER)  # one that is late waits for room
        if self.inbox is not None:
            due = min(due, self._inbox_s)
        if self._view:
            due = min(due, self.events.due_s)
            due = min(due, max(self.endpoint.next_due(t), self._radio_free_s))
        return max(due, t)

    def _save(self) -> None:
        state = {
            "format": STATE_FORMAT,
            "endpoint": self.endpoint.save(),
            "next_order": self.next_order,
            "uploading": self.uploading,
            "delivered": self.delivered,
            "failed": self.failed,
            "products": self.products,
            "clock": self.clock.save(),
            "clock_open": sorted(self._clock_open),
            "taken": self.taken,
            "events": self.events.save(),
        }
        self.store.put("station", msgpack.packb(state))

    def _restore(self, keys: KeyRing) -> None:
        saved = self.store.get("station")
        if saved is None:
            return
        state = msgpack.unpackb(saved)
        if state["format"] != STATE_FORMAT:
            raise ValueError(f"station state of format {state['format']}, this version reads {STATE_FORMAT}")
        self.endpoint = Endpoint.restore(state["endpoint"], "ground", self.config, keys)
        self.next_order, self.uploading = state["next_order"], state["uploading"]
        self.delivered, self.failed, self.products = state["delivered"], state["failed"], state["products"]
        self.clock.restore(state["clock"])
        self._clock_open = set(state["clock_open"])
        self.taken = state["taken"]
        self.events.restore(state["events"])

    def report(self) -> dict[str, Any]:
        """Counters and state, for whoever watches the simulation."""
        counters, estimate = self.endpoint.counters, self.clock.estimate()
        return {
            "orders_left": len(self.orders) - self.next_order + (self.uploading is not None),
            "commands_open": self.endpoint.queued_packets,
            "delivered": self.delivered,
            "failed": self.failed,
            "acknowledged": dict(self.acknowledged),
            "frames_rejected": dict(self.rejected),
            "products": self.products,
            "bad_products": self.bad_products,
            "event_copies": self.events.copies,
            "clock": dataclasses.asdict(estimate) if estimate is not None else None,
            "bytes_sent": dict(counters.bytes_sent),
            "bytes_received": dict(counters.bytes_received),
            "frames_sent": counters.frames_sent,
            "frames_accepted": counters.frames_accepted,
            "frames_lost": dict(counters.frames_lost),
            "segments_resent": counters.segments_resent,
        }
