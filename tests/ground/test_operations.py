"""What an operator does with the dictionary at the desk: telecommands, sequences, the log."""

import json
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from typer.testing import CliRunner

from flight.config import ConfigError
from flight.link.definitions import TELECOMMANDS
from flight.link.dictionary import Telecommand
from flight.link.pack import CodecError
from flight.link.sequence import MAX_STEPS, NOT_IN_A_SEQUENCE, Sequence, SequenceStep, pack_sequence, unpack_sequence
from flight.store import Store
from ground.cli import app
from ground.orders import CommandOrder, entry, read_commands, read_sequence
from tests.link.test_dictionary import packets

SEQUENCE = """
sequence_id = 9
description = "To the other task and back."
steps = [
    { command = "set-task", args = { task_id = 2 } },
    { command = "ping", after_s = 90.5, args = { echo = 1 } },
]
"""


def run(*arguments):
    return CliRunner(env={"COLUMNS": "200", "TERM": "dumb"}).invoke(app, [str(each) for each in arguments])


@pytest.mark.parametrize("declared", TELECOMMANDS, ids=lambda declared: declared.name)
def test_help_of_a_telecommand_shows_every_argument_with_range_and_unit_and_the_criticality(declared):
    text = " ".join(run("command", declared.name, "--help").stdout.replace("│", " ").split())
    for field in declared.fields:
        assert field.name in text
        if field.kind in ("int", "float", "time"):
            assert f"{field.low:g}<=x<=" in text.replace(".0<=", "<=")
        if field.kind == "choice":
            assert "|".join(field.choices) in text
        if field.unit:
            assert f"in {field.unit}" in text
    assert (declared.criticality.upper() in text) is (declared.criticality != "normal")


def test_a_telecommand_is_written_down_as_a_scenario_takes_it(tmp_path):
    path = tmp_path / "orders.toml"
    assert run("command", "ping", 7, "--at-h", 1.5, "-o", path).exit_code == 0
    later = ("--execute-h", 3, "--if-late", "run", "--confirm", "-o", path)
    assert run("command", "set-task", 2, *later).exit_code == 0
    assert read_commands(path) == (
        CommandOrder("ping", 1.5, {"echo": 7}),
        CommandOrder("set-task", 0.0, {"task_id": 2}, 3.0, "run"),
    )


@given(packets(tuple(TELECOMMANDS)))
@settings(max_examples=60)
def test_every_telecommand_survives_being_written_down(tmp_path_factory, packet):
    declared, args = packet
    plain = {name: value.hex() if isinstance(value, bytes) else value for name, value in args.items()}
    path = tmp_path_factory.mktemp("orders") / "orders.toml"
    path.write_text(entry(CommandOrder(declared.name, 0.0, plain)))
    (order,) = read_commands(path)
    assert order.telecommand("commands[0]") == Telecommand(declared.name, args)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("set-task", 2), "set-task is vital: repeat it with --confirm"),
        (("set-time", 1e9), "set-time is critical: repeat it with --confirm"),
        (("ping", 1, "--at-h", 2, "--execute-h", 1), "execute_h: 1 is before at_h = 2"),
        (("schedule", 1e9, "run", "xyz"), "'xyz' is not hexadecimal"),
    ],
)
def test_what_cannot_be_sent_is_refused_and_nothing_is_written(arguments, message, tmp_path):
    result = run("command", *arguments, "-o", tmp_path / "orders.toml")
    assert result.exit_code == 1 and message in result.stderr
    assert not list(tmp_path.iterdir())


def test_an_argument_out_of_range_is_refused_by_the_command_line():
    result = run("command", "set-task", 70000, "--confirm")
    assert result.exit_code == 2 and "65535" in result.stderr


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[[commands]]\nname = 'launch'", r"commands\[0\]: 'launch' is no telecommand"),
        ("[[commands]]\nname = 'ping'\nargs = { ech = 1 }", r"commands\[0\]: ping\.ech: unknown field"),
        ("[[commands]]\nname = 'status'\nif_late = 'later'", r"commands\[0\]\.if_late: 'later' is not one of"),
        ("[[command]]\nname = 'ping'", "command: unknown field"),
        ("[[", "orders.toml: "),
    ],
)
def test_a_file_of_telecommands_is_checked_with_the_path_of_the_fault(text, message, tmp_path):
    path = tmp_path / "orders.toml"
    path.write_text(text)
    with pytest.raises(ConfigError, match=message) as told:
        read_commands(path)
    assert str(told.value).startswith(f"{path}: ") and str(told.value).count(str(path)) == 1


# Sequences


