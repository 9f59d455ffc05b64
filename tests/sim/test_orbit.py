"""Orbits and passes, against skyfield's own full transformation chain and against published figures."""

from datetime import UTC, datetime, timedelta
from itertools import pairwise

import numpy as np
import pytest
from skyfield.api import load, wgs84

from sim.orbit import STATIONS, Orbit, OrbitError, Station, contacts, passes
from sim.record import PassRecord

LINE1 = "1 25544U 98067A   19343.69339541  .00001764  00000-0  38792-4 0  9991"
LINE2 = "2 25544  51.6439 211.2001 0007417  17.6667  85.6398 15.50103472202482"
DAY_S = 86400.0
TS = load.timescale(builtin=True)


@pytest.fixture(scope="module")
def orbit() -> Orbit:
    return Orbit.sun_synchronous(600, 10.5, datetime(2025, 6, 21, tzinfo=UTC))


def with_checksum(line: str) -> str:
    return line[:68] + str(sum(int(c) if c.isdigit() else c == "-" for c in line[:68]) % 10)


def test_ground_track_agrees_with_skyfield_s_full_transformation_to_20_metres(orbit):
    t = np.linspace(0, 5 * DAY_S, 101)
    lat, lon = wgs84.latlon_of(orbit.satellite.at(TS.from_datetimes([orbit.utc(x) for x in t])))
    our_lat, our_lon = orbit.ground_track(t)
    assert np.allclose(our_lat, lat.degrees, atol=1e-4)
    assert np.allclose((our_lon - lon.degrees + 180) % 360 - 180, 0, atol=2e-4 / np.cos(np.deg2rad(our_lat)).min())


def test_velocity_is_the_rate_of_change_of_the_earth_fixed_position(orbit):
    t = np.array([0.0, 1234.5, 50000.0])
    numeric = (orbit.state(t + 0.5)[0] - orbit.state(t - 0.5)[0]) / 1.0
    assert np.allclose(orbit.state(t)[1], numeric, atol=2e-5)


def test_passes_are_those_of_skyfield_s_event_finder_and_their_edges_lie_on_the_mask():
    orbit = Orbit.from_tle(LINE1, LINE2)
    station = STATIONS["Madrid"]
    start_s, end_s = 1000.0, 2 * DAY_S - 1000
    ours = passes(orbit, [station], start_s, end_s - start_s)
    topos = wgs84.latlon(station.lat_deg, station.lon_deg, station.elevation_m)
    times, kinds = orbit.satellite.find_events(
        topos, TS.from_datetime(orbit.utc(start_s)), TS.from_datetime(orbit.utc(end_s)), altitude_degrees=10.0
    )
    seconds = np.array([(t.utc_datetime() - orbit.epoch_utc).total_seconds() for t in times])
    edges = np.array([[p.aos_s, p.los_s] for p in ours])
    assert np.allclose(edges.T, [seconds[kinds == 0], seconds[kinds == 2]], atol=0.5)  # the finder's own tolerance
    there = TS.from_datetimes([orbit.utc(t) for t in edges.ravel()])
    assert np.allclose((orbit.satellite - topos).at(there).altaz()[0].degrees, 10.0, atol=1e-3)
    tops = orbit.elevation_deg(station, seconds[kinds == 1])
    assert np.allclose([p.max_elevation_deg for p in ours], tops, atol=0.01)


@pytest.mark.parametrize(
    ("station", "per_day", "minutes_per_day"), [("Svalbard", 11.3, 82), ("Darmstadt", 4.4, 29), ("Medellin", 2.6, 18)]
)
def test_a_600_km_orbit_gives_each_station_its_known_contact_time(orbit, station, per_day, minutes_per_day):
    found = passes(orbit, [STATIONS[station]], 0, 30 * DAY_S)
    assert len(found) / 30 == pytest.approx(per_day, abs=0.3)
    assert sum(p.los_s - p.aos_s for p in found) / 60 / 30 == pytest.approx(minutes_per_day, rel=0.04)


