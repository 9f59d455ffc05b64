"""What follows from a scenario before anything runs."""

import dataclasses

import numpy as np
import pytest

from flight.link import labelset, parcel, region_codec
from flight.link.layout import map_order
from flight.link.packet import FileKind
from flight.link.transfer import File
from ground.imagery import TRAIN
from sim.plan import PlanError, label_set, make_plan, timeline
from sim.scenario import CameraSection, CommandOrder, LabelOrder, UpdateOrder, WorldSection, load_scenario
from sim.world import World

NOTHING_LATER = {"labels": (LabelOrder(),), "commands": ()}


def scenario(**changes):
    demo = dataclasses.replace(load_scenario("demo"), world=WorldSection(20, 20, 30), duration_h=24.0)
    return dataclasses.replace(demo, **changes)


@pytest.fixture(scope="module")
def plan():
    return make_plan(scenario())


def with_camera(revisit, **changes):
    demo = load_scenario("demo")
    return scenario(camera=dataclasses.replace(demo.camera, revisit=revisit, **changes), duration_h=72.0)


def test_the_region_goes_first_and_decodes_to_the_region_of_the_imagery(plan):
    first = plan.orders[0].item
    assert first.kind is FileKind.REGION
    decoded = region_codec.unpack(first.data, plan.scenario.flight_config().link)
    expected = plan.region.quantised()
    np.testing.assert_array_equal(decoded.bags, expected.bags)
    assert decoded.codes == plan.imagery.codes


def test_orders_are_in_the_order_of_their_times_and_hold_what_the_scenario_asks_for(plan):
    times = [order.at_s for order in plan.orders]
    assert times == sorted(times)
    names = [order.item.name for order in plan.orders]
    assert names == ["region", "labels-1-1", "ping", "labels-1-2", "labels-2-1", "get-model"]
    sizes = [len(o.item.data) for o in plan.orders if isinstance(o.item, File) and o.item.kind is FileKind.LABEL_SET]
    assert plan.label_bytes == sum(sizes)


def order_of(plan):
    """How tables are coded along the map that goes up."""
    (sent,) = [o.item for o in plan.orders if isinstance(o.item, File) and o.item.kind is FileKind.REGION]
    return map_order(region_codec.unpack(sent.data, plan.scenario.flight_config().link))


def test_only_rows_of_training_municipalities_are_ever_sent(plan):
    training = plan.imagery.bag_split == TRAIN
    assert 0 < training.sum() < len(training)
    files = [o.item for o in plan.orders if isinstance(o.item, File) and o.item.kind is FileKind.LABEL_SET]
    assert len(files) == len(plan.sent) == 3
    for file in files:
        sent = labelset.unpack(file.data, plan.scenario.flight_config().link, order_of(plan))
        assert not (~sent.missing & ~training).any()
        assert (~sent.missing).any()


def test_what_is_said_to_be_sent_is_what_the_satellite_decodes(plan):
    files = [o.item for o in plan.orders if isinstance(o.item, File) and o.item.kind is FileKind.LABEL_SET]
    for file, sent in zip(files, plan.sent, strict=True):
        decoded = labelset.unpack(file.data, plan.scenario.flight_config().link, order_of(plan))
        np.testing.assert_array_equal(decoded.proportions, sent.proportions)


@pytest.mark.parametrize("seed", [0, 1, 7])
def test_a_larger_share_of_rows_contains_a_smaller_one(seed):
    imagery = World(seed, 12, 12, 12, missing=0.0)
    before, rows = np.zeros(12, bool), []
    for share in np.linspace(0.0, 1.0, 9):
        wanted = LabelOrder(share=float(share))
        there = ~label_set(imagery, imagery.tasks[0], wanted, seed).missing
        assert not (before & ~there).any()
        before = there
        rows.append(int(there.sum()))
    assert rows[0] == 0 and rows[-1] == (imagery.bag_split == TRAIN).sum()


