"""One end of the link, ground or space: the seam between the protocol and everything else.

The owner brings received frames and the mission time, and takes away frames to transmit, one at a time, each of which
keeps the radio busy for `frame_time_s`. Its loop::

    events = endpoint.receive(frame, t)     # act on the events: execute, put files on disk, accept them
    frame = endpoint.poll(t)
    if endpoint.needs_save:
        write(endpoint.save())              # to disk, before the frame leaves; if that fails, the frame must not leave
    transmit(frame)
"""

from __future__ import annotations

from typing import Literal

from flight.config import LinkConfig
from flight.link import dictionary, state, tc
from flight.link.cfdp import codec
from flight.link.cfdp import pdu as cfdp
from flight.link.cfdp.pdu import Pdu, Transaction
from flight.link.cfdp.timing import Timing
from flight.link.contact import NEVER, NOW, TOLERANCE_S, Contact
from flight.link.counters import Counters, add_bytes
from flight.link.datalink import DataLink, max_body_bytes
from flight.link.dictionary import Telecommand, Telemetry
from flight.link.errors import LinkError, RejectedError, StateError
from flight.link.events import (
    FileDelivered,
    FileFailed,
    FileRefused,
    FrameRejected,
    KeyChanged,
    LinkEvent,
    PacketRejected,
    Progress,
    TelemetryReceived,
)
from flight.link.frame import COUNTER_MASK, Channel, Direction
from flight.link.keys import KeyRing
from flight.link.outbox import Outbox
from flight.link.packet import HEADER_BYTES, IDLE_APID, Apid, FileKind, label, purpose, split
from flight.link.receiving import Receiver
from flight.link.schema import MAX_NUMBER, Field
from flight.link.security import SecureChannel
from flight.link.sending import Sender
from flight.link.telecommanding import Role, Telecommanding
from flight.link.transfer import MAX_NAME_CHARS, File

STATE_VERSION = 2
# What goes up must fit a frame whole, what comes down may span several.
MIN_FRAME_BYTES = (
    tc.OVERHEAD_BYTES
    + HEADER_BYTES
    + max(cfdp.largest_metadata_bytes(MAX_NAME_CHARS), dictionary.largest_body_bytes(Apid.COMMAND))
)
NORMAL_PRIORITY = 100
_PRIORITY = Field("priority", "int", 0, 255)