def test_no_pass_is_missed_however_short_it_is(orbit):
    station = Station("high mask", 49.87, 8.65, min_elevation_deg=10)
    tops = [p.max_elevation_deg for p in passes(orbit, [station], 0, 3 * DAY_S)]
    mask_deg = sorted(tops)[len(tops) // 2] - 0.001  # the pass in the middle now lasts about a second
    raised = passes(orbit, [Station("high mask", 49.87, 8.65, min_elevation_deg=mask_deg)], 0, 3 * DAY_S)
    assert len(raised) == sum(top > mask_deg for top in tops)
    assert min(p.los_s - p.aos_s for p in raised) < 5


def test_a_pass_in_progress_is_cut_at_both_ends_of_the_time_asked_for(orbit):
    whole = passes(orbit, [STATIONS["Svalbard"]], 0, DAY_S)[3]
    middle = (whole.aos_s + whole.los_s) / 2
    (cut,) = passes(orbit, [STATIONS["Svalbard"]], middle, 60)
    assert (cut.aos_s, cut.los_s) == (middle, middle + 60)


@pytest.mark.parametrize("ltan_h", [6.0, 10.5, 22.5])
def test_a_sun_synchronous_orbit_keeps_its_local_time_for_half_a_year(ltan_h):
    orbit = Orbit.sun_synchronous(600, ltan_h, datetime(2025, 1, 1, tzinfo=UTC))
    for start_s in (0.0, 180 * DAY_S):
        t = start_s + np.arange(0, 6000, 1.0)
        lat, lon = orbit.ground_track(t)
        node = np.flatnonzero((lat[:-1] < 0) & (lat[1:] >= 0))[0]
        utc = orbit.utc(t[node])
        local_h = (utc.hour + utc.minute / 60 + utc.second / 3600 + lon[node] / 15) % 24
        assert (local_h - ltan_h + 12) % 24 - 12 == pytest.approx(0, abs=0.06)


def test_a_sun_synchronous_orbit_flies_at_the_altitude_asked_for():
    orbit = Orbit.sun_synchronous(600, 10.5, datetime(2025, 1, 1, tzinfo=UTC))
    radius = np.linalg.norm(orbit.state(np.arange(0, 6000, 10.0))[0], axis=1)
    assert radius.mean() - 6378 == pytest.approx(600, abs=5)
    assert np.ptp(radius) < 20


def test_the_sun_stands_where_meeus_puts_it():
    # Meeus, Astronomical Algorithms, example 25.a: apparent right ascension 198.38083 deg, declination -7.78507 deg
    epoch = datetime(1992, 10, 13, tzinfo=UTC)
    orbit = Orbit.sun_synchronous(600, 10.5, epoch)
    x, y, z = orbit.sun_direction(0.0)[0]
    assert np.rad2deg(np.arcsin(z)) == pytest.approx(-7.78507, abs=0.01)
    right_ascension = np.rad2deg(np.arctan2(y, x)) + 15 * TS.from_datetime(epoch).gmst
    assert right_ascension % 360 == pytest.approx(198.38083, abs=0.015)


def test_eclipses_last_as_long_as_the_geometry_says(orbit):
    spans = [b - a for a, b in orbit.eclipses(0, DAY_S)]
    assert len(spans) == 15
    sun, (position, velocity) = orbit.sun_direction(0.0)[0], orbit.state(0.0)
    spin = np.array([0, 0, 7.292115e-5])
    normal = np.cross(position[0], velocity[0] + np.cross(spin, position[0]))
    beta = np.arcsin(normal @ sun / np.linalg.norm(normal))
    radius = 6378.137 + 600
    half = np.arccos(np.sqrt(radius**2 - 6378.137**2) / (radius * np.cos(beta)))
    assert np.mean(spans) == pytest.approx(half / np.pi * 96.7 * 60, rel=0.02)


def test_mission_time_starts_at_the_epoch_of_the_elements_unless_told_otherwise():
    own = Orbit.from_tle(LINE1, LINE2)
    later = Orbit.from_tle(LINE1, LINE2, own.epoch_utc + timedelta(hours=1))
    assert abs(own.epoch_utc - datetime(2019, 12, 9, 16, 38, 29, tzinfo=UTC)) < timedelta(seconds=1)
    assert np.allclose(own.state(3600.0)[0], later.state(0.0)[0], atol=1e-4)


@pytest.mark.parametrize(
    ("line1", "line2", "says"),
    [
        (LINE1[:-1] + "0", LINE2, r"line 1: checksum is '0', expected 1"),
        (LINE1, LINE2.replace("51.6439", "51.6438"), r"line 2: checksum"),
        (LINE1, LINE2[:40], r"line 2: 40 characters, expected 69"),
        (LINE2, LINE1, r"line 1: starts with '2 '"),
        (LINE1, with_checksum(LINE2.replace("51.6439", "5x.6439")), r"line 2: inclination, columns 9-16"),
        (LINE1, with_checksum(LINE2.replace("25544", "25545")), r"catalogue number '25545' differs from '25544'"),
    ],
)
def test_a_bad_tle_is_refused_with_its_line_and_the_reason(line1, line2, says):
    with pytest.raises(OrbitError, match=says):
        Orbit.from_tle(line1, line2)


def test_a_decayed_orbit_says_when_sgp4_gave_up():
    fast = with_checksum(LINE1.replace(".00001764  00000-0  38792-4", ".00001764  00000-0  99999+0"))
    with pytest.raises(OrbitError, match=r"20\d\d-\d\d-\d\d \d\d:\d\d UTC: "):
        Orbit.from_tle(fast, LINE2).state(np.linspace(0, 300 * DAY_S, 50))


def test_overlapping_passes_become_disjoint_contacts_and_the_station_in_contact_keeps_it():
    found = [
        PassRecord(0, 100, "A", 30),
        PassRecord(50, 150, "B", 80),
        PassRecord(60, 90, "inside", 20),
        PassRecord(120, 130, "C", 20),
        PassRecord(400, 500, "A", 20),
    ]
    assert [(c.station, c.aos_s, c.los_s) for c in contacts(found)] == [("A", 0, 100), ("B", 100, 150), ("A", 400, 500)]


def test_contacts_of_real_stations_cover_exactly_the_time_in_which_any_of_them_sees_the_satellite(orbit):
    stations = [STATIONS["Svalbard"], STATIONS["Kiruna"], STATIONS["Darmstadt"]]
    used = contacts(passes(orbit, stations, 0, DAY_S))
    t = np.arange(0, DAY_S, 1.0)
    seen = np.any([orbit.elevation_deg(s, t) > s.min_elevation_deg for s in stations], axis=0)
    assert sum(c.los_s - c.aos_s for c in used) == pytest.approx(np.count_nonzero(seen), abs=2 * len(used))
    assert all(a.los_s <= b.aos_s for a, b in pairwise(used))
