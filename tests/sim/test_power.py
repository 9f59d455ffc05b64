"""Battery, temperature and the board, and a mission that lives with them."""

import dataclasses

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flight.board import Draw, Reading
from flight.step import Message
from sim.board import Board
from sim.mission import Mission
from sim.outcome import conclude
from sim.plan import make_plan
from sim.power import Battery, PowerSection, ThermalMass, WattsSection
from sim.report import write_report
from sim.scenario import load_scenario

SECTION = PowerSection(
    enabled=True, battery_wh=10.0, battery=0.5, solar_w=10.0, efficiency=0.9, report_s=60.0,
    watts=WattsSection(bus=2.0, idle=1.0, training=7.0, transmitter=4.0),
)  # fmt: skip


def test_an_hour_of_sun_and_an_hour_of_shadow_charge_and_drain_by_the_watts():
    battery = Battery(SECTION)
    battery.advance(3600.0, 6.0, True)
    assert battery.charge_wh == pytest.approx(5.0 + 4.0 * 0.9)
    battery.advance(3600.0, 6.0, False)
    assert battery.charge_wh == pytest.approx(2.6)
    battery.advance(36000.0, 6.0, False)
    assert battery.charge_wh == 0.0 and battery.lowest == 0.0


@given(st.lists(st.tuples(st.floats(0, 5000), st.floats(0, 20), st.booleans()), max_size=20))
def test_models_do_not_depend_on_how_time_is_cut(spans):
    whole, cut = (Battery(SECTION), ThermalMass(SECTION)), (Battery(SECTION), ThermalMass(SECTION))
    for seconds, load_w, sunlit in spans:
        for model in whole:
            model.advance(seconds, load_w, sunlit)
        for share in (0.3, 0.7):
            for model in cut:
                model.advance(share * seconds, load_w, sunlit)
    assert cut[0].share == pytest.approx(whole[0].share, abs=1e-9)
    assert cut[1].degc == pytest.approx(whole[1].degc, abs=1e-9)


def test_the_payload_settles_where_it_sheds_what_it_takes_in():
    mass = ThermalMass(SECTION)
    mass.advance(1e6, 5.0, True)
    assert mass.degc == pytest.approx(SECTION.surroundings_degc + (5.0 + SECTION.sun_w) / SECTION.loss_w_per_k)


def test_the_board_reports_at_its_period_and_knows_sun_transmitter_and_what_flight_draws():
    board = Board(SECTION, [(3600.0, 5400.0)], [(0.0, 1800.0)])
    readings = []
    t = 0.0
    while t < 7200.0:
        body = Draw("train", "training", 0.5).pack()
        inputs = [Message(t, "flight", 1, "flight", body)] if t == 0.0 else []
        step = board.step(t, inputs)
        readings += [(output.t, Reading.unpack(output.body)) for output in step.outputs]
        t = step.next_due
    assert [at_s for at_s, _ in readings] == [60.0 * i for i in range(120)]
    assert [at_s for at_s, reading in readings if not reading.sunlit] == [60.0 * i for i in range(60, 90)]
    load_w = 2.0 + 1.0 + 0.5 * 6.0
    charge_wh = 5.0 + 0.5 * 0.9 * ((10.0 - load_w - 4.0) + (10.0 - load_w)) - 0.5 * load_w
    at_dawn = next(reading for at_s, reading in readings if at_s == 5400.0)
    assert at_dawn.battery == pytest.approx(charge_wh / 10.0)


def test_a_malformed_message_to_the_board_is_counted():
    board = Board(SECTION, [], [])
    board.step(0.0, [Message(0.0, "flight", 1, "flight", b"\x93")])
    assert board.malformed == 1


@pytest.fixture(scope="module")
def flown(tmp_path_factory):
    scenario = load_scenario("power")
    learner = dataclasses.replace(scenario.learner, name="moments")  # quick; it is the chips that take time
    costs = dataclasses.replace(scenario.costs, chip_s=20.0)
    plan = make_plan(dataclasses.replace(scenario, learner=learner, costs=costs))
    mission = Mission(plan, tmp_path_factory.mktemp("power"), in_process=True)
    mission.fly()
    return mission, conclude(mission)


def test_a_mission_with_too_small_a_battery_enters_safe_mode_leaves_it_by_telecommand_and_is_complete(flown):
    _, record = flown
    assert record.summary["completed"], record.summary["shortfalls"]
    assert {"throttle", "pause", "safe"} <= {span.limit_action for span in record.modes}
    assert record.event_counts["safe-mode-entered"] >= 1
    causes = [mark.text for mark in record.marks if mark.kind == "mode"]
    assert causes[0].startswith("safe: limit battery-critical") and any("telecommand" in text for text in causes)
    assert sum(record.summary["modes_s"].values()) == pytest.approx(record.duration_s)
    assert 0.0 <= record.summary["battery_lowest"] < 0.2


def test_the_report_shows_modes_and_battery(flown, tmp_path):
    _, record = flown
    text = write_report(record, tmp_path).read_text(encoding="utf-8")
    assert "Modes and power" in text and "battery (lowest" in text


def test_real_processes_give_the_same_modes_and_battery(flown, tmp_path):
    _, record = flown
    mission = Mission(flown[0].plan, tmp_path)
    mission.fly()
    again = conclude(mission)
    assert again.modes == record.modes and again.power == record.power
    assert again.summary["weights_sha256"] == record.summary["weights_sha256"]


def test_the_battery_costs_time_and_no_bit_of_the_weights(flown, tmp_path):
    plan = make_plan(dataclasses.replace(flown[0].plan.scenario, power=PowerSection(), commands=()))
    mission = Mission(plan, tmp_path, in_process=True)
    mission.fly()
    assert conclude(mission).summary["weights_sha256"] == flown[1].summary["weights_sha256"]
