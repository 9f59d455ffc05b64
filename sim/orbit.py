"""Where the satellite is, and when a ground station sees it.

Positions come from SGP4 through skyfield's `EarthSatellite`, in the frame in which its elements are defined (TEME), and
are turned into Earth-fixed ones by Greenwich mean sidereal time alone (Vallado et al., AIAA 2006-6753, appendix C);
polar motion (10 m) is left out. Nothing is downloaded: skyfield's built-in time scale serves, and the Sun follows the
Astronomical Almanac's low-precision formula. Mission time is in seconds since `Orbit.epoch_utc`, without leap seconds.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from functools import cached_property, lru_cache

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sgp4.api import SGP4_ERRORS, WGS72, Satrec
from skyfield.api import EarthSatellite, load, wgs84
from skyfield.sgp4lib import theta_GMST1982
from skyfield.timelib import Timescale

from sim.record import PassRecord

F64 = NDArray[np.float64]

DAY_S = 86400.0
EARTH_RADIUS_KM = 6378.137  # WGS 84
EARTH_E2 = 6.69437999014e-3  # WGS 84, first eccentricity squared
EARTH_SPIN_RAD_S = 7.292115e-5
MU_KM3_S2, RADIUS_72_KM, J2_72 = 398600.8, 6378.135, 1.082616e-3  # WGS 72, which SGP4's elements are referred to
MAX_SPAN_S = 400 * DAY_S
SCAN_S = 20.0  # sampling of elevation; the shortest pass of a low orbit is found however short, see `_peaks`
SGP4_EPOCH = datetime(1949, 12, 31, tzinfo=UTC)


class OrbitError(ValueError):
    """Elements that are malformed, or an orbit that cannot be propagated to the time asked for."""


@dataclass(frozen=True)
class Station:
    """A ground station on the WGS 84 ellipsoid and the elevation from which it hears the satellite."""

    name: str
    lat_deg: float
    lon_deg: float
    elevation_m: float = 0.0
    min_elevation_deg: float = 10.0

    def __post_init__(self) -> None:
        for name, value, limit in (
            ("latitude", self.lat_deg, 90),
            ("longitude", self.lon_deg, 180),
            ("least elevation", self.min_elevation_deg, 90),
        ):
            if not -limit <= value <= limit:
                raise ValueError(f"station {self.name!r}: {name} is {value} deg, must lie in -{limit}..{limit}")

    @cached_property
    def ecef_km(self) -> F64:
        """Earth-fixed position, (3,) [km]."""
        return np.asarray(wgs84.latlon(self.lat_deg, self.lon_deg, self.elevation_m).itrs_xyz.km)


STATIONS = {
    station.name: station
    for station in (
        Station("Svalbard", 78.23, 15.39, 450),
        Station("Inuvik", 68.32, -133.55, 60),
        Station("Kiruna", 67.86, 20.96, 400),
        Station("Darmstadt", 49.87, 8.65, 140),
        Station("Madrid", 40.44, -3.95, 720),
        Station("Hartebeesthoek", -25.89, 27.69, 1400),
        Station("Nairobi", -1.29, 36.82, 1800),
        Station("Medellin", 6.25, -75.56, 1500),
        Station("Awarua", -46.53, 168.38, 0),
        Station("Troll", -72.01, 2.53, 1270),
    )
}


class Orbit:
    """A satellite's orbit in mission time.

    Every method takes mission times `t` [s], a number or an array (n,), and works on all of them at once.
    """

    def __init__(self, satellite: EarthSatellite, epoch_utc: datetime) -> None:
        self.satellite = satellite
        self.epoch_utc = as_utc(epoch_utc)
        midnight = self.epoch_utc.replace(hour=0, minute=0, second=0, microsecond=0)
        self._jd_midnight = 2440587.5 + (midnight - datetime(1970, 1, 1, tzinfo=UTC)).days
        self._day_s = (self.epoch_utc - midnight).total_seconds()
        self._dut1_s = float(_timescale().from_datetime(self.epoch_utc).dut1)  # drifts by about a millisecond a day

    @classmethod
    def from_tle(cls, line1: str, line2: str, epoch_utc: datetime | None = None) -> Orbit:
        """The orbit of a two-line element set; mission time starts at `epoch_utc`, by default the elements' own epoch.

        Raises OrbitError naming the line and what is wrong with it: length, line number, checksum, field.
        """
        line1, line2 = line1.rstrip(), line2.rstrip()
        for number, line in ((1, line1), (2, line2)):
            _check_tle_line(number, line)
        if line1[2:7] != line2[2:7]:
            raise OrbitError(f"TLE line 2: catalogue number {line2[2:7]!r} differs from {line1[2:7]!r} on line 1")
        satrec = Satrec.twoline2rv(line1, line2)
        if satrec.error:
            raise OrbitError(f"TLE: {SGP4_ERRORS[satrec.error]}")
        satellite = EarthSatellite.from_satrec(satrec, _timescale())
        return cls(satellite, epoch_utc or satellite.epoch.utc_datetime())

    @classmethod
    def sun_synchronous(
        cls, altitude_km: float, ltan_h: float, epoch_utc: datetime, *, argument_of_latitude_deg: float = 0.0
    ) -> Orbit:
        """A near-circular frozen orbit whose plane follows the mean Sun.

        Args:
            altitude_km: semi-major axis above the equatorial radius, 200 to 2,000.
            ltan_h: mean local solar time at the ascending node, hours 0 to 24.
            epoch_utc: start of mission time, and epoch of the elements.
            argument_of_latitude_deg: where on the orbit the satellite is at the epoch; 0 is the ascending node.

        The inclination makes the J2 precession of the node 360 deg a tropical year (Vallado, Fundamentals of
        Astrodynamics, chapter 9). The mean eccentricity is next to nothing: SGP4 itself adds the term of J3 that
        gives a frozen orbit its eccentricity of 0.001 with perigee in the north.
        """
        if not 200 <= altitude_km <= 2000:
            raise OrbitError(f"altitude is {altitude_km} km, must lie in 200..2000")
        if not 0 <= ltan_h <= 24:
            raise OrbitError(f"local time of the ascending node is {ltan_h} h, must lie in 0..24")
        epoch_utc = as_utc(epoch_utc)
        a = RADIUS_72_KM + altitude_km
        n = np.sqrt(MU_KM3_S2 / a**3)  # rad/s
        eccentricity = 1e-4
        precession = 2 * np.pi / (365.2422 * DAY_S)
        inclination = np.arccos(-precession / (1.5 * n * J2_72 * (RADIUS_72_KM / (a * (1 - eccentricity**2))) ** 2))
        days = (epoch_utc - SGP4_EPOCH) / timedelta(days=1)
        node = np.deg2rad(_sun_mean_longitude_deg(days - 18628.5) + 15 * (ltan_h - 12))  # J2000 is day 18628.5
        satrec = Satrec()
        satrec.sgp4init(
            WGS72, "i", 0, days, 0.0, 0.0, 0.0, eccentricity, np.pi / 2, inclination,
            np.deg2rad(argument_of_latitude_deg) - np.pi / 2, n * 60, node % (2 * np.pi),
        )  # fmt: skip
        return cls(EarthSatellite.from_satrec(satrec, _timescale()), epoch_utc)

    def utc(self, t: float) -> datetime:
        """Mission time as a calendar date."""
        return self.epoch_utc + timedelta(seconds=float(t))

    def state(self, t: ArrayLike) -> tuple[F64, F64]:
        """Earth-fixed position [km] and velocity [km/s] relative to the turning Earth, each (n, 3)."""
        seconds = np.atleast_1d(np.asarray(t, dtype=np.float64))
        if seconds.size and not np.all(np.abs(seconds) <= MAX_SPAN_S):
            raise OrbitError(f"mission time must lie within {MAX_SPAN_S:g} s of the epoch, found {seconds.min()} s")
        day, fraction = self._julian(seconds)
        errors, position, velocity = self.satellite.model.sgp4_array(day, fraction)
        if errors.any():
            first = int(np.argmax(errors != 0))
            raise OrbitError(f"{self.utc(seconds[first]):%Y-%m-%d %H:%M} UTC: {SGP4_ERRORS[int(errors[first])]}")
        angle = self._gmst(seconds)
        position, velocity = _to_earth(position, angle), _to_earth(velocity, angle)
        velocity[:, 0] += EARTH_SPIN_RAD_S * position[:, 1]
        velocity[:, 1] -= EARTH_SPIN_RAD_S * position[:, 0]
        return position, velocity

    def ground_track(self, t: ArrayLike) -> tuple[F64, F64]:
        """Geodetic latitude and longitude [deg] below the satellite, each (n,); longitude in -180..180."""
        return geodetic(self.state(t)[0])

    def elevation_deg(self, station: Station, t: ArrayLike) -> F64:
        """Elevation of the satellite over the station's horizon (n,) [deg], without refraction."""
        return _elevation_deg(self.state(t)[0], station)

    def sun_direction(self, t: ArrayLike) -> F64:
        """Earth-fixed unit vector to the Sun, (n, 3).

        The Astronomical Almanac's low-precision formula (page C5), good to 0.01 deg between 1950 and 2050.
        """
        seconds = np.atleast_1d(np.asarray(t, dtype=np.float64))
        day, fraction = self._julian(seconds)
        n = day - 2451545.0 + fraction
        anomaly = np.deg2rad((357.528 + 0.9856003 * n) % 360)
        longitude = np.deg2rad(_sun_mean_longitude_deg(n) + 1.915 * np.sin(anomaly) + 0.020 * np.sin(2 * anomaly))
        obliquity = np.deg2rad(23.439 - 0.0000004 * n)
        east, north = np.cos(obliquity) * np.sin(longitude), np.sin(obliquity) * np.sin(longitude)
        return _to_earth(np.stack([np.cos(longitude), east, north], axis=1), self._gmst(seconds))

    def sun_elevation_deg(self, lat_deg: float, lon_deg: float, t: ArrayLike) -> F64:
        """Elevation of the Sun's centre at a place, (n,) [deg], without refraction."""
        up = east_north_up(lat_deg, lon_deg)[2]
        return np.asarray(np.rad2deg(np.arcsin(np.clip(self.sun_direction(t) @ up, -1, 1))))

    def eclipses(self, start_s: float, duration_s: float) -> list[tuple[float, float]]:
        """Intervals [mission s] that the satellite spends in the Earth's shadow, cut to the time asked for.

        The shadow is a cylinder of the equatorial radius: within about 10 s of the conical umbra in low orbit.
        """
        grid = _grid(start_s, duration_s)

        def depth_km(t: F64) -> F64:
            """Distance inside the shadow; negative in sunlight."""
            position, sun = self.state(t)[0], self.sun_direction(t)
            along = np.sum(position * sun, axis=1)
            off_axis = np.sqrt(np.maximum(np.sum(position**2, axis=1) - along**2, 0.0))
            return np.asarray(np.where(along < 0, EARTH_RADIUS_KM - off_axis, -off_axis))

        return _intervals(grid, depth_km(grid), depth_km)

    def _julian(self, seconds: F64) -> tuple[F64, F64]:
        """UTC Julian dates of mission times, split at midnight of the first day to keep microseconds."""
        return np.full(seconds.shape, self._jd_midnight), (self._day_s + seconds) / DAY_S

    def _gmst(self, seconds: F64) -> F64:
        day, fraction = self._julian(seconds + self._dut1_s)
        return np.asarray(theta_GMST1982(day, fraction)[0])


