"""Where telecommands are executed: as they come from the ground, at their on-board time, or as steps of a sequence.

One from the ground comes again after a restart that fell between its execution and the saving of its outcome. One of
the schedule or of a sequence is marked on disk before it is executed; a restart that finds the mark does not know how
far it came, reports that, and does not execute it again.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from flight.errors import RefusedError
from flight.handlers import HANDLERS
from flight.link import state
from flight.link.dictionary import Telecommand, extract, telecommand
from flight.link.errors import LinkError
from flight.link.events import CommandReceived
from flight.link.pack import CodecError
from flight.link.sequence import Sequence, unpack_sequence
from flight.onboard_time import ClockError
from flight.schedule import NOT_IN_THE_SCHEDULE, Entry, Schedule, ScheduleError
from flight.sequences import SequenceRunner
from flight.telemetry import short

if TYPE_CHECKING:
    from flight.executive import Executive

REFUSALS = (RefusedError, LinkError, ScheduleError, ClockError)
INTERRUPTED = "cut short by a restart; not executed again"


class Commanding:
    """Schedule, sequences and armed telecommands of one flight process."""

    def __init__(self, flight: Executive) -> None:
        limits = flight.config.executive
        self.flight = flight
        self.schedule = Schedule(limits.schedule_entries, limits.late_s)
        self.runner = SequenceRunner()
        self._tag: Entry | None = None  # being executed
        self._armed: dict[str, float] = {}  # until mission time

    # Execution

    def take(self, received: CommandReceived) -> None:
        """Execute a telecommand that has come from the ground, and acknowledge it."""
        refusal = self._execute(Telecommand(received.name, dict(received.args), received.number))
        self.flight.endpoint.acknowledge(received.number, "rejected" if refusal else "executed", refusal)
        if refusal:
            self.flight.emit("command-rejected", command_number=received.number, reason=refusal)

    def _execute(self, command: Telecommand) -> str:
        """Why a telecommand is refused; empty if it was executed."""
        try:
            if (
                telecommand(command.name).criticality == "critical"
                and self._armed.pop(command.name, -1.0) < self.flight.t
            ):
                raise RefusedError(f"{command.name} is not armed")
            self.flight.scrub.check()
            HANDLERS[command.name](self.flight, command)
        except REFUSALS as error:
            return short(error) or "refused"
        return ""

    def arm(self, name: str) -> None:
        """Allow one execution of a critical telecommand, for a while. It does not outlive the process."""
        if telecommand(name).criticality != "critical":
            raise RefusedError(f"{name} needs no arming")
        self._armed[name] = self.flight.t + self.flight.config.executive.arm_s

    def serve(self) -> None:
        """Execute what is due in the schedule and in the sequence; none of that can make more of it come due."""
        while self._serve_schedule() or self._serve_sequence():
            self.flight.endpoint.needs_save = True

    def due_s(self) -> float:
        """Mission time at which something is due; infinity without."""
        return min(self.flight.time.when(self.schedule.due_s()), self.runner.due_s())

    # Schedule

    def add(self, entry: Entry) -> None:
        """Put a telecommand into the schedule if it is one that may be there."""
        name = extract(entry.command).name
        if name in NOT_IN_THE_SCHEDULE:
            raise RefusedError(f"{name} may not be in the schedule")
        self.schedule.add(entry, self.flight.time.read(self.flight.t))

    def _serve_schedule(self) -> bool:
        now_s = self.flight.time.read(self.flight.t)
        entry = self.schedule.take(now_s)
        if entry is None:
            return False
        command = extract(entry.command)
        told = {"number": entry.number, "command_id": telecommand(command.name).id}
        if entry.if_late == "skip" and self.schedule.is_late(entry, now_s):
            self.flight.emit("tag-missed", **told, late_s=now_s - entry.at_s)
            return True
        self._tag = entry
        if not self.flight.save():
            self._tag = None
            self.schedule.put_back(entry)
            return False
        if refusal := self._execute(command):
            self.flight.emit("tag-failed", **told, reason=refusal)
        else:
            self.flight.emit("tag-executed", **told)
        self._tag = None
        return True

    # Sequences

    def receive_sequence(self, data: bytes) -> None:
        """Check a sequence file whole and put it on disk."""
        try:
            sequence = unpack_sequence(data)
        except CodecError as error:
            raise RefusedError(str(error)) from error
        name, store = _record(sequence.sequence_id), self.flight.store
        if self.runner.sequence_id == sequence.sequence_id:
            raise RefusedError(f"sequence {sequence.sequence_id} is running")
        kept = [each for each in store.names() if each.startswith("sequence-")]
        limit = self.flight.config.executive.sequences
        if name not in kept and len(kept) >= limit:
            raise RefusedError(f"{limit} sequences are on board already")
        store.put(name, data, twice=True)
        self.flight.emit("sequence-stored", sequence_id=sequence.sequence_id, steps=len(sequence.steps))

    def _stored(self, sequence_id: int) -> Sequence:
        data = self.flight.store.get(_record(sequence_id))
        if data is None:
            raise RefusedError(f"sequence {sequence_id} is not on board")
        try:
            return unpack_sequence(data)
        except CodecError as error:
            raise RefusedError(f"sequence {sequence_id} cannot be used") from error

    def start_sequence(self, sequence_id: int) -> None:
        """Run a stored sequence, checked whole once more before its first step."""
        if self.runner.sequence is not None:
            raise RefusedError(f"sequence {self.runner.sequence_id} is running")
        sequence = self._stored(sequence_id)
        self.runner.start(sequence, self.flight.t)
        self.flight.emit("sequence-started", sequence_id=sequence_id, steps=len(sequence.steps))

    def abort_sequence(self, reason: str) -> None:
        """End the sequence that runs where it is."""
        if self.runner.sequence is None:
            raise RefusedError("no sequence is running")
        told = {"sequence_id": self.runner.sequence_id, "step": self.runner.step}
        self.runner.stop()
        self.flight.emit("sequence-aborted", **told, reason=short(reason))

    def delete_sequence(self, sequence_id: int) -> None:
        """Forget a stored sequence that does not run."""
        if self.runner.sequence_id == sequence_id:
            raise RefusedError(f"sequence {sequence_id} is running")
        self._stored(sequence_id)
        self.flight.store.delete(_record(sequence_id))

    def _serve_sequence(self) -> bool:
        if self.runner.due_s() > self.flight.t:
            return False
        step, sequence_id = self.runner.begin(), self.runner.sequence_id
        if not self.flight.save():
            self.runner.put_back()
            return False
        if refusal := self._execute(step.command):
            self.abort_sequence(refusal)
        elif self.runner.sequence is not None:  # unless it has just stopped itself
            told = {"sequence_id": sequence_id, "step": self.runner.step}
            self.flight.emit("sequence-step", **told, command_id=telecommand(step.command.name).id)
            if self.runner.end(self.flight.t):
                self.flight.emit("sequence-completed", sequence_id=sequence_id)
        return True

    # State

    def save(self) -> dict[str, Any]:
        """Schedule and sequence, as plain values."""
        tag = [] if self._tag is None else [self._tag.number, self._tag.command]
        return {"schedule": self.schedule.save(), "tag": tag, "sequence": self.runner.save()}

    def restore(self, saved: Any) -> None:
        """Go on with what was saved, and report what a restart has cut short."""
        schedule, tag, running = state.fields(saved, "commanding", schedule=list, tag=list, sequence=dict)
        self.schedule.restore(schedule)
        sequence_id = running.get("sequence_id", 0)
        try:
            self.runner.restore(running, self._stored(sequence_id) if sequence_id else None)
        except RefusedError as error:
            self._lost(sequence_id, running["step"], str(error))
        if self.runner.interrupted:
            self.abort_sequence(INTERRUPTED)
        if tag:
            command_id = telecommand(extract(tag[1]).name).id
            self.flight.emit("tag-failed", number=tag[0], command_id=command_id, reason=INTERRUPTED)

    def _lost(self, sequence_id: int, step: int, reason: str) -> None:
        self.flight.emit("sequence-aborted", sequence_id=sequence_id, step=step, reason=short(reason))


def _record(sequence_id: int) -> str:
    return f"sequence-{sequence_id}"
