"""The spool of a running station, the station as a command, and its capture."""

import numpy as np
import pytest
from typer.testing import CliRunner

from flight.config import ConfigError, LinkConfig
from flight.curve import CurveError
from flight.link import labelset, parcel
from flight.link.endpoint import Endpoint
from flight.link.events import CommandReceived, FileReceived
from flight.link.keys import KeyRing
from flight.link.labelset import LabelSet
from flight.step import Message
from ground.capture import Capture, Tap
from ground.cli import app
from ground.spool import DONE, REFUSED, Spool, SpoolError, put
from ground.station import Window
from ground.station_cli import StationOptions, build_station, close, mission_epoch, radio_port, read_passes

KEYS = KeyRing({1: bytes(range(32)), 2: bytes(range(32, 64))}, 1)
PING = b'[[commands]]\nname = "ping"\nargs = { echo = %d }\n'


def run(*arguments):
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


def labels():
    return labelset.pack(LabelSet(1, 1, 1, ("a", "b"), np.full((300, 2), 0.5, np.float32), 32))


class Bench:
    """A station process's core, and a spacecraft that hears all of it."""

    def __init__(self, directory, **options):
        self.directory, self.spool = directory / "station", directory / "station" / "spool"
        keys = directory / "keys.toml"
        keys.write_bytes(KEYS.dump())
        self.options = StationOptions(self.directory, keys, **options)
        self.space = Endpoint("space", LinkConfig(), KEYS)
        self.t, self.commands, self.files = 0.0, [], []
        self.start()

    def start(self):
        self.core = build_station(self.options, 1.75e9)
        self.core.step(self.t, [])

    @property
    def station(self):
        return self.core.core if isinstance(self.core, Tap) else self.core

    def run(self, seconds, answer=True):
        for _ in range(round(seconds / 0.1)):
            self.t += 0.1
            for output in self.core.step(self.t, []).outputs:
                for event in self.space.receive(output.body, self.t):
                    if isinstance(event, CommandReceived):
                        self.commands.append((event.name, dict(event.args)))
                        self.space.acknowledge(event.number, "executed")
                    elif isinstance(event, FileReceived):
                        self.files.append(event.file)
                        self.space.accept(event.transfer_id)
            if answer and (frame := self.space.poll(self.t)) is not None:
                self.core.step(self.t, [Message(self.t, "flight", 0, "radio", frame)])

    def names(self, where=""):
        return sorted(path.name.partition("-")[2] for path in (self.spool / where).iterdir() if path.is_file())


def test_an_operator_s_commands_are_sent_in_their_order_and_then_done(tmp_path):
    bench = Bench(tmp_path)
    for echo in (3, 1, 2):
        sent = run("command", "ping", echo, "--spool", bench.spool)
        assert sent.exit_code == 0 and "waits for the station" in sent.output
    bench.run(5.0)
    assert bench.commands == [("ping", {"echo": echo}) for echo in (3, 1, 2)]
    assert bench.names(DONE) == ["ping.toml"] * 3 and not bench.names()


def test_files_are_sent_one_after_the_other_as_what_they_say_they_are(tmp_path):
    bench = Bench(tmp_path)
    update = parcel.pack_update(parcel.Update("parameters", 1, b"[executive]\ncycle_s = 0.5\n"))
    for name, data in (("one.labels", labels()), ("two.update", update)):
        (tmp_path / name).write_bytes(data)
    assert run("spool", tmp_path / "one.labels", tmp_path / "two.update", "--spool", bench.spool).exit_code == 0
    bench.run(30.0)
    assert [(file.name, file.kind.name, file.data) for file in bench.files] == [
        ("one.labels", "LABEL_SET", labels()),
        ("two.update", "UPDATE", update),
    ]


def test_a_command_does_not_wait_for_a_file_before_it(tmp_path):
    bench = Bench(tmp_path)
    put(bench.spool, "one.labels", labels())
    put(bench.spool, "two.labels", labels())
    put(bench.spool, "ping.toml", PING % 7)
    bench.run(3.0, answer=False)
    assert bench.commands == [("ping", {"echo": 7})] and bench.names() == ["two.labels"]


@pytest.mark.parametrize(
    ("name", "data", "reason"),
    [
        ("x.toml", b'[[commands]]\nname = "pong"\n', "pong"),
        ("x.toml", PING % 1 + PING % 2, "holds 2 telecommands, expected one"),
        ("x.toml", b"\xff", "x.toml"),
        ("x.bin", b"P" + bytes(50), "is a product, which does not go up"),
        ("x.bin", b"?", "none of label set"),
        ("x.bin", bytes(LinkConfig().max_file_bytes + 1), "the link takes"),
    ],
)
def test_what_cannot_be_sent_is_refused_with_the_reason_and_holds_up_nothing(tmp_path, name, data, reason):
    bench = Bench(tmp_path)
    refused = put(bench.spool, name, data).name
    put(bench.spool, "ping.toml", PING % 7)
    bench.run(3.0)
    assert bench.commands == [("ping", {"echo": 7})]
    assert reason in (bench.spool / REFUSED / f"{refused}.reason").read_text()
    assert (bench.spool / REFUSED / refused).read_bytes() == data


