from __future__ import annotations

import contextlib
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from flight.config import LinkConfig
from flight.link import region_codec
from ground.datasets import DatasetError, open_imagery, write_npz
from ground.regions import region_from_imagery

DATA = Path(__file__).parents[2].parent / "shared" / "data"
N, BAGS = 24, 4


def arrays(**changes: Any) -> dict[str, Any]:
    """A small per-pixel dataset with an ignored class in the middle."""
    rng = np.random.Generator(np.random.PCG64(3))
    bag = np.sort(rng.integers(0, BAGS, N)).astype(np.int32)
    bag[:BAGS] = range(BAGS)
    bag_split = np.array([0, 0, 1, 2], np.uint8)
    table = rng.dirichlet([1, 1, 1], BAGS).astype(np.float32)
    content = {
        "chips": rng.integers(0, 256, (N, 8, 8, 3), dtype=np.uint8),
        "labels": rng.integers(0, 3, (N, 8, 8), dtype=np.uint8),
        "bag": bag,
        "split": bag_split[bag],
        "bag_split": bag_split,
        "bag_props": table,
        "class_names": np.array(["land", "unlabeled", "water"]),
        "licence": np.array(["CC0"]),
    }
    return {name: array for name, array in {**content, **changes}.items() if array is not None}


def save(path: Path, **changes: Any) -> Path:
    np.savez_compressed(path, **arrays(**changes))
    return path


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "small.npz"


def test_an_ignored_class_leaves_pixels_tables_and_names(path: Path) -> None:
    imagery, before = open_imagery(save(path)), arrays()
    (task,) = imagery.tasks
    assert task.class_names == ("land", "water")
    labels = imagery.labels(np.arange(N), task)
    assert np.array_equal(labels, np.array([0, 255, 1], np.uint8)[before["labels"]])
    kept = before["bag_props"][:, [0, 2]]
    assert np.allclose(imagery.table(task), kept / kept.sum(1, keepdims=True))
    expected = (labels == 1).sum((1, 2)) / (labels != 255).sum((1, 2))
    assert np.allclose(imagery.proportions(np.arange(N), task)[:, 1], expected)


def test_a_chip_without_a_known_pixel_has_no_proportions(path: Path) -> None:
    labels = np.full((N, 8, 8), 1, np.uint8)
    imagery = open_imagery(save(path, labels=labels))
    assert np.isnan(imagery.proportions(np.array([0]), imagery.tasks[0])).all()


def test_scenes_make_two_tasks_and_fill_their_chips(path: Path) -> None:
    scene = np.arange(N, dtype=np.uint8) % 4
    changes = {
        "labels": None,
        "scene": scene,
        "class_names": np.array(["wheat", "rye", "lake", "sea"]),
        "scene_to_group": np.array([0, 0, 1, 1], np.uint8),
        "group_names": np.array(["crops", "water"]),
        "bag_props": np.full((BAGS, 2), 0.5, np.float32),
    }
    imagery = open_imagery(save(path, **changes))
    groups, scenes = imagery.tasks
    assert (groups.task_id, scenes.task_id) == (1, 2) and groups.class_names == ("crops", "water")
    assert (imagery.labels(np.array([3]), groups) == 1).all() and (imagery.labels(np.array([3]), scenes) == 3).all()
    first = imagery.bags[:, 0] == 0
    assert np.allclose(imagery.table(scenes)[0], np.bincount(scene[first], minlength=4) / first.sum())


def test_chips_without_a_position_are_laid_out_in_one_piece_a_bag(path: Path) -> None:
    imagery = open_imagery(save(path))
    assert not imagery.geographic and imagery.rows * imagery.cols < 2 * N
    assert len(np.unique(imagery.cell, axis=0)) == N
    for bag in range(BAGS):
        cells = {tuple(cell) for cell in imagery.cell[imagery.bags[:, 0] == bag].tolist()}
        reached, frontier = set(), [next(iter(cells))]
        while frontier:
            r, c = frontier.pop()
            if (r, c) in cells and (r, c) not in reached:
                reached.add((r, c))
                frontier += [(r + 1, c), (r - 1, c), (r, c + 1), (r, c - 1)]
        assert reached == cells


