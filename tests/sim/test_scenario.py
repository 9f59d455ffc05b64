"""Scenarios: the built-in ones, and errors that name the field."""

import pytest

from flight.config import ConfigError, build
from sim.plan import make_plan
from sim.scenario import Scenario, built_in, load_scenario


@pytest.mark.parametrize("name", built_in())
def test_every_built_in_scenario_loads_says_what_it_is_and_can_be_flown(name):
    scenario = load_scenario(name)
    assert scenario.name == name and scenario.description
    plan = make_plan(scenario)
    assert plan.contacts and plan.overpasses and plan.sent
    assert all(0 <= order.at_s < scenario.duration_s for order in plan.orders)
    assert all(contact.los_s > contact.aos_s >= 0 for contact in plan.contacts)


BAD = {
    "duration_h: -1.0 is not between": "duration_h = -1",
    "speed: unknown field": "speed = 3",
    "seed: expected int": "seed = 1.5",
    "epoch_utc: 'today' is not an ISO 8601": 'epoch_utc = "today"',
    "world.rows: 1 is not between": "[world]\nrows = 1",
    "site.lat_deg: 99.0 is not between": "[site]\nlat_deg = 99",
    "camera.revisit: expected bool": "[camera]\nrevisit = 1",
    "radio.uplink": '[radio]\nuplink = "carrier-pigeon"',
    "radio.loss": '[radio]\nloss = "terrible"',
    "radio.bit_error_rate: 2.0 is not between": "[radio]\nbit_error_rate = 2",
    "radio.outages[0].direction: 'sideways' is unknown": '[[radio.outages]]\ndirection = "sideways"',
    "radio.elevation_loss[1]: 5 degrees is not above": "[radio]\nelevation_loss = [[10, 0.1], [5, 0]]",
    "learner.name: 'forest' is unknown": '[learner]\nname = "forest"',
    "link.frame_bytes: 100 is not between 160": "[link]\nframe_bytes = 100",
    r"stations[0]: 'Atlantis' is not built in": 'stations = [{ name = "Atlantis" }]',
    r"stations[0]: missing name": "stations = [{ lat_deg = 3.0 }]",
    r"stations[1].min_elevation_deg: 91.0 is not": (
        '[[stations]]\nname = "Svalbard"\n[[stations]]\nname = "Svalbard"\nmin_elevation_deg = 91'
    ),
    r"labels[0].share: 2.0 is not between": "[[labels]]\nshare = 2.0",
    r"labels[1].version: 0 is not between": "[[labels]]\n[[labels]]\nversion = 0",
    r"commands[0]: 'launch' is no telecommand; known are ping": '[[commands]]\nname = "launch"',
    r"commands[0]: set-task: missing task_id": '[[commands]]\nname = "set-task"',
    r"commands[0].execute_h: schedule may not be": '[[commands]]\nname = "schedule"\nexecute_h = 2\nargs = '
    '{ at_s = 1, if_late = "skip", command = "02" }',
    r"sequences[0].steps[1]: set-task: missing task_id": (
        '[[sequences]]\nsteps = [{ command = "status" }, { command = "set-task" }]'
    ),
    r"sequences[0].file: expected a file name, and no": '[[sequences]]\nfile = "x.toml"\nsteps = []',
    r"labels[0].at_h: hour 24 is not within the mission, which lasts 24 h": "[[labels]]\nat_h = 24",
    r"commands[0].execute_h: hour 30 is not": '[[commands]]\nname = "status"\nexecute_h = 30',
    r"faults[0].at_h: hour 25 is not": "[[faults]]\nat_h = 25",
    r"link.uplink_bps: 1200 contradicts radio.uplink = 'uhf-9k6', which is 9600": "[link]\nuplink_bps = 1200",
    r"faults[0].kind: 'meteor' is unknown": '[[faults]]\nkind = "meteor"',
    "orbit.altitude_km: 50.0 is not between": "[orbit]\naltitude_km = 50",
    "costs.chip_s: -1.0 is not": "[costs]\nchip_s = -1",
}


@pytest.mark.parametrize("message", BAD)
def test_what_is_wrong_with_a_file_is_named_by_file_and_field(message, tmp_path):
    path = tmp_path / "mine.toml"
    path.write_text(BAD[message])
    with pytest.raises(ConfigError) as told:
        load_scenario(str(path))
    assert str(told.value).startswith(f"{path}: {message}")


def test_a_sequence_may_stand_in_a_file_of_its_own_beside_the_scenario(tmp_path):
    (tmp_path / "safe.toml").write_text('sequence_id = 4\nsteps = [{ command = "status", after_s = 3 }]\n')
    (tmp_path / "mine.toml").write_text('[[sequences]]\nfile = "safe.toml"\nat_h = 2\n')
    (order,) = load_scenario(str(tmp_path / "mine.toml")).sequences
    assert (order.sequence_id, order.at_h, order.steps[0].after_s) == (4, 2.0, 3.0)
    (tmp_path / "safe.toml").unlink()
    with pytest.raises(ConfigError, match=r"safe\.toml: No such file"):
        load_scenario(str(tmp_path / "mine.toml"))


def test_a_file_that_is_not_there_or_not_toml_is_named(tmp_path):
    with pytest.raises(ConfigError, match=r"none\.toml: .*No such file"):
        load_scenario(str(tmp_path / "none.toml"))
    (tmp_path / "bad.toml").write_text("[[[")
    with pytest.raises(ConfigError, match=r"bad\.toml: "):
        load_scenario(str(tmp_path / "bad.toml"))
    with pytest.raises(ConfigError, match="nowhere: neither a TOML file nor a built-in scenario"):
        load_scenario("nowhere")


def test_what_a_file_leaves_out_keeps_its_default_and_its_name_is_the_file_s(tmp_path):
    path = tmp_path / "mine.toml"
    path.write_text("duration_h = 6\n")
    scenario = load_scenario(str(path))
    assert scenario == build(Scenario, {"name": "mine", "duration_h": 6})


def test_a_label_file_lies_beside_its_scenario(tmp_path):
    (tmp_path / "mine.toml").write_text('[[labels]]\nfile = "labels.bin"\n')
    assert load_scenario(str(tmp_path / "mine.toml")).labels[0].file == str(tmp_path / "labels.bin")


def test_a_station_is_built_in_or_given_by_its_place():
    scenario = build(
        Scenario,
        {"name": "x", "stations": [{"name": "Darmstadt"}, {"name": "Roof", "lat_deg": 1.0, "lon_deg": 2.0}]},
    )
    assert [station.name for station in scenario.station_list()] == ["Darmstadt", "Roof"]
    assert (scenario.station_list()[1].lat_deg, scenario.station_list()[1].lon_deg) == (1.0, 2.0)


def test_flight_is_started_with_the_rates_of_the_radio_and_the_seed_of_the_scenario():
    scenario = build(Scenario, {"name": "x", "seed": 9, "radio": {"uplink": "vhf-1k2", "downlink": "sband-1m"}})
    config = scenario.flight_config()
    assert (config.link.uplink_bps, config.link.downlink_bps, config.learner.seed) == (1200.0, 1e6, 9)


def test_coding_is_charged_to_the_pace_of_the_uplink_too():
    scenario = build(Scenario, {"name": "x", "radio": {"charge_coding": True, "downlink_bps": 12000}})
    assert scenario.flight_config().link.uplink_bps == 9600 * 7 / 8
    assert scenario.flight_config().link.downlink_bps == 12000