class Endpoint:
    """One end of the link. `counters` holds the totals; `needs_save` tells when `save()` must reach the disk.

    `frame_sent` and `frame_received` are the counters of the latest frame each way (low 32 bits; -1 before the first):
    with the times of both ends they correlate clocks.

    `first_number` is where frame counters, telecommand numbers and transfer ids begin: an end that has lost its saved
    state starts above all that it has ever used, or the other end takes what it sends for replays.
    """

    def __init__(self, role: Role, config: LinkConfig, keys: KeyRing, first_number: int = 0) -> None:
        if config.frame_bytes < MIN_FRAME_BYTES:
            raise LinkError(
                f"link.frame_bytes: {config.frame_bytes} is too small for the largest packet, needs {MIN_FRAME_BYTES}"
            )
        if not 0 <= first_number < MAX_NUMBER:
            raise LinkError(f"first_number: {first_number} is not between 0 and {MAX_NUMBER - 1}")
        self.role: Role = role
        self.config = config
        self._sends = Direction.UPLINK if role == "ground" else Direction.DOWNLINK
        self._rate_bps = config.uplink_bps if role == "ground" else config.downlink_bps
        self.counters = Counters()
        self._secure = SecureChannel(config, keys, self._sends, first_number)
        self._link = DataLink(config, self._secure, self._sends, self.counters)
        self._contact = Contact()
        self._telemetry = Outbox(config.max_queued_packets)
        self._commands = Telecommanding(role, config, self._secure.use, self.counters, first_number)
        entities, timing = self._entities(), self._timing()
        self._sender = Sender(config, entities, max_body_bytes(self._sends, config.frame_bytes), timing, first_number)
        self._receiver = Receiver(config, entities[::-1], timing)
        self._keepalive_at = NOW
        self.frame_sent = self.frame_received = -1
        self._shows_key = self._telemetry_only = False
        self.needs_save = True

    def _entities(self) -> tuple[int, int]:
        """CFDP ids of this end and of the far one."""
        ground, space = self.config.ground_entity, self.config.space_entity
        return (ground, space) if self.role == "ground" else (space, ground)

    def _timing(self) -> Timing:
        config = self.config
        far_bps = config.downlink_bps if self.role == "ground" else config.uplink_bps
        return Timing.over_radio(
            config.frame_bytes,
            self._rate_bps,
            far_bps,
            config.turnaround_s,
            nak_delay_s=config.nak_delay_s,
            attempts=config.ack_limit,
            slow_s=config.retry_s,
            inactivity_s=config.inactivity_s,
            immediate_nak=config.immediate_nak,
        )

    # What the owner wants sent.

    def submit(self, file: File, priority: int = NORMAL_PRIORITY) -> int:
        """Send a file, lower priority number (0 to 255) first; its transfer id, which the later event will name.

        LinkError if it is larger than the link takes, LinkFullError if too many files wait.
        """
        _PRIORITY.checked(priority, "priority")
        transfer_id = self._sender.submit(file, priority)
        self.needs_save = True
        return transfer_id

    def send(self, packet: Telecommand | Telemetry, priority: int = NORMAL_PRIORITY) -> int:
        """Queue a telecommand (ground) or telemetry (space), lower priority number (0 to 255) first.

        Returns a telecommand's number; 0 for telemetry. A telecommand is repeated until it is acknowledged; sent again
        with its number, it is a copy. Telemetry is sent once; when the queue is full, the oldest of the least urgent is
        dropped and counted. FieldError if the values are not as the dictionary declares them.
        """
        _PRIORITY.checked(priority, "priority")
        if isinstance(packet, Telecommand):
            number = self._commands.send(packet, priority)
            self._note_saves()
            return number
        apid, body = dictionary.encode(packet.name, packet.values)
        if self.role != "space" or apid not in (Apid.HOUSEKEEPING, Apid.EVENT):
            raise LinkError(f"{packet.name}: the {self.role} end does not send it")
        self.counters.telemetry_dropped += self._telemetry.put(priority, apid, body)
        return 0

    def acknowledge(self, number: int, outcome: Literal["executed", "rejected"], reason: str = "") -> None:
        """Say what became of a telecommand received; LinkError if it is not in hand. Save before polling on."""
        self._commands.acknowledge(number, outcome, reason)
        self._note_saves()

    def accept(self, transfer_id: int) -> None:
        """A received file is safely on disk: the sender may forget it. LinkError if no such file was handed over."""
        if self._receiver.settle(transfer_id):
            self.counters.files_received += 1
            self.needs_save = True

    def refuse(self, transfer_id: int, reason: str) -> None:
        """A received file is of no use: the sender gives it up. LinkError if no such file was handed over."""
        self.needs_save |= self._receiver.settle(transfer_id, reason)

    def cancel(self, transfer_id: int, outgoing: bool = True) -> list[LinkEvent]:
        """Give up a file that this end sends, or receives; LinkError if there is none of that id, or it is whole.

        Returns FileFailed if the far end has not heard of it; otherwise that follows when the far end has confirmed it.
        """
        self.needs_save = True
        if outgoing:
            return self._sender.cancel(transfer_id)
        self._receiver.cancel(transfer_id, NOW)
        return []

    def suspend(self, transfer_id: int, outgoing: bool = True) -> None:
        """Let a file wait, over passes and restarts, until `resume`; LinkError if there is none of that id."""
        self.needs_save = True
        if outgoing:
            self._sender.find(transfer_id).source.suspend()
        else:
            self._receiver.find(transfer_id).destination.suspend()

    def resume(self, transfer_id: int, t: float, outgoing: bool = True) -> None:
        """Go on with a suspended file at mission time `t` [s]; LinkError if there is none of that id."""
        self.needs_save = True
        if outgoing:
            self._sender.find(transfer_id).source.resume()
        else:
            self._receiver.find(transfer_id).destination.resume(self._contact.view_s(t))

    # Contact and time.

    def set_contact(self, contact: bool, t: float) -> None:
        """The ground's pass begins or ends at mission time `t` [s]; the space end tells from the frames it hears."""
        if self.role != "ground":
            raise LinkError("the space end tells contact from the frames that it hears")
        if not contact:
            self._contact.lose(t)
        elif self._contact.extend(t, NEVER):
            self._keepalive_at = NOW
            self._thaw(t)

    def in_contact(self, t: float) -> bool:
        """Whether this end may transmit at mission time `t` [s]."""
        return self._contact.holds(t)

    def _thaw(self, t: float) -> None:
        self._commands.queue.resume()
        self._sender.thaw()
        self._receiver.thaw(self._contact.view_s(t))

    def next_due(self, t: float) -> float:
        """Mission time [s] at which `poll` may have a frame, if nothing is received before; infinity if never."""
        if not self._contact.holds(t):
            return NEVER
        due = min(self._commands.due(), self._telemetry.due(), self._receiver.due())
        due = min(due, self._sender.due(), self._keepalive_at if self.role == "ground" else NEVER)
        if self._link.unfinished or self._fills:
            due = NOW
        return t if due <= self._contact.view_s(t) + TOLERANCE_S else self._contact.when(due)

    def frame_time_s(self, frame: bytes) -> float:
        """How long this end's radio takes to transmit a frame [s]."""
        return 8 * len(frame) / self._rate_bps

    # Sending.

    def poll(self, t: float, telemetry_only: bool = False) -> bytes | None:
        """The next frame to transmit at mission time `t` [s]; None if there is none, or no contact.

        With `telemetry_only` it promises nothing, and may leave even if `save` cannot reach the disk: it has neither
        acknowledgements nor files, and its counter is one that was reserved before.
        """
        if not self._contact.holds(t) or (telemetry_only and not self._secure.counter.left):
            return None
        self._telemetry_only = telemetry_only
        view_s = self._contact.view_s(t)
        keepalive = self.role == "ground" and self._keepalive_at <= view_s + TOLERANCE_S
        frame = self._link.transmit(
            lambda channel, room: self._next_unit(channel, room, view_s), or_idle=keepalive or self._fills
        )
        if frame is not None:
            self._shows_key = False
            self._keepalive_at = view_s + self.config.keepalive_s
            self.frame_sent = self._secure.counter.next - 1 & COUNTER_MASK
            self._note_saves()
        return frame

    def _note_saves(self) -> None:
        self.needs_save |= self._link.needs_save or self._commands.needs_save
        self._link.needs_save = self._commands.needs_save = False

    @property
    def _fills(self) -> bool:
        """Whether the downlink is never silent, or the ground waits for the first frame with a new key."""
        return self.role == "space" and (self.config.fill_downlink or self._shows_key)

    def _next_unit(self, channel: Channel, room: int, view_s: float) -> tuple[int, bytes] | None:
        """APID and body of a channel's most urgent packet that fits."""
        unit = self._take_unit_of(channel, room, view_s)
        if unit is not None:
            add_bytes(self.counters.bytes_sent, label(unit[0]), HEADER_BYTES + len(unit[1]))
        return unit

    def _take_unit_of(self, channel: Channel, room: int, view_s: float) -> tuple[int, bytes] | None:
        if self._telemetry_only:
            return self._telemetry.take(room) if channel is Channel.OPERATIONS else None
        if channel is Channel.OPERATIONS:
            return self._commands.take(room, view_s) or self._telemetry.take(room)
        if channel is Channel.FILE_REPORTS:
            report = self._receiver.report(room, view_s)
            return None if report is None else (Apid.FILE_REPORT, report)
        unit = self._sender.take(room, view_s)
        if unit is None:
            return None
        self.counters.segments_sent += unit.segment
        self.counters.segments_resent += unit.resent
        self.needs_save |= unit.begins  # an open transfer holds a place at the receiver: it must not be forgotten
        return unit.apid, unit.body

    # Receiving.

    def receive(self, frame: bytes, t: float) -> list[LinkEvent]:
        """Take a frame that arrived at mission time `t` [s]; what it means. Input that is refused changes nothing."""
        try:
            opened, runs = self._link.receive(frame)
        except RejectedError as error:
            self.counters.reject_frame(error)
            return [FrameRejected(error.reason, error.detail)]
        self.frame_received = opened.counter & COUNTER_MASK
        if self.role == "space" and self._contact.extend(t, t + self.config.contact_timeout_s):
            self._thaw(t)
        view_s = self._contact.view_s(t)
        events: list[LinkEvent] = []
        for run in runs:
            events += self._take_run(run, view_s)
        self._note_saves()
        if self._secure.use.heard(opened.key_id, opened.counter):
            self.needs_save = self._shows_key = True
            events.append(KeyChanged(opened.key_id))
        return events

    def _take_run(self, run: bytes, view_s: float) -> list[LinkEvent]:
        """What a run of packets means; one that is refused does not hide the others."""
        events: list[LinkEvent] = []
        packets = split(run, self._sends.other)
        while True:
            try:
                apid, body = next(packets)
                add_bytes(self.counters.bytes_received, label(apid), HEADER_BYTES + len(body))
                if apid != IDLE_APID:
                    events += self._take_packet(purpose(apid), body, view_s)
            except StopIteration:
                self.needs_save |= self._receiver.wants_save(view_s)
                return events
            except RejectedError as error:
                self.counters.reject_packet(error)
                events.append(PacketRejected(error.reason, error.detail))

    def _take_packet(self, what: Apid | FileKind, body: bytes, view_s: float) -> list[LinkEvent]:
        if what is Apid.FILE_REPORT or isinstance(what, FileKind):
            return self._take_pdu(what, *codec.unpack(body), view_s)
        if (what is Apid.COMMAND) is not (self.role == "space"):
            raise RejectedError("unknown_apid", f"the {self.role} end takes no {what.name.lower()} packets")
        if what is Apid.COMMAND:
            return self._commands.hear_command(body)
        definition, number, values = dictionary.decode(what, body)
        if what is not Apid.ACKNOWLEDGEMENT:
            return [TelemetryReceived(definition.name, values, definition.severity)]
        return self._commands.hear_acknowledgement(number, values)

    def _take_pdu(self, what: Apid | FileKind, transaction: Transaction, pdu: Pdu, view_s: float) -> list[LinkEvent]:
        """A file's own PDUs come with the APID of its kind, all others with that of reports."""
        kind = what if isinstance(what, FileKind) else None
        if isinstance(pdu, cfdp.Metadata | cfdp.FileData | cfdp.Eof | cfdp.Prompt) is (kind is None):
            raise RejectedError("bad_pdu", f"{type(pdu).__name__} PDU came with APID {what.name}")
        if kind or (isinstance(pdu, cfdp.Ack) and pdu.of is cfdp.Acknowledged.FINISHED):
            events = self._receiver.take(kind, transaction, pdu, view_s)
        else:
            events = self._sender.hear(transaction, pdu, view_s)
        self.needs_save |= any(isinstance(event, (FileDelivered, FileFailed, FileRefused)) for event in events)
        return events

    # What the owner may want to know.

    def progress(self) -> list[Progress]:
        """Every file that is not finished, outgoing ones first."""
        return [*self._sender.progress(), *self._receiver.progress()]

    @property
    def file_bytes_a_frame(self) -> int:
        """Bytes of a file that a full frame carries."""
        return self._sender.segment_bytes

    @property
    def queued_packets(self) -> int:
        """Telecommands that are not acknowledged, or packets that wait for a frame."""
        return len(self._commands) + len(self._telemetry)

    # Persistence.

    def save(self) -> bytes:
        """Everything that must outlive the process. Clears `needs_save`: the bytes must be on disk before going on."""
        self.needs_save = False
        return state.dumps(
            {
                "version": STATE_VERSION,
                "role": self.role,
                "spacecraft_id": self.config.spacecraft_id,
                "frame_bytes": self.config.frame_bytes,
                "security": self._secure.save(),
                "commands": self._commands.queue.save(),
                "command_log": self._commands.log.save(),
                "telemetry": self._telemetry.save(),
                "sender": self._sender.save(),
                "receiver": self._receiver.save(),
                "counters": self.counters.save(),
            }
        )

    @classmethod
    def restore(cls, data: bytes, role: Role, config: LinkConfig, keys: KeyRing) -> Endpoint:
        """An endpoint that goes on from a saved state; StateError if that is damaged, or of another link."""
        endpoint = cls(role, config, keys)
        kinds = {"version": int, "role": str, "spacecraft_id": int, "frame_bytes": int, "telemetry": list}
        tables = ("security", "commands", "command_log", "sender", "receiver", "counters")
        values = state.fields(state.loads(data), "link", **kinds, **dict.fromkeys(tables, dict))
        *head, telemetry, security, commands, command_log, sender, receiver, counters = values
        expected = [STATE_VERSION, role, config.spacecraft_id, config.frame_bytes]
        for name, found, wanted in zip(kinds, head, expected, strict=False):
            if found != wanted:
                raise StateError(f"link.{name}: state was saved with {found!r}, expected {wanted!r}")
        endpoint._secure.restore(security)
        endpoint._commands.queue.restore(commands)
        endpoint._commands.log.restore(command_log)
        endpoint._telemetry.restore(telemetry, "telemetry")
        endpoint._sender.restore(sender)
        endpoint._receiver.restore(receiver)
        endpoint.counters = endpoint._commands.counters = Counters.restore(counters)
        endpoint._link.use_counters(endpoint.counters)
        return endpoint