def test_tiles_stand_side_by_side_with_a_gap(path: Path) -> None:
    index = np.arange(N)
    imagery = open_imagery(save(path, tile=index // 12, row=index % 12 // 4, col=index % 4))
    assert imagery.geographic and (imagery.rows, imagery.cols) == (3, 9)
    assert imagery.cell[12].tolist() == [0, 5]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"labels": None}, "array 'scene' is missing"),
        ({"licence": None}, "array 'licence' is missing"),
        ({"chips": np.zeros((N, 8, 8), np.uint8)}, r"array 'chips' is uint8 \(24, 8, 8\)"),
        ({"chips": np.zeros((N, 8, 8, 3), np.float32)}, "array 'chips' is float32"),
        ({"chips": np.zeros((0, 8, 8, 3), np.uint8)}, "nothing in it"),
        ({"bag": np.full(N, BAGS, np.int32)}, "array 'bag' runs from 4 to 4; expected 0 to 3"),
        ({"bag": np.zeros(N - 1, np.int32)}, r"expected integers of shape \(24\)"),
        ({"split": np.zeros(N, np.uint8)}, "a split must not cross a bag"),
        ({"bag_split": np.full(BAGS, 3, np.uint8)}, "array 'bag_split' runs from 3 to 3"),
        ({"labels": np.full((N, 8, 8), 3, np.uint8)}, "classes beyond the 3 named"),
        ({"bag_props": np.full((BAGS, 3), 0.5, np.float32)}, "row 0 of 'bag_props' is not on the simplex"),
        ({"bag_props": np.full((BAGS, 2), 0.5, np.float32)}, r"expected floats of shape \(4, 3\)"),
        ({"bag_props": np.array([[1, 0, np.nan]] * BAGS)}, "not on the simplex"),
        ({"class_names": np.array(["a", "a", "b"])}, "needs 2 to 255 different names"),
        ({"cell": np.zeros((N, 2), np.int32), "grid": np.array([9, 9])}, "1 cells hold more than one chip"),
        ({"cell": np.zeros((N, 2), np.int32)}, "array 'grid' is missing"),
        ({"cell": np.full((N, 2), 9), "grid": np.array([9, 9])}, "outside the grid"),
        ({"codes": np.array(["1", "1", "2", "3"])}, "has a code twice"),
        ({"bags": np.zeros((N, 2), np.int32)}, "first of them equal to 'bag'"),
        ({"chips": np.array([{}] * N)}, "cannot be read as npz"),
    ],
)
def test_what_is_wrong_with_a_dataset_is_said(path: Path, changes: dict[str, Any], message: str) -> None:
    with pytest.raises(DatasetError, match=message) as caught:
        open_imagery(save(path, **changes))
    assert str(path) in str(caught.value)


def test_a_missing_row_of_the_table_is_allowed(path: Path) -> None:
    table = arrays()["bag_props"]
    table[2] = np.nan
    imagery = open_imagery(save(path, bag_props=table))
    assert np.isnan(imagery.table(imagery.tasks[0])[:, 0]).tolist() == [False, False, True, False]


def test_a_truncated_or_damaged_file_is_a_dataset_error(path: Path) -> None:
    data = save(path).read_bytes()
    for size in range(0, len(data), 97):
        path.write_bytes(data[:size])
        with pytest.raises(DatasetError):
            open_imagery(path)
    for at in range(0, len(data), 997):
        damaged = bytearray(data)
        damaged[at] ^= 255
        path.write_bytes(bytes(damaged))
        with contextlib.suppress(DatasetError):
            assert open_imagery(path).n_chips == N
    with pytest.raises(DatasetError, match="No such file"):
        open_imagery(path.with_name("absent.npz"))


