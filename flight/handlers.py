"""What each telecommand of the dictionary does. A handler raises to refuse, and then has changed nothing."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from flight import housekeeping
from flight.errors import RefusedError
from flight.link import event_log
from flight.link.dictionary import Telecommand
from flight.link.packet import FileKind
from flight.link.parcel import pack_model
from flight.link.transfer import File
from flight.municipal_work import MunicipalRequest
from flight.schedule import Entry
from flight.store import StoreError

if TYPE_CHECKING:
    from flight.executive import Executive

ANSWER_PRIORITY, EVENT_LOG_PRIORITY, MODEL_PRIORITY = 10, 90, 110
Handler = Callable[["Executive", Telecommand], None]


def _ping(flight: Executive, command: Telecommand) -> None:
    flight.send("pong", ANSWER_PRIORITY, echo=command.args["echo"])


def _status(flight: Executive, command: Telecommand) -> None:
    flight.downlink.report_by(flight.t)


def _set_task(flight: Executive, command: Telecommand) -> None:
    flight.activate(lambda: flight.payload.set_task(command.args["task_id"]))


def _get_model(flight: Executive, command: Telecommand) -> None:
    model = pack_model(flight.payload.model(), flight.backend.decoders)
    flight.endpoint.submit(File(f"model-{flight.payload.task_id}", FileKind.MODEL, model), MODEL_PRIORITY)


def _predict(flight: Executive, command: Telecommand) -> None:
    if flight.payload.labels is None or command.args["task_id"] != flight.payload.task_id:
        raise RefusedError(f"task {command.args['task_id']} is not active")
    flight.payload.products.begin_again()


def _predict_municipalities(flight: Executive, command: Telecommand) -> None:
    task_id, rows, levels = (command.args[name] for name in ("task_id", "rows", "levels"))
    if flight.payload.labels is None or task_id != flight.payload.task_id:
        raise RefusedError(f"task {task_id} is not active")
    flight.payload.products.towns.ask(MunicipalRequest(rows == "unlabelled", levels))


def _set_time(flight: Executive, command: Telecommand) -> None:
    flight.emit("time-set", delta_s=flight.time.set(flight.t, command.args["unix_s"]))


def _adjust_time(flight: Executive, command: Telecommand) -> None:
    on_board_s = flight.time.read(flight.t) + command.args["delta_s"]
    flight.emit("time-set", delta_s=flight.time.set(flight.t, on_board_s))


def _get_event_log(flight: Executive, command: Telecommand) -> None:
    log = flight.log.logged(flight.incarnation, flight.time.read(flight.t))
    name = f"event-log-{log.incarnation}-{sum(log.counts.values())}"
    data = event_log.pack(log, flight.backend.decoders)
    flight.endpoint.submit(File(name, FileKind.EVENT_LOG, data), EVENT_LOG_PRIORITY)


def _confirm_events(flight: Executive, command: Telecommand) -> None:
    flight.log.confirm(command.args["first"], command.args["last"])


def _arm(flight: Executive, command: Telecommand) -> None:
    flight.commanding.arm(command.args["command"])


def _schedule(flight: Executive, command: Telecommand) -> None:
    at_s, if_late, embedded = (command.args[name] for name in ("at_s", "if_late", "command"))
    flight.commanding.add(Entry(command.number or 0, at_s, if_late, embedded))


def _unschedule(flight: Executive, command: Telecommand) -> None:
    flight.commanding.schedule.delete(command.args["number"])


def _clear_schedule(flight: Executive, command: Telecommand) -> None:
    flight.commanding.schedule.clear()


def _list_schedule(flight: Executive, command: Telecommand) -> None:
    for entry in flight.commanding.schedule.entries:
        flight.send("schedule-entry", ANSWER_PRIORITY, **vars(entry))


def _start_sequence(flight: Executive, command: Telecommand) -> None:
    flight.commanding.start_sequence(command.args["sequence_id"])


def _stop_sequence(flight: Executive, command: Telecommand) -> None:
    flight.commanding.abort_sequence("stopped by a telecommand")


def _delete_sequence(flight: Executive, command: Telecommand) -> None:
    flight.commanding.delete_sequence(command.args["sequence_id"])


def _rollback(flight: Executive, command: Telecommand) -> None:
    try:
        flight.updates.roll_back(command.args["slot"], command.args["version"])
    except StoreError as error:
        raise RefusedError(f"cannot be written: {error.strerror}") from error


def _list_updates(flight: Executive, command: Telecommand) -> None:
    for values in flight.updates.status():
        flight.send("update-status", ANSWER_PRIORITY, **values)


def _transfer(command: Telecommand) -> tuple[int, bool]:
    return command.args["transfer_id"], command.args["source"] == "space"


def _cancel_file(flight: Executive, command: Telecommand) -> None:
    for event in flight.endpoint.cancel(*_transfer(command)):
        flight.uplink.take_event(event)


def _suspend_file(flight: Executive, command: Telecommand) -> None:
    flight.endpoint.suspend(*_transfer(command))


def _resume_file(flight: Executive, command: Telecommand) -> None:
    transfer_id, outgoing = _transfer(command)
    flight.endpoint.resume(transfer_id, flight.t, outgoing)


def _set_mode(flight: Executive, command: Telecommand) -> None:
    flight.set_mode(command.args["mode"], direct=command.number is not None)


def _list_rates(flight: Executive, command: Telecommand) -> None:
    for values in housekeeping.rates(flight):
        flight.send("rate-group", ANSWER_PRIORITY, **values)


HANDLERS: dict[str, Handler] = {
    "ping": _ping,
    "status": _status,
    "set-task": _set_task,
    "get-model": _get_model,
    "predict": _predict,
    "set-time": _set_time,
    "get-event-log": _get_event_log,
    "predict-municipalities": _predict_municipalities,
    "confirm-events": _confirm_events,
    "adjust-time": _adjust_time,
    "arm": _arm,
    "schedule": _schedule,
    "unschedule": _unschedule,
    "clear-schedule": _clear_schedule,
    "list-schedule": _list_schedule,
    "start-sequence": _start_sequence,
    "stop-sequence": _stop_sequence,
    "delete-sequence": _delete_sequence,
    "cancel-file": _cancel_file,
    "suspend-file": _suspend_file,
    "resume-file": _resume_file,
    "rollback": _rollback,
    "list-updates": _list_updates,
    "set-mode": _set_mode,
    "list-rates": _list_rates,
}