def test_a_task_that_the_imagery_does_not_have_is_left_out_and_named():
    plan = make_plan(scenario(labels=(LabelOrder(task=1), LabelOrder(task=9))))
    assert len(plan.sent) == 1 and plan.skipped == ["labels of task 9, which this imagery has not"]


def test_without_revisits_no_cell_is_imaged_twice_and_none_is_left_out():
    once, again = make_plan(with_camera(False)), make_plan(with_camera(True))
    cells = np.concatenate([each.cells for each in once.overpasses])
    assert len(np.unique(cells)) == len(cells)
    assert set(cells.tolist()) == set(np.concatenate([each.cells for each in again.overpasses]).tolist())
    assert sum(each.cells.size for each in again.overpasses) > len(cells)
    assert all(each.cells.size == each.t_s.size > 0 for each in once.overpasses)


def test_the_scene_of_a_chip_is_its_last_overpass(plan):
    scenes, last = plan.scene_of(), {}
    for overpass in plan.overpasses:
        last |= dict.fromkeys(overpass.cells.tolist(), overpass.scene)
    chips = plan.chip_at()
    for cell, scene in last.items():
        assert scenes[chips[cell]] == scene
    assert (scenes[[chip for cell, chip in enumerate(chips) if cell not in last]] == -1).all()


def test_the_same_scenario_gives_the_same_plan(plan):
    again = make_plan(scenario())
    assert [order.item for order in again.orders] == [order.item for order in plan.orders]
    assert again.contacts == plan.contacts


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"world": WorldSection(4, 4, 10)}, "world: n_municipalities is 10"),
        ({"duration_h": 0.05, **NOTHING_LATER}, "no pass over Svalbard, Darmstadt in 0.05 h"),
        ({"labels": (LabelOrder(task=9),)}, "no label set is sent"),
        (
            {"duration_h": 2.0, **NOTHING_LATER},
            "never in reach of the camera by day: the satellite never comes within 4000",
        ),
        (
            {"camera": CameraSection(min_sun_elevation_deg=80.0)},
            r"by day: of \d+ approaches none has the Sun higher than -?\d+\.\d deg, camera.min_sun_elevation_deg is 80",
        ),
        (
            {"camera": CameraSection(max_off_nadir_deg=0.0, swath_km=1.0), "duration_h": 12.0, **NOTHING_LATER},
            r"approaches by day needs a roll of \d+\.\d deg, camera.max_off_nadir_deg is 0",
        ),
    ],
)
def test_what_cannot_be_flown_is_an_error_that_says_why(changes, message):
    with pytest.raises(PlanError, match=message):
        make_plan(scenario(**changes))


def test_commands_go_up_at_their_times():
    plan = make_plan(scenario(commands=(CommandOrder("set-task", 3.0, {"task_id": 2}),)))
    (order,) = [order for order in plan.orders if order.item.name == "set-task"]
    assert order.at_s == 3 * 3600 and order.item.args == {"task_id": 2}


def test_the_timeline_has_a_line_for_every_pass_overpass_order_and_fault():
    operations = make_plan(load_scenario("operations"))
    lines = timeline(operations)
    n = len(operations.contacts) + len(operations.overpasses) + len(operations.orders)
    assert len(lines) == n + len(operations.scenario.faults) and lines == sorted(lines, key=lambda line: line[:8])
    assert "01:30:00  command   ping echo=6 at 06:00:00, if late skip" in lines


def test_an_update_goes_up_as_it_is(tmp_path):
    data = parcel.pack_update(parcel.Update("parameters", 3, b"[executive]\ncycle_s = 0.5\n"))
    (tmp_path / "own.update").write_bytes(data)
    plan = make_plan(scenario(updates=(UpdateOrder(str(tmp_path / "own.update"), 2.0),)))
    (order,) = [order for order in plan.orders if order.item.name == "update-parameters-3"]
    assert (order.at_s, order.item.kind, order.item.data) == (7200.0, FileKind.UPDATE, data)
    with pytest.raises(PlanError, match=r"updates\[1\].file: .*version 3 of parameters is ordered twice"):
        make_plan(scenario(updates=(UpdateOrder(str(tmp_path / "own.update")),) * 2))


