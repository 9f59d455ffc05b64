"""The dictionary itself: every telecommand, telemetry packet and event, in one place.

To add one, add an entry; a telecommand also needs a handler in `flight.handlers`. Ids are never used again for
something else. `flight.link.dictionary` makes packets of them.
"""

from __future__ import annotations

from flight.link.cuc import MAX_S
from flight.link.schema import Definition, Field

U16, U32 = 0xFFFF, 0xFFFFFFFF
MODES = ("safe", "idle", "acquire", "train")
ACTIVITIES = ("idle", "saving", "decoding", "ingesting", "training", "predicting")
RATE_GROUPS = ("commands", "chips", "decoding", "training", "predicting", "housekeeping", "checkpoint", "scrub")
LIMIT_ACTIONS = ("none", "throttle", "pause", "safe")
SUNLIGHT = ("unknown", "eclipse", "sunlit")
FALLBACKS = ("last good model", "factory model")
OUTCOMES = ("executed", "duplicate", "rejected")
LATE = ("skip", "run")
ROWS = ("all", "unlabelled")
KERNELS = ("numpy", "jit", "aot")
MAX_EMBEDDED_BYTES = 48

_TASK = Field("task_id", "int", high=U16, help="task")
_REASON = Field("reason", "text", high=48, help="why, in short")
_UNIX = Field("unix_s", "time", high=MAX_S, unit="s", help="time since 1970-01-01 UTC")
_ADJUST = Field("delta_s", "float", -600, 600, unit="s", help="added to the on-board time")
_SEQUENCE = Field("sequence_id", "int", 1, U16, help="number of the sequence")
_COMMAND_ID = Field("command_id", "int", high=255, help="id of the telecommand")
_TRANSFER = (
    Field("source", "choice", choices=("space", "ground"), help="the end that sends the file"),
    Field("transfer_id", "int", 1, U32, help="its transfer"),
)
_TAGGED = Field("number", "int", 1, U32, help="number of the telecommand `schedule` that brought it")
_KERNELS = Field("kernels", "choice", choices=KERNELS, help="what runs decoders and learner")
_AT = Field("at_s", "time", high=MAX_S, unit="s", help="on-board time at which it is executed")
_IF_LATE = Field("if_late", "choice", choices=LATE, help="what to do if that time is past")
_SLOT = Field("slot", "text", 1, 24, help="what is updated, such as parameters")
_LEFT = Field("version", "int", 1, U32, help="version that is in use and shall not be")
_SHA256 = Field("digest", "bytes", 8, 8, help="first 8 bytes of its SHA-256; zeros for version 0")
_SERIAL = Field("serial", "int", high=U32, help="number of the event; each start of the process skips some")
_LIMIT = Field("limit", "text", 1, 24, help="its name")
_EMBEDDED = Field(
    "command", "bytes", 1, MAX_EMBEDDED_BYTES, help="the telecommand to execute: its id and its arguments"
)


def _count(name: str, help: str, high: int = U32, unit: str = "") -> Field:
    return Field(name, "int", high=high, unit=unit, help=help)


def _telemetry(id: int, name: str, help: str, *fields: Field, severity: str = "") -> Definition:
    """A packet with a secondary header, the on-board time at which it was made; an event also has its serial number."""
    time = Field("t_s", "time", high=MAX_S, unit="s", help="on-board time")
    serial = (_SERIAL,) if severity else ()
    return Definition(id, name, help, (time, *serial, *fields), severity=severity)


