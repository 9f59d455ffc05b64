"""How high the satellite stands in the course of a contact, for losses that depend on it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from sim.orbit import Orbit, Station
from sim.record import PassRecord

STEP_S = 5.0  # linear between such samples is within 0.15 degrees in low orbit


def with_elevations(orbit: Orbit, stations: Sequence[Station], contacts: Sequence[PassRecord]) -> list[PassRecord]:
    """The contacts with samples of the elevation over their station [deg], evenly spaced from AOS to LOS."""
    by_name = {station.name: station for station in stations}
    found = []
    for contact in contacts:
        count = 2 + math.ceil((contact.los_s - contact.aos_s) / STEP_S)
        t = np.linspace(contact.aos_s, contact.los_s, count)
        elevations = orbit.elevation_deg(by_name[contact.station], t)
        found.append(replace(contact, elevations_deg=tuple(np.round(elevations, 3).tolist())))
    return found
