"""Records and the archive on disk: whole generations, whatever happens in between."""

import errno

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flight.archive import Archive
from flight.disk import FileDisk
from flight.store import Damage, StateFormatError, Store, StoreError, read_state
from sim.disk import DiskDeath, SimDisk


def writing(at, seed=0, failure=None):
    """A store in which a third generation is written, with trouble at the `at`-th change of the disk; and the disk."""
    disk = SimDisk(seed)
    store = Store(disk)
    store.put("state", b"older")
    store.put("state", b"old" * 1000)
    if failure is None:
        disk.die_at = disk.steps + at
    else:
        disk.fail_at = {disk.steps + at: failure}
    return store, disk


@pytest.mark.parametrize("end", [SimDisk.cut_power, SimDisk.kill], ids=["power cut", "kill"])
@pytest.mark.parametrize("at", range(1, 5))
def test_after_a_death_in_a_write_a_record_is_the_old_one_or_the_new_one(at, end):
    for seed in range(50):
        store, disk = writing(at, seed)
        with pytest.raises(DiskDeath):
            store.put("state", b"new" * 1000)
        end(disk)
        damages = []
        again = Store(disk, damages.append)
        again.sweep()
        assert again.get("state") in (b"old" * 1000, b"new" * 1000)
        assert damages == [] and not [name for name in disk.names() if name.endswith(".tmp")]
        assert again.put("state", b"next") in (3, 4) and again.get("state") == b"next"


def test_a_record_that_was_put_outlives_any_power_cut():
    for seed in range(50):
        store, disk = writing(99, seed)
        store.put("state", b"new" * 1000)
        disk.cut_power()
        assert Store(disk).get("state") == b"new" * 1000


@pytest.mark.parametrize("failure", [errno.ENOSPC, errno.EROFS, errno.EIO])
@pytest.mark.parametrize("at", range(1, 5))
def test_a_write_that_fails_is_a_store_error_and_a_whole_record_stands(at, failure):
    store, disk = writing(at, failure=failure)
    with pytest.raises(StoreError, match=r"cannot write state\.0") as told:
        store.put("state", b"new")
    assert told.value.errno == failure
    assert Store(disk).get("state") in ((b"old" * 1000,) if at < 4 else (b"new",))
    assert store.put("state", b"new") >= 3 and store.get("state") == Store(disk).get("state") == b"new"


@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_a_damaged_generation_is_told_and_the_other_one_is_read(data, tmp_path_factory):
    directory = tmp_path_factory.mktemp("store")
    store = Store(directory)
    store.put("state", b"first" * 20)
    store.put("state", b"second" * 20)
    side = data.draw(st.sampled_from([0, 1]))
    path = directory / f"state.{side}"
    raw = bytearray(path.read_bytes())
    how = data.draw(st.sampled_from(["flip", "cut", "grow"]))
    if how == "flip":
        raw[data.draw(st.integers(0, len(raw) - 1))] ^= 1 << data.draw(st.integers(0, 7))
    elif how == "cut":
        raw = raw[: data.draw(st.integers(0, len(raw) - 1))]
    else:
        raw += b"x"
    path.write_bytes(raw)
    damages = []
    again = Store(directory, damages.append)
    found = again.get("state")
    assert [damage.name for damage in damages] == [f"state.{side}"]
    assert found == (b"second" if side == 0 else b"first") * 20
    assert again.put("state", b"third") >= 2
    assert again.get("state") == b"third"


def test_with_both_generations_damaged_there_is_no_record_and_both_are_told(tmp_path):
    store = Store(tmp_path)
    store.put("state", b"1")
    store.put("state", b"2")
    for side in (0, 1):
        (tmp_path / f"state.{side}").write_bytes(b"junk")
    damages = []
    again = Store(tmp_path, damages.append)
    assert again.get("state") is None and again.generation("state") == 0
    assert [damage.reason for damage in damages] == ["4 bytes, shorter than a header"] * 2


def test_generations_count_on_over_restarts(tmp_path):
    for generation in range(1, 6):
        store = Store(tmp_path)
        assert store.generation("state") == generation - 1
        assert store.put("state", b"x") == generation == store.generation("state")


def test_looking_at_a_store_changes_nothing_that_another_process_is_writing(tmp_path):
    (tmp_path / "state.0.tmp").write_bytes(b"half a record")
    store = Store(tmp_path)
    assert store.names() == [] and store.get("state") is None
    assert (tmp_path / "state.0.tmp").exists()


def test_names_and_deletion(tmp_path):
    store = Store(tmp_path)
    store.put("labels-1", b"x")
    store.put("mission", b"x")
    assert store.names() == ["labels-1", "mission"]
    store.delete("mission")
    assert store.names() == ["labels-1"] and store.get("mission") is None
    assert store.put("mission", b"y") == 1
    with pytest.raises(ValueError, match="record name"):
        store.put("../mission", b"x")


def test_a_record_that_was_deleted_stays_so_after_a_power_cut_and_never_goes_back_to_an_older_one():
    for at in (1, 2, 3, 4, None):
        for seed in range(30):
            disk = SimDisk(seed)
            store = Store(disk)
            store.put("state", b"old")
            store.put("state", b"new")
            disk.die_at = None if at is None else disk.steps + at
            try:
                store.delete("state")
            except DiskDeath:
                assert at is not None
            disk.cut_power()
            assert Store(disk).get("state") in ([b"new", None] if at else [None])


