"""What the camera sees when."""

from datetime import UTC, datetime

import numpy as np
import pytest

from sim.orbit import Orbit, geodetic
from sim.overpass import Footprint, plan_overpasses

DAY_S = 86400.0
REGION = Footprint(42.0, -4.5, rows=75, cols=80)


@pytest.fixture(scope="module")
def orbit() -> Orbit:
    return Orbit.sun_synchronous(640, 18.0, datetime(2025, 6, 21, tzinfo=UTC), argument_of_latitude_deg=60)


@pytest.fixture(scope="module")
def day(orbit):
    return plan_overpasses(orbit, REGION, 0, DAY_S, swath_km=64, max_off_nadir_deg=25, min_sun_elevation_deg=10)


def test_a_dawn_dusk_day_images_the_whole_region_once_in_two_overpasses(day):
    assert [o.scene for o in day] == [0, 1]
    cells = np.concatenate([o.cells for o in day])
    assert np.array_equal(np.sort(cells), np.arange(75 * 80))
    assert all(abs(o.off_nadir_deg) < 10 and o.sun_elevation_deg > 20 for o in day)


def test_cells_come_in_orbit_order_south_first_when_the_satellite_climbs(orbit, day):
    for o in day:
        assert np.all(np.diff(o.t_s) >= 0)
        lat = orbit.ground_track([o.start_s, o.end_s])[0]
        northward = lat[1] > lat[0]
        rows = o.cells // 80
        assert (rows[:200].mean() > rows[-200:].mean()) == northward


def test_the_strip_passes_under_the_camera_at_ground_speed(day):
    speed = 75.0 / (day[0].end_s - day[0].start_s)
    assert 5.5 < speed < 7.1  # the swept cells reach a little farther than the region's 75 km along the tilted track


def test_a_cell_is_imaged_when_it_lies_broadside_and_inside_the_field_of_view(orbit, day):
    o = day[0]
    position, velocity = orbit.state(o.t_s)
    look = REGION.ecef_km[o.cells] - position
    along = np.sum(look * velocity, axis=1) / np.linalg.norm(velocity, axis=1)
    assert np.abs(along).max() < 1e-4  # km
    down = -position / np.linalg.norm(position, axis=1, keepdims=True)
    right = np.cross(down, velocity)
    right /= np.linalg.norm(right, axis=1, keepdims=True)
    roll = np.rad2deg(np.arctan2(np.sum(look * right, axis=1), np.sum(look * down, axis=1)))
    half = np.rad2deg(np.arctan2(32, 640))
    assert np.abs(roll - o.off_nadir_deg).max() < half * 1.05
    assert np.ptp(roll) > half


def test_row_0_is_in_the_north_and_column_0_in_the_west_and_cells_are_a_kilometre_apart():
    lat, lon = geodetic(REGION.ecef_km)
    lat, lon = lat.reshape(75, 80), lon.reshape(75, 80)
    assert np.all(lat[0] > lat[-1]) and np.all(lon[:, 0] < lon[:, -1])
    assert lat.mean() == pytest.approx(42.0, abs=0.01) and lon.mean() == pytest.approx(-4.5, abs=0.01)
    grid = REGION.ecef_km.reshape(75, 80, 3)
    assert np.allclose(np.linalg.norm(np.diff(grid, axis=1), axis=2), 1.0)


def test_no_cell_is_revisited_before_every_other_one_is_done(orbit):
    found = plan_overpasses(orbit, REGION, 0, 5 * DAY_S, swath_km=120, max_off_nadir_deg=30, min_sun_elevation_deg=10)
    times_imaged = np.zeros(75 * 80, dtype=int)
    for o in found:
        times_imaged[o.cells] += 1
        assert np.ptp(times_imaged) <= 1
    assert times_imaged.min() >= 2


def test_no_overpass_in_the_dark_or_beyond_the_pointing_limit(orbit):
    kwargs = {"swath_km": 64.0, "max_off_nadir_deg": 25.0}
    assert plan_overpasses(orbit, REGION, 0, DAY_S, min_sun_elevation_deg=80, **kwargs) == []
    narrow = plan_overpasses(orbit, REGION, 0, 6 * DAY_S, swath_km=20, max_off_nadir_deg=3, min_sun_elevation_deg=-90)
    assert narrow and all(abs(o.off_nadir_deg) <= 3 for o in narrow)


def test_a_narrow_swath_takes_strip_after_strip_without_taking_a_cell_twice(orbit):
    found = plan_overpasses(orbit, REGION, 0, 6 * DAY_S, swath_km=20, max_off_nadir_deg=30, min_sun_elevation_deg=10)
    cells = np.concatenate([o.cells for o in found])
    assert len(found) >= 3
    assert np.bincount(cells).max() <= 1


def test_only_cells_inside_the_time_asked_for_are_planned(orbit, day):
    cut_s = (day[0].start_s + day[0].end_s) / 2
    (part,) = plan_overpasses(orbit, REGION, 0, cut_s, swath_km=64, max_off_nadir_deg=25, min_sun_elevation_deg=10)
    assert part.end_s <= cut_s
    assert 0 < len(part.cells) < len(day[0].cells)


@pytest.mark.parametrize("bad", [{"lat_deg": 91}, {"rows": 0}, {"cell_km": 0}, {"rows": 10**6, "cols": 10**6}])
def test_an_impossible_footprint_is_refused(bad):
    with pytest.raises(ValueError, match="footprint"):
        Footprint(**{"lat_deg": 42, "lon_deg": 0, "rows": 75, "cols": 80, **bad})