def passes(orbit: Orbit, stations: Iterable[Station], start_s: float, duration_s: float) -> list[PassRecord]:
    """Every pass over every station in mission time, sorted by AOS; passes of two stations may overlap.

    A pass in progress at either end of the time asked for is cut there. AOS and LOS are found to a millisecond.
    """
    grid = _grid(start_s, duration_s)
    track = orbit.state(grid)[0]
    found = []
    for station in stations:

        def height(t: F64, station: Station = station) -> F64:
            return orbit.elevation_deg(station, t) - station.min_elevation_deg

        times, heights = _peaks(grid, _elevation_deg(track, station) - station.min_elevation_deg, height)
        for aos_s, los_s in _intervals(times, heights, height):
            inside = (times >= aos_s) & (times <= los_s)
            highest = float(heights[inside].max(initial=0.0)) + station.min_elevation_deg
            found.append(PassRecord(aos_s, los_s, station.name, highest))
    return sorted(found, key=lambda p: (p.aos_s, p.los_s, p.station))


def contacts(found: Sequence[PassRecord]) -> list[PassRecord]:
    """The passes as one satellite can use them: disjoint, each instant with one station, sorted by AOS.

    The station already in contact keeps it until its LOS; then the one that has waited longest takes over, and its
    contact starts there. A pass that lies wholly inside others yields no contact.
    """
    result: list[PassRecord] = []
    free_s = -np.inf
    for p in sorted(found, key=lambda p: (p.aos_s, p.los_s, p.station)):
        if p.los_s > free_s:
            result.append(replace(p, aos_s=max(p.aos_s, float(free_s))))
            free_s = p.los_s
    return result