TELECOMMANDS = (
    Definition(1, "ping", "Answer with a pong.", (Field("echo", "int", high=U32, help="comes back in the pong"),)),
    Definition(2, "status", "Send housekeeping now."),
    Definition(3, "set-task", "Learn and predict this task from now on.", (_TASK,), criticality="vital"),
    Definition(4, "get-model", "Send down the model of the current task."),
    Definition(5, "predict", "Predict all stored chips and send the products down.", (_TASK,)),
    Definition(
        6,
        "set-time",
        "Set the on-board time, as wrong as the telecommand is old when it is executed. Time tags keep their on-board "
        "time: a leap makes some late.",
        (_UNIX,),
        criticality="critical",
    ),
    Definition(
        7, "get-event-log", "Send down the latest 256 events and the counts of all, both since the process started."
    ),
    Definition(
        8,
        "predict-municipalities",
        "Predict all stored chips, and send down the mean of each municipality.",
        (
            _TASK,
            Field("rows", "choice", choices=ROWS, help="municipalities: all, or those without a label"),
            Field("levels", "int", 2, 255, help="counts that a row is rounded to: no proportion moves by 1 / levels"),
        ),
    ),
    Definition(
        9,
        "confirm-events",
        "Tell that the ground has these events: they are not sent again. Stations do so by themselves.",
        (
            Field("first", "int", high=U32, help="serial number of the first one"),
            Field("last", "int", high=U32, help="serial number of the last one"),
        ),
    ),
    Definition(20, "adjust-time", "Correct the on-board time by what the ground has measured.", (_ADJUST,)),
    Definition(
        21,
        "arm",
        "Allow one execution of a critical telecommand, for the time that `executive.arm_s` sets.",
        (Field("command", "text", 1, 24, help="its name"),),
    ),
    Definition(22, "schedule", "Execute a telecommand at an on-board time.", (_AT, _IF_LATE, _EMBEDDED)),
    Definition(23, "unschedule", "Take one telecommand out of the schedule.", (_TAGGED,)),
    Definition(24, "clear-schedule", "Take every telecommand out of the schedule.", criticality="vital"),
    Definition(25, "list-schedule", "Send down the schedule, a packet an entry."),
    Definition(26, "start-sequence", "Run a sequence that is on board; one runs at a time.", (_SEQUENCE,)),
    Definition(27, "stop-sequence", "Abort the sequence that runs."),
    Definition(28, "delete-sequence", "Forget a sequence that does not run.", (_SEQUENCE,)),
    Definition(32, "cancel-file", "Give up a file transfer for good.", _TRANSFER, criticality="vital"),
    Definition(33, "suspend-file", "Let a file transfer wait until it is resumed, over passes too.", _TRANSFER),
    Definition(34, "resume-file", "Go on with a suspended file transfer.", _TRANSFER),
    Definition(40, "rollback", "Leave a version of an update for what was in use before.", (_SLOT, _LEFT), "vital"),
    Definition(41, "list-updates", "Send down what is in use in each slot for updates, a packet a slot."),
    Definition(
        50,
        "set-mode",
        "Change the mode. `safe` is always open. It is left for `idle` only, by a direct telecommand, while no "
        "limit asks for it.",
        (Field("mode", "choice", choices=MODES, help="wanted"),),
        criticality="vital",
    ),
    Definition(51, "list-rates", "Send down what each rate group has measured, a packet a group."),
    Definition(
        45,
        "rotate-key",
        "Change over to the key with this id: good from now on, and the only one once a frame has come with it. Comes "
        "directly, not from the schedule or a sequence.",
        (Field("key_id", "int", high=255, help="key that becomes the one in use, both ways"),),
        criticality="vital",
    ),
)
OF_THE_LINK = ("rotate-key",)  # telecommands that the link executes itself

