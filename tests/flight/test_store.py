"""Records and the archive on disk: whole generations, whatever happens in between."""

import errno
import os
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flight.store import Archive, Store, StoreError
from tests.flight.flight_world import SYNCS, PowerCut, intercept


def cut_at(patch, at):
    """Let the power go at the `at`-th call that touches the disk; the calls so far."""
    calls = []

    def count(name, *arguments):
        calls.append(name)
        if len(calls) == at:
            raise PowerCut

    intercept(patch, [*SYNCS, (Path, "open"), (os, "open")], count)
    return calls


@pytest.mark.parametrize("at", range(1, 20))
def test_after_a_power_cut_a_record_is_the_old_one_or_the_new_one(at, tmp_path):
    store = Store(tmp_path)
    store.put("state", b"older")
    store.put("state", b"old" * 1000)
    with pytest.MonkeyPatch.context() as patch:
        calls = cut_at(patch, at)
        try:
            store.put("state", b"new" * 1000)
            done = True
        except PowerCut:
            done = False
    for leftover in tmp_path.glob("*.tmp"):
        os.truncate(leftover, leftover.stat().st_size // 3)
    damages = []
    again = Store(tmp_path, damages.append)
    again.sweep()
    assert again.get("state") in ([b"new" * 1000] if done else [b"old" * 1000, b"new" * 1000])
    assert damages == [] and list(tmp_path.glob("*.tmp")) == []
    assert again.put("state", b"next") in (3, 4) and again.get("state") == b"next"
    assert done is (len(calls) < at)


def test_data_are_synced_before_they_are_named_and_the_name_is_synced_after(tmp_path, monkeypatch):
    order = []
    intercept(monkeypatch, SYNCS, lambda name, *arguments: order.append(name))
    Store(tmp_path).put("state", b"x")
    assert order == ["fsync", "replace", "fsync"]


@pytest.mark.parametrize("name", ["fsync", "replace", "open"])
def test_a_write_that_fails_is_a_store_error_and_the_old_record_stands(name, tmp_path, monkeypatch):
    store = Store(tmp_path)
    store.put("state", b"old")

    def fail(*arguments, **keywords):
        if name != "open" or "w" in arguments[1]:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return really(*arguments, **keywords)

    really = Path.open
    with monkeypatch.context() as patch, pytest.raises(StoreError) as told:
        patch.setattr(os if name == "fsync" else Path, name, fail)
        store.put("state", b"new")
    assert told.value.errno == errno.ENOSPC and "state" in str(told.value)
    assert Store(tmp_path).get("state") == b"old"
    assert store.put("state", b"new") == 2 and store.get("state") == b"new"


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


# Archive


def archive(path, n_records=0, capacity=100):
    return Archive(path, 4, capacity, n_records)


def test_only_what_a_checkpoint_vouches_for_is_there_after_a_restart(tmp_path):
    first = archive(tmp_path / "a")
    for i in range(5):
        first.append(b"rec%d" % i)
    first.sync()
    for i in range(5, 9):
        first.append(b"rec%d" % i)
    first.write()
    again = archive(tmp_path / "a", 5)
    assert (again.n_records, again.missing) == (5, 0)
    again.append(b"new5")
    assert again.read(3, 100) == [b"rec3", b"rec4", b"new5"]
    again.sync()
    assert (tmp_path / "a").stat().st_size == 6 * 8


def test_records_are_read_whether_they_are_on_disk_or_not(tmp_path):
    made = archive(tmp_path / "a")
    for i in range(10):
        made.append(b"%04d" % i)
        if i == 4:
            made.write()
    expected = [b"%04d" % i for i in range(10)]
    for start in range(11):
        for stop in range(start, 12):
            assert made.read(start, stop) == expected[start:stop]


def test_a_damaged_record_is_none_and_so_are_those_of_a_lost_file(tmp_path):
    made = archive(tmp_path / "a")
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
    made = archive(tmp_path / "a", capacity=2)
    assert [made.append(b"abcd") for _ in range(4)] == [True, True, False, False]
    assert (made.n_records, made.refused) == (2, 2)


def test_an_archive_that_cannot_be_written_keeps_its_records_until_it_can(tmp_path):
    made = archive(tmp_path / "not there" / "a")
    made.append(b"abcd")
    for write in (made.write, made.sync):
        with pytest.raises(StoreError, match="not there"):
            write()
    assert made.read(0, 1) == [b"abcd"]
    (tmp_path / "not there").mkdir()
    made.sync()
    assert archive(tmp_path / "not there" / "a", 1).read(0, 1) == [b"abcd"]


def test_missing_records_are_counted(tmp_path):
    assert archive(tmp_path / "a", 7).missing == 7
