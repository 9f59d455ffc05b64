"""What the camera sees when: the chip grid on the Earth, and the overpasses that image it strip by strip.

The camera is a pushbroom on an agile platform. In each overpass the platform rolls once, to a boresight off nadir, and
the line sensor sweeps a strip. A cell is imaged at the instant at which it lies broadside, in the plane through the
satellite at right angles to its velocity over the turning Earth; its roll angle in that plane says whether it is in the
strip. A cell already taken in this sweep of the region is not taken again until all the others are done.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray
from skyfield.api import wgs84

from sim.orbit import F64, Orbit, east_north_up

MAX_CELLS = 1 << 22
SCAN_S = 20.0
REACH_KM = 4000.0  # a satellite farther than this from the region's centre sees nothing of it


@dataclass(frozen=True)
class Footprint:
    """The chip grid on the Earth: `rows` x `cols` cells around a centre, row 0 in the north and column 0 in the west.

    Cells lie on the plane that touches the ellipsoid at the centre: 100 km away that is 0.8 km above the ground and a
    horizontal error of 10 m, far less than a cell.
    """

    lat_deg: float
    lon_deg: float
    rows: int
    cols: int
    cell_km: float = 1.0

    def __post_init__(self) -> None:
        if not (abs(self.lat_deg) <= 90 and abs(self.lon_deg) <= 180):
            raise ValueError(f"footprint centre is {self.lat_deg} deg, {self.lon_deg} deg: outside -90..90, -180..180")
        if not (self.rows > 0 and self.cols > 0 and self.rows * self.cols <= MAX_CELLS):
            raise ValueError(f"footprint has {self.rows} x {self.cols} cells, allowed are 1 to {MAX_CELLS}")
        if not 0 < self.cell_km * max(self.rows, self.cols) <= 2000:
            raise ValueError(f"footprint is {self.cell_km * max(self.rows, self.cols)} km long, allowed are 0 to 2000")

    @cached_property
    def centre_ecef_km(self) -> F64:
        """Earth-fixed position of the centre, (3,) [km]."""
        return np.asarray(wgs84.latlon(self.lat_deg, self.lon_deg).itrs_xyz.km)

    @cached_property
    def ecef_km(self) -> F64:
        """Earth-fixed positions of the cells' centres, (rows x cols, 3) [km], row after row."""
        east, north, _ = east_north_up(self.lat_deg, self.lon_deg)
        row, col = np.divmod(np.arange(self.rows * self.cols), self.cols)
        east_km = (col - (self.cols - 1) / 2) * self.cell_km
        north_km = ((self.rows - 1) / 2 - row) * self.cell_km
        return np.asarray(self.centre_ecef_km + east_km[:, None] * east + north_km[:, None] * north)


@dataclass(frozen=True)
class Overpass:
    """One imaging overpass.

    Attributes:
        scene: number of the overpass, 0 for the first; also how clouds and light differ from one to the next.
        off_nadir_deg: roll of the boresight from nadir; positive looks to the right of the direction of flight.
        sun_elevation_deg: at the region's centre, in the middle of the overpass.
        cells: int32 (n,), cells imaged (row x columns + column) in the order in which they are.
        t_s: float64 (n,), mission time at which each is, ascending.
    """

    scene: int
    off_nadir_deg: float
    sun_elevation_deg: float
    cells: NDArray[np.int32]
    t_s: F64

    @property
    def start_s(self) -> float:
        """Mission time of the first cell [s]."""
        return float(self.t_s[0])

    @property
    def end_s(self) -> float:
        """Mission time of the last cell [s]."""
        return float(self.t_s[-1])


def plan_overpasses(
    orbit: Orbit,
    footprint: Footprint,
    start_s: float,
    duration_s: float,
    *,
    swath_km: float,
    max_off_nadir_deg: float,
    min_sun_elevation_deg: float,
) -> list[Overpass]:
    """The imaging overpasses of a mission, in time order; empty if the region is never in reach by day.

    Each overpass takes the strip of cells not yet imaged that starts at the left or right edge of what is left,
    whichever gives more; once all are done the next overpass starts over. `swath_km` is the strip's width at nadir: it
    is a fixed field of view, so a strip off nadir is wider. `max_off_nadir_deg` bounds the boresight.
    """
    if not 0 < swath_km <= 3000:
        raise ValueError(f"swath is {swath_km} km, must lie in 0..3000")
    if not 0 <= max_off_nadir_deg <= 60:
        raise ValueError(f"greatest off-nadir angle is {max_off_nadir_deg} deg, must lie in 0..60")
    planned: list[Overpass] = []
    done = np.zeros(footprint.rows * footprint.cols, dtype=bool)
    for middle_s in _closest_approaches(orbit, footprint, start_s, duration_s):
        sun_deg = float(orbit.sun_elevation_deg(footprint.lat_deg, footprint.lon_deg, middle_s)[0])
        if sun_deg < min_sun_elevation_deg:
            continue
        t, roll_deg, height_km = _broadside(orbit, footprint, middle_s)
        half_deg = float(np.rad2deg(np.arctan2(swath_km / 2, height_km)))
        inside = (t >= start_s) & (t <= start_s + duration_s)
        if done.all():
            done[:] = False
        boresight_deg, strip = _next_strip(roll_deg, inside & ~done, half_deg, max_off_nadir_deg)
        if not strip.any():
            continue
        done |= strip
        cells = np.flatnonzero(strip)
        cells = cells[np.argsort(t[cells], kind="stable")]
        planned.append(Overpass(len(planned), boresight_deg, sun_deg, cells.astype(np.int32), t[cells]))
    return planned


