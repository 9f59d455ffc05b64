"""Captures of the radio: what is in the file, what survives a kill, and what `swath-ground capture` makes of it."""

from __future__ import annotations

import json
import os
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pcapng import FileScanner
from pcapng.blocks import EnhancedPacket, InterfaceDescription, SectionHeader
from typer.testing import CliRunner, Result

from flight.config import LinkConfig
from flight.link.dictionary import Telecommand, Telemetry
from flight.link.endpoint import Endpoint
from flight.link.keys import KeyRing
from flight.link.packet import FileKind
from flight.link.transfer import File
from flight.step import NEVER, Message, Output, Step
from ground.capture import Capture, Captured, CaptureError, CaptureWriter, Tap
from ground.cli import app
from ground.describe import Describer

EPOCH_S = 1750464000.0
MB = 1_000_000
FRAMES = [
    Captured(0.0, "up", b"\x01\x02\x03", "passed", arrival_s=0.25),
    Captured(1.5, "down", bytes(range(200)), "lost", "burst"),
    Captured(86400.123456789, "up", b"x" * 77, "damaged", arrival_s=86400.4, bits_flipped=3, held=True),
    Captured(86400.123456789, "up", b"x" * 77, "damaged", arrival_s=86400.9, bits_flipped=3, held=True, copy=True),
    Captured(90000.0, "down", b"", "received"),
]


def write(path: Path, frames: list[Captured], max_bytes: int = MB) -> CaptureWriter:
    writer = CaptureWriter(path, EPOCH_S, max_bytes)
    for frame in frames:
        writer.write(frame)
    writer.close()
    return writer


def run(*arguments: object) -> Result:
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


captured_frames = st.builds(
    Captured,
    t_s=st.integers(0, 10**16).map(lambda ns: ns / 1e9),
    direction=st.sampled_from(["up", "down"]),
    data=st.binary(max_size=64),
    fate=st.sampled_from(["passed", "damaged", "lost", "sent", "received"]),
    cause=st.sampled_from(["", "burst", "cut_by_los"]),
    arrival_s=st.none() | st.floats(0, 1e9),
    bits_flipped=st.integers(0, 8192),
    held=st.booleans(),
    copy=st.booleans(),
)


@settings(max_examples=60, deadline=None)
@given(frames=st.lists(captured_frames, max_size=12))
def test_what_is_written_is_read_back(tmp_path_factory: pytest.TempPathFactory, frames: list[Captured]) -> None:
    path = tmp_path_factory.mktemp("capture") / "radio.pcapng"
    write(path, frames)
    found = list(Capture(path))
    assert [replace(f, t_s=0) for f in found] == [replace(f, t_s=0) for f in frames]
    assert [f.t_s for f in found] == pytest.approx([f.t_s for f in frames], abs=2e-9)


@pytest.mark.filterwarnings("ignore:Field type should not be:DeprecationWarning")  # python-pcapng's own schema
def test_another_reader_of_pcapng_finds_the_same_frames_times_and_comments(tmp_path: Path) -> None:
    path = tmp_path / "radio.pcapng"
    write(path, FRAMES)
    with path.open("rb") as file:
        blocks = list(FileScanner(file))
    assert isinstance(blocks[0], SectionHeader)
    interfaces = [block for block in blocks if isinstance(block, InterfaceDescription)]
    assert [(i.options["if_name"], i.link_type) for i in interfaces] == [("uplink", 147), ("downlink", 147)]
    packets = [block for block in blocks if isinstance(block, EnhancedPacket)]
    assert [(p.interface_id, p.packet_data) for p in packets] == [(int(f.direction == "down"), f.data) for f in FRAMES]
    assert [p.timestamp for p in packets] == pytest.approx([EPOCH_S + f.t_s for f in FRAMES], abs=1e-6)
    assert packets[1].options["opt_comment"] == "fate=lost cause=burst"
    assert packets[3].options["opt_comment"] == "fate=damaged arrival_s=86400.9 bits_flipped=3 held=1 copy=1"


def test_a_file_cut_off_anywhere_by_a_kill_keeps_every_frame_before_and_says_so(tmp_path: Path) -> None:
    path = tmp_path / "radio.pcapng"
    write(path, FRAMES)
    data = path.read_bytes()
    write(tmp_path / "head.pcapng", [])
    head = (tmp_path / "head.pcapng").stat().st_size
    counts = []
    for size in range(head, len(data), 2):  # blocks are multiples of 4 bytes
        path.write_bytes(data[:size])
        capture = Capture(path)
        found = list(capture)
        assert found == FRAMES[: len(found)]
        counts.append((len(found), capture.cut_off))
    assert sorted(counts) == counts and counts[-1] == (len(FRAMES) - 1, True)
    assert [cut for _, cut in counts].count(False) == len(FRAMES)  # exactly the ends of whole blocks