@pytest.mark.parametrize(("data", "message"), [(None, "No such file"), (b"U\x02 nothing", "update: ")])
def test_an_update_that_is_none_is_an_error_that_names_its_file(tmp_path, data, message):
    if data is not None:
        (tmp_path / "x.update").write_bytes(data)
    with pytest.raises(PlanError, match=rf"updates\[0\].file: .*x.update: .*{message}"):
        make_plan(scenario(updates=(UpdateOrder(str(tmp_path / "x.update")),)))


def saved(tmp_path, labels, name="labels.bin"):
    (tmp_path / name).write_bytes(labelset.pack(labels))
    return LabelOrder(file=str(tmp_path / name))


def test_a_packed_label_set_goes_up_as_it_is(plan, tmp_path):
    own = dataclasses.replace(plan.sent[0], version=7)
    order = saved(tmp_path, own)
    found = make_plan(scenario(labels=(order,)))
    sent = next(o.item for o in found.orders if isinstance(o.item, File) and o.item.kind is FileKind.LABEL_SET)
    assert sent.data == (tmp_path / "labels.bin").read_bytes() and sent.name == "labels-1-7"
    assert found.label_bytes == len(sent.data) and found.sent[0].version == 7


def test_a_packed_label_set_that_does_not_fit_is_named_with_what_was_expected(plan, tmp_path):
    own = plan.sent[0]
    few = dataclasses.replace(own, proportions=own.proportions[:5])
    bad = {
        r"5 municipalities of region 1, the imagery has 30 of region 1": few,
        r"30 municipalities of region 9": dataclasses.replace(own, region_id=9),
        r"task 8 with 5 classes, the imagery has task 1 \(5 classes\), 2": dataclasses.replace(own, task_id=8),
    }
    for message, labels in bad.items():
        with pytest.raises(PlanError, match=rf"labels\[0\]\.file: .*labels\.bin: {message}"):
            make_plan(scenario(labels=(saved(tmp_path, labels),)))
    with pytest.raises(PlanError, match=r"labels\[1\]\.file: .*: version 1 of task 1 comes after 1"):
        make_plan(scenario(labels=(LabelOrder(version=1), saved(tmp_path, dataclasses.replace(own, version=1)))))
    with pytest.raises(PlanError, match=r"labels\[0\]\.file: .*none\.bin: No such file"):
        make_plan(scenario(labels=(LabelOrder(file=str(tmp_path / "none.bin")),)))
    (tmp_path / "junk.bin").write_bytes(b"junk")
    with pytest.raises(PlanError, match=r"labels\[0\]\.file: .*junk\.bin: "):
        make_plan(scenario(labels=(LabelOrder(file=str(tmp_path / "junk.bin")),)))


def test_a_lost_pass_that_the_mission_does_not_have_is_an_error(plan):
    radio = dataclasses.replace(plan.scenario.radio, lost_passes=(1, 99))
    with pytest.raises(ValueError, match=r"radio\.lost_passes: there is no pass 99; the mission has \d+"):
        make_plan(scenario(radio=radio))


def test_every_contact_knows_how_high_the_satellite_stands_in_its_course(plan):
    for contact in plan.contacts:
        middle = contact.elevation_deg((contact.aos_s + contact.los_s) / 2)
        assert max(contact.elevations_deg) == pytest.approx(contact.max_elevation_deg, abs=0.2)
        assert contact.elevation_deg(contact.los_s) == pytest.approx(10.0, abs=0.01)
        assert 10 < middle <= contact.max_elevation_deg + 0.01
        station = next(s for s in plan.scenario.station_list() if s.name == contact.station)
        t = np.linspace(contact.aos_s, contact.los_s, 97)
        exact = plan.orbit.elevation_deg(station, t)
        assert np.allclose([contact.elevation_deg(x) for x in t], exact, atol=0.15)
