"""The record `checkpoint`: what the payload has learned and how far it is, as they survive a restart."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from flight.learn import Learner, StateError, load_state
from flight.link.pack import CodecError
from flight.progress import Progress
from flight.region_intake import Kept
from flight.telemetry import short

if TYPE_CHECKING:
    from flight.payload import Payload


def write(payload: Payload) -> None:
    """Bring the learner and the archive to the disk; StoreError if that fails, and the last checkpoint stands."""
    payload.summaries.sync()
    payload.checkpoints.write(
        {
            "region_crc": payload.region_crc,
            "progress": vars(payload.progress),
            "archive": payload.summaries.state(),
            "encoder": payload.encoder_digest,
        },
        payload.learner.state_parts(),
    )


def restore(payload: Payload) -> None:
    """Take in the region on disk, and what `write` wrote if that is of use with it."""
    data = payload.store.get("region")
    if data is not None:
        try:
            payload.use_region(Kept.load(data, payload.config.link))
        except CodecError as error:
            payload.emit("record-damaged", record="region", reason=short(error))
    state = payload.checkpoints.read()
    if state is None:
        return
    learner = _learner(payload, state)
    if learner is None or state["region_crc"] not in (payload.kept.carries if payload.kept is not None else (0,)):
        # The region was replaced and the process died before the next checkpoint, or another learner is
        # configured: statistics start anew.
        payload.progress.next_number = state["progress"]["next_number"]
        return
    payload.progress, payload.learner = Progress(**state["progress"]), learner
    payload.summaries.restore(state["archive"])
    payload.progress.predicted = min(payload.progress.predicted, len(payload.summaries))


def _learner(payload: Payload, state: dict[str, Any]) -> Learner | None:
    """The learner in a checkpoint; None, with an event, if it is not the one that is configured.

    So it is with one that saw chips through another encoder. But one without may go on if its chips do not fit ours.
    """
    then, encoder = str(state.get("encoder", "")), payload.encoder
    try:
        if then != payload.encoder_digest:
            without = None if then or encoder is None else load_state(state["learner"], payload.backend)
            if without is None or without.chip_shape_ in (None, encoder and encoder.chip_shape):
                payload.tell_of_change(then, (state["archive"] or (0, 0))[1])
                return None
            payload.see_without(without.chip_shape_)
        learner = load_state(state["learner"], payload.backend, payload.encoder)
    except StateError as error:
        payload.emit("record-damaged", record="checkpoint", reason=short(error))
        return None
    wanted = payload.learner
    same = [(each.name, each.seed, each.max_municipalities) for each in (learner, wanted)]
    if same[0] != same[1]:
        reason = f"learner {learner.name}, configured is {wanted.name}"
        payload.emit("record-damaged", record="checkpoint", reason=short(reason))
        return None
    return learner