@dataclass(frozen=True)
class Approach:
    """The satellite is nearest to a region: the roll that brings its nearest cell into the strip, and the Sun."""

    roll_deg: float
    sun_elevation_deg: float


def approaches(
    orbit: Orbit, footprint: Footprint, start_s: float, duration_s: float, swath_km: float
) -> list[Approach]:
    """Every approach to a region, whether the camera can make use of it or not."""
    found = []
    for middle_s in _closest_approaches(orbit, footprint, start_s, duration_s):
        sun_deg = float(orbit.sun_elevation_deg(footprint.lat_deg, footprint.lon_deg, middle_s)[0])
        _, roll_deg, height_km = _broadside(orbit, footprint, middle_s)
        half_deg = float(np.rad2deg(np.arctan2(swath_km / 2, height_km)))
        found.append(Approach(max(0.0, float(np.abs(roll_deg).min()) - half_deg), sun_deg))
    return found


def _closest_approaches(orbit: Orbit, footprint: Footprint, start_s: float, duration_s: float) -> Iterator[float]:
    """Mission times at which the satellite is nearest to the region's centre, once an orbit when in reach."""
    grid = np.arange(start_s - SCAN_S, start_s + duration_s + 2 * SCAN_S, SCAN_S)
    distance = np.linalg.norm(orbit.state(grid)[0] - footprint.centre_ecef_km, axis=1)
    nearest = (distance[1:-1] <= distance[:-2]) & (distance[1:-1] < distance[2:]) & (distance[1:-1] < REACH_KM)
    for i in np.flatnonzero(nearest) + 1:
        yield float(_time_abeam(orbit, footprint.centre_ecef_km[None, :], float(grid[i]))[0])


def _time_abeam(orbit: Orbit, points_km: F64, guess_s: float) -> F64:
    """Mission times at which Earth-fixed `points_km` (n, 3) lie broadside of the satellite, to a microsecond.

    Newton's method on (point - position) . velocity = 0. Seen from the Earth, position and velocity turn almost
    uniformly about the Earth's centre, so the slope is close to -speed^2 (point . position) / position^2.
    """
    t = np.full(len(points_km), guess_s)
    for _ in range(8):
        position, velocity = orbit.state(t)
        offset = np.sum((points_km - position) * velocity, axis=1)
        slope = np.sum(velocity**2, axis=1) * np.sum(points_km * position, axis=1) / np.sum(position**2, axis=1)
        correction = offset / slope
        t = t + correction
        if np.max(np.abs(correction)) < 1e-6:
            break
    return t


def _broadside(orbit: Orbit, footprint: Footprint, middle_s: float) -> tuple[F64, F64, float]:
    """For every cell the time it is broadside [mission s] and its roll from nadir [deg]; and the satellite's height."""
    points = footprint.ecef_km
    t = _time_abeam(orbit, points, middle_s)
    position, velocity = orbit.state(t)
    down = -position / np.linalg.norm(position, axis=1, keepdims=True)
    right = np.cross(down, velocity)
    right /= np.linalg.norm(right, axis=1, keepdims=True)
    look = points - position
    roll_deg = np.rad2deg(np.arctan2(np.sum(look * right, axis=1), np.sum(look * down, axis=1)))
    middle = position[len(position) // 2]
    return t, roll_deg, float(np.linalg.norm(middle) - np.linalg.norm(footprint.centre_ecef_km))


def _next_strip(
    roll_deg: F64, wanted: NDArray[np.bool_], half_deg: float, max_off_nadir_deg: float
) -> tuple[float, NDArray[np.bool_]]:
    """Boresight [deg] and the wanted cells in its field of view: the fuller of the strips at the two edges."""
    if not wanted.any():
        return 0.0, wanted
    low, high = float(roll_deg[wanted].min()), float(roll_deg[wanted].max())
    fits = high - low <= 2 * half_deg
    edges = [(low + high) / 2] if fits else [low + half_deg, high - half_deg]
    choices = []
    for edge in edges:
        boresight = float(np.clip(edge, -max_off_nadir_deg, max_off_nadir_deg))
        strip = wanted & (np.abs(roll_deg - boresight) <= half_deg + 1e-9)
        choices.append((int(strip.sum()), -abs(boresight), boresight, strip))
    _, _, boresight, strip = max(choices, key=lambda c: c[:3])
    return boresight, strip
