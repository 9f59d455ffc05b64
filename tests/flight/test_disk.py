"""The disk that flies and the one that is simulated: the same facts of both, and what a power cut leaves."""

import errno

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flight.disk import FileDisk
from sim.disk import DiskDeath, SimDisk


@pytest.fixture(params=["files", "simulated"])
def disk(request, tmp_path):
    return FileDisk(tmp_path / "state") if request.param == "files" else SimDisk()


def test_what_was_written_is_read_in_whole_and_in_part(disk):
    disk.write("a", b"0123456789")
    assert (disk.read("a"), disk.size("a"), disk.names()) == (b"0123456789", 10, ["a"])
    assert (disk.read("a", 4), disk.read("a", 4, 3), disk.read("a", 8, 9), disk.read("a", 20)) == (
        b"456789", b"456", b"89", b"",
    )  # fmt: skip


def test_a_write_ends_the_file_wherever_it_begins(disk):
    disk.write("a", b"0123456789")
    disk.write("a", b"xy", at=4)
    assert disk.read("a") == b"0123xy"
    disk.write("a", b"z", at=8)
    assert disk.read("a") == b"0123xy\0\0z"
    disk.write("a", b"new")
    assert disk.read("a") == b"new"


def test_names_change_and_go(disk):
    disk.write("a", b"1")
    disk.write("b", b"2")
    disk.rename("a", "b")
    assert disk.names() == ["b"] and disk.read("b") == b"1"
    disk.remove("b")
    disk.remove("b")
    assert disk.names() == []
    disk.sync_names()


@pytest.mark.parametrize("use", ["read", "size", "sync"])
def test_a_file_that_is_not_there_is_said_to_be_missing(use, disk):
    with pytest.raises(FileNotFoundError):
        getattr(disk, use)("a")
    with pytest.raises(FileNotFoundError):
        disk.rename("a", "b")


@pytest.mark.parametrize("name", ["", "..", "../a", "/etc/passwd", "a/b", "a\0b"])
def test_no_name_leads_out_of_the_directory(name, tmp_path):
    disk = FileDisk(tmp_path / "state")
    for use in (disk.read, disk.remove, disk.sync, lambda name: disk.write(name, b"x")):
        with pytest.raises(ValueError, match="without a path"):
            use(name)


def test_a_symbolic_link_is_not_followed_by_a_write(tmp_path):
    (tmp_path / "secret").write_bytes(b"keep")
    disk = FileDisk(tmp_path / "state")
    (tmp_path / "state" / "a").symlink_to(tmp_path / "secret")
    with pytest.raises(OSError):
        disk.write("a", b"x")
    assert (tmp_path / "secret").read_bytes() == b"keep" and disk.names() == []


# The simulated one


def test_a_power_cut_takes_only_what_was_not_synced():
    left = set()
    for seed in range(200):
        disk = SimDisk(seed)
        disk.write("a", b"safe")
        disk.sync("a")
        disk.sync_names()
        disk.write("a", b"new and longer")
        disk.write("b", b"unnamed")
        disk.sync("b")
        disk.cut_power()
        assert "a" in disk.names()
        left.add((disk.read("a"), "b" in disk.names()))
    contents = {content for content, _ in left}
    assert {b"safe", b"new and longer", b""} <= contents and len(contents) > 10
    assert {there for _, there in left} == {True, False}


def test_a_file_that_was_renamed_before_it_was_synced_may_hold_anything():
    found = set()
    for seed in range(100):
        disk = SimDisk(seed)
        disk.place("a", b"old")
        disk.write("t", b"new")
        disk.rename("t", "a")
        disk.sync_names()
        disk.cut_power()
        found.add(disk.read("a"))
    assert {b"new", b""} <= found and b"old" not in found


def test_a_kill_loses_nothing_that_was_written():
    disk = SimDisk()
    disk.write("a", b"not synced")
    disk.kill()
    assert disk.read("a") == b"not synced"


def test_the_process_dies_in_the_step_that_was_chosen_and_does_nothing_more():
    disk = SimDisk()
    disk.die_at = 2
    disk.write("a", b"x")
    for use in (lambda: disk.write("a", b"0123456789"), lambda: disk.sync("a"), disk.names):
        with pytest.raises(DiskDeath):
            use()
    disk.kill()
    assert b"0123456789".startswith(disk.read("a"))
    assert disk.steps == 2


def test_full_and_read_only_are_said_as_the_system_says_them():
    disk = SimDisk(capacity_bytes=6)
    disk.write("a", b"1234")
    with pytest.raises(OSError) as told:
        disk.write("b", b"5678")
    assert told.value.errno == errno.ENOSPC and disk.read("b") == b"56" and disk.free_bytes() == 0
    disk.write("a", b"")
    disk.write("b", b"123456")
    disk.read_only = True
    for change in (lambda: disk.write("b", b""), disk.sync_names, lambda: disk.remove("b")):
        with pytest.raises(OSError) as told:
            change()
        assert told.value.errno == errno.EROFS
    assert disk.read("b") == b"123456"


def test_a_slow_disk_takes_its_time_at_every_step():
    disk = SimDisk()
    waits = []
    disk.slow_s, disk.wait = 0.25, waits.append
    disk.write("a", b"x")
    disk.sync("a")
    assert disk.waited_s == 0.5 and waits == [0.25, 0.25]


@settings(max_examples=200, deadline=None)
@given(
    steps=st.lists(
        st.one_of(
            st.tuples(st.just("write"), st.sampled_from("ab"), st.binary(max_size=2000), st.integers(0, 50)),
            st.tuples(st.just("rename"), st.sampled_from("ab"), st.sampled_from("abc")),
            st.tuples(st.just("remove"), st.sampled_from("abc")),
            st.tuples(st.just("sync"), st.sampled_from("abc")),
            st.tuples(st.just("sync_names")),
        ),
        max_size=12,
    ),
    seed=st.integers(0, 99),
)
def test_it_behaves_as_files_do_and_what_was_synced_outlives_a_power_cut(steps, seed, tmp_path_factory):
    real, simulated = FileDisk(tmp_path_factory.mktemp("disk")), SimDisk(seed)
    for step, *arguments in steps:
        outcomes = []
        for disk in (real, simulated):
            try:
                outcomes.append(getattr(disk, step)(*arguments))
            except FileNotFoundError:
                outcomes.append("missing")
        assert outcomes[0] == outcomes[1]
    seen = {name: simulated.read(name) for name in simulated.names()}
    assert seen == {name: real.read(name) for name in real.names()}
    for name in seen:
        simulated.sync(name)
    simulated.sync_names()
    simulated.cut_power()
    assert {name: simulated.read(name) for name in simulated.names()} == seen