def test_a_writer_that_was_killed_goes_on_behind_its_last_whole_frame(tmp_path: Path) -> None:
    path = tmp_path / "radio.pcapng"
    write(path, FRAMES[:2])
    path.write_bytes(path.read_bytes()[:-5])
    write(path, FRAMES[2:])
    capture = Capture(path)
    assert list(capture) == [FRAMES[0], *FRAMES[2:]] and not capture.cut_off


def test_a_full_capture_stops_counts_what_it_leaves_out_and_says_so_to_the_reader(tmp_path: Path) -> None:
    path = tmp_path / "radio.pcapng"
    writer = write(path, [FRAMES[1]] * 100, max_bytes=4000)
    assert path.stat().st_size <= 4000
    report = writer.report()
    assert report["frames"] + report["left_out"] == 100 and report["left_out"] > 80 and not report["error"]
    capture = Capture(path)
    assert len(list(capture)) == report["frames"] and capture.full
    assert "it was full before the end" in run("capture", "summary", path).stderr


def test_a_disk_that_fails_ends_the_capture_and_not_the_pass(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    writer = CaptureWriter(tmp_path / "radio.pcapng", EPOCH_S, MB)
    writer.write(FRAMES[0])
    real = os.write
    monkeypatch.setattr(os, "write", lambda file, data: real(file, data[:10]))  # as a disk that fills up
    writer.write(FRAMES[1])
    monkeypatch.undo()
    writer.write(FRAMES[2])
    report = writer.report()
    assert (report["frames"], report["left_out"]) == (1, 2) and "wrote 10 of" in report["error"]
    assert list(Capture(writer.path)) == FRAMES[:1]
    writer.close()


def test_a_day_of_frames_is_little_larger_than_the_frames_themselves(tmp_path: Path) -> None:
    frames = [Captured(n * 0.2133, "up", bytes(256), "passed", arrival_s=n * 0.2133 + 0.218) for n in range(2000)]
    write(tmp_path / "radio.pcapng", frames)
    assert (tmp_path / "radio.pcapng").stat().st_size < 1.4 * 256 * 2000


NOT_CAPTURES = {
    "empty": b"",
    "text": b"frame,time\n" * 20,
    "zeros": bytes(100),
    "another pcapng": bytes.fromhex("0a0d0d0a1c0000004d3c2b1a01000000ffffffffffffffff1c000000"),
    "big endian": bytes.fromhex("0a0d0d0a0000001c1a2b3c4d00010000ffffffffffffffff0000001c"),
}


@pytest.mark.parametrize("name", NOT_CAPTURES)
def test_what_is_not_a_capture_is_named_and_not_overwritten(name: str, tmp_path: Path) -> None:
    path = tmp_path / "other.pcapng"
    path.write_bytes(NOT_CAPTURES[name])
    result = run("capture", "show", path)
    assert result.exit_code == 1 and "other.pcapng: not a capture of frames" in result.stderr
    if name in ("text", "zeros", "big endian"):
        with pytest.raises(CaptureError, match="not replaced"):
            CaptureWriter(path, EPOCH_S, MB)
        assert path.read_bytes() == NOT_CAPTURES[name]


@settings(max_examples=150, deadline=None)
@given(data=st.data())
def test_no_damage_to_a_file_does_more_than_an_error(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    path = tmp_path_factory.mktemp("capture") / "radio.pcapng"
    write(path, FRAMES)
    content = bytearray(path.read_bytes())
    for _ in range(data.draw(st.integers(1, 4))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    path.write_bytes(content)
    try:
        for frame in Capture(path):
            Describer().describe(frame.data, frame.direction)
    except CaptureError as error:
        assert str(path) in str(error)


# What the layers say.


@pytest.fixture
def keys() -> KeyRing:
    return KeyRing.generate(lambda n: bytes(range(n)))


def conversation(keys: KeyRing) -> list[Captured]:
    """A telecommand, a file and housekeeping, as both ends send them."""
    ground, space = Endpoint("ground", LinkConfig(), keys), Endpoint("space", LinkConfig(), keys)
    ground.set_contact(True, 0.0)
    ground.send(Telecommand("ping", {"echo": 77}))
    ground.submit(File("labels-1-1", FileKind.LABEL_SET, bytes(300)))
    space.send(Telemetry("task-changed", {"t_s": 5.0, "serial": 1, "task_id": 3}))
    frames, t = [], 0.0
    for _ in range(12):
        for name, here, there in (("up", ground, space), ("down", space, ground)):
            frame = here.poll(t)
            if frame is not None:
                frames.append(Captured(t, name, frame, "passed", arrival_s=t + 0.2))
                there.receive(frame, t)
        t += 0.5
    return frames


@pytest.fixture
def recorded(tmp_path: Path, keys: KeyRing) -> Path:
    path = tmp_path / "radio.pcapng"
    frames = conversation(keys)
    damaged = bytes([frames[0].data[0] ^ 1]) + frames[0].data[1:]
    write(path, [*frames, replace(frames[0], t_s=50.0, data=damaged, fate="damaged", bits_flipped=1)])
    (tmp_path / "keys.toml").write_bytes(keys.dump())
    return path


def shown(*arguments: object) -> list[dict[str, object]]:
    result = run("capture", "show", *arguments, "--json")
    assert result.exit_code == 0, result.output
    return [json.loads(line) for line in result.stdout.splitlines()]


def layers(frame: dict, name: str) -> list[dict]:
    return [layer for layer in frame["layers"] if layer["layer"] == name]


def test_show_goes_through_every_layer_with_names_and_values(recorded: Path) -> None:
    frames = shown(recorded, "--keys", recorded.parent)
    entries = [entry for frame in frames for entry in layers(frame, "dictionary")]
    assert any(e["name"] == "ping" and e["echo"] == 77 for e in entries)
    assert any(e["name"] == "task-changed" and e["task_id"] == 3 for e in entries)
    units = [unit for frame in frames for unit in layers(frame, "file")]
    opened = [u for u in units if u["pdu"] == "Metadata"]
    assert any(u["destination_name"] == "labels-1-1" and u["size"] == 300 for u in opened)
    assert {u["pdu"] for u in units} >= {"Metadata", "FileData", "Eof", "Ack"}
    good = [frame for frame in frames if frame["fate"] == "passed"]
    assert all(layers(frame, "security")[0]["tag"] == "good" for frame in good)
    for frame in good:
        framing = {"up": 28, "down": 29}[frame["direction"]]
        assert frame["bytes"] == framing + sum(packet["bytes"] for packet in layers(frame, "packet"))


def test_a_damaged_frame_is_shown_as_such_and_without_keys_no_tag_is_called_good(recorded: Path) -> None:
    *rest, last = shown(recorded)
    assert last["fate"] == "damaged" and last["bits_flipped"] == 1 and "bad_crc" in last["layers"][0]["error"]
    assert len(last["layers"]) == 1
    assert {layers(frame, "security")[0]["tag"] for frame in rest} == {"unchecked"}
    text = run("capture", "show", recorded).stdout
    assert "damaged (1 bits)" in text and "! bad_crc" in text


def test_a_tag_that_does_not_fit_the_keys_is_said_to_be_bad(recorded: Path) -> None:
    other = recorded.parent / "other.toml"
    other.write_bytes(KeyRing.generate(os.urandom).dump())
    frames = shown(recorded, "--keys", other)[:-1]
    assert {layers(frame, "security")[0]["tag"] for frame in frames} == {"bad"}
    assert all("bad_tag" in layers(frame, "security")[0]["error"] for frame in frames)


def test_time_and_direction_choose_frames(recorded: Path) -> None:
    every = shown(recorded)
    some = shown(recorded, "--from", 1, "--to", 3.5, "--direction", "up")
    assert some == [f for f in every if 1 <= f["t_s"] < 3.5 and f["direction"] == "up"] and some


def test_summary_counts_frames_contents_and_every_byte_by_purpose(recorded: Path, keys: KeyRing) -> None:
    frames = conversation(keys)
    facts = json.loads(run("capture", "summary", recorded, "--keys", recorded.parent, "--json").stdout)
    for way in ("up", "down"):
        sent = [f for f in frames if f.direction == way]
        extra = frames[:1] if way == "up" else []
        assert facts["frames"][way]["in all"] == len(sent) + len(extra)
        assert sum(facts["bytes"][way].values()) == sum(len(f.data) for f in [*sent, *extra])
        assert facts["contents"][way]["tag good"] == len(sent)
    assert facts["contents"]["up"]["dictionary: ping"] >= 1
    assert facts["bytes"]["up"]["unreadable"] == len(frames[0].data)
    assert facts["frames"]["up"]["damaged"] == 1
    assert "label set" in run("capture", "summary", recorded).stdout


def test_a_tap_on_a_station_notes_what_it_sends_and_hears_and_changes_nothing(tmp_path: Path) -> None:
    class Echo:
        def step(self, t: float, inputs: list[Message]) -> Step:
            return Step([Output(t + 1, m.port, m.body[::-1]) for m in inputs], NEVER)

        def report(self) -> dict[str, object]:
            return {"echoes": True}

    tap = Tap(Echo(), "radio", CaptureWriter(tmp_path / "station.pcapng", EPOCH_S, MB))
    inputs = [Message(5.0, "modem", 1, "radio", b"abc"), Message(5.0, "desk", 1, "console", b"xyz")]
    assert tap.step(5.0, inputs) == Echo().step(5.0, inputs)
    tap.writer.close()
    assert list(Capture(tmp_path / "station.pcapng")) == [
        Captured(5.0, "down", b"abc", "received"),
        Captured(6.0, "up", b"cba", "sent"),
    ]
    assert tap.report()["echoes"] and tap.report()["capture"]["frames"] == 2


def test_random_bytes_of_any_length_are_described_and_never_an_exception() -> None:
    describer = Describer(KeyRing.generate(os.urandom))
    for size in [*range(80), 1024, 1025]:
        described = describer.describe(os.urandom(size), ("up", "down")[size % 2])
        assert not described.readable and described.shares == {"unreadable": size}
