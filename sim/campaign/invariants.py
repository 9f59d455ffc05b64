"""What must hold after every mission of the campaign, whatever went wrong in it.

Each check returns what it found broken, in words; nothing broken, nothing returned.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from flight.errors import RefusedError
from sim.campaign import short
from sim.campaign.damage import BAD_FILE, LATE_FILE
from sim.campaign.simulated import SimulatedMission

RECOVERY_BOUND_S = 60.0  # in view, from the end of a fault to the next frame of flight's


def commandable(mission: SimulatedMission) -> list[str]:
    """Flight is up, and has executed everything that the ground has ordered, to the last ping."""
    if not (mission.lockstep.is_up("flight") and mission.lockstep.is_up("station")):
        return ["flight or station is down at the end"]
    station, found = mission.station, []
    if station.next_order < len(station.orders) or station.uploading is not None or station.endpoint.queued_packets:
        waits = [getattr(order.item, "name", "tagged") for order in station.orders[station.next_order :]]
        found.append(f"orders are left: {waits}, uploading {station.uploading}")
    failed = [name for name, _, _ in station.failed if not name.startswith((BAD_FILE, LATE_FILE))]
    if failed:
        found.append(f"orders failed: {failed}")
    return found


def recovered(mission: SimulatedMission) -> list[str]:
    """After each fault the ground hears flight again, within a bound of time in view and without another fault."""
    restart_s, found = mission.plan.scenario.costs.restart_s, []
    others = [(fault.at_s, fault.at_s + fault.length_s + restart_s) for fault in mission.faults]
    for each in mission.recoveries:
        took_s = each.in_view_s(mission.contacts, others)
        if took_s is None:
            found.append(f"after {each.fault} flight was never heard again")
        elif took_s > RECOVERY_BOUND_S:
            found.append(f"after {each.fault} it took {took_s:.0f} s in view until flight was heard")
    return found


def commands_once(mission: SimulatedMission) -> list[str]:
    """Every command is executed once; one for a time, or a step, at most once, and told if it was not."""
    counts = short.adjustments(mission.flight.time.offset_s)
    if counts is None:
        return [f"the clock is off by {mission.flight.time.offset_s} s, which no set of commands gives"]
    found = [f"adjust-time {n} was executed {counts[n]} times" for n in short.DIRECT if counts[n] != 1]
    flight = mission.flight
    waiting = len(flight.commanding.schedule.entries)
    told = sum(len(mission.desk.of(name)) for name in ("tag-failed", "tag-missed"))
    executed = sum(counts[n] for n in short.TAGGED)
    found += [f"tagged adjust-time {n} was executed {counts[n]} times" for n in short.TAGGED if counts[n] > 1]
    if executed + told + waiting < len(short.TAGGED):
        found.append(f"of {len(short.TAGGED)} tagged commands {executed} were executed, {told} told, {waiting} wait")
    found += [f"step adjust-time {n} was executed {counts[n]} times" for n in short.STEPS if counts[n] > 1]
    running = flight.commanding.runner.sequence is not None
    if sum(counts[n] for n in short.STEPS) < len(short.STEPS) and not (mission.desk.of("sequence-aborted") or running):
        found.append("a step of the sequence was not executed, and nobody was told")
    return found


def authentic(mission: SimulatedMission) -> list[str]:
    """Nothing was changed by anybody without the keys."""
    counts, found = short.adjustments(mission.flight.time.offset_s), []
    if counts is not None and counts[short.FORBIDDEN]:
        found.append("a telecommand with foreign keys was executed")
    return found


def labels_kept(mission: SimulatedMission) -> list[str]:
    """Every label set that the ground was told has arrived is on board."""
    found = []
    delivered = [name.split("-")[1:] for name, _ in mission.station.delivered if name.startswith("labels-")]
    newest: dict[int, int] = {}
    for task, version in delivered:
        newest[int(task)] = max(int(version), newest.get(int(task), 0))
    for task_id, wanted in newest.items():
        try:
            held = mission.flight.payload.label_store.read(task_id)
        except RefusedError as error:
            found.append(f"labels of task {task_id}: {error}")
            continue
        rows = short.labels(mission.recipe.world, task_id, wanted).quantised().proportions
        if held.version != wanted or not np.array_equal(held.proportions, rows, equal_nan=True):
            found.append(f"labels of task {task_id}: version {held.version} is on board, acknowledged was {wanted}")
    return found


def chips_kept(mission: SimulatedMission) -> list[str]:
    """Every chip that the camera was told it may forget was learned from, once."""
    progress, camera = mission.flight.payload.progress, mission.core_of("camera").report()
    expected, found = mission.expected, []
    if (progress.chips, progress.chips_refused) != (expected.chips, expected.refused):
        found.append(
            f"flight has taken in {progress.chips} chips and refused {progress.chips_refused}, "
            f"the camera had {expected.chips} good ones and {expected.refused} bad ones"
        )
    if camera["chips_acknowledged"] > progress.next_number:
        found.append(f"the camera may forget {camera['chips_acknowledged']}, flight has {progress.next_number}")
    return found


def same_weights(mission: SimulatedMission) -> list[str]:
    """The model is the one that the undisturbed mission ends with, to the bit."""
    wanted = mission.expected.weights_sha256
    found = mission.flight.payload.progress.model_digest.hex()
    return [] if found == wanted else [f"weights {found[:12] or 'none'}, undisturbed {wanted[:12]}"]


def predictions_down(mission: SimulatedMission) -> list[str]:
    """Every chip's prediction by the last model has come down, under a name that was used once."""
    found = [f"two products are called {name}" for name in mission.desk.contradictions]
    payload = mission.flight.payload
    last = [
        each
        for each in mission.desk.products(mission.config.link)
        if each.block == 1 and payload.progress.model_digest.startswith(each.model_digest)
    ]
    cells = np.unique(np.concatenate([each.cells for each in last])) if last else np.zeros(0)
    missing = payload.progress.chips - len(cells)
    damaged = sum(values["chips"] for values in mission.desk.of("archive-damaged"))
    if missing > damaged:
        found.append(f"predictions of {missing} chips have not come down, told of are {damaged}")
    return found


def encoder_told(mission: SimulatedMission) -> list[str]:
    """That the encoder cannot be used is told, and flight goes on by the statistics of cells."""
    if mission.encoders == mission.plan.encoders:
        return []
    found = [] if mission.desk.of("encoder-missing") else ["the encoder is gone, and nobody was told"]
    return found + (["flight sees through an encoder that is none"] if mission.flight.payload.encoder else [])


CHECKS: tuple[Callable[[SimulatedMission], list[str]], ...] = (
    recovered,
    commands_once,
    authentic,
    labels_kept,
    chips_kept,
    same_weights,
    predictions_down,
    encoder_told,
)


def broken(mission: SimulatedMission) -> list[str]:
    """Every invariant that does not hold, by name; empty if all do."""
    found = [f"{commandable.__name__}: {text}" for text in commandable(mission)]
    if not mission.lockstep.is_up("flight"):
        return found
    return found + [f"{check.__name__}: {text}" for check in CHECKS for text in check(mission)]
