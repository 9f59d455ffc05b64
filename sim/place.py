"""A mission over a region wherever it lies: the site that its imagery names, and an orbit that leads over it by day."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from ground.imagery import Imagery
from sim.overpass import Footprint, Overpass, plan_overpasses
from sim.scenario import OrbitSection, Scenario, SiteSection

MORNING_LTAN_H = 22.5  # of the ascending node: over the day side southwards at 10:30, as imaging satellites fly
_STEP_DEG = 45.0  # of argument of latitude: moves the ground track by some three degrees of longitude


def placed(scenario: Scenario, imagery: Imagery) -> tuple[Scenario, list[str]]:
    """The scenario with what it leaves to the region, and notes on that.

    A site that it does not state is the middle of the imagery, where that is known. An orbit that it does not state and
    that never sees the region by day is moved along its track, or to the morning, so that it sees most, and early.
    """
    notes = []
    if scenario.site == SiteSection() and imagery.centre is not None:
        lat_deg, lon_deg = imagery.centre
        scenario = replace(scenario, site=SiteSection(lat_deg, lon_deg))
        notes.append(f"site: the middle of the imagery, {lat_deg:.2f} deg north, {lon_deg:.2f} deg east")
    if scenario.orbit != OrbitSection() or seen(scenario, imagery):
        return scenario, notes
    best, found = scenario, (0, 0.0)
    for ltan_h in (scenario.orbit.ltan_h, MORNING_LTAN_H):
        for argument_deg in np.arange(0.0, 360.0, _STEP_DEG):
            orbit = replace(scenario.orbit, ltan_h=ltan_h, argument_of_latitude_deg=float(argument_deg))
            moved = replace(scenario, orbit=orbit)
            overpasses = seen(moved, imagery)
            cells = {int(cell) for each in overpasses for cell in each.cells}
            first_s = float(overpasses[0].t_s[0]) if overpasses else 0.0
            if (len(cells), -first_s) > found:
                best, found = moved, (len(cells), -first_s)
    if best is not scenario:
        orbit = best.orbit
        told = f"argument of latitude {orbit.argument_of_latitude_deg:g} deg, ascending node at {orbit.ltan_h:g} h"
        notes.append(f"orbit: {told}, because the default one never sees the region by day")
    return best, notes


def seen(scenario: Scenario, imagery: Imagery) -> list[Overpass]:
    """The imaging overpasses of the scenario over the imagery's grid; none if it is never in reach by day."""
    return plan_overpasses(
        scenario.build_orbit(),
        Footprint(scenario.site.lat_deg, scenario.site.lon_deg, imagery.rows, imagery.cols),
        0.0,
        scenario.duration_s,
        swath_km=scenario.camera.swath_km,
        max_off_nadir_deg=scenario.camera.max_off_nadir_deg,
        min_sun_elevation_deg=scenario.camera.min_sun_elevation_deg,
    )
