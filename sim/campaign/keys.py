"""Keys of the campaign's spacecraft, the same in every mission, and those of somebody else."""

from __future__ import annotations

from flight.link.keys import KeyRing

KEYS = KeyRing({1: bytes(range(32)), 2: bytes(range(32, 64))}, 1)
FOREIGN_KEYS = KeyRing({1: bytes(reversed(range(32))), 2: bytes(32)}, 1)
