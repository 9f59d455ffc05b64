"""Bits that flip in memory, in records and in code, and training that comes to nonsense: found, told, put right."""

import gc
import os
import shutil
from types import BuiltinFunctionType, FunctionType, ModuleType

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from benchmarks import bitflips
from flight import scrub
from flight.config import FlightConfig
from flight.executive import Executive
from flight.guard import Guard
from flight.integrity import MemoryFaultError, Seal, arrays, within
from flight.kernels.backend import AOT, NUMPY, Backend, choose
from flight.learn import LEARNERS
from flight.learn.conformance import Subject, arrays_written_in_place_are_named
from flight.link import region_codec, region_patch
from flight.link.packet import FileKind
from flight.link.transfer import File
from flight.store import Store
from sim.campaign.damage import flip_array
from sim.disk import SimDisk
from tests.flight.flight_world import EARTH, KEYS, LEARNERS_TESTED, SLOW, World, config, flown, label_file
from tests.flight.test_payload import grown, with_sea
from tests.flight.test_survival import complete

# Checksums


@settings(max_examples=100, deadline=None)
@given(bit=st.integers(0, 8 * 4 * 70_000 - 1))
def test_any_single_flipped_bit_is_found_and_named(bit):
    held = {"a": np.zeros((7, 10_000), np.int32), "b": [np.ones(3), 1.5, "text"]}
    seal = Seal(held=held)
    assert seal.broken() == ""
    held["a"].view(np.uint8).reshape(-1)[bit // 8] ^= 1 << bit % 8
    assert seal.broken() == "held.a"
    touched = np.array([bit // 32], np.int64)
    assert seal.touched("held.a", touched, 4) == "held.a"
    assert seal.touched("held.a", (touched + 35_000) % 70_000, 4) == ""
    found = [seal.sweep(seal.n_bytes // 10) for _ in range(10)]
    assert "held.a" in found


def test_a_value_beside_the_arrays_is_covered_too():
    held = {"steps": 3}
    seal = Seal(held=held)
    held["steps"] = 7
    assert seal.broken() == "held values"
    seal.renew(held=held)
    assert seal.broken() == ""


@pytest.mark.parametrize("name", list(LEARNERS))
def test_reading_a_learner_changes_nothing_that_is_sealed(name):
    learner = LEARNERS[name](seed=0, max_municipalities=100)
    learner.partial_fit(EARTH.chips, np.arange(len(EARTH.chips)) // 6)
    learner.set_labels(EARTH.table, task_id=1)
    learner.train(2)
    assert learner.diverged() == ""
    seal = Seal(learner=learner)
    for _ in range(2):
        assert learner.pending_steps >= 0 and learner.n_parameters > 0 and learner.n_bytes > 0
        learner.state()
    assert seal.broken() == ""


def arrays_within(value, path=""):
    """Every array that Python's garbage collector can reach from `value`, code apart, by its address: its path."""
    found, seen, todo = {}, set(), [(path, value)]
    while todo:
        path, value = todo.pop()
        if id(value) in seen or isinstance(value, (type, ModuleType, FunctionType, BuiltinFunctionType)):
            continue
        seen.add(id(value))
        if isinstance(value, np.ndarray):
            found[id(value)] = path
        else:
            todo += [(f"{path}/{type(value).__name__}", held) for held in gc.get_referents(value)]
    return found


class Made(Subject):
    """One learner, as the conformance suite takes it."""

    def __init__(self, learner):
        super().__init__(type(learner))
        self.quick = lambda: learner


def backends(library):
    return {"numpy": Backend(NUMPY), "aot": choose(AOT, library)}


@pytest.mark.parametrize("backend", ["numpy", "aot"])
@pytest.mark.parametrize("name", list(LEARNERS))
def test_every_array_that_a_learner_holds_however_deep_is_covered(name, backend, library):
    learner = LEARNERS[name](seed=0, max_municipalities=100).use(backends(library)[backend])
    learner.partial_fit(EARTH.chips, np.arange(len(EARTH.chips)) // 6)
    learner.set_labels(EARTH.table, task_id=1)
    learner.train(2)
    learner.predict_map(EARTH.chips[:1])
    held, covered = arrays_within(learner), {id(array) for _, array in arrays({"learner": learner})}
    assert [path for address, path in held.items() if address not in covered] == []


@pytest.mark.parametrize("name", list(LEARNERS))
def test_kernels_write_in_no_array_but_those_that_a_learner_s_class_names(name, library):
    learner = LEARNERS[name](seed=0, max_municipalities=100).use(choose(AOT, library))
    arrays_written_in_place_are_named(Made(learner))


@pytest.mark.parametrize("work", ["absorbed", "trained", "scratch"])
@pytest.mark.parametrize("name", ["moments", "swath", "downconv"])
def test_a_bit_flipped_during_work_in_an_array_that_this_does_not_write_is_found_when_it_ends(name, work):
    learner = LEARNERS[name](seed=0, max_municipalities=100)
    learner.partial_fit(EARTH.chips, np.arange(len(EARTH.chips)) // 6)
    learner.set_labels(EARTH.table, task_id=1)
    learner.train(2)
    guard, rng, written = Guard(), np.random.default_rng(7), learner.scratch + getattr(learner, work)
    held = {path: array for path, array in arrays({"learner": learner}) if array.size and array.flags.writeable}
    still = [path for path in held if not within(path.removeprefix("learner."), written)]
    assert "learner.labels_" in still and len(still) > 10
    for path in still:
        guard.seal(learner, None)
        flip_array(held[path], rng)
        with pytest.raises(MemoryFaultError, match=path):
            guard.seal_after(written, learner, None)


# Memory


def flip(array, bit=77):
    array.view(np.uint8).reshape(-1)[bit // 8] ^= 1 << bit % 8


def state_arrays(world):
    return dict(arrays({"learner": world.flight.payload.learner}))


def repaired(world):
    return [event.values["part"] for event in world.flight.log.recent if event.name == "memory-repaired"]


@pytest.mark.parametrize("part", ["learner._second", "learner._sums", "learner._map.2", "region.bags", "table"])
def test_a_flipped_bit_at_rest_is_found_within_the_scrub_period_and_repaired_from_the_disk(part):
    world = flown(SimDisk())
    payload, weights = world.flight.payload, world.weights()
    before = payload.learner.state()
    where = {"region.bags": payload.region.bags, "table": payload.labels.proportions, **state_arrays(world)}
    names = [name for name in where if name.replace(".V", ".2") == part]
    flip(where[names[0]])
    world.run(world.config.executive.scrub_s)
    assert len(repaired(world)) == 1
    assert world.flight.payload.learner.state() == before and world.weights() == weights
    assert world.flight.payload.region.digest == payload.region_crc
    world.until(lambda: world.told("memory-repaired"))


@pytest.mark.parametrize("learner", LEARNERS_TESTED)
@pytest.mark.parametrize("share", [0.35, 0.5, 0.65, 0.8])
def test_a_bit_flipped_in_the_middle_of_a_mission_changes_no_bit_of_its_outcome(learner, share, undisturbed):
    world = World(SimDisk(), config(learner, **SLOW))
    world.begin()
    world.run(share * undisturbed[learner].t)
    flip(max(state_arrays(world).values(), key=lambda array: array.nbytes), 1001)
    world.settle()
    complete(world, undisturbed[learner])
    assert len(repaired(world)) == 1


def test_a_bit_flipped_during_a_slice_of_training_in_what_it_reads_is_found_when_the_slice_ends(
    monkeypatch, undisturbed
):
    world = World(SimDisk(), config("downconv", **SLOW))
    kind = type(world.flight.payload.learner)
    train, slices = kind.train, []

    def struck(learner, steps):
        done = train(learner, steps)
        slices.append(steps)
        if len(slices) == 3:
            flip(learner._reservoir.chips, 999)
        return done

    monkeypatch.setattr(kind, "train", struck)
    world.begin()
    world.settle()
    assert repaired(world) == ["learner._reservoir.chips"]
    complete(world, undisturbed["downconv"])


def test_the_part_of_the_map_that_chips_fall_on_is_compared_before_they_are_learned_from(undisturbed):
    world = World(SimDisk(), config(**SLOW))
    world.begin()
    world.until(lambda: world.flight.payload.progress.chips > 10)
    flip(world.flight.payload.region.bags, 5)
    chips = world.flight.payload.progress.chips
    world.until(lambda: repaired(world))
    assert world.flight.payload.progress.chips <= chips
    world.settle()
    complete(world, undisturbed["moments"])


def test_a_map_that_grows_seals_in_no_bit_that_has_flipped_before():
    world, base = World(SimDisk()), with_sea()
    world.contact()
    world.image()
    world.upload(File("region", FileKind.REGION, region_codec.pack(base)), label_file(1))
    world.settle()
    weights = world.weights()
    flip(world.flight.payload.learner._second)
    world.upload(File("patch", FileKind.REGION, region_patch.pack_patch(base, grown(base))))
    world.settle()
    assert repaired(world) == ["learner._second"] and world.weights() == weights


def test_nothing_that_has_changed_by_itself_is_ever_written(tmp_path):
    world = flown(SimDisk())
    saved = world.flight.store.get("checkpoint")
    flip(world.flight.payload.learner._second)
    with pytest.raises(MemoryFaultError, match="_second"):
        world.flight.payload.checkpoint()
    assert world.flight.store.get("checkpoint") == saved
    assert world.command("get-model") == ("executed", "")  # from the learner that was repaired first
    assert len(repaired(world)) == 1


def test_memory_that_goes_on_changing_ends_the_process_and_does_not_go_round_for_ever(monkeypatch):
    world = flown(SimDisk())
    monkeypatch.setattr(type(world.flight.payload.guard), "broken", lambda guard: "learner._second")
    with pytest.raises(MemoryFaultError):
        world.run(world.config.executive.scrub_s)
    assert len(repaired(world)) == scrub.MAX_REPAIRS


@pytest.mark.parametrize("learner", LEARNERS_TESTED)
def test_an_undisturbed_mission_repairs_nothing(learner):
    world = flown(SimDisk(), learner)
    world.run(2 * world.config.executive.scrub_s)
    assert not set(world.flight.log.counts) & {"memory-repaired", "record-repaired", "code-damaged"}


# Training


def diverging(patch, world, times):
    """Let the next `times` training slices come to infinity."""
    kind, left = type(world.flight.payload.learner), [times]
    really = kind.diverged

    def diverged(learner):
        left[0] -= 1
        return "V" if left[0] >= 0 else really(learner)

    patch.setattr(kind, "diverged", diverged)


def test_training_that_diverges_once_goes_back_to_the_checkpoint_and_ends_as_if_it_had_not(monkeypatch, undisturbed):
    world = World(SimDisk(), config(**SLOW))
    world.begin()
    diverging(monkeypatch, world, 1)
    world.settle()
    complete(world, undisturbed["moments"])
    assert [told["then"] for told in world.told("training-rolled-back")] == ["again"]


def test_training_that_fails_in_its_arithmetic_goes_back_to_the_checkpoint_as_well(monkeypatch, undisturbed):
    world = World(SimDisk(), config(**SLOW))
    kind, failed = type(world.flight.payload.learner), []
    train = kind.train

    def singular(learner, steps):
        if not failed:
            failed.append(steps)
            raise np.linalg.LinAlgError("Singular matrix")
        return train(learner, steps)

    monkeypatch.setattr(kind, "train", singular)
    world.begin()
    world.settle()
    complete(world, undisturbed["moments"])
    assert [(told["part"], told["then"]) for told in world.told("training-rolled-back")] == [
        ("Singular matrix", "again")
    ]


def test_training_that_diverges_twice_waits_for_other_labels_and_flight_stays_commandable(monkeypatch):
    world = flown(SimDisk())
    diverging(monkeypatch, world, 2)
    world.upload(label_file(1, version=2, share=0.5))
    world.until(lambda: len(world.told("training-rolled-back")) == 2)
    assert [told["then"] for told in world.told("training-rolled-back")] == ["again", "wait"]
    assert world.flight.payload.pending_steps == 0 and not world.flight.payload.has_model
    assert world.command("ping", echo=1) == ("executed", "")
    world.upload(label_file(1, version=3))
    world.settle()
    assert world.flight.payload.has_model


@pytest.mark.parametrize("value", [np.nan, np.inf, -1e13])
def test_values_that_are_no_numbers_or_too_large_are_divergence_whatever_the_learner(value):
    learner = flown(SimDisk()).flight.payload.learner
    assert learner.diverged() == ""
    learner._map.V[0, 0] = value
    assert learner.diverged() == "V"


# Records and code


@pytest.mark.parametrize("name", ["checkpoint", "mission", "labels-1", "region"])
@pytest.mark.parametrize("side", [0, 1])
def test_a_damaged_generation_of_a_record_is_found_within_the_period_and_there_are_two_again(name, side):
    disk = SimDisk()
    world = flown(disk)
    weights = world.weights()
    disk.flip(f"{name}.{side}", 8 * disk.size(f"{name}.{side}") // 2)
    world.run(world.config.executive.scrub_s + 2 * world.config.executive.checkpoint_s)
    told = [event.values["record"] for event in world.flight.log.recent if event.name.startswith("record-")]
    assert told == [f"{name}.{side}", name]
    damages = []
    assert len(Store(disk, damages.append).whole(name)) == 2 and damages == []
    disk.cut_power()
    world.restart()
    world.settle()
    assert world.weights() == weights and not world.told("chips-lost")


def test_damaged_summaries_of_chips_are_found_within_the_period_and_told_of_once():
    disk = SimDisk()
    world = flown(disk)
    for at in (0, disk.size("archive.bin") // 2):
        disk.flip("archive.bin", 8 * at + 3)
    world.run(3 * world.config.executive.scrub_s)
    assert sum(told["chips"] for told in world.told("archive-damaged")) == 2
    world.upload(label_file(2))
    world.settle()
    assert np.isnan(world.received(2)).any(axis=1).sum() == 2 and len(world.told("archive-damaged")) <= 2


def test_a_lost_file_is_as_good_as_a_damaged_one():
    disk = SimDisk()
    world = flown(disk)
    disk.lose("labels-1.0")
    world.run(world.config.executive.scrub_s)
    assert "labels-1.0" in disk.names() and world.flight.log.counts["record-repaired"] == 1


def test_code_that_changes_on_disk_is_told_of_once(tmp_path):
    shutil.copytree(scrub.CODE / "link", tmp_path / "code", ignore=shutil.ignore_patterns("__pycache__"))
    world = flown(SimDisk())
    world.flight.scrub = scrub.Scrub(world.flight, tmp_path / "code")
    world.flight.scrub.start()
    (tmp_path / "code" / "tc.py").write_text("changed")
    world.run(3 * world.config.executive.scrub_s)
    assert [told["file"] for told in world.told("code-damaged")] == ["tc.py"]


def test_what_a_restart_would_read_is_told_of_before_it_does(tmp_path):
    bundle, config_file = tmp_path / "flight.bundle", tmp_path / "flight.toml"
    bundle.write_bytes(bytes(200_000))
    config_file.write_text("[learner]\n")
    flight = Executive(FlightConfig(), KEYS, Store(SimDisk()), rss_bytes=lambda: 1, start_files=(config_file, bundle))
    step = flight.step(0.0, [])
    bundle.write_bytes(bytes(100_000) + b"\1" + bytes(99_999))
    while flight.t < flight.config.executive.scrub_s:
        step = flight.step(step.next_due, [])
    told = [event.values["file"] for event in flight.log.recent if event.name == "code-damaged"]
    assert told == ["flight.bundle"]


def test_kernels_that_change_in_memory_end_the_process_and_the_ground_is_told(tmp_path, library):
    copy = tmp_path / "kernels.so"
    copy.write_bytes(library.read_bytes() + b"\0")
    flight = Executive(FlightConfig(), KEYS, Store(SimDisk()), rss_bytes=lambda: 1, backend=choose(AOT, copy))
    step = flight.step(0.0, [])
    with copy.open("r+b") as mapped:  # the pages that run are those of the file; this byte is behind the code
        mapped.seek(-1, os.SEEK_END)
        mapped.write(b"\1")
    with pytest.raises(scrub.CodeFaultError, match="compiled kernels have changed in memory"):
        while flight.t < flight.config.executive.scrub_s:
            step = flight.step(step.next_due, [])
    assert [event.values["file"] for event in flight.log.recent if event.name == "code-damaged"] == [
        "kernels in memory"
    ]


def test_of_hundreds_of_flips_all_are_found_and_repaired():
    found = bitflips.campaign(40, 3, "moments", n_chips=8, side=16)
    assert (found["found"], found["repaired"], found["failed"]) == (40, 40, [])
    assert found["latency_s"]["max"] <= found["scrub_period_s"]