def test_a_sequence_is_checked_listed_and_compiled_as_flight_reads_it(tmp_path):
    source, compiled = tmp_path / "there-and-back.toml", tmp_path / "sequence.bin"
    source.write_text(SEQUENCE)
    text = run("sequence", "check", source).stdout
    assert "+90.5 s  ping echo=1" in text and "set-task task_id=2" in text
    assert run("sequence", "compile", source, "-o", compiled).exit_code == 0
    assert unpack_sequence(compiled.read_bytes()) == read_sequence(source).sequence("sequence")
    facts = json.loads(run("sequence", "check", compiled, "--json").stdout)
    assert facts["sequence_id"] == 9 and facts["lasts_s"] == 90.5


@pytest.mark.parametrize(
    ("steps", "message"),
    [
        ("[{ command = 'ping' }]", r"sequence\.steps\[0\]: ping: missing echo"),
        ("[{ command = 'status' }, { command = 'jump' }]", r"sequence\.steps\[1\]: 'jump' is no telecommand"),
        ("[{ command = 'start-sequence', args = { sequence_id = 1 } }]", "start-sequence may not be in a sequence"),
        ("[{ command = 'rotate-key', args = { key_id = 2 } }]", "rotate-key may not be in a sequence"),
        ("[{ command = 'status', after_s = -1 }]", r"steps\[0\]\.after_s: -1.0 is not between"),
        ("[]", "number of steps is 0"),
        (str([{"command": "status"}] * 65).replace(":", " ="), "number of steps is 65"),
    ],
)
def test_a_sequence_with_a_fault_anywhere_is_refused_with_its_step(steps, message, tmp_path):
    path = tmp_path / "bad.toml"
    path.write_text(f"steps = {steps}".replace("'command' =", "command ="))
    with pytest.raises(ConfigError, match=message):
        read_sequence(path)
    assert run("sequence", "check", path).exit_code == 1


EMBEDDABLE = tuple(each for each in TELECOMMANDS if each.name not in NOT_IN_A_SEQUENCE)
STEPS = st.lists(st.tuples(st.integers(0, 10**6), packets(EMBEDDABLE)), min_size=1, max_size=MAX_STEPS)


@given(st.integers(1, 65535), STEPS)
@settings(max_examples=60, deadline=None)
def test_a_sequence_comes_back_as_it_was_packed_and_any_octet_changed_is_found(sequence_id, steps):
    made = [SequenceStep(ms / 1000, Telecommand(declared.name, args)) for ms, (declared, args) in steps]
    data = pack_sequence(Sequence(sequence_id, tuple(made)))
    assert unpack_sequence(data) == Sequence(sequence_id, tuple(made))
    for at in range(0, len(data), max(1, len(data) // 20)):
        changed = bytearray(data)
        changed[at] ^= 0x55
        with pytest.raises(CodecError):
            unpack_sequence(bytes(changed))


@given(st.binary(max_size=200))
def test_any_bytes_are_a_sequence_or_refused(data):
    for each in (data, b"Q\x01" + data):
        try:
            sequence = unpack_sequence(each)
        except CodecError:
            continue
        assert pack_sequence(sequence) == each


# Dictionary and log


def test_the_dictionary_is_printed_and_written_as_xtce(tmp_path):
    assert "# Telecommand" in run("dictionary", "page").stdout
    assert run("dictionary", "xtce", "-o", tmp_path / "swath.xml").exit_code == 0
    assert (tmp_path / "swath.xml").read_text(encoding="utf-8").startswith("<?xml")


def test_the_log_is_a_line_a_packet_and_filtered_by_kind_and_name(tmp_path):
    lines = [[3661.5, "event", "time-set", {"t_s": 1.0, "delta_s": 2.5}], [9.0, "telemetry", "pong", {"echo": 3}]]
    (tmp_path / "telemetry.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines) + "[half")
    everything = run("log", tmp_path).stdout.splitlines()
    assert len(everything) == 2 and everything[0].startswith("01:01:01.500  event") and "delta_s=2.500" in everything[0]
    assert run("log", tmp_path, "--name", "pong").stdout.split()[:3] == ["00:00:09.000", "telemetry", "pong"]
    assert run("log", tmp_path, "--kind", "acknowledgement").stdout == ""
    missing = run("log", Path(tmp_path) / "none")
    assert missing.exit_code == 1 and "No such file" in missing.stderr


@pytest.mark.parametrize("group", ["labels", "region", "products"])
def test_a_record_of_the_flight_segment_s_store_is_told_for_what_it_is(group, tmp_path):
    Store(tmp_path).put("region", b"anything")
    result = run(group, "inspect", tmp_path / "region.0")
    assert result.exit_code == 1 and "a record of the flight segment's store" in result.stderr