def as_utc(moment: datetime) -> datetime:
    """The moment in UTC; one without a time zone is taken to be in UTC."""
    return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)


def geodetic(position_km: F64) -> tuple[F64, F64]:
    """Geodetic latitude and longitude [deg] of Earth-fixed positions (n, 3), on WGS 84 (Bowring 1976; 1e-7 deg)."""
    x, y, z = np.asarray(position_km).T
    b_over_a = np.sqrt(1 - EARTH_E2)
    across = np.hypot(x, y)
    reduced = np.arctan2(z, across * b_over_a)
    lat = np.arctan2(
        z + EARTH_E2 / (1 - EARTH_E2) * EARTH_RADIUS_KM * b_over_a * np.sin(reduced) ** 3,
        across - EARTH_E2 * EARTH_RADIUS_KM * np.cos(reduced) ** 3,
    )
    return np.rad2deg(lat), np.rad2deg(np.arctan2(y, x))


def east_north_up(lat_deg: float, lon_deg: float) -> F64:
    """The local unit vectors east, north and up at a place: rows of a (3, 3) matrix, Earth-fixed."""
    lat, lon = np.deg2rad(lat_deg), np.deg2rad(lon_deg)
    return np.array(
        [
            [-np.sin(lon), np.cos(lon), 0.0],
            [-np.sin(lat) * np.cos(lon), -np.sin(lat) * np.sin(lon), np.cos(lat)],
            [np.cos(lat) * np.cos(lon), np.cos(lat) * np.sin(lon), np.sin(lat)],
        ]
    )


