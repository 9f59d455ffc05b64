"""What goes wrong on a link: input that is refused, queues that are full, saved states that cannot be used."""

from __future__ import annotations

# Why a frame was refused, in the order of the checks.
FRAME_REASONS = (
    "too_short",
    "too_long",
    "bad_crc",
    "bad_header",
    "bad_length",
    "bad_channel",
    "wrong_spacecraft",
    "unknown_key",
    "bad_tag",
    "replayed",
)
# Why a packet in an authentic frame was refused.
PACKET_REASONS = (
    "bad_packet",
    "unknown_apid",
    "bad_body",
    "unknown_id",
    "bad_field",
    "bad_pdu",
    "segment_out_of_range",
    "bad_metadata",
    "file_too_large",
    "too_many_transfers",
    "metadata_changed",
    "too_many_commands",
)


class LinkError(ValueError):
    """A request to the link that cannot be met: the caller's mistake, told at once."""


class LinkFullError(LinkError):
    """A queue of the link is full; try again once something has been delivered."""


class StateError(LinkError):
    """A saved state that cannot be restored; the message starts with the path of the bad field."""


class RejectedError(ValueError):
    """Input from the far side that is refused: a reason of the tables above, and detail for people."""

    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(f"{reason}: {detail}")
        self.reason = reason
        self.detail = detail