class Generated:
    """Imagery with borders, two tasks and positions, such as a simulator offers."""

    def __init__(self) -> None:
        source = arrays()
        self._source = source
        self.name, self.licence, self.rows, self.cols, self.geographic = "generated", "CC0", 4, 6, True
        self.centre = (-33.5, 151.25)
        self.chip_shape = (8, 8, 3)
        self.cell = np.stack(np.divmod(np.arange(N), 6), axis=1).astype(np.int32)
        self.codes = ("007", "008", "009", "010")
        other = ((source["bag"] + 1) % BAGS).astype(np.int32)
        self.bags = np.stack([source["bag"], np.where(np.arange(N) % 3 == 0, other, -1)], axis=1).astype(np.int32)
        self.weights = np.where(self.bags[:, 1:] >= 0, [[0.75, 0.25]], [[1.0, 0.0]]).astype(np.float32)
        self.bag_split, self.chip_split = source["bag_split"], source["split"]
        from ground.imagery import Task

        self.tasks = (Task(1, "cover", ("a", "b", "c")), Task(2, "water", ("dry", "wet")))
        self.n_chips = N

    def chips(self, index: Any, scene: int = 0) -> Any:
        return self._source["chips"][index] ^ np.uint8(scene)

    def labels(self, index: Any, task: Any) -> Any:
        return np.minimum(self._source["labels"][index], len(task.class_names) - 1)

    def proportions(self, index: Any, task: Any) -> Any:
        labels = self.labels(index, task).reshape(len(index), -1)
        return np.stack([(labels == c).mean(1) for c in range(len(task.class_names))], axis=1).astype(np.float32)

    def table(self, task: Any) -> Any:
        k = len(task.class_names)
        return np.tile(np.arange(1, k + 1, dtype=np.float32) / (k * (k + 1) / 2), (BAGS, 1))


def test_exported_imagery_reads_back_as_it_was(path: Path) -> None:
    imagery, index = Generated(), np.arange(N)
    write_npz(path, imagery, index, scene=5)
    back = open_imagery(path)
    assert back.geographic and (back.rows, back.cols, back.codes) == (4, 6, imagery.codes)
    assert back.centre == (-33.5, 151.25)
    assert back.tasks == imagery.tasks
    assert np.array_equal(back.chips(index), imagery.chips(index, 5))
    for name in ("cell", "bags", "weights", "bag_split", "chip_split"):
        assert np.array_equal(getattr(back, name), getattr(imagery, name)), name
    for task in imagery.tasks:
        assert np.array_equal(back.labels(index, task), imagery.labels(index, task))
        assert np.allclose(back.table(task), imagery.table(task))
        assert np.allclose(back.proportions(index, task), imagery.proportions(index, task))


def test_a_large_export_is_stored_so_that_it_can_be_mapped_and_reads_back_as_it_was(
    path: Path, monkeypatch: Any
) -> None:
    monkeypatch.setattr("ground.datasets.STORED_BYTES", 0)
    monkeypatch.setattr("ground.npz.MAPPED_BYTES", 0)
    imagery, index = Generated(), np.arange(N)
    write_npz(path, imagery, index, scene=5)
    back = open_imagery(path)
    assert isinstance(back._chips.base, np.memmap)
    assert np.array_equal(back.chips(index), imagery.chips(index, 5))
    for task in imagery.tasks:
        assert np.array_equal(back.labels(index, task), imagery.labels(index, task))


_READER = """
import resource, sys
import numpy as np
from pathlib import Path
from ground.datasets import open_imagery
size = next(int(line.split()[1]) for line in open("/proc/self/status") if line.startswith("VmData")) << 10
resource.setrlimit(resource.RLIMIT_DATA, (size + (40 << 20),) * 2)
imagery = open_imagery(Path(sys.argv[1]))
print(sum(int(imagery.chips(np.arange(i, i + 64)).sum()) for i in range(0, imagery.n_chips, 64)))
print(imagery.proportions(np.arange(imagery.n_chips), imagery.tasks[0]).sum())
"""


