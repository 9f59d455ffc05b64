"""The encoder that comes with swath, as files that fly: trained on synthetic chips only."""

from __future__ import annotations

from importlib import resources

from flight.encoder.runtimes import RUNTIMES

NAME = "released"


def files() -> tuple[bytes, ...]:
    """Its contents in each format, the first the best; none if this is a copy of swath without it."""
    here = resources.files(__package__)
    found = (here / f"{NAME}.{form}" for form in RUNTIMES)
    return tuple(each.read_bytes() for each in found if each.is_file())