@lru_cache(maxsize=1)
def _timescale() -> Timescale:
    return load.timescale(builtin=True)


def _check_tle_line(number: int, line: str) -> None:
    where = f"TLE line {number}"
    if len(line) != 69 or not line.isascii():
        raise OrbitError(f"{where}: {len(line)} characters, expected 69 of ASCII")
    if line[:2] != f"{number} ":
        raise OrbitError(f"{where}: starts with {line[:2]!r}, expected '{number} '")
    expected = sum(int(c) if c.isdigit() else c == "-" for c in line[:68]) % 10
    if line[68] != str(expected):
        raise OrbitError(f"{where}: checksum is {line[68]!r}, expected {expected}; a character was changed")
    first = [("epoch year", 18, 20), ("epoch day", 20, 32)]
    second = [("inclination", 8, 16), ("node", 17, 25), ("eccentricity", 26, 33), ("perigee", 34, 42)]
    second += [("mean anomaly", 43, 51), ("mean motion", 52, 63)]
    for name, begin, end in first if number == 1 else second:
        try:
            float(line[begin:end])
        except ValueError:
            raise OrbitError(f"{where}: {name}, columns {begin + 1}-{end}, is {line[begin:end]!r}") from None


def _sun_mean_longitude_deg(days_j2000: F64 | float) -> F64 | float:
    """Mean longitude of the Sun, aberration included, which is the right ascension of the mean Sun (Almanac, C5)."""
    return (280.460 + 0.9856474 * days_j2000) % 360


def _to_earth(vectors: F64, gmst_rad: F64) -> F64:
    """Inertial vectors (n, 3) turned into the Earth-fixed frame."""
    c, s = np.cos(gmst_rad), np.sin(gmst_rad)
    x, y, z = vectors.T
    return np.stack([c * x + s * y, c * y - s * x, z], axis=1)


def _elevation_deg(position_km: F64, station: Station) -> F64:
    look = position_km - station.ecef_km
    up = look @ east_north_up(station.lat_deg, station.lon_deg)[2]
    return np.asarray(np.rad2deg(np.arcsin(np.clip(up / np.linalg.norm(look, axis=1), -1, 1))))


def _grid(start_s: float, duration_s: float) -> F64:
    if not 0 < duration_s <= MAX_SPAN_S:
        raise OrbitError(f"duration is {duration_s} s, must be positive and at most {MAX_SPAN_S:g} s")
    return np.linspace(start_s, start_s + duration_s, int(np.ceil(duration_s / SCAN_S)) + 1)


def _peaks(grid: F64, values: F64, function: Callable[[F64], F64]) -> tuple[F64, F64]:
    """The samples and, between them, the maxima: so that a pass shorter than the sampling is not missed.

    Ternary search of every local maximum at once, to 1 ms; elevation has one maximum between three samples.
    """
    middle = np.flatnonzero((values[1:-1] >= values[:-2]) & (values[1:-1] > values[2:])) + 1
    low, high = grid[middle - 1], grid[middle + 1]
    while middle.size and np.max(high - low) > 1e-3:
        left, right = low + (high - low) / 3, high - (high - low) / 3
        rising = function(left) < function(right)
        low, high = np.where(rising, left, low), np.where(rising, high, right)
    tops = (low + high) / 2
    times = np.concatenate([grid, tops])
    order = np.argsort(times, kind="stable")
    return times[order], np.concatenate([values, function(tops)])[order]


def _intervals(times: F64, values: F64, function: Callable[[F64], F64]) -> list[tuple[float, float]]:
    """Intervals in which `function` is positive, edges bisected to 1 ms between the samples; cut at both ends."""
    positive = values > 0
    change = np.flatnonzero(positive[1:] != positive[:-1])
    low, high, rising = times[change], times[change + 1], positive[change + 1]
    while change.size and np.max(high - low) > 1e-3:
        middle = (low + high) / 2
        before = (function(middle) > 0) != rising  # the edge lies after the middle
        low, high = np.where(before, middle, low), np.where(before, high, middle)
    edges = (low + high) / 2
    begins = ([times[0]] if positive[0] else []) + list(edges[rising])
    ends = list(edges[~rising]) + ([times[-1]] if positive[-1] else [])
    return [(float(a), float(b)) for a, b in zip(begins, ends, strict=True)]