def test_foreign_files_are_told_and_left_alone_and_what_cannot_be_removed_is_told():
    disk, damages = SimDisk(), []
    for name in ("notes.txt", "state.0.tmp", "archive.bin"):
        disk.place(name, b"x")
    disk.read_only = True
    Store(disk, damages.append).sweep(known=["archive.bin"])
    assert [(damage.name, damage.reason) for damage in damages] == [
        ("notes.txt", "not a file of this software"),
        ("state.0.tmp", "cannot be removed: Read-only file system"),
    ]
    assert disk.names() == ["archive.bin", "notes.txt", "state.0.tmp"]


# Archive


def archive(directory, n_records=0, capacity=100):
    return Archive(FileDisk(directory), "a", 4, capacity, n_records)


def test_only_what_a_checkpoint_vouches_for_is_there_after_a_restart(tmp_path):
    first = archive(tmp_path)
    for i in range(5):
        first.append(b"rec%d" % i)
    first.sync()
    for i in range(5, 9):
        first.append(b"rec%d" % i)
    first.write()
    again = archive(tmp_path, 5)
    assert (again.n_records, again.missing) == (5, 0)
    again.append(b"new5")
    assert again.read(3, 100) == [b"rec3", b"rec4", b"new5"]
    again.sync()
    assert (tmp_path / "a").stat().st_size == 6 * 8


def test_records_are_read_whether_they_are_on_disk_or_not(tmp_path):
    made = archive(tmp_path)
    for i in range(10):
        made.append(b"%04d" % i)
        if i == 4:
            made.write()
    expected = [b"%04d" % i for i in range(10)]
    for start in range(11):
        for stop in range(start, 12):
            assert made.read(start, stop) == expected[start:stop]


def test_a_damaged_record_is_none_and_so_are_those_of_a_lost_file(tmp_path):
    made = archive(tmp_path)
    for i in range(3):
        made.append(b"%04d" % i)
    made.sync()
    raw = bytearray((tmp_path / "a").read_bytes())
    raw[9] ^= 1
    (tmp_path / "a").write_bytes(raw)
    assert made.read(0, 3) == [b"0000", None, b"0002"]
    (tmp_path / "a").unlink()
    assert made.read(0, 3) == [None] * 3


def test_a_full_archive_refuses_and_counts(tmp_path):
    made = archive(tmp_path, capacity=2)
    assert [made.append(b"abcd") for _ in range(4)] == [True, True, False, False]
    assert (made.n_records, made.refused) == (2, 2)


def test_an_archive_that_cannot_be_written_keeps_its_records_until_it_can():
    disk = SimDisk()
    made = Archive(disk, "a", 4, 100, 0)
    made.append(b"abcd")
    disk.read_only = True
    for write in (made.write, made.sync):
        with pytest.raises(StoreError, match="cannot write a"):
            write()
    assert made.read(0, 1) == [b"abcd"]
    disk.read_only = False
    made.sync()
    disk.cut_power()
    assert Archive(disk, "a", 4, 100, 1).read(0, 1) == [b"abcd"]


def test_missing_records_are_counted(tmp_path):
    assert archive(tmp_path, 7).missing == 7


class Unreadable(SimDisk):
    """A disk whose directory, or whose files, can no longer be read."""

    broken = ""

    def names(self):
        return self._or_error("names", super().names)

    def read(self, name, at=0, count=None):
        return self._or_error("read", lambda: super(Unreadable, self).read(name, at, count))

    def remove(self, name):
        return self._or_error("remove", lambda: super(Unreadable, self).remove(name))

    def _or_error(self, call, otherwise):
        if call == self.broken:
            raise OSError(errno.EIO, "Input/output error")
        return otherwise()


def test_a_directory_that_cannot_be_listed_is_told_at_the_start_and_an_error_when_records_are_asked_for():
    disk, damages = Unreadable(), []
    store = Store(disk, damages.append)
    disk.broken = "names"
    store.sweep()
    assert damages == [Damage("directory", "cannot be listed: Input/output error")]
    with pytest.raises(StoreError, match="cannot list records: Input/output error"):
        store.names()


def test_a_record_that_the_disk_does_not_read_is_told_as_a_damaged_one():
    disk, damages = Unreadable(), []
    store = Store(disk, damages.append)
    store.put("state", b"old", twice=True)
    disk.broken = "read"
    assert store.get("state") is None
    assert damages == [Damage(f"state.{side}", "Input/output error") for side in (0, 1)]


def test_a_record_that_cannot_be_removed_is_an_error_and_stays():
    disk = Unreadable()
    store = Store(disk)
    store.put("state", b"old")
    assert not store.drop_newest("state")  # the only one is never dropped
    store.put("state", b"new")
    disk.broken = "remove"
    for remove in (store.drop_newest, store.delete):
        with pytest.raises(StoreError, match="cannot remove state: Input/output error"):
            remove("state")
    disk.broken = ""
    assert store.whole("state") == [b"new", b"old"]


@pytest.mark.parametrize("name", ["", "Mission", "../mission", "a" * 65, "mission.0"])
def test_a_name_that_could_be_another_file_is_none_of_a_record(name):
    with pytest.raises(ValueError, match="record name"):
        Store(SimDisk()).put(name, b"")


@pytest.mark.parametrize(("data", "told"), [(b"\xc1", "not a state record"), (b"\x93\1\2\3", "state of format None")])
def test_a_whole_record_that_is_no_state_is_refused_by_name(data, told):
    with pytest.raises(StateFormatError, match=f"mission: {told}"):
        read_state(data, "mission", 2)
