"""The dictionary: every telecommand, telemetry packet and event, in one place. `reference()` prints it.

To add one, add an entry; ids are never used again for something else. The codec is ``flight.link.schema``.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from flight.link.errors import LinkError, RejectedError
from flight.link.packet import Apid
from flight.link.schema import Definition, Field, FieldError, pack, unpack

U16, U32 = 0xFFFF, 0xFFFFFFFF
MODES = ("starting", "idle", "ingesting", "training", "predicting", "safe")
OUTCOMES = ("executed", "duplicate", "rejected")

_TASK = Field("task_id", "int", high=U16, help="task")
_TIME = Field("t_s", "float", -1e12, 1e12, unit="s", help="mission time")
_REASON = Field("reason", "text", high=48, help="why, in short")

TELECOMMANDS = (
    Definition(1, "ping", "Answer with a pong.", (Field("echo", "int", high=U32, help="comes back in the pong"),)),
    Definition(2, "status", "Send housekeeping now."),
    Definition(3, "set-task", "Learn and predict this task from now on.", (_TASK,), critical=True),
    Definition(4, "get-model", "Send down the model of the current task."),
    Definition(5, "predict", "Predict all stored chips and send the products down.", (_TASK,)),
    Definition(
        6,
        "set-time",
        "Set the on-board time.",
        (Field("unix_s", "float", 0, 1e11, unit="s", help="time since 1970-01-01 UTC"),),
        critical=True,
    ),
)


def _count(name: str, help: str, high: int = U32, unit: str = "") -> Field:
    return Field(name, "int", high=high, unit=unit, help=help)


HOUSEKEEPING = Definition(
    1,
    "housekeeping",
    "State of the payload. Counters start at zero with each start of the process unless they say otherwise.",
    (
        _TIME,
        Field("mode", "choice", choices=MODES, help="what the executive is doing"),
        _count("incarnation", "starts of the flight process so far", U16),
        _count("chips_ingested", "chips taken in, over the mission"),
        _count("chips_dropped", "chips refused or lost, over the mission"),
        _count("chips_queued", "chips that wait to be taken in", U16),
        _count("checkpoint_generation", "number of the last checkpoint, over the mission"),
        _count("checkpoint_failures", "checkpoints that could not be written", U16),
        _count("task_id", "task being learned", U16),
        _count("label_version", "version of the label set in use; 0 without one"),
        Field("model_digest", "bytes", 0, 8, help="first 8 bytes of the model's digest; empty without a model"),
        _count("training_steps_done", "training steps, over the mission"),
        _count("training_steps_pending", "training steps still to do"),
        _count("rss_bytes", "resident memory of the process", 1 << 40, "bytes"),
        _count("frames_accepted", "frames accepted"),
        _count("frames_rejected_crc", "frames that failed their CRC"),
        _count("frames_rejected_tag", "frames that failed authentication, unknown keys included"),
        _count("frames_rejected_replay", "frames whose counter was used before"),
        _count("frames_rejected_other", "frames refused for another reason"),
        _count("packets_rejected", "packets refused in authentic frames"),
        _count("files_open", "files being received or sent", U16),
        _count("files_received", "files received and kept"),
        _count("telemetry_dropped", "telemetry packets dropped because the queue was full"),
    ),
)
PONG = Definition(2, "pong", "Answer to a ping.", (Field("echo", "int", high=U32, help="as in the ping"), _TIME))
TELEMETRY = (HOUSEKEEPING, PONG)

ACKNOWLEDGEMENT = Definition(
    1,
    "acknowledgement",
    "What became of the telecommand with this packet's number.",
    (
        Field("command_id", "int", high=255, help="id of the telecommand"),
        Field("outcome", "choice", choices=OUTCOMES, help="executed, a copy of one executed before, or rejected"),
        _REASON,
    ),
)

EVENTS = (
    Definition(
        1,
        "restarted",
        "The flight process is up.",
        (
            _TIME,
            _count("incarnation", "starts so far", U16),
            _count("checkpoint_generation", "checkpoint that it goes on from; 0 for none"),
            Field("cause", "text", high=48, help="how the process before it ended; empty for the first"),
        ),
        severity="info",
    ),
    Definition(
        2,
        "record-damaged",
        "A record on disk failed its checksum; the older of its two copies is used, if there is one.",
        (_TIME, Field("record", "text", high=48, help="its name"), _REASON),
        severity="error",
    ),
    Definition(
        3,
        "write-failed",
        "Something could not be written; what was on disk stands.",
        (_TIME, _REASON),
        severity="error",
    ),
    Definition(
        4,
        "region-loaded",
        "A region came into use.",
        (_TIME, _count("region_id", "its number"), _count("municipalities", "municipalities in it")),
        severity="info",
    ),
    Definition(
        5,
        "labels-loaded",
        "A label set came into use.",
        (_TIME, _TASK, _count("label_version", "its version"), _count("rows", "municipalities with a label")),
        severity="info",
    ),
    Definition(6, "task-changed", "Another task is learned.", (_TIME, _TASK), severity="info"),
    Definition(
        7,
        "model-ready",
        "Training came to its end.",
        (_TIME, _TASK, _count("label_version", "labels used"), Field("model_digest", "bytes", 8, 8, help="its digest")),
        severity="info",
    ),
    Definition(
        8,
        "frames-rejected",
        "Frames were refused.",
        (_TIME, Field("cause", "text", high=24, help="reason code"), _count("frames", "frames since the last event")),
        severity="warning",
    ),
    Definition(
        9,
        "packets-rejected",
        "Packets in authentic frames were refused.",
        (_TIME, Field("cause", "text", high=24, help="reason code"), _count("packets", "packets since the last event")),
        severity="warning",
    ),
    Definition(
        10,
        "file-refused",
        "A received file could not be used.",
        (_TIME, _count("transfer_id", "its transfer"), _REASON),
        severity="warning",
    ),
    Definition(
        11,
        "command-rejected",
        "A telecommand was refused.",
        (_TIME, _count("command_number", "its number"), _REASON),
        severity="warning",
    ),
    Definition(
        12,
        "chip-refused",
        "A chip could not be used.",
        (_TIME, _count("chip", "its number", 1 << 40), _REASON),
        severity="warning",
    ),
    Definition(
        13,
        "chips-lost",
        "The recorder no longer has chips that flight never took in.",
        (_TIME, _count("chips", "how many")),
        severity="warning",
    ),
    Definition(
        14,
        "archive-full",
        "Chips from now on will not be predicted again: there is no room for their summaries.",
        (_TIME, _count("chips", "chips in the archive")),
        severity="warning",
    ),
    Definition(
        15,
        "archive-damaged",
        "Summaries of chips are unreadable.",
        (_TIME, _count("chips", "how many")),
        severity="error",
    ),
    Definition(
        16,
        "cap-reached",
        "A hard cap was reached.",
        (_TIME, Field("cap", "choice", choices=("memory", "cpu", "storage"), help="which"), _REASON),
        severity="error",
    ),
    Definition(
        17,
        "time-set",
        "The on-board time was set.",
        (_TIME, Field("unix_s", "float", 0, 1e11, unit="s", help="time since 1970-01-01 UTC")),
        severity="info",
    ),
)

_TABLES: dict[int, tuple[Definition, ...]] = {
    Apid.COMMAND: TELECOMMANDS,
    Apid.ACKNOWLEDGEMENT: (ACKNOWLEDGEMENT,),
    Apid.HOUSEKEEPING: TELEMETRY,
    Apid.EVENT: EVENTS,
}
_BY_ID = {(apid, definition.id): definition for apid, table in _TABLES.items() for definition in table}
_BY_NAME = {definition.name: (apid, definition) for apid, table in _TABLES.items() for definition in table}


@dataclass(frozen=True)
class Telecommand:
    """A telecommand by name, with its arguments; without a number the endpoint gives it the next one."""

    name: str
    args: Mapping[str, Any]
    number: int | None = None


@dataclass(frozen=True)
class Telemetry:
    """A telemetry packet or event by name, with its values."""

    name: str
    values: Mapping[str, Any]


def definition(name: str) -> tuple[int, Definition]:
    """APID and definition of a packet; LinkError if the dictionary has none of that name."""
    if name not in _BY_NAME:
        raise LinkError(f"{name}: not in the dictionary; known are {', '.join(_BY_NAME)}")
    return _BY_NAME[name]


def encode(name: str, values: Mapping[str, Any], number: int = 0) -> tuple[int, bytes]:
    """APID and body of a packet; FieldError, with the path of the field, if the values are not as declared."""
    apid, declared = definition(name)
    return apid, pack(declared.id, number, declared.values_to_wire(values))


def decode(apid: int, body: bytes) -> tuple[Definition, int, dict[str, Any]]:
    """Definition, number and values of a packet body; `RejectedError` if it is not as declared."""
    packet_id, number, wire = unpack(body)
    declared = _BY_ID.get((apid, packet_id))
    if declared is None:
        raise RejectedError("unknown_id", f"APID 0x{apid:02x} has no packet {packet_id}")
    try:
        return declared, number, declared.values_from_wire(wire)
    except FieldError as error:
        raise RejectedError("bad_field", str(error)) from None


def command_name(command_id: int) -> str:
    """The name of a telecommand; "unknown" if there is none with this id."""
    declared = _BY_ID.get((Apid.COMMAND, command_id))
    return declared.name if declared else "unknown"


def largest_body_bytes() -> int:
    """Bytes of the largest packet body that the dictionary allows."""
    return max(declared.largest_bytes for table in _TABLES.values() for declared in table)


def reference() -> str:
    """The dictionary as a Markdown page."""
    titles = {
        Apid.COMMAND: "Telecommands",
        Apid.ACKNOWLEDGEMENT: "Acknowledgement",
        Apid.HOUSEKEEPING: "Telemetry",
        Apid.EVENT: "Events",
    }
    lines = ["# Telecommand and telemetry dictionary", "", "Bodies are msgpack arrays `[id, number, [values]]`.", ""]
    for apid, table in _TABLES.items():
        lines += [f"## {titles[Apid(apid)]} (APID 0x{apid:02x})", ""]
        for declared in table:
            marks = ["critical"] * declared.critical + [declared.severity] * bool(declared.severity)
            lines += [f"### {declared.id} `{declared.name}`" + "".join(f", {mark}" for mark in marks), ""]
            lines += [f"{declared.help} At most {declared.largest_bytes} bytes.", ""]
            if declared.fields:
                lines += ["| field | type | range | unit | meaning |", "| --- | --- | --- | --- | --- |"]
                lines += [f"| {f.name} | {f.kind} | {f.range} | {f.unit} | {f.help} |" for f in declared.fields] + [""]
    return "\n".join(lines)
