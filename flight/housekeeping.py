"""What an executive says of itself: the housekeeping packet for the ground, and a report for the simulator."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from flight.caps import status_bytes
from flight.clock import cpu_s
from flight.link.definitions import U16, U32
from flight.link.product import DIGEST_BYTES

if TYPE_CHECKING:
    from flight.executive import Executive


def housekeeping(executive: Executive) -> dict[str, Any]:
    """The fields of the housekeeping packet, as the dictionary declares them."""
    progress, counters, queue = executive.payload.progress, executive.endpoint.counters, executive.queue.counters
    rejected = counters.frames_rejected
    known = ("bad_crc", "bad_tag", "unknown_key", "replayed")
    return {
        "t_s": executive.time.read(executive.t),
        "mode": executive.mode,
        "incarnation": executive.incarnation,
        "chips_ingested": progress.chips,
        "chips_dropped": min(progress.chips_refused + queue["lost"] + queue["overflow"] + queue["malformed"], U32),
        "chips_queued": len(executive.queue),
        "checkpoint_generation": executive.payload.checkpoint_generation,
        "checkpoint_failures": min(executive.log.counts["write-failed"], U16),
        "task_id": executive.payload.task_id,
        "label_version": executive.payload.label_version,
        "model_digest": progress.model_digest[:DIGEST_BYTES].ljust(DIGEST_BYTES, b"\0"),
        "training_steps_done": progress.steps,
        "training_steps_pending": executive.payload.pending_steps,
        "rss_bytes": executive.rss_bytes(),
        "frames_accepted": counters.frames_accepted,
        "frames_rejected_crc": rejected["bad_crc"],
        "frames_rejected_tag": rejected["bad_tag"] + rejected["unknown_key"],
        "frames_rejected_replay": rejected["replayed"],
        "frames_rejected_other": sum(rejected.values()) - sum(rejected[reason] for reason in known),
        "packets_rejected": sum(counters.packets_rejected.values()),
        "files_open": len(executive.endpoint.progress()),
        "files_received": counters.files_received,
        "telemetry_dropped": counters.telemetry_dropped,
        "schedule_entries": len(executive.commanding.schedule),
        "sequence_id": executive.commanding.runner.sequence_id,
        "sequence_step": executive.commanding.runner.step,
        "kernels": executive.backend.name,
    }


def report(executive: Executive) -> dict[str, Any]:
    """Counters and state of an executive that is up, for whoever watches the simulation; JSON types only."""
    progress = executive.payload.progress
    return {
        "mode": executive.mode,
        "incarnation": executive.incarnation,
        "chips": progress.chips,
        "chips_refused": progress.chips_refused,
        "acknowledged": executive.acknowledged,
        "queue": dict(executive.queue.counters),
        "task_id": executive.payload.task_id,
        "label_version": executive.payload.label_version,
        "pending_steps": executive.payload.pending_steps,
        "steps": progress.steps,
        "weights_sha256": progress.model_digest.hex(),
        "n_parameters": executive.payload.learner.n_parameters if executive.payload.labels is not None else 0,
        "to_predict": executive.payload.to_predict,
        "checkpoint_generation": executive.payload.checkpoint_generation,
        "events": dict(executive.log.counts),
        "kernels": executive.backend.name,
        "retask": vars(executive.retask) if executive.retask is not None and executive.retask.done else None,
        "chips_per_s": executive.ingested / executive.ingest_wall_s if executive.ingest_wall_s else None,
        "peak_rss_bytes": status_bytes("VmHWM"),
        "cpu_s": cpu_s(),
    }
