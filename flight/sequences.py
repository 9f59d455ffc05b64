"""The sequence that runs: which step is next, and when.

A core without clock or disk, like `flight.schedule`. A step is begun, and that is saved, before it is executed, and
ended when it was. So a restart between steps goes on with the next one, and a restart within a step, of which nobody
knows how far it came, is found by `interrupted`: the owner aborts the sequence, and no step is executed twice.
"""

from __future__ import annotations

from typing import Any

from flight.link import state
from flight.link.sequence import Sequence, SequenceStep
from flight.step import NEVER


class SequenceRunner:
    """At most one sequence at a time; delays are in mission time, and those that ran out during a restart are over."""

    def __init__(self) -> None:
        self.sequence: Sequence | None = None
        self.step = 0  # steps begun
        self._due_s = NEVER
        self._within = False

    @property
    def sequence_id(self) -> int:
        """The sequence that runs; 0 without one."""
        return self.sequence.sequence_id if self.sequence else 0

    def start(self, sequence: Sequence, t: float) -> None:
        """Run a sequence from its first step on; none may be running."""
        if self.sequence is not None:
            raise ValueError(f"sequence {self.sequence_id} is running")
        self.sequence, self.step, self._within = sequence, 0, False
        self._due_s = t + sequence.steps[0].after_s

    def due_s(self) -> float:
        """Mission time of the next step; infinity without one."""
        return self._due_s

    def begin(self) -> SequenceStep:
        """Begin the next step, to be executed now that this is saved."""
        if self.sequence is None or self._within:
            raise ValueError("no step can begin")
        self.step, self._within = self.step + 1, True
        return self.sequence.steps[self.step - 1]

    def put_back(self) -> None:
        """Undo `begin`."""
        self.step, self._within = self.step - 1, False

    def end(self, t: float) -> bool:
        """The step was executed; whether it was the last one."""
        self._within = False
        if self.sequence is None or self.step >= len(self.sequence.steps):
            self.stop()
            return True
        self._due_s = t + self.sequence.steps[self.step].after_s
        return False

    def stop(self) -> None:
        """Run nothing any more."""
        self.sequence, self.step, self._due_s, self._within = None, 0, NEVER, False

    @property
    def interrupted(self) -> bool:
        """Whether a step was begun and never ended."""
        return self._within

    def save(self) -> dict[str, Any]:
        """Where it stands, as plain values; the sequence itself is in a record of its own."""
        return {"sequence_id": self.sequence_id, "step": self.step, "due_s": self._due_s, "within": self._within}

    def restore(self, saved: Any, sequence: Sequence | None) -> None:
        """Go on with what was saved, of which `sequence` is the sequence; None if that cannot be read any more."""
        _, step, due_s, within = state.fields(saved, "sequence", sequence_id=int, step=int, due_s=float, within=bool)
        if sequence is None:
            return
        state.check(within <= step <= len(sequence.steps), "sequence.step", step)
        self.sequence, self.step, self._due_s, self._within = sequence, step, due_s, within