HOUSEKEEPING = _telemetry(
    1,
    "housekeeping",
    "State of the payload. Counters start at zero with each start of the process unless they say otherwise.",
    Field("mode", "choice", choices=MODES, help="what the payload may do"),
    Field("activity", "choice", choices=ACTIVITIES, help="what the CPU is doing"),
    Field("limit_action", "choice", choices=LIMIT_ACTIONS, help="strongest action that a limit asks for"),
    _count("incarnation", "starts of the flight process so far", U16),
    _count("chips_ingested", "chips taken in, over the mission"),
    _count("chips_dropped", "chips refused or lost, over the mission"),
    _count("chips_queued", "chips that wait to be taken in", U16),
    _count("checkpoint_generation", "number of the last checkpoint, over the mission"),
    _count("checkpoint_failures", "checkpoints that could not be written", U16),
    _count("task_id", "task being learned", U16),
    _count("label_version", "version of the label set in use; 0 without one"),
    Field("model_digest", "bytes", 8, 8, help="first 8 bytes of the model's digest; zeros without a model"),
    _count("training_steps_done", "training steps, over the mission"),
    _count("training_steps_pending", "training steps still to do"),
    _count("rss_bytes", "resident memory of the process", 1 << 40, "bytes"),
    _count("peak_rss_bytes", "greatest resident memory so far", 1 << 40, "bytes"),
    _count("slices_overrun", "runs of rate groups that took longer than their budget"),
    _count("slices_late", "runs of rate groups that began later than their deadline"),
    Field("sunlight", "choice", choices=SUNLIGHT, help="what the board says of the Sun"),
    Field("battery_percent", "int", 0, 255, unit="%", help="charge, as the board says; 255 if it says nothing"),
    Field("temperature_degc", "int", -128, 127, unit="degC", help="of the payload; -128 if the board says nothing"),
    _count("frames_accepted", "frames accepted"),
    _count("frames_rejected_crc", "frames that failed their CRC"),
    _count("frames_rejected_tag", "frames that failed authentication, unknown keys included"),
    _count("frames_rejected_replay", "frames whose counter was used before"),
    _count("frames_rejected_other", "frames refused for another reason"),
    _count("packets_rejected", "packets refused in authentic frames"),
    _count("files_open", "files being received or sent", U16),
    _count("files_received", "files received and kept"),
    _count("telemetry_dropped", "telemetry packets dropped because the queue was full"),
    _count("schedule_entries", "telecommands that wait for their time", U16),
    _count("sequence_id", "sequence that runs; 0 without one", U16),
    _count("sequence_step", "steps of it begun", U16),
    _KERNELS,
    Field("encoder_digest", "bytes", 8, 8, help="first 8 bytes of the encoder's digest; zeros without one"),
)
TELEMETRY = (
    HOUSEKEEPING,
    _telemetry(2, "pong", "Answer to a ping.", Field("echo", "int", high=U32, help="as in the ping")),
    _telemetry(
        20,
        "time-report",
        "The on-board time at which a frame began to leave: with the time of its arrival, a point of the correlation.",
        _count("frame", "counter of that frame, its low 32 bits"),
        Field("frame_s", "time", high=MAX_S, unit="s", help="on-board time at its first bit"),
        _count("times_set", "how often the on-board time was set or adjusted; points across that do not compare", U16),
    ),
    _telemetry(21, "schedule-entry", "A telecommand that waits for its time.", _TAGGED, _AT, _IF_LATE, _EMBEDDED),
    _telemetry(
        40,
        "update-status",
        "What is in use in a slot for updates, and what was before it; version 0 is what flight was started with.",
        _SLOT,
        _count("version", "version in use"),
        _SHA256,
        _count("previous_version", "version before it"),
        Field("previous_digest", "bytes", 8, 8, help="first 8 bytes of its SHA-256; zeros for version 0"),
    ),
    _telemetry(
        50,
        "rate-group",
        "What a rate group has measured since the process started.",
        Field("group", "choice", choices=RATE_GROUPS, help="its name"),
        _count("runs", "how often it ran"),
        Field("budget_s", "float", 0, 1e6, unit="s", help="wall time that a run may take"),
        Field("mean_s", "float", 0, 1e6, unit="s", help="wall time of a run, mean"),
        Field("max_s", "float", 0, 1e6, unit="s", help="wall time of the longest run"),
        _count("overruns", "runs that took longer than the budget"),
        _count("late", "runs that began later than the deadline, in mission time"),
    ),
)

ACKNOWLEDGEMENT = Definition(
    1,
    "acknowledgement",
    "What became of the telecommand with this packet's number.",
    (
        _COMMAND_ID,
        Field("outcome", "choice", choices=OUTCOMES, help="executed, a copy of one executed before, or rejected"),
        _REASON,
    ),
)

