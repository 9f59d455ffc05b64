"""The station's archive on disk, and what it exports."""

import numpy as np
import pytest

from flight.config import LinkConfig
from flight.link import product
from flight.link.product import Product
from flight.link.region import Region
from ground.archive import LOG, MAX_LINES, RECEIVED, StationArchive, export, product_number
from ground.products import ProductArchive, read_telemetry

CONFIG = LinkConfig()
CLASSES = {1: ("crops", "other"), 2: ("forest", "grass", "rock")}
ALL_OF_A = np.tile(np.int32([0, -1, -1, -1]), (12, 1)), np.tile(np.uint8([255, 0, 0, 0]), (12, 1))
REGION = Region(1, 3, 4, ("a",), *ALL_OF_A)


def a_product(value, task=1, version=1, cells=(0, 5), region_id=1):
    cells = np.array(cells, np.int32)
    row = [value, 1 - value] + [0.0] * (len(CLASSES[task]) - 2)
    return Product(region_id, task, version, bytes(8), 64, cells, np.tile(np.float32(row), (len(cells), 1)))


def keep(archive, number, made):
    archive.file(1.0, f"product-{made.task_id}-{made.label_version}-{number}", product.pack(made))


def exported(directory):
    export(directory, CONFIG, REGION, CLASSES)
    return ProductArchive.read(directory / "products.parquet"), read_telemetry(directory / "telemetry.parquet")


def test_products_become_a_grid_a_task_and_later_ones_replace_earlier_ones(tmp_path):
    archive = StationArchive(tmp_path)
    keep(archive, 10, a_product(0.25))
    keep(archive, 9, a_product(0.75, cells=(5, 6)))  # 9 came before 10, whatever the alphabet says
    keep(archive, 11, a_product(0.5, task=2, cells=(11,)))
    products, telemetry = exported(tmp_path)
    grid = products.grid(1)
    assert (grid[0, 0, 0], grid[1, 1, 0], grid[1, 2, 0]) == (0.25, 0.25, 0.75)
    assert np.isfinite(grid[..., 0]).sum() == 3
    assert products.grid(2)[2, 3].tolist() == [0.5, 0.5, 0.0]
    assert products.classes(2) == CLASSES[2]
    assert telemetry == []


def test_products_of_another_region_are_left_out(tmp_path):
    archive = StationArchive(tmp_path)
    keep(archive, 1, a_product(0.25))
    keep(archive, 2, a_product(0.75, region_id=2, cells=(5, 4000)))
    products, _ = exported(tmp_path)
    assert np.isfinite(products.grid(1)[..., 0]).sum() == 2


def test_telemetry_comes_back_as_it_was_in_its_order(tmp_path):
    archive = StationArchive(tmp_path)
    for i in range(2 * MAX_LINES + 3):
        archive.telemetry(float(i), "event", "model-ready", {"task_id": i, "model_digest": bytes([i])})
    archive.flush()
    _, telemetry = exported(tmp_path)
    assert [t for t, *_ in telemetry] == [float(i) for i in range(2 * MAX_LINES + 3)]
    assert telemetry[17] == (17.0, "event", "model-ready", {"task_id": 17, "model_digest": "11"})


@pytest.mark.parametrize("reopened", [False, True])
@pytest.mark.parametrize("cut", [1, 5, 30])
def test_a_line_cut_short_by_a_dying_station_costs_that_line_alone(cut, reopened, tmp_path):
    archive = StationArchive(tmp_path)
    for i in range(3):
        archive.telemetry(float(i), "telemetry", "pong", {"echo": i})
    archive.flush()
    log = tmp_path / LOG
    log.write_bytes(log.read_bytes()[:-cut])
    expected = [0.0, 1.0]
    if reopened:
        again = StationArchive(tmp_path)
        again.telemetry(9.0, "telemetry", "pong", {"echo": 9})
        again.flush()
        expected.append(9.0)
    _, telemetry = exported(tmp_path)
    assert [t for t, *_ in telemetry] == expected


def test_opening_an_archive_again_keeps_what_is_there(tmp_path):
    archive = StationArchive(tmp_path)
    keep(archive, 1, a_product(0.25))
    archive.telemetry(1.0, "telemetry", "pong", {"echo": 1})
    archive.flush()
    StationArchive(tmp_path)
    products, telemetry = exported(tmp_path)
    assert products.grid(1)[0, 0, 0] == 0.25 and len(telemetry) == 1


def test_a_file_received_again_replaces_the_one_before_and_nothing_else_is_left(tmp_path):
    archive = StationArchive(tmp_path)
    archive.file(1.0, "model-1", b"first")
    archive.file(2.0, "model-1", b"second")
    assert [(path.name, path.read_bytes()) for path in (tmp_path / RECEIVED).iterdir()] == [("model-1", b"second")]


def test_the_number_of_a_product_is_the_last_part_of_its_name():
    assert product_number("product-1-12-104") == 104
