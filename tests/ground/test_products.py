from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from flight.link.product import Product
from ground.products import ArchiveError, ProductArchive, TelemetryArchive, read_telemetry


def product(cells: list[int], version: int = 1, task: int = 1, share: float = 0.25, region: int = 7) -> Product:
    table = np.tile(np.array([share, 1 - share], np.float32), (len(cells), 1))
    return Product(region, task, version, bytes(8), 64, np.array(cells, np.int32), table)


def test_the_newest_label_version_wins_whatever_the_order_of_arrival() -> None:
    archive = ProductArchive(7, 2, 3)
    assert archive.add(product([0, 1, 2], version=2, share=0.5)) == 3
    assert archive.add(product([1, 2, 3], version=1, share=0.25)) == 1
    assert archive.versions(1).tolist() == [[2, 2, 2], [1, -1, -1]]
    assert archive.grid(1)[0, 1].tolist() == [0.5, 0.5] and np.isnan(archive.grid(1)[1, 1]).all()


def test_a_quick_look_fills_its_blocks_until_the_chips_come() -> None:
    archive = ProductArchive(7, 5, 6)
    archive.add(product([7], version=1, share=0.75))
    look = replace(product([0, 3], version=1, share=0.5), cols=2, block=4)
    assert archive.add(look) == 15 + 2  # the second block is cut off by the edges of the grid
    assert archive.blocks(1)[1].tolist() == [4, 1, 4, 4, 0, 0] and archive.blocks(1)[4].tolist() == [0, 0, 0, 0, 4, 4]
    assert archive.add(product([0, 1], version=1)) == 2
    assert archive.blocks(1)[0].tolist() == [1, 1, 0, 0, 0, 0] and archive.blocks(1)[4, 4] == 4
    assert archive.versions(1)[1].tolist() == [-1, 1, -1, -1, -1, -1]
    assert archive.add(replace(look, label_version=2)) == 16 + 2


def test_a_product_that_does_not_fit_changes_nothing() -> None:
    archive = ProductArchive(7, 2, 3)
    archive.define(1, ("a", "b", "c"))
    for bad, message in (
        (product([0], region=8), "region 8"),
        (product([6], task=2), "cell 6"),
        (product([0]), "2 classes, task 1 3"),
        (replace(product([0], task=2), cols=3, block=2), "3 columns of blocks, the grid 2"),
    ):
        with pytest.raises(ArchiveError, match=message):
            archive.add(bad)
    assert (archive.versions(1) == -1).all()


def test_an_archive_reads_back_as_it_was_written(tmp_path: Path) -> None:
    archive = ProductArchive(7, 2, 3)
    archive.define(1, ("dry", "wet"))
    archive.define(3, ("wet", "high"))
    archive.add(product([0, 4], version=5))
    archive.add(product([2], task=3, share=0.75))
    path = tmp_path / "products.parquet"
    assert archive.write(path) == 3
    assert pq.read_table(path).column_names == [
        "task_id", "label_version", "row", "col", "block", "class:dry", "class:wet", "class:high",
    ]  # fmt: skip
    back = ProductArchive.read(path)
    assert (back.region_id, back.rows, back.cols, back.tasks) == (7, 2, 3, (1, 3))
    for task in (1, 3):
        assert back.classes(task) == archive.classes(task)
        assert np.array_equal(back.grid(task), archive.grid(task), equal_nan=True)
        assert np.array_equal(back.versions(task), archive.versions(task))


def test_an_empty_archive_can_be_written_and_read(tmp_path: Path) -> None:
    path = tmp_path / "products.parquet"
    assert ProductArchive(7, 2, 3).write(path) == 0
    assert ProductArchive.read(path).tasks == ()


def test_a_damaged_archive_is_an_error_and_not_a_crash(tmp_path: Path) -> None:
    path = tmp_path / "products.parquet"
    archive = ProductArchive(7, 2, 3)
    archive.add(product([0, 4]))
    archive.write(path)
    data = path.read_bytes()
    for size in range(0, len(data), 53):
        path.write_bytes(data[:size])
        with pytest.raises(ArchiveError):
            ProductArchive.read(path)


def test_telemetry_keeps_its_order_across_groups(tmp_path: Path) -> None:
    path = tmp_path / "telemetry.parquet"
    with TelemetryArchive(path, group_rows=3) as archive:
        for i in range(8):
            archive.append(i / 2, "event", "chip-lost", {"chip": i, "why": "é"})
        assert not path.exists()
    rows = read_telemetry(path)
    assert [row[0] for row in rows] == [i / 2 for i in range(8)]
    assert rows[7] == (3.5, "event", "chip-lost", {"chip": 7, "why": "é"})


def test_a_telemetry_archive_that_fails_leaves_the_old_one(tmp_path: Path) -> None:
    path = tmp_path / "telemetry.parquet"
    with TelemetryArchive(path) as archive:
        archive.append(0, "housekeeping", "health", {})
    with pytest.raises(ValueError, match="JSON"), TelemetryArchive(path) as archive:
        archive.append(1, "event", "bad", {"x": float("nan")})
    assert len(read_telemetry(path)) == 1 and [p.name for p in tmp_path.iterdir()] == [path.name]