def test_a_command_for_later_waits_in_the_spool_and_can_be_taken_back(tmp_path):
    bench = Bench(tmp_path)
    later = [put(bench.spool, "ping.toml", PING % echo + b"at_h = 0.01\n") for echo in (1, 2)]
    bench.run(5.0)
    assert bench.names() == ["ping.toml"] * 2 and not bench.commands
    later[0].unlink()
    bench.run(40.0)
    assert bench.commands == [("ping", {"echo": 2})]


def test_what_the_link_has_is_not_sent_again_after_a_restart(tmp_path, monkeypatch):
    bench = Bench(tmp_path)
    put(bench.spool, "ping.toml", PING % 7)

    def power_cut(spool, name):
        raise InterruptedError

    monkeypatch.setattr(Spool, "done", power_cut)
    with pytest.raises(InterruptedError):
        bench.run(3.0)
    monkeypatch.undo()
    assert bench.names() == ["ping.toml"]
    bench.start()
    bench.run(30.0)
    assert bench.commands == [("ping", {"echo": 7})] and bench.names(DONE) == ["ping.toml"]


def test_a_partial_file_is_not_looked_at(tmp_path):
    bench = Bench(tmp_path)
    (bench.spool / ".00000000000000000001-ping.toml.x.partial").write_bytes((PING % 1)[:20])
    bench.run(3.0)
    assert not bench.names(REFUSED) and not bench.commands


def test_vital_commands_need_confirmation_before_they_reach_the_spool(tmp_path):
    bench = Bench(tmp_path)
    assert run("command", "clear-schedule", "--spool", bench.spool).exit_code == 1
    assert not bench.names()
    assert run("command", "ping", 1, "--spool", tmp_path / "none").exit_code == 1


def test_a_name_is_behind_all_that_is_there_whatever_the_clock_says(tmp_path):
    spool = Spool(tmp_path, 1000)
    (tmp_path / "00999999999999999999-a.toml").write_bytes(PING % 1)
    put(tmp_path, "b.toml", PING % 2)
    assert [each.order.item.args["echo"] for each in spool.waiting()] == [1, 2]
    with pytest.raises(SpoolError, match="no such spool"):
        put(tmp_path / "none", "b.toml", b"")


def test_a_capture_has_every_frame_that_the_station_sent_and_took(tmp_path):
    bench = Bench(tmp_path, capture=tmp_path / "radio.pcapng")
    put(bench.spool, "ping.toml", PING % 7)
    bench.run(10.0)
    counters = bench.station.endpoint.counters
    close(bench.core)
    frames = list(Capture(tmp_path / "radio.pcapng"))
    ways = [frame.direction for frame in frames]
    assert ways.count("up") == counters.frames_sent > 1
    assert ways.count("down") == counters.frames_accepted > 0
    shown = run("capture", "show", tmp_path / "radio.pcapng", "--direction", "up")
    assert "ping" in shown.output and "echo" in shown.output


def test_passes_are_read_in_mission_time_and_checked(tmp_path):
    path = tmp_path / "passes.toml"
    one = "[[passes]]\naos = 2025-06-21T01:00:00Z\nlos = 2025-06-21T01:08:00Z\n"
    path.write_text(one + "[[passes]]\naos = 2025-06-21T04:40:00+02:00\nlos = 2025-06-21T02:50:00Z\n")
    epoch = 1750464000.0  # 2025-06-21T00:00:00Z
    assert read_passes(path, epoch) == [Window(3600.0, 4080.0), Window(9600.0, 10200.0)]
    for text, why in (
        (one + one, "not overlap"),
        (one.replace("Z", ""), "needs aos and los"),
        ("passes = [1]", "needs"),
    ):
        path.write_text(text)
        with pytest.raises(ConfigError, match=why):
            read_passes(path, epoch)


def test_mission_time_goes_on_when_the_station_comes_back(tmp_path):
    assert mission_epoch(tmp_path, None, 1000.5) == 1000.5
    assert mission_epoch(tmp_path, None, 2000.0) == 1000.5
    assert mission_epoch(tmp_path, 5.0, 2000.0) == 5.0


def test_a_radio_that_other_machines_can_reach_must_be_protected():
    with pytest.raises(CurveError, match="leaves this machine unprotected"):
        radio_port("tcp://192.0.2.1:7001", False, None, None)
    assert radio_port("ipc:///tmp/x", True, None, None).bind
