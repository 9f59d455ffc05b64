"""What the link counts, for housekeeping and reports. Counters never decide anything."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field
from typing import Any

from flight.link import state
from flight.link.errors import FRAME_REASONS, PACKET_REASONS, RejectedError

FRAMING = "framing"


@dataclass
class Counters:
    """Totals since the endpoint was first made; they survive a restart as far as they were saved.

    Bytes are by kind: "command", "housekeeping", "label set", ... with their Space Packet headers, "idle" for what
    fills frames, and "framing" for frame headers and trailers, so that each sum is what went over the radio.
    Frames lost are by virtual channel down and together up (`flight.link.channels.Reception`).
    """

    frames_sent: int = 0
    frames_accepted: int = 0
    frames_rejected: dict[str, int] = field(default_factory=lambda: dict.fromkeys(FRAME_REASONS, 0))
    packets_rejected: dict[str, int] = field(default_factory=lambda: dict.fromkeys(PACKET_REASONS, 0))
    frames_lost: dict[str, int] = field(default_factory=dict)
    bytes_sent: dict[str, int] = field(default_factory=dict)
    bytes_received: dict[str, int] = field(default_factory=dict)
    segments_sent: int = 0
    segments_resent: int = 0
    commands_resent: int = 0
    telemetry_dropped: int = 0
    files_received: int = 0

    def reject_frame(self, error: RejectedError) -> None:
        """Count a refused frame."""
        self.frames_rejected[error.reason] += 1

    def reject_packet(self, error: RejectedError) -> None:
        """Count a refused packet."""
        self.packets_rejected[error.reason] += 1

    def save(self) -> dict[str, Any]:
        """All totals, as plain values."""
        return dataclasses.asdict(self)

    @classmethod
    def restore(cls, saved: Any) -> Counters:
        """The totals that were saved."""
        kinds = {name: type(value) for name, value in cls().save().items()}
        counters = cls(*state.fields(saved, "counters", **kinds))
        for name, table in counters.save().items():
            for key, count in table.items() if isinstance(table, dict) else [(name, table)]:
                state.check(type(key) is str and type(count) is int and count >= 0, f"counters.{name}", count)
        state.check(set(counters.frames_rejected) == set(FRAME_REASONS), "counters.frames_rejected", "reasons")
        state.check(set(counters.packets_rejected) == set(PACKET_REASONS), "counters.packets_rejected", "reasons")
        return counters


def add_bytes(table: dict[str, int], kind: str, count: int) -> None:
    """Count bytes of a kind."""
    if count:
        table[kind] = table.get(kind, 0) + count
