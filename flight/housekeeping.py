"""What an executive says of itself: the housekeeping packet for the ground, and a report for the simulator."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from flight.board import Reading
from flight.caps import status_bytes
from flight.clock import cpu_s
from flight.link.definitions import U16, U32
from flight.link.product import DIGEST_BYTES
from flight.payload import SHOWN_BYTES

if TYPE_CHECKING:
    from flight.executive import Executive

UNKNOWN_PERCENT, UNKNOWN_DEGC = 255, -128


def housekeeping(executive: Executive) -> dict[str, Any]:
    """The fields of the housekeeping packet, as the dictionary declares them."""
    progress, counters, queue = executive.payload.progress, executive.endpoint.counters, executive.queue.counters
    rejected = counters.frames_rejected
    known = ("bad_crc", "bad_tag", "unknown_key", "replayed")
    return {
        "t_s": executive.time.read(executive.t),
        "mode": executive.modes.mode,
        "activity": executive.cpu.activity,
        "limit_action": executive.power.limits.action,
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
        "rss_bytes": executive.memory.rss_bytes(),
        "peak_rss_bytes": status_bytes("VmHWM"),
        "slices_overrun": min(sum(meter.overruns for meter in executive.meters.values()), U32),
        "slices_late": min(sum(meter.late for meter in executive.meters.values()), U32),
        **_board(executive.power.reading),
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
        "encoder_digest": bytes.fromhex(executive.payload.encoder_digest)[:SHOWN_BYTES].ljust(SHOWN_BYTES, b"\0"),
    }


def _board(reading: Reading | None) -> dict[str, Any]:
    """The fields that the board fills."""
    if reading is None:
        return {"sunlight": "unknown", "battery_percent": UNKNOWN_PERCENT, "temperature_degc": UNKNOWN_DEGC}
    return {
        "sunlight": "sunlit" if reading.sunlit else "eclipse",
        "battery_percent": round(100 * reading.battery),
        "temperature_degc": round(min(max(reading.temperature_degc, UNKNOWN_DEGC + 1), 127)),
    }


def rates(executive: Executive) -> list[dict[str, Any]]:
    """The fields of a packet `rate-group` for each group."""
    return [
        {
            "group": name,
            "runs": min(meter.runs, U32),
            "budget_s": meter.budget_s,
            "mean_s": min(meter.mean_s, 1e6),
            "max_s": min(meter.max_s, 1e6),
            "overruns": min(meter.overruns, U32),
            "late": min(meter.late, U32),
        }
        for name, meter in executive.meters.items()
    ]


def _encoder(executive: Executive) -> dict[str, str] | None:
    """The encoder that chips are seen through; None without one."""
    used = executive.encoder_slot.current
    if used is None or executive.payload.encoder is None:
        return None
    header = used.file.header
    return {"name": header.name, "digest": used.digest, "precision": header.precision, "runtime": used.runtime}


def report(executive: Executive) -> dict[str, Any]:
    """Counters and state of an executive that is up, for whoever watches the simulation; JSON types only."""
    progress, chips, retask = executive.payload.progress, executive.chips, executive.predicting.retask
    return {
        "mode": executive.modes.mode,
        "mode_cause": executive.modes.cause,
        "activity": executive.cpu.activity,
        "limit_action": executive.power.limits.action,
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
        "to_predict": executive.payload.products.to_predict,
        "checkpoint_generation": executive.payload.checkpoint_generation,
        "events": dict(executive.log.counts),
        "events_waiting": len(executive.log.unconfirmed),
        "kernels": executive.backend.name,
        "encoder": _encoder(executive),
        "retask": vars(retask) if retask is not None and retask.done else None,
        "chips_per_s": chips.ingested / chips.ingest_wall_s if chips.ingest_wall_s else None,
        "rates": {name: [meter.runs, meter.late] for name, meter in executive.meters.items()},
        "rates_wall": {name: [meter.mean_s, meter.max_s, meter.overruns] for name, meter in executive.meters.items()},
        "peak_rss_bytes": status_bytes("VmHWM"),
        "cpu_s": cpu_s(),
    }
