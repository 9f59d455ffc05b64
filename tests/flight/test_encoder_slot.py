"""Encoders in flight: used, missing, replaced, rolled back, damaged; nothing is lost, and nothing is mixed."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from flight.encoder import EncoderError, runtimes
from flight.link import parcel
from flight.link.events import TelemetryReceived
from flight.link.packet import FileKind
from flight.link.parcel import Update
from flight.link.transfer import File
from tests.flight.flight_world import (
    EARTH,
    World,
    config,
    label_file,
    make_chip,
    quick_learners,
    region_file,
)

pytest.importorskip("ai_edge_litert")
SIDE = EARTH.chips.shape[1]


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    quick_learners(monkeypatch)


@pytest.fixture(scope="module")
def encoders() -> list[bytes]:
    """Three encoders for the chips of this Earth, and one for larger chips; so large that updates are deflated."""
    from ground.encoders.export import Form, Precision, exported, lowered
    from tests.ground.encoder_world import chips, frozen

    made = []
    for seed, side in ((0, SIDE), (1, SIDE), (2, SIDE), (3, 32)):
        network = lowered(frozen(seed, wide=40), Precision.int8, chips(32, 24), 63)
        made.append(exported(network, Form.tflite, side, side).data)
    return made


def digest(data: bytes) -> bytes:
    from flight.encoder import EncoderFile

    return bytes.fromhex(EncoderFile.parse(data).digest)[:8]


def update(data: bytes, version: int = 1) -> File:
    return File(f"encoder-{version}", FileKind.UPDATE, parcel.pack_update(Update("encoder", version, data)))


def told(world: World, name: str) -> list[dict[str, Any]]:
    """Events, each once, and packets that have come down."""
    found = [dict(event.values) for event in world.of(TelemetryReceived) if event.name == name]
    return list({each.get("serial", i): each for i, each in enumerate(found)}.values())


def flown(where: Path, *files: bytes, learner: str = "moments", **changes: Any) -> World:
    """A world with region, labels and every chip taken in, learned and predicted."""
    world = World(where, config(learner, housekeeping_s=5.0, **changes), encoder_files=files)
    world.contact()
    world.upload(region_file(), label_file())
    world.image()
    world.settle()
    return world


@pytest.mark.parametrize("learner", ["moments", "swath", "hybrid"])
def test_chips_are_seen_through_the_encoder_that_flight_is_started_with(
    learner: str, tmp_path: Path, encoders: list[bytes]
) -> None:
    world = flown(tmp_path, encoders[0], learner=learner)
    world.run(10)
    (loaded,) = told(world, "encoder-loaded")
    assert loaded["digest"] == digest(encoders[0]) and loaded["runtime"].startswith("litert")
    assert told(world, "housekeeping")[-1]["encoder_digest"] == digest(encoders[0])
    assert world.flight.payload.learner.encoder is world.flight.encoder_slot.current
    assert world.flight.report()["encoder"]["precision"] == "int8"
    assert sum(len(each.cells) for each in world.products.values() if each.block == 1) == len(EARTH.chips)
    without = flown(tmp_path / "without", learner=learner)
    assert without.flight.payload.progress.model_digest != world.flight.payload.progress.model_digest


def test_a_killed_process_ends_with_the_same_weights(tmp_path: Path, encoders: list[bytes]) -> None:
    weights = []
    for name, kills in (("calm", 0), ("killed", 3)):
        world = World(tmp_path / name, config(), encoder_files=(encoders[0],))
        world.contact()
        world.upload(region_file(), label_file())
        world.image()
        for _ in range(kills):
            world.run(3)
            world.restart()
        world.settle()
        weights.append(world.flight.payload.learner.weights())
        assert not told(world, "encoder-changed")
    assert weights[0] == weights[1]


def test_without_a_runtime_flight_says_so_and_learns_from_cells(
    tmp_path: Path, encoders: list[bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(runtimes, "installed", list)
    world = flown(tmp_path / "with", encoders[0])
    (missing,) = told(world, "encoder-missing")
    assert "needs litert or tflite" in missing["reason"]
    assert world.flight.report()["encoder"] is None
    plain = flown(tmp_path / "plain")
    assert world.flight.payload.learner.weights() == plain.flight.payload.learner.weights()


@pytest.mark.parametrize("name", ["truncated", "flipped", "other"])
def test_a_damaged_file_is_told_and_the_next_one_or_none_is_used(
    name: str, tmp_path: Path, encoders: list[bytes]
) -> None:
    bad = {"truncated": encoders[0][:5000], "flipped": bytearray(encoders[0]), "other": b"\x7fELF" * 900}[name]
    if name == "flipped":
        bad[-3000] ^= 16
    world = flown(tmp_path / "none", bytes(bad))
    assert len(told(world, "encoder-missing")) == 1 and world.flight.payload.encoder is None
    world = flown(tmp_path / "next", bytes(bad), encoders[1])
    assert not told(world, "encoder-missing")
    assert told(world, "encoder-loaded")[-1]["digest"] == digest(encoders[1])


@pytest.mark.parametrize("part", ["_low", "_top"])
def test_a_flipped_bit_in_what_the_encoder_holds_is_repaired_from_its_file(
    part: str, tmp_path: Path, encoders: list[bytes]
) -> None:
    world = flown(tmp_path, encoders[0])
    weights, right = world.weights(), getattr(world.flight.encoder_slot.current, part).copy()
    getattr(world.flight.encoder_slot.current, part).view(np.uint8)[3] ^= 64
    world.run(world.config.executive.scrub_s)
    (repaired,) = told(world, "memory-repaired")
    assert repaired["part"] == f"learner.encoder.{part}"
    np.testing.assert_array_equal(getattr(world.flight.encoder_slot.current, part), right)
    world.upload(label_file(1, version=2, share=0.5), label_file(1, version=3))
    world.settle()
    assert world.weights() == weights and len(told(world, "memory-repaired")) == 1


def test_a_learner_of_raw_patches_takes_no_encoder(tmp_path: Path, encoders: list[bytes]) -> None:
    world = flown(tmp_path, encoders[0], learner="downconv")
    assert "downconv takes none" in told(world, "encoder-missing")[0]["reason"]
    transfer = world.ground.submit(update(encoders[1]))
    world.until(lambda: world.outcome(transfer) is not None)
    assert "learns without an encoder" in world.outcome(transfer)


def test_chips_of_another_shape_are_learned_without_the_encoder_over_a_restart_too(
    tmp_path: Path, encoders: list[bytes]
) -> None:
    world = flown(tmp_path, encoders[3])
    (missing,) = told(world, "encoder-missing")
    assert missing["reason"] == f"takes 32 x 32 x 3, chips are {SIDE} x {SIDE} x 3"
    before = world.flight.payload.learner.weights()
    world.restart()
    world.settle()
    assert world.flight.payload.learner.weights() == before and not told(world, "encoder-changed")


def test_an_uplinked_encoder_starts_statistics_anew_keeps_labels_and_survives_kills(
    tmp_path: Path, encoders: list[bytes]
) -> None:
    world = flown(tmp_path, encoders[0])
    n, learned = len(EARTH.chips), world.flight.payload.progress.model_digest
    world.upload(update(encoders[1]))
    (changed,) = told(world, "encoder-changed")
    assert (changed["previous"], changed["digest"], changed["chips"]) == (digest(encoders[0]), digest(encoders[1]), n)
    payload = world.flight.payload
    assert payload.labels is not None and payload.learner.n_chips_ == 0 and len(payload.summaries) == 0
    assert payload.progress.next_number == n
    world.restart()  # before the checkpoint of the new statistics, or after it
    assert world.flight.payload.encoder_digest[:16] == digest(encoders[1]).hex()
    world.image(*(make_chip(n + i) for i in range(n)))
    world.settle()
    payload = world.flight.payload
    assert payload.learner.n_chips_ == n and payload.progress.model_digest not in (b"", learned)
    world.restart()
    world.settle()
    assert world.flight.payload.learner.n_chips_ == n
    assert len(told(world, "encoder-changed")) <= 2

    alone = flown(tmp_path / "alone", encoders[1])
    sees = [each.flight.payload.learner.encoder.digest for each in (alone, world)]
    assert sees[0] == sees[1]
    assert np.array_equal(
        alone.flight.payload.learner.predict(EARTH.chips[:4]), world.flight.payload.learner.predict(EARTH.chips[:4])
    )


def test_an_encoder_is_rolled_back_by_command_to_the_one_before_or_to_none(
    tmp_path: Path, encoders: list[bytes]
) -> None:
    world = flown(tmp_path)
    for version, data in ((1, encoders[0]), (2, encoders[1])):
        world.upload(update(data, version))
    assert world.command("rollback", slot="encoder", version=2) == ("executed", "")
    assert world.flight.payload.encoder_digest[:16] == digest(encoders[0]).hex()
    world.restart()
    assert world.flight.payload.encoder_digest[:16] == digest(encoders[0]).hex()
    assert world.command("rollback", slot="encoder", version=2)[0] == "executed"  # a copy of that telecommand

    world = flown(tmp_path / "none")
    world.upload(update(encoders[0], 1))
    assert world.command("rollback", slot="encoder", version=1) == ("executed", "")
    assert world.flight.payload.encoder is None and world.flight.payload.learner.encoder is None


def test_bad_updates_change_nothing(tmp_path: Path, encoders: list[bytes], monkeypatch: pytest.MonkeyPatch) -> None:
    world = flown(tmp_path, encoders[0])
    before = (world.flight.payload.learner.weights(), len(world.flight.payload.summaries))

    def refused(data: bytes, version: int) -> str:
        transfer = world.ground.submit(update(data, version))
        world.until(lambda: world.outcome(transfer) is not None)
        payload = world.flight.payload
        assert (payload.learner.weights(), len(payload.summaries)) == before
        assert payload.encoder_digest[:16] == digest(encoders[0]).hex()
        return str(world.outcome(transfer))

    assert "chips of 32 x 32 x 3" in refused(encoders[3], 1)
    assert "not an encoder file" in refused(b"nothing" * 300, 2)
    assert "SHA-256" in refused(encoders[1][:-4] + b"\1\2\3\4", 3)
    with monkeypatch.context() as patch:
        patch.setattr(runtimes, "installed", list)
        assert "self-test failed" in refused(encoders[1], 4)
    world.restart()
    world.settle()
    assert world.flight.payload.learner.weights() == before[0]


def test_a_restart_with_another_released_encoder_starts_anew_and_says_so(tmp_path: Path, encoders: list[bytes]) -> None:
    world = flown(tmp_path, encoders[0])
    for files, sees in (((encoders[1],), digest(encoders[1])), ((), bytes(8)), ((encoders[2],), digest(encoders[2]))):
        world.encoder_files = files
        world.restart()
        world.run(30)
        assert told(world, "encoder-changed")[-1]["digest"] == sees
        assert world.flight.payload.learner.n_chips_ == 0 and world.flight.payload.labels is not None
        world.image(*(make_chip(len(world.recorder.chips) + i) for i in range(len(EARTH.chips))))
        world.settle()
        assert world.flight.payload.learner.n_chips_ == len(EARTH.chips)


def test_an_encoder_that_changes_by_itself_is_started_anew_and_costs_no_bit_of_the_weights(
    tmp_path: Path, encoders: list[bytes]
) -> None:
    world = World(tmp_path, config(scrub_s=20.0), encoder_files=(encoders[0],))
    world.contact()
    world.upload(region_file(), label_file())
    world.image(*(make_chip(i) for i in range(20)))
    world.settle()
    encoder = world.flight.encoder_slot.current
    run = encoder._run
    encoder._run = lambda chip: run(chip) + np.float32(0.5)
    world.image(*(make_chip(i) for i in range(20, len(EARTH.chips))))
    world.settle()
    assert world.flight.log.counts["memory-repaired"] >= 1
    calm = flown(tmp_path / "calm", encoders[0])
    assert world.flight.payload.learner.weights() == calm.flight.payload.learner.weights()


def test_a_runtime_that_fails_in_the_middle_is_started_anew(tmp_path: Path, encoders: list[bytes]) -> None:
    world = World(tmp_path, config(), encoder_files=(encoders[0],))
    world.contact()
    world.upload(region_file(), label_file())

    def fail(chip: object) -> None:
        raise RuntimeError("out of arena")

    world.flight.encoder_slot.current._run = fail
    world.image()
    world.settle()
    repaired = [event for event in world.flight.log.recent if event.name == "memory-repaired"]
    assert repaired and repaired[0].values["part"].startswith("encoder")
    assert world.flight.payload.learner.n_chips_ == len(EARTH.chips)


def test_embedding_a_chip_takes_its_mission_time(tmp_path: Path, encoders: list[bytes]) -> None:
    def took(name: str, *files: bytes) -> float:
        made = config(chip_s=0.05)
        made = dataclasses.replace(made, encoder=dataclasses.replace(made.encoder, chip_s=0.15))
        world = World(tmp_path / name, made, encoder_files=files)
        world.contact()
        world.upload(region_file())
        started = world.t
        world.image()
        world.until(lambda: world.flight.payload.progress.chips == len(EARTH.chips))
        return world.t - started

    assert took("with", encoders[0]) > 2.5 * took("without")


def test_a_runtime_that_is_installed_and_does_not_start_says_why(monkeypatch):
    def broken(data):
        raise ImportError("made for another numpy")

    monkeypatch.setattr(runtimes, "installed", lambda: [runtimes.LITERT])
    monkeypatch.setattr(runtimes, "_litert", broken)
    with pytest.raises(EncoderError, match="litert: made for another numpy"):
        runtimes.start("tflite", b"")


def test_a_runtime_that_does_not_exist_or_is_not_allowed_is_named_with_what_would_do(monkeypatch):
    with pytest.raises(EncoderError, match=r"encoder\.runtime: 'torch' is unknown; known are auto, litert"):
        runtimes.start("tflite", b"", "torch")
    monkeypatch.setattr(runtimes, "installed", lambda: [runtimes.ONNX_RUNTIME])
    with pytest.raises(EncoderError, match=r"format onnx needs onnxruntime, and encoder\.runtime is 'litert'"):
        runtimes.start("onnx", b"", runtimes.LITERT)
