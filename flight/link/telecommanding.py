"""Telecommands and their acknowledgements at one end of the link, and the one that is the link's own: to change keys.

The ground repeats each telecommand until it is acknowledged; on board each number is executed once, and every copy of
it is acknowledged (`flight.link.commands`).
"""

from __future__ import annotations

from typing import Any, Literal, TypeAlias

from flight.config import LinkConfig
from flight.link import dictionary
from flight.link.commands import CommandLog, CommandQueue, copy_outcome
from flight.link.counters import Counters
from flight.link.dictionary import Telecommand
from flight.link.errors import LinkError, RejectedError
from flight.link.events import CommandAcknowledged, CommandReceived, LinkEvent
from flight.link.keyuse import KeyUse
from flight.link.outbox import Outbox
from flight.link.packet import Apid
from flight.link.schema import MAX_NUMBER
from flight.link.transfer import short_reason

Role: TypeAlias = Literal["ground", "space"]
ROTATE_KEY = "rotate-key"


class Telecommanding:
    """What the end of `role` has sent and is owed an answer for, or has received and owes one.

    `needs_save` tells that something has changed that must outlive the process.
    """

    def __init__(self, role: Role, config: LinkConfig, keys: KeyUse, counters: Counters, first_number: int) -> None:
        self.role, self.keys, self.counters = role, keys, counters
        self.needs_save = False
        self.queue = CommandQueue(config.max_queued_packets, config.retry_s, first_number)
        self.log = CommandLog(config.max_queued_packets)
        self.urgent = Outbox(config.max_queued_packets)  # acknowledgements, and further copies of telecommands

    def __len__(self) -> int:
        return len(self.urgent) + len(self.queue)

    def send(self, command: Telecommand, priority: int) -> int:
        """Send a telecommand until it is acknowledged; its number. LinkError, FieldError: it cannot be sent."""
        apid, _ = dictionary.definition(command.name)
        if self.role != "ground" or apid != Apid.COMMAND:
            raise LinkError(f"{command.name}: the {self.role} end does not send it as a telecommand")
        dictionary.encode(command.name, command.args)
        if command.number is not None and not 0 < command.number <= MAX_NUMBER:
            raise LinkError(f"telecommand number {command.number} is not between 1 and {MAX_NUMBER}")
        if command.number not in self.queue:
            self.queue.check_room()
        if command.name == ROTATE_KEY:
            self.keys.check_order(command.args["key_id"], command.number)
        number = command.number or self.queue.new_number()
        if command.name == ROTATE_KEY:
            self.keys.ordered(number, command.args["key_id"])
        _, body = dictionary.encode(command.name, command.args, number)
        if number in self.queue:
            self.urgent.put(priority, Apid.COMMAND, body)
        else:
            self.queue.put(number, body, priority)
        self.needs_save = True
        return number

    def acknowledge(self, number: int, outcome: Literal["executed", "rejected"], reason: str = "") -> None:
        """Say what became of a telecommand received; LinkError if it is not in hand."""
        reason = short_reason(reason)
        command_id, copies = self.log.deal(number, outcome, reason)
        for answer in (outcome, *[copy_outcome(outcome)] * copies):
            self._answer(number, command_id, answer, reason)
        self.needs_save = True

    def _answer(self, number: int, command_id: int, outcome: str, reason: str) -> None:
        values = {"command_id": command_id, "outcome": outcome, "reason": reason}
        self.urgent.put(0, *dictionary.encode("acknowledgement", values, number))

    def due(self) -> float:
        """Seconds in view at which something is to be sent."""
        return min(self.urgent.due(), self.queue.due())

    def take(self, room: int, view_s: float) -> tuple[int, bytes] | None:
        """APID and body of what is to be sent next, if it takes at most `room` bytes."""
        if (answer := self.urgent.take(room)) is not None:
            return answer
        command = self.queue.take(room, view_s)
        if command is None:
            return None
        self.counters.commands_resent += command[1]
        return Apid.COMMAND, command[0]

    def hear_command(self, body: bytes) -> list[LinkEvent]:
        """What a received telecommand means; RejectedError, and the ground is told if it can be."""
        try:
            definition, number, args = dictionary.decode(Apid.COMMAND, body)
        except RejectedError as error:
            if error.reason != "bad_body":  # then it has a number that the ground can be told
                command_id, number = dictionary.command_head(body)
                self._answer(number, command_id, "rejected", error.reason.replace("_", " "))
            raise
        answer = self.log.judge(number, definition.id, body)
        if answer is None and definition.name == ROTATE_KEY:
            self._rotate_key(number, args["key_id"])
            return []
        if answer is None:
            return [CommandReceived(number, definition.name, args)]
        if answer[0]:
            self._answer(number, definition.id, *answer)
        return []

    def _rotate_key(self, number: int, key_id: int) -> None:
        """Keys are the link's own affair: its owner hears of a change once it is done."""
        try:
            self.keys.admit(key_id)
        except LinkError as error:
            self.acknowledge(number, "rejected", str(error))
        else:
            self.acknowledge(number, "executed")

    def hear_acknowledgement(self, number: int, values: dict[str, Any]) -> list[LinkEvent]:
        """What an acknowledgement with these values means."""
        self.needs_save |= self.queue.acknowledged(number)
        self.keys.acknowledged(number, values["outcome"] != "rejected")
        name = dictionary.command_name(values["command_id"])
        return [CommandAcknowledged(number, name, values["outcome"], values["reason"])]