def test_a_file_larger_than_the_memory_there_is_can_be_read(path: Path) -> None:
    n = 640  # 66 MB of chips, 22 MB of labels; 40 MB may be taken
    bag = np.arange(n, dtype=np.int32) % BAGS
    changes = {"bag": bag, "split": arrays()["bag_split"][bag], "labels": np.zeros((n, 184, 184), np.uint8)}
    np.savez(path, **arrays(chips=np.ones((n, 184, 184, 3), np.uint8), **changes))
    done = subprocess.run([sys.executable, "-c", _READER, path], capture_output=True, text=True, check=True)
    assert done.stdout.split() == [str(n * 184 * 184 * 3), f"{n:.1f}"]


@pytest.mark.parametrize("at", [0.5, 0.95])
def test_a_changed_byte_of_a_mapped_array_is_noticed(path: Path, monkeypatch: Any, at: float) -> None:
    monkeypatch.setattr("ground.npz.MAPPED_BYTES", 1000)
    np.savez(path, **arrays())
    data = bytearray(path.read_bytes())
    begin = data.index(b"chips.npy")
    data[begin + int(at * arrays()["chips"].nbytes)] ^= 1
    path.write_bytes(data)
    with pytest.raises(DatasetError, match="Bad CRC-32"):
        open_imagery(path)


def test_equal_exports_are_equal_files_and_a_failed_one_leaves_nothing(path: Path) -> None:
    imagery = Generated()
    write_npz(path, imagery, [3, 1, 2])
    first = path.read_bytes()
    write_npz(path, imagery, [3, 1, 2])
    assert path.read_bytes() == first and open_imagery(path).n_chips == 3
    imagery.labels = None  # type: ignore[method-assign, assignment]
    with pytest.raises(TypeError):
        write_npz(path, imagery, [0])
    assert path.read_bytes() == first and [p.name for p in path.parent.iterdir()] == [path.name]


def test_a_region_of_imagery_ties_each_chip_to_its_municipalities() -> None:
    imagery = Generated()
    made = region_from_imagery(imagery, 5)
    bags, weights = made.overlaps(imagery.cell[:, 0], imagery.cell[:, 1])
    assert np.array_equal(bags[:, :2], imagery.bags) and (bags[:, 2:] == -1).all()
    assert np.abs(weights[:, :2] - imagery.weights).max() <= 0.5 / 255 + 1e-6
    assert (made.region_id, made.codes) == (5, imagery.codes)


@pytest.mark.parametrize(
    ("name", "n_chips", "n_bags", "classes", "geographic"),
    [
        ("dubai_llp", 1088, 84, (5,), True),
        ("eurosat_llp", 5554, 144, (5, 10), False),
        ("eurosat_mosaic96_llp", 1510, 87, (5,), False),
    ],
)
def test_real_data_pass_their_checks_and_their_region_goes_up(
    name: str, n_chips: int, n_bags: int, classes: tuple[int, ...], geographic: bool
) -> None:
    if not (DATA / f"{name}.npz").exists():
        pytest.skip("needs the real data")
    imagery = open_imagery(DATA / f"{name}.npz")
    assert (imagery.n_chips, len(imagery.codes), imagery.geographic) == (n_chips, n_bags, geographic)
    assert tuple(len(task.class_names) for task in imagery.tasks) == classes
    for task in imagery.tasks:
        assert np.allclose(imagery.table(task).sum(1), 1, atol=1e-5)
    made = region_from_imagery(imagery, 1)
    decoded = region_codec.unpack(region_codec.pack(made), LinkConfig())
    assert np.array_equal(decoded.bags, made.bags) and np.array_equal(decoded.weights, made.weights)


def test_a_zip_with_other_things_in_it_is_a_dataset_error(path: Path) -> None:
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("chips", b"not an array")
        archive.writestr("licence.npy", b"\x93NUMPY\x01\x00\x10\x00{'descr': (((((  \n")
    with pytest.raises(DatasetError):
        open_imagery(path)


def test_an_image_or_a_directory_in_place_of_a_data_set_is_told_from_a_damaged_file(tmp_path: Path) -> None:
    image = tmp_path / "west.tif"
    image.write_bytes(b"II*\0" + bytes(100))
    for given, kind in ((image, "an image"), (tmp_path, "a directory")):
        with pytest.raises(DatasetError, match=f"is {kind}, not a data set .*swath-ground dataset build --images"):
            open_imagery(given)
