"""`predict-municipalities` from the telecommand to what the ground reads."""

import numpy as np
import pytest

from flight.link import municipal
from flight.link.events import FileReceived
from flight.link.layout import map_order
from flight.link.packet import FileKind
from tests.flight.flight_world import SLOW, World, config, label_file, region_file


def received(world):
    files = [each.file for each in world.of(FileReceived) if each.file.kind is FileKind.MUNICIPAL_PRODUCT]
    order = map_order(world.flight.payload.region)
    return [municipal.unpack(file.data, world.config.link, order) for file in files]


def learned(world, share=1.0):
    world.contact()
    world.image()
    world.orders += [region_file(), label_file(1, share=share)]
    world.settle()


def expected(world):
    """Means of all chips' predictions, straight from the chips and the borders."""
    payload = world.flight.payload
    cells, shares = payload.products._predicted(0, len(payload.summaries))
    bags, weights = payload.region.bags[cells], payload.region.weights[cells].astype(float)
    towns = [((bags == town) * weights).sum(1) for town in range(len(payload.region.codes))]
    return np.array([weight @ shares / weight.sum() for weight in towns])


def test_the_mean_of_every_municipality_comes_down(tmp_path):
    world = World(tmp_path)
    learned(world)
    assert world.command("predict-municipalities", task_id=1, rows="all", levels=100) == ("executed", "")
    world.until(lambda: received(world))
    (product,) = received(world)
    assert (product.task_id, product.label_version, product.levels) == (1, 1, 100)
    assert product.model_digest == world.flight.payload.progress.model_digest[:8]
    assert np.abs(product.proportions - expected(world)).max() < 0.01
    assert (product.coverage == 1).all()
    world.settle()
    assert len(received(world)) == 1


def test_those_without_a_label_come_alone_if_asked_for(tmp_path):
    world = World(tmp_path)
    learned(world, share=0.5)
    missing = world.flight.payload.labels.missing
    world.command("predict-municipalities", task_id=1, rows="unlabelled", levels=64)
    world.until(lambda: received(world))
    assert 0 < missing.sum() < len(missing)
    assert received(world)[0].present.tolist() == missing.tolist()


def test_a_task_that_is_not_active_is_refused(tmp_path):
    world = World(tmp_path)
    learned(world)
    refusal = ("rejected", "task 2 is not active")
    assert world.command("predict-municipalities", task_id=2, rows="all", levels=100) == refusal


@pytest.mark.parametrize("wait_s", [0.0, 0.3])
def test_what_was_acknowledged_comes_down_after_a_kill(tmp_path, wait_s):
    world = World(tmp_path, config(**SLOW))
    learned(world)
    world.command("predict-municipalities", task_id=1, rows="all", levels=100)
    world.run(wait_s)
    assert not received(world)
    world.restart()
    world.until(lambda: received(world))
    assert np.abs(received(world)[0].proportions - expected(world)).max() < 0.01


def test_a_product_that_is_too_large_for_a_file_comes_with_fewer_levels(tmp_path):
    world = World(tmp_path)
    learned(world)
    towns = world.flight.payload.products.towns
    world.command("predict-municipalities", task_id=1, rows="all", levels=100)
    world.until(lambda: received(world))
    towns.take_back(too_large=True)
    assert towns.request.levels == 50
    towns.take_back(too_large=False)
    assert towns.request.levels == 100
