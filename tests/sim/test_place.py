"""A mission over a data file flies over the place that the file names, by day, wherever on the Earth that is."""

import dataclasses

import numpy as np
import pytest

from ground.datasets import write_npz
from sim.plan import PlanError, make_plan
from sim.scenario import OrbitSection, SiteSection, load_scenario
from sim.world import World

DATA = load_scenario("data")


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """A data file of a region in the south of Chile."""
    world = World(1, 8, 8, 12, chip_px=16)
    world.centre = (-42.0, -72.5)
    path = tmp_path_factory.mktemp("place") / "chile.npz"
    write_npz(path, world, np.arange(world.n_chips))
    return path


def test_the_region_is_imaged_where_its_file_says_that_it_is_by_an_orbit_that_reaches_it(data):
    plan = make_plan(DATA, data)
    assert plan.scenario.site == SiteSection(-42.0, -72.5)
    assert sum(each.cells.size for each in plan.overpasses) == 64
    assert min(each.sun_elevation_deg for each in plan.overpasses) > DATA.camera.min_sun_elevation_deg
    assert [note.split(":")[0] for note in plan.notes] == ["site", "orbit"]


def test_a_site_and_an_orbit_that_are_stated_are_flown(data):
    stated = dataclasses.replace(DATA, site=SiteSection(43.0, -3.0))
    assert make_plan(stated, data).scenario.site == stated.site
    with pytest.raises(PlanError, match="never in reach"):
        make_plan(dataclasses.replace(DATA, orbit=OrbitSection(argument_of_latitude_deg=61.0)), data)


def test_without_day_on_any_orbit_the_reason_is_given(data):
    dark = dataclasses.replace(DATA, camera=dataclasses.replace(DATA.camera, min_sun_elevation_deg=89.0))
    with pytest.raises(PlanError, match="Sun higher than"):
        make_plan(dark, data)


@pytest.mark.parametrize("centre", [(95.0, 0.0), (0.0, 181.0), (float("nan"), 0.0)])
def test_a_place_off_the_earth_is_refused(data, tmp_path, centre):
    arrays = dict(np.load(data)) | {"centre": np.array(centre)}
    np.savez(tmp_path / "off.npz", **arrays)
    with pytest.raises(ValueError, match="array 'centre'"):
        make_plan(DATA, tmp_path / "off.npz")