_STEP = _count("step", "step, the first is 1", U16)
EVENTS = (
    _telemetry(
        1,
        "restarted",
        "The flight process is up.",
        _count("incarnation", "starts so far", U16),
        _count("checkpoint_generation", "checkpoint that it goes on from; 0 for none"),
        Field("cause", "text", high=48, help="how the process before it ended; empty for the first"),
        _KERNELS,
        severity="info",
    ),
    _telemetry(
        2,
        "record-damaged",
        "A record on disk failed its checksum; the older of its two copies is used, if there is one.",
        Field("record", "text", high=48, help="its name"),
        _REASON,
        severity="error",
    ),
    _telemetry(
        3, "write-failed", "Something could not be written; what was on disk stands.", _REASON, severity="error"
    ),
    _telemetry(
        4,
        "region-loaded",
        "A region came into use.",
        _count("region_id", "its number"),
        _count("municipalities", "municipalities in it"),
        _count("version", "digest that names its version"),
        severity="info",
    ),
    _telemetry(
        5,
        "labels-loaded",
        "A label set came into use.",
        _TASK,
        _count("label_version", "its version"),
        _count("rows", "municipalities with a label"),
        severity="info",
    ),
    _telemetry(6, "task-changed", "Another task is learned.", _TASK, severity="info"),
    _telemetry(
        7,
        "model-ready",
        "Training came to its end.",
        _TASK,
        _count("label_version", "labels used"),
        Field("model_digest", "bytes", 8, 8, help="its digest"),
        severity="info",
    ),
    _telemetry(
        8,
        "frames-rejected",
        "Frames were refused.",
        Field("cause", "text", high=24, help="reason code"),
        _count("frames", "frames since the last event"),
        severity="warning",
    ),
    _telemetry(
        9,
        "packets-rejected",
        "Packets in authentic frames were refused.",
        Field("cause", "text", high=24, help="reason code"),
        _count("packets", "packets since the last event"),
        severity="warning",
    ),
    _telemetry(
        10,
        "file-refused",
        "A received file could not be used.",
        _count("transfer_id", "its transfer"),
        _REASON,
        severity="warning",
    ),
    _telemetry(
        11,
        "command-rejected",
        "A telecommand was refused.",
        _count("command_number", "its number"),
        _REASON,
        severity="warning",
    ),
    _telemetry(
        12,
        "chip-refused",
        "A chip could not be used.",
        _count("chip", "its number", 1 << 40),
        _REASON,
        severity="warning",
    ),
    _telemetry(
        13,
        "chips-lost",
        "The recorder no longer has chips that flight never took in.",
        _count("chips", "how many"),
        severity="warning",
    ),
    _telemetry(
        14,
        "archive-full",
        "Chips from now on will not be predicted again: there is no room for their summaries.",
        _count("chips", "chips in the archive"),
        severity="warning",
    ),
    _telemetry(
        15, "archive-damaged", "Summaries of chips are unreadable.", _count("chips", "how many"), severity="error"
    ),
    _telemetry(
        16,
        "cap-reached",
        "A hard cap was reached.",
        Field("cap", "choice", choices=("memory", "cpu", "storage"), help="which"),
        _REASON,
        severity="error",
    ),
    _telemetry(
        17,
        "time-set",
        "The on-board time was set or adjusted.",
        Field("delta_s", "float", -MAX_S, MAX_S, unit="s", help="new time minus old"),
        severity="info",
    ),
    _telemetry(
        40,
        "update-activated",
        "A slot's content was put in use, and its self-test passed.",
        _SLOT,
        _count("version", "version in use; 0 is what flight was started with"),
        _SHA256,
        severity="info",
    ),
    _telemetry(
        41,
        "update-rolled-back",
        "A slot's content could not be used; the one before it is back in use.",
        _SLOT,
        _count("version", "version that was given up"),
        _REASON,
        severity="error",
    ),
    _telemetry(
        45,
        "key-changed",
        "A change of keys is done; other keys are no longer accepted.",
        Field("key_id", "int", high=255, help="the key in use"),
        severity="info",
    ),
    _telemetry(60, "tag-executed", "A telecommand was executed at its time.", _TAGGED, _COMMAND_ID, severity="info"),
    _telemetry(
        61,
        "tag-failed",
        "A telecommand was refused at its time, or cut short by a restart.",
        _TAGGED,
        _COMMAND_ID,
        _REASON,
        severity="warning",
    ),
    _telemetry(
        62,
        "tag-missed",
        "A telecommand was dropped, because its time was past and it says to skip it then.",
        _TAGGED,
        _COMMAND_ID,
        Field("late_s", "float", 0, MAX_S, unit="s", help="how late it was"),
        severity="warning",
    ),
    _telemetry(
        63, "sequence-stored", "A sequence is on board.", _SEQUENCE, _count("steps", "its steps", U16), severity="info"
    ),
    _telemetry(
        64, "sequence-started", "A sequence runs.", _SEQUENCE, _count("steps", "its steps", U16), severity="info"
    ),
    _telemetry(65, "sequence-step", "A step was executed.", _SEQUENCE, _STEP, _COMMAND_ID, severity="info"),
    _telemetry(66, "sequence-completed", "A sequence has run to its end.", _SEQUENCE, severity="info"),
    _telemetry(
        67,
        "sequence-aborted",
        "A sequence was ended at a step; no later one is executed.",
        _SEQUENCE,
        _STEP,
        _REASON,
        severity="warning",
    ),
    _telemetry(
        70,
        "mode-changed",
        "The payload is in another mode; entering safe mode has an event of its own.",
        Field("mode", "choice", choices=MODES, help="the new mode"),
        Field("previous", "choice", choices=MODES, help="the one before"),
        Field("cause", "text", high=48, help="who or what asked for it"),
        severity="info",
    ),
    _telemetry(
        71,
        "safe-mode-entered",
        "Payload work has stopped; link, telecommands and housekeeping go on.",
        Field("previous", "choice", choices=MODES, help="the mode before"),
        Field("cause", "text", high=48, help="who or what asked for it"),
        severity="error",
    ),
    _telemetry(
        72,
        "limit-exceeded",
        "A monitored value was out of its limit as often as the limit allows; its action is taken.",
        _LIMIT,
        Field("value", "float", -1e9, 1e9, help="what was measured, in the parameter's unit"),
        Field("action", "choice", choices=LIMIT_ACTIONS, help="what is done"),
        severity="warning",
    ),
    _telemetry(
        73,
        "limit-cleared",
        "A monitored value is within its limit again; its action ends, but safe mode stays.",
        _LIMIT,
        Field("value", "float", -1e9, 1e9, help="what was measured, in the parameter's unit"),
        severity="info",
    ),
    _telemetry(
        74,
        "last-words",
        "The process before this one crashed or hung.",
        Field("cause", "text", high=48, help="how it ended"),
        Field("place", "text", high=48, help="where in the code, innermost first; empty if nothing could be told"),
        Field("mode", "choice", choices=MODES, help="its mode then"),
        Field("activity", "choice", choices=ACTIVITIES, help="what its CPU was doing"),
        _count("crashes", "crashes within the supervisor's window", U16),
        severity="error",
    ),
    _telemetry(
        75,
        "fallback",
        "After repeated crashes the supervisor started this process with less of what was on disk.",
        Field("level", "choice", choices=FALLBACKS, help="what is used instead of the newest checkpoint"),
        _REASON,
        severity="error",
    ),
    _telemetry(
        76,
        "load-shed",
        "Memory comes near its cap: waiting chips and other work that can be had again were dropped.",
        _count("rss_bytes", "resident memory then", 1 << 40, "bytes"),
        _count("chips", "chips dropped from the queue; the recorder has them", U16),
        severity="warning",
    ),
    _telemetry(
        80,
        "memory-repaired",
        "Something in memory had changed by itself; the payload was taken anew from the disk.",
        Field("part", "text", high=48, help="what had changed"),
        severity="warning",
    ),
    _telemetry(
        81,
        "training-rolled-back",
        "Training came to values that are no numbers, or too large; it goes on from the checkpoint.",
        Field("part", "text", high=48, help="where"),
        Field("then", "choice", choices=("again", "wait"), help="it trains again; or waits for other chips or labels"),
        severity="error",
    ),
    _telemetry(
        82,
        "record-repaired",
        "A damaged generation of a record was written anew.",
        Field("record", "text", high=48, help="which"),
        severity="info",
    ),
    _telemetry(
        83,
        "code-damaged",
        "A file of the flight software, or what else a restart reads, is not as it was when the process started.",
        Field("file", "text", high=48, help="its name; `kernels in memory`: the process ends, and loads them anew"),
        severity="error",
    ),
    _telemetry(
        84,
        "start-fallback",
        "Configuration or bundle could not be used: this process was started with those of the last start.",
        _REASON,
        severity="error",
    ),
    _telemetry(
        90,
        "encoder-loaded",
        "An encoder is in use, after its known answers: the learner sees chips through it.",
        Field("encoder", "text", high=48, help="its name, as its file says"),
        Field("digest", "bytes", 8, 8, help="first 8 bytes of its digest"),
        Field("precision", "choice", choices=("fp32", "int8"), help="numbers that it computes in"),
        Field("runtime", "text", high=48, help="what runs it, and its version"),
        severity="info",
    ),
    _telemetry(
        91,
        "encoder-missing",
        "The encoder cannot be used; the learner sees chips by the statistics of their cells.",
        _REASON,
        severity="error",
    ),
    _telemetry(
        92,
        "encoder-changed",
        "Chips are seen through another encoder, or through none; what was learned through the one before starts anew.",
        Field("previous", "bytes", 8, 8, help="first 8 bytes of the digest of the one before; zeros for none"),
        Field("digest", "bytes", 8, 8, help="first 8 bytes of the digest of the one in use; zeros for none"),
        _count("chips", "chips seen before, which cannot be predicted any more"),
        severity="warning",
    ),
)
