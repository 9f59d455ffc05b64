"""The modes of the payload, and what guards the ways between them.

`safe`
    No payload work. Link, telecommands, housekeeping and checkpoints go on; maps and labels that arrive wait.
`idle`
    Maps and labels are taken in; chips wait in the recorder.
`acquire`
    Chips are taken in as well; nothing is trained or predicted.
`train`
    Everything.

Safe mode can be entered at any time, by a telecommand, the schedule or a fault. It is left by a telecommand that comes
directly from the ground, for `idle`, and only while no limit asks for it. Everything else may follow everything else.
"""

from __future__ import annotations

from flight.errors import RefusedError
from flight.link.definitions import MODES

SAFE, IDLE, ACQUIRE, TRAIN = MODES
FILES_IN = frozenset((IDLE, ACQUIRE, TRAIN))
CHIPS_IN = frozenset((ACQUIRE, TRAIN))
LEARNING = frozenset((TRAIN,))
ANY = frozenset(MODES)


class Modes:
    """The mode that the payload is in, and why."""

    def __init__(self, mode: str = TRAIN) -> None:
        self.mode = mode
        self.cause = ""

    def check(self, wanted: str, direct: bool, held_by: str = "") -> None:
        """RefusedError if `wanted` is not open now.

        `direct` says that a telecommand from the ground asks; `held_by` names the limit that asks for safe mode.
        """
        if self.mode != SAFE or wanted == SAFE:
            return
        if not direct:
            raise RefusedError("safe mode is left by a direct telecommand only")
        if wanted != IDLE:
            raise RefusedError("safe mode is left for idle only")
        if held_by:
            raise RefusedError(f"limit {held_by} holds safe mode")

    def enter(self, mode: str, cause: str) -> str:
        """Change over; the mode before."""
        previous, self.mode, self.cause = self.mode, mode, cause
        return previous
