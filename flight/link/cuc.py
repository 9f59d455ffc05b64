"""On-board time on the wire: CCSDS Unsegmented Time Code (301.0-B-4 3.2), four octets of seconds and two of fraction.

The epoch is 1970-01-01T00:00:00 UTC, seconds of 86,400 a day as Unix counts them: an agency-defined epoch, so a Level 2
code (3.2.1). The P-field would be 0x2E (code 010, 4 + 2 octets; 3.2.2) and is implied: both ends know it.
"""

from __future__ import annotations

BYTES = 6
EPOCH = "1970-01-01T00:00:00"
TICKS = 1 << 16  # a second
MAX_S = (1 << 32) - 1.0


def pack(time_s: float) -> bytes:
    """Seconds since the epoch, 0 to `MAX_S`, rounded to 1/65536 s."""
    return round(time_s * TICKS).to_bytes(BYTES, "big")


def unpack(data: bytes) -> float:
    """The seconds in six octets."""
    return int.from_bytes(data, "big") / TICKS
